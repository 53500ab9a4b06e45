"""How many items a search finds in all: exact where that is cheap, else an estimate from the counts of cells.

Whole collections are known without counting; the caller sees to those, and to searches of one page.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from graticule.catalog.planning import (
    FOREVER,
    Candidates,
    CellStatistics,
    CollectionStatistics,
    Question,
    Scan,
    cells_of,
    find,
)

#: So many candidates are counted exactly: it costs two or three milliseconds.
_FEW: Final = 1_000
#: From this area on, square degrees, merely listing the cells takes longer than the page.
_LARGE_AREA: Final = 1_500.0


def count(
    source: Candidates, question: Question, collections: Sequence[CollectionStatistics]
) -> tuple[int | None, int | None]:
    """The number of matches, or else about how many; (None, None) where either would cost more than the page."""
    if question.by_document or question.by_value:
        return None, None
    scan = Scan(0)  # no document is looked into
    collections = [c for c in collections if c.n and question.may_hold(c.t0, c.t1)]
    if question.ids is not None or question.keys is not None or _are_few(source, question, collections):
        return len(find(source, question, collections, None, sum(c.n for c in collections), scan)), None
    parts: Sequence[CollectionStatistics | CellStatistics] = collections
    if question.region is not None:
        if question.region.area >= _LARGE_AREA:
            return None, None
        parts = cells_of(source, question, question.region, collections)
        if sum(part.n for part in parts) <= _FEW:
            return len(find(source, question, collections, None, _FEW, scan)), None
    if question.by_column:
        return None, None
    return None, round(sum(part.n * _share(question, part.t0, part.t1) for part in parts))


def _are_few(source: Candidates, question: Question, collections: Sequence[CollectionStatistics]) -> bool:
    """Does the interval alone leave few enough to count them?"""
    left = _FEW
    for c in collections:
        if question.start is None and question.end is None:
            left -= c.n
        else:
            high = FOREVER if question.end is None else question.end
            left -= source.rows(c.coll, question.least_t(c.maxdur), high, left + 1)
        if left < 0:
            return False
    return True


def _share(question: Question, t0: int, t1: int) -> float:
    """The part of a time range that the interval overlaps: that of its items, if they are spread evenly."""
    start = t0 if question.start is None else max(question.start, t0)
    end = t1 if question.end is None else min(question.end, t1)
    return min(max((end - start) / (t1 - t0), 0.0), 1.0) if t1 > t0 else 1.0
