"""Tables from fits and frames: accessible HTML, and the same data as CSV.

Every table has a caption, column and row headers with a scope, and sits in a container that
scrolls sideways and can be reached by keyboard. Cells are data and are escaped. Pooled
percentages have one decimal, single trials none (their denominators are small).
"""

from __future__ import annotations

import csv as csv_module
import hashlib
import html
import io
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib import resources
from typing import Any

from analysis.markup import Html, attribute, data_uri, download_link, escape, safe_url
from analysis.wording import (
    INTERVAL_NAMES,
    MISSING,
    MODEL_NAMES,
    TABLE_DIGITS,
    ci,
    count,
    heterogeneity,
    level,
    model_name,
    number,
    patients,
    pct,
    plain,
    trial_labels,
)

__all__ = [
    "browse_table",
    "ci",
    "fits_csv",
    "html_table",
    "leave_one_out_table",
    "model_table",
    "pct",
    "records_csv",
    "results_table",
    "studies_csv",
    "studies_table",
    "to_csv",
]

#: Fields of drawn things that are no data: see `records_csv`.
HOW_DRAWN = frozenset({"color", "dash", "marker", "strong", "rule", "brief", "sub"})

Fits = Mapping[str, Any] | Sequence[tuple[str, Any]]


# --------------------------------------------------------------------------- any table


def _missing(value: object) -> bool:
    if value is None:
        return True
    if isinstance(value, float) and math.isnan(value):
        return True
    # pandas.NA and NaT are neither equal to themselves nor text; recognized without pandas.
    return type(value).__name__ in {"NAType", "NaTType"}


def _cells(frame: Any) -> tuple[list[str], list[list[Any]]]:
    """Return column names and rows of a DataFrame or of a sequence of mappings."""
    if hasattr(frame, "columns") and hasattr(frame, "itertuples"):
        names = [str(name) for name in frame.columns]
        return names, [list(row) for row in frame.itertuples(index=False, name=None)]
    rows = [dict(row) for row in frame]
    names = list(dict.fromkeys(str(name) for row in rows for name in row))
    return names, [[row.get(name) for name in names] for row in rows]


def _text(value: object) -> str:
    """Return a cell as text: no trailing ``.0`` on whole numbers, nothing for a missing value."""
    if _missing(value):
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if hasattr(value, "item") and not isinstance(value, Html):
        value = value.item()
    if isinstance(value, float):
        return f"{value:.15g}"
    return plain(value)


def _cell_value(value: object) -> object:
    return value if isinstance(value, Html) else _text(value)


def _seen(value: object) -> str:
    """Return a cell as a reader sees it: of finished HTML the text between the tags."""
    if isinstance(value, Html):
        value = html.unescape(re.sub(r"<[^>]*>", "", value.source))
    return plain(value)


def _is_number(value: object) -> bool:
    if hasattr(value, "item"):
        value = value.item()
    return isinstance(value, int | float) and not isinstance(value, bool)


def to_csv(frame: Any) -> str:
    """Return a frame or a sequence of mappings as CSV text.

    A text cell that a spreadsheet would run as a formula is prefixed by an apostrophe; of finished
    HTML the text remains.
    """
    names, rows = _cells(frame)
    out = io.StringIO()
    writer = csv_module.writer(out, lineterminator="\n")
    writer.writerow([_defused(name) for name in names])
    writer.writerows([_exact(cell) for cell in row] for row in rows)
    return out.getvalue()


def records_csv(items: Iterable[Any], fields: Sequence[str] = ()) -> str:
    """Return the data behind a drawing as CSV text.

    Parameters
    ----------
    items : iterable of dataclass instances
        What is drawn: lines, rows, points. Fields with a sequence of numbers become several rows,
        one for each place; several texts are joined.
    fields : sequence of str
        Fields to write, all with values of the same length; by default all but those that say how
        to draw (`HOW_DRAWN`).

    Raises
    ------
    ValueError
        If the sequences of an item differ in length.
    """
    import dataclasses

    rows: list[dict[str, Any]] = []
    for item in items:
        names = fields or [f.name for f in dataclasses.fields(item) if f.name not in HOW_DRAWN]
        values = {name: getattr(item, name) for name in names}
        values = {
            name: value.tolist() if hasattr(value, "tolist") else value
            for name, value in values.items()
        }
        long = {
            name: list(value)
            for name, value in values.items()
            if isinstance(value, list | tuple) and not all(isinstance(v, str) for v in value)
        }
        if len({len(value) for value in long.values()}) > 1:
            raise ValueError(f"sequences of different length behind a drawing: {sorted(long)}")
        length = len(next(iter(long.values()))) if long else 1
        for at in range(length):
            row = {}
            for name, value in values.items():
                if name in long:
                    value = long[name][at]
                row[name] = "; ".join(value) if isinstance(value, list | tuple) else value
            rows.append(row)
    return to_csv(rows)


