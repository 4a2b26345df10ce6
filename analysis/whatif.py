"""What one changed line does: the edits of the chapter "Change a model", and what they lead to.

Each edit is shown as a patch of the file as it is, and its effect is computed without touching the
file, so that the page says what the commands print once the line is changed.
"""

from __future__ import annotations

import difflib
import json
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from analysis import chapter, diff, estimands, publish, tables, wording
from analysis.markup import Html, copy_block, escape

if TYPE_CHECKING:
    from collections.abc import Sequence

    from analysis.data import Dataset

__all__ = [
    "CELLS",
    "EDITS",
    "FIGURE",
    "MODEL",
    "Edit",
    "asked",
    "effect",
    "moved",
    "own_table",
    "patch",
    "results",
    "summary",
]

ROOT = Path(__file__).resolve().parent.parent
SHOWN = "orr-cd19-single-agent"
ASK = f".venv/bin/python -m analysis estimate {SHOWN}"
COMPARE = ".venv/bin/python -m analysis estimates --diff"
POOL = ".venv/bin/python -m analysis pool studies.csv --label study"
# Longer output is folded.
LONG = 20

# A made-up table of studies: name, events, patients.
OWN = (("A", 3, 10), ("B", 8, 12), ("C", 9, 20), ("D", 5, 16), ("E", 14, 18), ("F", 2, 15))

# The two-step model of most published meta-analyses, in place of the book's.
OTHER: dict[str, Any] = {"model": "dl", "interval": "wald"}
POPULATION = "cd19-single-agent"
RECORD = "transcend-cll-004.orr.targetedonc-2024"


@dataclass(frozen=True)
class Edit:
    """One line of the project, and what is put in its place.

    Attributes
    ----------
    id : str
    file : str
        Path in the project.
    after, until : str
        The line is the first one that contains `old` after one text and before the next other one.
    old, new : str
        Part of the line, and its replacement; a line that is left empty is taken out.
    """

    id: str
    file: str
    after: str
    until: str
    old: str
    new: str

    def applied(self, text: str) -> str:
        """Return the text of the file with the line changed.

        Raises
        ------
        ValueError
            If the file does not have the line.
        """
        start = text.find(self.after)
        begin = start + len(self.after)
        end = text.find(self.until, begin) if start >= 0 else -1
        at = text.find(self.old, begin, end) if end >= 0 else -1
        if at < 0:
            raise ValueError(f"{self.file}: there is no {self.old!r} where it is expected")
        first = text.rfind("\n", 0, at) + 1
        last = text.find("\n", at) + 1
        line = text[first:last].replace(self.old, self.new, 1)
        return text[:first] + (line if line.strip() else "") + text[last:]


def _assigned(options: dict[str, Any]) -> str:
    return f"PRIMARY: dict[str, Any] = {json.dumps(options)}"


MODEL = Edit(
    id="model",
    file="analysis/estimands.py",
    after="\n# The main analysis of the book",
    until="\n\n",
    old=_assigned(estimands.PRIMARY),
    new=_assigned(OTHER),
)
CELLS = Edit(
    id="cells",
    file="analysis/estimands.toml",
    after=f"[populations.{POPULATION}.where]",
    until="\n[",
    old='cell_source = "autologous"',
    new="",
)
FIGURE = Edit(
    id="figure",
    file="data/extraction.csv",
    after=f"\n{RECORD},",
    until="\n",
    old=",used,",
    new=",excluded,",
)
EDITS = (MODEL, CELLS, FIGURE)


@lru_cache(maxsize=1)
def _pinned() -> tuple[dict[str, Any], ...]:
    return tuple(diff.earlier())


