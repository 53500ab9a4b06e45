"""Statement texts that differ between databases, and how lists are handed to them.

Every other statement of the room is plain SQL that SQLite and PostgreSQL share. What SQLite needs: lists come as JSON
and are opened with ``json_each``; CROSS JOIN and INDEXED BY pin the plans; candidates read covering indexes only. On
PostgreSQL lists come as arrays, and LATERAL with LIMIT or OFFSET 0 pins the plans.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final, Protocol

import orjson

from graticule.catalog.cells import CellRange
from graticule.database import Connection, Database

_ROW: Final = "i.t, i.id, i.coll, i.pk, i.x0, i.y0, i.x1, i.y1"
_BELOW: Final = "(i.t, i.id, i.coll) < (:key_t, :key_id, :key_coll)"
_NEWEST: Final = "ORDER BY i.t DESC, i.id DESC, i.coll DESC LIMIT :limit"

#: A cell needs 44 bits, so that a collection and a cell fit one integer of JSON.
_CELL_BITS: Final = 46
_CELL_MASK: Final = (1 << _CELL_BITS) - 1


class Dialect(Protocol):
    """What a database must say in its own way. `where` is a further condition on ``i``, beginning with AND, or ''."""

    def of_collection(self, where: str) -> str:
        """Candidate rows: :coll, :low, :key_*, :limit."""
        ...

    def of_cell(self, where: str) -> str:
        """Candidate rows: :coll, :cell, :low, :key_*, :limit."""
        ...

    def of_cells(self, where: str) -> str:
        """Candidate rows: :cells, :low, :key_*, :limit."""
        ...

    def of_ids(self, where: str) -> str:
        """Candidate rows: :colls, :ids, :key_*."""
        ...

    #: t, id, coll of row :n + 1 of a collection: :coll, :low, :key_*.
    nth_key: str
    #: coll, cell, n, t0, t1: what `cell_ranges` gives.
    cells: str
    #: pk, wkb: :pks.
    footprints: str
    #: pk, doc: :pks.
    bodies: str
    #: pk, id, cell of the items of :coll that have one of :ids.
    existing: str
    #: Two statements that delete :pks.
    delete_items: str
    delete_bodies: str

    def integers(self, values: Iterable[int]) -> Any:
        """A list parameter such as :pks."""
        ...

    def texts(self, values: Sequence[str]) -> Any:
        """A list parameter such as :ids."""
        ...

    def packed_cells(self, cells: Iterable[tuple[int, int]]) -> Any:
        """The parameter :cells, of (coll, cell)."""
        ...

    def cell_ranges(self, ranges: Sequence[tuple[int, CellRange]]) -> dict[str, Any]:
        """The parameters of `cells`, of (coll, range)."""
        ...

    def new_keys(self, tx: Connection, count: int) -> Sequence[int]:
        """Primary keys for new items; the transaction holds what it needs to use them."""
        ...


class SqliteDialect:
    """SQLite 3.38 and later."""

    nth_key = f"""
        SELECT i.t, i.id, i.coll FROM items i INDEXED BY i_time
        WHERE i.coll = :coll AND i.t >= :low AND {_BELOW}
        ORDER BY i.t DESC, i.id DESC, i.coll DESC LIMIT 1 OFFSET :n"""
    cells = """
        SELECT g.coll, g.cell, g.n, g.t0, g.t1 FROM json_each(:ranges) q CROSS JOIN grid g
        WHERE g.coll = json_extract(q.value, '$[0]')
          AND g.cell BETWEEN json_extract(q.value, '$[1]') AND json_extract(q.value, '$[2]')
          AND (g.cell & 1048575) BETWEEN json_extract(q.value, '$[3]') AND json_extract(q.value, '$[4]')"""
    footprints = "SELECT i.pk, i.wkb FROM json_each(:pks) q CROSS JOIN items i WHERE i.pk = q.value"
    bodies = "SELECT b.pk, b.doc FROM json_each(:pks) q CROSS JOIN bodies b WHERE b.pk = q.value"
    existing = """
        SELECT i.pk, i.id, i.cell FROM json_each(:ids) q CROSS JOIN items i INDEXED BY i_id
        WHERE i.coll = :coll AND i.id = q.value"""
    delete_items = "DELETE FROM items WHERE pk IN (SELECT value FROM json_each(:pks))"
    delete_bodies = "DELETE FROM bodies WHERE pk IN (SELECT value FROM json_each(:pks))"

    def of_collection(self, where: str) -> str:
        """See `Dialect`."""
        return f"""
            SELECT {_ROW} FROM items i INDEXED BY i_time
            WHERE i.coll = :coll AND i.t >= :low AND {_BELOW} {where} {_NEWEST}"""

    def of_cell(self, where: str) -> str:
        """See `Dialect`."""
        return f"""
            SELECT {_ROW} FROM items i INDEXED BY i_cell
            WHERE i.coll = :coll AND i.cell = :cell AND i.t >= :low AND {_BELOW} {where} {_NEWEST}"""

    def of_cells(self, where: str) -> str:
        """See `Dialect`."""
        return f"""
            SELECT {_ROW} FROM json_each(:cells) q CROSS JOIN items i INDEXED BY i_cell
            WHERE i.coll = (q.value >> {_CELL_BITS}) AND i.cell = (q.value & {_CELL_MASK})
              AND i.t >= :low AND {_BELOW} {where} {_NEWEST}"""

    def of_ids(self, where: str) -> str:
        """See `Dialect`."""
        return f"""
            SELECT {_ROW} FROM json_each(:colls) c CROSS JOIN json_each(:ids) q CROSS JOIN items i INDEXED BY i_id
            WHERE i.coll = c.value AND i.id = q.value AND {_BELOW} {where}"""

    def integers(self, values: Iterable[int]) -> Any:
        """JSON."""
        return orjson.dumps(list(values)).decode()

    def texts(self, values: Sequence[str]) -> Any:
        """JSON."""
        return orjson.dumps(values).decode()

    def packed_cells(self, cells: Iterable[tuple[int, int]]) -> Any:
        """JSON of one integer each."""
        return self.integers(coll << _CELL_BITS | cell for coll, cell in cells)

    def cell_ranges(self, ranges: Sequence[tuple[int, CellRange]]) -> dict[str, Any]:
        """JSON of five integers each."""
        return {"ranges": orjson.dumps([(coll, *cell_range) for coll, cell_range in ranges]).decode()}

    def new_keys(self, tx: Connection, count: int) -> Sequence[int]:
        """Above the greatest: there is one writer at a time."""
        first = int(tx.value("SELECT coalesce(max(pk), 0) + 1 FROM items"))
        return range(first, first + count)


class PostgresDialect:
    """PostgreSQL 14 and later."""

    nth_key = f"""
        SELECT i.t, i.id, i.coll FROM items i
        WHERE i.coll = :coll AND i.t >= :low AND {_BELOW}
        ORDER BY i.t DESC, i.id DESC, i.coll DESC LIMIT 1 OFFSET :n"""
    cells = """
        SELECT g.coll, g.cell, g.n, g.t0, g.t1
        FROM unnest(:colls::int8[], :first::int8[], :last::int8[], :west::int8[], :east::int8[]) q(coll, a, b, w, e)
        CROSS JOIN LATERAL (
            SELECT * FROM grid g
            WHERE g.coll = q.coll AND g.cell BETWEEN q.a AND q.b AND (g.cell & 1048575) BETWEEN q.w AND q.e
            OFFSET 0) g"""
    footprints = "SELECT pk, wkb FROM items WHERE pk = ANY(:pks::int8[])"
    bodies = "SELECT pk, doc FROM bodies WHERE pk = ANY(:pks::int8[])"
    existing = "SELECT pk, id, cell FROM items WHERE coll = :coll AND id = ANY(:ids::text[])"
    delete_items = "DELETE FROM items WHERE pk = ANY(:pks::int8[])"
    delete_bodies = "DELETE FROM bodies WHERE pk = ANY(:pks::int8[])"

    def of_collection(self, where: str) -> str:
        """See `Dialect`."""
        return f"""
            SELECT {_ROW} FROM items i WHERE i.coll = :coll AND i.t >= :low AND {_BELOW} {where} {_NEWEST}"""

    def of_cell(self, where: str) -> str:
        """See `Dialect`."""
        return f"""
            SELECT {_ROW} FROM items i
            WHERE i.coll = :coll AND i.cell = :cell AND i.t >= :low AND {_BELOW} {where} {_NEWEST}"""

    def of_cells(self, where: str) -> str:
        """See `Dialect`."""
        return f"""
            SELECT {_ROW} FROM unnest(:cells::int8[]) q(v) CROSS JOIN LATERAL (
                SELECT * FROM items i
                WHERE i.coll = (q.v >> {_CELL_BITS}) AND i.cell = (q.v & {_CELL_MASK})
                  AND i.t >= :low AND {_BELOW} {where} {_NEWEST}) i
            {_NEWEST}"""

    def of_ids(self, where: str) -> str:
        """See `Dialect`."""
        return f"""
            SELECT {_ROW} FROM items i
            WHERE i.coll = ANY(:colls::int8[]) AND i.id = ANY(:ids::text[]) AND {_BELOW} {where}"""

    def integers(self, values: Iterable[int]) -> Any:
        """An array."""
        return list(values)

    def texts(self, values: Sequence[str]) -> Any:
        """An array."""
        return list(values)

    def packed_cells(self, cells: Iterable[tuple[int, int]]) -> Any:
        """An array of one integer each."""
        return [coll << _CELL_BITS | cell for coll, cell in cells]

    def cell_ranges(self, ranges: Sequence[tuple[int, CellRange]]) -> dict[str, Any]:
        """Five arrays."""
        columns = zip(*((coll, *cell_range) for coll, cell_range in ranges), strict=True)
        return dict(zip(("colls", "first", "last", "west", "east"), map(list, columns), strict=True))

    def new_keys(self, tx: Connection, count: int) -> Sequence[int]:
        """From the sequence of the table."""
        sql = "SELECT nextval(pg_get_serial_sequence('items', 'pk')) FROM generate_series(1, :count)"
        return [row[0] for row in tx.all(sql, {"count": count})]


def dialect_of(database: Database) -> Dialect:
    """How this database is spoken to."""
    return PostgresDialect() if database.dialect == "postgresql" else SqliteDialect()
