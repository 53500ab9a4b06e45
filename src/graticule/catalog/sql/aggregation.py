"""Counting groups of what a search finds, exactly and within a bound of work.

Where the columns tell which items match, the database counts them. Where a footprint or a document must be looked at,
that is done once for those items in doubt, and the database counts the ones that passed by their keys.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, Final

from graticule.catalog import aggregating
from graticule.catalog.aggregating import CLOUD_RANGES, UNITS, Aggregation, grid_bits
from graticule.catalog.cells import TURN
from graticule.catalog.planning import FOREVER, CollectionStatistics, Question, Row, cells_of, within
from graticule.catalog.regions import Region
from graticule.catalog.sql.candidates import SqlCandidates
from graticule.catalog.sql.dialects import Dialect
from graticule.catalog.sql.filtering import Conditions
from graticule.catalog.sql.frequencies import frequency
from graticule.catalog.sql.searching import plan_of
from graticule.catalog.sql.words import KEYS
from graticule.database import Connection
from graticule.errors import InvalidParameter
from graticule.stac.aggregation import AggregationRequest, Frequency, Scale

#: Rows of an index that one request may read: some seconds' work.
MOST_ROWS: Final = 10_000_000
#: Footprints and documents that one request may look at.
MOST_FOOTPRINTS: Final = 200_000
MOST_DOCUMENTS: Final = 20_000
#: Footprints, documents or keys at once.
_BLOCK: Final = 2_000

#: What a candidate by its cell costs beside one by its time.
_DEARER: Final = 5

#: What bounds alone prove: see `Region.doubtful`.
_INSIDE: Final = """(i.y0 >= :in_south AND i.y1 <= :in_north AND (
    (i.x0 >= :in_west AND i.x1 <= :in_east) OR (i.x0 >= :in_west_back AND i.x1 <= :in_east_back)
    OR (i.x0 >= :in_west_on AND i.x1 <= :in_east_on)))"""
_CLOUD: Final = (
    "CASE WHEN i.cloud IS NULL THEN NULL "
    + " ".join(f"WHEN i.cloud < {start} THEN {number}" for number, start in enumerate(CLOUD_RANGES))
    + f" ELSE {len(CLOUD_RANGES)} END"
)


def aggregate(
    tx: Connection,
    *,
    dialect: Dialect,
    request: AggregationRequest,
    strict: bool = False,
    most_rows: int = MOST_ROWS,
    most_footprints: int = MOST_FOOTPRINTS,
    most_documents: int = MOST_DOCUMENTS,
) -> list[Aggregation]:
    """The aggregations of a request, in its order.

    Raises:
        InvalidParameter: it would take too much work.
    """
    plan = plan_of(tx, dialect, request.search, strict=strict, probe=False)
    # Every candidate is read here, whatever an index of values knows of it.
    conditions = replace(plan.conditions, where=plan.conditions.where + plan.conditions.holding, checks=())
    question = replace(plan.question, by_column=bool(conditions.where), by_value=False)
    collections = [one for one in plan.collections if one.n and question.may_hold(one.t0, one.t1)]
    if question == Question(None, None, placed=False, start=None, end=None):
        matches: _Matches = _Everything(tx, dialect, question, conditions, collections)
    else:
        matches = _Matches(tx, dialect, question, conditions, collections)
    passes = sum(_passes(request.frequencies.get(name)) for name in request.names if name not in matches.known)
    matches.find(passes, most_rows, most_footprints, most_documents)
    return [
        _ANSWERS[name](matches, name, request)
        if name in _ANSWERS
        else matches.frequency(name, request.frequencies[name], most_documents)
        for name in request.names
    ]


def _passes(frequency: Frequency | None) -> int:
    """How often an aggregation reads the matches; the ends of numbers are always looked for."""
    if frequency is None or frequency.scale is Scale.TERMS:
        return 1
    return 1 if isinstance(frequency.interval, str) else 2


class _Matches(SqlCandidates):
    """The items that match: a part that the columns tell, and the keys of others."""

    #: Aggregations that cost nothing.
    known: frozenset[str] = frozenset()
    #: Are they all items of the collections? Then an index of values is read in the order of its key.
    are_all = False

    def __init__(
        self,
        tx: Connection,
        dialect: Dialect,
        question: Question,
        conditions: Conditions,
        collections: Sequence[CollectionStatistics],
    ) -> None:
        super().__init__(tx, dialect, question, conditions)
        self._question = question
        self._collections = collections
        self._where += " AND i.t >= :low AND i.t <= :high"
        self._values |= {
            "low": min((question.least_t(one.maxdur) for one in collections), default=0),
            "high": FOREVER if question.end is None else question.end,
        }
        #: A statement of rows that match for certain; None: there are none.
        self._certain: str | None = None
        self._passed: list[int] = []
        self._totals: tuple[int, int | None, int | None] | None = None

    def find(self, passes: int, most_rows: int, most_footprints: int, most_documents: int) -> None:
        """Find out what matches, or raise that it is too much."""
        if not self._collections:
            return
        source, rows = self._source()
        if rows * passes > most_rows:
            raise _too_much(f"{rows} items would have to be read for each of them")
        region = self._question.region
        if self._question.by_document:
            self._look(source, "", most_documents, "documents")
        elif region is None:
            self._certain = self._dialect.all_candidates(source, self._where, documents=0)
        elif region.inner is None:
            self._look(source, "", most_footprints, "footprints")
        else:
            self._values |= _inside(region)
            self._certain = self._dialect.all_candidates(source, f"{self._where} AND {_INSIDE}", documents=0)
            self._look(source, f" AND NOT {_INSIDE}", most_footprints, "footprints")

    def groups(self, key: str) -> Counter[Any]:
        """How many matches there are for each value of an expression on ``i``."""
        found: Counter[Any] = Counter()
        for rows, values in self._parts():
            sql = f"SELECT {key} AS k, count(*) FROM ({rows}) i GROUP BY 1"
            for row in self._tx.tuples(sql, values):
                found[row[0]] += row[1]
        return found

    def totals(self) -> tuple[int, int | None, int | None]:
        """How many matches there are, and the least and the greatest t."""
        if self._totals is None:
            parts = [
                self._tx.tuples(f"SELECT count(*), min(i.t), max(i.t) FROM ({rows}) i", values)[0]
                for rows, values in self._parts()
            ]
            some = [part for part in parts if part[0]]
            self._totals = (
                sum(part[0] for part in some),
                min((part[1] for part in some), default=None),
                max((part[2] for part in some), default=None),
            )
        return self._totals

    def frequency(self, name: str, asked: Frequency, most_documents: int) -> Aggregation:
        """How many matches have which values of a property."""
        return frequency(
            self._tx,
            self._dialect,
            name,
            asked,
            colls=[one.coll for one in self._collections],
            parts=None if self.are_all else self._parts,
            total=self.totals()[0],
            most_documents=most_documents,
        )

    def names(self) -> dict[int, str]:
        """Ids of the collections by their numbers."""
        return {row[0]: row[1] for row in self._tx.tuples("SELECT coll, id FROM collections")}

    def _parts(self) -> Iterator[tuple[str, dict[str, Any]]]:
        if self._certain is not None:
            yield self._certain, self._values
        for first in range(0, len(self._passed), _BLOCK):
            keys = self._dialect.integers(self._passed[first : first + _BLOCK])
            yield f"SELECT * FROM items i WHERE i.pk {KEYS[self._tx.dialect]}", {"pks": keys}

    def _source(self) -> tuple[str, int]:
        """Where candidates are read, and about how many they are."""
        d, question = self._dialect, self._question
        colls = [one.coll for one in self._collections]
        self._values["colls"] = d.integers(colls)
        if question.ids is not None:
            self._values["ids"] = d.texts(question.ids)
            return "ids", len(question.ids) * len(colls)
        everything = sum(one.n for one in self._collections)
        if question.region is None:
            return "collections", everything
        cells = cells_of(self, question, question.region, self._collections)
        rows = sum(cell.n for cell in cells)
        # The index of times has all that is counted; from that of cells one goes on to the rows.
        if rows * _DEARER >= everything:
            return "collections", everything
        self._values["cells"] = d.packed_cells((cell.coll, cell.cell) for cell in cells)
        return "cells", rows

    def _look(self, source: str, where: str, most: int, what: str) -> None:
        """Keep the keys of the candidates that pass."""
        rows = self._dialect.all_candidates(source, self._where + where, documents=0)
        sql = f"SELECT i.t, i.id, i.coll, i.pk, i.x0, i.y0, i.x1, i.y1 FROM ({rows}) i LIMIT :most"
        found: list[Row] = self._tx.tuples(sql, {**self._values, "most": most + 1})  # type: ignore[assignment]
        if len(found) > most:
            raise _too_much(f"the {what} of more than {most} items would have to be looked at")
        for first in range(0, len(found), _BLOCK):
            block = found[first : first + _BLOCK]
            if self._question.region is not None:
                block = within(self._question.region, block, self.footprints)
            if self._question.by_document:
                failing = self.failing(block)
                block = [row for row in block if row[3] not in failing]
            self._passed += [row[3] for row in block]


class _Everything(_Matches):
    """All items of some collections: what is kept of them answers the simple questions."""

    known = frozenset({"total_count", "collection_frequency", "datetime_min", "datetime_max"})
    are_all = True

    def find(self, passes: int, most_rows: int, most_footprints: int, most_documents: int) -> None:
        """Only for what is not known."""
        if passes:
            super().find(passes, most_rows, most_footprints, most_documents)

    def groups(self, key: str) -> Counter[Any]:
        """As above."""
        if key == "i.coll":
            return Counter({one.coll: one.n for one in self._collections})
        return super().groups(key)

    def totals(self) -> tuple[int, int | None, int | None]:
        """As above; both ends of the index tell the times."""
        ends = [
            self._tx.value(f"SELECT {end}(i.t) FROM items i WHERE i.coll = :coll", {"coll": one.coll})
            for one in self._collections
            for end in ("min", "max")
        ]
        return sum(one.n for one in self._collections), min(ends, default=None), max(ends, default=None)


# --- the aggregations ------------------------------------------------------------------------------------------------


def _times(matches: _Matches, name: str, request: AggregationRequest) -> Aggregation:
    interval = request.interval
    if interval is None:
        _, first, last = matches.totals()
        interval = aggregating.suitable(first or 0, last or 0)
    unit = UNITS[interval]
    # Remainders of negative numbers are negative: times before 1970 are rounded down as well.
    groups = matches.groups(f"(i.t - ((i.t % {unit}) + {unit}) % {unit}) / {unit}")
    return aggregating.times(name, groups, interval)


def _geohashes(matches: _Matches, name: str, request: AggregationRequest) -> Aggregation:
    across, up = grid_bits(request.precision)
    half = TURN // 2
    # Twice the centre, from 0 on; x1 may lie beyond 180 degrees. The pole belongs to the last row.
    x = f"((CAST(i.x0 AS BIGINT) + i.x1 + {3 * TURN}) % {2 * TURN})"
    y = f"(CAST(i.y0 AS BIGINT) + i.y1 + {half})"
    row = f"(CASE WHEN {y} >= {TURN} THEN {(1 << up) - 1} ELSE {y} * {1 << up} / {TURN} END)"
    groups = matches.groups(f"({x} * {1 << across} / {2 * TURN}) * {1 << 32} + {row}")
    return aggregating.geohashes(name, groups, request.precision)


_ANSWERS: Final[dict[str, Any]] = {
    "total_count": lambda matches, name, _: aggregating.value(name, matches.totals()[0]),
    "datetime_min": lambda matches, name, _: aggregating.value(name, aggregating.instant(matches.totals()[1])),
    "datetime_max": lambda matches, name, _: aggregating.value(name, aggregating.instant(matches.totals()[2])),
    "collection_frequency": lambda matches, name, _: aggregating.terms(name, matches.groups("i.coll"), matches.names()),
    "cloud_cover_frequency": lambda matches, name, _: aggregating.cloud_ranges(name, matches.groups(_CLOUD)),
    "platform_frequency": lambda matches, name, _: aggregating.terms(name, matches.groups("i.platform")),
    "datetime_frequency": _times,
    "centroid_geohash_grid_frequency": _geohashes,
}


# --- inside ----------------------------------------------------------------------------------------------------------


def _inside(region: Region) -> dict[str, int]:
    box = region.inner
    assert box is not None
    values = {"in_south": box.y0, "in_north": box.y1}
    for suffix, by in (("", 0), ("_back", -TURN), ("_on", TURN)):
        values |= {f"in_west{suffix}": box.x0 + by, f"in_east{suffix}": box.x1 + by}
    return values


def _too_much(reason: str) -> InvalidParameter:
    return InvalidParameter(
        f"aggregations: {reason}: narrow the search by collections, bbox or datetime, or ask for fewer.",
        target="aggregations",
    )
