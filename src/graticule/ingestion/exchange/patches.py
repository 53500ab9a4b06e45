"""What is to be changed in one JSON document so that it becomes another: a JSON Patch (RFC 6902) of three operations.

`add` of a member, `replace` and `remove`. Numbers are the same only with the same type: 1 is not 1.0.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import orjson


def difference(before: Any, after: Any) -> list[dict[str, Any]]:
    """The operations that make `before`, an object, into `after`; empty: they are the same."""
    return list(_differences(before, after, ""))


def patched(document: Any, operations: list[dict[str, Any]]) -> Any:
    """Apply operations of `difference`; the document may be changed.

    Raises:
        ValueError: an operation does not fit the document, or is no such operation.
    """
    for operation in operations:
        try:
            document = _applied(document, operation)
        except (KeyError, IndexError, TypeError, AttributeError) as exc:
            raise ValueError(f"the patch does not fit: {operation!r:.200}") from exc
    return document


def _differences(before: Any, after: Any, path: str) -> Iterator[dict[str, Any]]:
    if isinstance(before, dict) and isinstance(after, dict):
        for name in before:
            if name not in after:
                yield {"op": "remove", "path": f"{path}/{_escaped(name)}"}
        for name, value in after.items():
            where = f"{path}/{_escaped(name)}"
            if name not in before:
                yield {"op": "add", "path": where, "value": value}
            elif path or _text(before[name]) != _text(value):  # of whole members texts are compared faster
                yield from _differences(before[name], value, where)
    elif _are_objects(before) and _are_objects(after) and len(before) == len(after):
        for index, (one, other) in enumerate(zip(before, after, strict=True)):
            yield from _differences(one, other, f"{path}/{index}")
    elif not same(before, after):
        yield {"op": "replace", "path": path, "value": after}


def same(one: Any, other: Any) -> bool:
    """Are these the same JSON value, types of numbers included?"""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(value, other[name]) for name, value in one.items())
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


def _text(value: Any) -> bytes:
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)


def _are_objects(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(element, dict) for element in value)


def _applied(document: Any, operation: dict[str, Any]) -> Any:
    op, path = operation["op"], operation["path"]
    if path == "":
        return operation["value"]
    *parents, last = (part.replace("~1", "/").replace("~0", "~") for part in path.split("/")[1:])
    place = document
    for name in parents:
        place = place[int(name) if isinstance(place, list) else name]
    key = int(last) if isinstance(place, list) else last
    if op == "remove":
        del place[key]
    elif op == "replace" or (op == "add" and isinstance(place, dict)):
        place[key] = operation["value"]
    else:
        raise KeyError(op)
    return document


def _escaped(name: str) -> str:
    return name.replace("~", "~0").replace("/", "~1")
