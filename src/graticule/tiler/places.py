"""Areas of requests in degrees, for asking the catalog which items lie there."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import orjson

from graticule.errors import InvalidParameter
from graticule.tiler import grids
from graticule.tiler.jobs import Bounds, Tile

if TYPE_CHECKING:
    from pyproj import Transformer


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
    import shapely  # noqa: PLC0415 - loaded by searches; render processes need none of it

    west, south, east, north = shapely.from_geojson(orjson.dumps(geometry)).bounds
    return box_bounds((west, south, east, north), crs)


def point_bounds(x: float, y: float, crs: str) -> Bounds:
    """Around a point, degrees; as `box_bounds`."""
    return box_bounds((x, y, x, y), crs)


@lru_cache(maxsize=32)
def _to_degrees(crs: str) -> Transformer:
    from pyproj import CRS, Transformer  # noqa: PLC0415 - for requests in other reference systems only
    from pyproj.exceptions import CRSError  # noqa: PLC0415

    try:
        return Transformer.from_crs(CRS.from_user_input(crs), CRS.from_epsg(4326), always_xy=True)
    except CRSError:
        message = f"coord_crs: {crs[:80]!r} is no coordinate reference system that is known here."
        raise InvalidParameter(message, target="coord_crs") from None
