"""Lines made ready for writing: all of the work that needs no database, so that any process can do it.

A line is read, checked as a posted Item is, given what it is published with, and turned into searched columns and
bytes. What cannot be decided from the line alone is left to the loader: `Open`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import orjson

from graticule.catalog import PreparedItem, prepare_item
from graticule.errors import IngestionError, InvalidInputData
from graticule.ingestion.exchange.files import Line
from graticule.ingestion.validation import check_contents, check_shape, is_sound
from graticule.settings import Settings
from graticule.stac.datetimes import now_us, rfc3339
from graticule.stac.documents import Item, JsonObject, new_etag
from graticule.stac.links import stored_form
from graticule.storage import ManagedHrefs

#: A document that is this much shorter as a line than an Item may be need not be measured: JSON that is written anew
#: grows where numbers do (1e15), and never so far.
_ROOM_TO_GROW: Final = 8
#: White space may make a line as many times longer than its document.
_ROOM_FOR_SPACE: Final = 4
#: What a line holds that may name a blob of the catalog, perhaps escaped.
_SIGNS: Final[tuple[bytes, ...]] = (b"blobs", b"managed:", b"\\u")
#: Members of the server's own: kept from the file, so that a round trip changes nothing; new where it has none.
_OWN_OF_ITEMS: Final = ("_msft:ts", "_msft:etag")


@dataclass(frozen=True, slots=True)
class Rules:
    """What decides over a line."""

    #: Limits of items.
    settings: Settings
    #: Of the catalog.
    hrefs: ManagedHrefs
    #: Base URLs under which the files name managed assets of this catalog.
    bases: tuple[str, ...]
    #: The only collection to load.
    only: str | None

    @property
    def longest(self) -> int:
        """Bytes that a line may have."""
        return _ROOM_FOR_SPACE * self.settings.max_item_bytes

    def wanted(self, collection_id: object) -> bool:
        """Is this a collection to load?"""
        return self.only is None or collection_id == self.only


@dataclass(frozen=True, slots=True)
class Refused:
    """It is not loaded."""

    #: As the document has it.
    id: object
    error: IngestionError


@dataclass(frozen=True, slots=True)
class PassedOver:
    """Its collection was not asked for."""


@dataclass(frozen=True, slots=True)
class Described:
    """A Collection, not checked yet."""

    document: JsonObject


class Ready(NamedTuple):
    """An item that can be written."""

    collection_id: str
    prepared: PreparedItem
    #: Server members that the file does not have.
    added: tuple[str, ...]

    @property
    def id(self) -> str:
        """Its id."""
        return self.prepared.columns.id


@dataclass(frozen=True, slots=True)
class Open:
    """An item whose collection the lines before it decide, or that may name blobs of this catalog."""


Outcome = Refused | PassedOver | Described | Ready | Open


def prepare_lines(rules: Rules, lines: Iterable[Line]) -> Iterator[tuple[Line, Outcome | None]]:
    """What becomes of each of these lines, which follow each other in a file; None of one that is too long.

    Blank ones are left out.
    """
    default: str | None = None
    for line in lines:
        text = line.text
        if text is None:
            yield line, None
            continue
        if not text:
            continue
        document = read_document(text)
        if isinstance(document, Refused):
            yield line, document
        elif document.get("type") == "Collection":
            default = default_after(document)
            yield line, Described(document)
        else:
            yield line, _prepared(rules, text, document, default)


def read_document(line: bytes) -> JsonObject | Refused:
    """The JSON object of a line."""
    try:
        document = orjson.loads(line)
    except orjson.JSONDecodeError as exc:
        return Refused(None, InvalidInputData(f"The line is no JSON: {exc}."))
    if not isinstance(document, dict):
        return Refused(None, InvalidInputData("The line is no JSON object."))
    if document.get("type") == "FeatureCollection":
        return Refused(
            None,
            InvalidInputData(
                "An ItemCollection is not taken as a line among others: write each of its Items on a line of its own,"
                " or the ItemCollection into a file whose name ends in .json."
            ),
        )
    return document


def default_after(collection: JsonObject) -> str | None:
    """The collection of the items behind this Collection that name none."""
    identity = collection.get("id")
    return identity if isinstance(identity, str) else None


def _prepared(rules: Rules, line: bytes, document: JsonObject, default: str | None) -> Outcome:
    collection_id = document.get("collection") or default
    if collection_id is None:
        return Open()
    outcome = prepare_document(rules, document, collection_id, length=len(line))
    # Hrefs of blobs take another form first, and the item may have another size then.
    may_name_blobs = _names_blobs(document) if isinstance(outcome, Ready) else any(map(line.__contains__, _SIGNS))
    return Open() if may_name_blobs else outcome


def _names_blobs(item: JsonObject) -> bool:
    """May an asset of this checked item be a blob of the catalog? To look through all of its text takes longer."""
    hrefs = "\n".join([asset["href"] for asset in item.get("assets", {}).values()])
    return "/blobs/" in hrefs or "managed:" in hrefs


def prepare_document(rules: Rules, document: JsonObject, collection_id: object, *, length: int) -> Outcome:
    """An item that names no blobs of this catalog, or whose hrefs are in the stored form already.

    `length` is its line's, bytes.
    """
    if not isinstance(collection_id, str):
        error = InvalidInputData("The Item names no 'collection': say which with --collection.")
        return Refused(document.get("id"), error)
    if not rules.wanted(collection_id):
        return PassedOver()
    settings = rules.settings
    try:
        is_small = length * _ROOM_TO_GROW <= settings.max_item_bytes
        if is_small and settings.validate_extensions != "fail" and is_sound(document, collection_id, settings):
            item: Item = document  # type: ignore[assignment]  # a plain dict that was just checked
        else:
            item = check_shape(document, collection_id)
            check_contents(item, settings, measured=is_small, remarks=False)  # a load has no report to tell them in
        loaded, added = _loaded_item(item, collection_id)
        return Ready(collection_id, prepare_item(loaded), added)
    except IngestionError as exc:
        return Refused(document.get("id"), exc)


def _loaded_item(item: Item, collection_id: str) -> tuple[Item, tuple[str, ...]]:
    """The item as it is published, and the server members that were added to it."""
    document: dict[str, Any] = stored_form(item)  # type: ignore[arg-type]  # a TypedDict is a plain dict
    document["collection"] = collection_id
    document.setdefault("stac_version", "1.0.0")
    document.setdefault("assets", {})
    added = tuple([name for name in _OWN_OF_ITEMS if not isinstance(document.get(name), str)])
    if "_msft:ts" in added:
        document["_msft:ts"] = rfc3339(now_us())
    if "_msft:etag" in added:
        document["_msft:etag"] = new_etag()
    return document, added  # type: ignore[return-value]  # an Item with members of the server's own


def renewed(entry: Ready, stored: JsonObject) -> Ready:
    """The item with an ETag that the one it replaces has not: other contents under the same ETag would be a lie."""
    document: dict[str, Any] = {**entry.prepared.item}
    if document["_msft:etag"] != stored.get("_msft:etag"):
        return entry
    document["_msft:ts"], document["_msft:etag"] = rfc3339(now_us()), new_etag()
    item: Item = document  # type: ignore[assignment]  # an Item with members of the server's own
    return entry._replace(prepared=prepare_item(item))
