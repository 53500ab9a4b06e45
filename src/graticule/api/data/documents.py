"""Documents about tiles: tile matrix sets, tile sets of a target, TileJSON, WMTS capabilities (api.md 5.1, 6.2)."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any, Final
from urllib.parse import quote, urlencode

from starlette.responses import Response

from graticule.api.data.answers import parameters_of
from graticule.api.data.targets import prefix_of, target_of
from graticule.api.routing import Call, json_response
from graticule.errors import InvalidParameter
from graticule.tiler import RenderParameters, Target, grids, select
from graticule.tiler.jobs import Bounds
from graticule.tiler.wmts import capabilities

#: What is said about a document, and not about its tiles.
_NOT_FOR_TILES: Final = frozenset(
    {"tile_format", "tile_scale", "minzoom", "maxzoom", "tilematrixsetid", "api_version", "format", "scale"}
)


async def list_tile_matrix_sets(_call: Call) -> Response:
    """``GET /data/tile-matrix-sets``: their names."""
    return json_response(list(grids.TILE_MATRIX_SETS))


async def get_tile_matrix_set(call: Call) -> Response:
    """``GET /data/tile-matrix-sets/{tileMatrixSetId}``: OGC Two Dimensional Tile Matrix Set 2.0."""
    return json_response(await asyncio.to_thread(grids.describe, grids.grid_name(call.path["tileMatrixSetId"])))


async def list_tilesets(call: Call) -> Response:
    """``…/tiles``: one for each tile matrix set."""
    await target_of(call)
    sets = await asyncio.to_thread(lambda: [(name, grids.crs_uri(name)) for name in grids.TILE_MATRIX_SETS])
    return json_response({"tilesets": [_tileset(call, name, crs) for name, crs in sets]})


async def get_tileset(call: Call) -> Response:
    """``…/tiles/{tms}``: with the range of rows and columns that the data covers at each zoom."""
    name = grids.grid_name(call.path["tileMatrixSetId"])
    bounds = await (await target_of(call)).bounds()
    crs = await asyncio.to_thread(grids.crs_uri, name)
    limits = await asyncio.to_thread(grids.limits, name, bounds)
    return json_response({**_tileset(call, name, crs), "tileMatrixSetLimits": limits})


async def tilejson(call: Call) -> Response:
    """``…[/{tms}]/tilejson.json``: TileJSON 2.2.0, whose template carries the request's render parameters."""
    parameters = parameters_of(call)
    target = await target_of(call)
    minzoom, maxzoom = await _zooms(call, target, parameters)
    bounds = await target.bounds()
    return json_response(
        {
            "tilejson": "2.2.0",
            "name": target.title,
            "version": "1.0.0",
            "scheme": "xyz",
            "tiles": [_template(call, parameters, ("{z}", "{x}", "{y}"), parameters.tile_format)],
            "minzoom": minzoom,
            "maxzoom": maxzoom,
            "bounds": list(bounds),
            "center": [*_middle(bounds), minzoom],
        },
        headers={"Cache-Control": "private, no-cache"},
    )


async def wmts(call: Call) -> Response:
    """``…[/{tms}]/WMTSCapabilities.xml``: one layer, one tile matrix set, tiles by a URL template."""
    parameters = parameters_of(call)
    target = await target_of(call)
    minzoom, maxzoom = await _zooms(call, target, parameters)
    image = parameters.tile_format or "png"
    template = _template(call, parameters, ("{TileMatrix}", "{TileCol}", "{TileRow}"), image, always_scaled=True)
    document = await asyncio.to_thread(
        capabilities,
        title=target.title,
        bounds=await target.bounds(),
        tile_matrix_set=parameters.tile_matrix_set,
        zooms=range(minzoom, maxzoom + 1),
        tile_size=256 * parameters.tile_scale,
        image=image,
        template=template,
    )
    return Response(document, media_type="application/xml", headers={"Cache-Control": "private, no-cache"})


# --- inside ----------------------------------------------------------------------------------------------------------


def _tileset(call: Call, name: str, crs: str) -> dict[str, Any]:
    links = call.links
    return {
        "title": name,
        "dataType": "map",
        "crs": crs,
        "links": [
            {
                "href": links.versioned(*prefix_of(call), "tiles", name),
                "rel": "self",
                "type": "application/json",
                "title": f"Tiles in {name}",
            },
            {
                "href": links.versioned("data", "tile-matrix-sets", name),
                "rel": "http://www.opengis.net/def/rel/ogc/1.0/tiling-scheme",
                "type": "application/json",
                "title": name,
            },
        ],
    }


def _template(
    call: Call,
    parameters: RenderParameters,
    place: tuple[str, str, str],
    image: str | None,
    *,
    always_scaled: bool = False,
) -> str:
    """The URL template of tiles: every query parameter that means something for a tile, and the api-version."""
    prefix = prefix_of(call)
    if prefix[1] == "collections":  # tiles of the preview version always name scale and format
        always_scaled, image = True, image or "png"
    path = "/".join(quote(segment, safe="") for segment in (*prefix, "tiles", parameters.tile_matrix_set))
    z, x, y = place
    scale = f"@{parameters.tile_scale}x" if always_scaled or parameters.tile_scale != 1 else ""
    pairs = [
        (name, value)
        for name, value in call.request.query_params.multi_items()
        if name.lower().replace("-", "_") not in _NOT_FOR_TILES
    ]
    query = urlencode([*pairs, ("api-version", call.version)], quote_via=quote)
    return f"{call.links.base}/{path}/{z}/{x}/{y}{scale}" + (f".{image}" if image else "") + f"?{query}"


async def _zooms(call: Call, target: Target, parameters: RenderParameters) -> tuple[int, int]:
    """The zooms that the request names; else those that suit the data's resolution, or all of the set for mosaics."""
    low, high = parameters.minzoom, parameters.maxzoom
    if low is None or high is None:
        found = await asyncio.to_thread(grids.zooms, parameters.tile_matrix_set)
        if not target.is_mosaic:
            selection = select(parameters, await target.keys(), optional=True)
            # Only what the zooms depend on: other colours are no other job.
            plain = RenderParameters(tile_matrix_set=parameters.tile_matrix_set, cube=parameters.cube)
            job = await call.services.tiler.job("zooms", target, replace(selection, expression=None), plain)
            header = (await call.services.tiler.run(job)).header
            found = int(header["minzoom"]), int(header["maxzoom"])
        low, high = found[0] if low is None else low, found[1] if high is None else high
    least, most = await asyncio.to_thread(grids.zooms, parameters.tile_matrix_set)
    low, high = max(low, least), min(high, most)
    if low > high:
        raise InvalidParameter(f"minzoom {low} is above maxzoom {high}.", target="minzoom")
    return low, high


def _middle(bounds: Bounds) -> tuple[float, float]:
    west, south, east, north = bounds
    if east < west:
        east += 360
    longitude = (west + east) / 2
    return (longitude - 360 if longitude > 180 else longitude), (south + north) / 2
