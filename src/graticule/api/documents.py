"""STAC documents on their way out: links for this request, managed hrefs under this base, signatures where asked for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson

from graticule.api.links import Links
from graticule.api.routing import Call
from graticule.catalog import CollectionRecord
from graticule.errors import InvalidParameter
from graticule.stac.documents import JsonObject, Link
from graticule.stac.links import with_links

JSON = "application/json"
GEOJSON = "application/geo+json"


class Documents:
    """Prepares the documents of one answer."""

    def __init__(self, call: Call, body: JsonObject | None = None) -> None:
        """Read ``sign`` and ``duration`` from the query, else from a search's body (api.md 2.7).

        Raises:
            InvalidParameter: ``sign`` is no boolean, or ``duration`` no number of minutes.
        """
        self._links = call.links
        self._services = call.services
        self._minutes = _signing_minutes(call, body or {})

    def collection(self, record: CollectionRecord) -> bytes:
        """A Collection with its links."""
        return self._finish(with_links(record.doc, collection_links(self._links, record.id)))

    def item(self, stored: bytes, collection_id: str | None = None) -> bytes:
        """An Item with its links; the ids are read from the document where the caller does not know them."""
        parsed = orjson.loads(stored)
        return self._finish(
            with_links(stored, item_links(self._links, collection_id or parsed["collection"], parsed["id"]))
        )

    def items(self, stored: Sequence[bytes]) -> list[bytes]:
        """Items of a page."""
        return [self.item(document) for document in stored]

    def _finish(self, document: bytes) -> bytes:
        document = self._services.hrefs.unfold(document, self._links.base)
        if self._minutes is None:
            return document
        parsed: Any = orjson.loads(document)
        self._services.signer.sign_document(parsed, self._links.base, self._minutes)
        return orjson.dumps(parsed)


def collection_links(links: Links, collection_id: str) -> list[Link]:
    """The links the server provides for a Collection (api.md 2.2)."""
    return [
        {"rel": "items", "type": GEOJSON, "href": links.to("stac", "collections", collection_id, "items")},
        {"rel": "parent", "type": JSON, "href": links.to("stac", "")},
        {"rel": "root", "type": JSON, "href": links.to("stac", "")},
        {"rel": "self", "type": JSON, "href": links.to("stac", "collections", collection_id)},
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
    settings = call.services.settings
    value = call.query.get("duration", from_body)
    if value is None or value == "":
        return settings.sas_default_minutes
    try:
        minutes = int(value)
    except (TypeError, ValueError):
        minutes = 0
    if not 1 <= minutes <= settings.sas_max_minutes:
        raise InvalidParameter(
            f"duration must be a number of minutes from 1 to {settings.sas_max_minutes}, not {str(value)[:40]!r}.",
            target="duration",
        )
    return minutes
