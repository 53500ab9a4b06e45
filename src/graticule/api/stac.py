"""The STAC API: landing page, collections, items, search (api.md section 2)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from starlette.responses import Response

from graticule import __version__
from graticule.access import Role
from graticule.api import discovery, wire
from graticule.api.documents import GEOJSON, JSON, Documents
from graticule.api.openapi import OPENAPI
from graticule.api.patience import while_connected
from graticule.api.routing import Call, Endpoint, json_response
from graticule.catalog import ItemPage
from graticule.errors import InvalidParameter, RequestError
from graticule.stac.documents import JsonObject, Link
from graticule.stac.fields import FieldSelection, parse_fields
from graticule.stac.links import QUERYABLES, feature_collection
from graticule.stac.search import Search, parse_search
from graticule.workflows.journal import Operation

#: Each class is true of this server, and tests hold it to that.
CONFORMANCE = (
    "http://www.opengis.net/spec/cql2/1.0/conf/accent-insensitive-comparison",
    "http://www.opengis.net/spec/cql2/1.0/conf/advanced-comparison-operators",
    "http://www.opengis.net/spec/cql2/1.0/conf/arithmetic",
    "http://www.opengis.net/spec/cql2/1.0/conf/array-functions",
    "http://www.opengis.net/spec/cql2/1.0/conf/basic-cql2",
    "http://www.opengis.net/spec/cql2/1.0/conf/basic-spatial-functions",
    "http://www.opengis.net/spec/cql2/1.0/conf/basic-spatial-functions-plus",
    "http://www.opengis.net/spec/cql2/1.0/conf/case-insensitive-comparison",
    "http://www.opengis.net/spec/cql2/1.0/conf/cql2-json",
    "http://www.opengis.net/spec/cql2/1.0/conf/cql2-text",
    "http://www.opengis.net/spec/cql2/1.0/conf/property-property",
    "http://www.opengis.net/spec/cql2/1.0/conf/spatial-functions",
    "http://www.opengis.net/spec/cql2/1.0/conf/temporal-functions",
    "http://www.opengis.net/spec/ogcapi-features-1/1.0/conf/core",
    "http://www.opengis.net/spec/ogcapi-features-1/1.0/conf/geojson",
    "http://www.opengis.net/spec/ogcapi-features-1/1.0/conf/oas30",
    "http://www.opengis.net/spec/ogcapi-features-3/1.0/conf/features-filter",
    "http://www.opengis.net/spec/ogcapi-features-3/1.0/conf/filter",
    "https://api.stacspec.org/v1.0.0-rc.2/item-search#filter",
    "https://api.stacspec.org/v1.0.0/collections",
    "https://api.stacspec.org/v1.0.0/core",
    "https://api.stacspec.org/v1.0.0/item-search",
    "https://api.stacspec.org/v1.0.0/item-search#fields",
    "https://api.stacspec.org/v1.0.0/item-search#query",
    "https://api.stacspec.org/v1.0.0/item-search#sort",
    "https://api.stacspec.org/v1.0.0/ogcapi-features",
    "https://api.stacspec.org/v1.0.0/ogcapi-features#fields",
    "https://api.stacspec.org/v1.0.0/ogcapi-features#query",
    "https://api.stacspec.org/v1.0.0/ogcapi-features#sort",
    *discovery.CONFORMANCE,
)

#: A search is a question, not data; a geometry of this size holds 50,000 corners.
MAX_SEARCH_BYTES = 1_000_000

#: Query parameters that may be repeated.
_LISTS = ("collections", "collection", "ids", "bbox", "sortby", "fields", "q")


async def landing_page(call: Call) -> Response:
    """``GET /stac``: the root Catalog, with a child link per collection."""
    links = call.links
    collections = await call.services.catalog.collections()
    here: list[Link] = [
        {"rel": "self", "type": JSON, "href": links.to("stac", "")},
        {"rel": "root", "type": JSON, "href": links.to("stac", "")},
        {"rel": "data", "type": JSON, "href": links.to("stac", "collections")},
        {"rel": "conformance", "type": JSON, "href": links.to("stac", "conformance")},
        {"rel": "search", "type": GEOJSON, "href": links.to("stac", "search"), "method": "GET"},
        {"rel": "search", "type": GEOJSON, "href": links.to("stac", "search"), "method": "POST"},
        {
            "rel": "service-desc",
            "type": OPENAPI,
            "href": links.to("openapi.json"),
        },
        {
            "rel": QUERYABLES,
            "type": "application/schema+json",
            "href": links.to("stac", "queryables"),
        },
        *discovery.aggregation_links(call, "stac"),
    ]
    here += [
        {"rel": "child", "type": JSON, "href": links.to("stac", "collections", record.id)} for record in collections
    ]
    return json_response(
        {
            "type": "Catalog",
            "id": "graticule",
            "title": "Graticule GeoCatalog",
            "description": f"A self-hosted GeoCatalog (Graticule {__version__}).",
            "stac_version": "1.0.0",
            "conformsTo": list(CONFORMANCE),
            "links": here,
        }
    )


async def root(call: Call) -> Response:
    """``GET /``: clients that are given the bare address find the landing page."""
    return Response(status_code=307, headers={"location": call.links.to("stac")})


async def conformance(_call: Call) -> Response:
    """``GET /stac/conformance``."""
    return json_response({"conformsTo": list(CONFORMANCE)})


# --- collections -----------------------------------------------------------------------------------------------------


async def list_collections(call: Call) -> Response:
    """``GET /stac/collections``: without conditions all of them, not paged."""
    if discovery.is_collection_search(call):
        return await discovery.search_collections_get(call)
    documents = Documents(call)
    records = await call.services.catalog.collections()
    body = b",".join([await documents.collection(record) for record in records])
    tail = json_response({"links": discovery.collections_links(call)}).body[1:]
    return json_response(b'{"collections":[' + body + b"]," + bytes(tail))


async def create_collection(call: Call) -> Response:
    """``POST /stac/collections``: 202 and an operation that has ended; the collection can be read at once."""
    operation = await call.services.ingestion.create_collection(await call.json(), bases(call))
    return accepted(call, operation)


async def get_collection(call: Call) -> Response:
    """``GET /stac/collections/{collectionId}``."""
    documents = Documents(call)
    return json_response(await documents.collection(await call.services.catalog.collection(call.path["collectionId"])))


async def replace_collection(call: Call) -> Response:
    """``PUT /stac/collections/{collectionId}``: synchronous."""
    record = await call.services.ingestion.replace_collection(call.path["collectionId"], await call.json(), bases(call))
    return json_response(await Documents(call).collection(record))


async def delete_collection(call: Call) -> Response:
    """``DELETE /stac/collections/{collectionId}``: gone for readers at once, removed in the background."""
    return accepted(call, await call.services.ingestion.delete_collection(call.path["collectionId"]))


# --- items -----------------------------------------------------------------------------------------------------------


async def create_items(call: Call) -> Response:
    """``POST /stac/collections/{collectionId}/items``: an Item or an ItemCollection, 202."""
    await call.services.catalog.collection(call.path["collectionId"])  # 404 before a large body is read
    operation = await call.services.ingestion.submit_items(call.path["collectionId"], await call.json(), bases(call))
    return accepted(call, operation)


async def get_item(call: Call) -> Response:
    """``GET /stac/collections/{collectionId}/items/{itemId}``."""
    documents = Documents(call)
    collection_id, item_id = call.path["collectionId"], call.path["itemId"]
    stored = await call.services.catalog.item(collection_id, item_id)
    return Response(await documents.item(stored, collection_id, item_id), media_type=GEOJSON)


async def replace_item(call: Call) -> Response:
    """``PUT /stac/collections/{collectionId}/items/{itemId}``: the whole Item."""
    return await _changed(call, call.services.ingestion.replace_item)


async def patch_item(call: Call) -> Response:
    """``PATCH /stac/collections/{collectionId}/items/{itemId}``: a merge patch (RFC 7396), whatever its media type."""
    return await _changed(call, call.services.ingestion.patch_item)


async def _changed(call: Call, change: Callable[[str, str, Any, tuple[str, ...]], Awaitable[Operation]]) -> Response:
    collection_id = call.path["collectionId"]
    await call.services.catalog.collection(collection_id)  # 404 before a large body is read
    operation = await change(collection_id, call.path["itemId"], await call.json(), bases(call))
    return accepted(call, operation)


async def delete_item(call: Call) -> Response:
    """``DELETE /stac/collections/{collectionId}/items/{itemId}``: the id is free when this answers."""
    operation = await call.services.ingestion.delete_item(call.path["collectionId"], call.path["itemId"])
    return accepted(call, operation)


async def list_items(call: Call) -> Response:
    """``GET /stac/collections/{collectionId}/items``: newest first unless sorted, paged by token."""
    collection_id = call.path["collectionId"]
    asked = call.lists(*_LISTS)
    documents = Documents(call, fields=_fields(asked))
    parameters: JsonObject = {name: asked[name] for name in _CONDITIONS if name in asked}
    try:
        search = parse_search(parameters | {"collections": [collection_id]})
        page = await _found(call, search)
    except RequestError:
        await call.services.catalog.collection(collection_id)  # a 404 goes before what is wrong with the rest
        raise
    if not page.items:  # a collection that has items is there
        await call.services.catalog.collection(collection_id)
    links = call.links
    path = ("stac", "collections", collection_id)
    around: list[Link] = [
        {"rel": "collection", "type": JSON, "href": links.to(*path)},
        {"rel": "parent", "type": JSON, "href": links.to(*path)},
        {"rel": "root", "type": JSON, "href": links.to("stac", "")},
        {"rel": "self", "type": GEOJSON, "href": call.here((*path, "items"), _LISTS)},
    ]
    if page.next_token is not None:
        href = call.here((*path, "items"), _LISTS, token=page.next_token)
        around.append({"rel": "next", "type": GEOJSON, "method": "GET", "href": href})
    return await _page(documents, page, search, around)


# --- search ----------------------------------------------------------------------------------------------------------


async def search_get(call: Call) -> Response:
    """``GET /stac/search``; ``collection`` is the quickstart's spelling of ``collections``."""
    asked = call.lists(*_LISTS)
    documents = Documents(call, fields=_fields(asked))
    search = parse_search(asked)
    page = await _found(call, search)
    around = _search_links(call)
    if page.next_token is not None:
        href = call.here(("stac", "search"), _LISTS, token=page.next_token)
        around.append({"rel": "next", "type": GEOJSON, "method": "GET", "href": href})
    return await _page(documents, page, search, around)


