"""What the chapter on targets other than CD19 shows: registered trials, and what was reported."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from analysis import chapter, figures, tables
from analysis.canvas import canvas, finish, shape, stroke, text_width, wrap, write
from analysis.markup import Html, escape
from analysis.style import NARROW, SMALL, TEXT, THEME, WIDE, rc
from analysis.wording import ci, count, listing, pct, plain

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from analysis.data import Dataset
    from analysis.rowplot import Layout

__all__ = [
    "Registered",
    "opening",
    "other_diseases",
    "pipeline",
    "registered",
    "reported",
    "silent",
    "target_matrix",
]

#: Outcomes that the tables show, in this order.
OUTCOMES = ("orr", "cr", "pr", "crs_any", "crs_severe", "ntx_any", "ntx_severe")
UNKNOWN = "not stated"


@dataclass(frozen=True)
class Registered:
    """A registered trial and the antigens that its cells recognize."""

    trial_id: str
    targets: tuple[str, ...]
    phase: str
    population: str
    status: str

    @property
    def names_cll(self) -> bool:
        """Whether the population names CLL."""
        return bool(re.search(r"\bCLL\b", self.population))

    @property
    def stopped(self) -> bool:
        """Whether the trial was ended before its time."""
        return self.status.lower().startswith(("terminated", "withdrawn", "suspended"))


def registered(dataset: Dataset) -> list[Registered]:
    """Return the trials of the pipeline, by target: single targets first, then several."""
    found = [
        Registered(
            str(row.trial_id),
            tuple(part.strip() for part in str(row.target).split(",")),
            str(row.phase),
            str(row.population),
            str(row.status),
        )
        for row in dataset.pipeline.itertuples(index=False)
    ]
    return sorted(found, key=lambda trial: (len(trial.targets), trial.targets, trial.trial_id))


def _others(dataset: Dataset) -> pd.DataFrame:
    """Cohorts treated against another target than CD19 alone."""
    cohorts = dataset.cohorts
    stated = cohorts["target"].notna() & ~cohorts["target"].isin(["CD19", UNKNOWN])
    return cohorts[stated]


def _with_cll(cohorts: pd.DataFrame) -> pd.DataFrame:
    """Cohorts that have patients with CLL, or may have."""
    disease = cohorts["disease"].fillna("")
    return cohorts[disease.str.contains(r"\bCLL\b") | disease.str.contains("several")]


def _counts(dataset: Dataset, cohorts: pd.DataFrame, statuses: Sequence[str]) -> pd.DataFrame:
    """Counts of the outcomes shown, by cohort and outcome, each cohort's figures together."""
    rows = dataset.extraction
    rows = rows[
        rows["cohort_id"].isin(cohorts["cohort_id"])
        & rows["outcome"].isin(OUTCOMES)
        & rows["events"].notna()
        & rows["total"].notna()
        & rows["status"].isin(statuses)
    ]
    about = cohorts[["cohort_id", "label", "target", "disease", "year"]]
    rows = rows.merge(about, on="cohort_id").merge(dataset.reports[["report_id", "doi"]])
    rows = rows.assign(place=[OUTCOMES.index(outcome) for outcome in rows["outcome"]])
    return rows.sort_values(["year", "label", "place"], kind="stable", ignore_index=True)


def opening(dataset: Dataset) -> Html:
    """Say in one sentence how many CLL patients the sources report for other targets."""
    found = _counts(dataset, _with_cll(_others(dataset)), ["used"])
    responses = found[found["outcome"] == "orr"]
    trials = registered(dataset)
    targets = {target for trial in trials for target in trial.targets} - {"CD19"}
    text = f"Registered trials of {count(len(targets), 'target')} besides CD19 are listed, but the "
    if responses.empty:
        text += "sources give no count of responses of CLL patients for any of them."
    else:
        said = [
            f"{int(row.events)} of {count(int(row.total), 'patient')} responded to CAR T cells "
            f"against {row.target} ({row.label})"
            for row in responses.itertuples(index=False)
        ]
        text += (
            f"sources count responses of CLL patients in {count(len(responses), 'trial')} only: "
            f"{listing(said)}. Nothing is pooled."
        )
    return Html(f'<p class="ev-block"><strong>{escape(text)}</strong></p>')


