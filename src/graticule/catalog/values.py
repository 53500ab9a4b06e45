"""What the index of a declared queryable keeps of an item.

An item has exactly one row of a kind that has an order, NUMBER to MISSING, also where it has no such property: the rows
of a collection, in the order of their key, are then the order of a search sorted by it. Rows beside it say more:

- INSTANT or DAY: the text can be read as a time, and this is its (first) microsecond since 1970.
- OTHER: the value is missing for the order only, it is an array or an object.

A text that no index takes, because it is too long or holds a NUL, has a row UNFIT instead. While a collection has one,
its index is not used.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from graticule.stac.cql2.parsing import read_time
from graticule.stac.cql2.properties import descend

#: Kinds of values. The first four are in their order; missing ones come behind all others in either direction.
NUMBER, TEXT, BOOLEAN, MISSING, INSTANT, DAY, OTHER, UNFIT = range(8)

#: Longer texts are not indexed, UTF-8 bytes: PostgreSQL refuses keys of 2,700.
LONGEST_TEXT: Final = 500
#: From the first to the last microsecond of a day.
DAY_LENGTH: Final = 86_400_000_000 - 1

#: Names that have columns of their own, or no order: their index is there already.
BUILT_IN: Final = frozenset({"id", "collection", "geometry", "datetime", "eo:cloud_cover", "platform"})


class Value(NamedTuple):
    """One row of the index, without its item."""

    kind: int
    value: float = 0.0
    text: str = ""


def values_of(item: Mapping[str, Any], name: str) -> list[Value]:  # noqa: PLR0911 - one per type
    """The rows of an item's property; `name` may lead into nested objects by dots, as in filters."""
    properties = item.get("properties")
    value = descend(properties, name) if isinstance(properties, Mapping) else None
    if value is None:
        return [Value(MISSING)]
    if isinstance(value, bool):
        return [Value(BOOLEAN, float(value))]
    if isinstance(value, int | float):
        return [Value(NUMBER, _double(value))]
    if not isinstance(value, str):
        return [Value(MISSING), Value(OTHER)]
    if not _fits(value):
        return [Value(UNFIT)]
    found = [Value(TEXT, 0.0, value)]
    if "0" <= value[:1] <= "9":  # as every time begins
        try:
            span = read_time(value)
        except ValueError:
            return found
        found.append(Value(INSTANT if span.start == span.end else DAY, float(span.start)))
    return found


def texts_of(item: Mapping[str, Any], name: str) -> list[str]:
    """The texts of an item's property that words are looked for in: itself or its members; times have no words."""
    properties = item.get("properties")
    value = descend(properties, name) if isinstance(properties, Mapping) else None
    members = value if isinstance(value, list) else [value]
    return [text for text in members if isinstance(text, str) and not _is_time(text)]


def _is_time(text: str) -> bool:
    if not "0" <= text[:1] <= "9":
        return False
    try:
        read_time(text)
    except ValueError:
        return False
    return True


def _fits(text: str) -> bool:
    if "\0" in text:
        return False
    try:
        return len(text.encode()) <= LONGEST_TEXT
    except UnicodeEncodeError:  # half a surrogate pair
        return False


def _double(value: float) -> float:
    """The nearest double: exact below 2^53, and above on the same side of all that is below."""
    try:
        return float(value)
    except OverflowError:
        return sys.float_info.max if value > 0 else -sys.float_info.max