def _exact(value: object) -> str:
    """Return a cell for a file: numbers in full, no markup, text that no spreadsheet runs."""
    if isinstance(value, Html):
        return _defused(_seen(value))
    if _missing(value) or not _is_number(value):
        return _defused(_text(value))
    plain_value = value.item() if hasattr(value, "item") else value
    return repr(plain_value).removesuffix(".0")


def _defused(text: str) -> str:
    if text[:1] in {"=", "+", "-", "@"} and not re.fullmatch(r"[+-]?\d+(\.\d+)?%?", text):
        return f"'{text}"
    return text


def _caption_id(caption: str, anchor: str | None) -> str:
    return f"{anchor or 'ev' + hashlib.sha256(caption.encode()).hexdigest()[:10]}-caption"


def _short(header: str) -> str:
    """Return a header for a place without room."""
    return header.replace("prediction interval", "PI").replace(" (points)", "")


def _link(text: str, url: object) -> str:
    address = None if _missing(url) else safe_url(url)
    if address is None or not text:
        return escape(text)
    return f'<a href="{attribute(address)}">{escape(text)}</a>'


def html_table(
    frame: Any,
    caption: str,
    *,
    id: str | None = None,
    row_header: str | None = None,
    numeric: Iterable[str] = (),
    formats: Mapping[str, Callable[[Any], str]] | None = None,
    headers: Mapping[str, str] | None = None,
    links: Mapping[str, str] | None = None,
    hide: Iterable[str] = (),
    foot: int = 0,
    stack: bool = False,
    csv: str | None = None,
    csv_href: str | None = None,
    note: str | Html = "",
) -> Html:
    """Return a frame as an accessible table.

    Parameters
    ----------
    frame : pandas.DataFrame, or sequence of mappings
        The cells. Values are escaped, except `Html`.
    caption : str
        Caption; must not be empty.
    id : str, optional
        Anchor of the table, and the name of its CSV file.
    row_header : str, optional
        Column whose cells are row headers; the first column by default.
    numeric : iterable of str
        Columns that are aligned to the right, besides those that hold numbers only.
    formats : mapping of str to callable, optional
        How to write the values of a column.
    headers : mapping of str to str, optional
        Printed name of a column.
    links : mapping of str to str, optional
        Column whose cells are links: name of the column that holds the address. Addresses
        other than http, https or relative ones are ignored.
    hide : iterable of str
        Columns that are not shown (but are in the CSV file).
    foot : int
        Number of last rows that are the foot of the table.
    stack : bool
        Where there is no room, show each row as a short block instead of scrolling sideways.
    csv : str, optional
        CSV text, offered for download without a file; by default the cells themselves.
    csv_href : str, optional
        Address of a CSV file, offered for download.
    note : str or Html
        A line below the table.

    Raises
    ------
    ValueError
        If the caption is empty or a named column does not exist.
    """
    if csv is None and csv_href is None:
        frame = frame if hasattr(frame, "columns") else [dict(row) for row in frame]
        csv = to_csv(frame)
    core = _table(
        frame,
        caption,
        anchor=id,
        row_header=row_header,
        numeric=numeric,
        formats=formats,
        headers=headers,
        links=links,
        hide=hide,
        foot=foot,
        stack=stack,
    )
    return Html(
        _wrapped(
            core,
            _caption_id(caption, id),
            id,
            stem=id or "table",
            stack=stack,
            csv=csv,
            csv_href=csv_href,
            note=note,
        )
    )


