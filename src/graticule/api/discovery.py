"""Finding collections (Collection Search), and what a catalog holds as numbers (Aggregation)."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from starlette.responses import Response

from graticule.access import Role
from graticule.api.documents import JSON, Documents
from graticule.api.routing import Call, Endpoint, json_response
from graticule.catalog.aggregating import Aggregation
from graticule.catalog.collection_search import CollectionPage, find_collections
from graticule.stac.aggregation import AGGREGATIONS, frequency_names, parse_aggregation
from graticule.stac.collection_search import PARAMETERS, CollectionSearch, parse_collection_search
from graticule.stac.documents import JsonObject, Link

#: Each class is true of this server, and tests hold it to that.
CONFORMANCE = (
    "http://www.opengis.net/spec/ogcapi-common-2/1.0/conf/simple-query",
    "https://api.stacspec.org/v1.0.0-rc.1/collection-search",
    "https://api.stacspec.org/v1.0.0-rc.1/collection-search#fields",
    "https://api.stacspec.org/v1.0.0-rc.1/collection-search#filter",
    "https://api.stacspec.org/v1.0.0-rc.1/collection-search#free-text",
    "https://api.stacspec.org/v1.0.0-rc.1/collection-search#query",
    "https://api.stacspec.org/v1.0.0-rc.1/item-search#free-text",
    "https://api.stacspec.org/v1.0.0-rc.1/ogcapi-features#free-text",
    "https://api.stacspec.org/v0.3.0/aggregation",
    "https://api.stacspec.org/v0.3.0/aggregation#filter",
    "https://api.stacspec.org/v0.3.0/aggregation#query",
    "https://api.stacspec.org/v1.1.0/collection-search#sort",
)
#: A search is a question, not data.
_MAX_BYTES = 1_000_000
_LISTS = ("bbox", "sortby", "fields", "q")
_QUERYABLES = "http://www.opengis.net/def/rel/ogc/1.0/queryables"
#: What collections are usually filtered by; every other member works as well.
_COLLECTION_PROPERTIES: JsonObject = {
    "id": {"type": "string", "title": "Id"},
    "title": {"type": "string", "title": "Title"},
    "description": {"type": "string", "title": "Description"},
    "keywords": {"type": "array", "items": {"type": "string"}, "title": "Keywords"},
    "license": {"type": "string", "title": "License"},
    "datetime": {"type": "string", "format": "date-time", "title": "Temporal extent"},
    "geometry": {"$ref": "https://geojson.org/schema/Geometry.json", "title": "Spatial extent"},
}


# --- collections -----------------------------------------------------------------------------------------------------


def is_collection_search(call: Call) -> bool:
    """Does ``GET /stac/collections`` ask for some collections, rather than for all?"""
    return any(name in call.query for name in PARAMETERS)


async def search_collections_get(call: Call) -> Response:
    """``GET /stac/collections`` with conditions, an order, or a page."""
    search = parse_collection_search(call.lists(*_LISTS))
    page = await _find(call, search)
    around: list[Link] = []
    if page.next_token is not None:
        href = call.here(("stac", "collections"), _LISTS, token=page.next_token)
        around.append({"rel": "next", "type": JSON, "method": "GET", "href": href})
    return await _collections(call, Documents(call, fields=search.fields), page, search, around)


async def search_collections_post(call: Call) -> Response:
    """``POST /stac/collections/search``: the same in a body, since a POST to ``/stac/collections`` creates one."""
    body = await call.json_object(_MAX_BYTES)
    search = parse_collection_search(body)
    page = await _find(call, search)
    around: list[Link] = []
    if page.next_token is not None:
        keep = {name: call.query[name] for name in ("sign", "duration") if name in call.query}
        around.append(
            {
                "rel": "next",
                "type": JSON,
                "method": "POST",
                "href": call.links.to("stac", "collections", "search", **keep),
                "body": {**body, "token": page.next_token},
                "merge": False,
            }
        )
    return await _collections(call, Documents(call, body, search.fields), page, search, around)


async def collection_queryables(call: Call) -> Response:
    """``GET /stac/collection-queryables``: a JSON schema of what collections are filtered by."""
    response = json_response(
        {
            "$id": call.links.to("stac", "collection-queryables"),
            "$schema": "http://json-schema.org/draft-07/schema#",
            "type": "object",
            "title": "Queryables of collections",
            "additionalProperties": True,
            "properties": _COLLECTION_PROPERTIES,
        }
    )
    response.headers["content-type"] = "application/schema+json"
    return response


def collections_links(call: Call) -> list[Link]:
    """Links of every list of collections."""
    here = ("stac", "collections") if call.request.method == "GET" else ("stac", "collections", "search")
    return [
        {"rel": "self", "type": JSON, "href": call.here(here, _LISTS)},
        {"rel": "parent", "type": JSON, "href": call.links.to("stac", "")},
        {"rel": "root", "type": JSON, "href": call.links.to("stac", "")},
        {
            "rel": _QUERYABLES,
            "type": "application/schema+json",
            "href": call.links.to("stac", "collection-queryables"),
        },
    ]


async def _find(call: Call, search: CollectionSearch) -> CollectionPage:
    records = await call.services.catalog.collections()
    return await asyncio.to_thread(find_collections, records, search)


async def _collections(
    call: Call, documents: Documents, page: CollectionPage, search: CollectionSearch, links: list[Link]
) -> Response:
    body = b",".join([await documents.collection(record) for record in page.records])
    rest = {
        "links": [*collections_links(call), *links],
        "numberMatched": page.matched,
        "numberReturned": len(page.records),
        "context": {"returned": len(page.records), "limit": search.limit, "matched": page.matched},
    }
    return json_response(b'{"collections":[' + body + b"]," + bytes(json_response(rest).body)[1:])


# --- aggregation -----------------------------------------------------------------------------------------------------


async def list_aggregations(call: Call) -> Response:
    """``GET /stac/aggregations`` and the same of a collection: what can be asked for."""
    path = await _scope(call)
    properties = await call.services.configuration.countable(call.path.get("collectionId"))
    declared = {
        name: (properties[of].data_type, f"How many have which '{of}'.")
        for name, of in frequency_names(properties).items()
    }
    return json_response(
        {
            "type": "AggregationCollection",
            "aggregations": [
                {"name": name, "title": title, **_types(name, data_type)}
                for name, (data_type, title) in {**AGGREGATIONS, **declared}.items()
            ],
            "links": [
                *_above(call, path),
                {"rel": "self", "type": JSON, "href": call.links.to(*path, "aggregations")},
                *aggregation_links(call, *path)[:2],
            ],
        }
    )


async def aggregate_get(call: Call) -> Response:
    """``GET /stac/aggregate`` and the same of a collection."""
    return await _aggregate(call, call.lists(*_AGGREGATION_LISTS))


async def aggregate_post(call: Call) -> Response:
    """``POST /stac/aggregate`` and the same of a collection."""
    return await _aggregate(call, await call.json_object(_MAX_BYTES))


def aggregation_links(call: Call, *path: str) -> list[Link]:
    """Links to both endpoints, of the catalog or of a collection (Aggregation extension, "STAC Endpoints")."""
    aggregate = call.links.to(*path, "aggregate")
    return [
        {"rel": "aggregate", "type": JSON, "href": aggregate, "method": "GET"},
        {"rel": "aggregate", "type": JSON, "href": aggregate, "method": "POST"},
        {"rel": "aggregations", "type": JSON, "href": call.links.to(*path, "aggregations")},
    ]


async def _aggregate(call: Call, asked: Mapping[str, Any]) -> Response:
    path = await _scope(call)
    if "collectionId" in call.path:
        asked = {**asked, "collections": [call.path["collectionId"]]}
    properties = await call.services.configuration.countable(call.path.get("collectionId"))
    found = await call.services.catalog.aggregate(parse_aggregation(asked, properties))
    return json_response(
        {
            "type": "AggregationCollection",
            "aggregations": [_written(one) for one in found],
            "links": [
                *_above(call, path),
                {"rel": "self", "type": JSON, "href": call.here((*path, "aggregate"), _AGGREGATION_LISTS)},
            ],
        }
    )


async def _scope(call: Call) -> tuple[str, ...]:
    """The path of what is aggregated; 404 for a collection that is not there."""
    if "collectionId" not in call.path:
        return ("stac",)
    await call.services.catalog.collection(call.path["collectionId"])
    return ("stac", "collections", call.path["collectionId"])


def _above(call: Call, path: tuple[str, ...]) -> list[Link]:
    links: list[Link] = [{"rel": "root", "type": JSON, "href": call.links.to("stac", "")}]
    return [*links, {"rel": "collection", "type": JSON, "href": call.links.to(*path)}] if len(path) > 1 else links


def _types(name: str, data_type: str) -> JsonObject:
    if name.endswith("_frequency"):
        return {"data_type": "frequency_distribution", "frequency_distribution_data_type": data_type}
    return {"data_type": data_type}


def _written(found: Aggregation) -> JsonObject:
    document: JsonObject = {"name": found.name, "data_type": found.data_type}
    if found.buckets is None:
        return {**document, "value": found.value}
    # Of intervals the buckets are times.
    of_bucket = "datetime" if found.data_type.startswith("interval_") else found.data_type
    buckets = [
        {
            "key": one.key,
            "data_type": of_bucket,
            "frequency": one.frequency,
            **({} if one.start is None else {"from": one.start}),
            **({} if one.end is None else {"to": one.end}),
        }
        for one in found.buckets
    ]
    return {**document, "buckets": buckets, "overflow": found.overflow}


_SIGN = ("sign", "duration")
_AGGREGATION_LISTS = ("collections", "collection", "ids", "bbox", "q", "aggregations")
_OPTIONS = (
    "aggregations", "datetime_frequency_interval", "centroid_geohash_grid_frequency_precision",
    "{queryable}_frequency_interval",
    "bbox", "intersects", "datetime", "q", "query", "filter", "filter-lang", "filter-crs", "ids",
)  # fmt: skip
_OF_CATALOG = (*_OPTIONS, "collections", "collection")
_COLLECTION = "/stac/collections/{collectionId}"

ENDPOINTS = (
    Endpoint("GET", "/stac/aggregations", list_aggregations, Role.READER, "List aggregations"),
    Endpoint("GET", "/stac/aggregate", aggregate_get, Role.READER, "Count what a search finds", _OF_CATALOG),
    Endpoint("POST", "/stac/aggregate", aggregate_post, Role.READER, "Count what a search finds"),
    Endpoint("GET", f"{_COLLECTION}/aggregations", list_aggregations, Role.READER, "List aggregations"),
    Endpoint("GET", f"{_COLLECTION}/aggregate", aggregate_get, Role.READER, "Count items of a collection", _OPTIONS),
    Endpoint("POST", f"{_COLLECTION}/aggregate", aggregate_post, Role.READER, "Count items of a collection"),
    Endpoint("POST", "/stac/collections/search", search_collections_post, Role.READER, "Search collections", _SIGN),
    Endpoint("GET", "/stac/collection-queryables", collection_queryables, Role.READER, "Queryables for collections"),
)
