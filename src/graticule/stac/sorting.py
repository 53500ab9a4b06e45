"""The order that a search asks for: `SortKey`, and the parser of ``sortby`` (STAC API Sort extension 1.0.0)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from graticule.errors import InvalidParameter

#: More keys than these only cost time.
MAX_SORT_KEYS: Final = 10

#: Item members beside properties that can be sorted by.
_MEMBERS: Final = frozenset({"id", "collection"})
#: Item members that have no order.
_UNSORTABLE: Final = frozenset(
    {"type", "stac_version", "stac_extensions", "geometry", "bbox", "links", "assets", "properties"}
)
_DIRECTIONS: Final = {"asc": False, "desc": True}


@dataclass(frozen=True, slots=True)
class SortKey:
    """One member of an Item to sort by."""

    #: Names from the Item inwards: ``("id",)``, ``("properties", "eo:cloud_cover")``.
    path: tuple[str, ...]
    descending: bool

    def __str__(self) -> str:
        """As it is written in a query: ``-properties.eo:cloud_cover``."""
        return ("-" if self.descending else "+") + ".".join(self.path)


def parse_sortby(value: object) -> tuple[SortKey, ...]:
    """The ``sortby`` parameter: ``-properties.a,+id`` (a query), or a list of ``{"field", "direction"}`` (a body).

    Properties come with or without ``properties.``; names with dots lead into nested objects. A member that comes
    again is left out: it cannot change the order any more.

    Raises:
        InvalidParameter: no such form, an unknown direction, or a member that has no order.
    """
    if isinstance(value, str):
        keys = [_from_text(one) for one in value.split(",") if one]
    elif isinstance(value, list | tuple):
        keys = [_from_object(one) for one in value]
    else:
        raise _refused("give names separated by commas, or a list of objects with field and direction")
    once: dict[tuple[str, ...], SortKey] = {}
    for key in keys:
        once.setdefault(key.path, key)
    if len(once) > MAX_SORT_KEYS:
        raise _refused(f"{len(once)} fields are too many: give at most {MAX_SORT_KEYS}")
    return tuple(once.values())


def _from_text(text: str) -> SortKey:
    # A plus sign in a URL arrives as a space unless it was encoded.
    sign, name = (text[0], text[1:]) if text[0] in "+- " else ("+", text)
    return SortKey(_path(name), descending=sign == "-")


def _from_object(value: Any) -> SortKey:
    if not isinstance(value, dict):
        raise _refused('each entry must be an object such as {"field": "datetime", "direction": "desc"}')
    direction = value.get("direction", "asc")
    descending = _DIRECTIONS.get(direction.lower()) if isinstance(direction, str) else None
    if descending is None:
        raise _refused(f"the direction {str(direction)[:40]!r} must be asc or desc")
    return SortKey(_path(value.get("field")), descending=descending)


def _path(name: object) -> tuple[str, ...]:
    if not isinstance(name, str):
        raise _refused("a field is missing or no text")
    path = tuple(name.strip().split("."))
    if not all(path) or any(char in '"\\' or char < " " for char in name):
        raise _refused(f"{name[:60]!r} is not the name of a property")
    if path[0] == "properties" and len(path) > 1:
        return path
    if path[0] in _UNSORTABLE:
        raise _refused(f"items have no order by {name[:60]!r}: sort by id, collection or a property")
    if path[0] in _MEMBERS and len(path) == 1:
        return path
    return ("properties", *path)


def _refused(reason: str) -> InvalidParameter:
    return InvalidParameter(f"sortby: {reason}.", target="sortby")