async def search_post(call: Call) -> Response:
    """``POST /stac/search``; the next link carries the token in its body, to be merged into the request's."""
    body = await call.json_object(MAX_SEARCH_BYTES)
    _refuse_query_forms(body)
    documents = Documents(call, body, _fields(body))
    search = parse_search(body)
    page = await _found(call, search)
    around = _search_links(call)
    if page.next_token is not None:
        keep = {name: call.query[name] for name in ("sign", "duration") if name in call.query}
        around.append(
            {
                "rel": "next",
                "type": GEOJSON,
                "method": "POST",
                "href": call.links.to("stac", "search", **keep),
                "body": {**body, "token": page.next_token},
                "merge": False,
            }
        )
    return await _page(documents, page, search, around)


# --- inside ----------------------------------------------------------------------------------------------------------


async def _found(call: Call, search: Search) -> ItemPage:
    """The page of a search; one that may take a while ends when nobody waits for it any more."""
    work = call.services.catalog.search(search)
    return await (work if search.is_lookup else while_connected(call.request, work))


def accepted(call: Call, operation: Operation) -> Response:
    """202 with the operation and where to poll it."""
    return json_response(wire.accepted(operation), 202, wire.operation_headers(operation, call.links))


def bases(call: Call) -> tuple[str, ...]:
    """The base URLs under which this request may name our own blobs."""
    own = call.links.base
    public = call.services.settings.public_url
    return (own,) if public in {None, own} else (own, str(public))


