"""The commands of ``python -m analysis``."""

from __future__ import annotations

import csv
import json
import re
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from analysis.data import DATA_DIR, DataError, check, load

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Evidence on CAR T-cell therapy in CLL: check the data, recompute the pooled estimates, "
    "or pool a table of your own.",
)

DataOption = Annotated[
    Path, typer.Option("--data", help="Folder of the data package.", show_default=False)
]


def fail(message: str, code: int = 1) -> typer.Exit:
    """Print a message to standard error and return the exit to raise."""
    print(message, file=sys.stderr)
    return typer.Exit(code)


def _load(data: Path) -> Any:
    try:
        return load(data)
    except DataError as error:
        raise fail(str(error)) from None


@app.command("check")
def check_command(
    data: DataOption = DATA_DIR,
    brief: Annotated[
        bool, typer.Option("--brief", help="Count the findings instead of listing them.")
    ] = False,
) -> None:
    """Validate the data package, then hold the figures of the sources to one another.

    A defect of the data is printed with file, row and column and ends with 1. Figures that are
    impossible or contradict each other are listed by kind; those without a resolution are marked
    open, and neither ends with 1.
    """
    from analysis import reconcile, usable
    from analysis.conflicts import resolved, unmatched

    problems = check(data)
    if not problems:
        dataset = load(data)
        problems = usable.problems(dataset)
    for problem in problems:
        print(problem)
    if problems:
        raise fail(f"{len(problems)} finding{'s' if len(problems) > 1 else ''} in the data package")
    found = reconcile.discrepancies(dataset)
    known = resolved(dataset)
    for kind, heading in reconcile.KINDS.items():
        members = [entry for entry in found if entry.kind == kind]
        if members:
            print(f"{heading} ({len(members)})")
        for entry in [] if brief else members:
            print(f"  {entry}{'' if entry.id in known else ' [open]'}")
    for problem in unmatched(dataset, found):
        print(problem)
    undecided = sum(entry.id not in known for entry in found)
    print(
        f"{len(found)} findings about the sources: {len(found) - undecided} resolved, "
        f"{undecided} open"
    )
    print(
        f"data package {dataset.version} is valid: {len(dataset.extraction)} figures, "
        f"{len(dataset.cohorts)} cohorts, {len(dataset.reports)} reports, "
        f"sha256 {dataset.sha256[:12]}"
    )


@app.command("agree")
def agree_command(
    first: Annotated[Path, typer.Argument(help="Table of the first person.")],
    second: Annotated[Path, typer.Argument(help="Table of the second person.")],
) -> None:
    """Compare two extractions of the same documents, each with the columns of extraction.csv.

    End with 0 if every figure agrees, with 1 if any differs or is in one table only.
    """
    from analysis import double

    try:
        found = double.compare(double.read(first), double.read(second), (str(first), str(second)))
    except ValueError as error:
        raise fail(str(error)) from None
    for line in found.lines:
        print(line)
    print(f"{found.agreed} of {found.figures} figures agree")
    if found.lines:
        raise typer.Exit(1)


@app.command("conflicts")
def conflicts_command(
    write: Annotated[
        bool, typer.Option("--write", help="Pin the recomputed findings in the data folder.")
    ] = False,
    data: DataOption = DATA_DIR,
) -> None:
    """Recompute the findings about the sources and what they do to the pooled estimates.

    Compare them with data/conflicts.csv; end with 1 if any differs.
    """
    from analysis import conflicts

    found = conflicts.conflicts(_load(data))
    if write:
        print(f"wrote {conflicts.write(found, data)}")
        return
    moved = conflicts.compare(found, data)
    for line in moved:
        print(line)
    if moved:
        raise fail(f"{len(moved)} differences from data/{conflicts.FILE}")
    print(f"{len(found)} findings agree with data/{conflicts.FILE}")


