"""The tables of the data chapter: the data package, made readable."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from analysis import tables
from analysis.markup import Html, attribute, escape

if TYPE_CHECKING:
    from analysis.data import Dataset

__all__ = [
    "cohorts",
    "dictionary",
    "downloads",
    "extraction",
    "figure_text",
    "overlaps",
    "pipeline",
    "reports",
    "statuses",
    "summary",
]


def summary(dataset: Dataset) -> Html:
    """Say in one sentence what the data package holds."""
    figures = dataset.extraction
    used = int((figures["status"] == "used").sum())
    read = dataset.reports["report_id"].isin(figures["report_id"])
    documents = int((read & (dataset.reports["kind"] != "search")).sum())
    text = (
        f"{len(figures)} figures from {documents} documents about {len(dataset.cohorts)} cohorts; "
        f"{used} of them are in use. Data version {dataset.version}."
    )
    return Html(f'<p class="ev-block"><strong>{escape(text)}</strong></p>')


def extraction(dataset: Dataset) -> Html:
    """Every row of the extraction, searchable and sortable, with its locator."""
    labels = dataset.cohorts.set_index("cohort_id")["label"]
    outcomes = dataset.outcomes.set_index("outcome_id")["short_label"]
    rows = dataset.extraction
    shown = [
        {
            "Cohort": Html(
                f'<span id="{attribute(row.record_id)}">{escape(labels[row.cohort_id])}</span>'
            ),
            "Outcome": outcomes[row.outcome],
            "Figure": figure_text(row),
            "Status": row.status,
            "Source": Html(f"{_report(row.report_id)}, {escape(row.locator)}"),
            "Reason": row.reason,
        }
        for row in rows.itertuples(index=False)
    ]
    return tables.browse_table(
        shown,
        "Every figure read in the sources",
        id="extraction-table",
        row_header="Cohort",
        filters=["Cohort", "Outcome", "Status"],
        csv_href="../_data/extraction.csv",
    )


def statuses(dataset: Dataset) -> Html:
    """The meaning of each status, from the schema, with the number of rows."""
    field = _field(dataset, "extraction", "status")
    counts = dataset.extraction["status"].value_counts()
    meanings = dict(part.split(": ", 1) for part in field["description"].rstrip(".").split("; "))
    rows = [
        {"Status": name, "Rows": int(counts.get(name, 0)), "Meaning": meanings[name]}
        for name in field["constraints"]["enum"]
    ]
    return tables.html_table(
        rows, "Status of a row", id="statuses-table", row_header="Status", numeric=["Rows"]
    )


def cohorts(dataset: Dataset) -> Html:
    """The cohorts with what decides their population, and their size."""
    frame = dataset.cohorts
    columns = {
        "label": "Cohort",
        "trial_id": "Trial",
        "disease": "Disease",
        "setting": "Setting",
        "target": "Target",
        "cell_source": "Cells",
        "partner_drug": "Partner drug",
        "infusion": "Infusion",
        "costimulatory_domain": "Domain",
        "n_enrolled": "Enrolled",
        "n_infused": "Infused",
        "n_evaluable": "Evaluable",
        "note": "Note",
    }
    return tables.browse_table(
        frame[list(columns)].rename(columns=columns),
        "Cohorts",
        id="cohorts-table",
        row_header="Cohort",
        filters=["Disease", "Partner drug"],
        numeric=["Enrolled", "Infused", "Evaluable"],
        csv_href="../_data/cohorts.csv",
    )


def overlaps(dataset: Dataset) -> Html:
    """Pairs of cohorts that share patients, with the evidence."""
    labels = dataset.cohorts.set_index("cohort_id")["label"]
    rows = [
        {
            "Cohort": labels[row.cohort_a],
            "Shares patients with": labels[row.cohort_b],
            "How": row.kind,
            "Evidence": row.evidence,
            "Report": _report(row.report_id),
            "Where": row.locator,
        }
        for row in dataset.overlaps.itertuples(index=False)
    ]
    return tables.html_table(
        rows,
        "Cohorts that share patients, or may",
        id="overlaps-table",
        row_header="Cohort",
        stack=True,
        csv_href="../_data/overlaps.csv",
    )


def reports(dataset: Dataset) -> Html:
    """The documents with their DOIs and the number of figures read in each."""
    counts = dataset.extraction["report_id"].value_counts()
    pools = dataset.published_pools
    counts = counts.add(
        pools.loc[pools["percent"].notna(), "report_id"].value_counts(), fill_value=0
    )
    rows = [
        {
            "Report": Html(
                f'<span id="report-{attribute(row.report_id)}">{escape(row.report_id)}</span>'
            ),
            "Citation": row.citation,
            "DOI": _doi(row.doi),
            "Kind": row.kind,
            "Figures": int(counts.get(row.report_id, 0)),
            "Note": " ".join(_present(text) for text in (_read_at(row.read_at), row.note)).strip(),
        }
        for row in dataset.reports.itertuples(index=False)
        if row.kind != "search"
    ]
    return tables.browse_table(
        rows,
        "Documents",
        id="reports-table",
        row_header="Report",
        filters=["Kind"],
        numeric=["Figures"],
        csv_href="../_data/reports.csv",
    )


def pipeline(dataset: Dataset) -> Html:
    """Registered trials of further targets."""
    frame = dataset.pipeline.assign(
        url=["https://clinicaltrials.gov/study/" + trial for trial in dataset.pipeline["trial_id"]]
    )
    headers = {
        "trial_id": "Trial",
        "target": "Target",
        "construct": "Construct",
        "phase": "Phase",
        "population": "Population",
        "status": "Status in 2023",
        "locator": "Where",
    }
    return tables.html_table(
        frame,
        "Registered trials of further targets (Mohty 2023)",
        id="pipeline-table",
        row_header="trial_id",
        headers=headers,
        links={"trial_id": "url"},
        hide=["url", "report_id"],
        stack=True,
        csv_href="../_data/pipeline.csv",
    )


def dictionary(dataset: Dataset) -> Html:
    """Every column of every table: meaning, type and constraints."""
    parts = []
    for resource in dataset.schema["resources"]:
        rows = [
            {
                "Column": field["name"],
                "Type": field["type"],
                "Meaning": field["description"],
                "Allowed": _allowed(field.get("constraints", {})),
            }
            for field in resource["schema"]["fields"]
        ]
        table = tables.html_table(
            rows,
            f"{resource['path']}: {resource['description']}",
            id=f"dictionary-{resource['name']}",
            row_header="Column",
        )
        parts.append(
            f"<details class='ev-more'><summary>{escape(resource['path'])} "
            f"({len(rows)} columns)</summary>\n{table}\n</details>"
        )
    return Html("\n".join(parts))


def downloads(dataset: Dataset) -> Html:
    """Links to the files of the data package, which the build copies into the book."""
    names = [resource["path"] for resource in dataset.schema["resources"]]
    names += ["datapackage.json", "estimates.csv", "estimates.json", "conflicts.csv"]
    names += ["calibration.csv", "calibration.json", "fuzz_report.json"]
    names += ["specification_rows.csv", "specifications.csv"]
    items = "".join(
        f'<li><a href="../_data/{attribute(name)}" download>{escape(name)}</a></li>'
        for name in names
    )
    return Html(f"<ul>{items}</ul>\n<p>Data sha256: <code>{dataset.sha256}</code></p>")


def _field(dataset: Dataset, table: str, column: str) -> dict[str, Any]:
    resource = next(r for r in dataset.schema["resources"] if r["name"] == table)
    return next(f for f in resource["schema"]["fields"] if f["name"] == column)


def figure_text(row: Any) -> str:
    """Write a figure as the source has it: count, percentage, value, interval, words."""
    events, total, percent, value = map(
        _present, (row.events, row.total, row.percent_printed, row.value)
    )
    parts = []
    if events:
        parts.append(f"{events}/{total}")
    if percent:
        share = f"{percent}%" if not total else f"{percent}% of {total}"
        parts.append(f"({percent}%)" if events else share)
    if value and not (events and str(row.unit) == "patients"):
        parts.append(f"{float(value):g} {_present(row.unit)}")
    low, high = _present(row.ci_low), _present(row.ci_high)
    if low or high:
        limits = f"{low or '–'} to {high or 'not reached'}"
        parts.append(f"({_present(row.ci_level)}% interval {limits})")
    text = "; ".join(filter(None, map(_present, (row.value_text, row.criteria))))
    time = _present(row.timepoint_months)
    if time:
        parts.append(f"at {float(time):g} months")
    if text:
        parts.append(f"({text})" if parts else text)
    return " ".join(parts)


def _present(value: Any) -> str:
    """Return a cell as text, empty where it is missing."""
    if value is None or type(value).__name__ == "NAType":
        return ""
    if isinstance(value, float):
        return "" if value != value else f"{value:g}"
    return str(value)


def _report(report_id: str) -> Html:
    return Html(
        f'<a href="#report-{attribute(report_id)}">{escape(report_id)}</a>'
        if report_id != "search-log"
        else "search"
    )


def _doi(doi: Any) -> Html:
    text = _present(doi)
    return Html(f'<a href="https://doi.org/{attribute(text)}">{escape(text)}</a>' if text else "")


def _read_at(address: Any) -> str:
    text = _present(address)
    return f"Read at {text}." if text else ""


def _allowed(constraints: dict[str, Any]) -> str:
    parts = []
    if constraints.get("required"):
        parts.append("required")
    if constraints.get("unique"):
        parts.append("unique")
    if "enum" in constraints:
        parts.append("one of: " + ", ".join(constraints["enum"]))
    if "minimum" in constraints or "maximum" in constraints:
        parts.append(
            f"{constraints.get('minimum', '')} to {constraints.get('maximum', '')}".strip()
        )
    if "pattern" in constraints:
        parts.append(f"pattern {constraints['pattern']}")
    return "; ".join(parts)
