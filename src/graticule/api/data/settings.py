"""What a collection's tile settings mean for tiles that are made of its items (api.md 2.4)."""

from __future__ import annotations

from dataclasses import replace

from graticule.api.routing import Call
from graticule.configuration import TileSettings
from graticule.errors import NotFound, OutsideData
from graticule.tiler import RenderParameters, Target


async def settings_of(call: Call, target: Target, parameters: RenderParameters) -> tuple[str, TileSettings] | None:
    """The collection whose tile settings hold, and these. None for an item, which is one file however far away.

    A registered search has none of its own: those of the collection hold that the request names (api.md 5.2, 6.4).
    """
    if not target.is_mosaic:
        return None
    collection_id = call.path.get("collectionId") or parameters.collection
    if collection_id is None:
        return None
    try:
        return collection_id, await call.services.configuration.tile_settings(collection_id)
    except NotFound:
        return None  # a hint that leads nowhere; where the path names it, the target was found before


async def bounded(call: Call, target: Target, parameters: RenderParameters, zoom: int) -> RenderParameters:
    """The parameters of a tile, with no more items than the collection allows.

    Raises:
        OutsideData: the zoom is below the collection's floor.
    """
    found = await settings_of(call, target, parameters)
    if found is None:
        return parameters
    collection_id, settings = found
    if zoom < settings["minZoom"]:
        message = f"Tiles of collection '{collection_id}' begin at zoom {settings['minZoom']} (tile settings, minZoom)."
        raise OutsideData(message, target="z")
    limit = min(parameters.mosaic.items_limit, settings["maxItemsPerTile"])
    return replace(parameters, mosaic=replace(parameters.mosaic, items_limit=limit))


async def least_zoom(call: Call, target: Target, parameters: RenderParameters) -> int:
    """The lowest zoom at which there are tiles, as far as tile settings say."""
    found = await settings_of(call, target, parameters)
    return 0 if found is None else found[1]["minZoom"]
