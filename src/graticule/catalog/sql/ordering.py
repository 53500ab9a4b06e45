"""Candidate rows of a sorted search, read with the statements of a dialect."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from graticule.catalog.planning import CellStatistics, Question, Row
from graticule.catalog.sorting import COLUMNS, NULLABLE, Order, Place, missing_kind
from graticule.catalog.sql.candidates import SqlCandidates
from graticule.catalog.sql.dialects import Dialect
from graticule.catalog.sql.filtering import Conditions
from graticule.catalog.values import BOOLEAN, MISSING, NUMBER, TEXT
from graticule.database import Connection


@dataclass(frozen=True, slots=True)
class Component:
    """One plain value that rows are compared by; a sort key has one to three."""

    #: An expression on ``i``.
    sql: str
    descending: bool
    type: type


def components_of(order: Order, dialect: Dialect) -> list[Component]:
    """What rows are compared by before t, id and coll. None of it is ever null."""
    found: list[Component] = []
    documents = iter(range(1, len(order.documents) + 1))
    for key in order.keys:
        last = missing_kind(descending=key.descending)
        if key.path == ("collection",):
            found.append(Component(dialect.collection_id, key.descending, str))
        elif key.path in COLUMNS:
            column, kind = COLUMNS[key.path]
            if column in NULLABLE:
                present = NUMBER if kind is float else TEXT
                sql = f"CASE WHEN i.{column} IS NULL THEN {last} ELSE {present} END"
                found.append(Component(sql, key.descending, int))
                found.append(Component(f"coalesce(i.{column}, {_nothing(kind)})", key.descending, kind))
            else:
                found.append(Component(f"i.{column}", key.descending, kind))
        elif key.path in order.numbers:
            rows = f"item_values v WHERE v.pk = i.pk AND v.number = {order.numbers[key.path]} AND v.kind <= {MISSING}"
            kinds = f"CASE v.kind WHEN {MISSING} THEN {last} ELSE v.kind END"
            found.append(Component(f"(SELECT {kinds} FROM {rows})", key.descending, int))
            found.append(Component(f"(SELECT v.value FROM {rows})", key.descending, float))
            found.append(Component(f"(SELECT v.text FROM {rows})", key.descending, str))
        else:
            kind_sql, number, text = dialect.property_values(next(documents), (NUMBER, TEXT, BOOLEAN, last))
            found.append(Component(kind_sql, key.descending, int))
            found.append(Component(number, key.descending, float))
            found.append(Component(text, key.descending, str))
    return found


class SqlSortedCandidates(SqlCandidates):
    """`sorting.SortedCandidates` for one question and one order in one read transaction."""

    def __init__(
        self,
        tx: Connection,
        dialect: Dialect,
        question: Question,
        conditions: Conditions,
        order: Order,
        components: Sequence[Component],
    ) -> None:
        """Turn the order into the texts that all its statements share."""
        super().__init__(tx, dialect, question, conditions)
        self._order = order
        ties = [Component(name, order.descending, int) for name in ("t", "id", "coll")]
        names = [f"s{n}" for n in range(len(components))] + ["t", "id", "coll"]
        directions = [one.descending for one in (*components, *ties)]
        self._values_sql = [f"{one.sql} AS {name}" for one, name in zip(components, names, strict=False)]
        self._columns = names[: len(components)]
        self._order_by = ", ".join(
            f"{name} DESC" if down else name for name, down in zip(names, directions, strict=True)
        )
        self._beyond = _beyond(list(zip(names, directions, strict=True)))
        self._paths = {f"path{n}": dialect.path(path) for n, path in enumerate(order.documents, 1)}

    def walk(self, coll: int, low: int, high: int, after: Place | None, limit: int, *, missing: bool) -> list[Row]:
        """See `sorting.SortedCandidates`."""
        if self._order.walk == "value":
            return self._walk_values(coll, low, high, after, limit, missing=missing)
        down = self._order.descending
        column = None if missing else self._order.walk
        by_time = column in (None, "t")
        where = self._where
        if by_time:  # one bound is the key's, because two on one column may start the scan at the wrong one
            bound: Place = (high + 1, "", 0) if down else (low, "", 0)
            key: Place | None = bound if after is None else (min if down else max)(bound, after[-3:])
            where += " AND i.t >= :low" if down else " AND i.t <= :high"
        else:
            key = None if after is None else after[-3:]
            where += " AND i.t >= :low AND i.t <= :high"
        if self._order.walk in NULLABLE:
            where += f" AND i.{self._order.walk} IS {'' if missing else 'NOT '}NULL"
        values: dict[str, Any] = {"coll": coll, "low": low, "high": high, "limit": limit}
        if key is not None:
            values |= {"key_t": key[0], "key_id": key[1], "key_coll": key[2]}
        if after is not None and column in NULLABLE:
            values["value"] = after[1]
        sql = self._dialect.of_walk(
            str(self._order.walk),
            ", ".join(self._values_sql),
            where,
            missing=missing,
            descending=down,
            started=key is not None,
        )
        rows: list[Any] = self._tx.tuples(sql, {**self._values, **values})
        return rows

    def _walk_values(
        self, coll: int, low: int, high: int, after: Place | None, limit: int, *, missing: bool
    ) -> list[Row]:
        """The walk over the index of a declared queryable."""
        kind = str(self._order.missing_kind) if missing else "v.kind"
        values: dict[str, Any] = {"coll": coll, "low": low, "high": high, "limit": limit}
        if after is not None:
            values |= dict(zip(("key_t", "key_id", "key_coll"), after[-3:], strict=True))
            values |= dict(zip(("value_kind", "value", "value_text"), after, strict=False))
        sql = self._dialect.of_values(
            self._order.numbers[self._order.keys[0].path],
            f"{kind} AS s0, v.value AS s1, v.text AS s2",
            f"{self._where} AND i.t >= :low AND i.t <= :high",
            missing=missing,
            descending=self._order.descending,
            started=after is not None,
        )
        rows: list[Any] = self._tx.tuples(sql, {**self._values, **values})
        return rows

    def sorted_cells(
        self, cells: Sequence[CellStatistics], low: int, high: int, after: Place | None, limit: int
    ) -> list[Row]:
        """See `sorting.SortedCandidates`."""
        packed = self._dialect.packed_cells((cell.coll, cell.cell) for cell in cells)
        return self._sorted("cells", after, cells=packed, low=low, high=high, limit=limit)

    def sorted_collections(
        self, colls: Sequence[int], low: int, high: int, after: Place | None, limit: int
    ) -> list[Row]:
        """See `sorting.SortedCandidates`."""
        return self._sorted("collections", after, colls=self._dialect.integers(colls), low=low, high=high, limit=limit)

    def sorted_ids(self, colls: Sequence[int], low: int, high: int, after: Place | None, limit: int) -> list[Row]:
        """See `sorting.SortedCandidates`."""
        d = self._dialect
        ids = d.texts(self._ids or ())
        return self._sorted("ids", after, colls=d.integers(colls), ids=ids, low=low, high=high, limit=limit)

    def sorted_keys(self, low: int, high: int, after: Place | None, limit: int) -> list[Row]:
        """See `sorting.SortedCandidates`."""
        keys = self._dialect.integers(self._keys or ())
        return self._sorted("keys", after, keys=keys, low=low, high=high, limit=limit)

    def _sorted(self, source: str, after: Place | None, **values: Any) -> list[Row]:
        """Read all candidates, sort them, and answer the first beyond a place."""
        where = f"{self._where} AND i.t >= :low AND i.t <= :high"
        found = self._dialect.all_candidates(source, where, documents=len(self._paths))
        names = "".join(f", {name}" for name in self._columns)
        beyond = "" if after is None else f"WHERE {self._beyond}"
        # What comes from a document is taken out once; columns are cheaper to read again than to keep.
        kept = "MATERIALIZED" if self._paths or self._order.numbers else "NOT MATERIALIZED"
        sql = f"""
            WITH found AS {kept} ({found}),
            valued AS {kept} (SELECT i.t, i.id, i.coll, i.pk, i.x0, i.y0, i.x1, i.y1,
                {", ".join(self._values_sql)} FROM found i)
            SELECT t, id, coll, pk, x0, y0, x1, y1{names} FROM valued {beyond}
            ORDER BY {self._order_by} LIMIT :limit"""
        place = {} if after is None else {f"after{n}": value for n, value in enumerate(after)}
        rows: list[Any] = self._tx.tuples(sql, {**self._values, **self._paths, **values, **place})
        return rows


def _nothing(kind: type) -> str:
    return "''" if kind is str else "0.0"


def _beyond(columns: Sequence[tuple[str, bool]]) -> str:
    """The condition of a row that comes after the place :after0, :after1, … when columns are compared in turn."""
    text = ""
    for n, (name, descending) in reversed(list(enumerate(columns))):
        further = f"{name} {'<' if descending else '>'} :after{n}"
        text = f"({further} OR ({name} = :after{n} AND {text}))" if text else further
    return text
