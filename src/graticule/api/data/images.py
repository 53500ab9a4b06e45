"""Pictures: tiles, crops by box and by feature, previews."""

from __future__ import annotations

import asyncio
from typing import Any, Final

import orjson
import shapely
from shapely.geometry.base import BaseGeometry
from starlette.responses import Response

from graticule.api.data.answers import parameters_of, send_picture
from graticule.api.data.targets import target_of
from graticule.api.routing import Call
from graticule.errors import InvalidParameter, InvalidRequestBody
from graticule.stac.documents import JsonObject
from graticule.tiler import Area, Box, Point, RenderParameters, Shape, Tile, select
from graticule.tiler.jobs import Bounds
from graticule.tiler.parameters import number, whole_number
from graticule.tiler.places import box_bounds, point_bounds, shape_bounds, tile_bounds

#: A drawn shape is a question, not data.
_MAX_FEATURE_BYTES: Final = 4_000_000


async def tile(call: Call) -> Response:
    """``…/tiles/[{tms}/]{z}/{x}/{y}[@{scale}x][.{format}]``: 404 where the data does not reach."""
    parameters = parameters_of(call)
    return await _picture(call, parameters, tile_of(call, parameters))


async def preview(call: Call) -> Response:
    """``…/preview[.{format}]``: the whole item."""
    return await _picture(call, parameters_of(call), None)


async def crop_box(call: Call) -> Response:
    """``…/bbox/{minx},{miny},{maxx},{maxy}[/{width}x{height}].{format}``."""
    return await _picture(call, parameters_of(call), box_of(call))


async def crop_feature(call: Call) -> Response:
    """``POST …/feature[/{width}x{height}][.{format}]``: what lies within a GeoJSON Feature."""
    parameters = parameters_of(call)
    feature = await feature_of(call)
    return await _picture(call, parameters, Shape(feature["geometry"]))


async def _picture(call: Call, parameters: RenderParameters, area: Area) -> Response:
    target = await target_of(call)
    selection = select(parameters, await target.keys())
    around = await around_of(area, parameters) if target.is_mosaic else None
    job = await call.services.tiler.job("image", target, selection, parameters, area, around=around)
    return await send_picture(call, job)


# --- areas -----------------------------------------------------------------------------------------------------------


def tile_of(call: Call, parameters: RenderParameters) -> Tile:
    """The tile of a path. Whether its set has it is for who reads it."""
    z, x, y = (_whole(call, name) for name in "zxy")
    return Tile(parameters.tile_matrix_set, z, x, y)


def box_of(call: Call) -> Box:
    """The box of a path.

    Raises:
        InvalidParameter: its sides are no numbers, or in the wrong order.
    """
    left, bottom, right, top = (number_in(call, name) for name in ("minx", "miny", "maxx", "maxy"))
    if not (left < right and bottom < top):
        message = "The box has no area: give minx,miny,maxx,maxy with minx below maxx and miny below maxy."
        raise InvalidParameter(message, target="bbox")
    return Box((left, bottom, right, top))


async def feature_of(call: Call) -> JsonObject:
    """The GeoJSON Feature of a body, with a polygon.

    Raises:
        InvalidRequestBody: it is none.
    """
    feature = await call.json_object(_MAX_FEATURE_BYTES)
    if feature.get("type") != "Feature":
        message = f"The body is a {str(feature.get('type'))[:40]!r}: give a GeoJSON Feature."
        raise InvalidRequestBody(message, target="type")
    polygon_of(feature.get("geometry"), "The Feature")
    return feature


def polygon_of(geometry: Any, owner: str) -> BaseGeometry:
    """The polygon of a body, checked.

    Raises:
        InvalidRequestBody: it is none.
    """
    if not isinstance(geometry, dict) or geometry.get("type") not in {"Polygon", "MultiPolygon"}:
        raise InvalidRequestBody(f"{owner} needs a Polygon or a MultiPolygon.", target="geometry")
    try:
        shape = shapely.from_geojson(orjson.dumps(geometry))
    except (shapely.GEOSException, ValueError, TypeError):
        raise InvalidRequestBody(f"{owner}'s geometry is not GeoJSON.", target="geometry") from None
    if shape.is_empty or shape.area <= 0:
        raise InvalidRequestBody(f"{owner}'s polygon has no area.", target="geometry")
    return shape


async def around_of(area: Area, parameters: RenderParameters) -> Bounds | None:
    """An area in degrees. In a thread, because the first one loads the libraries of reference systems."""
    return await asyncio.to_thread(_around_of, area, parameters.coord_crs)


def _around_of(area: Area, crs: str) -> Bounds | None:
    match area:
        case Tile():
            return tile_bounds(area)
        case Box():
            return box_bounds(area.bounds, crs)
        case Shape():
            return shape_bounds(area.geometry, crs)
        case Point():
            return point_bounds(area.x, area.y, crs)
        case None:
            return None


def number_in(call: Call, name: str) -> float:
    """A number of the path."""
    try:
        return number(call.path[name])
    except ValueError as exc:
        raise InvalidParameter(f"{name}: {exc}.", target=name) from None


def _whole(call: Call, name: str) -> int:
    try:
        return whole_number(call.path[name], -(2**40), 2**40)
    except ValueError as exc:
        raise InvalidParameter(f"{name}: {exc}.", target=name) from None
