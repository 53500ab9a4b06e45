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
from graticule.catalog.values import MISSING
from graticule.database import Connection, Database, packed, plain

_ROW: Final = "i.t, i.id, i.coll, i.pk, i.x0, i.y0, i.x1, i.y1"


def _below(row: str) -> str:
    return f"({row}.t, {row}.id, {row}.coll) < (:key_t, :key_id, :key_coll)"


def _newest(row: str) -> str:
    return f"ORDER BY {row}.t DESC, {row}.id DESC, {row}.coll DESC LIMIT :limit"


_BELOW: Final = _below("i")
_NEWEST: Final = _newest("i")
#: PostgreSQL plans a prepared statement once and for all where the values would not change its mind. A limit that it
#: can read does; with one that it has to ask for, the plan is the same for all values, and is kept.
_FORESEEN: Final = _NEWEST.replace(":limit", "(SELECT :limit::int8)")
_COLLECTION_ID: Final = "(SELECT c.id FROM collections c WHERE c.coll = i.coll)"

#: A cell needs 44 bits, so that a collection and a cell fit one integer of JSON.
_CELL_BITS: Final = 46
_CELL_MASK: Final = (1 << _CELL_BITS) - 1


#: Indexes that have an order, by the column they begin with (None: the column's value is missing): the index, its
#: columns, and the place in it.
_WALKS: Final = {
    "t": ("i_time", "i.t, i.id, i.coll", ":key_t, :key_id, :key_coll"),
    "id": ("i_id", "i.id, i.t, i.coll", ":key_id, :key_t, :key_coll"),
    "cloud": ("i_cloud", "i.cloud, i.t, i.id, i.coll", ":value, :key_t, :key_id, :key_coll"),
    "platform": ("i_plat", "i.platform, i.t, i.id, i.coll", ":value, :key_t, :key_id, :key_coll"),
    None: ("i_time", "i.t, i.id, i.coll", ":key_t, :key_id, :key_coll"),
}
#: Tables and condition of candidates that are read whole, in SQLite.
_SOURCES: Final = {
    "cells": (
        "json_each(:cells) q CROSS JOIN items i INDEXED BY i_cell",
        f"i.coll = (q.value >> {_CELL_BITS}) AND i.cell = (q.value & {_CELL_MASK})",
    ),
    "collections": ("json_each(:colls) q CROSS JOIN items i INDEXED BY i_time", "i.coll = q.value"),
    "ids": (
        "json_each(:colls) c CROSS JOIN json_each(:ids) q CROSS JOIN items i INDEXED BY i_id",
        "i.coll = c.value AND i.id = q.value",
    ),
    "keys": ("json_each(:keys) q CROSS JOIN items i", "i.pk = q.value"),
}
#: The same in PostgreSQL, where {} takes the further condition.
_POSTGRES_SOURCES: Final = {
    "cells": (
        "unnest(:cells::int8[]) q(v) CROSS JOIN LATERAL (SELECT * FROM items i "
        f"WHERE i.coll = (q.v >> {_CELL_BITS}) AND i.cell = (q.v & {_CELL_MASK}) {{}} OFFSET 0) i"
    ),
    "collections": "(SELECT * FROM items i WHERE i.coll = ANY(:colls::int8[]) {} OFFSET 0) i",
    "ids": (
        "unnest(:colls::int8[]) c(v) CROSS JOIN unnest(:ids::text[]) q(v) CROSS JOIN LATERAL ("
        "SELECT * FROM items i WHERE i.coll = c.v AND i.id = q.v {} OFFSET 0) i"
    ),
    "keys": "(SELECT * FROM items i WHERE i.pk = ANY(:keys::int8[]) {} OFFSET 0) i",
}
#: A document in PostgreSQL, which keeps no NUL: as in texts that are handed over, U+FFFD stands for it.
_POSTGRES_DOCUMENT: Final = r"""
    SELECT (CASE WHEN strpos(b.text, '\u0000') = 0 THEN b.text
        ELSE regexp_replace(b.text, '(?<!\\)((?:\\\\)*)\\u0000', '\1\\ufffd', 'g') END)::jsonb AS doc
    FROM (SELECT convert_from(doc, 'UTF8') AS text FROM bodies WHERE pk = i.pk OFFSET 0) b OFFSET 0"""

