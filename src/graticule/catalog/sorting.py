"""How a sorted search is carried out: rule 5 of the plan (the other rules are in `graticule.catalog.planning`).

The order of two items is that of the first key in which they differ. Ascending, numbers come before texts and texts
before booleans; numbers compare as doubles, texts by code point (so do times other than `datetime`, which compares as
an instant and is `start_datetime` where it is null), false before true. Descending is the reverse. Items without the
property, with null, an object or an array come last either way. Ties go by (t, id, coll) in the direction of the last
key. `eo:cloud_cover` is a number and `platform` a text; other values of these count as missing.

Two ways lead there. Where few items can match, they are all read and sorted. Where many can and an index has the order
(datetime, id, cloud cover, platform), it is walked until the page is full.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from graticule.catalog.planning import (
    FOREVER,
    Candidates,
    CellStatistics,
    CollectionStatistics,
    Exact,
    Question,
    Row,
    Scan,
    cells_of,
)
from graticule.catalog.values import MISSING, NUMBER
from graticule.errors import InvalidParameter
from graticule.stac.sorting import SortKey

#: So many candidates are sorted rather than met one by one in an index.
_FEW: Final = 20_000
#: So many documents are opened for one answer: a property without a column costs about 20 µs each.
_MOST_DOCUMENTS: Final = 200_000

#: A place in the order: a value for each component of the sort keys, then t, id and coll.
Place = tuple[int | float | str, ...]

#: Members that have a column, the column's name and the type of its values.
COLUMNS: Final[dict[tuple[str, ...], tuple[str, type]]] = {
    ("id",): ("id", str),
    ("properties", "datetime"): ("t", int),
    ("properties", "eo:cloud_cover"): ("cloud", float),
    ("properties", "platform"): ("platform", str),
}
#: Columns that may be null.
NULLABLE: Final = frozenset({"cloud", "platform", "value"})


@dataclass(frozen=True, slots=True)
class Order:
    """What a search sorts by, with at least one key."""

    keys: tuple[SortKey, ...]
    #: Paths of declared queryables whose values are known in every collection that is searched, and their numbers.
    numbers: Mapping[tuple[str, ...], int] = field(default_factory=dict)

    @property
    def text(self) -> str:
        """As in a query; tokens carry it."""
        return ",".join(map(str, self.keys))

    @property
    def descending(self) -> bool:
        """Of the ties."""
        return self.keys[-1].descending

    @property
    def documents(self) -> tuple[tuple[str, ...], ...]:
        """Paths of the keys that have neither a column nor an index."""
        return tuple(
            key.path
            for key in self.keys
            if key.path not in COLUMNS and key.path != ("collection",) and key.path not in self.numbers
        )

    @property
    def walk(self) -> str | None:
        """The column whose index has this order, all in one direction; "value" of a declared queryable."""
        if len(self.keys) != 1:
            return None
        path = self.keys[0].path
        return "value" if path in self.numbers else COLUMNS[path][0] if path in COLUMNS else None

    @property
    def missing_kind(self) -> int:
        """The kind of a missing value where the ties descend or not: last in either direction."""
        return missing_kind(descending=self.descending)


def missing_kind(*, descending: bool) -> int:
    """The kind of a missing value: last in either direction."""
    return NUMBER - 1 if descending else MISSING


def order_of(sortby: Sequence[SortKey]) -> Order | None:
    """The order of a search; None for newest first."""
    keys = list(sortby)
    newest = [SortKey(("properties", "datetime"), descending=True), SortKey(("id",), descending=True)]
    return None if keys in (newest[:1], newest, []) else Order(tuple(keys))


class SortedCandidates(Candidates, Protocol):
    """What a store answers about one `Question` and one `Order`.

    Rows come in the order, beyond `after`, at most `limit`; the values of the components follow the members of a `Row`.
    """

    def walk(self, coll: int, low: int, high: int, after: Place | None, limit: int, *, missing: bool) -> list[Row]:
        """Candidates of a collection by the order's index: those that have the value, or those that miss it."""
        ...

    def sorted_cells(
        self, cells: Sequence[CellStatistics], low: int, high: int, after: Place | None, limit: int
    ) -> list[Row]:
        """Candidates of these cells."""
        ...

    def sorted_collections(
        self, colls: Sequence[int], low: int, high: int, after: Place | None, limit: int
    ) -> list[Row]:
        """Candidates of these collections."""
        ...

    def sorted_ids(self, colls: Sequence[int], low: int, high: int, after: Place | None, limit: int) -> list[Row]:
        """Candidates that have one of the question's ids."""
        ...

    def sorted_keys(self, low: int, high: int, after: Place | None, limit: int) -> list[Row]:
        """Candidates among the question's keys."""
        ...


