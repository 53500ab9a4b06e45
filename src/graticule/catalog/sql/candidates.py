"""Candidate rows of a search, read with the statements of a dialect."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import orjson

from graticule.catalog.blocks import BLOCK_LEVEL, Blocks
from graticule.catalog.cells import TURN, CellRange
from graticule.catalog.planning import FOREVER, CellStatistics, CollectionStatistics, Question, Row
from graticule.catalog.sql.dialects import Dialect
from graticule.catalog.sql.filtering import Conditions
from graticule.catalog.sql.remembered import Remembered
from graticule.catalog.tokens import Key
from graticule.database import Connection

#: Bounds overlap on a world that repeats every turn: as they are, or one turn on, or one turn back.
_OVERLAP = """AND i.y0 <= :north AND i.y1 >= :south AND (
    (i.x0 <= :east AND i.x1 >= :west) OR (i.x0 <= :east_on AND i.x1 >= :west_on)
    OR (i.x0 <= :east_back AND i.x1 >= :west_back))"""

#: As many collections are named in a statement.
_LOOKED_UP: Final = 50
#: Counts of blocks of the grid (`Blocks`): a cell is level << 40 | row << 20 | column.
_BLOCKS: Final = f"""
    SELECT b.coll, b.level, b.y, b.x, sum(b.n) AS n, min(b.t0) AS t0, max(b.t1) AS t1 FROM (
        SELECT c.coll, c.level, ((c.cell >> 20) & 1048575) >> c.finer AS y, (c.cell & 1048575) >> c.finer AS x,
          c.n, c.t0, c.t1
        FROM (
            SELECT g.coll, g.cell, g.cell >> 40 AS level, g.n, g.t0, g.t1, CASE WHEN g.cell >> 40 > {BLOCK_LEVEL}
              THEN CAST((g.cell >> 40) - {BLOCK_LEVEL} AS INT) ELSE 0 END AS finer
            FROM grid g WHERE g.coll IN ({{colls}}) AND g.cell >= 0) c) b
    GROUP BY b.coll, b.level, b.y, b.x"""


class SqlCandidates:
    """`planning.Candidates` for one question in one read transaction."""

    def __init__(
        self,
        tx: Connection,
        dialect: Dialect,
        question: Question,
        conditions: Conditions,
        remembered: Remembered | None = None,
    ) -> None:
        """Turn the question into the conditions that all its statements share."""
        self._remembered = Remembered() if remembered is None else remembered
        self._anytime = question.start is None and question.end is None
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
        self._foreseen = not conditions.where
        self._where += conditions.where
        self._values |= conditions.values
        self._holding = conditions.holding
        self._of_one_value = conditions.of_one_value
        self._keys = question.keys
        self._residual = conditions.residual
        self._names: dict[int, str] = {}
        self._asked: Sequence[tuple[int, CellRange]] = ()
        self._cells: list[CellStatistics] = []
        self._footprints: dict[int, bytes] = {}

    def of_collection(self, coll: int, low: int, upper: Key, limit: int) -> list[Row]:
        """See `planning.Candidates`."""
        if self._of_one_value:
            sql = self._dialect.of_one_value(self._of_one_value, self._where)
        else:
            sql = self._dialect.of_collection(self._where, foreseen=self._foreseen)
        return self._read(sql, upper, coll=coll, low=low, limit=limit)

    def of_collections(self, lows: Mapping[int, int], upper: Key, limit: int) -> dict[int, list[Row]]:
        """See `planning.Candidates`."""
        together = self._dialect.of_collections(self._where, foreseen=self._foreseen)
        if together is None or self._of_one_value:
            return {coll: self.of_collection(coll, low, upper, limit) for coll, low in lows.items()}
        found: dict[int, list[Row]] = {coll: [] for coll in lows}
        for row in self._read(
            together, upper, colls=self._dialect.integers(lows), lows=self._dialect.integers(lows.values()), limit=limit
        ):
            found[row[2]].append(row)
        return found

    def of_cell(self, coll: int, cell: int, low: int, upper: Key, limit: int) -> list[Row]:
        """See `planning.Candidates`."""
        return self._read(self._dialect.of_cell(self._where), upper, coll=coll, cell=cell, low=low, limit=limit)

    def of_cells(self, cells: Sequence[CellStatistics], low: int, upper: Key, limit: int) -> list[Row]:
        """See `planning.Candidates`."""
        packed = self._dialect.packed_cells((cell.coll, cell.cell) for cell in cells)
        return self._read(self._dialect.of_cells(self._where), upper, cells=packed, low=low, limit=limit)

    def all_of_cells(self, cells: Sequence[CellStatistics], low: int, upper: Key, limit: int) -> list[Row]:
        """See `planning.Candidates`."""
        packed = self._dialect.packed_cells((cell.coll, cell.cell) for cell in cells)
        rows = self._read(self._dialect.all_of_cells(self._where), upper, cells=packed, low=low, limit=limit)
        self._footprints |= {row[3]: row[8] for row in rows}
        return rows

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
            rows = self._tx.tuples(self._dialect.nth_key, {"coll": coll, "low": low, "n": n - 1, **_key(upper)})
            return (rows[0][0], rows[0][1], rows[0][2]) if rows else None

        return self._remembered.floor(coll, n, find) if self._anytime and upper[0] == FOREVER else find()

    def cells(self, ranges: Sequence[tuple[int, CellRange]]) -> list[CellStatistics]:
        """See `planning.Candidates`."""
        if not ranges:
            return []
        if self._asked != ranges:  # a page and its count ask for the same
            rows = self._tx.tuples(self._dialect.cells, self._dialect.cell_ranges(ranges))
            self._asked, self._cells = ranges, list(map(CellStatistics._make, rows))
        return self._cells

    def blocks(self, collections: Sequence[CollectionStatistics]) -> Blocks:
        """See `planning.Candidates`."""
        remembered = self._remembered.blocks(collections, self._count_blocks)
        return sum((blocks.times(factor) for blocks, factor in remembered), Blocks(()))

    def _count_blocks(self, colls: Sequence[int]) -> dict[int, Blocks]:
        rows: dict[int, list[Any]] = {coll: [] for coll in colls}
        for row in self._tx.tuples(_BLOCKS.format(colls=", ".join(map(str, colls)))):
            rows[row[0]].append(row[1:])
        return {coll: Blocks(found) for coll, found in rows.items()}

    def rows(self, coll: int, low: int, high: int, most: int) -> int:
        """See `planning.Candidates`."""
        values = {"coll": coll, "low": low, "high": high, "most": most}
        return int(self._tx.value(self._dialect.rows, values))

    def holding(self, rows: Sequence[Row]) -> list[Row]:
        """See `planning.Candidates`."""
        pks = self._dialect.integers(row[3] for row in rows)
        held = {row[0] for row in self._tx.tuples(self._dialect.holding(self._holding), {**self._values, "pks": pks})}
        return [row for row in rows if row[3] in held]

    def failing(self, rows: Sequence[Row]) -> set[int]:
        """See `planning.Candidates`."""
        if self._residual is None or not rows:
            return set()
        if not self._names:
            self._names = {row[0]: row[1] for row in self._tx.tuples("SELECT coll, id FROM collections")}
        colls = {row[3]: row[2] for row in rows}
        bodies = self._tx.tuples(self._dialect.bodies, {"pks": self._dialect.integers(colls)})
        return {pk for pk, doc in bodies if self._residual(orjson.loads(doc), self._names[colls[pk]]) is not True}

    def footprints(self, pks: Sequence[int]) -> dict[int, bytes]:
        """See `planning.Candidates`."""
        unread = [pk for pk in pks if pk not in self._footprints]
        if unread:
            rows = self._tx.tuples(self._dialect.footprints, {"pks": self._dialect.integers(unread)})
            self._footprints.update((row[0], row[1]) for row in rows)
        return self._footprints

    def _read(self, sql: str, upper: Key, **values: Any) -> list[Row]:
        rows: list[Any] = self._tx.tuples(sql, {**self._values, **values, **_key(upper)})
        return rows


def statistics_of(tx: Connection, collections: Sequence[str] | None) -> list[CollectionStatistics]:
    """What is known of the collections to search: those named, or all; never those being deleted."""
    named = {} if collections is None else {f"c{n}": name for n, name in enumerate(collections)}
    # A few are looked up, because there may be thousands of others.
    few = f" AND c.id IN ({', '.join(f':{name}' for name in named)})" if 0 < len(named) <= _LOOKED_UP else ""
    rows = tx.tuples(
        "SELECT s.coll, s.n, s.t0, s.t1, s.maxdur, s.levels, c.id"
        f" FROM collections c JOIN collstat s ON s.coll = c.coll WHERE c.deleting = 0{few}",
        named if few else {},
    )
    wanted = None if collections is None or few else set(collections)
    return [CollectionStatistics(*row) for row in rows if wanted is None or row[6] in wanted]


def _key(upper: Key) -> dict[str, Any]:
    return {"key_t": upper[0], "key_id": upper[1], "key_coll": upper[2]}
