"""Cohorts that share patients: keep one cohort per patient set, and list every other way to do so.

The rule, applied to the cohorts that report one outcome: the largest denominator first, then the
latest report, then a trial's own paper before any other document, then the name. A cohort is kept
if it shares no patients, certainly or possibly, with one already kept.

The rule is one choice among several. Cohorts are the nodes of a graph, pairs that share patients
its edges; every choice that counts no patient twice and leaves out no cohort without need is a
maximal independent set of that graph. `maximal_sets` lists them all.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import product
from math import prod
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "CERTAIN",
    "RULE",
    "choose",
    "clusters",
    "deciding",
    "graph",
    "implied_pairs",
    "maximal_sets",
    "unlinked",
]

RULE = "the largest denominator, then the latest report, then the trial's own paper"

#: Kinds of overlap that the sources state; the other kind is "possible".
CERTAIN = ("subset", "same-trial")


def choose(rows: pd.DataFrame, overlaps: pd.DataFrame) -> tuple[list[str], dict[str, str]]:
    """Choose cohorts that share no patients.

    Parameters
    ----------
    rows : pandas.DataFrame
        One row per cohort, with the columns ``cohort_id``, ``total``, ``year`` (may be missing)
        and ``report_kind``.
    overlaps : pandas.DataFrame
        Pairs of cohorts that share patients or may: columns ``cohort_a``, ``cohort_b``, ``kind``.

    Returns
    -------
    kept : list of str
        Cohorts to pool, in the order of `rows`.
    dropped : dict of str to str
        Every other cohort, and the kept cohort that it shares patients with.

    Raises
    ------
    ValueError
        If a cohort has more than one row.
    """
    neighbors = graph(rows["cohort_id"], overlaps)
    ranked = sorted(rows.assign(year=rows["year"].fillna(0)).itertuples(index=False), key=_rank)
    kept: list[str] = []
    dropped: dict[str, str] = {}
    for row in ranked:
        shared = next((c for c in kept if c in neighbors[row.cohort_id]), None)
        if shared is None:
            kept.append(row.cohort_id)
        else:
            dropped[row.cohort_id] = shared
    return [c for c in rows["cohort_id"] if c in kept], dropped


def _rank(row: Any) -> tuple[int, int, bool, str]:
    return -int(row.total), -int(row.year), row.report_kind != "trial paper", row.cohort_id


def deciding(rows: pd.DataFrame, kept: str, dropped: str) -> str:
    """Name the part of the rule that puts one cohort before another.

    Parameters
    ----------
    rows : pandas.DataFrame
        As for `choose`.
    kept, dropped : str
        Two cohorts of `rows`, the first ranked before the second.

    Returns
    -------
    str
        ``"more patients"``, ``"later report"``, ``"trial's own paper"`` or
        ``"first in the alphabet"``.

    Raises
    ------
    ValueError
        If a cohort is not in `rows`, or the second is ranked first.
    """
    ranks = {
        row.cohort_id: _rank(row)
        for row in rows.assign(year=rows["year"].fillna(0)).itertuples(index=False)
    }
    for cohort in (kept, dropped):
        if cohort not in ranks:
            raise ValueError(f"cohort {cohort} has no row")
    if ranks[kept] >= ranks[dropped]:
        raise ValueError(f"the rule does not put {kept} before {dropped}")
    why = ("more patients", "later report", "trial's own paper", "first in the alphabet")
    pairs = zip(why, ranks[kept], ranks[dropped], strict=True)
    return next(reason for reason, first, second in pairs if first != second)


def graph(
    cohorts: Iterable[str], overlaps: pd.DataFrame, *, possible: bool = True
) -> dict[str, set[str]]:
    """Return the cohorts that each cohort shares patients with.

    Parameters
    ----------
    cohorts : iterable of str
        The nodes; pairs with any other cohort are left out.
    overlaps : pandas.DataFrame
        As for `choose`.
    possible : bool
        Whether an overlap that the sources leave open counts as one.

    Returns
    -------
    dict of str to set of str
        One entry per cohort, in the order given.

    Raises
    ------
    ValueError
        If a cohort is named twice.
    """
    neighbors: dict[str, set[str]] = {}
    for cohort in cohorts:
        if cohort in neighbors:
            raise ValueError(f"cohort {cohort} has more than one row")
        neighbors[cohort] = set()
    for a, b, kind in _pairs(overlaps):
        if a in neighbors and b in neighbors and (possible or kind in CERTAIN):
            neighbors[a].add(b)
            neighbors[b].add(a)
    return neighbors


def clusters(neighbors: dict[str, set[str]]) -> list[list[str]]:
    """Split a graph into its connected parts, each in the order of the graph."""
    order = {cohort: i for i, cohort in enumerate(neighbors)}
    parts: list[list[str]] = []
    seen: set[str] = set()
    for start in neighbors:
        if start in seen:
            continue
        part, waiting = {start}, [start]
        while waiting:
            for other in neighbors[waiting.pop()] - part:
                part.add(other)
                waiting.append(other)
        seen |= part
        parts.append(sorted(part, key=order.__getitem__))
    return parts


def maximal_sets(
    cohorts: Iterable[str],
    overlaps: pd.DataFrame,
    *,
    possible: bool = True,
    limit: int = 20_000,
) -> list[tuple[str, ...]]:
    """List every set of cohorts that counts no patient twice and to which none can be added.

    These are the maximal independent sets of the graph of overlaps: the cliques that the
    algorithm of Bron and Kerbosch (1973, doi:10.1145/362342.362367) finds in the complement of
    each connected part, combined over the parts.

    Parameters
    ----------
    cohorts : iterable of str
        Cohorts that report the outcome.
    overlaps : pandas.DataFrame
        As for `choose`.
    possible : bool
        Whether an overlap that the sources leave open counts as one.
    limit : int
        The most sets to list.

    Returns
    -------
    list of tuple of str
        Cohorts of each set in the order given; the sets in lexicographic order of positions, so
        that the result depends only on the order of `cohorts`. No cohorts: one empty set.

    Raises
    ------
    ValueError
        If a cohort is named twice, or there are more sets than `limit`.
    """
    neighbors = graph(cohorts, overlaps, possible=possible)
    order = {cohort: i for i, cohort in enumerate(neighbors)}
    parts = []
    for part in clusters(neighbors):
        found = []
        for chosen in _independent(part, neighbors):
            found.append(chosen)
            if len(found) > limit:
                raise ValueError(f"there are more than {limit} sets of cohorts that do not overlap")
        parts.append(found)
    if prod(len(found) for found in parts) > limit:
        raise ValueError(f"there are more than {limit} sets of cohorts that do not overlap")
    places = sorted(
        tuple(sorted(order[cohort] for chosen in combination for cohort in chosen))
        for combination in product(*parts)
    )
    names = list(neighbors)
    return [tuple(names[i] for i in place) for place in places]


def _independent(part: Sequence[str], neighbors: dict[str, set[str]]) -> Iterator[tuple[str, ...]]:
    """Bron-Kerbosch with a pivot, on the complement of the graph of overlaps."""
    apart = {a: {b for b in part if b != a and b not in neighbors[a]} for a in part}

    def extend(chosen: tuple[str, ...], open_: set[str], done: set[str]) -> Iterator:
        if not open_ and not done:
            yield chosen
            return
        pivot = max(sorted(open_ | done), key=lambda cohort: len(apart[cohort] & open_))
        for cohort in sorted(open_ - apart[pivot]):
            yield from extend((*chosen, cohort), open_ & apart[cohort], done & apart[cohort])
            open_ = open_ - {cohort}
            done = done | {cohort}

    yield from extend((), set(part), set())


def implied_pairs(overlaps: pd.DataFrame) -> list[tuple[str, str, str]]:
    """List pairs that follow from the listed ones and are not listed themselves.

    A set that contains another shares whatever patients the other shares. So with A inside B: if
    A shares patients with C, B does (certainly or possibly, as A does); if B shares patients with
    C, A may.

    Parameters
    ----------
    overlaps : pandas.DataFrame
        As for `choose`; in a pair of the kind ``subset``, ``cohort_a`` is inside ``cohort_b``.

    Returns
    -------
    list of (str, str, str)
        Two cohorts, and ``"subset"``, ``"same-trial"`` or ``"possible"``; sorted.
    """
    listed = {frozenset((a, b)) for a, b, _ in _pairs(overlaps)}
    inside = {(a, b) for a, b, kind in _pairs(overlaps) if kind == "subset"}
    while new := {(a, d) for a, b in inside for c, d in inside if b == c and a != d} - inside:
        inside |= new
    certain = {frozenset((a, b)) for a, b, kind in _pairs(overlaps) if kind in CERTAIN}
    certain |= {frozenset(pair) for pair in inside}
    while more := _inherited(certain, inside) - certain:
        certain |= more
    shared = listed | certain
    both_ways = inside | {(large, small) for small, large in inside}
    while more := _inherited(shared, both_ways) - shared:
        shared |= more
    found = []
    for pair in shared - listed:
        a, b = sorted(pair)
        if (b, a) in inside:
            a, b = b, a
        kind = "subset" if (a, b) in inside else "same-trial" if pair in certain else "possible"
        found.append((a, b, kind))
    return sorted(found)


def _inherited(pairs: set[frozenset[str]], steps: set[tuple[str, str]]) -> set[frozenset[str]]:
    """Pairs in which one cohort gives its place to another."""
    return {
        (pair - {old}) | {new}
        for pair in pairs
        for old, new in steps
        if old in pair and new not in pair
    }


def unlinked(cohorts: pd.DataFrame, overlaps: pd.DataFrame) -> list[tuple[str, str, str]]:
    """List pairs of cohorts with one trial registration that count as separate patients.

    Parameters
    ----------
    cohorts : pandas.DataFrame
        Columns ``cohort_id`` and ``trial_id`` (may be missing).
    overlaps : pandas.DataFrame
        As for `choose`.

    Returns
    -------
    list of (str, str, str)
        Registration and two cohorts, in the order of `cohorts`.
    """
    neighbors = graph(cohorts["cohort_id"], overlaps)
    registered = cohorts[cohorts["trial_id"].notna()]
    pairs = []
    for trial, group in registered.groupby("trial_id", sort=False):
        names = list(group["cohort_id"])
        for i, a in enumerate(names):
            pairs += [(str(trial), a, b) for b in names[i + 1 :] if b not in neighbors[a]]
    return pairs


def _pairs(overlaps: pd.DataFrame) -> Iterator[tuple[str, str, str]]:
    columns = (overlaps[name] for name in ("cohort_a", "cohort_b", "kind"))
    yield from zip(*columns, strict=True)
