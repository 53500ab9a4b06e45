"""How a search is carried out: the plan rule, and the ways of reading candidates newest first.

Every way yields candidate rows in one order, (t, id, coll) descending, below an exclusive upper key; the exact test of
footprints comes after. In this order:

1. ids, or a condition on a declared queryable whose index has few such items: look them up.
2. No place, or the whole world: time first, one ordered read per collection, merged.
3. A region of 1500 square degrees and more: time first over the newest few thousand rows, because most of them match;
   if that is not enough, the rest by 4, from the key reached.
4. Cells: list the non-empty cells that can hold matches. A few are merged; more are read together in windows of time.

The rule needs no estimates: cells chosen wrongly cost little, time first chosen wrongly reads a whole collection.
"""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice, takewhile
from operator import itemgetter
from typing import Any, Final, NamedTuple, Protocol

from graticule.catalog.blocks import Blocks
from graticule.catalog.cells import CellRange, cover
from graticule.catalog.regions import Region
from graticule.catalog.tokens import Key
from graticule.errors import ReadStopped

#: Above every instant; far enough from the ends of 64 bits to add a day.
FOREVER: Final = 1 << 62

#: Rule 3: from this area on, and over this many rows.
_LARGE_AREA: Final = 1500.0
_NEWEST_ROWS: Final = 5_000
#: So many collections are begun to be read together; the others when their turn comes.
_BEGUN: Final = 8
#: Rule 4: as many cells are merged one by one.
_MERGED_CELLS: Final = 12
#: Rule 4: as many row ranges of cells are asked for before whole bands are.
_MOST_RANGES: Final = 2_000

#: Documents are read in blocks of at most so many: they are large.
_DOCUMENTS_AT_ONCE: Final = 500
#: Conditions that only the indexes of queryables tell are checked in blocks of at most so many rows,
_CHECKED_AT_ONCE: Final = 2_000
#: and so many of these checks cost as much as one document.
_CHECKS_PER_DOCUMENT: Final = 5
#: A search that has found nothing goes on for so many times the limit of documents.
_PATIENCE: Final = 5

#: A candidate: t, id, coll, pk, x0, y0, x1, y1.
Row = Sequence[Any]
#: The place of a row in the order.
key_of: Final[Callable[[Row], Key]] = itemgetter(0, 1, 2)


@dataclass(frozen=True, slots=True)
class CollectionStatistics:
    """What is known of a collection's items as a whole."""

    coll: int
    n: int
    #: Least t and greatest te, microseconds; possibly too wide.
    t0: int
    t1: int
    #: The longest te - t.
    maxdur: int
    #: Grid levels in use, as a bit mask.
    levels: int
    id: str = ""


class CellStatistics(NamedTuple):
    """A non-empty cell of one collection."""

    coll: int
    cell: int
    n: int
    t0: int
    t1: int


@dataclass(frozen=True, slots=True)
class Question:
    """The conditions of a search in the units of the tables."""

    ids: tuple[str, ...] | None
    region: Region | None
    #: Only items that have a geometry.
    placed: bool
    #: Items overlap start..end, microseconds; None is open.
    start: int | None
    end: int | None
    #: The candidates meet conditions on their columns beside these.
    by_column: bool = False
    #: And some that only their documents tell: see `Candidates.failing`.
    by_document: bool = False
    #: And some that the indexes of queryables tell, row by row: see `Candidates.holding`.
    by_value: bool = False
    #: The pks of all items that can match, where an index told that they are few.
    keys: tuple[int, ...] | None = None

    def may_hold(self, t0: int, t1: int) -> bool:
        """Can items between these instants match?"""
        return (self.start is None or t1 >= self.start) and (self.end is None or t0 <= self.end)

    def least_t(self, maxdur: int) -> int:
        """Matching items of at most this duration begin no earlier."""
        return -FOREVER if self.start is None else self.start - maxdur

    def first_key(self, after: Key | None) -> Key:
        """The exclusive upper key to begin at: the end of the interval and the page's key are one bound, not two."""
        bound: Key = (FOREVER if self.end is None else self.end + 1, "", 0)
        return bound if after is None else min(after, bound)


