"""Owns: tile matrix sets by name, and where their tiles lie. All that morecantile has (api.md 5.1)."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, Final

from graticule.errors import InvalidParameter, NotFound
from graticule.tiler.names import find

if TYPE_CHECKING:
    from morecantile import TileMatrixSet

    from graticule.tiler.jobs import Bounds

#: A test holds this list to morecantile's; here so that a name is checked without loading it.
TILE_MATRIX_SETS: Final = (
    "CDB1GlobalGrid",
    "CanadianNAD83_LCC",
    "EuropeanETRS89_LAEAQuad",
    "GNOSISGlobalGrid",
    "LINZAntarticaMapTilegrid",
    "NZTM2000Quad",
    "UPSAntarcticWGS84Quad",
    "UPSArcticWGS84Quad",
    "UTM31WGS84Quad",
    "WGS1984Quad",
    "WebMercatorQuad",
    "WorldCRS84Quad",
    "WorldMercatorWGS84Quad",
)


def grid_name(name: str) -> str:
    """The exact spelling of a set's name.

    Raises:
        NotFound: there is no such set.
    """
    found = find(name, TILE_MATRIX_SETS)
    if found is None:
        message = f"There is no tile matrix set {name[:80]!r}: there are {', '.join(TILE_MATRIX_SETS)}."
        raise NotFound(message, target="tileMatrixSetId")
    return found


@cache
def grid(name: str) -> TileMatrixSet:
    """A tile matrix set by its exact name."""
    import morecantile  # noqa: PLC0415 - 13 MB, for requests about tiles only

    return morecantile.tms.get(name)


def describe(name: str) -> dict[str, Any]:
    """A tile matrix set as OGC TMS 2.0 JSON, with ``crs`` as a URI: clients want a string there."""
    tms = grid(name)
    document: dict[str, Any] = tms.model_dump(mode="json", exclude_none=True, by_alias=True)
    return {**document, "id": name, "crs": crs_uri(name)}


@cache
def crs_uri(name: str) -> str:
    """The reference system of a set, as an OGC URI (OGC 09-048r5)."""
    authority, code = grid(name).crs._pyproj_crs.to_authority(min_confidence=20)  # noqa: SLF001 - no other way is shown
    return f"http://www.opengis.net/def/crs/{authority}/{'1.3' if authority == 'OGC' else '0'}/{code}"


def zooms(name: str) -> tuple[int, int]:
    """The levels that a set has, lowest and highest."""
    tms = grid(name)
    return tms.minzoom, tms.maxzoom


def limits(name: str, bounds: Bounds) -> list[dict[str, Any]]:
    """Per zoom of a set, which rows and columns touch a box (degrees); none where the box lies outside the set."""
    from pyproj import CRS, Transformer  # noqa: PLC0415 - as morecantile

    tms = grid(name)
    west, south, east, north = bounds
    if east < west:  # across the antimeridian: all the way around holds both parts
        west, east = -180.0, 180.0
    reach = tms.bbox
    west, east = max(west, reach.left), min(east, reach.right)
    south, north = max(south, reach.bottom), min(north, reach.top)
    if west > east or south > north:
        return []
    from_degrees = Transformer.from_crs(CRS.from_epsg(4326), tms.crs._pyproj_crs, always_xy=True)  # noqa: SLF001
    left, bottom, right, top = from_degrees.transform_bounds(west, south, east, north, densify_pts=21)
    found = []
    for zoom in range(tms.minzoom, tms.maxzoom + 1):
        first, last = tms._tile(left, top, zoom), tms._tile(right, bottom, zoom)  # noqa: SLF001 - as `tile`, for x and y
        found.append(
            {
                "tileMatrix": tms.matrix(zoom).id,
                "minTileRow": min(first.y, last.y),
                "maxTileRow": max(first.y, last.y),
                "minTileCol": first.x,
                "maxTileCol": last.x,
            }
        )
    return found


def check_tile(name: str, z: int, x: int, y: int) -> None:
    """Is there such a tile in its set?

    Raises:
        InvalidParameter: no.
    """
    tms = grid(name)
    if not tms.minzoom <= z <= tms.maxzoom:
        raise InvalidParameter(f"Zoom {z} is not one of {name}: {tms.minzoom} to {tms.maxzoom}.", target="z")
    matrix = tms.matrix(z)
    for axis, value, count in (("x", x, matrix.matrixWidth), ("y", y, matrix.matrixHeight)):
        if not 0 <= value < count:
            message = f"Tile {axis}={value} lies outside zoom {z} of {name}: 0 to {count - 1}."
            raise InvalidParameter(message, target=axis)


def tile_bounds(name: str, z: int, x: int, y: int) -> Bounds:
    """Where a tile lies, degrees."""
    from morecantile import Tile  # noqa: PLC0415

    bounds = grid(name).bounds(Tile(x=x, y=y, z=z))
    return bounds.left, bounds.bottom, bounds.right, bounds.top
