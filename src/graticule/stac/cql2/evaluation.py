"""What a filter says of one item: the meaning of CQL2 in plain Python, which every faster way must agree with.

Logic is three-valued: True, False and None for unknown. A property that an item has not, or has as null, is unknown;
so is an operator whose operands do not fit each other. Nothing raises for what an item holds.

Times: ``datetime`` is ``start_datetime`` where an item has only a range; in temporal operators it is the item's whole
range, as in the parameter ``datetime``. A date stands for its whole day.
"""

from __future__ import annotations

import math
import operator
import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final, NamedTuple

import orjson

from graticule.stac.cql2.expressions import (
    TIMES,
    Array,
    Expression,
    Geometry,
    Interval,
    Literal,
    Operation,
    Property,
    Span,
)
from graticule.stac.cql2.parsing import read_time
from graticule.stac.cql2.properties import descend
from graticule.stac.cql2.spatial import Place, holds
from graticule.stac.geometry import read_geometry

Truth = bool | None
_Document = Mapping[str, Any]

_LARGEST_EXACT: Final = 1 << 53


class Filter:
    """A filter, ready to be asked about many items."""

    def __init__(self, expression: Expression) -> None:
        """Prepare the literal geometries once."""
        self._expression = expression
        self._places: dict[int, Place] = {}

    def __call__(self, item: _Document, collection: str | None = None) -> Truth:
        """What the filter says of an item; `collection` is where it lies, if its document does not tell."""
        return _Evaluation(item, collection or item.get("collection"), self._places).truth(self._expression)


class _Evaluation:
    """Of one filter on one item."""

    def __init__(self, item: _Document, collection: str | None, places: dict[int, Place]) -> None:
        self._item = item
        self._collection = collection
        self._places = places
        properties = item.get("properties")
        self._properties: _Document = properties if isinstance(properties, Mapping) else {}
        self._footprint: Place | None = None

    # --- conditions

    def truth(self, node: Expression) -> Truth:  # noqa: PLR0911 - one answer per operator
        if not isinstance(node, Operation):
            return node.value if isinstance(node, Literal) and isinstance(node.value, bool) else None
        op, args = node.op, node.args
        if op == "and":
            return self._both(args, decisive=False)
        if op == "or":
            return self._both(args, decisive=True)
        if op == "not":
            found = self.truth(args[0])
            return None if found is None else not found
        if op == "isNull":
            return self._raw(args[0]) is None
        if op == "like":
            return _like(self._raw(args[0]), self._raw(args[1]))
        if op == "between":
            low = _compare(">=", self._scalar(args[0]), self._scalar(args[1]))
            high = _compare("<=", self._scalar(args[0]), self._scalar(args[2]))
            return _and(low, high)
        if op == "in":
            return self._among(args[0], args[1])
        return self._predicate(op, args)

    def _predicate(self, op: str, args: Sequence[Expression]) -> Truth:
        if op.startswith("s_"):
            left, right = (self._place(arg) for arg in args)
            return None if left is None or right is None else holds(op, left, right)
        if op.startswith("t_"):
            first, second = (self._interval(arg) for arg in args)
            return None if first is None or second is None else RELATIONS[op](first, second)
        if op.startswith("a_"):
            timed = any(isinstance(arg, Array) and any(isinstance(one, Span) for one in arg.members) for arg in args)
            one, other = (self._set(arg, timed=timed) for arg in args)
            return None if one is None or other is None else _SETS[op](one, other)
        return _compare(op, self._scalar(args[0]), self._scalar(args[1]))

    def _both(self, args: Sequence[Expression], *, decisive: bool) -> Truth:
        unknown = False
        for arg in args:
            found = self.truth(arg)
            if found is decisive:
                return decisive
            unknown = unknown or found is None
        return None if unknown else not decisive

    def _among(self, value: Expression, members: Expression) -> Truth:
        assert isinstance(members, Array)
        wanted, unknown = self._scalar(value), False
        for member in members.members:
            found = _compare("=", wanted, self._scalar(member))
            if found:
                return True
            unknown = unknown or found is None
        return None if unknown else False

    # --- values

    def _raw(self, node: Expression) -> Any:
        """As `_scalar`, but times stay the text that they are in the document."""
        return self._value_of(node) if isinstance(node, Property) else self._scalar(node)

    def _scalar(self, node: Expression) -> Any:
        """A text, number, truth value or `Span`; None is unknown, and whatever else is none of these."""
        if isinstance(node, Literal):
            return node.value
        if isinstance(node, Property):
            return self._property(node)
        if isinstance(node, Operation):
            if node.op in {"casei", "accenti"}:
                text = self._raw(node.args[0])
                return _FOLDS[node.op](text) if isinstance(text, str) else None
            return _calculate(node.op, self._scalar(node.args[0]), self._scalar(node.args[1]))
        return node if isinstance(node, Span) else None

    def _property(self, node: Property) -> Any:
        value = self._value_of(node)
        if node.of_item or node.name not in TIMES:
            return value
        if value is None and node.name == "datetime":
            value = self._properties.get("start_datetime")
        span = _time(value)
        return value if span is None else span

    def _value_of(self, node: Property) -> Any:
        if not node.of_item:
            return descend(self._properties, node.name)
        return self._collection if node.name == "collection" else self._item.get(node.name)

    def _interval(self, node: Expression) -> Span | None:
        if isinstance(node, Span):
            return node
        if isinstance(node, Interval):
            start, end = (self._interval(end) for end in (node.start, node.end))
            return None if start is None or end is None or start.start > end.end else Span(start.start, end.end)
        value = self._scalar(node)
        found = value if isinstance(value, Span) else _time(value)
        if found is not None and node == _DATETIME:
            end = _time(self._properties.get("end_datetime"))
            return found if end is None else Span(found.start, max(found.start, end.start))
        return found

    def _set(self, node: Expression, *, timed: bool) -> frozenset[Any] | None:
        """The members of an array; `timed` reads texts as times where they are some."""
        members = [self._raw(member) for member in node.members] if isinstance(node, Array) else self._raw(node)
        if not isinstance(members, list):
            return None
        return frozenset(_canonical((_time(one) or one) if timed else one) for one in members)

    def _place(self, node: Expression) -> Place | None:
        if isinstance(node, Geometry):
            if id(node) not in self._places:
                self._places[id(node)] = Place(node.shape)
            return self._places[id(node)]
        if node != _FOOTPRINT:
            return _place_of(self._raw(node))
        if self._footprint is None:
            self._footprint = _place_of(self._item.get("geometry"))
        return self._footprint


