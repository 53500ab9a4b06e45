"""Areas of requests in degrees, for asking the catalog which items lie there."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import orjson

from graticule.errors import InvalidParameter
from graticule.tiler import grids
from graticule.tiler.jobs import Area, Bounds, Box, Point, Shape, Tile

if TYPE_CHECKING:
    from pyproj import Transformer


#: No reference system of the Earth has numbers beyond this, and computing with them overflows.
_FARTHEST = 1e8
#: Degrees: twice around, for clients that count on past the antimeridian.
_FARTHEST_DEGREES = 720.0


def check_area(area: Area, crs: str) -> None:
    """Refuse coordinates that lie nowhere, before GDAL computes with them.

    Raises:
        InvalidParameter: one of them does.
    """
    match area:
        case Box():
            values: Sequence[float] = area.bounds
        case Point():
            values = (area.x, area.y)
        case Shape():
            values = _corners(area.geometry)
        case _:
            return
    farthest = _FARTHEST_DEGREES if crs.lower() == "epsg:4326" else _FARTHEST
    for value in values:
        if not abs(value) <= farthest:
            message = f"The coordinate {value:g} lies nowhere: at most ±{farthest:g} is taken in {crs}."
            raise InvalidParameter(message, target="coord_crs")


def tile_bounds(tile: Tile) -> Bounds:
    """Where a tile lies, degrees.

    Raises:
        InvalidParameter: its set has no such tile.
    """
    grids.check_tile(tile.tile_matrix_set, tile.z, tile.x, tile.y)
    return grids.tile_bounds(tile.tile_matrix_set, tile.z, tile.x, tile.y)


def box_bounds(bounds: Bounds, crs: str) -> Bounds:
    """A box in another reference system, degrees.

    Raises:
        InvalidParameter: the system is not known, or the box lies outside it.
    """
    if crs.lower() == "epsg:4326":
        return bounds
    found: Bounds = _to_degrees(crs).transform_bounds(*bounds, densify_pts=21)
    if not all(math.isfinite(value) for value in found):
        raise InvalidParameter(f"The area lies outside {crs}.", target="coord_crs")
    return found


def shape_bounds(geometry: Mapping[str, Any], crs: str) -> Bounds:
    """Around a GeoJSON geometry, degrees; as `box_bounds`."""
    return box_bounds(_corners(geometry), crs)


def point_bounds(x: float, y: float, crs: str) -> Bounds:
    """Around a point, degrees; as `box_bounds`."""
    return box_bounds((x, y, x, y), crs)


def _corners(geometry: Mapping[str, Any]) -> Bounds:
    import shapely  # noqa: PLC0415 - loaded by searches; render processes need none of it

    west, south, east, north = shapely.from_geojson(orjson.dumps(geometry)).bounds
    return west, south, east, north


@lru_cache(maxsize=32)
def _to_degrees(crs: str) -> Transformer:
    from pyproj import CRS, Transformer  # noqa: PLC0415 - for requests in other reference systems only
    from pyproj.exceptions import CRSError  # noqa: PLC0415

    try:
        return Transformer.from_crs(CRS.from_user_input(crs), CRS.from_epsg(4326), always_xy=True)
    except CRSError:
        message = f"coord_crs: {crs[:80]!r} is no coordinate reference system that is known here."
        raise InvalidParameter(message, target="coord_crs") from None