def _wrapped(
    core: str,
    caption_id: str,
    anchor: str | None,
    *,
    stem: str = "table",
    region: str = "",
    stack: bool = False,
    csv: str | None = None,
    csv_href: str | None = None,
    note: str | Html = "",
) -> str:
    """Put a table into its scroll container, with note and download links below."""
    links = []
    if csv is not None:
        links.append(download_link("Data (CSV)", f"{stem}.csv", data_uri(csv, "text/csv")))
    if csv_href is not None:
        address = safe_url(csv_href)
        if address is None:
            raise ValueError(f"not a web or relative address: {plain(csv_href)}")
        links.append(download_link("Data (CSV)", address.rsplit("/", 1)[-1], address))
    name = f' id="{attribute(anchor)}"' if anchor else ""
    below = ""
    if note or links:
        shown = f'<span class="ev-links">{" ".join(links)}</span>' if links else ""
        below = f'<p class="ev-below">{escape(note)} {shown}</p>\n'
    kind = "ev-scroll ev-stack" if stack else "ev-scroll"
    inner = f' id="{attribute(region)}"' if region else ""
    return (
        f'<div class="ev-block ev-table"{name}>\n'
        f'<div class="{kind}"{inner} role="region" tabindex="0" '
        f'aria-labelledby="{attribute(caption_id)}">\n{core}\n</div>\n'
        f"{below}</div>"
    )


def _table(
    frame: Any,
    caption: str,
    *,
    anchor: str | None,
    row_header: str | None = None,
    numeric: Iterable[str] = (),
    formats: Mapping[str, Callable[[Any], str]] | None = None,
    headers: Mapping[str, str] | None = None,
    links: Mapping[str, str] | None = None,
    hide: Iterable[str] = (),
    foot: int = 0,
    stack: bool = False,
    values: bool = False,
) -> str:
    if not plain(caption):
        raise ValueError("a table needs a caption")
    names, rows = _cells(frame)
    if not names:
        raise ValueError(f"the table '{plain(caption)}' has no columns")
    formats, headers, links, hide = formats or {}, headers or {}, links or {}, set(hide)
    numeric = set(numeric)
    asked = numeric | set(formats) | set(headers) | set(links) | set(links.values()) | hide
    asked |= {row_header} if row_header else set()
    unknown = sorted(asked - set(names))
    if unknown:
        raise ValueError(f"the table '{plain(caption)}' has no column {', '.join(unknown)}")
    shown = [name for name in names if name not in hide]
    head = row_header or shown[0]
    place = {name: i for i, name in enumerate(names)}
    for name in shown:
        column = [row[place[name]] for row in rows if not _missing(row[place[name]])]
        if column and all(_is_number(cell) for cell in column):
            numeric.add(name)

    def attributes(name: str) -> str:
        return ' class="ev-num"' if name in numeric else ""

    def cell(row: list[Any], name: str) -> str:
        raw = row[place[name]]
        if isinstance(raw, Html):
            shown_text = raw.source
        else:
            text = formats[name](raw) if name in formats and not _missing(raw) else _text(raw)
            shown_text = _link(text, row[place[links[name]]]) if name in links else escape(text)
        extra = attributes(name)
        if name not in numeric and name != head:
            seen = len(re.sub(r"<[^>]*>", "", shown_text))
            extra = ' class="ev-short"' if 0 < seen <= 12 else ""
            extra = ' class="ev-text"' if seen > 28 else extra
        if stack:
            extra += f' data-label="{attribute(_short(headers.get(name, name)))}"'
        if values and name in numeric:
            extra += f' data-value="{attribute(_text(raw))}"'
        if name == head:
            return f'<th scope="row"{extra}>{shown_text}</th>'
        return f"<td{extra}>{shown_text}</td>"

    def body(part: list[list[Any]]) -> str:
        return "\n".join(f"<tr>{''.join(cell(row, n) for n in shown)}</tr>" for row in part)

    def column_head(name: str) -> str:
        flag = " data-numeric" if values and name in numeric else ""
        return f'<th scope="col"{attributes(name)}{flag}>{escape(headers.get(name, name))}</th>'

    split = len(rows) - foot
    parts = [
        "<table>",
        f'<caption id="{attribute(_caption_id(caption, anchor))}">'
        f"<span>{escape(caption)}</span></caption>",
        f"<thead><tr>{''.join(column_head(name) for name in shown)}</tr></thead>",
        f"<tbody>\n{body(rows[:split])}\n</tbody>",
    ]
    if foot:
        parts.append(f"<tfoot>\n{body(rows[split:])}\n</tfoot>")
    parts.append("</table>")
    return "\n".join(parts)


