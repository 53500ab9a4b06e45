"""Owns: the outline of a raster in WGS 84 (RFC 7946: cut at the antimeridian, rings counter-clockwise).

Edges are followed in the raster's own CRS, because a straight edge there is a curve in degrees; points that a tenth of
a pixel can do without are dropped again.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final

import antimeridian
import numpy as np
import pyproj
import rasterio.features
import shapely
from affine import Affine
from numpy.typing import NDArray
from pyproj.exceptions import ProjError
from rasterio.crs import CRS
from rasterio.transform import from_gcps
from shapely.geometry import MultiPolygon, Polygon, box

from graticule.errors import NotForged
from graticule.stac.documents import JsonObject

Footprint = Polygon | MultiPolygon

#: Pieces that an edge is cut into before it is projected.
_PIECES: Final = 64
#: Steps across and down of the points that outline a raster whose corners lie off the Earth.
_STEPS: Final = 48
#: The longer side of the mask that outlines valid data, pixels.
_MASK_PIXELS: Final = 1024
#: Parts of valid data that are outlined one by one; more are wrapped in their hull.
_MOST_PARTS: Final = 32
#: Of a degree: a centimetre.
_DIGITS: Final = 7

Points = NDArray[np.float64]


def corners(width: int, height: int, transform: Affine) -> list[tuple[float, float]]:
    """The corners of a raster in its CRS, once around."""
    return [transform @ corner for corner in ((0, 0), (0, height), (width, height), (width, 0))]


def of_grid(width: int, height: int, transform: Affine, crs: CRS) -> Footprint:
    """The outline of a whole raster.

    Raises:
        NotForged: the CRS is not of the Earth, or no pixel lies on it.
    """
    ring = _cut(np.array([(0, 0), (0, height), (width, height), (width, 0), (0, 0)], float))
    points = _to_degrees(_apply(transform, ring), crs)
    if not np.isfinite(points).all():
        return _hull(width, height, transform, crs)
    return _polygon(points, max(width, height))


def of_gcps(width: int, height: int, gcps: Sequence[Any], crs: CRS) -> Footprint:
    """The outline of a raster that lies by ground control points, as the plane that fits them best has it.

    Raises:
        NotForged: see `of_grid`.
    """
    return of_grid(width, height, from_gcps(gcps), crs)


def of_data(dataset: Any, transform: Affine, crs: CRS) -> Footprint:
    """The outline of the pixels that hold data, from a mask of at most 1,024 pixels a side; holes are filled.

    Raises:
        NotForged: there is no such pixel, or see `of_grid`.
    """
    shrink = max(1, max(dataset.width, dataset.height) / _MASK_PIXELS)
    size = (max(1, round(dataset.height / shrink)), max(1, round(dataset.width / shrink)))
    mask = (dataset.dataset_mask(out_shape=size) > 0).astype("uint8")
    scaled = transform @ Affine.scale(dataset.width / size[1], dataset.height / size[0])
    found = rasterio.features.shapes(mask, mask=mask > 0)
    shells = [Polygon(geometry["coordinates"][0]) for geometry, _ in found]
    parts = shapely.union_all(shells).simplify(1)
    outlines = [part for part in shapely.get_parts(parts) if isinstance(part, Polygon) and not part.is_empty]
    if not outlines:
        raise NotForged("no pixel holds data: leave it out, or outline the whole raster (--footprint bounds)")
    if len(outlines) > _MOST_PARTS:
        outlines = [hull] if isinstance(hull := shapely.convex_hull(parts), Polygon) else outlines
    pieces = []
    for outline in outlines:
        points = _to_degrees(_apply(scaled, _cut(np.asarray(outline.exterior.coords))), crs)
        if not np.isfinite(points).all():
            return _hull(dataset.width, dataset.height, transform, crs)
        pieces.append(_polygon(points, max(dataset.width, dataset.height)))
    return _merged(pieces)


def united(footprints: Sequence[Footprint]) -> Footprint:
    """One outline around several."""
    distinct: dict[bytes, Footprint] = {shapely.to_wkb(each): each for each in footprints}
    return _merged(list(distinct.values()))


def geojson(footprint: Footprint) -> JsonObject:
    """As GeoJSON geometry."""
    document: JsonObject = shapely.geometry.mapping(footprint)
    return {"type": document["type"], "coordinates": _lists(document["coordinates"])}


def bbox(footprint: Footprint) -> list[float]:
    """West, south, east, north; west is greater than east where it crosses the antimeridian (RFC 7946 section 5.2)."""
    west, south, east, north = antimeridian.bbox(shapely.geometry.mapping(footprint))
    return [float(west), float(south), float(east), float(north)]


# --- inside ----------------------------------------------------------------------------------------------------------


def _cut(ring: Points) -> Points:
    """More points on each edge of a closed ring."""
    steps = np.linspace(0, 1, _PIECES, endpoint=False)[:, None]
    edges = [start + steps * (end - start) for start, end in itertools.pairwise(ring)]
    return np.concatenate([*edges, ring[-1:]])


def _apply(transform: Affine, pixels: Points) -> Points:
    columns, rows = pixels[:, 0], pixels[:, 1]
    return np.stack(
        [
            transform.a * columns + transform.b * rows + transform.c,
            transform.d * columns + transform.e * rows + transform.f,
        ],
        axis=1,
    )


def _to_degrees(points: Points, crs: CRS) -> Points:
    transformer = _transformer(crs.to_wkt(version="WKT2_2019"))
    longitudes, latitudes = transformer.transform(points[:, 0], points[:, 1])
    return np.stack([longitudes, np.clip(latitudes, -90, 90)], axis=1)


@lru_cache(maxsize=64)
def _transformer(wkt: str) -> pyproj.Transformer:
    crs = pyproj.CRS.from_user_input(wkt)
    if crs.prime_meridian is not None and crs.ellipsoid is not None:
        # PROJ refuses a change of celestial body only where the CRS names one; the radius tells too.
        radius = crs.ellipsoid.semi_major_metre
        if not 6_300_000 < radius < 6_450_000:
            raise NotForged("its CRS is not of the Earth, and STAC's footprints are in WGS 84: leave it out")
    try:
        return pyproj.Transformer.from_crs(crs, "EPSG:4326", always_xy=True)
    except ProjError as exc:
        raise NotForged(f"its CRS cannot be brought to WGS 84 ({exc}): correct it with gdal_edit.py -a_srs") from exc


def _polygon(points: Points, pixels: int) -> Footprint:
    """A ring in degrees as a valid polygon: `points` may jump at the antimeridian, or run beyond it."""
    unwrapped = points.copy()
    unwrapped[:, 0] = np.unwrap(points[:, 0], period=360)
    west, south = unwrapped.min(axis=0)
    east, north = unwrapped.max(axis=0)
    if abs(unwrapped[-1, 0] - unwrapped[0, 0]) > 180:  # around a pole
        return _rounded(antimeridian.fix_polygon(Polygon(points), fix_winding=False))
    if east - west >= 360 - 360 / max(pixels, 1) / 2:
        return _rounded(box(-180, south, 180, north))
    polygon: Any = Polygon(unwrapped).simplify(max(east - west, north - south) / max(pixels, 1) / 10)
    if west >= -180 and east <= 180:
        return _rounded(polygon)
    return _rounded(antimeridian.fix_polygon(polygon, fix_winding=True, great_circle=False))


def _hull(width: int, height: int, transform: Affine, crs: CRS) -> Footprint:
    """Around those pixels that lie on the Earth, for rasters that look past its edge."""
    columns, rows = np.meshgrid(np.linspace(0, width, _STEPS), np.linspace(0, height, _STEPS))
    points = _to_degrees(_apply(transform, np.stack([columns.ravel(), rows.ravel()], axis=1)), crs)
    points = points[np.isfinite(points).all(axis=1)]
    if len(points) < 3:
        raise NotForged("no part of it lies on the Earth by its CRS and transform: correct them (gdalinfo shows both)")
    middle = np.degrees(np.angle(np.exp(1j * np.radians(points[:, 0])).mean()))
    points[:, 0] = (points[:, 0] - middle + 180) % 360 - 180 + middle
    hull = shapely.convex_hull(shapely.MultiPoint(points))
    if not isinstance(hull, Polygon):
        raise NotForged("it has no area by its CRS and transform: correct them (gdalinfo shows both)")
    return _polygon(np.asarray(hull.exterior.coords), max(width, height))


def _merged(pieces: Sequence[Footprint]) -> Footprint:
    if len(pieces) == 1:
        return pieces[0]
    return _rounded(shapely.union_all(pieces))


def _rounded(polygon: Any) -> Footprint:
    rounded = shapely.transform(polygon, lambda points: np.round(points, _DIGITS) + 0.0)
    if not rounded.is_valid:
        rounded = shapely.make_valid(rounded)
    if not isinstance(rounded, Polygon | MultiPolygon) or rounded.is_empty:
        parts = [part for part in getattr(rounded, "geoms", []) if isinstance(part, Polygon)]
        if not parts:
            raise NotForged("it has no area by its CRS and transform: correct them (gdalinfo shows both)")
        rounded = MultiPolygon(parts)
    oriented: Footprint = shapely.orient_polygons(rounded)
    return oriented


def _lists(coordinates: Any) -> Any:
    if coordinates and isinstance(coordinates[0], float | int):
        return [float(number) for number in coordinates]
    return [_lists(part) for part in coordinates]