class Candidates(Protocol):
    """What a store answers about one `Question`: rows that meet all of it but the exact footprint.

    Rows come in order (t, id, coll) descending, with ``t >= low`` and key below `upper`, at most `limit`.
    """

    def of_collection(self, coll: int, low: int, upper: Key, limit: int) -> list[Row]:
        """Candidates of one collection."""
        ...

    def of_collections(self, lows: Mapping[int, int], upper: Key, limit: int) -> dict[int, list[Row]]:
        """Candidates of several collections, each with a `low` of its own; at most `limit` of each."""
        ...

    def of_cell(self, coll: int, cell: int, low: int, upper: Key, limit: int) -> list[Row]:
        """Candidates of one cell."""
        ...

    def of_cells(self, cells: Sequence[CellStatistics], low: int, upper: Key, limit: int) -> list[Row]:
        """Candidates of many cells."""
        ...

    def all_of_cells(self, cells: Sequence[CellStatistics], low: int, upper: Key, limit: int) -> list[Row]:
        """As `of_cells`, but in no order, and any of them if there are more; their footprints are read too."""
        ...

    def of_ids(self, colls: Sequence[int], upper: Key) -> list[Row]:
        """Candidates that have one of the question's ids, in no order."""
        ...

    def of_keys(self, upper: Key) -> list[Row]:
        """Candidates among the question's keys, in no order."""
        ...

    def nth_key(self, coll: int, low: int, upper: Key, n: int) -> Key | None:
        """The key of the collection's n-th row below `upper`, matching or not; None if there are fewer."""
        ...

    def cells(self, ranges: Sequence[tuple[int, CellRange]]) -> list[CellStatistics]:
        """Non-empty cells of these ranges (coll, range)."""
        ...

    def blocks(self, collections: Sequence[CollectionStatistics]) -> Blocks:
        """About how many items lie where."""
        ...

    def rows(self, coll: int, low: int, high: int, most: int) -> int:
        """How many rows of a collection have t in low..high, both included, counted up to `most`."""
        ...

    def holding(self, rows: Sequence[Row]) -> list[Row]:
        """Those of the rows that meet the conditions on values of queryables."""
        ...

    def failing(self, rows: Sequence[Row]) -> set[int]:
        """The pks of the rows whose documents fail the conditions that only documents tell."""
        ...

    def footprints(self, pks: Sequence[int]) -> dict[int, bytes]:
        """WKB by pk."""
        ...


class Scan:
    """How many documents a search may look into: reading one costs a hundred times what a row of an index does.

    A search that has looked into `limit` of them ends with what it has; one that has found nothing goes on for some
    more, because many clients take an empty page for the end.
    """

    def __init__(self, limit: int) -> None:
        """Nothing is looked into yet."""
        self._limit = limit
        self._looked = 0.0
        self._found = False
        #: The row where the search was broken off: matches behind it are not known.
        self.last: Row | None = None

    def look(self, last: Row, *, documents: int, checks: int, found: int) -> None:
        """All rows down to `last` were looked at, in so many documents and index entries, and so many match."""
        self._looked += documents + checks / _CHECKS_PER_DOCUMENT
        self._found = self._found or found > 0
        if self._looked >= self._limit * (1 if self._found else _PATIENCE):
            self.last = last


def find(
    source: Candidates,
    question: Question,
    collections: Sequence[CollectionStatistics],
    after: Key | None,
    count: int,
    scan: Scan,
) -> list[Row]:
    """The first `count` matches below the key `after`, newest first; fewer also where `scan` says it was broken off."""
    collections = [c for c in collections if c.n and question.may_hold(c.t0, c.t1)]
    if not collections:
        return []
    upper = question.first_key(after)
    exact = Exact(source, question, scan)
    if question.ids is not None or question.keys is not None:
        rows = source.of_keys(upper) if question.ids is None else source.of_ids([c.coll for c in collections], upper)
        return exact.take(iter(sorted(rows, key=key_of, reverse=True)), count)
    region = question.region
    if region is None:
        return exact.take(_by_time(source, question, collections, upper, count), count)
    found: list[Row] = []
    if region.area >= _LARGE_AREA:
        reached, rows_above = _newest_part(source, question, collections, upper, count)
        found = exact.take(rows_above, count)
        if reached is None or len(found) == count or scan.last is not None:
            return found
        upper = reached
    missing = count - len(found)
    return found + exact.take(_in_cells(source, question, region, collections, upper, missing), missing)