def browse_table(
    frame: Any,
    caption: str,
    *,
    id: str,
    row_header: str | None = None,
    filters: Sequence[str] = (),
    numeric: Iterable[str] = (),
    formats: Mapping[str, Callable[[Any], str]] | None = None,
    headers: Mapping[str, str] | None = None,
    links: Mapping[str, str] | None = None,
    hide: Iterable[str] = (),
    csv: str | None = None,
    csv_href: str | None = None,
    note: str | Html = "",
) -> Html:
    """Return a long table with a search box, column filters and sortable columns.

    The page needs nothing else: the script is part of the output, uses no library and no
    network, and without it the whole table is shown. The number of rows found is announced.

    Parameters
    ----------
    id : str
        Anchor of the table; unique on the page.
    filters : sequence of str
        Columns with a menu of their values.
    frame, caption, row_header, numeric, formats, headers, links, hide, csv, csv_href, note
        As for `html_table`.
    """
    headers = headers or {}
    names, rows = _cells(frame)
    shown = [name for name in names if name not in set(hide)]
    unknown = sorted(set(filters) - set(shown))
    if unknown:
        raise ValueError(f"the table '{plain(caption)}' has no column {', '.join(unknown)}")
    core = _table(
        frame,
        caption,
        anchor=id,
        row_header=row_header,
        numeric=numeric,
        formats=formats,
        headers=headers,
        links=links,
        hide=hide,
        values=True,
    )
    fields = [
        f'<label class="ev-field ev-search"><span>Search</span>'
        f'<input type="search" autocomplete="off" spellcheck="false" '
        f'aria-controls="{attribute(id)}-rows"></label>'
    ]
    for name in filters:
        column = names.index(name)
        write = (formats or {}).get(name, _cell_value)
        options = sorted(
            {
                _text(row[column]) if _is_number(row[column]) else _seen(write(row[column]))
                for row in rows
                if not _missing(row[column])
            }
            - {""}
        )
        # The value carries a prefix, so that an empty cell can be told from "all".
        choices = "".join(
            f'<option value="={attribute(option)}">{escape(option)}</option>' for option in options
        )
        if any(_missing(row[column]) or _text(row[column]) == "" for row in rows):
            choices += '<option value="=">(empty)</option>'
        fields.append(
            f'<label class="ev-field"><span>{escape(headers.get(name, name))}</span>'
            f'<select data-column="{shown.index(name)}"><option value="">All</option>'
            f"{choices}</select></label>"
        )
    table = _wrapped(
        core,
        _caption_id(caption, id),
        None,
        stem=id,
        region=f"{id}-rows",
        csv=csv,
        csv_href=csv_href,
        note=note,
    )
    script = resources.files("analysis").joinpath("assets/browse.js").read_text(encoding="utf-8")
    return Html(
        f'<div class="ev-block ev-browse" id="{attribute(id)}" data-ev-browse>\n'
        f'<form class="ev-controls" hidden>{"".join(fields)}'
        f'<button type="reset" class="ev-button">Clear</button></form>\n'
        f'<p class="ev-count" role="status">{count(len(rows), "row")}</p>\n'
        f"{table}\n"
        f'<p class="ev-none" hidden>No row matches. Clear the search or change a filter.</p>\n'
        f"</div>\n<script>{script}</script>"
    )


# --------------------------------------------------------------------------- tables of fits


def _pairs(fits: Fits) -> list[tuple[str, Any]]:
    pairs = list(fits.items()) if isinstance(fits, Mapping) else list(fits)
    if not pairs:
        raise ValueError("a table of results needs at least one fit")
    return [(plain(name), fit) for name, fit in pairs]


def _tau(fit: Any) -> str:
    return "" if fit.tau2 is None else number(math.sqrt(fit.tau2), 2)


def _i2(fit: Any) -> str:
    return "" if fit.i2 is None else f"{number(fit.i2, 0)}%"


def _pooled_cells(fit: Any, digits: int) -> dict[str, str]:
    """Return estimate, interval, prediction interval and tau as printed."""
    at = level(fit)
    if fit.estimate is None:
        why = "not pooled" if len(fit.events) == 1 else "not estimated"
        return {
            "Estimate": why,
            f"{at} interval": "",
            f"{at} prediction interval": "",
            "\u03c4": "",
        }
    return {
        "Estimate": pct(fit.estimate, digits),
        f"{at} interval": ci(fit.ci_low, fit.ci_high, digits),
        f"{at} prediction interval": (
            "" if fit.pi_low is None else ci(fit.pi_low, fit.pi_high, digits)
        ),
        "\u03c4": _tau(fit),
    }


def _numbers_of(cells: Iterable[str], text: Iterable[str]) -> set[str]:
    return set(cells) - set(text)


