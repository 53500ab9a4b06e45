"""The OpenAPI 3.0 document, made of the endpoint table: what is listed there is what is served.

Shapes are said where clients gain from them: the parameters and bodies of searches, the documents that are posted, the
statuses of each operation. What a document must hold beyond its shape is for the STAC specification to say.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Final

from graticule import __version__
from graticule.api.data import parameters as tiler
from graticule.api.routing import Endpoint
from graticule.stac import aggregation

#: Its media type (OGC API Features 1.0, requirements class "OpenAPI 3.0").
OPENAPI: Final = "application/vnd.oai.openapi+json;version=3.0"

Schema = dict[str, Any]

_TEXT: Final[Schema] = {"type": "string"}
_NAMES: Final[Schema] = {"type": "array", "items": {"type": "string"}}
_NUMBERS: Final[Schema] = {"type": "array", "items": {"type": "number"}, "minItems": 4, "maxItems": 6}
_LIMIT: Final[Schema] = {"type": "integer", "minimum": 1, "default": 10, "description": "Above 10,000 it is 10,000."}
_DATETIME: Final[Schema] = {
    "type": "string",
    "description": "An RFC 3339 date-time, or two joined by '/', either of which may be '..'.",
    "example": "2021-01-01T00:00:00Z/..",
}
_GEOMETRY: Final[Schema] = {"$ref": "#/components/schemas/Geometry"}
_BOOLEAN: Final[Schema] = {"type": "string", "description": "true or false", "example": "true"}

#: How the frequencies of an aggregation are put into buckets.
_INTERVALS: Final[dict[str, Schema]] = {
    "datetime_frequency_interval": {
        "type": "string",
        "enum": list(aggregation.INTERVALS),
        "description": "Width of a bucket of datetime_frequency; without it, what suits the times that are found.",
    },
    "centroid_geohash_grid_frequency_precision": {
        "type": "integer",
        "minimum": 1,
        "maximum": aggregation.MAX_PRECISION,
        "default": aggregation.DEFAULT_PRECISION,
        "description": "Letters of a geohash.",
    },
}
_OTHER_INTERVALS: Final[Schema] = {
    "type": "object",
    "additionalProperties": _TEXT,
    "description": "Of the frequency of a declared queryable, such as gsd_frequency_interval: the width of a range of"
    " numbers, or for times one of the values of datetime_frequency_interval.",
    "example": {"gsd_frequency_interval": "10"},
}

#: Query parameters, where a text without more would say too little.
_PARAMETERS: Final[dict[str, Schema]] = {
    "limit": _LIMIT,
    "$top": {"type": "integer", "minimum": 0},
    "$skip": {"type": "integer", "minimum": 0},
    "bbox": {**_TEXT, "description": "west,south,east,north in degrees, or six numbers with heights third and sixth."},
    "datetime": _DATETIME,
    "intersects": {**_TEXT, "description": "The JSON of a GeoJSON geometry."},
    "query": {**_TEXT, "description": 'JSON of the Query extension, such as {"eo:cloud_cover": {"lt": 10}}.'},
    "sortby": {**_TEXT, "description": "Properties joined by commas, each with + or - before it."},
    "fields": {**_TEXT, "description": "Members joined by commas; a - before it leaves one out."},
    "filter": {**_TEXT, "description": "CQL2, as text or as JSON."},
    "filter-lang": {"type": "string", "enum": ["cql2-text", "cql2-json"]},
    "token": {**_TEXT, "description": "From the 'next' link of the page before."},
    "sign": {**_BOOLEAN, "description": "Sign the hrefs of managed assets: true or false."},
    "duration": {"type": "integer", "minimum": 1, "description": "How long signatures hold, minutes."},
    "ids": {**_TEXT, "description": "Ids joined by commas."},
    "collections": {**_TEXT, "description": "Collection ids joined by commas."},
    "api-version": {**_TEXT, "description": "Without one, the stable version."},
    "aggregations": {**_TEXT, "description": "Names joined by commas; /aggregations lists them."},
    **_INTERVALS,
    # An object in a query is written as its members: any number of parameters that are named like this.
    "{queryable}_frequency_interval": _OTHER_INTERVALS,
    **tiler.QUERY,
}
_SEARCH: Final[Schema] = {
    "type": "object",
    "properties": {
        "collections": _NAMES,
        "ids": _NAMES,
        "bbox": _NUMBERS,
        "intersects": _GEOMETRY,
        "datetime": _DATETIME,
        "limit": _LIMIT,
        "token": _TEXT,
        "query": {"type": "object"},
        "filter": {"oneOf": [{"type": "object"}, _TEXT]},
        "filter-lang": _PARAMETERS["filter-lang"],
        "sortby": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["field"],
                "properties": {"field": _TEXT, "direction": {"type": "string", "enum": ["asc", "desc"]}},
            },
        },
        "fields": {"type": "object", "properties": {"include": _NAMES, "exclude": _NAMES}},
    },
}
_ITEM: Final[Schema] = {
    "type": "object",
    "required": ["type", "id", "geometry", "properties", "assets"],
    "properties": {
        "type": {"type": "string", "enum": ["Feature"]},
        "id": {"type": "string", "minLength": 1},
        "collection": _TEXT,
        "geometry": {**_GEOMETRY, "nullable": True},
        "bbox": _NUMBERS,
        "properties": {"type": "object"},
        "assets": {"type": "object"},
        "links": {"type": "array", "items": {"type": "object"}},
        "stac_version": _TEXT,
    },
}
_SCHEMAS: Final[dict[str, Schema]] = {
    "Error": {
        "type": "object",
        "required": ["error"],
        "properties": {
            "error": {
                "type": "object",
                "required": ["code", "message"],
                "properties": {"code": _TEXT, "message": _TEXT, "target": _TEXT},
            }
        },
    },
    "Geometry": {
        "type": "object",
        "description": "A GeoJSON geometry (RFC 7946).",
        "required": ["type"],
        "properties": {"type": _TEXT, "coordinates": {"type": "array", "items": {}}},
    },
    "Search": _SEARCH,
    "Aggregate": {
        "allOf": [
            {"$ref": "#/components/schemas/Search"},
            {
                "type": "object",
                "required": ["aggregations"],
                "properties": {"aggregations": _NAMES, **_INTERVALS},
                "description": _OTHER_INTERVALS["description"],
                "additionalProperties": True,
            },
        ]
    },
    "Item": _ITEM,
    "ItemCollection": {
        "type": "object",
        "required": ["type", "features"],
        "properties": {
            "type": {"type": "string", "enum": ["FeatureCollection"]},
            "features": {"type": "array", "items": {"$ref": "#/components/schemas/Item"}},
            "links": {"type": "array", "items": {"type": "object"}},
        },
    },
    "Collection": {
        "type": "object",
        "required": ["id", "description", "license", "extent", "links"],
        "properties": {
            "type": {"type": "string", "enum": ["Collection"]},
            "id": {"type": "string", "minLength": 1},
            "title": _TEXT,
            "description": _TEXT,
            "license": _TEXT,
            "extent": {"type": "object"},
            "links": {"type": "array", "items": {"type": "object"}},
            "stac_version": _TEXT,
        },
    },
}
#: Bodies by operation; the others take JSON of which nothing is said.
_BODIES: Final[dict[tuple[str, str], Schema]] = {
    ("POST", "/stac/search"): {"$ref": "#/components/schemas/Search"},
    ("POST", "/stac/aggregate"): {"$ref": "#/components/schemas/Aggregate"},
    ("POST", "/stac/collections/{collectionId}/aggregate"): {"$ref": "#/components/schemas/Aggregate"},
    ("POST", "/stac/collections"): {"$ref": "#/components/schemas/Collection"},
    ("PUT", "/stac/collections/{collectionId}"): {"$ref": "#/components/schemas/Collection"},
    ("POST", "/stac/collections/{collectionId}/items"): {
        "oneOf": [{"$ref": "#/components/schemas/Item"}, {"$ref": "#/components/schemas/ItemCollection"}]
    },
    ("PUT", "/stac/collections/{collectionId}/items/{itemId}"): {"$ref": "#/components/schemas/Item"},
    ("PATCH", "/stac/collections/{collectionId}/items/{itemId}"): {"type": "object"},
}
_MEANINGS: Final = {
    400: "What was sent cannot be taken; the message names it and the remedy",
    401: "No valid bearer token",
    403: "The token's role does not allow this",
    404: "There is no such thing",
    409: "It is there already, or in use",
    412: "A condition of the request does not hold",
    413: "The body is larger than is taken",
    416: "The range lies outside of the blob",
    429: "Too much at once: try again after Retry-After seconds",
    500: "The catalog failed; its log tells why",
    503: "The catalog cannot do this right now: try again after Retry-After seconds",
}
_ERROR_CONTENT: Final = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
_WITH_BODY: Final = frozenset({"POST", "PUT", "PATCH"})


def openapi(endpoints: Iterable[Endpoint]) -> Schema:
    """The document, without its servers."""
    paths: dict[str, Schema] = {}
    for endpoint in endpoints:
        path = re.sub(r"\{(\w+):\w+\}", r"{\1}", endpoint.path)
        paths.setdefault(path, {})[endpoint.method.lower()] = _operation(endpoint, path)
    return {
        "openapi": "3.0.3",
        "info": {"title": "Graticule GeoCatalog", "version": __version__},
        "paths": paths,
        "components": {
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}},
            "schemas": _SCHEMAS,
        },
        "security": [{"bearer": []}],
    }


def _operation(endpoint: Endpoint, path: str) -> Schema:
    operation: Schema = {
        "summary": endpoint.summary,
        "operationId": (endpoint.operation or endpoint.handler.__name__) + ("" if path != "/stac/" else "_slash"),
        "parameters": [
            *(_in_path(name, convertor) for name, convertor in re.findall(r"\{(\w+)(?::(\w+))?\}", endpoint.path)),
            # Some names come with two sets of parameters, such as the `datetime` of items and of cubes.
            *(_in_query(name) for name in dict.fromkeys((*endpoint.query, "api-version"))),
        ],
        "responses": {
            str(endpoint.status): {"description": "Success"},
            **{
                str(status): {"description": _MEANINGS[status], "content": _ERROR_CONTENT}
                for status in _failures(endpoint)
            },
        },
    }
    if endpoint.role is None:
        operation["security"] = []
    else:
        operation["x-role"] = endpoint.role.value
    if endpoint.handler.__doc__:
        operation["description"] = endpoint.handler.__doc__
    if endpoint.method in _WITH_BODY:
        kinds = ("application/json", *(("application/merge-patch+json",) if endpoint.method == "PATCH" else ()))
        schema = _BODIES.get((endpoint.method, path), {})
        operation["requestBody"] = {"content": {kind: {"schema": schema} for kind in kinds}}
    return operation


def _in_path(name: str, convertor: str) -> Schema:
    return {"name": name, "in": "path", "required": True, "schema": tiler.PATH.get(convertor, _TEXT)}


def _in_query(name: str) -> Schema:
    return {"name": name, "in": "query", "required": False, "schema": _PARAMETERS.get(name, _TEXT)}


def _failures(endpoint: Endpoint) -> list[int]:
    statuses = {400, 500, 503}
    if endpoint.role is not None or endpoint.path.startswith(("/identity", "/blobs")):
        statuses |= {401, 403}
    if "{" in endpoint.path:
        statuses.add(404)
    if endpoint.method != "GET":
        statuses |= {404, 409, 429}
    if endpoint.method in _WITH_BODY:
        statuses |= {412, 413}
    if endpoint.path.startswith("/blobs"):
        statuses |= {409, 412, 416}
    return sorted(statuses)
