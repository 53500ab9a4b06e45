"""What a filter says of collection, id, time and place, in the terms of the plan rule.

Only what must hold of every match counts: the parts of the outermost AND. Each part either becomes a bound that says
all of it, or a bound that is wider, and then it is checked in another way as well.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from graticule.catalog.regions import Region
from graticule.stac.cql2.expressions import (
    BEGINNING,
    END,
    Array,
    Expression,
    Geometry,
    Interval,
    Literal,
    Operation,
    Property,
    Span,
    conjuncts,
    interval_span,
)
from graticule.stac.search import Search

DATETIME: Final = Property("datetime")
_COLLECTION: Final = Property("collection", of_item=True)
_ID: Final = Property("id", of_item=True)
_GEOMETRY: Final = Property("geometry", of_item=True)

_REVERSED_COMPARISON: Final = {"=": "=", "<>": "<>", "<": ">", "<=": ">=", ">": "<", ">=": "<="}
_REVERSED_RELATION: Final = {
    "t_after": "t_before",
    "t_contains": "t_during",
    "t_finishedBy": "t_finishes",
    "t_metBy": "t_meets",
    "t_overlappedBy": "t_overlaps",
    "t_startedBy": "t_starts",
}
_REVERSED: Final = _REVERSED_COMPARISON | _REVERSED_RELATION | {v: k for k, v in _REVERSED_RELATION.items()}


class Narrowing:
    """The bounds of a search and its filter together; None is no bound."""

    def __init__(self, search: Search) -> None:
        """Read the search's own parameters, then the filter."""
        self.collections: tuple[str, ...] | None = search.collections
        self.ids: tuple[str, ...] | None = search.ids
        self.start: int | None = search.datetime.start if search.datetime else None
        self.end: int | None = search.datetime.end if search.datetime else None
        self.region: Region | None = None
        if search.bbox is not None:
            self.region = Region.of_bbox(search.bbox)
        elif search.intersects is not None:
            self.region = Region.of_shape(search.intersects)
        #: The parts of the filter that are still to be checked.
        self.left: list[Expression] = []
        if search.filter is not None:
            self._read(list(conjuncts(search.filter)))

    def _read(self, parts: list[Expression]) -> None:
        parts = [part for part in parts if not (self._names(part) or self._exact_place(part))]
        for part in parts:
            self._narrow_place(part)
            self._narrow_time(part)
        self.left = parts

    def _names(self, part: Expression) -> bool:
        """Take up a condition on collection or id, if it is a list of names."""
        if not isinstance(part, Operation) or part.op not in {"=", "in"}:
            return False
        part = property_first(part)
        values = part.args[1].members if isinstance(part.args[1], Array) else part.args[1:]
        names = [one.value for one in values if isinstance(one, Literal) and isinstance(one.value, str)]
        if len(names) < len(values):
            return False
        if part.args[0] == _COLLECTION:
            self.collections = _both(self.collections, names)
            return True
        if part.args[0] == _ID:
            self.ids = _both(self.ids, names)
            return True
        return False

    def _exact_place(self, part: Expression) -> bool:
        shape = _place(part)
        if shape is None or self.region is not None or not isinstance(part, Operation) or part.op != "s_intersects":
            return False
        self.region = Region.of_shape(shape.shape)
        return True

    def _narrow_place(self, part: Expression) -> None:
        shape = _place(part)
        if shape is not None and self.region is None:
            self.region = Region.around_shape(shape.shape)

    def _narrow_time(self, part: Expression) -> None:
        if not isinstance(part, Operation):
            return
        for op, span in time_bounds(part):
            if op in {">=", "=", "t_intersects"}:
                self._since(span.start)
            elif op in {">", "t_after"}:
                self._since(span.end + 1)
            if op in {"<=", "=", "t_intersects"}:
                self._until(span.end)
            elif op in {"<", "t_before"}:
                self._until(span.start - 1)

    def _since(self, start: int) -> None:
        if start > BEGINNING:
            self.start = start if self.start is None else max(self.start, start)

    def _until(self, end: int) -> None:
        if end < END:
            self.end = end if self.end is None else min(self.end, end)


def property_first(operation: Operation) -> Operation:
    """The same comparison or relation with its property on the left."""
    if len(operation.args) != 2 or isinstance(operation.args[0], Property):
        return operation
    if not isinstance(operation.args[1], Property):
        return operation
    op = operation.op
    if op not in _REVERSED and op not in {"t_disjoint", "t_equals", "t_intersects"}:
        return operation
    return Operation(_REVERSED.get(op, op), operation.args[::-1])


def literal_span(expression: Expression) -> Span | None:
    """A time or an interval that does not depend on the item."""
    if isinstance(expression, Interval):
        return interval_span(expression)
    return expression if isinstance(expression, Span) else None


def time_bounds(operation: Operation) -> Iterable[tuple[str, Span]]:
    """What a condition on ``datetime`` implies, as comparisons, t_after, t_before and t_intersects."""
    operation = property_first(operation)
    op, args = operation.op, operation.args
    if args[0] != DATETIME:
        return []
    if op == "between" and isinstance(args[1], Span) and isinstance(args[2], Span):
        return [(">=", args[1]), ("<=", args[2])]
    if len(args) != 2 or (span := literal_span(args[1])) is None:
        return []
    if op in _REVERSED_COMPARISON:
        return [] if op == "<>" else [(op, span)]
    if op in {"t_after", "t_before"}:
        return [(op, span)]
    # All others say that the two share an instant.
    return [("t_intersects", span)] if op.startswith("t_") and op != "t_disjoint" else []


def _place(part: Expression) -> Geometry | None:
    """The literal geometry that the footprint must meet."""
    if not isinstance(part, Operation) or not part.op.startswith("s_") or part.op == "s_disjoint":
        return None
    for one, other in (part.args, part.args[::-1]):
        if one == _GEOMETRY and isinstance(other, Geometry):
            return other
    return None


def _both(present: tuple[str, ...] | None, names: list[str]) -> tuple[str, ...]:
    if present is None:
        return tuple(dict.fromkeys(names))
    return tuple(name for name in present if name in set(names))