def pipeline(dataset: Dataset) -> Html:
    """Draw the registered trials with their targets, and list them."""
    trials = registered(dataset)
    named = sum(trial.names_cll for trial in trials)
    several = sum(len(trial.targets) > 1 for trial in trials)
    stopped = sum(trial.stopped for trial in trials)
    targets = _targets(trials)
    alt = (
        f"Registered trials by target: {count(len(trials), 'trial')}, {several} of them against "
        f"more than one target; {named} name CLL in their population; {stopped} "
        f"{'was' if stopped == 1 else 'were'} stopped early. "
        + "; ".join(
            f"{target}: {sum(target in trial.targets for trial in trials)}" for target in targets
        )
        + "."
    )
    drawn = figures.figure_block(
        target_matrix,
        trials,
        alt=alt,
        caption="Registered trials of further targets that Mohty 2023 lists. A square marks a "
        "target of the trial; hollow: the trial was stopped early. Bold: the registered "
        "population names CLL. Status as printed in 2023.",
        name="pipeline-targets",
        csv=tables.records_csv(trials),
    )
    rows = [
        {
            "Trial": trial.trial_id,
            "Target": ", ".join(trial.targets),
            "Phase": trial.phase,
            "Population": trial.population,
            "Names CLL": "yes" if trial.names_cll else "no",
            "Status in 2023": trial.status,
            "Results in the sources": _results(dataset, trial.trial_id),
            "url": f"https://clinicaltrials.gov/study/{trial.trial_id}",
        }
        for trial in trials
    ]
    return drawn + tables.html_table(
        rows,
        "Registered trials of further targets",
        id="pipeline-by-target",
        row_header="Trial",
        links={"Trial": "url"},
        hide=["url"],
        stack=True,
        csv_href="../_data/pipeline.csv",
    )


def _results(dataset: Dataset, trial_id: str) -> str:
    cohorts = dataset.cohorts[dataset.cohorts["trial_id"] == trial_id]
    cll = _counts(dataset, _with_cll(cohorts), ["used"])
    if not cll.empty:
        return f"CLL: {listing(dict.fromkeys(cll['label']))}"
    if not _counts(dataset, cohorts, ["used", "excluded"]).empty:
        return "other diseases"
    return "none"


def _targets(trials: Sequence[Registered]) -> list[str]:
    """Targets in the order in which the trials name them, CD19 last."""
    named = list(dict.fromkeys(target for trial in trials for target in trial.targets))
    return sorted(named, key=lambda target: target == "CD19")


def target_matrix(trials: Sequence[Registered], *, layout: Layout = "wide") -> Figure:
    """Draw which registered trial is directed against which target.

    Parameters
    ----------
    trials : sequence of Registered
    layout : {"wide", "narrow"}
        For 600 px or more, or for a phone.

    Raises
    ------
    ValueError
        If there are no trials, or the layout has another name.
    """
    import matplotlib as mpl

    if layout not in ("wide", "narrow"):
        raise ValueError(f"layout must be 'wide' or 'narrow', not {layout!r}")
    if not trials:
        raise ValueError("the picture needs at least one trial")
    wide = layout == "wide"
    width, step = (WIDE, 44.0) if wide else (NARROW, 19.0)
    targets = _targets(trials)
    left = width - step * len(targets)
    with mpl.rc_context(rc()):
        figure, axes = canvas(width)
        tall = max(text_width(target, SMALL) for target in targets)
        y = 6 + tall
        for i, target in enumerate(targets):
            axes.text(
                left + step * (i + 0.5) + 4,
                y,
                target,
                fontsize=SMALL,
                color=THEME["muted"],
                rotation=90,
                ha="center",
                va="bottom",
                parse_math=False,
                clip_on=False,
            )
        y += 6
        for trial in trials:
            stroke(axes, 0, y, width, y, color="grid", width=1.0)
            said = f"{trial.trial_id}, {trial.phase}"
            lines = wrap(plain(trial.population), left - 12, SMALL)
            middle = y + 13 + 7.5 * len(lines)
            write(axes, 0, y + 16, said, size=TEXT if wide else SMALL, bold=trial.names_cll)
            for j, line in enumerate(lines):
                write(axes, 0, y + 32 + 15 * j, line, size=SMALL, color="muted")
            for i, target in enumerate(targets):
                if target in trial.targets:
                    _square(axes, left + step * (i + 0.5), middle, 6.0, not trial.stopped)
            y += 24 + 15 * len(lines)
        stroke(axes, 0, y, width, y, color="rule", width=0.8)
        return finish(figure, axes, width, y + 6)