def results_table(
    fits: Fits,
    caption: str = "Pooled results",
    *,
    id: str | None = None,
    first: str = "Outcome",
    hrefs: Sequence[str] | None = None,
    population: Sequence[str] | None = None,
    digits: int = TABLE_DIGITS,
    note: str | Html = "",
) -> Html:
    """Return one row per estimand: trials, patients, estimate, intervals, heterogeneity.

    Parameters
    ----------
    fits : mapping of str to Fit, or sequence of (str, Fit)
        Name of each estimand and its result.
    caption, id, note
        As for `html_table`.
    first : str
        Header of the first column.
    hrefs : sequence of str, optional
        Address to which the name of each estimand links.
    population : sequence of str, optional
        Population of each estimand, shown as a second column.
    digits : int
        Decimals of a percent.

    Raises
    ------
    ValueError
        If `hrefs` or `population` does not have one value per fit.
    """
    pairs = _pairs(fits)
    for what, given in (("hrefs", hrefs), ("population", population)):
        if given is not None and len(given) != len(pairs):
            raise ValueError(f"{what} must have one value per fit ({len(pairs)})")
    rows = []
    for i, (name, fit) in enumerate(pairs):
        row: dict[str, Any] = {first: Html(_link(name, hrefs[i] if hrefs else None))}
        if population:
            row["Population"] = population[i]
        row |= {"Trials": len(fit.events), "Patients": patients(fit)}
        row |= _pooled_cells(fit, digits)
        rows.append(row)
    text = {first, "Population"}
    names = list(dict.fromkeys(name for row in rows for name in row))
    return html_table(
        rows,
        caption,
        id=id,
        numeric=_numbers_of(names, text),
        stack=True,
        csv=fits_csv(pairs),
        note=note,
    )


def studies_table(
    fit: Any,
    caption: str = "Trials",
    *,
    id: str | None = None,
    columns: Mapping[str, Sequence[Any]] | None = None,
    unpooled: Sequence[Any] = (),
    digits: int = TABLE_DIGITS,
    note: str | Html = "",
) -> Html:
    """Return one row per trial, and the pooled result as the foot of the table.

    Parameters
    ----------
    fit : Fit
        The pooled result.
    caption, id, note
        As for `html_table`; without a note, the heterogeneity is stated.
    columns : mapping of str to sequence, optional
        Further columns: header, and one value per trial.
    unpooled : sequence of `analysis.figures.Unpooled`
        Trials that are shown and not pooled.
    digits : int
        Decimals of the pooled percentages.
    """
    k = len(fit.events)
    columns = columns or {}
    for name, values in columns.items():
        if isinstance(values, str) or len(values) != k:
            raise ValueError(f"column {plain(name)} must have one value per trial ({k})")
    interval = f"{level(fit)} interval"
    rows: list[dict[str, Any]] = []
    for i, label in enumerate(trial_labels(fit)):
        rows.append(
            {"Trial": label}
            | {name: values[i] for name, values in columns.items()}
            | {
                "Events": int(fit.events[i]),
                "Patients": int(fit.total[i]),
                "Percent": pct(fit.study_estimate[i]),
                interval: ci(fit.study_ci_low[i], fit.study_ci_high[i]),
                "Weight": "" if fit.weight is None or k == 1 else pct(fit.weight[i]),
            }
        )
    blank = dict.fromkeys(columns, "")
    for other in unpooled:
        reason = plain(other.reason) or "not pooled"
        rows.append(
            {"Trial": f"{plain(other.label)} ({reason})"}
            | (dict(zip(columns, other.cells, strict=True)) if other.cells else blank)
            | {
                "Events": other.events,
                "Patients": other.total,
                "Percent": pct(other.events / other.total),
                interval: "",
                "Weight": MISSING,
            }
        )
    total = {"Events": int(sum(int(e) for e in fit.events)), "Patients": patients(fit)}
    foot = 1
    if fit.estimate is None:
        said = "One trial: not pooled" if k == 1 else "No pooled estimate"
        rows.append({"Trial": said} | blank | total)
    else:
        rows.append(
            {"Trial": "Pooled"}
            | blank
            | total
            | {
                "Percent": pct(fit.estimate, digits),
                interval: ci(fit.ci_low, fit.ci_high, digits),
                "Weight": "",
            }
        )
        if fit.pi_low is not None:
            foot = 2
            rows.append(
                {"Trial": "Prediction interval", interval: ci(fit.pi_low, fit.pi_high, digits)}
            )
    spread = heterogeneity(fit)
    return html_table(
        rows,
        caption,
        id=id,
        numeric={"Events", "Patients", "Percent", interval, "Weight"},
        foot=foot,
        stack=True,
        csv=studies_csv(fit, columns=columns),
        note=note or " ".join([f"{model_name(fit)}. {spread}."] * bool(spread) + list(fit.notes)),
    )


