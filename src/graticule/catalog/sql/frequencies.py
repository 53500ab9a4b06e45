"""Counting the values that the items of a search have under a declared name.

Collections in which the name has an index are counted by the database. Of the others the documents are read, so many
at most; `catalog.values` says of either what a value is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator
from typing import Any, Final

import orjson

from graticule.catalog import aggregating
from graticule.catalog.aggregating import MOST_BUCKETS, UNITS, Aggregation
from graticule.catalog.ranges import GREATEST, GUESS, PLACE, Ranges
from graticule.catalog.sql.dialects import Dialect
from graticule.catalog.sql.queryables import known
from graticule.catalog.values import BOOLEAN, DAY, INSTANT, NUMBER, TEXT, Value, values_of
from graticule.database import Connection
from graticule.errors import InvalidParameter
from graticule.stac.aggregation import Frequency, Scale

#: Statements of the items that match, with what they bind; None: all items of the collections.
Parts = Callable[[], Iterator[tuple[str, dict[str, Any]]]]

#: Different values of one property that are counted by themselves.
MOST_VALUES: Final = 100_000
_BLOCK: Final = 2_000
_TERMS: Final = (NUMBER, TEXT, BOOLEAN)
_TIMES: Final = (INSTANT, DAY)


def frequency(
    tx: Connection,
    dialect: Dialect,
    name: str,
    asked: Frequency,
    *,
    colls: Collection[int],
    parts: Parts | None,
    total: int,
    most_documents: int,
) -> Aggregation:
    """Buckets of one property over items of these collections, of which `total` match.

    Raises:
        InvalidParameter: it would take too much work, or too many buckets.
    """
    values = _Values(tx, dialect, name, asked.property, colls, parts, most_documents)
    if asked.scale is Scale.TERMS:
        groups, answer = values.terms(), None
    elif asked.scale is Scale.TIMES:
        groups, answer = _times(values, name, asked)
    else:
        groups, answer = _ranges(values, name, asked)
    groups[None] = total - groups.total()
    return aggregating.terms(name, groups) if answer is None else answer(groups)


class _Values:
    """What the items that match have under one name."""

    def __init__(
        self,
        tx: Connection,
        dialect: Dialect,
        aggregation: str,
        name: str,
        colls: Collection[int],
        parts: Parts | None,
        most_documents: int,
    ) -> None:
        self._tx = tx
        self._dialect = dialect
        self._name = name
        self._aggregation = aggregation
        self._parts = parts
        index = known(tx, [name], colls).indexed.get(name)
        self._number = -1 if index is None else index.number
        self._indexed = frozenset() if index is None else index.colls & frozenset(colls)
        self._others = frozenset(colls) - self._indexed
        self._read = self._documents(most_documents) if self._others else Counter()

    def terms(self) -> Counter[Any]:
        """Numbers of items by value, as text."""
        found: Counter[Any] = Counter()
        different = 0
        rest = f"GROUP BY v.kind, v.value, v.text LIMIT {MOST_VALUES + 1}"
        for row in self._rows("v.kind, v.value, v.text, count(*)", _TERMS, rest):
            found[_term(row[0], row[1], row[2])] += row[3]
            different += 1
        for value, count in self._read.items():
            if value.kind in _TERMS:
                found[_term(*value)] += count
        if different > MOST_VALUES:
            raise self._too_much(f"there are more than {MOST_VALUES} different values")
        return found

    def ends(self, kinds: tuple[int, ...]) -> tuple[float, float] | None:
        """The least and the greatest value of some kinds; None: there is none."""
        rows = self._rows("min(v.value), max(v.value)", kinds, "")
        found = [(row[0], row[1]) for row in rows if row[0] is not None]
        found += [(value.value, value.value) for value in self._read if value.kind in kinds]
        return (min(one[0] for one in found), max(one[1] for one in found)) if found else None

    def ranges(self, ranges: Ranges) -> Counter[Any]:
        """Numbers of items by range."""
        binds = {"step": ranges.step, "scale": ranges.scale}
        found: Counter[Any] = Counter()
        for sql, values in self._sources((NUMBER,)):
            rows = f"SELECT v.value, {GUESS} AS k FROM {sql}"
            for row in self._tx.tuples(f"SELECT {PLACE}, count(*) FROM ({rows}) g GROUP BY 1", {**values, **binds}):
                found[row[0]] += row[1]
        for value, count in self._read.items():
            if value.kind == NUMBER:
                found[ranges.place(value.value)] += count
        return found

    def times(self, unit: int) -> Counter[Any]:
        """Numbers of items by whole units since 1970."""
        found: Counter[Any] = Counter()
        us = "CAST(v.value AS BIGINT)"
        key = f"({us} - (({us} % {unit}) + {unit}) % {unit}) / {unit}"
        for row in self._rows(f"{key}, count(*)", _TIMES, "GROUP BY 1"):
            found[row[0]] += row[1]
        for value, count in self._read.items():
            if value.kind in _TIMES:
                found[int(value.value) // unit] += count
        return found

    # --- inside

    def _rows(self, columns: str, kinds: tuple[int, ...], rest: str) -> Iterator[Any]:
        for sql, values in self._sources(kinds):
            yield from self._tx.tuples(f"SELECT {columns} FROM {sql} {rest}", values)

    def _sources(self, kinds: tuple[int, ...]) -> Iterator[tuple[str, dict[str, Any]]]:
        """Where index rows ``v`` of the matches are, of some kinds."""
        if not self._indexed:
            return
        colls = ", ".join(map(str, sorted(self._indexed)))
        of_kind = f"v.number = {self._number} AND v.kind IN ({', '.join(map(str, kinds))})"
        if self._parts is None:
            yield f"item_values v WHERE v.coll IN ({colls}) AND {of_kind}", {}
            return
        for rows, values in self._parts():
            joined = f"({rows}) i JOIN item_values v ON v.pk = i.pk"
            yield f"{joined} WHERE i.coll IN ({colls}) AND {of_kind}", values

    def _documents(self, most: int) -> Counter[Value]:
        """The values of items whose collections have no index of the name."""
        numbers = ", ".join(map(str, sorted(self._others)))
        pks: list[int] = []
        for rows, values in self._parts() if self._parts is not None else [("SELECT * FROM items i", {})]:
            sql = f"SELECT i.pk FROM ({rows}) i WHERE i.coll IN ({numbers}) LIMIT :most"
            pks += [row[0] for row in self._tx.tuples(sql, {**values, "most": most + 1})]
            if len(pks) > most:
                raise self._too_much(
                    f"the documents of more than {most} items would have to be read: let '{self._name}' have an index"
                    " in each collection (create_index), or"
                )
        found: Counter[Value] = Counter()
        for first in range(0, len(pks), _BLOCK):
            block = self._dialect.integers(pks[first : first + _BLOCK])
            for row in self._tx.tuples(self._dialect.bodies, {"pks": block}):
                found.update(values_of(orjson.loads(row[1]), self._name))
        return found

    def _too_much(self, reason: str) -> InvalidParameter:
        end = " " if reason.endswith("or") else ": "
        return InvalidParameter(
            f"aggregations: {self._aggregation}: {reason}{end}narrow the search by collections, bbox or datetime.",
            target="aggregations",
        )


Answer = Callable[[Counter[Any]], Aggregation]


def _times(values: _Values, name: str, asked: Frequency) -> tuple[Counter[Any], Answer]:
    interval = asked.interval
    if not isinstance(interval, str):
        first, last = values.ends(_TIMES) or (0, 0)
        interval = aggregating.suitable(int(first), int(last))
    unit: str = interval
    return values.times(UNITS[unit]), lambda groups: aggregating.times(name, groups, unit)


def _ranges(values: _Values, name: str, asked: Frequency) -> tuple[Counter[Any], Answer]:
    ends = values.ends((NUMBER,)) or (0.0, 0.0)
    if max(map(abs, ends)) > GREATEST:
        raise InvalidParameter(
            f"aggregations: {name}: '{asked.property}' has values beyond {GREATEST:g}, which no range can hold: leave"
            " them out by a filter.",
            target="aggregations",
        )
    if asked.interval is None or isinstance(asked.interval, str):
        ranges = Ranges.suitable(*ends, whole=asked.scale is Scale.INTEGERS)
    else:
        ranges = Ranges.of_width(asked.interval)
        if ranges.counts(*ends) > MOST_BUCKETS:
            raise InvalidParameter(
                f"{name}_interval: from {ends[0]:g} to {ends[1]:g} that would be more than {MOST_BUCKETS} ranges: give"
                " a greater one.",
                target=f"{name}_interval",
            )
    return values.ranges(ranges), lambda groups: aggregating.ranges(name, groups, ranges)


def _term(kind: int, value: float, text: str) -> str:
    """A value as the key of a bucket: texts as they are, others as in JSON."""
    if kind == TEXT:
        return text
    if kind == BOOLEAN:
        return "true" if value else "false"
    return str(int(value)) if value.is_integer() and abs(value) < 2**53 else repr(value)
