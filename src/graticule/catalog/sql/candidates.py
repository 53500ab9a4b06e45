"""Candidate rows of a search, read with the statements of a dialect."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import orjson

from graticule.catalog.cells import TURN, CellRange
from graticule.catalog.planning import FOREVER, CellStatistics, CollectionStatistics, Question, Row
from graticule.catalog.sql.dialects import Dialect
from graticule.catalog.sql.filtering import Conditions
from graticule.catalog.sql.floors import Floors
from graticule.catalog.tokens import Key
from graticule.database import Connection

#: Bounds overlap on a world that repeats every turn: as they are, or one turn on, or one turn back.
_OVERLAP = """AND i.y0 <= :north AND i.y1 >= :south AND (
    (i.x0 <= :east AND i.x1 >= :west) OR (i.x0 <= :east_on AND i.x1 >= :west_on)
    OR (i.x0 <= :east_back AND i.x1 >= :west_back))"""

#: As many collections are named in a statement.
_LOOKED_UP: Final = 50
_SUM_OF_CELLS: Final = """
    SELECT sum(n * (CASE WHEN t1 > t0 THEN CAST(till - since AS DOUBLE PRECISION) / (t1 - t0) ELSE 1 END)) FROM (
        SELECT g.n, g.t0, g.t1, CASE WHEN g.t0 < :start THEN :start ELSE g.t0 END AS since,
          CASE WHEN g.t1 > :end THEN :end ELSE g.t1 END AS till
        FROM ({cells}) g WHERE g.t1 >= :start AND g.t0 <= :end) h"""


class SqlCandidates:
    """`planning.Candidates` for one question in one read transaction."""

    def __init__(
        self,
        tx: Connection,
        dialect: Dialect,
        question: Question,
        conditions: Conditions,
        floors: Floors | None = None,
    ) -> None:
        """Turn the question into the conditions that all its statements share."""
        self._floors = floors if question.start is None and question.end is None else None
        self._tx = tx
        self._dialect = dialect
        self._ids = question.ids
        self._where = ""
        self._values: dict[str, Any] = {}
        if question.start is not None:
            self._where += " AND i.te >= :since"
            self._values["since"] = question.start
        if question.region is not None:
            self._where += f" {_OVERLAP}"
            box = question.region.box
            self._values |= {"south": box.y0, "north": box.y1}
            for suffix, by in (("", 0), ("_on", TURN), ("_back", -TURN)):
                self._values |= {f"west{suffix}": box.x0 + by, f"east{suffix}": box.x1 + by}
        elif question.placed:
            self._where += " AND i.x0 IS NOT NULL"
        self._where += conditions.where
        self._values |= conditions.values
        self._holding = conditions.holding
        self._of_one_value = conditions.of_one_value
        self._keys = question.keys
        self._residual = conditions.residual
        self._names: dict[int, str] = {}
        self._asked: Sequence[tuple[int, CellRange]] = ()
        self._cells: list[CellStatistics] = []

    def of_collection(self, coll: int, low: int, upper: Key, limit: int) -> list[Row]:
        """See `planning.Candidates`."""
        if self._of_one_value:
            sql = self._dialect.of_one_value(self._of_one_value, self._where)
        else:
            sql = self._dialect.of_collection(self._where)
        return self._read(sql, upper, coll=coll, low=low, limit=limit)

    def of_cell(self, coll: int, cell: int, low: int, upper: Key, limit: int) -> list[Row]:
        """See `planning.Candidates`."""
        return self._read(self._dialect.of_cell(self._where), upper, coll=coll, cell=cell, low=low, limit=limit)

    def of_cells(self, cells: Sequence[CellStatistics], low: int, upper: Key, limit: int) -> list[Row]:
        """See `planning.Candidates`."""
        packed = self._dialect.packed_cells((cell.coll, cell.cell) for cell in cells)
        return self._read(self._dialect.of_cells(self._where), upper, cells=packed, low=low, limit=limit)

    def of_ids(self, colls: Sequence[int], upper: Key) -> list[Row]:
        """See `planning.Candidates`."""
        d = self._dialect
        return self._read(d.of_ids(self._where), upper, colls=d.integers(colls), ids=d.texts(self._ids or ()))

    def of_keys(self, upper: Key) -> list[Row]:
        """See `planning.Candidates`."""
        return self._read(self._dialect.of_keys(self._where), upper, keys=self._dialect.integers(self._keys or ()))

    def nth_key(self, coll: int, low: int, upper: Key, n: int) -> Key | None:
        """See `planning.Candidates`."""

        def find() -> Key | None:
            row = self._tx.one(self._dialect.nth_key, {"coll": coll, "low": low, "n": n - 1, **_key(upper)})
            return None if row is None else (row[0], row[1], row[2])

        return find() if self._floors is None or upper[0] < FOREVER else self._floors.get(coll, n, find)

    def cells(self, ranges: Sequence[tuple[int, CellRange]]) -> list[CellStatistics]:
        """See `planning.Candidates`."""
        if not ranges:
            return []
        if self._asked != ranges:  # a page and its count ask for the same
            rows = self._tx.all(self._dialect.cells, self._dialect.cell_ranges(ranges))
            self._asked, self._cells = ranges, [CellStatistics(*row) for row in rows]
        return self._cells

    def sum_of_cells(self, ranges: Sequence[tuple[int, CellRange]], low: int, high: int) -> float:
        """See `planning.Candidates`."""
        values = {**self._dialect.cell_ranges(ranges), "start": low, "end": high}
        return float(self._tx.value(_SUM_OF_CELLS.format(cells=self._dialect.cells), values) or 0)

    def rows(self, coll: int, low: int, high: int, most: int) -> int:
        """See `planning.Candidates`."""
        values = {"coll": coll, "low": low, "high": high, "most": most}
        return int(self._tx.value(self._dialect.rows, values))

    def holding(self, rows: Sequence[Row]) -> list[Row]:
        """See `planning.Candidates`."""
        pks = self._dialect.integers(row[3] for row in rows)
        held = {row[0] for row in self._tx.all(self._dialect.holding(self._holding), {**self._values, "pks": pks})}
        return [row for row in rows if row[3] in held]

    def failing(self, rows: Sequence[Row]) -> set[int]:
        """See `planning.Candidates`."""
        if self._residual is None or not rows:
            return set()
        if not self._names:
            self._names = {row[0]: row[1] for row in self._tx.all("SELECT coll, id FROM collections")}
        colls = {row[3]: row[2] for row in rows}
        bodies = self._tx.all(self._dialect.bodies, {"pks": self._dialect.integers(colls)})
        return {pk for pk, doc in bodies if self._residual(orjson.loads(doc), self._names[colls[pk]]) is not True}

    def footprints(self, pks: Sequence[int]) -> dict[int, bytes]:
        """See `planning.Candidates`."""
        rows = self._tx.all(self._dialect.footprints, {"pks": self._dialect.integers(pks)})
        return {row[0]: row[1] for row in rows}

    def _read(self, sql: str, upper: Key, **values: Any) -> list[Row]:
        rows: list[Any] = self._tx.all(sql, {**self._values, **values, **_key(upper)})
        return rows


def statistics_of(tx: Connection, collections: Sequence[str] | None) -> list[CollectionStatistics]:
    """What is known of the collections to search: those named, or all; never those being deleted."""
    named = {} if collections is None else {f"c{n}": name for n, name in enumerate(collections)}
    # A few are looked up, because there may be thousands of others.
    few = f" AND c.id IN ({', '.join(f':{name}' for name in named)})" if 0 < len(named) <= _LOOKED_UP else ""
    rows = tx.all(
        "SELECT s.coll, s.n, s.t0, s.t1, s.maxdur, s.levels, c.id"
        f" FROM collections c JOIN collstat s ON s.coll = c.coll WHERE c.deleting = 0{few}",
        named if few else {},
    )
    wanted = None if collections is None or few else set(collections)
    return [CollectionStatistics(*row) for row in rows if wanted is None or row[6] in wanted]


def _key(upper: Key) -> dict[str, Any]:
    return {"key_t": upper[0], "key_id": upper[1], "key_coll": upper[2]}
