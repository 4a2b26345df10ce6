"""What the pages and the built book say about themselves to machines.

`article` and `dataset` describe a page and the data package in the terms of schema.org, as JSON-LD
that the page carries; `crate` lists the files of the built book as an RO-Crate 1.1
(https://w3id.org/ro/crate/1.1). Nothing is fetched, and nothing depends on when or where the book
is built.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from analysis.identity import AUTHOR, CODE_LICENSE, DATA_LICENSE, TITLE

__all__ = ["article", "crate", "dataset", "script"]

CONTEXT = "https://schema.org"
CRATE = "https://w3id.org/ro/crate/1.1"
LANGUAGE = "en-US"
LICENSES = {
    "CC-BY-4.0": (
        "https://creativecommons.org/licenses/by/4.0/",
        "Creative Commons Attribution 4.0 International",
    ),
    "MIT": ("https://spdx.org/licenses/MIT", "MIT License"),
}
FORMATS = {
    ".csv": "text/csv",
    ".json": "application/json",
    ".md": "text/markdown",
    ".html": "text/html",
    ".ipynb": "application/x-ipynb+json",
}

Json = dict[str, Any]


def article(title: str, package: Mapping[str, Any], sha256: str, estimates: Iterable[str]) -> Json:
    """Describe a chapter.

    Parameters
    ----------
    title : str
        Its title.
    package : mapping
        The parsed ``datapackage.json``.
    sha256 : str
        Digest of the data package.
    estimates : iterable of str
        Identifiers (``estimand@version``) of the estimates that stand on the page.

    Returns
    -------
    dict
        A ``ScholarlyArticle`` of schema.org.
    """
    parts = [
        {"@type": "CreativeWork", "@id": f"#{name.partition('@')[0]}", "identifier": name}
        for name in estimates
    ]
    return _present(
        {
            "@context": CONTEXT,
            "@type": "ScholarlyArticle",
            "headline": title,
            "name": title,
            "author": _author(),
            "isPartOf": {"@type": "Book", "name": TITLE},
            "isBasedOn": _present(
                {
                    "@type": "Dataset",
                    "name": package.get("title"),
                    "version": package.get("version"),
                    "identifier": f"sha256:{sha256}",
                }
            ),
            "version": package.get("version"),
            "datePublished": _date(package),
            "license": LICENSES[DATA_LICENSE][0],
            "inLanguage": LANGUAGE,
            "isAccessibleForFree": True,
            "hasPart": parts or None,
        }
    )


def dataset(package: Mapping[str, Any], sha256: str, files: Iterable[str], folder: str) -> Json:
    """Describe the data package.

    Parameters
    ----------
    package, sha256
        As for `article`.
    files : iterable of str
        Names of the files that can be downloaded.
    folder : str
        Where they are, relative to the page.

    Returns
    -------
    dict
        A ``Dataset`` of schema.org.
    """
    return _present(
        {
            "@context": CONTEXT,
            "@type": "Dataset",
            "name": package.get("title"),
            "description": package.get("description"),
            "version": package.get("version"),
            "identifier": f"sha256:{sha256}",
            "creator": _author(),
            "datePublished": _date(package),
            "license": LICENSES[DATA_LICENSE][0],
            "keywords": package.get("keywords"),
            "isBasedOn": [
                source["path"] for source in package.get("sources", []) if "path" in source
            ],
            "inLanguage": LANGUAGE,
            "isAccessibleForFree": True,
            "distribution": [
                {
                    "@type": "DataDownload",
                    "name": name,
                    "encodingFormat": FORMATS.get(Path(name).suffix, "text/plain"),
                    "contentUrl": f"{folder}/{name}",
                }
                for name in files
            ],
        }
    )


def script(content: Json) -> str:
    """Return JSON-LD as the element that carries it in a page.

    No sign of the content can end the element: ``<`` is written as JSON's escape for it.
    """
    text = json.dumps(content, ensure_ascii=False, allow_nan=False).replace("<", "\\u003c")
    return f'<script type="application/ld+json">{text}</script>\n'


def crate(outdir: Path, package: Mapping[str, Any], sha256: str, titles: Mapping[str, str]) -> Json:
    """Describe the built book as an RO-Crate.

    Parameters
    ----------
    outdir : Path
        The folder of the built book.
    package, sha256
        As for `article`.
    titles : mapping of str to str
        Title of each page by its path in the book, without the suffix.

    Returns
    -------
    dict
        The metadata document: files of the data package with size and sha256, pages, and executed
        notebooks.
    """
    files: list[Json] = []
    for path in sorted(path for path in (outdir / "_data").rglob("*") if path.is_file()):
        files.append(
            _file(path, outdir, path.name)
            | {
                "contentSize": str(path.stat().st_size),
                "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
                "license": {"@id": LICENSES[DATA_LICENSE][0]},
            }
        )
    for name, title in sorted(titles.items()):
        for place, what in ((f"{name}.html", title), (f"_sources/{name}.ipynb", f"{title}: code")):
            if (outdir / place).is_file():
                files.append(_file(outdir / place, outdir, what))
    root = {
        "@id": "./",
        "@type": "Dataset",
        "name": TITLE,
        "description": package.get("description") or TITLE,
        "version": package.get("version"),
        "datePublished": _date(package),
        "identifier": f"sha256:{sha256}",
        "keywords": package.get("keywords"),
        "author": {"@id": "#author"},
        "license": {"@id": LICENSES[DATA_LICENSE][0]},
        "hasPart": [{"@id": entry["@id"]} for entry in files],
    }
    return {
        "@context": [f"{CRATE}/context", {"sha256": "https://schema.org/sha256"}],
        "@graph": [
            {
                "@id": "ro-crate-metadata.json",
                "@type": "CreativeWork",
                "conformsTo": {"@id": CRATE},
                "about": {"@id": "./"},
            },
            _present(root),
            {"@id": "#author", "@type": "Organization", "name": AUTHOR},
            *(
                {"@id": LICENSES[name][0], "@type": "CreativeWork", "name": LICENSES[name][1]}
                for name in (DATA_LICENSE, CODE_LICENSE)
            ),
            *files,
        ],
    }


def _file(path: Path, outdir: Path, name: str) -> Json:
    return {
        "@id": path.relative_to(outdir).as_posix(),
        "@type": "File",
        "name": name,
        "encodingFormat": FORMATS.get(path.suffix, "text/plain"),
    }


def _author() -> Json:
    return {"@type": "Organization", "name": AUTHOR}


def _date(package: Mapping[str, Any]) -> str | None:
    created = package.get("created")
    return str(created)[:10] if created else None


def _present(entry: Json) -> Json:
    """Leave out what is not known."""
    return {key: value for key, value in entry.items() if value not in (None, "", [])}
