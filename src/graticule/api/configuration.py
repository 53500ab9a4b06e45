"""The configuration of collections, and what their items can be filtered by (api.md 2.4, 2.5)."""

from __future__ import annotations

from starlette.responses import Response

from graticule.access import Role
from graticule.api.routing import Call, Endpoint, json_response
from graticule.configuration import Kind
from graticule.stac.documents import JsonObject


async def get_configuration(call: Call) -> Response:
    """``GET …/configurations``: the whole of it."""
    return json_response(await call.services.configuration.whole(call.path["collectionId"]))


# --- render options --------------------------------------------------------------------------------------------------


async def list_render_options(call: Call) -> Response:
    """``GET …/configurations/render-options``: in the order in which they were added."""
    return await _list(call, Kind.RENDER_OPTION)


async def create_render_option(call: Call) -> Response:
    """``POST …/configurations/render-options``: a render option, or a list of which all or none is added."""
    return await _create(call, Kind.RENDER_OPTION)


async def get_render_option(call: Call) -> Response:
    """``GET …/configurations/render-options/{renderOptionId}``."""
    return await _get(call, Kind.RENDER_OPTION, "renderOptionId")


async def replace_render_option(call: Call) -> Response:
    """``PUT …/configurations/render-options/{renderOptionId}``: keeps its place in the list."""
    return await _replace(call, Kind.RENDER_OPTION, "renderOptionId")


async def delete_render_option(call: Call) -> Response:
    """``DELETE …/configurations/render-options/{renderOptionId}``: an empty body."""
    return await _delete(call, Kind.RENDER_OPTION, "renderOptionId")


# --- mosaics ---------------------------------------------------------------------------------------------------------


async def list_mosaics(call: Call) -> Response:
    """``GET …/configurations/mosaics``: in the order in which they were added."""
    return await _list(call, Kind.MOSAIC)


async def create_mosaic(call: Call) -> Response:
    """``POST …/configurations/mosaics``: a mosaic, or a list of which all or none is added."""
    return await _create(call, Kind.MOSAIC)


async def get_mosaic(call: Call) -> Response:
    """``GET …/configurations/mosaics/{mosaicId}``."""
    return await _get(call, Kind.MOSAIC, "mosaicId")


async def replace_mosaic(call: Call) -> Response:
    """``PUT …/configurations/mosaics/{mosaicId}``: keeps its place in the list."""
    return await _replace(call, Kind.MOSAIC, "mosaicId")


async def delete_mosaic(call: Call) -> Response:
    """``DELETE …/configurations/mosaics/{mosaicId}``: an empty body."""
    return await _delete(call, Kind.MOSAIC, "mosaicId")


# --- queryables ------------------------------------------------------------------------------------------------------


async def create_queryables(call: Call) -> Response:
    """``POST …/queryables``: 201 and always a list, also for a single object."""
    document = await call.json()
    return json_response(
        await call.services.configuration.add(call.path["collectionId"], Kind.QUERYABLE, document), 201
    )


async def replace_queryable(call: Call) -> Response:
    """``PUT …/queryables/{queryableName}``."""
    return await _replace(call, Kind.QUERYABLE, "queryableName")


async def delete_queryable(call: Call) -> Response:
    """``DELETE …/queryables/{queryableName}``: an empty body."""
    return await _delete(call, Kind.QUERYABLE, "queryableName")


async def get_collection_queryables(call: Call) -> Response:
    """``GET …/queryables``: a JSON schema."""
    collection_id = call.path["collectionId"]
    properties = await call.services.configuration.queryables(collection_id)
    return _schema(call, call.links.to("stac", "collections", collection_id, "queryables"), properties)


async def get_queryables(call: Call) -> Response:
    """``GET /stac/queryables``: those of all collections together."""
    return _schema(call, call.links.to("stac", "queryables"), await call.services.configuration.catalog_queryables())


def _schema(call: Call, url: str, properties: dict[str, JsonObject]) -> Response:
    body = {
        "$id": url,
        "$schema": "http://json-schema.org/draft-07/schema#",
        "type": "object",
        "title": "STAC Queryables.",
        # Whether other properties can be filtered by too (OGC API Features part 3, requirement 8).
        "additionalProperties": not call.services.configuration.strict,
        "properties": properties,
    }
    response = json_response(body)
    response.headers["content-type"] = "application/schema+json"  # OGC API Features part 3, requirement 9
    return response


# --- tile settings, partition type -----------------------------------------------------------------------------------


async def get_tile_settings(call: Call) -> Response:
    """``GET …/configurations/tile-settings``."""
    return json_response(await call.services.configuration.tile_settings(call.path["collectionId"]))


