"""Would the tests notice a mistake? mutmut on a random sample of its mutants of the engine.

    python benchmarks/mutation.py --jobs 4

copies the project's tracked files to a temporary folder, has mutmut (https://mutmut.readthedocs.io)
list every mutant of ``analysis/pooling``, draws some with a fixed seed, runs on each the tests of
the engine that reach it, and writes ``benchmarks/mutation.json``: the score with its interval and
every mutant that no test noticed. A reason written beside a survivor in that file is kept on the
next run. Nothing in the working tree is changed.

It needs ``mutmut`` beside the packages of ``requirements.txt``. ``--folder`` keeps the copy: a run
that was cut goes on there, and ``mutmut show NAME`` in it shows a mutant.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tarfile
import tempfile
from collections import Counter
from importlib.metadata import version
from io import BytesIO
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
SEED = 20240229
PACKAGE = "analysis.pooling."
SETTINGS = """\
[mutmut]
source_paths=
    analysis/pooling
only_mutate=
    analysis/pooling/*
also_copy=
    analysis
    data
pytest_add_cli_args=
    -p
    no:xdist
    -p
    no:cacheprovider
    -o
    filterwarnings=default
pytest_add_cli_args_test_selection=
    tests/pooling
    tests/test_robustness.py
timeout_multiplier=2.0
timeout_constant=3.0
"""
# how a mutant's process ended, in mutmut's records
OUTCOMES = {
    "noticed": {1, 3},
    "survived": {0},
    "no test": {33, 5},
    "timeout": {36, 24, -24, 152, 255, -9, -11},
}
MISSED = ("survived", "no test")


def extract(folder: Path, *names: str) -> None:
    """Put tracked files of the project into a folder, as they were committed last."""
    made = subprocess.run(
        ["git", "archive", "HEAD", *names], cwd=ROOT, capture_output=True, check=True
    )
    with tarfile.open(fileobj=BytesIO(made.stdout)) as archive:
        archive.extractall(folder, filter="data")


def copy_project(folder: Path) -> None:
    """Fill an empty folder with what mutmut needs of the project, and with its settings."""
    extract(folder, "analysis", "data", "tests", "pyproject.toml")
    (folder / "setup.cfg").write_text(SETTINGS, encoding="utf-8")


def mutmut(folder: Path, *arguments: str, quiet: bool = False) -> str:
    """Run mutmut in the copy; its progress goes to the terminal unless ``quiet``."""
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "mutmut", *arguments],
        cwd=folder, env=environment, check=False, text=True, encoding="utf-8",
        stdout=subprocess.PIPE if quiet else None,
    )  # fmt: skip
    return done.stdout or ""


def ends(folder: Path) -> dict[str, int | None]:
    """Every mutant with the exit code of its run, None where it has not been run."""
    out: dict[str, int | None] = {}
    for path in sorted((folder / "mutants" / "analysis" / "pooling").glob("*.meta")):
        out |= json.loads(path.read_text(encoding="utf-8"))["exit_code_by_key"]
    return out


def outcome(code: int | None) -> str:
    """What an exit code says."""
    for name, codes in OUTCOMES.items():
        if code in codes:
            return name
    raise SystemExit(f"a mutant ended in a way this script does not know: {code}")


def place(name: str) -> tuple[str, str]:
    """Module and function of a mutant, from mutmut's name for it."""
    module, _, rest = name.removeprefix(PACKAGE).rpartition(".")
    function = rest.rpartition("__mutmut_")[0].removeprefix("x")
    # mutmut writes x_function and xǁClassǁmethod
    function = function.strip("ǁ").replace("ǁ", ".") if "ǁ" in function else function[1:]
    return module or "__init__", function


def change(diff: str) -> tuple[str, str]:
    """The lines that a mutant takes out and puts in, each as one line."""
    lines = [line for line in diff.splitlines() if not line.startswith(("---", "+++", "#"))]
    before, after = (
        " ".join(" ".join(line[1:] for line in lines if line.startswith(sign)).split())
        for sign in "-+"
    )
    return before, after


def wilson(hits: int, of: int) -> tuple[float, float]:
    """95% interval of a share."""
    from statsmodels.stats.proportion import proportion_confint

    low, high = proportion_confint(hits, of, method="wilson")
    return float(low), float(high)


def report(folder: Path, drawn: list[str], total: int, reasons: dict[str, str]) -> dict[str, Any]:
    """What is written: counts by module, the score, and the survivors with reasons."""
    codes = ends(folder)
    found = {name: outcome(codes[name]) for name in drawn}
    modules: dict[str, Counter[str]] = {}
    survivors = []
    for name in sorted(drawn):
        module, function = place(name)
        modules.setdefault(module, Counter())[found[name]] += 1
        if found[name] in MISSED:
            before, after = change(mutmut(folder, "show", name, quiet=True))
            entry = {"module": module, "function": function, "before": before, "after": after}
            survivors.append(entry | {"reason": reasons.get(identity(entry), "")})
    every = Counter(found.values())
    noticed = every["noticed"] + every["timeout"]
    harmless = sum(entry["reason"].startswith(("equal", "speed", "words")) for entry in survivors)
    share = noticed / len(drawn)
    low, high = wilson(noticed, len(drawn))
    return {
        "tool": f"mutmut {version('mutmut')}",
        "seed": SEED,
        "mutants": total,
        "drawn": len(drawn),
        "noticed": noticed,
        "by_time_limit": every["timeout"],
        "score": round(share, 3),
        "score_95": [round(low, 3), round(high, 3)],
        "harmless": harmless,
        "score_without_harmless": round(noticed / (len(drawn) - harmless), 3),
        "reasons": dict(
            sorted(Counter(entry["reason"].partition(":")[0] for entry in survivors).items())
        ),
        "modules": {
            name: {"drawn": sum(row.values()), "noticed": row["noticed"] + row["timeout"]}
            for name, row in sorted(modules.items())
        },
        "survivors": survivors,
    }


def identity(entry: dict[str, Any]) -> str:
    """A name that outlives mutmut's numbering."""
    return "{module}.{function}: {before} -> {after}".format(**entry)


def main() -> None:
    """Copy, list, draw, run, write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--count", type=int, default=1200, help="mutants to draw")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes")
    parser.add_argument("--folder", type=Path, help="keep the copy here, or go on with it")
    parser.add_argument(
        "--again", action="store_true", help="in --folder, try the survivors with today's tests"
    )
    parser.add_argument("--output", type=Path, default=HERE / "mutation.json")
    options = parser.parse_args()
    if options.again and options.folder is None:
        parser.error("--again needs the --folder of a finished run")
    try:
        version("mutmut")
    except ImportError:
        raise SystemExit("this needs mutmut: python -m pip install mutmut") from None
    old = json.loads(options.output.read_text("utf-8")) if options.output.exists() else {}
    reasons = {identity(entry): entry["reason"] for entry in old.get("survivors", [])}
    with tempfile.TemporaryDirectory() as name:
        folder = options.folder or Path(name)
        if not (folder / "setup.cfg").exists():
            folder.mkdir(parents=True, exist_ok=True)
            copy_project(folder)
        if not ends(folder):
            # mutmut lists its mutants when it runs one
            mutmut(folder, "run", "--max-children", "1", f"{PACKAGE}_stats.x_z_quantile__mutmut_1")
        every = sorted(ends(folder))
        drawn = random.Random(SEED).sample(every, min(options.count, len(every)))
        codes = ends(folder)
        missed = [m for m in drawn if codes[m] is None]
        if options.again:
            for tests_in in (folder, folder / "mutants"):
                extract(tests_in, "tests")
            missed += [m for m in drawn if codes[m] is not None and outcome(codes[m]) in MISSED]
        if missed:
            mutmut(folder, "run", "--max-children", str(options.jobs), *missed)
        found = report(folder, drawn, len(every), reasons)
    options.output.write_text(
        json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8"
    )
    print(
        f"{found['noticed']} of {found['drawn']} mutants noticed, score {found['score']} "
        f"({found['score_without_harmless']} without harmless ones)"
    )


if __name__ == "__main__":
    main()
