"""Digests: which data is this, and has anything changed that a chapter's result depends on?

Only the standard library is used, so that importing this module costs nothing.
"""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DATA_DIR = ROOT / "data"

GENERATED = frozenset(
    {
        "estimates.csv",
        "estimates.json",
        "conflicts.csv",
        "calibration.csv",
        "calibration.json",
        "fuzz_report.json",
        "specification_rows.csv",
        "specifications.csv",
    }
)
"""Files in ``data/`` that are computed from the others, and so are no part of the data's digest.

Nor is any folder in ``data/``: ``data/history/`` keeps the estimates of earlier versions, one file
``estimates-<version>.json`` for each, as ``data/estimates.json`` was when the version was replaced.
"""

_IGNORED_DIRS = frozenset({"__pycache__", ".ipynb_checkpoints"})


def data_files(data_dir: Path | str = DATA_DIR) -> list[Path]:
    """List the files that make up the data package.

    Parameters
    ----------
    data_dir : Path or str
        The folder of the data package.

    Returns
    -------
    list of Path
        Every ``*.csv`` file and ``datapackage.json``, without the generated files, sorted by name.

    Raises
    ------
    ValueError
        If the folder has no ``datapackage.json``.
    """
    folder = Path(data_dir)
    descriptor = folder / "datapackage.json"
    if not descriptor.is_file():
        raise ValueError(f"{folder}: there is no datapackage.json in this folder.")
    tables = [path for path in folder.glob("*.csv") if path.name not in GENERATED]
    return sorted([*tables, descriptor], key=lambda path: path.name)


def data_digest(data_dir: Path | str = DATA_DIR) -> str:
    """Compute the sha256 of the data package.

    It is the sha256 of the listing that ``sha256sum`` prints for the files of the package in the
    order of their names, so anybody can check it without this code::

        cd data && export LC_ALL=C
        ls *.csv datapackage.json | grep -v -e estimates.csv -e conflicts.csv \\
            -e calibration.csv -e specification | sort | xargs sha256sum | sha256sum

    Parameters
    ----------
    data_dir : Path or str
        The folder of the data package.

    Returns
    -------
    str
        64 hexadecimal digits.

    Raises
    ------
    ValueError
        If the folder has no ``datapackage.json``.
    """
    listing = "".join(f"{_sha256(path)}  {path.name}\n" for path in data_files(data_dir))
    return hashlib.sha256(listing.encode("utf-8")).hexdigest()


def data_version(data_dir: Path | str = DATA_DIR) -> str:
    """Read the version of the data package from its descriptor.

    Parameters
    ----------
    data_dir : Path or str
        The folder of the data package.

    Returns
    -------
    str
        The semantic version, for example ``"1.0.0"``.

    Raises
    ------
    ValueError
        If there is no descriptor, it is not JSON, or it has no version.
    """
    return str(_descriptor(data_dir)["version"])


def data_date(data_dir: Path | str = DATA_DIR) -> str | None:
    """Read the date (``created``) of the data package, or ``None`` where it does not say."""
    created = _descriptor(data_dir).get("created")
    return None if created is None else str(created)


def inputs_digest(root: Path | str = ROOT) -> str:
    """Compute the sha256 of everything besides its own text that a chapter's result depends on.

    That is every file under ``data/`` and ``analysis/``, the measurements in ``benchmarks/``,
    helper files beside the chapters, the pinned requirements, the version of the code, and the
    version of Python.

    Parameters
    ----------
    root : Path or str
        The folder of the project.

    Returns
    -------
    str
        64 hexadecimal digits.
    """
    base = Path(root)
    return _listing_digest(base, _inputs(base), f"python {platform.python_version()}\n")


def files_digest(root: Path | str, folders: Iterable[str]) -> str:
    """Compute the sha256 of all files in some folders of the project: their names and bytes.

    Parameters
    ----------
    root : Path or str
        The folder of the project.
    folders : iterable of str
        Folders in it; one that does not exist is empty.

    Returns
    -------
    str
        64 hexadecimal digits.
    """
    base = Path(root)
    return _listing_digest(base, (path for name in folders for path in _files(base / name)))


def _listing_digest(base: Path, paths: Iterable[Path], listing: str = "") -> str:
    named = sorted((path.relative_to(base).as_posix(), path) for path in paths)
    listing += "".join(f"{_sha256(path)}  {name}\n" for name, path in named)
    return hashlib.sha256(listing.encode("utf-8")).hexdigest()


def _inputs(base: Path) -> Iterable[Path]:
    for name in ("requirements.txt", "pyproject.toml"):
        if (base / name).is_file():
            yield base / name
    for folder in ("data", "analysis"):
        yield from _files(base / folder)
    yield from (base / "benchmarks").glob("*.json")
    for path in _files(base / "chapters"):
        if path.suffix != ".md":
            yield path


def _files(folder: Path) -> Iterable[Path]:
    for path in folder.rglob("*"):
        parts = path.relative_to(folder).parts
        if path.is_file() and not _IGNORED_DIRS.intersection(parts):
            yield path


def _descriptor(data_dir: Path | str) -> dict:
    path = Path(data_dir) / "datapackage.json"
    try:
        descriptor = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ValueError(f"{path}: there is no such file.") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}: not valid JSON: {error}.") from None
    if not isinstance(descriptor, dict) or "version" not in descriptor:
        raise ValueError(f"{path}: the data package has no version.")
    return descriptor


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
