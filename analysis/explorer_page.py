"""The page on which readers choose the trials: controls, all results, and what they look like.

Everything that the page can show is in it, computed at the build (`analysis.explorer`), so that it
works from a file and without a network.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import lru_cache
from importlib import resources
from typing import Any

import numpy as np

from analysis import chapter, explorer, figures, subset_figures, tables, wording
from analysis.digest import data_date
from analysis.explorer import Explored
from analysis.identity import AUTHOR, TITLE, code_version
from analysis.markup import Html, attribute, copy_block, escape

__all__ = ["ALL_FROM", "answer", "choose", "explored", "limits", "picture", "pictures"]

#: Trials from which on all selections are drawn: with fewer there is little to see.
ALL_FROM = 4
_AMONG = ' data-part="among"'


@lru_cache(maxsize=1)
def explored() -> tuple[Explored, ...]:
    """Every estimand of the book with all selections of its trials."""
    return tuple(explorer.explore(chapter.dataset()))


def answer(entries: Sequence[Explored]) -> Html:
    """Say how many results one trial moves far, and which of them moves most."""
    moves = [move for entry in entries if (move := _largest_move(entry)) is not None]
    if not moves:
        return Html("<p>No result of this book has three trials, so none can be left out.</p>")
    entry, trial, full, other = max(moves, key=lambda move: abs(move[3] - move[2]))
    far = sum(abs(move[3] - move[2]) > 0.1 for move in moves)
    first = "no result" if not far else wording.count(far, "result")
    verb = "moves" if far <= 1 else "move"
    text = (
        f"Of the {wording.count(len(moves), 'result')} with three trials or more, {first} {verb} "
        "by more than ten percentage points when a single trial is left out. The largest move: "
        f"{wording.plain(entry.label)} ({entry.target.population_short}), from "
        f"{wording.pct(full)} with all trials to {wording.pct(other)} without "
        f"{wording.plain(trial)}."
    )
    return Html(f'<p class="ev-block"><strong>{escape(text)}</strong></p>')


def _largest_move(entry: Explored) -> tuple[Explored, str, float, float] | None:
    """Trial without which the main estimate moves most, the estimate of all, and without it."""
    k = len(entry.trials)
    if k < 3 or entry.left_out < 1:
        return None
    subsets = entry.bases[0].subsets[explorer.models()[0].id]
    full = float(subsets.estimate[subsets.size == k][0])
    rows = np.flatnonzero(subsets.size == k - 1)
    estimates = subsets.estimate[rows]
    if np.isnan(full) or np.isnan(estimates).any():
        return None
    at = int(np.argmax(np.abs(estimates - full)))
    gone = int(np.flatnonzero(~subsets.members[rows[at]])[0])
    return entry, entry.trials[gone].label, full, float(estimates[at])


def choose(entries: Sequence[Explored]) -> Html:
    """Return the controls with everything that they can show.

    Without scripts the table of all trials stands in their place.
    """
    using = explorer.models()
    book = json.loads(explorer.payload(chapter.dataset(), entries, using))
    book["cite"] = _citing()
    data = json.dumps(book, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    data = data.replace("<", "\\u003c")
    script = resources.files("analysis").joinpath("assets/explorer.js").read_text(encoding="utf-8")
    return Html(
        '<div class="ev-block ev-explorer" id="explorer" data-ev-explorer>\n'
        '<div class="ev-x-static">\n<p>Choosing trials needs JavaScript, which is off or did not '
        "run. This table has the results of all trials; the chapters it links to have those with "
        f"each trial left out.</p>\n{_all_trials(entries)}\n</div>\n"
        '<p class="ev-x-message" data-part="message" role="note" hidden></p>\n'
        f"{_form(entries)}\n{_result()}\n"
        f'<script type="application/json">{data}</script>\n</div>\n<script>{script}</script>'
    )


def _all_trials(entries: Sequence[Explored]) -> Html:
    """Tabulate the result of all trials of every estimand, by the main model.

    The anchors are the addresses that open the page with an estimand chosen.
    """
    main = explorer.models()[0]
    rows = []
    for entry in entries:
        basis = entry.bases[0]
        address = f"{entry.target.page}.html#{entry.target.id}"
        row: dict[str, Any] = {
            "Outcome": Html(
                f'<a id="estimate={attribute(entry.target.id)}" href="{attribute(address)}">'
                f"{escape(entry.label)}</a>"
            ),
            "Population": entry.target.population_short,
            "Trials": len(entry.trials),
            "Patients": int(basis.total.sum()),
        }
        if main.id in basis.subsets:
            subsets = basis.subsets[main.id]
            at = int(np.flatnonzero(subsets.members.all(axis=1))[0])
            value = {
                name: None if np.isnan(found) else float(found)
                for name in ("estimate", "ci_low", "ci_high", "pi_low", "pi_high", "tau2")
                for found in (getattr(subsets, name)[at],)
            }
            digits, tau2 = wording.TABLE_DIGITS, value["tau2"]
            row |= {
                "Estimate": wording.pct(value["estimate"], digits),
                "95% interval": wording.ci(value["ci_low"], value["ci_high"], digits),
                "95% prediction interval": wording.ci(value["pi_low"], value["pi_high"], digits),
                "\u03c4": wording.MISSING if tau2 is None else wording.number(tau2**0.5, 2),
            }
        else:
            row |= {"Estimate": "not pooled"}
        rows.append(row)
    names = list(dict.fromkeys(name for row in rows for name in row))
    return tables.html_table(
        [{name: row.get(name, "") for name in names} for row in rows],
        f"All trials: {main.name.removesuffix(' (main)')}",
        id="explorer-all",
        numeric=[name for name in names if name not in ("Outcome", "Population")],
        stack=True,
    )


def _citing() -> dict[str, str]:
    data = chapter.dataset()
    year = (data_date() or "")[:4]
    return {
        "before": f"{AUTHOR}{f' ({year})' if year else ''}. ",
        "after": f"In: {TITLE}. ",
        "origin": f"data version {data.version}, data sha256 {data.sha256}, "
        f"code version {code_version()}",
    }


def _form(entries: Sequence[Explored]) -> str:
    groups: dict[str, list[str]] = {}
    for entry in entries:
        name = f"{entry.label} ({entry.target.population_short})"
        option = f'<option value="{attribute(entry.target.id)}">{escape(name)}</option>'
        groups.setdefault(entry.target.population_label, []).append(option)
    options = "".join(
        f'<optgroup label="{attribute(name)}">{"".join(group)}</optgroup>'
        for name, group in groups.items()
    )
    return (
        '<form hidden autocomplete="off">\n'
        '<fieldset class="ev-x-all"><legend>Question</legend>'
        '<label class="ev-field"><span>Outcome and population</span>'
        f'<select data-part="question">{options}</select></label></fieldset>\n'
        '<fieldset><legend>Model</legend><div data-part="models"></div></fieldset>\n'
        '<fieldset><legend>Denominator</legend><div data-part="denominators"></div></fieldset>\n'
        '<fieldset class="ev-x-all"><legend>Trials that count</legend>'
        '<div class="ev-x-trials" data-part="trials"></div>'
        '<div class="ev-x-buttons"><button type="button" class="ev-button" data-all="yes">'
        'All trials</button><button type="button" class="ev-button" data-all="no">No trial'
        '</button></div></fieldset>\n</form>\n<p class="ev-x-now" aria-hidden="true" '
        'data-part="now" hidden></p>'
    )


def _result() -> str:
    numbers = (
        ("estimate", "Estimate"),
        ("interval", "95% interval"),
        ("prediction", "95% prediction interval"),
        ("tau", "\u03c4 (spread between trials, log odds)"),
        ("count", "Trials"),
        ("patients", "Events/patients"),
    )
    listed = "".join(
        f'<div><dt>{escape(label)}</dt><dd data-part="{name}"></dd></div>'
        for name, label in numbers
    )
    heads = "".join(
        f'<th scope="col"{extra}>{escape(head)}</th>'
        for head, extra in (
            ("Trial", ""),
            ("Counts", ""),
            ("Events/patients", ' class="ev-num"'),
            ("Percent (95% interval)", ' class="ev-num"'),
        )
    )
    blocks = "\n".join(
        copy_block(name, " ", id=f"explorer-{part}", prose=part != "code").source.replace(
            f'id="explorer-{part}"', f'id="explorer-{part}" data-part="{part}"'
        )
        for name, part in (
            ("Address of this selection", "link"),
            ("Citation of this selection", "cite"),
            ("Python code", "code"),
        )
    )
    return (
        '<div class="ev-x-result" hidden>\n'
        '<p class="ev-x-said" role="status" aria-live="polite" aria-atomic="true" '
        'data-part="said"></p>\n'
        f'<dl class="ev-x-numbers">{listed}</dl>\n'
        f"{_plot('forest', 'note', 'Forest plot')}\n"
        f"{_plot('all', 'about', 'Every selection', _AMONG)}\n"
        '<p><a class="ev-download" data-part="save" href="#explorer" hidden>'
        "Every selection by this model and denominator (CSV)</a></p>\n"
        '<details class="ev-more"><summary>The same as a table</summary>\n'
        '<div class="ev-block ev-table"><div class="ev-scroll ev-stack" role="region" '
        'tabindex="0" aria-labelledby="explorer-caption"><table>'
        '<caption id="explorer-caption"><span data-part="caption"></span></caption>'
        f'<thead><tr>{heads}</tr></thead><tbody data-part="rows"></tbody></table></div></div>\n'
        "</details>\n"
        '<p>Sources, criteria and everything else on this result: <a data-part="page" '
        'href="#explorer">the chapter</a>.</p>\n'
        '<details class="ev-more"><summary>Share, cite or recompute this selection</summary>\n'
        f"{blocks}\n</details>\n</div>"
    )


def _plot(part: str, caption: str, name: str, more: str = "") -> str:
    """Place for a picture that the script draws."""
    return (
        f'<figure class="ev-figure ev-x-plot"{more}><div><svg role="img" data-part="{part}" '
        f'aria-label="{name}"></svg></div><figcaption data-part="{caption}"></figcaption></figure>'
    )


def limits(entries: Sequence[Explored]) -> Html:
    """Say which selections were computed."""
    sets = sum(
        len(subsets.size)
        for entry in entries
        for basis in entry.bases
        for subsets in basis.subsets.values()
    )
    short = [entry for entry in entries if entry.left_out < len(entry.trials) - 2]
    text = (
        f"This page holds {sets:,} pooled results, computed when the book was built. A result of "
        "up to 14 trials has every selection of two trials or more among them; with more trials "
        "there would be too many, and only those that leave out few trials are pooled, at most "
        f"{explorer.MOST_SUBSETS:,} by each model and denominator. "
    )
    if short:
        said = "; ".join(
            f"{wording.plain(entry.title)}: up to {entry.left_out} of {len(entry.trials)}"
            for entry in short
        )
        text += f"This concerns {said}."
    else:
        most = max((len(entry.trials) for entry in entries), default=0)
        text += f"No result of this book has more than {wording.count(most, 'trial')} yet."
    late = [model for model in explorer.models() if model.least > 2]
    for model in late:
        text += (
            f" {model.name} starts at {model.least} trials: with two, its interval reaches from "
            "0% to 100% whatever the trials report."
        )
    return Html(f"<p>{escape(text)}</p>")


# ------------------------------------------------------------------------------ all selections


def pictures(entries: Sequence[Explored]) -> Html:
    """Draw all selections of every estimand with enough trials, the first one unfolded."""
    shown = [entry for entry in entries if len(entry.trials) >= ALL_FROM]
    if not shown:
        return Html(f"<p>No result has {ALL_FROM} trials, so there is little to draw.</p>")
    parts = [picture(shown[0]).source]
    parts += [
        f'<details class="ev-more"><summary>{escape(entry.title)}</summary>\n'
        f"{picture(entry)}\n</details>"
        for entry in shown[1:]
    ]
    return Html("\n".join(parts))


def picture(entry: Explored) -> Html:
    """Draw the estimate of every selection against tau, one panel for each trial."""
    subsets = entry.bases[0].subsets[explorer.models()[0].id]
    names = [trial.label for trial in entry.trials]
    cloud = subset_figures.cloud(entry.title, names, subsets)
    return figures.figure_block(
        subset_figures.clouds,
        cloud,
        alt=subset_figures.alt_clouds(cloud),
        caption=f"{wording.plain(entry.title)}: every selection of two trials or more, pooled by "
        "the main model. Each panel shows the same selections and marks those with the trial it "
        "is named after: filled circles with it, hollow triangles without it.",
        name=f"{entry.target.id}-selections",
        csv=tables.to_csv(_listed(entry)),
    )


def _listed(entry: Explored) -> list[dict[str, Any]]:
    subsets = entry.bases[0].subsets[explorer.models()[0].id]
    return [
        {
            "without": "; ".join(
                trial.label
                for trial, inside in zip(entry.trials, member, strict=True)
                if not inside
            ),
            "trials": int(size),
            **{
                name: None if np.isnan(value) else float(value)
                for name in ("estimate", "ci_low", "ci_high", "pi_low", "pi_high", "tau2")
                for value in (getattr(subsets, name)[i],)
            },
        }
        for i, (member, size) in enumerate(zip(subsets.members, subsets.size, strict=True))
    ]