#: What becomes of a cell's row that is there.
_COUNT_MORE: Final = """
    ON CONFLICT (coll, cell) DO UPDATE SET n = grid.n + excluded.n,
      t0 = CASE WHEN excluded.t0 < grid.t0 THEN excluded.t0 ELSE grid.t0 END,
      t1 = CASE WHEN excluded.t1 > grid.t1 THEN excluded.t1 ELSE grid.t1 END"""


class Dialect(Protocol):
    """What a database must say in its own way. `where` is a further condition on ``i``, beginning with AND, or ''."""

    def of_collection(self, where: str, *, foreseen: bool = False) -> str:
        """Candidate rows: :coll, :low, :key_*, :limit.

        Where `foreseen`, `where` holds nothing but place and time: the index of time serves, whatever the values, and
        the server need not plan the statement for each of them.
        """
        ...

    def of_cell(self, where: str) -> str:
        """Candidate rows: :coll, :cell, :low, :key_*, :limit."""
        ...

    def of_collections(self, where: str, *, foreseen: bool = False) -> str | None:
        """Candidate rows, at most :limit of each collection: :colls, :lows, :key_*; None: one by one is as fast."""
        ...

    def of_cells(self, where: str) -> str:
        """Candidate rows: :cells, :low, :key_*, :limit."""
        ...

    def all_of_cells(self, where: str) -> str:
        """Candidate rows with WKB behind them, in no order: :cells, :low, :key_*, :limit."""
        ...

    def of_ids(self, where: str) -> str:
        """Candidate rows: :colls, :ids, :key_*."""
        ...

    def looked_up(self, *, named: bool) -> str:
        """Columns t, id, coll, id of the collection, document: :ids, and :collections (their ids) where `named`."""
        ...

    def of_keys(self, where: str) -> str:
        """Candidate rows: :keys (of pks), :key_*."""
        ...

    def holding(self, where: str) -> str:
        """The pks among :pks of rows that meet a condition."""
        ...

    def of_one_value(self, values: str, where: str) -> str:
        """As `of_collection`, of rows of ``item_values v`` that meet a condition and are in the order of time."""
        ...

    def keys_of_values(self, where: str) -> str:
        """The pks of rows of ``item_values v`` that meet a condition: :colls, :most."""
        ...

    def of_values(self, number: int, values: str, where: str, *, missing: bool, descending: bool, started: bool) -> str:
        """As `of_walk`, by the index of a queryable: :coll, :limit; :key_*, where `started` and not `missing`.

        Where `started` also :value_kind, :value and :value_text.
        """
        ...

    #: t, id, coll of row :n + 1 of a collection: :coll, :low, :key_*.
    nth_key: str
    #: How many rows, counted up to :most: :coll, :low, :high.
    rows: str
    #: coll, cell, n, t0, t1: what `cell_ranges` gives.
    cells: str
    #: pk, wkb: :pks.
    footprints: str
    #: pk, doc: :pks.
    bodies: str
    #: pk, id, cell of the items of :coll that have one of :ids.
    existing: str
    #: Adds what `cell_counts` gives to the grid, in the order of cells, or takes :n off it.
    count_cells: str
    uncount_cells: str
    #: Deletes the rows of these cells that count nothing any more.
    drop_cells: str
    #: Two statements that delete :pks.
    delete_items: str
    delete_bodies: str
    #: Two that delete from ``item_values``: the rows of :pks, and only those of :number.
    delete_values: str
    delete_values_of: str

    #: The id of the collection of ``i``.
    collection_id: str

    def of_walk(self, column: str, values: str, where: str, *, missing: bool, descending: bool, started: bool) -> str:
        """Candidate rows with `values` behind them, by the index of a column: :coll, :limit.

        Where `started` beyond a place: :value (of a column that can be null, and is not `missing`), :key_*.
        """
        ...

    def all_candidates(self, source: str, where: str, *, documents: int) -> str:
        """Rows and every column that can be sorted by.

        They are those of "cells" (:cells), "collections" (:colls), "ids" (:colls, :ids) or "keys" (:keys). With
        `documents` properties also ``found``, their values: :path1, :path2, …
        """
        ...

    def path(self, names: Sequence[str]) -> Any:
        """A parameter such as :path1."""
        ...

    def property_values(self, number: int, kinds: tuple[int, int, int, int]) -> tuple[str, str, str]:
        """Of property `number` in ``i.found``: kind (of `kinds`: number, text, boolean, other), number, and text."""
        ...

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

    def cell_counts(self, cells: Sequence[Sequence[int]]) -> dict[str, Any]:
        """The parameters of `count_cells`, of (cell, n, t0, t1), and of `uncount_cells`, of (cell, n)."""
        ...

    def stored(self, body: bytes) -> bytes:
        """What is written into ``bodies``, of a document that may be packed; the view ``documents`` shows it plain."""
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
    rows = """
        SELECT count(*) FROM (SELECT 1 FROM items i INDEXED BY i_time
        WHERE i.coll = :coll AND i.t >= :low AND i.t <= :high LIMIT :most)"""
    collection_id = _COLLECTION_ID
    # The ranges are taken out of JSON once each, not once for every cell that they are compared with.
    cells = """
        WITH q(coll, first, last, west, east) AS MATERIALIZED (
            SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]'), json_extract(value, '$[2]'),
              json_extract(value, '$[3]'), json_extract(value, '$[4]') FROM json_each(:ranges))
        SELECT g.coll, g.cell, g.n, g.t0, g.t1 FROM q CROSS JOIN grid g
        WHERE g.coll = q.coll AND g.cell BETWEEN q.first AND q.last AND (g.cell & 1048575) BETWEEN q.west AND q.east"""
    footprints = "SELECT i.pk, i.wkb FROM json_each(:pks) q CROSS JOIN items i WHERE i.pk = q.value"
    bodies = "SELECT b.pk, b.doc FROM json_each(:pks) q CROSS JOIN documents b WHERE b.pk = q.value"
    existing = """
        SELECT i.pk, i.id, i.cell FROM json_each(:ids) q CROSS JOIN items i INDEXED BY i_id
        WHERE i.coll = :coll AND i.id = q.value"""
    # "WHERE true" keeps SQLite from reading ON as the condition of a join.
    count_cells = f"""
        INSERT INTO grid(coll, cell, n, t0, t1)
        SELECT :coll, json_extract(q.value, '$[0]'), json_extract(q.value, '$[1]'), json_extract(q.value, '$[2]'),
          json_extract(q.value, '$[3]')
        FROM json_each(:cells) q WHERE true {_COUNT_MORE}"""
    uncount_cells = """
        UPDATE grid SET n = n - q.taken
        FROM (SELECT json_extract(value, '$[0]') AS cell, json_extract(value, '$[1]') AS taken FROM json_each(:cells)) q
        WHERE grid.coll = :coll AND grid.cell = q.cell"""
    drop_cells = """
        DELETE FROM grid WHERE coll = :coll AND n = 0
          AND cell IN (SELECT json_extract(value, '$[0]') FROM json_each(:cells))"""
    delete_items = "DELETE FROM items WHERE pk IN (SELECT value FROM json_each(:pks))"
    delete_bodies = "DELETE FROM bodies WHERE pk IN (SELECT value FROM json_each(:pks))"
    delete_values = "DELETE FROM item_values WHERE pk IN (SELECT value FROM json_each(:pks))"
    delete_values_of = f"{delete_values} AND number = :number"

    def of_collection(self, where: str, *, foreseen: bool = False) -> str:
        """See `Dialect`."""
        del foreseen
        return f"""
            SELECT {_ROW} FROM items i INDEXED BY i_time
            WHERE i.coll = :coll AND i.t >= :low AND {_BELOW} {where} {_NEWEST}"""

    def of_cell(self, where: str) -> str:
        """See `Dialect`."""
        return f"""
            SELECT {_ROW} FROM items i INDEXED BY i_cell
            WHERE i.coll = :coll AND i.cell = :cell AND i.t >= :low AND {_BELOW} {where} {_NEWEST}"""

    def of_collections(self, where: str, *, foreseen: bool = False) -> str | None:
        """See `Dialect`."""
        del where, foreseen
        return None

    def of_cells(self, where: str) -> str:
        """See `Dialect`."""
        return f"SELECT {_ROW} {_in_cells(where)} {_NEWEST}"

    def all_of_cells(self, where: str) -> str:
        """See `Dialect`."""
        return f"SELECT {_ROW}, i.wkb {_in_cells(where)} LIMIT :limit"

    def of_ids(self, where: str) -> str:
        """See `Dialect`."""
        return f"""
            SELECT {_ROW} FROM json_each(:colls) c CROSS JOIN json_each(:ids) q CROSS JOIN items i INDEXED BY i_id
            WHERE i.coll = c.value AND i.id = q.value AND {_BELOW} {where}"""

    def looked_up(self, *, named: bool) -> str:
        """See `Dialect`."""
        tables, condition = "collections c", "c.deleting = 0"
        if named:
            tables, condition = f"json_each(:collections) n CROSS JOIN {tables}", f"c.id = n.value AND {condition}"
        return f"""
            SELECT i.t, i.id, i.coll, c.id, b.doc
            FROM {tables} CROSS JOIN json_each(:ids) q CROSS JOIN items i INDEXED BY i_id CROSS JOIN documents b
            WHERE {condition} AND i.coll = c.coll AND i.id = q.value AND b.pk = i.pk"""

    def of_keys(self, where: str) -> str:
        """See `Dialect`."""
        return f"""
            SELECT {_ROW} FROM json_each(:keys) q CROSS JOIN items i WHERE i.pk = q.value AND {_BELOW} {where}"""

    def holding(self, where: str) -> str:
        """See `Dialect`."""
        return f"SELECT i.pk FROM json_each(:pks) q CROSS JOIN items i WHERE i.pk = q.value {where}"

    def of_one_value(self, values: str, where: str) -> str:
        """See `Dialect`."""
        return f"""
            SELECT {_ROW} FROM item_values v CROSS JOIN items i
            WHERE v.coll = :coll {values} AND v.t >= :low AND {_below("v")} AND i.pk = v.pk {where} {_newest("v")}"""

    def keys_of_values(self, where: str) -> str:
        """See `Dialect`."""
        return f"""
            SELECT v.pk FROM json_each(:colls) q CROSS JOIN item_values v
            WHERE v.coll = q.value {where} LIMIT :most"""

    def of_values(self, number: int, values: str, where: str, *, missing: bool, descending: bool, started: bool) -> str:
        """See `Dialect`."""
        kinds, beyond, order = _value_walk(missing=missing, descending=descending, started=started)
        return f"""
            SELECT {_ROW}, {values} FROM item_values v CROSS JOIN items i
            WHERE v.coll = :coll AND v.number = {number} {kinds} {beyond} AND i.pk = v.pk {where}
            ORDER BY {order} LIMIT :limit"""

    def of_walk(self, column: str, values: str, where: str, *, missing: bool, descending: bool, started: bool) -> str:
        """See `Dialect`."""
        index, columns, place = _WALKS[None if missing else column]
        # Of i_cloud only rows with a value are part; i_plat has those without one too, in the order of time.
        index = "i_plat" if missing and column == "platform" else index
        beyond = f"AND ({columns}) {'<' if descending else '>'} ({place})" if started else ""
        order = ", ".join(f"{name} DESC" if descending else name for name in columns.split(", "))
        return f"""
            SELECT {_ROW}, {values} FROM items i INDEXED BY {index}
            WHERE i.coll = :coll {beyond} {where} ORDER BY {order} LIMIT :limit"""

    def all_candidates(self, source: str, where: str, *, documents: int) -> str:
        """See `Dialect`."""
        tables, condition = _SOURCES[source]
        found = ""
        if documents:
            paths = "".join(f", :path{number}" for number in range(1, documents + 1))
            found = f", json_extract(CAST(b.doc AS TEXT), '$.id'{paths}) AS found"
            tables, condition = f"{tables} CROSS JOIN documents b", f"{condition} AND b.pk = i.pk"
        return f"SELECT {_ROW}, i.cloud, i.platform{found} FROM {tables} WHERE {condition} {where}"

    def path(self, names: Sequence[str]) -> Any:
        """A JSON path; names hold neither quotes nor backslashes."""
        return "$" + "".join(f'."{name}"' for name in names)

    def property_values(self, number: int, kinds: tuple[int, int, int, int]) -> tuple[str, str, str]:
        """See `Dialect`; ``found`` is a JSON array whose first member is the id."""
        at = f"i.found, '$[{number}]'"
        numeric, text, boolean, other = kinds
        kind = (
            f"CASE json_type({at}) WHEN 'integer' THEN {numeric} WHEN 'real' THEN {numeric} WHEN 'text' THEN {text} "
            f"WHEN 'true' THEN {boolean} WHEN 'false' THEN {boolean} ELSE {other} END"
        )
        is_number = f"json_type({at}) IN ('integer', 'real', 'true')"
        value = f"CASE WHEN {is_number} THEN CAST(json_extract({at}) AS REAL) ELSE 0.0 END"
        return kind, value, f"CASE json_type({at}) WHEN 'text' THEN json_extract({at}) ELSE '' END"

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

    def cell_counts(self, cells: Sequence[Sequence[int]]) -> dict[str, Any]:
        """JSON of four integers each, or two."""
        return {"cells": orjson.dumps(cells).decode()}

    def stored(self, body: bytes) -> bytes:
        """Packed."""
        return packed(body)

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
    rows = """
        SELECT count(*) FROM (SELECT 1 FROM items i
        WHERE i.coll = :coll AND i.t >= :low AND i.t <= :high LIMIT :most) counted"""
    collection_id = _COLLECTION_ID
    cells = """
        SELECT g.coll, g.cell, g.n, g.t0, g.t1
        FROM unnest(:colls::int8[], :first::int8[], :last::int8[], :west::int8[], :east::int8[]) q(coll, a, b, w, e)
        CROSS JOIN LATERAL (
            SELECT * FROM grid g
            WHERE g.coll = q.coll AND g.cell BETWEEN q.a AND q.b AND (g.cell & 1048575) BETWEEN q.w AND q.e
            OFFSET 0) g"""
    footprints = "SELECT pk, wkb FROM items WHERE pk = ANY((SELECT :pks::int8[])::int8[])"
    bodies = "SELECT pk, doc FROM bodies WHERE pk = ANY(:pks::int8[])"
    # One id at a time: without statistics, all ids at once are sought by reading the whole collection.
    existing = """
        SELECT i.* FROM unnest(:ids::text[]) q(id) CROSS JOIN LATERAL (
            SELECT pk, id, cell FROM items WHERE coll = :coll AND items.id = q.id OFFSET 0) i"""
    count_cells = f"""
        INSERT INTO grid(coll, cell, n, t0, t1)
        SELECT :coll, q.* FROM unnest(:cells::int8[], :counts::int8[], :first::int8[], :last::int8[]) q {_COUNT_MORE}"""
    uncount_cells = """
        UPDATE grid SET n = n - q.taken FROM unnest(:cells::int8[], :counts::int8[]) q(cell, taken)
        WHERE grid.coll = :coll AND grid.cell = q.cell"""
    drop_cells = "DELETE FROM grid WHERE coll = :coll AND n = 0 AND cell = ANY(:cells::int8[])"
    delete_items = "DELETE FROM items WHERE pk = ANY(:pks::int8[])"
    delete_bodies = "DELETE FROM bodies WHERE pk = ANY(:pks::int8[])"
    delete_values = "DELETE FROM item_values WHERE pk = ANY(:pks::int8[])"
    delete_values_of = f"{delete_values} AND number = :number"

    def of_collection(self, where: str, *, foreseen: bool = False) -> str:
        """See `Dialect`."""
        return f"""
            SELECT {_ROW} FROM items i
            WHERE i.coll = :coll AND i.t >= :low AND {_BELOW} {where} {_FORESEEN if foreseen else _NEWEST}"""

    def of_cell(self, where: str) -> str:
        """See `Dialect`."""
        return f"""
            SELECT {_ROW} FROM items i
            WHERE i.coll = :coll AND i.cell = :cell AND i.t >= :low AND {_BELOW} {where} {_NEWEST}"""

    def of_collections(self, where: str, *, foreseen: bool = False) -> str | None:
        """See `Dialect`."""
        return f"""
            SELECT {_ROW} FROM unnest(:colls::int8[], :lows::int8[]) q(coll, low) CROSS JOIN LATERAL (
                SELECT * FROM items i
                WHERE i.coll = q.coll AND i.t >= q.low AND {_BELOW} {where} {_FORESEEN if foreseen else _NEWEST}) i"""

    def of_cells(self, where: str) -> str:
        """See `Dialect`."""
        return f"SELECT {_ROW} {_in_postgres_cells(where, _NEWEST)} {_NEWEST}"

    def all_of_cells(self, where: str) -> str:
        """See `Dialect`; an order would take half as long again, even of fifty rows."""
        return f"SELECT {_ROW}, i.wkb {_in_postgres_cells(where, 'OFFSET 0')} LIMIT :limit"

    def of_ids(self, where: str) -> str:
        """See `Dialect`."""
        return f"""
            SELECT {_ROW} FROM unnest(:colls::int8[]) c(v) CROSS JOIN unnest(:ids::text[]) q(v) CROSS JOIN LATERAL (
                SELECT * FROM items i WHERE i.coll = c.v AND i.id = q.v AND {_BELOW} {where} OFFSET 0) i"""

    def looked_up(self, *, named: bool) -> str:
        """See `Dialect`."""
        condition = "AND c.id = ANY(:collections::text[])" if named else ""
        return f"""
            SELECT i.t, i.id, i.coll, c.id, i.doc FROM unnest((SELECT :ids::text[])) q(v) CROSS JOIN collections c
            CROSS JOIN LATERAL (
                SELECT i.t, i.id, i.coll, b.doc FROM items i JOIN bodies b ON b.pk = i.pk
                WHERE i.coll = c.coll AND i.id = q.v OFFSET 0) i
            WHERE c.deleting = 0 {condition}"""

    def of_keys(self, where: str) -> str:
        """See `Dialect`."""
        return f"SELECT {_ROW} FROM items i WHERE i.pk = ANY(:keys::int8[]) AND {_BELOW} {where}"

    def holding(self, where: str) -> str:
        """See `Dialect`."""
        return f"SELECT i.pk FROM items i WHERE i.pk = ANY(:pks::int8[]) {where}"

    def of_one_value(self, values: str, where: str) -> str:
        """See `Dialect`."""
        return f"""
            SELECT {_ROW} FROM item_values v CROSS JOIN LATERAL (
                SELECT * FROM items i WHERE i.pk = v.pk {where} OFFSET 0) i
            WHERE v.coll = :coll {values} AND v.t >= :low AND {_below("v")} {_newest("v")}"""

    def keys_of_values(self, where: str) -> str:
        """See `Dialect`."""
        return f"SELECT v.pk FROM item_values v WHERE v.coll = ANY(:colls::int8[]) {where} LIMIT :most"

    def of_values(self, number: int, values: str, where: str, *, missing: bool, descending: bool, started: bool) -> str:
        """See `Dialect`."""
        kinds, beyond, order = _value_walk(missing=missing, descending=descending, started=started)
        return f"""
            SELECT {_ROW}, {values} FROM item_values v CROSS JOIN LATERAL (
                SELECT * FROM items i WHERE i.pk = v.pk {where} OFFSET 0) i
            WHERE v.coll = :coll AND v.number = {number} {kinds} {beyond} ORDER BY {order} LIMIT :limit"""

    def of_walk(self, column: str, values: str, where: str, *, missing: bool, descending: bool, started: bool) -> str:
        """See `Dialect`."""
        _, columns, place = _WALKS[None if missing else column]
        beyond = f"AND ({columns}) {'<' if descending else '>'} ({place})" if started else ""
        order = ", ".join(f"{name} DESC" if descending else name for name in columns.split(", "))
        return f"""
            SELECT {_ROW}, {values} FROM items i
            WHERE i.coll = :coll {beyond} {where} ORDER BY {order} LIMIT :limit"""

    def all_candidates(self, source: str, where: str, *, documents: int) -> str:
        """See `Dialect`."""
        tables, found = _POSTGRES_SOURCES[source].format(where), ""
        if documents:
            values = "".join(
                f", jsonb_path_query_first(d.doc, :path{number}::jsonpath, silent => true)"
                for number in range(1, documents + 1)
            )
            found = f", jsonb_build_array(d.doc->'id'{values}) AS found"
            tables = f"{tables} CROSS JOIN LATERAL ({_POSTGRES_DOCUMENT}) d"
        return f"SELECT {_ROW}, i.cloud, i.platform{found} FROM {tables}"

    def path(self, names: Sequence[str]) -> Any:
        """A JSON path that does not look into arrays; names hold neither quotes nor backslashes."""
        return "strict $" + "".join(f'."{name}"' for name in names)

    def property_values(self, number: int, kinds: tuple[int, int, int, int]) -> tuple[str, str, str]:
        """See `Dialect`; ``found`` is a JSON array whose first member is the id."""
        at, type_of = f"(i.found->{number})", f"jsonb_typeof(i.found->{number})"
        numeric, text, boolean, other = kinds
        kind = (
            f"CASE {type_of} WHEN 'number' THEN {numeric} WHEN 'string' THEN {text} WHEN 'boolean' THEN {boolean} "
            f"ELSE {other} END"
        )
        value = (
            f"CASE {type_of} WHEN 'number' THEN {at}::float8 WHEN 'boolean' THEN {at}::boolean::int::float8 "
            "ELSE 0.0 END"
        )
        in_order = f"CASE {type_of} WHEN 'string' THEN i.found->>{number} ELSE '' END COLLATE \"C\""
        return kind, value, in_order

    def integers(self, values: Iterable[int]) -> Any:
        """An array, written out: the driver takes a microsecond for each number of a list."""
        return f"{{{','.join(map(str, values))}}}"

    def texts(self, values: Sequence[str]) -> Any:
        """An array."""
        return list(values)

    def packed_cells(self, cells: Iterable[tuple[int, int]]) -> Any:
        """An array of one integer each."""
        return self.integers(coll << _CELL_BITS | cell for coll, cell in cells)

    def cell_ranges(self, ranges: Sequence[tuple[int, CellRange]]) -> dict[str, Any]:
        """Five arrays."""
        columns = zip(*((coll, *cell_range) for coll, cell_range in ranges), strict=True)
        return dict(zip(("colls", "first", "last", "west", "east"), map(self.integers, columns), strict=True))

    def cell_counts(self, cells: Sequence[Sequence[int]]) -> dict[str, Any]:
        """Four arrays, or two."""
        columns = zip(*cells, strict=True)
        return dict(zip(("cells", "counts", "first", "last"), map(self.integers, columns), strict=False))

    def stored(self, body: bytes) -> bytes:
        """Plain: the server packs it."""
        return plain(body)

    def new_keys(self, tx: Connection, count: int) -> Sequence[int]:
        """From the sequence of the table."""
        sql = """
            SELECT nextval(s.name) FROM generate_series(1, :count)
            CROSS JOIN (SELECT pg_get_serial_sequence('items', 'pk')::regclass AS name OFFSET 0) s"""
        return [row[0] for row in tx.all(sql, {"count": count})]


