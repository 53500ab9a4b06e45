"""Numbers: what a file is, its statistics, the value at a point; and what an item has."""

from __future__ import annotations

import orjson
from starlette.responses import Response

from graticule.api.data.answers import parameters_of, send_json
from graticule.api.data.images import around_of, box_of, feature_of, number_in, tile_of
from graticule.api.data.targets import item_of, mosaic_of, target_of
from graticule.api.routing import Call, json_response
from graticule.tiler import Area, ItemTarget, Point, RenderParameters, Selection, Shape, select


async def item_bounds(call: Call) -> Response:
    """``…/bounds``: the item's, degrees."""
    return json_response({"bounds": list(await (await item_of(call)).bounds())})


async def item_assets(call: Call) -> Response:
    """``…/assets``: keys of the assets whose pixels can be read."""
    return json_response(list((await item_of(call)).readable()))


async def item_info(call: Call) -> Response:
    """``…/info``: asset key → what its file is; of ``assets``, else of all."""
    target, parameters = await item_of(call), parameters_of(call)
    selection = await _selection(target, parameters)
    job = await call.services.tiler.job("info", target, selection, parameters)
    return await send_json(call, job, lambda found: found["assets"])


async def item_info_geojson(call: Call) -> Response:
    """``…/info.geojson``: the same as the properties of a Feature."""
    target, parameters = await item_of(call), parameters_of(call)
    selection = await _selection(target, parameters)
    job = await call.services.tiler.job("info", target, selection, parameters)
    bounds = list(await target.bounds())
    return await send_json(
        call,
        job,
        lambda found: {
            "type": "Feature",
            "id": target.title,
            "bbox": bounds,
            "geometry": target.item.get("geometry"),
            "properties": found["assets"],
        },
    )


async def item_statistics(call: Call) -> Response:
    """``GET …/statistics``: band → statistics, of a picture of the whole item at ``max_size``."""
    target, parameters = await item_of(call), parameters_of(call)
    selection = await _selection(target, parameters)
    job = await call.services.tiler.job("statistics", target, selection, parameters)
    return await send_json(call, job, lambda found: found["statistics"])


async def feature_statistics(call: Call) -> Response:
    """``POST …/statistics``: the Feature that was sent, with the statistics of what lies within it."""
    target, parameters = await item_of(call), parameters_of(call)
    feature = await feature_of(call)
    selection = await _selection(target, parameters)
    job = await call.services.tiler.job("statistics", target, selection, parameters, Shape(feature["geometry"]))
    properties = feature.get("properties") if isinstance(feature.get("properties"), dict) else {}
    return await send_json(
        call, job, lambda found: {**feature, "properties": {**(properties or {}), "statistics": found["statistics"]}}
    )


async def asset_statistics(call: Call) -> Response:
    """``…/asset_statistics``: asset key → band → statistics."""
    target, parameters = await item_of(call), parameters_of(call)
    selection = await _selection(target, parameters)
    job = await call.services.tiler.job("asset_statistics", target, selection, parameters)
    return await send_json(call, job, lambda found: found["statistics"])


async def point(call: Call) -> Response:
    """``…/point/{longitude},{latitude}``: the values there; null where the data has none."""
    parameters = parameters_of(call)
    place = Point(number_in(call, "longitude"), number_in(call, "latitude"))
    target = await target_of(call)
    selection = select(parameters, await target.keys())
    around = await around_of(place, parameters) if target.is_mosaic else None
    job = await call.services.tiler.job("point", target, selection, parameters, place, around=around)
    return await send_json(
        call,
        job,
        lambda found: {
            "coordinates": [place.x, place.y],
            "values": found["values"],
            "band_names": found["band_names"],
        },
    )


async def assets_at_tile(call: Call) -> Response:
    """``…/tiles/[{tms}/]{z}/{x}/{y}/assets``: the items that a tile is made of, the topmost first."""
    parameters = parameters_of(call)
    return await _assets_at(call, parameters, tile_of(call, parameters))


async def assets_in_box(call: Call) -> Response:
    """``…/bbox/{minx},{miny},{maxx},{maxy}/assets``: the items that touch a box, the topmost first."""
    return await _assets_at(call, parameters_of(call), box_of(call))


async def assets_at_point(call: Call) -> Response:
    """``…/point/{longitude},{latitude}/assets``: the items that lie over a point, the topmost first."""
    place = Point(number_in(call, "longitude"), number_in(call, "latitude"))
    return await _assets_at(call, parameters_of(call), place)


async def _assets_at(call: Call, parameters: RenderParameters, area: Area) -> Response:
    target = await mosaic_of(call)
    limits = await call.services.tiler.limits(target, parameters, area)
    items = await target.items(await around_of(area, parameters), limits)
    members = ("id", "bbox", "assets", "collection")
    found = [{member: item[member] for member in members if member in item} for item in items]
    return json_response(call.services.hrefs.unfold(orjson.dumps(found), call.links.base))


async def _selection(target: ItemTarget, parameters: RenderParameters) -> Selection:
    """The bands that are named; where none are, those of all assets that can be read."""
    keys = await target.keys() if parameters.assets else target.readable()
    return select(parameters, keys, optional=True)
