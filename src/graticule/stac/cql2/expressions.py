"""The tree of a filter: frozen, typed, checked when it was read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from graticule.stac.geometry import Shape

#: Beyond every instant: the open ends of an interval, microseconds since 1970.
BEGINNING: Final = -(1 << 62)
END: Final = 1 << 62

#: Properties of the STAC common metadata that are times: texts beside them are read as times.
TIMES: Final = frozenset({"datetime", "start_datetime", "end_datetime", "created", "updated", "published", "expires"})


@dataclass(frozen=True, slots=True)
class Literal:
    """A text, a number or a truth value. Integers stay integers."""

    value: str | int | float | bool


@dataclass(frozen=True, slots=True)
class Span:
    """A time: first and last microsecond since 1970 UTC. They are equal for a timestamp, a date is its whole day."""

    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Interval:
    """Of two ends; one that is a property is known per item only."""

    start: Span | Property
    end: Span | Property


@dataclass(frozen=True, slots=True)
class Geometry:
    """A geometry or a box."""

    shape: Shape


@dataclass(frozen=True, slots=True)
class Array:
    """A list of scalar expressions."""

    members: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class Property:
    """A property of the item."""

    #: Without the prefix ``properties.``; dots descend.
    name: str
    #: One of the item's own members ``id``, ``collection``, ``geometry``, rather than one of its properties.
    of_item: bool = False


@dataclass(frozen=True, slots=True)
class Operation:
    """An operator of `operators.OPERATORS` and its arguments."""

    op: str
    args: tuple[Expression, ...]


Expression = Literal | Span | Interval | Geometry | Array | Property | Operation


def conjuncts(expression: Expression) -> Iterator[Expression]:
    """The parts that must all hold, through nested ANDs."""
    if isinstance(expression, Operation) and expression.op == "and":
        for arg in expression.args:
            yield from conjuncts(arg)
    else:
        yield expression


def all_of(*expressions: Expression | None) -> Expression | None:
    """Those of them that are not None, all of which must hold."""
    present = tuple(one for one in expressions if one is not None)
    return Operation("and", present) if len(present) > 1 else next(iter(present), None)


def interval_span(interval: Interval) -> Span | None:
    """Its first and last microsecond, if both ends are literal."""
    if isinstance(interval.start, Property) or isinstance(interval.end, Property):
        return None
    return Span(interval.start.start, interval.end.end)
