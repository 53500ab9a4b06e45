"""The ``query`` parameter (STAC API Query extension): conditions on properties, read into the tree of CQL2."""

from __future__ import annotations

import re
from typing import Any, Final

import orjson

from graticule.errors import InvalidParameter
from graticule.stac.cql2 import Expression, parse_json

_COMPARISONS: Final = {"eq": "=", "neq": "<>", "lt": "<", "lte": "<=", "gt": ">", "gte": ">="}
#: Patterns of LIKE around the escaped text.
_PATTERNS: Final = {"startsWith": "{}%", "endsWith": "%{}", "contains": "%{}%"}
#: A number as JSON writes it, of a size that is exact.
_NUMBER: Final = re.compile(r"-?(0|[1-9]\d{0,14})(\.\d{1,15})?", re.ASCII)
_OPERATORS: Final = (*_COMPARISONS, *_PATTERNS, "in", "isNull")


def parse_query(value: object) -> Expression | None:
    """Conditions that must all hold: ``{"eo:cloud_cover": {"lt": 10}, ...}``, or the same as JSON text (in a URL).

    Properties come with or without ``properties.``. An item without the property, or with null, meets no condition but
    ``isNull``; ``neq`` neither. Texts are compared with case. A text that writes a number also means that number: the
    extension names no types, and its users put operands in quotes. None: no condition.

    Raises:
        InvalidParameter: names the property and what the operator takes.
    """
    if isinstance(value, str):
        if not value:
            return None
        try:
            value = orjson.loads(value)
        except orjson.JSONDecodeError as exc:
            raise _refused(f"it is not JSON ({exc})") from exc
    if not isinstance(value, dict):
        raise _refused('give an object such as {"eo:cloud_cover": {"lt": 10}}')
    conditions = [
        _condition(name, op, operand) for name, part in value.items() for op, operand in _operators(name, part)
    ]
    if not conditions:
        return None
    try:
        return parse_json(conditions[0] if len(conditions) == 1 else {"op": "and", "args": conditions})
    except InvalidParameter as exc:
        raise _refused(exc.message.removeprefix("filter: ").rstrip(".")) from exc


def _operators(name: str, part: Any) -> list[tuple[str, Any]]:
    if not isinstance(part, dict):
        raise _refused(f'"{name[:60]}" takes an object of operators such as {{"eq": 5}}')
    return list(part.items())


def _condition(name: str, op: str, operand: Any) -> Any:
    """One condition in CQL2 JSON."""
    subject = {"property": name}
    if op in _COMPARISONS:
        readings = _readings(_scalar(name, op, operand))
        parts = [{"op": _COMPARISONS[op], "args": [subject, reading]} for reading in readings]
        return parts[0] if len(parts) == 1 else {"op": "or", "args": parts}  # one at most is of the property's type
    if op in _PATTERNS:
        if not isinstance(operand, str):
            raise _refused(f"{op} of '{name[:60]}' takes a text")
        escaped = operand.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
        return {"op": "like", "args": [subject, _PATTERNS[op].format(escaped)]}
    if op == "in":
        if not isinstance(operand, list):
            raise _refused(f"in of '{name[:60]}' takes a list")
        members = [reading for one in operand for reading in _readings(_scalar(name, op, one))]
        return {"op": "in", "args": [subject, members]}
    if op == "isNull":
        if not isinstance(operand, bool):
            raise _refused(f"isNull of '{name[:60]}' takes true or false")
        condition = {"op": "isNull", "args": [subject]}
        return condition if operand else {"op": "not", "args": [condition]}
    raise _refused(f"'{op[:40]}' is not one of {', '.join(_OPERATORS)}")


def _scalar(name: str, op: str, operand: Any) -> Any:
    if not isinstance(operand, str | int | float):
        remedy = "; for missing values use isNull" if operand is None else ""
        raise _refused(f"{op} of '{name[:60]}' takes a text, a number, true or false{remedy}")
    return operand


def _readings(operand: Any) -> list[Any]:
    """What an operand may mean."""
    if not isinstance(operand, str) or _NUMBER.fullmatch(operand) is None:
        return [operand]
    number = float(operand)
    return [operand, int(operand) if number.is_integer() and operand.lstrip("-").isdigit() else number]


def _refused(reason: str) -> InvalidParameter:
    return InvalidParameter(f"query: {reason}.", target="query")