@app.command("specifications")
def specifications_command(
    write: Annotated[
        bool, typer.Option("--write", help="Pin the recomputed analyses in the data folder.")
    ] = False,
    jobs: Annotated[int, typer.Option(min=1, help="Local processes.")] = 1,
    sample: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Compare only so many results, drawn at random, besides all sets of trials.",
            show_default=False,
        ),
    ] = None,
    data: DataOption = DATA_DIR,
) -> None:
    """Recompute every defensible analysis of every headline estimand, which takes minutes.

    Compare them with data/specifications.csv and data/specification_rows.csv; end with 1 if any
    differs.
    """
    from rich.console import Console
    from rich.progress import Progress

    from analysis import specification, specification_files

    if write and sample is not None:
        raise fail("--write needs every result; leave out --sample")
    dataset = _load(data)
    try:
        frame = None if write else specification_files.read(data)
    except ValueError as error:
        raise fail(str(error)) from None
    sets = specification_files.row_sets(dataset)
    if frame is not None and sample is not None:
        drawn, largest = specification_files.reproduce(frame, sample, seed=0)
        moved = specification_files.compare(sets, (), data, all_results=False)
        if largest > specification_files.SAME:
            moved.append(f"a result differs by {largest:.5f} from the pinned one")
        said = f"{len(sets)} sets of trials and {drawn} results drawn at random agree"
    else:
        with Progress(console=Console(stderr=True), transient=True) as progress:
            task = progress.add_task("pooling", total=None)
            found = specification.analyses(
                sets,
                jobs=jobs,
                report=lambda done, total: progress.update(task, completed=done, total=total),
            )
        if write:
            for path in specification_files.write(sets, found, data):
                print(f"wrote {path}")
            return
        moved = specification_files.compare(sets, found, data)
        said = f"{len(sets)} sets of trials and {len(found)} results agree"
    for line in moved:
        print(line)
    if moved:
        raise fail(f"{len(moved)} differences from data/{specification_files.RESULTS}")
    print(f"{said} with data/{specification_files.RESULTS}")


@app.command("estimates")
def estimates_command(
    write: Annotated[
        bool, typer.Option("--write", help="Pin the recomputed estimates in the data folder.")
    ] = False,
    show_diff: Annotated[
        bool, typer.Option("--diff", help="Say which estimates moved, by how much, and why.")
    ] = False,
    show_digits: Annotated[
        bool, typer.Option("--digits", help="Say which values differ in any of their digits.")
    ] = False,
    against: Annotated[
        str | None,
        typer.Option(
            help="With --diff or --digits: what to compare with, a file like estimates.json or a "
            "version kept in data/history, such as 1.0.0; the pinned estimates if not given.",
            show_default=False,
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="With --diff: print the movements as JSON.")
    ] = False,
    data: DataOption = DATA_DIR,
) -> None:
    """Recompute every estimate and compare it with the pinned one.

    End with 0 if every number agrees and with 1 if any differs. With --diff, end with 0 if no
    estimate moved, with 1 if any moved, came in or went, and with 2 if there is nothing to compare
    with: the file of --against is missing or damaged, or the options do not go together. --digits
    ends in the same way, but takes no two numbers for the same unless all their digits are.
    """
    from rich.console import Console
    from rich.progress import track

    from analysis import diff, digits, publish
    from analysis.estimands import estimands

    if show_digits and (show_diff or write or as_json):
        raise fail("--digits goes with --against alone", code=2)
    if as_json and not show_diff:
        raise fail("--json belongs to --diff", code=2)
    if against is not None and not (show_diff or show_digits):
        raise fail("--against belongs to --diff or --digits", code=2)
    if show_diff and write:
        raise fail("--diff compares and --write pins; give one of them", code=2)
    before: list[dict[str, Any]] = []
    if show_diff or show_digits:
        try:
            before = diff.earlier(against, data)
        except ValueError as error:
            raise fail(str(error), code=2) from None
    dataset = _load(data)
    console = Console(stderr=True)
    steps = track(
        publish.records(dataset),
        "pooling",
        total=len(estimands(comparators=True)),
        console=console,
        transient=True,
    )
    entries = list(steps)
    if write:
        for path in publish.write(entries, data):
            print(f"wrote {path}")
        return
    if show_digits:
        for line in digits.lines(before, entries):
            print(line)
        if digits.compare(before, entries):
            raise typer.Exit(1)
        return
    if show_diff:
        found = diff.moved(before, entries)
        if as_json:
            print(json.dumps(diff.described(dataset, found), indent=1, ensure_ascii=False))
        else:
            for line in diff.report(dataset, before, entries):
                print(line)
        if found:
            raise typer.Exit(1)
        return
    moved = publish.compare(entries, data)
    for line in moved:
        print(line)
    if moved:
        raise fail(f"{len(moved)} differences from the pinned estimates")
    print(f"{len(entries)} estimates agree with data/estimates.csv and data/estimates.json")