def _refuse_query_forms(body: JsonObject) -> None:
    """What a body writes differently from a query (STAC API item-search, "Query Parameters and Fields")."""
    if isinstance(body.get("bbox"), str):
        raise InvalidParameter("bbox: in a body it is a list of four or six numbers, not a text.", target="bbox")
    if "fields" in body and body["fields"] is None:
        raise InvalidParameter('fields: give an object such as {"include": ["id"]}, or leave it out.', target="fields")


def _fields(parameters: JsonObject) -> FieldSelection | None:
    return parse_fields(parameters["fields"]) if "fields" in parameters else None


def _search_links(call: Call) -> list[Link]:
    return [
        {"rel": "root", "type": JSON, "href": call.links.to("stac", "")},
        {"rel": "self", "type": GEOJSON, "href": call.here(("stac", "search"), _LISTS)},
    ]


async def _page(documents: Documents, page: ItemPage, search: Search, links: list[Link]) -> Response:
    members: dict[str, Any] = {
        "links": links,
        "numberReturned": len(page.items),
        "context": {"returned": len(page.items), "limit": search.limit},
    }
    if page.matched is not None:
        members["numberMatched"] = members["context"]["matched"] = page.matched
    elif page.estimate is not None:
        members["context"]["estimate"] = page.estimate  # never as numberMatched, which clients take as exact
    return Response(feature_collection(await documents.items(page.items, page.names), **members), media_type=GEOJSON)


