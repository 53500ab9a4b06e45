"""The links of documents that this catalog serves, spliced into stored bytes without parsing them.

A stored Item or Collection starts with its type and its own `links` array, which holds what the client sent except the
kinds that the server provides (`SERVER_RELATIONS`). At read time the server's links, whose URLs
depend on the request, go in front of them.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import orjson

from graticule.stac.documents import JsonObject, Link

#: What every stored Item and Collection begins with.
ITEM_HEAD = b'{"type":"Feature","links":['
COLLECTION_HEAD = b'{"type":"Collection","links":['

#: From a landing page or a Collection to its queryables (OGC API Features part 3, clause 7).
QUERYABLES = "http://www.opengis.net/def/rel/ogc/1.0/queryables"
#: Link relations that the server provides; a client's own of these kinds are replaced (api.md 2.2, 2.6).
SERVER_RELATIONS = frozenset({"self", "root", "parent", "collection", "items", QUERYABLES, "aggregate", "aggregations"})


def stored_form(document: JsonObject) -> JsonObject:
    """An Item or Collection as it is stored: type and foreign links first, everything else as it came."""
    links = [link for link in document.get("links") or () if link.get("rel") not in SERVER_RELATIONS]
    form = {"type": None, "links": None, **document}  # these two first, whatever their place in the document
    form["links"] = links
    return form


def with_links(stored: bytes, links: Iterable[Link]) -> bytes:
    """The document with the server's links in front of its own."""
    return spliced(stored, orjson.dumps(list(links))[1:-1])


def spliced(stored: bytes, ours: bytes) -> bytes:
    """As `with_links`; the links come as JSON, without the brackets around them."""
    head = ITEM_HEAD if stored.startswith(ITEM_HEAD) else COLLECTION_HEAD
    between = b"" if stored.startswith(b"]", len(head)) or not ours else b","
    return b"".join((head, ours, between, memoryview(stored)[len(head) :]))  # which copies the document once


def feature_collection(features: Iterable[bytes], **members: Any) -> bytes:
    """An ItemCollection of ready documents, with further members behind them."""
    rest = orjson.dumps(members)[1:-1]
    # Joined once: a page may be large, and each copy of it costs as much as finding its items.
    parts = [b'{"type":"FeatureCollection","features":[']
    for feature in features:
        parts += (feature, b",")
    if len(parts) > 1:
        parts.pop()
    parts += (b"]", b"," if rest else b"", rest, b"}")
    return b"".join(parts)
