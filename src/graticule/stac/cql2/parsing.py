"""The ``filter`` parameters of a search, and CQL2 JSON (OGC 21-065 clause 8), checked into a tree.

Everything is checked here, so that what evaluates a tree meets no surprise: operators and arguments, literals, and the
size of it all.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any, Final

import orjson

from graticule.errors import InvalidParameter
from graticule.stac.bbox import parse_bbox
from graticule.stac.cql2.expressions import (
    BEGINNING,
    END,
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
from graticule.stac.cql2.operators import BY_NAME, COMPARISONS, NAMES, OPERATORS, SCALAR, Kind, Signature, kind_of
from graticule.stac.cql2.text import MAX_DEPTH, to_json
from graticule.stac.datetimes import DAY, parse_instant
from graticule.stac.geometry import read_geometry

#: Of a filter in text; of all texts and list members together in JSON. Coordinates are counted by MAX_VERTICES.
MAX_BYTES: Final = 64_000
#: Operators, properties and values.
MAX_NODES: Final = 500
#: Positions of all geometries together.
MAX_VERTICES: Final = 10_000

LANGUAGES: Final = ("cql2-text", "cql2-json")
_CRS84: Final = frozenset(
    {"http://www.opengis.net/def/crs/OGC/1.3/CRS84", "https://www.opengis.net/def/crs/OGC/1.3/CRS84", "CRS84"}
)
_DATE: Final = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_EVERYTHING: Final = Span(BEGINNING, END)
#: What a list member that is no text counts for, bytes.
_MEMBER: Final = 8


def parse_filter(parameters: Mapping[str, Any]) -> Expression | None:
    """The members ``filter``, ``filter-lang`` (or ``filter_lang``) and ``filter-crs``; None without a filter.

    Without a language an object is CQL2 JSON and a text is CQL2 text. ``cql-json`` is taken as CQL2 JSON, which is what
    clients that name it send.

    Raises:
        InvalidParameter: names what is wrong.
    """
    _check_crs(parameters)
    language = _language(parameters)
    value = parameters.get("filter")
    if value is None or value in ("", {}):
        return None
    if isinstance(value, str):
        if language == "cql2-text" or (language is None and not value.lstrip().startswith("{")):
            return parse_text(value)
        _check_length(value)
        try:
            value = orjson.loads(value)
        except ValueError as exc:
            raise _refused(f"it is not JSON ({exc})") from exc
    elif language == "cql2-text":
        raise _refused("the filter-lang is cql2-text, so it must be a text")
    return parse_json(value)


def parse_text(text: str) -> Expression:
    """A filter in CQL2 text.

    Raises:
        InvalidParameter: says where it cannot be read.
    """
    _check_length(text)
    try:
        document = to_json(text)
    except ValueError as exc:
        raise _refused(str(exc)) from exc
    return parse_json(document)


def parse_json(document: object) -> Expression:
    """A filter in CQL2 JSON.

    Raises:
        InvalidParameter: names the operator and what it takes.
    """
    try:
        expression = _Reader().read(document, 1)
    except ValueError as exc:
        raise _refused(str(exc)) from exc
    if not kind_of(expression) & (Kind.PREDICATE | Kind.TRUTH):
        raise _refused("it is a value and no condition")
    return expression


def _check_crs(parameters: Mapping[str, Any]) -> None:
    for name in ("filter-crs", "filter_crs"):
        crs = parameters.get(name)
        if crs not in (None, "") and crs not in _CRS84:
            raise InvalidParameter(
                f"{name}: only http://www.opengis.net/def/crs/OGC/1.3/CRS84 (longitude, latitude) is supported.",
                target=name,
            )


def _language(parameters: Mapping[str, Any]) -> str | None:
    for name in ("filter-lang", "filter_lang"):
        language = parameters.get(name)
        if language in (None, ""):
            continue
        if language == "cql-json":
            return "cql2-json"
        if language not in LANGUAGES:
            raise InvalidParameter(f"{name}: {str(language)[:40]!r} is not one of {', '.join(LANGUAGES)}.", target=name)
        return str(language)
    return None


def _check_length(text: str) -> None:
    if len(text.encode("utf-8", "replace")) > MAX_BYTES:
        raise _refused(
            f"it is longer than {MAX_BYTES} bytes (MAX_BYTES): a large geometry goes in the JSON body of a POST"
        )


def _refused(reason: str) -> InvalidParameter:
    return InvalidParameter(f"filter: {reason}.", target="filter")


class _Reader:
    """Reads one filter and keeps count of its size."""

    def __init__(self) -> None:
        self._nodes = 0
        self._bytes = 0
        self._vertices = 0

    def read(self, node: object, depth: int) -> Expression:
        """The tree of a node. Raises ValueError."""
        if depth > MAX_DEPTH:
            raise ValueError(f"it is nested deeper than {MAX_DEPTH} levels (MAX_DEPTH)")
        self._nodes += 1
        if self._nodes > MAX_NODES:
            raise ValueError(f"it has more than {MAX_NODES} operators, properties and values (MAX_NODES)")
        if isinstance(node, list):
            return Array(tuple(self._member(member, depth + 1) for member in node))
        if isinstance(node, Mapping):
            return self._object(node, depth)
        return self._literal(node)

    def _literal(self, node: object) -> Literal:
        if isinstance(node, str):
            self._take(len(node.encode("utf-8", "replace")))
            if "\0" in node:
                raise ValueError("a text holds the character U+0000")
            return Literal(node)
        if node is None:
            raise ValueError("null is no value: use isNull")
        if not isinstance(node, bool | int | float) or (isinstance(node, float) and not math.isfinite(node)):
            raise ValueError(f"{str(node)[:40]} is no value")
        return Literal(node)

    def _member(self, node: object, depth: int) -> Expression:
        """A member of a list. Plain values count by size only: lists of ids may be long."""
        if isinstance(node, str | int | float):
            self._take(_MEMBER)
            return self._literal(node)
        return self.read(node, depth)

    def _take(self, size: int) -> None:
        self._bytes += size
        if self._bytes > MAX_BYTES:
            raise ValueError(f"its texts and lists are longer than {MAX_BYTES} bytes (MAX_BYTES)")

    def _object(self, node: Mapping[str, Any], depth: int) -> Expression:
        if "op" in node:
            return self._operation(node, depth)
        for name, read in (
            ("property", self._property),
            ("timestamp", _timestamp),
            ("date", _date),
            ("bbox", self._bbox),
            ("type", self._geometry),
        ):
            if name in node:
                return read(node)
        if "interval" in node:
            return self._interval(node["interval"], depth)
        if "function" in node:
            raise _unknown(node["function"])
        names = ", ".join(str(name)[:20] for name in list(node)[:3])
        raise ValueError(f"an object with {names or 'no members'} is no expression of CQL2: operators are in 'op'")

    def _property(self, node: Mapping[str, Any]) -> Property:
        name = node["property"]
        if not isinstance(name, str) or not name or "\0" in name:
            raise ValueError("the name of a property must be a text")
        self._take(len(name))
        if name.startswith("properties.") and len(name) > len("properties."):
            return Property(name.removeprefix("properties."))
        return Property(name, of_item=name in {"id", "collection", "geometry"})

    def _bbox(self, node: Mapping[str, Any]) -> Geometry:
        try:
            bbox = parse_bbox(node["bbox"] if isinstance(node["bbox"], list) else None)
        except InvalidParameter as exc:
            raise ValueError(exc.message.rstrip(".")) from exc
        east = bbox.east + (360 if bbox.crosses_antimeridian else 0)
        return _box(bbox.west, bbox.south, east, bbox.north)

    def _geometry(self, node: Mapping[str, Any]) -> Geometry:
        self._vertices += _positions(node, MAX_VERTICES)
        if self._vertices > MAX_VERTICES:
            raise ValueError(f"its geometries have more than {MAX_VERTICES} positions (MAX_VERTICES)")
        try:
            return Geometry(read_geometry(node))
        except ValueError as exc:
            raise ValueError(f"a geometry {exc}") from exc

    def _interval(self, ends: object, depth: int) -> Interval:
        if not isinstance(ends, list) or len(ends) != 2:
            raise ValueError("an interval takes two ends, each of them a date, a timestamp, a property or '..'")
        start, end = (self._end(end, depth + 1) for end in ends)
        if start == _EVERYTHING:
            start = Span(BEGINNING, BEGINNING)
        if end == _EVERYTHING:
            end = Span(END, END)
        if isinstance(start, Span) and isinstance(end, Span) and start.start > end.end:
            raise ValueError("an interval ends before it starts")
        return Interval(start, end)

    def _end(self, end: object, depth: int) -> Span | Property:
        if end in ("..", ""):
            return _EVERYTHING
        if isinstance(end, str):
            return read_time(end)
        found = self.read(end, depth)
        if not isinstance(found, Span | Property):
            raise ValueError("the end of an interval must be a date, a timestamp, a property or '..'")  # noqa: TRY004
        return found

    def _operation(self, node: Mapping[str, Any], depth: int) -> Operation:
        name, given = node["op"], node.get("args")
        op = BY_NAME.get(name.lower()) if isinstance(name, str) else None
        if op is None:
            raise _unknown(name)
        if not isinstance(given, list):
            raise ValueError(f"'{op}' needs 'args', a list of its arguments")  # noqa: TRY004
        if op == "between" and len(given) == 2 and isinstance(given[1], list):
            given = [given[0], *given[1]]  # as drafts of the standard had it
        # Published mosaics of the Planetary Computer have these two older forms.
        if op.startswith("t_"):
            given = [{"interval": arg} if isinstance(arg, list) and len(arg) == 2 else arg for arg in given]
        if op == "=" and any(isinstance(arg, list) for arg in given):
            op = "a_equals"
        args = tuple(self.read(arg, depth + 1) for arg in given)
        signature = OPERATORS[op]
        _check_arguments(op, signature, args)
        if op in COMPARISONS or op in {"between", "in"}:
            args = _with_times(args)
        elif op.startswith("t_"):
            args = tuple(_as_time(arg) if isinstance(arg, Literal) else arg for arg in args)
        return Operation(op, args)


def _check_arguments(op: str, signature: Signature, args: tuple[Expression, ...]) -> None:
    kinds = signature.args * len(args) if signature.many else signature.args
    if len(args) != len(kinds) or not args or (signature.many and len(args) < 1):
        wanted = "one or more arguments" if signature.many else f"{len(kinds)} argument{'s' * (len(kinds) > 1)}"
        raise ValueError(f"'{op}' takes {wanted}, {len(args)} were given")
    for number, (arg, kind) in enumerate(zip(args, kinds, strict=True), 1):
        # A time in text is read as one in temporal operators: older clients leave the wrapping out.
        found = kind_of(arg)
        if found & kind or (op.startswith("t_") and found is Kind.TEXT):
            if isinstance(arg, Array):
                _check_members(op, arg)
            continue
        raise ValueError(f"argument {number} of '{op}' must be {NAMES[kind]}")


def _check_members(op: str, array: Array) -> None:
    for member in array.members:
        if not kind_of(member) & SCALAR:
            raise ValueError(f"a member of a list of '{op}' must be {NAMES[SCALAR]}")


def _with_times(args: tuple[Expression, ...]) -> tuple[Expression, ...]:
    """Texts beside a property that is known to be a time become times, if they can be read as such."""
    if not any(isinstance(arg, Property) and not arg.of_item and arg.name in TIMES for arg in args):
        return args
    return tuple(_perhaps_time(arg) for arg in args)


def _perhaps_time(arg: Expression) -> Expression:
    if isinstance(arg, Array):
        return Array(tuple(_perhaps_time(member) for member in arg.members))
    if isinstance(arg, Literal) and isinstance(arg.value, str):
        try:
            return read_time(arg.value)
        except ValueError:
            return arg
    return arg


def _as_time(literal: Literal) -> Expression:
    assert isinstance(literal.value, str)
    if "/" in literal.value:
        start, _, end = literal.value.partition("/")
        return _Reader().read({"interval": [start or "..", end or ".."]}, 1)
    return read_time(literal.value)


def read_time(text: str) -> Span:
    """A date or a date-time of RFC 3339. Raises ValueError."""
    try:
        if _DATE.fullmatch(text):
            midnight = parse_instant(f"{text}T00:00:00Z")
            return Span(midnight, midnight + DAY - 1)
        instant = parse_instant(text, allow_space=True)
    except ValueError as exc:
        raise ValueError(f"the time '{text[:60]}' {exc}") from exc
    return Span(instant, instant)


def _timestamp(node: Mapping[str, Any]) -> Span:
    text = node["timestamp"]
    if not isinstance(text, str):
        raise ValueError("a timestamp must be a text such as 2021-01-01T00:00:00Z")  # noqa: TRY004
    return read_time(text)  # a date alone, which published mosaics have, is all of that day


def _date(node: Mapping[str, Any]) -> Span:
    text = node["date"]
    if not isinstance(text, str) or not _DATE.fullmatch(text):
        raise ValueError("a date must be a text such as 2021-01-01")
    return read_time(text)


def _box(west: float, south: float, east: float, north: float) -> Geometry:
    """A box as the simplest geometry: one without area is a line or a point."""
    if west == east and south == north:
        document: dict[str, Any] = {"type": "Point", "coordinates": [west, south]}
    elif west == east or south == north:
        document = {"type": "LineString", "coordinates": [[west, south], [east, north]]}
    else:
        ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
        document = {"type": "Polygon", "coordinates": [ring]}
    return Geometry(read_geometry(document))


def _positions(node: object, limit: int) -> int:
    """How many positions a geometry has; it stops counting soon above `limit`."""
    count, left = 0, [node]
    while left and count <= limit:
        part = left.pop()
        if isinstance(part, Mapping):
            left += [part.get("coordinates"), part.get("geometries")]
        elif isinstance(part, list):
            if part and not isinstance(part[0], list | Mapping):
                count += 1
            else:
                left += part
    return count


def _unknown(name: object) -> ValueError:
    return ValueError(f"there is no operator or function {str(name)[:40]!r}: {', '.join(sorted(OPERATORS))} are known")
