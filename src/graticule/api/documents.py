"""STAC documents on their way out: this request's links, managed hrefs under its base, signatures where asked for."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import orjson

from graticule.access import sign_document
from graticule.api.links import Links, escaped
from graticule.api.routing import Call
from graticule.catalog import CollectionRecord, described
from graticule.errors import InvalidParameter
from graticule.stac.documents import JsonObject, Link
from graticule.stac.fields import FieldSelection
from graticule.stac.links import QUERYABLES, spliced, with_links

JSON = "application/json"
GEOJSON = "application/geo+json"
#: Items that are prepared before other requests get their turn.
_BATCH = 50


class Documents:
    """Prepares the documents of one answer."""

    def __init__(self, call: Call, body: JsonObject | None = None, fields: FieldSelection | None = None) -> None:
        """Read ``sign`` and ``duration`` from the query, else from a search's body (api.md 2.7).

        With `fields`, documents show only these members.

        Raises:
            InvalidParameter: ``sign`` is no boolean, or ``duration`` no number of minutes.
        """
        self._links = call.links
        self._services = call.services
        self._minutes = _signing_minutes(call, body or {})
        self._fields = fields
        self._is_plain = self._minutes is None and fields is None
        #: Of items' links, by collection: what stands around the id.
        self._around: dict[str, tuple[bytes, bytes]] = {}
        #: Signatures of this answer, by container.
        self._minted: dict[str, str] = {}

    async def collection(self, record: CollectionRecord) -> bytes:
        """A Collection with its links, and the extent and summaries of its items."""
        document = with_links(described(record), collection_links(self._links, record.id))
        document = self._services.hrefs.unfold(document, self._links.base)
        return document if self._is_plain else await self._changed(document)

    async def item(self, stored: bytes, collection_id: str, item_id: str) -> bytes:
        """An Item with its links."""
        return (await self.items([stored], [(collection_id, item_id)]))[0]

    async def items(self, stored: Sequence[bytes], names: Sequence[tuple[str, str]]) -> list[bytes]:
        """Items of a page; `names` are their collections and ids."""
        unfold, base = self._services.hrefs.unfold, self._links.base
        documents: list[bytes] = []
        for number, (document, name) in enumerate(zip(stored, names, strict=True)):
            if number % _BATCH == _BATCH - 1:
                await asyncio.sleep(0)  # a page may hold 10,000: others get their turn in between
            public = unfold(self._linked(document, *name), base)
            documents.append(public if self._is_plain else await self._changed(public))
        return documents

    def _linked(self, stored: bytes, collection_id: str, item_id: str) -> bytes:
        """An Item with the links of `item_links`."""
        around = self._around.get(collection_id)
        if around is None:
            around = self._around[collection_id] = _around_id(self._links, collection_id)
        links = b"%b%b%b" % (around[0], escaped(item_id).encode("ascii"), around[1])
        return spliced(stored, links)

    async def _changed(self, document: bytes) -> bytes:
        """The document with signatures, or the fields, that were asked for."""
        parsed: Any = orjson.loads(document)
        if self._fields is not None:
            parsed = self._fields.apply(parsed)
        if self._minutes is not None:
            await sign_document(self._services.tokens, parsed, self._links.base, self._minutes, self._minted)
        return orjson.dumps(parsed)


def collection_links(links: Links, collection_id: str) -> list[Link]:
    """The links the server provides for a Collection (api.md 2.2)."""
    return [
        {"rel": "items", "type": GEOJSON, "href": links.to("stac", "collections", collection_id, "items")},
        {"rel": "parent", "type": JSON, "href": links.to("stac", "")},
        {"rel": "root", "type": JSON, "href": links.to("stac", "")},
        {"rel": "self", "type": JSON, "href": links.to("stac", "collections", collection_id)},
        {
            "rel": QUERYABLES,
            "type": "application/schema+json",
            "href": links.to("stac", "collections", collection_id, "queryables"),
        },
        {"rel": "aggregate", "type": JSON, "href": links.to("stac", "collections", collection_id, "aggregate")},
        {"rel": "aggregations", "type": JSON, "href": links.to("stac", "collections", collection_id, "aggregations")},
    ]


def item_links(links: Links, collection_id: str, item_id: str) -> list[Link]:
    """The links the server provides for an Item (api.md 2.6)."""
    collection = links.to("stac", "collections", collection_id)
    return [
        {"rel": "collection", "type": JSON, "href": collection},
        {"rel": "parent", "type": JSON, "href": collection},
        {"rel": "root", "type": JSON, "href": links.to("stac", "")},
        {"rel": "self", "type": GEOJSON, "href": links.to("stac", "collections", collection_id, "items", item_id)},
    ]


@lru_cache(maxsize=512)
def _around_id(links: Links, collection_id: str) -> tuple[bytes, bytes]:
    """`item_links` as JSON without the brackets: the parts before and behind the id, which ends the last one's path."""
    # Names are percent-encoded: no slash in them, and nothing that JSON would escape.
    text = orjson.dumps(item_links(links, collection_id, ""))[1:-1]
    place = text.rindex(b"/items/") + len(b"/items/")
    return text[:place], text[place:]


def _signing_minutes(call: Call, body: JsonObject) -> int | None:
    sign = call.query.get("sign", body.get("sign"))
    if sign is None or str(sign).lower() == "false":
        return None
    if str(sign).lower() != "true":
        raise InvalidParameter(f"sign must be true or false, not {str(sign)[:40]!r}.", target="sign")
    return duration_minutes(call, body.get("duration"))


def duration_minutes(call: Call, from_body: Any = None) -> int:
    """The life of a signature that a request asks for, minutes.

    Raises:
        InvalidParameter: it is no whole number of minutes, or outside what the catalog allows.
    """
    value = call.query.get("duration", from_body)
    if value is None or value == "":
        return call.services.tokens.minutes(None)
    try:
        asked = int(value)
    except (TypeError, ValueError):
        raise InvalidParameter(
            f"duration must be a whole number of minutes, not {str(value)[:40]!r}.", target="duration"
        ) from None
    return call.services.tokens.minutes(asked)
