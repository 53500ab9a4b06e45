"""Ingestion sources over HTTP (api.md 3.1). A secret goes in and never comes out."""

from __future__ import annotations

from typing import Any

from starlette.responses import Response

from graticule.access import Role
from graticule.api.ingestion import paging
from graticule.api.routing import Call, Endpoint, json_response
from graticule.sources.models import Source
from graticule.stac.datetimes import rfc3339

#: A source is an address and a secret.
MAX_SOURCE_BYTES = 64_000


async def list_sources(call: Call) -> Response:
    """``GET /inma/ingestion-sources``: id, kind and creation time of each."""
    top, skip = paging(call)
    found = await call.services.sources.listing(top=top + 1, skip=skip)
    body: dict[str, object] = {"value": [_summary(source) for source in found[:top]]}
    if len(found) > top:
        body["nextLink"] = call.links.versioned("inma", "ingestion-sources", **{"$top": top, "$skip": skip + top})
    return json_response(body)


async def create_source(call: Call) -> Response:
    """``POST /inma/ingestion-sources``: 201; the server makes the id, and says in `warning` what its test found."""
    source = await call.services.sources.create(await call.json_object(MAX_SOURCE_BYTES))
    return _written(call, source, 201)


async def get_source(call: Call) -> Response:
    """``GET /inma/ingestion-sources/{id}``: with `expiration` where the token states one."""
    return json_response(_resource(await call.services.sources.get(call.path["id"])))


async def replace_source(call: Call) -> Response:
    """``PUT /inma/ingestion-sources/{id}``: renews a token; 404 for an unknown id."""
    await call.services.sources.get(call.path["id"])
    source = await call.services.sources.replace(call.path["id"], await call.json_object(MAX_SOURCE_BYTES))
    return _written(call, source, 200)


async def delete_source(call: Call) -> Response:
    """``DELETE /inma/ingestion-sources/{id}``: 204."""
    await call.services.sources.delete(call.path["id"])
    return Response(status_code=204)


async def list_managed_identities(call: Call) -> Response:
    """``GET /inma/ingestion-sources/managed-identities``: those that the operator has named."""
    named = call.services.settings.managed_identities
    return json_response({"value": [{"objectId": key, "resourceId": value} for key, value in named.items()]})


def _written(call: Call, source: Source, status: int) -> Response:
    location = call.links.versioned("inma", "ingestion-sources", source.id)
    return json_response(_resource(source), status, {"location": location})


def _summary(source: Source) -> dict[str, Any]:
    return {"id": source.id, "kind": source.kind, "created": rfc3339(source.created)}


def _resource(source: Source) -> dict[str, Any]:
    info: dict[str, Any] = {"containerUrl": source.container_url}
    info |= source.details
    if source.object_id is not None:
        info["objectId"] = source.object_id
    if source.expires is not None:
        info["expiration"] = rfc3339(source.expires)
    if source.warning is not None:
        info["warning"] = source.warning
    return {**_summary(source), "connectionInfo": info}


SOURCES = "/inma/ingestion-sources"
SOURCE = SOURCES + "/{id}"

ENDPOINTS = (
    Endpoint("GET", SOURCES, list_sources, Role.READER, "List ingestion sources", ("$top", "$skip")),
    Endpoint("POST", SOURCES, create_source, Role.ADMINISTRATOR, "Register an ingestion source", status=201),
    # Before the one with {id}: the first route that fits is taken.
    Endpoint("GET", f"{SOURCES}/managed-identities", list_managed_identities, Role.READER, "List managed identities"),
    Endpoint("GET", SOURCE, get_source, Role.READER, "Read an ingestion source"),
    Endpoint("PUT", SOURCE, replace_source, Role.ADMINISTRATOR, "Replace an ingestion source"),
    Endpoint("DELETE", SOURCE, delete_source, Role.ADMINISTRATOR, "Delete an ingestion source", status=204),
)