def _square(axes: Any, x: float, y: float, half: float, filled: bool) -> None:
    corners = [
        (x - half, y - half),
        (x + half, y - half),
        (x + half, y + half),
        (x - half, y + half),
    ]
    shape(
        axes,
        corners,
        fill="study" if filled else "ground",
        edge="study" if filled else "excluded",
        width=1.6,
        name="target",
    )


def reported(dataset: Dataset) -> Html:
    """Tabulate what trials of other targets reported, where CLL patients were among the treated."""
    cohorts = _with_cll(_others(dataset))
    found = _counts(dataset, cohorts, ["used", "excluded"])
    if found.empty:
        return Html("<p>The sources give no count for patients with CLL.</p>")
    return tables.html_table(
        _rows(dataset, found),
        "Other targets than CD19: what was reported where patients with CLL were treated",
        id="other-targets",
        row_header="Trial",
        stack=True,
        numeric=["Events"],
        note="95% CI: exact (Clopper and Pearson), for counts of CLL patients only.",
    )


def _rows(dataset: Dataset, found: pd.DataFrame) -> list[dict[str, Any]]:
    from analysis.pooling import clopper_pearson

    labels = dataset.outcomes.set_index("outcome_id")["label"]
    rows = []
    for row in found.itertuples(index=False):
        own = row.status == "used" and re.search(r"^CLL\b", str(row.disease)) is not None
        interval = ""
        if own:
            low, high = clopper_pearson(int(row.events), int(row.total), 0.95)
            interval = f"{pct(row.events / row.total)} ({ci(float(low), float(high))})"
        rows.append(
            {
                "Trial": row.label,
                "Target": row.target,
                "Outcome": labels[row.outcome],
                "Events": f"{int(row.events)} of {int(row.total)}",
                "Patients": "CLL" if own else "several diseases, CLL not reported apart",
                "Percent (95% CI)": interval,
                "Source": chapter.source(row),
            }
        )
    return rows


def silent(dataset: Dataset) -> Html:
    """Name trials of other or unknown targets in CLL from which the sources have no count."""
    cohorts = dataset.cohorts
    others = cohorts["target"].notna() & (cohorts["target"] != "CD19")
    cohorts = _with_cll(cohorts[others])
    counted = _counts(dataset, cohorts, ["used", "excluded"])
    without = cohorts[~cohorts["cohort_id"].isin(counted["cohort_id"])]
    if without.empty:
        return Html("")
    items = "".join(
        f"<li>{escape(row.label)}"
        + (f" ({escape(row.trial_id)})" if isinstance(row.trial_id, str) else "")
        + f": {escape(_why(dataset, row.cohort_id))}</li>"
        for row in without.itertuples(index=False)
    )
    return Html(f"<p>Looked for, and no count found:</p>\n<ul>{items}</ul>")


def _why(dataset: Dataset, cohort_id: str) -> str:
    rows = dataset.extraction
    rows = rows[(rows["cohort_id"] == cohort_id) & (rows["status"] == "not-found")]
    reasons = [str(reason).rstrip(".") for reason in rows["reason"].dropna()]
    if not reasons:
        return "no figure in the sources"
    text = reasons[0]
    return text[:1].lower() + text[1:]


def other_diseases(dataset: Dataset) -> Html:
    """Tabulate what trials of other targets reported in other diseases; nothing where none did."""
    cohorts = _others(dataset)
    elsewhere = cohorts[~cohorts["cohort_id"].isin(_with_cll(cohorts)["cohort_id"])]
    found = _counts(dataset, elsewhere, ["used"])
    if found.empty:
        return Html("<p>The data hold no count of another target in another disease.</p>")
    labels = dataset.outcomes.set_index("outcome_id")["label"]
    rows = [
        {
            "Trial": row.label,
            "Target": row.target,
            "Disease": row.disease,
            "Outcome": labels[row.outcome],
            "Events": f"{int(row.events)} of {int(row.total)}",
            "Source": chapter.source(row),
        }
        for row in found.itertuples(index=False)
    ]
    table = tables.html_table(
        rows,
        "Other targets in other diseases",
        id="other-targets-elsewhere",
        row_header="Trial",
        numeric=["Events"],
        stack=True,
    )
    return Html(
        f"<details class='ev-more'><summary>Other targets in other diseases ({len(rows)} figures)"
        f"</summary>\n{table}\n</details>"
    )