def leave_one_out_table(
    fit: Any,
    left_out: Sequence[Any] | Mapping[str, Any],
    caption: str = "Pooled result with each trial left out",
    *,
    id: str | None = None,
    digits: int = TABLE_DIGITS,
    note: str | Html = "",
) -> Html:
    """Return one row per trial left out, with the change of the estimate in percentage points.

    Parameters
    ----------
    fit : Fit
        The result of all trials.
    left_out : sequence of Fit, or mapping of str to Fit
        As for `analysis.figures.leave_one_out`.
    caption, id, note
        As for `html_table`.
    digits : int
        Decimals of a percent.
    """
    if isinstance(left_out, Mapping):
        pairs = _pairs(left_out)
    else:
        labels = trial_labels(fit)
        if len(left_out) != len(labels):
            raise ValueError(
                f"left_out must have one result per trial ({len(labels)}), not {len(left_out)}"
            )
        pairs = list(zip(labels, left_out, strict=True))
    first, change = "Trial left out", "Change (points)"
    rows: list[dict[str, Any]] = [{first: "None: all trials"} | _pooled_cells(fit, digits)]
    rows[0][change] = ""
    for name, other in pairs:
        moved = ""
        if fit.estimate is not None and other.estimate is not None:
            moved = number((other.estimate - fit.estimate) * 100, digits)
            moved = moved if moved.startswith("\u2212") or float(moved) == 0 else f"+{moved}"
        rows.append({first: name} | _pooled_cells(other, digits) | {change: moved})
    return html_table(
        rows,
        caption,
        id=id,
        numeric=_numbers_of(rows[0], {first}),
        stack=True,
        csv=fits_csv([("all trials", fit), *((f"without {name}", f) for name, f in pairs)]),
        note=note,
    )


def model_table(
    fits: Sequence[Any] | Mapping[str, Any],
    caption: str = "The same trials pooled by several models",
    *,
    id: str | None = None,
    digits: int = TABLE_DIGITS,
    note: str | Html = "",
) -> Html:
    """Return one row per model: interval method, estimate, intervals, heterogeneity.

    Parameters
    ----------
    fits : sequence of Fit, or mapping of str to Fit
        Results; a sequence is labeled by the model.
    caption, id, note
        As for `html_table`.
    digits : int
        Decimals of a percent.
    """
    if isinstance(fits, Mapping):
        pairs = _pairs(fits)
    else:
        pairs = _pairs([(MODEL_NAMES.get(fit.model, fit.model), fit) for fit in fits])
    rows = [
        {
            "Model": name,
            "Interval": INTERVAL_NAMES.get(fit.interval, fit.interval).format(dash="\u2013"),
        }
        | _pooled_cells(fit, digits)
        | {"I\u00b2": _i2(fit)}
        for name, fit in pairs
    ]
    return html_table(
        rows,
        caption,
        id=id,
        numeric=_numbers_of(rows[0], {"Model", "Interval"}),
        stack=True,
        csv=fits_csv(pairs),
        note=note,
    )


def fits_csv(fits: Fits) -> str:
    """Return one CSV row per fit with its numbers in full precision (proportions, not percent)."""
    fields = (
        "estimate", "ci_low", "ci_high", "pi_low", "pi_high", "mu", "se", "tau2", "i2",
    )  # fmt: skip
    return to_csv(
        {
            "name": name,
            "model": fit.model,
            "interval": fit.interval,
            "level": fit.level,
            "trials": len(fit.events),
            "patients": patients(fit),
            "events": int(sum(int(e) for e in fit.events)),
        }
        | {field: getattr(fit, field) for field in fields}
        for name, fit in _pairs(fits)
    )


def studies_csv(fit: Any, *, columns: Mapping[str, Sequence[Any]] | None = None) -> str:
    """Return one CSV row per trial with its numbers in full precision."""
    return to_csv(
        {
            "trial": label,
            **{name: values[i] for name, values in (columns or {}).items()},
            "events": int(fit.events[i]),
            "total": int(fit.total[i]),
            "estimate": float(fit.study_estimate[i]),
            "ci_low": float(fit.study_ci_low[i]),
            "ci_high": float(fit.study_ci_high[i]),
            "weight": None if fit.weight is None else float(fit.weight[i]),
        }
        for i, label in enumerate(trial_labels(fit))
    )
