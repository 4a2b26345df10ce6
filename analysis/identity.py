"""Who made the book, what it is called, under which licenses, and which version the code has.

Only the standard library is used. ``CITATION.cff``, ``.zenodo.json`` and ``_config.yml`` say the
same in their own formats; tests hold them to this.
"""

from __future__ import annotations

import tomllib
from functools import lru_cache
from pathlib import Path

__all__ = ["AUTHOR", "CODE_LICENSE", "DATA_LICENSE", "TITLE", "code_version"]

AUTHOR = "The CLL CAR-T evidence book contributors"
TITLE = "CAR T-cell therapy in chronic lymphocytic leukemia: an open evidence book"
DATA_LICENSE = "CC-BY-4.0"
CODE_LICENSE = "MIT"

PROJECT = Path(__file__).resolve().parent.parent / "pyproject.toml"


@lru_cache(maxsize=1)
def code_version() -> str:
    """Return the version of the code, which stands in ``pyproject.toml``.

    Raises
    ------
    ValueError
        If the file names no version.
    """
    project = tomllib.loads(PROJECT.read_text(encoding="utf-8")).get("project", {})
    if not isinstance(project.get("version"), str):
        raise ValueError(f"{PROJECT.name}: the project has no version")
    return str(project["version"])