def find_sorted(
    source: SortedCandidates,
    question: Question,
    collections: Sequence[CollectionStatistics],
    order: Order,
    after: Place | None,
    count: int,
    scan: Scan,
) -> list[Row]:
    """The first `count` matches beyond the place `after`; fewer also where `scan` says it was broken off.

    Raises:
        InvalidParameter: it would take the documents of too many items.
    """
    collections = [c for c in collections if c.n and question.may_hold(c.t0, c.t1)]
    if not collections:
        return []
    exact = Exact(source, question, scan)
    low = min(question.least_t(c.maxdur) for c in collections)
    high = FOREVER if question.end is None else question.end
    colls = [c.coll for c in collections]
    looks = question.by_document or question.by_value
    chunk = count if question.region is None and not looks else max(8, 3 * count)
    if question.ids is not None:
        rows = _read(lambda after, limit: source.sorted_ids(colls, low, high, after, limit), after, chunk)
        return exact.take(rows, count)
    if question.keys is not None:
        rows = _read(lambda after, limit: source.sorted_keys(low, high, after, limit), after, chunk)
        return exact.take(rows, count)
    in_time = _in_time(source, question, collections, _MOST_DOCUMENTS if order.documents else _FEW)
    cells = None if question.region is None else cells_of(source, question, question.region, collections)
    in_cells = in_time if cells is None else sum(cell.n for cell in cells)
    fewest = min(in_time, in_cells)
    if order.walk is not None and fewest >= _FEW and fewest**2 >= 4 * count * sum(c.n for c in collections):
        return exact.take(_walked(source, collections, order, low, high, after, count), count)
    if order.documents and fewest > _MOST_DOCUMENTS:
        name = ".".join(order.documents[0])
        raise InvalidParameter(
            f"sortby: '{name[:60]}' is not indexed, and more than {_MOST_DOCUMENTS} items would have to be sorted: "
            "narrow the search by collections, bbox or datetime, declare it as a queryable with create_index, or sort "
            "by datetime, id, eo:cloud_cover or platform.",
            target="sortby",
        )
    if cells is not None and in_cells <= in_time:
        return exact.take(_read(lambda a, limit: source.sorted_cells(cells, low, high, a, limit), after, chunk), count)
    rows = _read(lambda after, limit: source.sorted_collections(colls, low, high, after, limit), after, chunk)
    return exact.take(rows, count)


def place_of(row: Row) -> Place:
    """The place of a row in the order."""
    return (*row[8:], row[0], row[1], row[2])


def _in_time(source: Candidates, question: Question, collections: Sequence[CollectionStatistics], most: int) -> int:
    """At most how many candidates the interval leaves; above `most` possibly too many."""
    everything = sum(c.n for c in collections)
    if question.start is None and question.end is None:
        return everything
    counted = 0
    for c in collections:
        high = FOREVER if question.end is None else question.end
        rows = source.rows(c.coll, question.least_t(c.maxdur), high, most - counted + 1)
        counted += rows
        if counted > most:
            return everything
    return counted


def _read(fetch: Callable[[Place | None, int], list[Row]], after: Place | None, chunk: int) -> Iterator[Row]:
    while True:
        rows = fetch(after, chunk)
        yield from rows
        if len(rows) < chunk:
            return
        after = place_of(rows[-1])
        chunk *= 4


def _walked(
    source: SortedCandidates,
    collections: Sequence[CollectionStatistics],
    order: Order,
    low: int,
    high: int,
    after: Place | None,
    count: int,
) -> Iterator[Row]:
    """Merge the walks of the collections."""
    chunk = min(count, max(6, 2 * count // len(collections)))
    phases = [False, True] if order.walk in NULLABLE else [False]
    if after is not None and len(phases) > 1 and after[0] == order.missing_kind:
        phases = [True]

    def leg(coll: int) -> Iterator[Row]:
        place = after
        for missing in phases:

            def fetch(place: Place | None, limit: int, *, missing: bool = missing) -> list[Row]:
                return source.walk(coll, low, high, place, limit, missing=missing)

            yield from _read(fetch, place, chunk)
            place = None

    return heapq.merge(*(leg(c.coll) for c in collections), key=place_of, reverse=order.descending)
