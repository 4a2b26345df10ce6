"""Ready citations of one estimate: as text, and for reference managers.

Every format carries the identifier of the estimate, the data version with its sha256 and the
version of the code, so that the number can be computed again. Labels come from the data and are
escaped for each format.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from analysis.identity import AUTHOR, TITLE
from analysis.wording import plain

__all__ = ["FORMATS", "Citable", "bibtex", "csl_json", "ris", "text"]


@dataclass(frozen=True)
class Citable:
    """One estimate, with what a citation of it says.

    Attributes
    ----------
    estimand_id : str
        For example ``orr-cd19-single-agent``.
    label, population : str
        Outcome and population for readers.
    result : str
        The result in one sentence.
    data_version, data_sha256, code_version : str
        What the number was computed from.
    date : str or None
        ISO date of the data version.
    """

    estimand_id: str
    label: str
    population: str
    result: str
    data_version: str
    data_sha256: str
    code_version: str
    date: str | None = None

    @property
    def id(self) -> str:
        """Identifier of the estimate: ``orr-cd19-single-agent@1.0.0``."""
        return f"{self.estimand_id}@{self.data_version}"

    @property
    def title(self) -> str:
        """What the estimate is, as a title."""
        return f"{plain(self.label)}: {plain(self.population)}"

    @property
    def origin(self) -> str:
        """What it takes to compute the same number again."""
        return (
            f"Estimate {self.id}, data version {self.data_version}, "
            f"data sha256 {self.data_sha256}, code version {self.code_version}"
        )

    @property
    def parts_of_date(self) -> list[int]:
        """Year, month and day of the data version, empty where it has no date."""
        found = re.match(r"(\d{4})-(\d{2})-(\d{2})", self.date or "")
        return [int(part) for part in found.groups()] if found else []


def text(entry: Citable) -> str:
    """Return the citation as running text."""
    year = f" ({entry.parts_of_date[0]})" if entry.parts_of_date else ""
    return f"{AUTHOR}{year}. {entry.title}. In: {TITLE}. {entry.origin}. {plain(entry.result)}"


def bibtex(entry: Citable) -> str:
    """Return the citation as a BibTeX entry.

    The key is the identifier with a hyphen for the sign @, which BibTeX does not allow in keys.
    """
    fields = {
        "author": f"{{{AUTHOR}}}",
        "title": f"{{{_tex(entry.title)}}}",
        "howpublished": f"In: {TITLE}",
        "edition": f"Data version {entry.data_version}",
        "note": _tex(f"{entry.origin}. {plain(entry.result)}"),
    }
    if date := entry.parts_of_date:
        fields |= {"year": str(date[0]), "month": str(date[1])}
    body = "".join(f"  {name} = {{{value}}},\n" for name, value in fields.items())
    return f"@misc{{{entry.id.replace('@', '-')},\n{body}}}\n"


def csl_json(entry: Citable) -> str:
    """Return the citation as CSL-JSON, a list of one item (schema of CSL 1.0.2)."""
    item: dict[str, Any] = {
        "id": entry.id,
        "type": "dataset",
        "title": entry.title,
        "container-title": TITLE,
        "author": [{"literal": AUTHOR}],
        "version": entry.data_version,
        "number": entry.id,
        "language": "en-US",
        "abstract": plain(entry.result),
        "note": entry.origin,
        "custom": {
            "estimate_id": entry.id,
            "data_version": entry.data_version,
            "data_sha256": entry.data_sha256,
            "code_version": entry.code_version,
        },
    }
    if entry.parts_of_date:
        item["issued"] = {"date-parts": [entry.parts_of_date]}
    return json.dumps([item], indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def ris(entry: Citable) -> str:
    """Return the citation in the RIS format, one record of the type DATA."""
    lines = [
        ("TY", "DATA"),
        ("ID", entry.id),
        ("AU", AUTHOR),
        ("TI", entry.title),
        ("T2", TITLE),
    ]
    if date := entry.parts_of_date:
        lines += [("PY", f"{date[0]}"), ("DA", f"{date[0]}/{date[1]:02d}/{date[2]:02d}")]
    lines += [
        ("ET", f"Data version {entry.data_version}"),
        ("M1", entry.id),
        ("AB", plain(entry.result)),
        ("N1", entry.origin),
        ("LA", "en-US"),
        ("ER", ""),
    ]
    return "".join(f"{tag}  - {value}\n" for tag, value in lines)


#: Name for readers, function, ending and media type of each format.
FORMATS = (
    ("Text", text, "txt", "text/plain"),
    ("BibTeX", bibtex, "bib", "application/x-bibtex"),
    ("CSL-JSON", csl_json, "json", "application/vnd.citationstyles.csl+json"),
    ("RIS", ris, "ris", "application/x-research-info-systems"),
)

_TEX = {
    "\\": r"\textbackslash{}",
    # BibTeX counts braces even behind a backslash
    "{": r"\textbraceleft{}",
    "}": r"\textbraceright{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    **{sign: f"\\{sign}" for sign in "#$%&_"},
}


def _tex(value: str) -> str:
    return "".join(_TEX.get(char, char) for char in value)
