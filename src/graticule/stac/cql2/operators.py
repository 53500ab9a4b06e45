"""The operators of CQL2: every one that a filter may name, how many arguments it takes and of which kind."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Flag, auto
from typing import Final

from graticule.stac.cql2.expressions import Array, Expression, Geometry, Interval, Literal, Property, Span


class Kind(Flag):
    """What an expression answers; an argument may allow several."""

    TRUTH = auto()
    #: The answer of a predicate, as opposed to a literal true or false.
    PREDICATE = auto()
    NUMBER = auto()
    TEXT = auto()
    TIME = auto()
    INTERVAL = auto()
    GEOMETRY = auto()
    ARRAY = auto()
    #: The footprint.
    PLACE = auto()
    #: Any other property: its type is known per item only.
    PROPERTY = auto()


SCALAR: Final = Kind.TRUTH | Kind.NUMBER | Kind.TEXT | Kind.TIME | Kind.PROPERTY
_CONDITION: Final = Kind.TRUTH | Kind.PREDICATE
_NUMERIC: Final = Kind.NUMBER | Kind.PROPERTY
_CHARACTERS: Final = Kind.TEXT | Kind.PROPERTY
_SPATIAL: Final = Kind.GEOMETRY | Kind.PLACE | Kind.PROPERTY
_TEMPORAL: Final = Kind.TIME | Kind.INTERVAL | Kind.PROPERTY
_LIST: Final = Kind.ARRAY | Kind.PROPERTY

#: What an argument of this kind is called in a message.
NAMES: Final = {
    SCALAR: "a property, text, number, truth value or time",
    _CONDITION: "a condition",
    _NUMERIC: "a number or a property",
    _CHARACTERS: "a text or a property",
    _SPATIAL: "a geometry or a property",
    _TEMPORAL: "a time, an interval or a property",
    _LIST: "an array or a property",
    Kind.ARRAY: "a list",
    SCALAR | Kind.PLACE: "a property or a scalar",
}


@dataclass(frozen=True, slots=True)
class Signature:
    """What an operator takes and answers."""

    args: tuple[Kind, ...]
    answers: Kind
    #: It takes two or more arguments of the one kind.
    many: bool = False


COMPARISONS: Final = ("=", "<>", "<", "<=", ">", ">=")
ARITHMETIC: Final = ("+", "-", "*", "/", "%", "^", "div")
SPATIAL: Final = ("intersects", "equals", "disjoint", "touches", "within", "overlaps", "crosses", "contains")
TEMPORAL: Final = (
    "after", "before", "contains", "disjoint", "during", "equals", "finishedBy", "finishes", "intersects", "meets",
    "metBy", "overlappedBy", "overlaps", "startedBy", "starts",
)  # fmt: skip
ARRAYS: Final = ("equals", "contains", "containedBy", "overlaps")

OPERATORS: Final[dict[str, Signature]] = {
    "and": Signature((_CONDITION,), Kind.PREDICATE, many=True),
    "or": Signature((_CONDITION,), Kind.PREDICATE, many=True),
    "not": Signature((_CONDITION,), Kind.PREDICATE),
    "isNull": Signature((SCALAR | Kind.PLACE,), Kind.PREDICATE),
    "like": Signature((_CHARACTERS, _CHARACTERS), Kind.PREDICATE),
    "between": Signature((SCALAR, SCALAR, SCALAR), Kind.PREDICATE),
    "in": Signature((SCALAR, Kind.ARRAY), Kind.PREDICATE),
    "casei": Signature((_CHARACTERS,), Kind.TEXT),
    "accenti": Signature((_CHARACTERS,), Kind.TEXT),
    **{op: Signature((SCALAR, SCALAR), Kind.PREDICATE) for op in COMPARISONS},
    **{op: Signature((_NUMERIC, _NUMERIC), Kind.NUMBER) for op in ARITHMETIC},
    **{f"s_{op}": Signature((_SPATIAL, _SPATIAL), Kind.PREDICATE) for op in SPATIAL},
    **{f"t_{op}": Signature((_TEMPORAL, _TEMPORAL), Kind.PREDICATE) for op in TEMPORAL},
    **{f"a_{op}": Signature((_LIST, _LIST), Kind.PREDICATE) for op in ARRAYS},
}

#: Operator names are compared without case; older spellings of clients and drafts stand beside them.
BY_NAME: Final = {op.lower(): op for op in OPERATORS} | {
    "anyinteracts": "t_intersects",
    "eq": "=",
    "neq": "<>",
    "!=": "<>",
    "lt": "<",
    "lte": "<=",
    "gt": ">",
    "gte": ">=",
    "intersects": "s_intersects",
}


def kind_of(expression: Expression) -> Kind:  # noqa: PLR0911 - one answer per class of the tree
    """What an expression answers."""
    match expression:
        case Literal(value=bool()):
            return Kind.TRUTH
        case Literal(value=str()):
            return Kind.TEXT
        case Literal():
            return Kind.NUMBER
        case Span():
            return Kind.TIME
        case Interval():
            return Kind.INTERVAL
        case Geometry():
            return Kind.GEOMETRY
        case Array():
            return Kind.ARRAY
        case Property():
            return Kind.PLACE if expression.of_item and expression.name == "geometry" else Kind.PROPERTY
        case _:
            return OPERATORS[expression.op].answers