async def replace_tile_settings(call: Call) -> Response:
    """``PUT …/configurations/tile-settings``."""
    document = await call.json()
    return json_response(await call.services.configuration.replace_tile_settings(call.path["collectionId"], document))


async def get_partition_type(call: Call) -> Response:
    """``GET …/configurations/partition-type``."""
    return json_response(await call.services.configuration.partition_type(call.path["collectionId"]))


async def replace_partition_type(call: Call) -> Response:
    """``PUT …/configurations/partition-type``: 200 with an empty body."""
    document = await call.json()
    await call.services.configuration.replace_partition_type(call.path["collectionId"], document)
    return Response(status_code=200)


# --- inside ----------------------------------------------------------------------------------------------------------


async def _list(call: Call, kind: Kind) -> Response:
    return json_response(await call.services.configuration.entries(call.path["collectionId"], kind))


async def _create(call: Call, kind: Kind) -> Response:
    document = await call.json()
    created = await call.services.configuration.add(call.path["collectionId"], kind, document)
    return json_response(created if isinstance(document, list) else created[0], 201)


async def _get(call: Call, kind: Kind, name: str) -> Response:
    return json_response(await call.services.configuration.entry(call.path["collectionId"], kind, call.path[name]))


async def _replace(call: Call, kind: Kind, name: str) -> Response:
    document = await call.json()
    return json_response(
        await call.services.configuration.replace(call.path["collectionId"], kind, call.path[name], document)
    )


async def _delete(call: Call, kind: Kind, name: str) -> Response:
    await call.services.configuration.remove(call.path["collectionId"], kind, call.path[name])
    return Response(status_code=200)  # and no body: what the SDK expects


_COLLECTION = "/stac/collections/{collectionId}"
_CONFIGURATIONS = _COLLECTION + "/configurations"
_RENDER_OPTIONS = _CONFIGURATIONS + "/render-options"
_RENDER_OPTION = _RENDER_OPTIONS + "/{renderOptionId}"
_MOSAICS = _CONFIGURATIONS + "/mosaics"
_MOSAIC = _MOSAICS + "/{mosaicId}"
_TILE_SETTINGS = _CONFIGURATIONS + "/tile-settings"
_PARTITION_TYPE = _CONFIGURATIONS + "/partition-type"
_QUERYABLES = _COLLECTION + "/queryables"
_QUERYABLE = _QUERYABLES + "/{queryableName}"
_READ, _WRITE = Role.READER, Role.ADMINISTRATOR

ENDPOINTS = (
    Endpoint("GET", _CONFIGURATIONS, get_configuration, _READ, "Read a collection's configuration"),
    Endpoint("GET", _RENDER_OPTIONS, list_render_options, _READ, "List render options"),
    Endpoint("POST", _RENDER_OPTIONS, create_render_option, _WRITE, "Add a render option", status=201),
    Endpoint("GET", _RENDER_OPTION, get_render_option, _READ, "Read a render option"),
    Endpoint("PUT", _RENDER_OPTION, replace_render_option, _WRITE, "Replace a render option"),
    Endpoint("DELETE", _RENDER_OPTION, delete_render_option, _WRITE, "Delete a render option"),
    Endpoint("GET", _MOSAICS, list_mosaics, _READ, "List mosaics"),
    Endpoint("POST", _MOSAICS, create_mosaic, _WRITE, "Add a mosaic", status=201),
    Endpoint("GET", _MOSAIC, get_mosaic, _READ, "Read a mosaic"),
    Endpoint("PUT", _MOSAIC, replace_mosaic, _WRITE, "Replace a mosaic"),
    Endpoint("DELETE", _MOSAIC, delete_mosaic, _WRITE, "Delete a mosaic"),
    Endpoint("GET", _TILE_SETTINGS, get_tile_settings, _READ, "Read tile settings"),
    Endpoint("PUT", _TILE_SETTINGS, replace_tile_settings, _WRITE, "Replace tile settings"),
    Endpoint("GET", _PARTITION_TYPE, get_partition_type, _READ, "Read the partition type"),
    Endpoint("PUT", _PARTITION_TYPE, replace_partition_type, _WRITE, "Set the partition type, before the first item"),
    Endpoint("GET", "/stac/queryables", get_queryables, _READ, "Queryables of all collections"),
    Endpoint("GET", _QUERYABLES, get_collection_queryables, _READ, "Queryables of a collection"),
    Endpoint("POST", _QUERYABLES, create_queryables, _WRITE, "Add queryables", status=201),
    Endpoint("PUT", _QUERYABLE, replace_queryable, _WRITE, "Replace a queryable"),
    Endpoint("DELETE", _QUERYABLE, delete_queryable, _WRITE, "Delete a queryable"),
)
