"""STAC documents on their way out: this request's links, managed hrefs under its base, signatures where asked for."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import orjson

from graticule.access import sign_document
from graticule.api.links import Links
from graticule.api.routing import Call
from graticule.catalog import CollectionRecord, described
from graticule.errors import InvalidParameter
from graticule.stac.documents import JsonObject, Link
from graticule.stac.fields import FieldSelection
from graticule.stac.links import QUERYABLES, with_links

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

    async def collection(self, record: CollectionRecord) -> bytes:
        """A Collection with its links, and the extent and summaries of its items."""
        document = with_links(described(record), collection_links(self._links, record.id))
        return await self._finish(document, self._fields)

    async def item(self, stored: bytes) -> bytes:
        """An Item with its links."""
        parsed = orjson.loads(stored)
        document = with_links(stored, item_links(self._links, parsed["collection"], parsed["id"]))
        return await self._finish(document, self._fields)

    async def items(self, stored: Sequence[bytes]) -> list[bytes]:
        """Items of a page."""
        documents: list[bytes] = []
        for number, document in enumerate(stored):
            if number % _BATCH == _BATCH - 1:
                await asyncio.sleep(0)  # a page may hold 10,000: others get their turn in between
            documents.append(await self.item(document))
        return documents

    async def _finish(self, document: bytes, fields: FieldSelection | None = None) -> bytes:
        document = self._services.hrefs.unfold(document, self._links.base)
        if self._minutes is None and fields is None:
            return document
        parsed: Any = orjson.loads(document)
        if fields is not None:
            parsed = fields.apply(parsed)
        if self._minutes is not None:
            await sign_document(self._services.tokens, parsed, self._links.base, self._minutes)
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
