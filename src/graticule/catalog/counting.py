"""How many items a search finds in all: exact where that is cheap, else an estimate from the counts of cells.

Whole collections are known without counting; the caller sees to those, and to searches of one page. Nothing here costs
more than the page did: an estimate is a sum over counts, and what a filter leaves is told from the page itself.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Final

from graticule.catalog.cells import MAX_LEVEL, level_of, widened
from graticule.catalog.planning import (
    FOREVER,
    Candidates,
    CellStatistics,
    CollectionStatistics,
    Exact,
    Question,
    Row,
    Scan,
    all_in_cells,
    cells_of,
    find,
)
from graticule.catalog.regions import Region

#: So many candidates are counted exactly: it costs two or three milliseconds.
_FEW: Final = 1_000
#: So many may turn out to be more than expected, and are read all the same.
_MOST_CANDIDATES: Final = 3_000
#: Where so many are expected, it is not asked whether they are few.
_FEW_AT_MOST: Final = 4_000
#: From this area on, square degrees, blocks of the grid are summed up, and cells are not listed.
_LARGE_AREA: Final = 1_500.0
#: As many collections may a large area be summed up in.
_MOST_COLLECTIONS: Final = 100
#: As many rows of the page's time are counted, to see which part of them a filter left.
_MOST_ROWS: Final = 5_000
#: How far a usual item reaches beyond its cell, in sizes of the cell: it is half to once as large as that, and lies
#: round its own centre. On the finest level it may be much smaller.
_REACH: Final = 0.375
_FINEST_REACH: Final = 0.1

#: About how many candidates of the place begin or end between two instants, without regard to filters.
_Base = Callable[[int, int], float]


def few(
    source: Candidates, question: Question, collections: Sequence[CollectionStatistics], scan: Scan
) -> list[Row] | None:
    """All matches, newest first, where the cells that can hold them have few items: page and number in one reading.

    None: there may be many, or something else than place and time decides. What `scan` breaks off is not all.
    """
    region = question.region
    if region is None or region.area >= _LARGE_AREA or question.ids is not None or question.keys is not None:
        return None
    if question.by_document or question.by_value:
        return None
    collections = [c for c in collections if c.n and question.may_hold(c.t0, c.t1)]
    if not collections:
        return []
    cells = cells_of(source, question, region, collections)
    if _expected(question, cells) > _FEW:
        return None
    rows = all_in_cells(source, question, collections, cells, _MOST_CANDIDATES)
    return None if rows is None else Exact(source, question, scan).take(iter(rows), len(rows))


def count(
    source: Candidates, question: Question, collections: Sequence[CollectionStatistics], page: Sequence[Row] | None
) -> tuple[int | None, int | None]:
    """The number of matches, or else about how many; (None, None) where neither can be told for the cost of the page.

    Args:
        source: as for the page.
        question: what was asked for.
        collections: as for the page.
        page: its rows, if they are the newest matches, and more follow.
    """
    collections = [c for c in collections if c.n and question.may_hold(c.t0, c.t1)]
    listed = None
    looked_up = question.ids is not None or question.keys is not None
    if question.region is not None and question.region.area < _LARGE_AREA and not looked_up:
        listed = cells_of(source, question, question.region, collections)
    if not (question.by_document or question.by_value) and (
        looked_up
        or (listed is not None and _expected(question, listed) <= _FEW)
        or _are_few(source, question, collections)
    ):
        scan = Scan(0)  # no document is looked into
        return len(find(source, question, collections, None, sum(c.n for c in collections), scan)), None
    base = _base(source, question, collections, listed)
    if base is None or looked_up:
        return None, None
    start = -FOREVER if question.start is None else question.start
    end = FOREVER if question.end is None else question.end
    about = base(start, end)
    if question.by_column or question.by_document or question.by_value:
        if not page:
            return None, None
        passed = _passed(source, question, collections, base, page[-1][0], end)
        if passed < 1:
            return None, None
        about *= len(page) / passed
    return None, max(round(about), 0 if page is None else len(page) + 1)


def _passed(
    source: Candidates, question: Question, collections: Sequence[CollectionStatistics], base: _Base, low: int, end: int
) -> float:
    """About how many candidates a page down to the instant `low` has passed by or taken."""
    if question.region is None:
        rows = 0
        for c in collections:
            rows += source.rows(c.coll, low, end, _MOST_ROWS - rows)
            if rows >= _MOST_ROWS:
                return base(low, end)
        return rows
    return base(low, end)


def _base(
    source: Candidates,
    question: Question,
    collections: Sequence[CollectionStatistics],
    listed: Sequence[CellStatistics] | None,
) -> _Base | None:
    region = question.region
    if region is None:
        return lambda low, high: sum(c.n * _share(low, high, c.t0, c.t1) for c in collections)
    if listed is not None:
        weighted = [(cell, cell.n * _part_within(cell.cell, region)) for cell in listed]
        return lambda low, high: sum(n * _share(low, high, cell.t0, cell.t1) for cell, n in weighted)
    if not collections or len(collections) > _MOST_COLLECTIONS:
        return None
    return source.blocks(collections).about(region)


def _are_few(source: Candidates, question: Question, collections: Sequence[CollectionStatistics]) -> bool:
    """Does the interval alone leave few enough to count them?"""
    if _expected(question, collections) > _FEW_AT_MOST:
        return False
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


def _expected(question: Question, parts: Sequence[CellStatistics] | Sequence[CollectionStatistics]) -> int:
    """About how many items of cells or collections the interval leaves, if each part's are spread evenly."""
    if question.start is None and question.end is None:
        return sum([one.n for one in parts])
    low = -FOREVER if question.start is None else question.start
    high = FOREVER if question.end is None else question.end
    return math.ceil(sum(one.n * _share(low, high, one.t0, one.t1) for one in parts))


def _share(low: int, high: int, t0: int, t1: int) -> float:
    """The part of a time range that an interval overlaps: that of its items, if they are spread evenly."""
    if low > t1 or high < t0:
        return 0.0
    return (min(high, t1) - max(low, t0)) / (t1 - t0) if t1 > t0 else 1.0


def _part_within(cell: int, region: Region) -> float:
    """The part of a cell's items that the bounds of a region meet, if they are spread evenly."""
    west, south, east, _ = widened(cell)
    size = (east - west) / 2
    reach = size * (_FINEST_REACH if level_of(cell) == MAX_LEVEL else _REACH)
    box = region.box
    high = _overlap(south + size / 2, size, box.y0 / 1e7 - reach, box.y1 / 1e7 + reach)
    wide = max(
        _overlap(west + size / 2 + turn, size, box.x0 / 1e7 - reach, box.x1 / 1e7 + reach) for turn in (-360, 0, 360)
    )
    return wide * high


def _overlap(start: float, size: float, low: float, high: float) -> float:
    return max(min(start + size, high) - max(start, low), 0.0) / size