_DATETIME: Final = Property("datetime")
_FOOTPRINT: Final = Property("geometry", of_item=True)


def _place_of(value: object) -> Place | None:
    try:
        return Place(read_geometry(value))
    except ValueError:  # none, or none that can be read
        return None


def _time(value: object) -> Span | None:
    if not isinstance(value, str):
        return None
    try:
        return read_time(value)
    except ValueError:
        return None


# --- comparison ------------------------------------------------------------------------------------------------------

_COMPARE: Final[dict[str, Callable[[Any, Any], bool]]] = {
    "=": operator.eq, "<>": operator.ne, "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
}  # fmt: skip


def _compare(op: str, left: Any, right: Any) -> Truth:
    if isinstance(left, Span) or isinstance(right, Span):
        return _compare_times(op, left, right)
    if isinstance(left, str) and isinstance(right, str):
        return _COMPARE[op](left, right)
    if isinstance(left, bool) and isinstance(right, bool):
        return _COMPARE[op](left, right) if op in {"=", "<>"} else None
    if _is_number(left) and _is_number(right):
        return _COMPARE[op](left, right)
    return None


def _compare_times(op: str, left: Any, right: Any) -> Truth:
    one = left if isinstance(left, Span) else _time(left)
    other = right if isinstance(right, Span) else _time(right)
    if one is None or other is None:
        return None
    # Before, after, or one within the other: days and instants are always one of these.
    order = -1 if one.end < other.start else 1 if one.start > other.end else 0
    return _COMPARE[op](order, 0)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _and(left: Truth, right: Truth) -> Truth:
    if left is False or right is False:
        return False
    return None if left is None or right is None else True


# --- arithmetic ------------------------------------------------------------------------------------------------------


def _calculate(op: str, left: Any, right: Any) -> int | float | None:
    if not (_is_number(left) and _is_number(right)):
        return None
    try:
        found = _CALCULATE[op](left, right)
    except (ArithmeticError, ValueError):  # division by zero, overflow, a root of something negative
        return None
    return found if math.isfinite(found) else None


def _quotient(left: float, right: float) -> int:
    """Towards zero, as SQL has it."""
    if isinstance(left, int) and isinstance(right, int):
        found = abs(left) // abs(right)
        return found if (left < 0) == (right < 0) else -found
    return math.trunc(left / right)