class Exact:
    """Keeps the rows whose footprint lies in the region, and that meet what only looking at them tells."""

    def __init__(self, source: Candidates, question: Question, scan: Scan) -> None:
        """Read footprints, values and documents from `source`, as many as `scan` allows."""
        self._source = source
        self._region = question.region
        self._by_document = question.by_document
        self._by_value = question.by_value
        self._most = _DOCUMENTS_AT_ONCE if question.by_document else _CHECKED_AT_ONCE
        self._scan = scan
        #: The last row that was looked at to the end.
        self._last: Row | None = None

    def take(self, rows: Iterator[Row], count: int) -> list[Row]:
        """The first `count` rows that match, reading candidates in blocks of growing size.

        Raises:
            ReadStopped: the time is over, and nothing has been looked at from which a next page could go on.
        """
        found: list[Row] = []
        try:
            self._fill(found, rows, count)
        except ReadStopped:
            if self._last is None:
                raise
            self._scan.last = self._last
        return found[:count]

    def _fill(self, found: list[Row], rows: Iterator[Row], count: int) -> None:
        block = count if self._region is None else max(8, count * 3 // 2)
        while len(found) < count:
            candidates = list(islice(rows, block))
            if not candidates:
                return
            block *= 2
            if not self._by_document and not self._by_value:
                found += (
                    candidates if self._region is None else within(self._region, candidates, self._source.footprints)
                )
                self._last = candidates[-1]
                continue
            block = min(block, self._most)
            for first in range(0, len(candidates), self._most):
                part = candidates[first : first + self._most]
                found += self._look(part)
                self._last = part[-1]
                if self._scan.last is not None:
                    return

    def _look(self, rows: list[Row]) -> list[Row]:
        """Those of the rows that match; the cheapest question comes first."""
        held = self._source.holding(rows) if self._by_value else rows
        if self._region is not None:
            held = within(self._region, held, self._source.footprints)
        documents, checks = (len(held) if self._by_document else 0), (len(rows) if self._by_value else 0)
        if self._by_document and held:
            failing = self._source.failing(held)
            held = [row for row in held if row[3] not in failing]
        self._scan.look(rows[-1], documents=documents, checks=checks, found=len(held))
        return held


def within(
    region: Region, rows: Sequence[Row], footprints: Callable[[Sequence[int]], Mapping[int, bytes]]
) -> list[Row]:
    """The rows that lie in the region; the WKB of those whose bounds do not tell is asked for, by pk."""
    doubtful = region.doubtful(rows)
    if not doubtful:
        return list(rows)
    known = footprints([row[3] for row in doubtful])
    held = region.intersects([known[row[3]] for row in doubtful])
    if held.all():
        return list(rows)
    outside = {row[3] for row, holds in zip(doubtful, held.tolist(), strict=True) if not holds}
    return [row for row in rows if row[3] not in outside]


# --- time first ------------------------------------------------------------------------------------------------------


def _by_time(
    source: Candidates,
    question: Question,
    collections: Sequence[CollectionStatistics],
    upper: Key,
    count: int,
    *,
    floor: int = -FOREVER,
) -> Iterator[Row]:
    lows = {c.coll: max(question.least_t(c.maxdur), floor) for c in collections}

    newest = heapq.nlargest(_BEGUN, collections, key=lambda c: c.t1) if len(collections) > 1 else []
    chunk = _chunk(count, len(collections))
    begun = source.of_collections({c.coll: lows[c.coll] for c in newest}, upper, chunk) if newest else {}

    def leg(c: CollectionStatistics) -> _Leg:
        fetch = partial(source.of_collection, c.coll, lows[c.coll])
        return _Leg(c.t1, fetch, begun.get(c.coll))

    return _merged([leg(c) for c in collections], upper, count)


def _newest_part(
    source: Candidates, question: Question, collections: Sequence[CollectionStatistics], upper: Key, count: int
) -> tuple[Key | None, Iterator[Row]]:
    """Candidates among the newest rows, and the key down to which that is all of them (None: to the end)."""
    each = max(200, _NEWEST_ROWS // len(collections))
    keys = [source.nth_key(c.coll, question.least_t(c.maxdur), upper, each) for c in collections]
    reached = max((key for key in keys if key is not None), default=None)
    if reached is None:
        return None, _by_time(source, question, collections, upper, count)
    rows = _by_time(source, question, collections, upper, count, floor=reached[0])
    return reached, takewhile(lambda row: key_of(row) >= reached, rows)


# --- cells -----------------------------------------------------------------------------------------------------------


def cells_of(
    source: Candidates, question: Question, region: Region, collections: Sequence[CollectionStatistics]
) -> list[CellStatistics]:
    """The non-empty cells that can hold matches."""
    most = _MOST_RANGES // len(collections)
    ranges = [(c.coll, r) for c in collections for r in cover(region.box, c.levels, most=most)]
    cells = [cell for cell in source.cells(ranges) if question.may_hold(cell.t0, cell.t1)]
    if region.inner is None and len(cells) > 1:
        near = region.near([cell.cell for cell in cells])
        cells = [cell for cell, is_near in zip(cells, near, strict=True) if is_near]
    return cells


def _in_cells(
    source: Candidates,
    question: Question,
    region: Region,
    collections: Sequence[CollectionStatistics],
    upper: Key,
    count: int,
) -> Iterator[Row]:
    cells = cells_of(source, question, region, collections)
    if cells:
        ways = _by_cell if len(cells) <= _MERGED_CELLS else _by_window
        yield from ways(source, _by_bound(question, collections, cells), upper, count)


def all_in_cells(
    source: Candidates,
    question: Question,
    collections: Sequence[CollectionStatistics],
    cells: Sequence[CellStatistics],
    most: int,
) -> list[Row] | None:
    """All candidates of these cells, newest first; None if they are more than `most`."""
    upper = question.first_key(None)
    rows: list[Row] = []
    for low, together in _by_bound(question, collections, cells).items():
        rows += source.all_of_cells(together, low, upper, most + 1 - len(rows))
        if len(rows) > most:
            return None
    rows.sort(key=key_of, reverse=True)
    return rows


#: Cells by the least t that matches in them can have.
_Groups = dict[int, list[CellStatistics]]


def _by_bound(
    question: Question, collections: Sequence[CollectionStatistics], cells: Sequence[CellStatistics]
) -> _Groups:
    # Durations are rounded up to a power of two: cells are read together by bound, and there should be few bounds.
    lows = {c.coll: question.least_t((1 << c.maxdur.bit_length()) - 1) for c in collections}
    groups: defaultdict[int, list[CellStatistics]] = defaultdict(list)
    for cell in cells:
        groups[lows[cell.coll]].append(cell)
    return groups


def _by_cell(source: Candidates, groups: _Groups, upper: Key, count: int) -> Iterator[Row]:
    """Merge an ordered read of each cell."""

    def leg(cell: CellStatistics, low: int) -> _Leg:
        return _Leg(cell.t1, partial(source.of_cell, cell.coll, cell.cell, low))

    return _merged([leg(cell, low) for low, cells in groups.items() for cell in cells], upper, count)


def _by_window(source: Candidates, groups: _Groups, upper: Key, count: int) -> Iterator[Row]:
    """Read all cells together, one window of time after the other, each wider than the one before."""
    cells = [cell for together in groups.values() for cell in together]
    page = _page_rows(count)
    newest, oldest = max(cell.t1 for cell in cells), min(cell.t0 for cell in cells)
    upper = min(upper, (newest + 1, "", 0))
    bottom = max(oldest, min(groups))
    width = _first_width(sum(cell.n for cell in cells), newest - oldest, upper[0] - bottom, count)
    while upper[0] >= bottom:
        low = max(upper[0] - width, bottom)
        rows, reached = _page(source, groups, low, upper, page)
        yield from rows
        if reached is not None:
            upper = reached
            continue
        upper = (low, "", 0)  # above all rows of that instant is excluded, and these were read
        width *= 4
        if low == bottom:
            return


def _page_rows(count: int) -> int:
    """How many rows one statement over many cells may answer."""
    return 5 * count + 1_000


def _first_width(n: int, span: int, left: int, count: int) -> int:
    """A window that holds about three times what is wanted, if items are spread evenly."""
    expected = n if span <= 0 else n * min(left, span) // span
    if expected <= 400 + 4 * count:
        return max(left, 1)
    return max(span * (3 * count + 20) // n, 1)


def _page(
    source: Candidates,
    groups: dict[int, list[CellStatistics]],
    low: int,
    upper: Key,
    limit: int,
) -> tuple[list[Row], Key | None]:
    """The newest candidates of all groups; and if a statement was full, the key down to which they are complete."""
    rows: list[Row] = []
    reached: Key | None = None
    statements = 0
    for least, cells in groups.items():
        if upper[0] < least:
            continue
        page = source.of_cells(cells, max(low, least), upper, limit)
        if len(page) == limit:
            last = key_of(page[-1])
            reached = last if reached is None else max(reached, last)
        rows += page
        statements += 1
    if statements > 1:
        rows.sort(key=key_of, reverse=True)
        if reached is not None:
            rows = [row for row in rows if key_of(row) >= reached]
    return rows, reached


# --- merging ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Leg:
    """One ordered read among several."""

    #: No row of it has a greater t.
    newest: int
    fetch: Callable[[Key, int], list[Row]]
    #: Its first chunk, if that was read already.
    begun: list[Row] | None = None


def _chunk(count: int, legs: int) -> int:
    """Rows that a leg reads first."""
    return min(count, max(6, 2 * count // legs))


def _merged(legs: Sequence[_Leg], upper: Key, count: int) -> Iterator[Row]:
    chunk = _chunk(count, len(legs))
    rows = heapq.merge(*(_read(leg, upper, chunk) for leg in legs), key=key_of, reverse=True)
    return (row for row in rows if len(row) > 3)


def _read(leg: _Leg, upper: Key, chunk: int) -> Iterator[Row]:
    """The leg's rows in chunks of growing size.

    The first thing yielded is only a key above all its rows: the merge asks for more when its turn comes, so legs that
    hold nothing new enough are never read.
    """
    yield (leg.newest + 1, "", 0)
    rows = leg.fetch(upper, chunk) if leg.begun is None else leg.begun
    while True:
        yield from rows
        if len(rows) < chunk:
            return
        chunk *= 4
        rows = leg.fetch(key_of(rows[-1]), chunk)
