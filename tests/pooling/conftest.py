"""Reference data sets and values for the pooling tests."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

REFERENCE = Path(__file__).resolve().parents[1] / "reference"


def read(name: str) -> list[dict[str, str]]:
    with (REFERENCE / name).open(newline="", encoding="utf-8") as handle:
        return list(csv.DictReader(handle))


@pytest.fixture(scope="session")
def counts() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Events and totals of every reference data set."""
    out: dict[str, tuple[list[int], list[int]]] = {}
    for row in read("datasets.csv"):
        x, n = out.setdefault(row["dataset"], ([], []))
        x.append(int(row["events"]))
        n.append(int(row["total"]))
    return {name: (np.array(x), np.array(n)) for name, (x, n) in out.items()}


@pytest.fixture(scope="session")
def metafor() -> dict[tuple[str, str, str, str], dict[str, float]]:
    """metafor's values by (dataset, model, transform, interval)."""
    out: dict[tuple[str, str, str, str], dict[str, float]] = {}
    for row in read("metafor.csv"):
        key = (row["dataset"], row["model"], row["transform"], row["interval"])
        out.setdefault(key, {})[row["quantity"]] = float(row["value"])
    return out


@pytest.fixture(scope="session")
def glmer() -> dict[tuple[str, str], dict[str, float]]:
    """Values of lme4's glmer and metafor's rma.glmm by (dataset, program)."""
    out: dict[tuple[str, str], dict[str, float]] = {}
    for row in read("glmer.csv"):
        out.setdefault((row["dataset"], row["model"]), {})[row["quantity"]] = float(row["value"])
    return out


@pytest.fixture(scope="session")
def exact() -> dict[str, dict[str, float]]:
    """Exact values of the binomial-normal model by data set."""
    out: dict[str, dict[str, float]] = {}
    for row in read("exact_glmm.csv"):
        out.setdefault(row["dataset"], {})[row["quantity"]] = float(row["value"])
    return out


@pytest.fixture(scope="session")
def published() -> list[dict[str, str]]:
    """Values printed in papers and documentation."""
    return read("published.csv")