def _in_cells(where: str) -> str:
    return f"""
        FROM json_each(:cells) q CROSS JOIN items i INDEXED BY i_cell
        WHERE i.coll = (q.value >> {_CELL_BITS}) AND i.cell = (q.value & {_CELL_MASK})
          AND i.t >= :low AND {_BELOW} {where}"""


def _in_postgres_cells(where: str, end: str) -> str:
    return f"""
        FROM unnest(:cells::int8[]) q(v) CROSS JOIN LATERAL (
            SELECT * FROM items i
            WHERE i.coll = (q.v >> {_CELL_BITS}) AND i.cell = (q.v & {_CELL_MASK})
              AND i.t >= :low AND {_BELOW} {where} {end}) i"""


def _value_walk(*, missing: bool, descending: bool, started: bool) -> tuple[str, str, str]:
    """Conditions and order of a walk over ``item_values v``: those that miss the value, or the others."""
    columns, place = "v.t, v.id, v.coll", ":key_t, :key_id, :key_coll"
    if not missing:
        columns = f"v.kind, v.value, v.text, {columns}"
        place = f":value_kind, :value, :value_text, {place}"
    # Two upper bounds on one column may start the scan at the looser one: the place is the closer.
    bounded = started and descending and not missing
    nothing = f"AND v.kind = {MISSING} AND v.value = 0 AND v.text = ''"
    kinds = nothing if missing else "" if bounded else f"AND v.kind < {MISSING}"
    beyond = f"AND ({columns}) {'<' if descending else '>'} ({place})" if started else ""
    return kinds, beyond, ", ".join(f"{name} DESC" if descending else name for name in columns.split(", "))


def dialect_of(database: Database) -> Dialect:
    """How this database is spoken to."""
    return PostgresDialect() if database.dialect == "postgresql" else SqliteDialect()
