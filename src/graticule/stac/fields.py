"""The members of items that an answer shows: `FieldSelection`, and the parser of ``fields``.

Meaning: STAC API Fields extension, "Include/Exclude Semantics". The most specific path decides; where a path is both
included and excluded it is included.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from graticule.errors import InvalidParameter
from graticule.stac.documents import JsonObject

#: What an item shows when no field is named: enough for a valid Item, and the collection it belongs to.
_DEFAULT: Final = (
    ("type",), ("stac_version",), ("id",), ("collection",), ("geometry",), ("bbox",), ("links",), ("assets",),
    ("properties", "datetime"),
)  # fmt: skip
#: Shown unless excluded: what tells an Item from others, and that it is one.
_IDENTITY: Final = (("type",), ("stac_version",), ("id",), ("collection",))
#: Added where ``datetime`` is null (the extension, rule 1).
_INTERVAL: Final = ("start_datetime", "end_datetime")
#: Members of an Item that no property is meant by.
_MEMBERS: Final = frozenset({path[0] for path in _DEFAULT} | {"stac_extensions"})

Path = tuple[str, ...]
_MISSING: Final = object()


@dataclass(slots=True)
class _Node:
    """What is said about one path; None: what is said about the path above it."""

    included: bool | None = None
    below: dict[str, _Node] = field(default_factory=dict)

    def mark(self, path: Path, *, included: bool) -> None:
        node = self
        for name in path:
            node = node.below.setdefault(name, _Node())
        node.included = included

    def select(self, value: Any, *, included: bool) -> Any:
        included = included if self.included is None else self.included
        if not self.below or not isinstance(value, dict):
            return value if included else _MISSING
        chosen = {}
        for name, member in value.items():
            node = self.below.get(name)
            kept = (member if included else _MISSING) if node is None else node.select(member, included=included)
            if kept is not _MISSING:
                chosen[name] = kept
        return chosen if chosen or included else _MISSING


class FieldSelection:
    """Which members of an item to keep."""

    def __init__(
        self, include: Iterable[Path] | None, exclude: Iterable[Path], defaults: Iterable[Path] = _DEFAULT
    ) -> None:
        """`include` None: everything; empty: the default members. `exclude` is taken from that."""
        self._root = _Node()
        self._everything = include is None
        wanted = list(include or ())
        self._by_default = not self._everything and not wanted
        for path in exclude:
            self._root.mark(path, included=False)
        for path in defaults if self._by_default else _IDENTITY:
            if not self._is_excluded(path):
                self._root.mark(path, included=True)
        for path in wanted:
            self._root.mark(path, included=True)

    def apply(self, item: JsonObject) -> JsonObject:
        """The item with the members that were asked for; those it does not have are no error."""
        chosen = self._root.select(item, included=self._everything)
        selected: JsonObject = {} if chosen is _MISSING else chosen
        if self._by_default and "properties" in item and item["properties"].get("datetime") is None:
            times = {name: item["properties"][name] for name in _INTERVAL if name in item["properties"]}
            times = {name: at for name, at in times.items() if not self._is_excluded(("properties", name))}
            if times:
                selected["properties"] = selected.get("properties", {}) | times
        return selected

    def _is_excluded(self, path: Path) -> bool:
        """Is this path or one above it excluded?"""
        node: _Node | None = self._root
        for name in path:
            node = node.below.get(name) if node else None
            if node is not None and node.included is False:
                return True
        return False


def parse_fields(value: object, defaults: Iterable[Path] = _DEFAULT) -> FieldSelection:
    """The ``fields`` parameter: ``id,properties.datetime,-assets`` (a query), or an object with include and exclude.

    Also a list of such objects, which are taken together (the SDK sends that). In a query the lack of included fields
    means the default ones; in a body only an empty `include` does, and a missing one means all.

    Raises:
        InvalidParameter: no such form, or a name that is none.
    """
    include: list[Path] | None
    exclude: list[Path] = []
    if value is None:
        return FieldSelection((), (), defaults)
    if isinstance(value, str):
        names = [name.strip() for name in value.split(",")]
        exclude = _paths([name[1:] for name in names if name.startswith("-")])
        include = _paths([name.removeprefix("+") for name in names if name and name[0] != "-"])
        return FieldSelection(include, exclude, defaults)
    parts: list[Any] = value if isinstance(value, list) else [value]
    if not all(isinstance(part, dict) for part in parts):
        raise _refused('give names separated by commas, or an object such as {"include": ["id"], "exclude": ["links"]}')
    for part in parts:
        exclude += _paths(part.get("exclude"))
    include = [path for part in parts for path in _paths(part.get("include"))]
    if exclude and not any("include" in part for part in parts):
        include = None
    return FieldSelection(include, exclude, defaults)


def _paths(names: object) -> list[Path]:
    if names is None:
        return []
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise _refused("include and exclude must be lists of texts")
    return [path for name in names for path in _readings(name)]


def _readings(name: str) -> list[Path]:
    """What a name may mean: properties may be named without ``properties.``."""
    path = tuple(name.strip().split("."))
    if not all(path):
        raise _refused(f"{name[:60]!r} is not the name of a field")
    return [path] if path[0] in _MEMBERS | {"properties"} else [path, ("properties", *path)]


def _refused(reason: str) -> InvalidParameter:
    return InvalidParameter(f"fields: {reason}.", target="fields")