COLLECTIONS = "/stac/collections"
COLLECTION = "/stac/collections/{collectionId}"
ITEMS = COLLECTION + "/items"
ITEM = ITEMS + "/{itemId}"
_SIGN = ("sign", "duration")
_FILTER = ("filter", "filter-lang", "filter-crs")
_CONDITIONS = (
    *("limit", "bbox", "intersects", "datetime", "q", "query", "sortby", "token"),
    *(*_FILTER, "filter_lang", "filter_crs"),
)
_LIST = ("limit", "bbox", "intersects", "datetime", "q", "query", "sortby", "fields", "token", *_FILTER, *_SIGN)
_COLLECTIONS = ("bbox", "datetime", "limit", "q", "query", "sortby", "fields", "token", *_FILTER, *_SIGN)

ENDPOINTS = (
    Endpoint("GET", "/", root, Role.READER, "To the landing page", status=307),
    Endpoint("GET", "/stac", landing_page, Role.READER, "Landing page"),
    Endpoint("GET", "/stac/", landing_page, Role.READER, "Landing page"),
    Endpoint("GET", "/stac/conformance", conformance, Role.READER, "Conformance classes"),
    Endpoint("GET", COLLECTIONS, list_collections, Role.READER, "List collections", _COLLECTIONS),
    Endpoint("POST", COLLECTIONS, create_collection, Role.ADMINISTRATOR, "Create a collection", status=202),
    Endpoint("GET", COLLECTION, get_collection, Role.READER, "Read a collection", _SIGN),
    Endpoint("PUT", COLLECTION, replace_collection, Role.ADMINISTRATOR, "Replace a collection"),
    Endpoint("DELETE", COLLECTION, delete_collection, Role.ADMINISTRATOR, "Delete a collection", status=202),
    Endpoint("GET", ITEMS, list_items, Role.READER, "List items", _LIST),
    Endpoint("POST", ITEMS, create_items, Role.ADMINISTRATOR, "Ingest an Item or an ItemCollection", status=202),
    Endpoint("GET", ITEM, get_item, Role.READER, "Read an item", _SIGN),
    Endpoint("PUT", ITEM, replace_item, Role.ADMINISTRATOR, "Replace an item", status=202),
    Endpoint("PATCH", ITEM, patch_item, Role.ADMINISTRATOR, "Change an item by a merge patch", status=202),
    Endpoint("DELETE", ITEM, delete_item, Role.ADMINISTRATOR, "Delete an item", status=202),
    Endpoint(
        "GET", "/stac/search", search_get, Role.READER, "Search items", ("collections", "collection", "ids", *_LIST)
    ),
    Endpoint("POST", "/stac/search", search_post, Role.READER, "Search items", _SIGN),
)
