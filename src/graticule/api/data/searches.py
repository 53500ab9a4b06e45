"""Registered searches over HTTP: registering one, and what is known of it (api.md 6.4)."""

from __future__ import annotations

from typing import Any, Final

import orjson
from starlette.responses import Response

from graticule.api.routing import Call, json_response
from graticule.api.versions import PREVIEW
from graticule.stac.datetimes import rfc3339
from graticule.tiler.registrations import Registration

#: A search with a detailed geometry; the geometry has a limit of its own.
_MAX_SEARCH_BYTES: Final = 1_000_000


async def register(call: Call) -> Response:
    """``POST /data/mosaic/register``: keep a search; the same one has the same id."""
    body = await call.json_object(_MAX_SEARCH_BYTES)
    made = await call.services.tiler.registrations.register(body)
    return json_response({"searchid": made.id, "links": _links(call, _prefix(call, made.id))})


async def search_info(call: Call) -> Response:
    """``…/{searchId}/info``: what was registered, and how it was used."""
    registration = await call.services.tiler.registrations.get(call.path["searchId"])
    return await _described(call, registration, _prefix(call, registration.id))


async def collection_info(call: Call) -> Response:
    """``/data/mosaic/collections/{collectionId}/info``: the same for the search that a collection's mosaic is."""
    collection_id = call.path["collectionId"]
    await call.services.catalog.collection(collection_id)  # NotFound
    registration = await call.services.tiler.registrations.register({"collections": [collection_id]})
    return await _described(call, registration, ("data", "mosaic", "collections", collection_id))


async def _described(call: Call, registration: Registration, prefix: tuple[str, ...]) -> Response:
    usage = await call.services.tiler.registrations.usage(registration.id)
    search: dict[str, Any] = {
        "hash": registration.id,
        "search": registration.document,
        "lastused": rfc3339(usage.last_us),
        "usecount": usage.count,
        "metadata": registration.metadata,
    }
    if call.version == PREVIEW:
        search["_where"] = _condition(registration)
        search["orderby"] = _order(registration)
    return json_response({"search": search, "links": _links(call, prefix)})


def _prefix(call: Call, search_id: str) -> tuple[str, ...]:
    if call.version == PREVIEW:
        return "data", "mosaic", search_id
    return "data", "mosaic", "searches", search_id


def _links(call: Call, prefix: tuple[str, ...]) -> list[dict[str, str]]:
    kinds = (
        ("metadata", "Mosaic metadata", "info", "application/json"),
        ("tilejson", "TileJSON", "tilejson.json", "application/json"),
        ("wmts", "WMTS capabilities", "WMTSCapabilities.xml", "application/xml"),
    )
    return [
        {"rel": rel, "type": kind, "title": title, "href": call.links.versioned(*prefix, name)}
        for rel, title, name, kind in kinds
    ]


def _condition(registration: Registration) -> str:
    """The search in the words of SQL, for people: no table here is asked with it."""
    document = registration.document
    parts = []
    for name, column in (("collections", "collection"), ("ids", "id")):
        if name in document:
            parts.append(f"{column} IN ({', '.join(_quoted(one) for one in document[name])})")
    if "datetime" in document:
        parts.append(f"datetime && {_quoted(document['datetime'])}")
    if "bbox" in document:
        parts.append(f"st_intersects(geometry, st_makeenvelope({', '.join(map(str, document['bbox']))}, 4326))")
    if "intersects" in document:
        parts.append(f"st_intersects(geometry, st_geomfromgeojson({_json(document['intersects'])}))")
    parts += [f"{name} @@ {_json(document[name])}" for name in ("query", "filter") if name in document]
    return " AND ".join(parts) or "TRUE"


def _order(registration: Registration) -> str:
    keys = registration.search.sortby
    if not keys:
        return "datetime DESC, id DESC"
    return ", ".join(f"{'.'.join(key.path)} {'DESC' if key.descending else 'ASC'}" for key in keys)


def _json(value: Any) -> str:
    return _quoted(value if isinstance(value, str) else orjson.dumps(value).decode())


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