def _remainder(left: float, right: float) -> float:
    """Of the quotient towards zero: it has the sign of the dividend."""
    if isinstance(left, int) and isinstance(right, int):
        return left - right * _quotient(left, right)
    return math.fmod(left, right)


def _power(left: float, right: float) -> float:
    found = math.pow(left, right)
    if isinstance(left, int) and isinstance(right, int) and right >= 0 and abs(found) < _LARGEST_EXACT:
        return int(found)
    return found


_CALCULATE: Final[dict[str, Callable[[Any, Any], Any]]] = {
    "+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv,
    "div": _quotient, "%": _remainder, "^": _power,
}  # fmt: skip


# --- texts -----------------------------------------------------------------------------------------------------------


def _without_accents(text: str) -> str:
    letters = (letter for letter in unicodedata.normalize("NFD", text) if unicodedata.category(letter) != "Mn")
    return unicodedata.normalize("NFC", "".join(letters))


_FOLDS: Final[dict[str, Callable[[str], str]]] = {
    "casei": lambda text: unicodedata.normalize("NFC", text.casefold()),
    "accenti": _without_accents,
}


def _like(text: Any, pattern: Any) -> Truth:
    if not isinstance(text, str) or not isinstance(pattern, str):
        return None
    first, between, last = _segments(pattern)
    if last is None:
        return first.pattern.fullmatch(text) is not None
    # Between two % the leftmost match is as good as any: no backtracking, whatever the pattern.
    match = first.pattern.match(text)
    for segment in between:
        match = match and segment.pattern.search(text, match.end())
    start = len(text) - last.width
    return match is not None and start >= match.end() and last.pattern.fullmatch(text, start) is not None


class _Segment(NamedTuple):
    """A part of a pattern without %: it matches so many characters."""

    pattern: re.Pattern[str]
    width: int


@lru_cache(maxsize=64)
def _segments(pattern: str) -> tuple[_Segment, list[_Segment], _Segment | None]:
    r"""The parts before, between and after the % of a pattern; _ is any character, \ takes the next one as it is."""
    parts: list[list[str]] = [[]]
    escaped = False
    for letter in pattern:
        if escaped or letter not in "%_\\":
            parts[-1].append(re.escape(letter))
            escaped = False
        elif letter == "\\":
            escaped = True
        elif letter == "%":
            parts.append([])
        else:
            parts[-1].append(".")
    first, *others = (_Segment(re.compile("".join(part), re.DOTALL), len(part)) for part in parts)
    return first, [one for one in others[:-1] if one.width], others[-1] if others else None


# --- arrays and times ------------------------------------------------------------------------------------------------


def _canonical(value: Any) -> tuple[str, Any]:
    """Equal for equal members: 1 is 1.0, and true is not 1."""
    if _is_number(value):
        return "number", value
    if value is None or isinstance(value, str | bool | Span):
        return type(value).__name__, value
    return "other", orjson.dumps(value, option=orjson.OPT_SORT_KEYS)


_SETS: Final[dict[str, Callable[[frozenset[Any], frozenset[Any]], bool]]] = {
    "a_equals": operator.eq,
    "a_contains": operator.ge,
    "a_containedBy": operator.le,
    "a_overlaps": lambda one, other: not one.isdisjoint(other),
}

#: OGC 21-065 clause 7.8, from the ends of both intervals.
RELATIONS: Final[dict[str, Callable[[Span, Span], bool]]] = {
    "t_after": lambda a, b: a.start > b.end,
    "t_before": lambda a, b: a.end < b.start,
    "t_contains": lambda a, b: a.start < b.start and a.end > b.end,
    "t_disjoint": lambda a, b: a.start > b.end or a.end < b.start,
    "t_during": lambda a, b: a.start > b.start and a.end < b.end,
    "t_equals": lambda a, b: a.start == b.start and a.end == b.end,
    "t_finishedBy": lambda a, b: a.start < b.start and a.end == b.end,
    "t_finishes": lambda a, b: a.start > b.start and a.end == b.end,
    "t_intersects": lambda a, b: a.start <= b.end and a.end >= b.start,
    "t_meets": lambda a, b: a.end == b.start,
    "t_metBy": lambda a, b: a.start == b.end,
    "t_overlappedBy": lambda a, b: a.start > b.start and a.start < b.end and a.end > b.end,
    "t_overlaps": lambda a, b: a.start < b.start and a.end > b.start and a.end < b.end,
    "t_startedBy": lambda a, b: a.start == b.start and a.end > b.end,
    "t_starts": lambda a, b: a.start == b.start and a.end < b.end,
}