def _with(changed: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The pinned records, with some of them replaced."""
    new = {entry["estimand_id"]: entry for entry in changed}
    return [new.get(entry["estimand_id"], entry) for entry in _pinned()]


@lru_cache(maxsize=len(EDITS))
def _after(edit: Edit) -> tuple[Dataset, list[dict[str, Any]]]:
    """The data and the records as they are once the line is changed."""
    data = chapter.dataset()
    if edit is MODEL:
        return data, list(publish.records(data, **OTHER))
    targets = [target for target in estimands.estimands() if target.population == POPULATION]
    if edit is CELLS:
        left = edit.old.split(" ")[0]
        targets = [
            replace(target, where={k: v for k, v in target.where.items() if k != left})
            for target in targets
        ]
    else:
        rows = data.extraction.copy()
        rows.loc[rows["record_id"] == RECORD, "status"] = edit.new.strip(",")
        data = replace(data, extraction=rows)
        targets = [target for target in targets if target.outcome == RECORD.split(".")[1]]
    pinned = {entry["estimand_id"]: entry["records"] for entry in _pinned()}
    changed = [
        target
        for target in targets
        if list(estimands.evidence(data, target).rows["record_id"]) != pinned[target.id]
    ]
    return data, _with(list(publish.records(data, targets=changed)))


def summary() -> Html:
    """Answer the question of the chapter with the effect of another model."""
    _, after = _after(MODEL)
    pairs = [
        (old, new)
        for old, new in zip(_pinned(), after, strict=True)
        if old["estimate"] is not None and new["estimate"] is not None and old["trials"] > 1
    ]
    found = diff.moved(list(_pinned()), after)
    points = max(abs(new["estimate"] - old["estimate"]) for old, new in pairs)
    narrower = sum(_width(new) < _width(old) for old, new in pairs)
    text = (
        f"One changed line puts another model in place of the book's: {len(found)} of "
        f"{len(_pinned())} results move, none by more than "
        f"{wording.number(100 * points, 1)} percentage points; {narrower} of {len(pairs)} "
        "intervals become narrower."
    )
    return Html(f'<p class="ev-block"><strong>{escape(text)}</strong></p>')


def _width(entry: dict[str, Any]) -> float:
    return float(entry["ci_high"] - entry["ci_low"])


def asked() -> Html:
    """Show the command for one estimate, and what it prints."""
    question = chapter.ask(SHOWN)
    assert question.fit is not None
    said = [
        f"{SHOWN}@{chapter.dataset().version}",
        wording.finding(question.fit, f"{question.label}, {question.population}", digits=1),
        *question.fit.notes,
    ]
    return _command(ASK, said, "asked")


def patch(edit: Edit) -> Html:
    """Show a changed line as a patch, to be made by hand or with ``git apply``."""
    before = (ROOT / edit.file).read_text(encoding="utf-8")
    try:
        after = edit.applied(before)
    except ValueError:
        after = before
    if after == before:
        said = f"In this copy of the project {edit.file} has another line here already."
        return Html(f"<p>{escape(said)}</p>")
    lines = difflib.unified_diff(
        before.splitlines(),
        after.splitlines(),
        f"a/{edit.file}",
        f"b/{edit.file}",
        n=1,
        lineterm="",
    )
    return copy_block("Change", "\n".join(lines), id=f"{edit.id}-patch")


def moved(edit: Edit) -> Html:
    """Show the command that compares, and what it prints once the line is changed."""
    return _command(COMPARE, effect(edit), edit.id)


def effect(edit: Edit) -> list[str]:
    """Return the lines that ``estimates --diff`` prints once the line is changed.

    Parameters
    ----------
    edit : Edit
        One of :data:`EDITS`.
    """
    data, after = _after(edit)
    return diff.report(data, list(_pinned()), after)


def results(edit: Edit) -> Html:
    """Tabulate the pooled results of the populations with CLL before and after a change."""
    _, after = _after(edit)
    labels = chapter.dataset().outcomes.set_index("outcome_id")["label"]
    now = {entry["estimand_id"]: entry for entry in after}
    before = {entry["estimand_id"]: entry for entry in _pinned()}
    rows = []
    for target in estimands.estimands():
        old, new = before[target.id], now[target.id]
        if old["estimate"] is None or old["trials"] < 2 or new["estimate"] is None:
            continue
        rows.append(
            {
                "Outcome": f"{labels[target.outcome]} ({target.population_short})",
                "Trials": old["trials"],
                "Before": _result(old),
                "After": _result(new),
            }
        )
    return tables.html_table(
        rows,
        "Every pooled result for CLL before and after the change",
        id=f"{edit.id}-results",
        numeric=["Before", "After"],
        stack=True,
    )


def _result(entry: dict[str, Any]) -> str:
    limits = wording.ci(entry["ci_low"], entry["ci_high"], wording.TABLE_DIGITS)
    return f"{wording.pct(entry['estimate'], wording.TABLE_DIGITS)} ({limits})"


def own_table() -> Html:
    """Show a small table, the command that pools it by two models, and what it prints."""
    from analysis.pooling import pool

    names, events, total = zip(*OWN, strict=True)
    lines = ["study,events,total", *(f"{name},{x},{n}" for name, x, n in OWN)]
    blocks = [copy_block("studies.csv", "\n".join(lines), id="own-file")]
    for model, option in (("glmm", ""), ("dl", " --model dl")):
        fit = pool(events, total, model, labels=names)
        said = [wording.finding(fit, "Pooled proportion", digits=1)]
        more = (wording.model_sentence(fit), wording.heterogeneity(fit), *fit.notes)
        said += [f"  {text}" for text in more if text]
        blocks.append(_command(f"{POOL}{option}", said, f"own-{model}"))
    return Html("\n".join(block.source for block in blocks))


def _command(command: str, said: Sequence[str], name: str) -> Html:
    shown = copy_block("Command", command, id=f"{name}-command")
    output = copy_block("Output", "\n".join(said), id=f"{name}-output")
    if len(said) > LONG:
        output = chapter.folded(f"The output, {wording.count(len(said), 'line')}", output)
    return shown + output
