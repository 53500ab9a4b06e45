"""Does an Item keep the rules of STAC and of the extensions it names? By bundled JSON Schemas, offline.

The schemas are read and compiled once per process, when they are first needed; checking an Item that is right takes
some microseconds per schema. Formats are left to others: the catalog reads dates itself, and an href is sent to its
source byte for byte, proper IRI or not. No schema is ever fetched: what an Item calls an extension is looked up among
the bundled ones, and is unknown otherwise (``schemas/README.md`` says where those come from).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib import resources
from typing import Any, Final

import jsonschema_rs
import orjson

from graticule.stac.documents import JsonObject

#: Faults that are told of one schema; a document that is wrong throughout would fill a page.
MOST_FAULTS: Final = 10

_ITEM: Final = "https://schemas.stacspec.org/v{}/item-spec/json-schema/item.json"
_VERSIONS: Final = {"1.0.": "1.0.0", "1.1.": "1.1.0"}
_BUNDLED: Final = frozenset(_VERSIONS.values())
#: What the schema wants of an Item in a collection, and the catalog adds.
_COLLECTION_LINK: Final = {"rel": "collection", "href": "."}
_NOT_BEFORE: Final = re.compile(r"\^\(\?!([a-z]+:)\)")
_VERSIONED: Final = re.compile(r"(https://[^?#]+?)/v(\d+)\.(\d+)\.(\d+)/schema\.json")
_LONGEST_SHOWN: Final = 60
#: Faults that a schema says less well, by place and keyword; behind the value.
_REASONS: Final = {
    ("geometry.type", "enum"): "is none of Point, LineString, Polygon, MultiPoint, MultiLineString and MultiPolygon",
    ("properties.datetime", "not"): "is allowed only beside start_datetime and end_datetime",
    ("properties.datetime", "pattern"): "is no date-time in UTC such as 2024-01-31T12:00:00Z",
}
_VALUE: Final = "the value"


@dataclass(frozen=True, slots=True)
class Fault:
    """A rule that a document breaks."""

    #: Where, as members and indexes with dots: ``properties.eo:cloud_cover``; empty for the document itself.
    path: str
    #: Of which schema and which of its keywords: ``STAC 1.0.0 item: required``, ``eo v1.1.0: maximum``.
    rule: str
    #: What is wrong, without the place.
    message: str

    def __str__(self) -> str:
        """In one sentence."""
        return f"{self.path or 'the Item'}: {self.message} ({self.rule})"


def keeps_core(item: Mapping[str, Any]) -> bool:
    """Is this surely a valid Item? False where it names no version, or is of one that is not bundled exactly.

    As `core_faults` it is judged as it would be published, but of members that it lacks only its collection is made up.
    """
    version = item.get("stac_version")
    if not isinstance(version, str) or version not in _BUNDLED or type(item.get("links")) is not list:
        return False
    published = {"collection": "collection", **item, "links": [*item["links"], _COLLECTION_LINK]}
    return bool(_validator(_ITEM.format(version)).is_valid(published))


def keeps_all(item: Mapping[str, Any]) -> bool:
    """Does an Item surely keep the rules of STAC and of all extensions that it names? False says nothing.

    As `keeps_core`; it is False, too, where an extension is not known here.
    """
    named = item.get("stac_extensions", [])
    if type(named) is not list or not all(isinstance(url, str) for url in named):
        return False
    extensions = _validators(tuple(named))
    return extensions is not None and keeps_core(item) and all(one.is_valid(item) for one in extensions)


def core_faults(item: Mapping[str, Any]) -> list[Fault]:
    """What the core specification of the Item's version forbids, at most `MOST_FAULTS`.

    The Item is judged as the catalog would publish it: in a collection, with links, and as STAC 1.0.0 if it names no
    version. One of a version that is not 1.0.x or 1.1.x has no rules here.
    """
    version: object = item.get("stac_version", "1.0.0")
    known = next((known for start, known in _VERSIONS.items() if str(version).startswith(start)), None)
    if known is None:
        return []
    links = item.get("links") or []
    published = {
        **item,
        "stac_version": known,
        "collection": item.get("collection") or "collection",
        "links": [*links, _COLLECTION_LINK] if isinstance(links, list) else links,
        "assets": item.get("assets") or {},
    }
    return _faults(_ITEM.format(known), published, f"STAC {known} item")


def extension_faults(item: Mapping[str, Any]) -> tuple[list[Fault], list[str]]:
    """What the extensions that an Item names forbid, and the URLs of those that are not known here.

    An extension of a version that is not bundled is judged by the next higher one of the same major version, but for
    members that this one may have come to require.
    """
    faults: list[Fault] = []
    unknown: list[str] = []
    for url in item.get("stac_extensions") or ():
        schema = bundled(url)
        if schema is None:
            unknown.append(url)
        else:
            found = _faults(schema, item, _short_name(schema))
            is_exact = url.rstrip("#") == schema
            faults += [fault for fault in found if is_exact or not fault.rule.endswith(": required")]
    return faults, unknown


@cache
def bundled(url: str) -> str | None:
    """The URL of the bundled schema for an extension; None where there is none."""
    asked = _VERSIONED.fullmatch(url.rstrip("#"))
    if asked is None:
        return None
    higher = []
    for known in _documents():
        match = _VERSIONED.fullmatch(known)
        if match and match[1] == asked[1] and match[2] == asked[2] and _minor(match) >= _minor(asked):
            higher.append((_minor(match), known))
    return min(higher)[1] if higher else None


def extensions() -> list[str]:
    """The URLs of the extensions that are known."""
    return sorted(url for url in _documents() if _VERSIONED.fullmatch(url))


# --- inside ----------------------------------------------------------------------------------------------------------


def _minor(match: re.Match[str]) -> tuple[int, int]:
    return int(match[3]), int(match[4])


def _short_name(schema: str) -> str:
    parts = schema.split("/")
    return f"{parts[-3]} {parts[-2]}"


def _faults(schema: str, document: Mapping[str, Any], name: str) -> list[Fault]:
    validator = _validator(schema)
    if validator.is_valid(document):
        return []
    found: dict[Fault, None] = {}
    for error in validator.iter_errors(document):
        found.setdefault(_fault(_innermost(error), name))
        if len(found) >= MOST_FAULTS:
            break
    return list(found)


def _fault(error: jsonschema_rs.ValidationError, name: str) -> Fault:
    path = ".".join(str(part) for part in error.instance_path)
    reason = _REASONS.get((path, error.kind.name))
    message = error.message if reason is None else f"{_VALUE} {reason}"
    if _VALUE in message and _may_be_shown(error):
        message = message.replace(_VALUE, str(orjson.dumps(error.instance), "utf-8"), 1)
    return Fault(path, f"{name}: {error.kind.name}", message)


def _may_be_shown(error: jsonschema_rs.ValidationError) -> bool:
    """A short value; no address, for its query may be a signature."""
    value = error.instance
    if isinstance(value, str):
        return len(value) <= _LONGEST_SHOWN and ":/" not in value and "?" not in value
    return value is None or isinstance(value, bool | int | float)


def _innermost(error: jsonschema_rs.ValidationError) -> jsonschema_rs.ValidationError:
    """Of alternatives that all fail, the fault of the one that was most likely meant."""
    branches: Sequence[Sequence[jsonschema_rs.ValidationError]] = [
        branch for branch in getattr(error.kind, "context", ()) if branch
    ]
    if not branches:
        return error
    best = max(branches, key=_likeliness)
    return _innermost(max(best, key=lambda one: len(one.instance_path)))


def _likeliness(branch: Sequence[jsonschema_rs.ValidationError]) -> tuple[bool, int, int]:
    """The one for another type of document is not meant; of others the one that got furthest, with the fewest."""
    is_other_type = any(
        (error.kind.name in ("const", "enum") and error.instance_path[-1:] == ["type"])
        or (error.kind.name == "type" and list(error.instance_path) == ["geometry"])
        for error in branch
    )
    return not is_other_type, max(len(error.instance_path) for error in branch), -len(branch)


@cache
def _documents() -> dict[str, JsonObject]:
    """Every bundled schema by its URL."""
    root = resources.files("graticule.stac") / "schemas"
    found: dict[str, JsonObject] = {}
    for path, text in _files(root, ""):
        document = orjson.loads(text)
        # Ours are named by what they say; the others by where they lie, for the identity of one has a slip.
        url = document["$id"] if path.startswith("/graticule/") else f"https:/{path}"
        found[url] = _quick(_relaxed(document, url))
    return found


def _files(folder: Any, path: str) -> Iterator[tuple[str, bytes]]:
    for entry in folder.iterdir():
        name = f"{path}/{entry.name}"
        if entry.is_dir():
            yield from _files(entry, name)
        elif name.endswith(".json"):
            yield name, entry.read_bytes()


def _relaxed(part: Any, url: str) -> Any:
    """A schema without one of its rules: that the Item names this very version of the extension."""
    if isinstance(part, list):
        return [_relaxed(each, url) for each in part]
    if not isinstance(part, dict):
        return part
    return {
        name: _relaxed(value, url)
        for name, value in part.items()
        if not (name == "contains" and isinstance(value, dict) and str(value.get("const", "")).rstrip("#") == url)
    }


def _quick(part: Any) -> Any:
    """A schema that says the same in patterns that need no looking ahead, which takes three times as long.

    Nearly every extension forbids members of its prefix that it does not know by way of ``^(?!prefix:)``, which is
    asked of every member of every asset.
    """
    if isinstance(part, list):
        return [_quick(each) for each in part]
    if not isinstance(part, dict):
        return part
    quick = {name: _quick(value) for name, value in part.items()}
    patterns = quick.get("patternProperties")
    if isinstance(patterns, dict):
        quick["patternProperties"] = {
            _begins_otherwise(prefix[1]) if (prefix := _NOT_BEFORE.fullmatch(pattern)) else pattern: rule
            for pattern, rule in patterns.items()
        }
    return quick


def _begins_otherwise(prefix: str) -> str:
    """A pattern of all texts that do not begin with this one: they end before it does, or differ from it somewhere."""
    rest = ""
    for sign in reversed(prefix):
        rest = f"(?:$|[^{sign}]" + (f"|{sign}{rest})" if rest else ")")
    return f"^{rest}"


@cache
def _registry() -> jsonschema_rs.Registry:
    return jsonschema_rs.Registry(list(_documents().items()), draft=jsonschema_rs.Draft7, retriever=_refuse)


@lru_cache(maxsize=256)
def _validators(urls: tuple[str, ...]) -> list[jsonschema_rs.Draft7Validator] | None:
    """The validators of these extensions, as `extension_faults` chooses them; None unless all of them are known."""
    found = [schema for url in urls if (schema := bundled(url)) is not None]
    return [_validator(schema) for schema in found] if len(found) == len(urls) else None


@cache
def _validator(schema: str) -> jsonschema_rs.Draft7Validator:
    return jsonschema_rs.Draft7Validator(
        _documents()[schema], registry=_registry(), retriever=_refuse, validate_formats=False, mask=_VALUE
    )


def _refuse(url: str) -> Any:
    raise LookupError(f"{url} is not bundled, and schemas are not fetched")