@app.command("estimate")
def estimate_command(
    estimand_id: Annotated[str, typer.Argument(help="For example orr-cd19-single-agent.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print the record as JSON.")] = False,
    data: DataOption = DATA_DIR,
) -> None:
    """Recompute one estimate."""
    from analysis import publish
    from analysis.estimands import estimand, evidence, pooled
    from analysis.wording import finding

    dataset = _load(data)
    try:
        target = estimand(estimand_id)
    except ValueError as error:
        raise fail(str(error)) from None
    if as_json:
        print(json.dumps(publish.record(dataset, estimand_id), indent=1, ensure_ascii=False))
        return
    labels = dataset.outcomes.set_index("outcome_id")["label"]
    fit = pooled(evidence(dataset, target))
    print(f"{estimand_id}@{dataset.version}")
    if fit is None:
        print(f"{labels[target.outcome]}: no trial of this population reports it.")
        return
    print(finding(fit, f"{labels[target.outcome]}, {target.population_label}", digits=1))
    for note in fit.notes:
        print(note)


@app.command("pool")
def pool_command(
    file: Annotated[Path, typer.Argument(help="CSV file with one row per study.")],
    events: Annotated[str, typer.Option(help="Column with the number of events.")] = "events",
    total: Annotated[str, typer.Option(help="Column with the number of patients.")] = "total",
    label: Annotated[str | None, typer.Option(help="Column with the name of the study.")] = None,
    model: Annotated[
        str,
        typer.Option(
            help="glmm: binomial counts with normally distributed log odds, the default, needs no "
            "correction for zeros. reml, ml, dl, pm, eb, he, sj, hs: two steps, log odds first "
            "(0.5 added where a cell is empty), then a normal model that differs in how it "
            "estimates the between-study variance. fe: no variation between studies. "
            "beta-binomial. bayes: the glmm with a weak prior."
        ),
    ] = "glmm",
    interval: Annotated[
        str | None,
        typer.Option(
            help="How the confidence interval is formed: wald, t, profile, profile-t, bartlett "
            "(glmm); wald, t, hartung-knapp, hartung-knapp-adhoc (two-step models). "
            "The model's default if not given.",
            show_default=False,
        ),
    ] = None,
    by: Annotated[
        str | None,
        typer.Option(help="Column of subgroups: pool each one apart and test whether they differ."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the full result as JSON.")] = False,
    plot: Annotated[
        Path | None, typer.Option(help="Write a forest plot to this SVG file.", show_default=False)
    ] = None,
) -> None:
    """Pool the proportions of a table of your own."""
    from analysis.pooling import fit_subgroups, pool
    from analysis.pooling.api import resolve
    from analysis.wording import finding, heterogeneity, model_sentence

    if plot and by:
        raise fail("--plot draws one pooled result; leave out --by")
    try:
        resolve(model, interval, "logit")
    except ValueError as error:
        raise fail(str(error)) from None
    rows = _read_table(file, [name for name in (events, total, label, by) if name])
    groups: dict[str, list[dict[str, str]]] = {} if by else {"": rows}
    for row in rows if by else []:
        groups.setdefault(row[by or ""], []).append(row)
    counts = {}
    for name, members in groups.items():
        try:
            counts[name] = _counts(file, members, events, total)
        except ValueError as error:
            raise fail(f"{error}" + (f" (group {name!r})" if by else "")) from None
    ordered = [row for members in groups.values() for row in members]
    x = [count for part in counts.values() for count in part[0]]
    n = [count for part in counts.values() for count in part[1]]
    names = [row[label] for row in ordered] if label else None
    between = None
    try:
        if len(groups) > 1:
            groups_of = [row[by or ""] for row in ordered]
            between = fit_subgroups(x, n, groups_of, model=model, interval=interval, labels=names)
            made = dict(zip(between.levels, between.fits or (), strict=True))
            fits = {name: made[name] for name in groups}
        else:
            fits = {name: pool(x, n, model, interval=interval, labels=names) for name in groups}
    except ValueError as error:
        raise fail(f"{file}: {error}") from None
    if as_json:
        result: Any = {name: fit.to_dict() for name, fit in fits.items()}
        if between is not None:
            # the same in every subgroup: a key beside theirs could be the name of one
            test = {key: between.to_dict()[key] for key in ("test", "q", "q_df", "q_p", "notes")}
            for entry in result.values():
                entry["test_between_subgroups"] = test
        print(json.dumps(result if by else result[""], indent=1, ensure_ascii=False))
    else:
        for name, fit in fits.items():
            print(finding(fit, name or ("(no name)" if by else "Pooled proportion"), digits=1))
            if fit.estimate is not None:
                print(f"  {model_sentence(fit)}")
            if spread := heterogeneity(fit):
                print(f"  {spread}")
            for note in fit.notes:
                print(f"  {note}")
        if between is not None:
            print(_difference(between))
        elif by:
            print("One subgroup only: there is nothing to compare.")
    if plot:
        from analysis.figures import forest
        from analysis.svg import svg

        try:
            plot.write_text(svg(forest(fits[""])), encoding="utf-8")
        except OSError as error:
            raise fail(f"{plot}: {error.strerror}") from None
        print(f"wrote {plot}", file=sys.stderr)


@app.command("simulate")
def simulate_command(
    replications: Annotated[
        int, typer.Option(min=1, help="Simulated data sets per cell.")
    ] = 12_000,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the study.")] = 20240229,
    jobs: Annotated[int, typer.Option(min=1, help="Local processes.")] = 1,
    scheduler: Annotated[
        str | None,
        typer.Option(
            help="Hand the work to the Dask cluster at this address, such as "
            "tcp://host:8786; needs dask[distributed].",
            show_default=False,
        ),
    ] = None,
    only: Annotated[
        str | None,
        typer.Option(help="Only cells with this in their name, such as k6a or skewed_0.3."),
    ] = None,
    resume_dir: Annotated[
        Path | None,
        typer.Option(
            help="Where finished cells are kept, so that an interrupted run goes on; "
            "_build/calibration if not given.",
            show_default=False,
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Write the table to this CSV file, and what it was computed from beside it.",
            show_default=False,
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print what the run would take, and stop.")
    ] = False,
    data: DataOption = DATA_DIR,
) -> None:
    """Simulate how often every interval covers the truth, at the sizes of the book's trials.

    The table of the book is made by --out data/calibration.csv.
    """
    from analysis.calibration import study
    from analysis.calibration.command import simulate

    if scheduler is not None:
        try:
            import distributed  # noqa: F401
        except ImportError:
            raise fail(
                "--scheduler needs Dask: python -m pip install 'dask[distributed]'"
            ) from None
    try:
        simulate(
            _load(data),
            replications=replications,
            seed=seed,
            jobs=jobs,
            scheduler=scheduler,
            only=only,
            resume_dir=resume_dir or study.CACHE,
            table=out,
            dry_run=dry_run,
        )
    except (ValueError, OSError) as error:
        raise fail(str(error)) from None


def _difference(between: Any) -> str:
    """The test between subgroups in one line, and what it had to leave out."""
    said = "Test between subgroups: not possible."
    if between.q is not None:
        p = "p < 0.001" if between.q_p < 0.001 else f"p = {between.q_p:.3f}"
        said = f"Test between subgroups: Q = {between.q:.2f}, df = {between.q_df[0]}, {p}."
    return " ".join([said, *between.notes])


def _read_table(file: Path, columns: list[str]) -> list[dict[str, str]]:
    try:
        with file.open(encoding="utf-8-sig", newline="") as handle:
            reader = csv.DictReader(handle, strict=True)
            rows = []
            for row in reader:
                if None in row or None in row.values():
                    raise fail(f"{file}, row {reader.line_num}: has not one cell per column")
                rows.append({**row, "_row": str(reader.line_num)})
            header = reader.fieldnames or []
    except OSError as error:
        raise fail(f"{file}: {error.strerror}") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise fail(f"{file}: is not a UTF-8 CSV file: {error}") from None
    for column in columns:
        if column not in header:
            raise fail(f"{file}: has no column {column!r}; it has {', '.join(header) or 'none'}")
        if list(header).count(column) > 1:
            raise fail(f"{file}: has the column {column!r} more than once")
    if not rows:
        raise fail(f"{file}: has no rows")
    return rows


def _counts(
    file: Path, rows: list[dict[str, str]], events: str, total: str
) -> tuple[list[int], list[int]]:
    """Read both counts of each row; the error names file, row and column."""
    counts: tuple[list[int], list[int]] = ([], [])
    for row in rows:
        where = f"{file}, row {row['_row']}, column"
        x, n = _whole(f"{where} {events}", row[events]), _whole(f"{where} {total}", row[total])
        if n < 1:
            raise ValueError(f"{where} {total}: must be 1 or more")
        if x > n:
            raise ValueError(f"{where} {events}: {x} is more than the total {n}")
        counts[0].append(x)
        counts[1].append(n)
    return counts


def _whole(where: str, cell: str) -> int:
    text = cell.strip()
    # int() would also take 1_0, other scripts' digits and signs
    if not re.fullmatch(r"[0-9]{1,9}", text):
        raise ValueError(f"{where}: {text!r} is not a whole number of 0 or more")
    return int(text)
