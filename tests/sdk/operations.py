"""Every operation of the SDK's data group, and what its answer must be: one table for each version of the SDK.

The arguments that an operation requires are filled in by their names (`arguments`), so that the table says only what
is special: options beside them, and the check of the answer (by name, in ``test_every_operation.py``). The SDK is not
imported here: each version runs in a process of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

STABLE: Final = "2026-04-15"
PREVIEW: Final = "2025-04-30-preview"


@dataclass(frozen=True)
class Call:
    """One operation."""

    check: str  #: name of the check of its answer
    options: Mapping[str, Any] = field(default_factory=dict)  #: keyword arguments beside the required ones
    size: tuple[int, int] | None = None  #: of a picture: columns, rows


_ASSETS: Final = {"assets": ["image"]}
_SIZE: Final = (64, 32)


def _picture(size: tuple[int, int] | None = None, **options: Any) -> Call:
    return Call("picture", _ASSETS | options, size)


def _tiles(prefix: str) -> dict[str, Call]:
    """The eight forms of a tile."""
    return {
        f"{prefix}{grid}{by}": _picture((512, 512) if "scale" in by else (256, 256))
        for grid in ("", "_no_tms")
        for by in ("", "_by_format", "_by_scale", "_by_scale_and_format")
    }


def _documents(prefix: str, noun: str, *, tilesets: str) -> dict[str, Call]:
    return {
        f"get_{tilesets}tilesets": Call("tilesets"),
        f"get_{tilesets}tileset_metadata": Call("tileset"),
        f"get_{prefix}_tile_json": Call("tilejson", _ASSETS),
        f"get_{prefix}_tile_json_by_tms": Call("tilejson", _ASSETS),
        f"get_{prefix}_wmts_capabilities": Call("wmts", _ASSETS if noun != "search" else {}),
        f"get_{prefix}_wmts_capabilities_by_tms": Call("wmts", _ASSETS if noun != "search" else {}),
    }


def _crops(prefix: str, feature: str) -> dict[str, Call]:
    return {
        f"get_{prefix}_bbox_crop": _picture(max_size=64),
        f"get_{prefix}_bbox_crop_with_dimensions": _picture(_SIZE),
        f"crop_{feature}": _picture(max_size=64),
        f"crop_{feature}_by_format": _picture(max_size=64),
        f"crop_{feature}_width_by_height": _picture(_SIZE),
        f"get_{prefix}_point": Call("point", _ASSETS),
    }


#: Those of `azure-planetarycomputer` 1.0.0. The search is registered first: others ask for its id.
OF_STABLE: Final[dict[str, Call]] = {
    "register_mosaics_search": Call("registration"),
    "get_tile_matrices": Call("tile_matrix_sets"),
    "get_tile_matrix_definitions": Call("tile_matrix_set"),
    "get_class_map_legend": Call("class_map"),
    "get_interval_legend": Call("interval_map"),
    "get_legend": Call("legend", {}, (387, 11)),
    # --- items
    **_tiles("get_tile"),
    **_documents("item", "item", tilesets=""),
    **_crops("item", "feature"),
    "get_item_bounds": Call("bounds"),
    "get_item_available_assets": Call("assets"),
    "get_item_info": Call("info", _ASSETS),
    "get_item_info_geo_json": Call("info_geojson", _ASSETS),
    "get_item_statistics": Call("statistics", _ASSETS | {"max_size": 64}),
    "get_item_feature_statistics": Call("feature_statistics", _ASSETS | {"max_size": 64}),
    "get_item_asset_statistics": Call("asset_statistics", _ASSETS | {"max_size": 64}),
    "get_item_preview": _picture(max_size=64),
    "get_item_preview_with_format": _picture(max_size=64),
    # --- collections
    **_tiles("get_collection_tile"),
    **_documents("collection", "collection", tilesets="collection_"),
    **_crops("collection", "collection_feature"),
    "get_collection_info": Call("search_info"),
    "get_collection_assets_for_tile": Call("items"),
    "get_collection_assets_for_tile_no_tms": Call("items"),
    "get_collection_assets_for_bbox": Call("items"),
    "get_collection_point_assets": Call("items"),
    # --- registered searches
    **_tiles("get_search_tile"),
    **_documents("search", "search", tilesets="search_"),
    **_crops("search", "search_feature"),
    "get_search_info": Call("search_info"),
    "get_search_assets_for_tile": Call("items"),
    "get_search_assets_for_tile_no_tms": Call("items"),
    "get_search_bbox_assets": Call("items"),
    "get_search_point_with_assets": Call("items"),
}

#: Those of 1.0.0b1. A static image is made before it is read.
OF_PREVIEW: Final[dict[str, Call]] = {
    "register_mosaics_search": Call("registration"),
    "create_static_image": Call("static_image"),
    "get_static_image": Call("picture", {}, _SIZE),
    "list_tile_matrices": Call("tile_matrix_sets"),
    "get_tile_matrix_definitions": Call("tile_matrix_set"),
    "get_class_map_legend": Call("class_map"),
    "get_interval_legend": Call("interval_map"),
    "get_legend": Call("legend", {}, (387, 11)),
    # --- items
    "get_tile": _picture((512, 512)),
    "get_tile_json": Call("tilejson", _ASSETS),
    "get_wmts_capabilities": Call("wmts", _ASSETS),
    "crop_geo_json": _picture(max_size=64),
    "crop_geo_json_with_dimensions": _picture(_SIZE),
    "get_part": _picture(max_size=64),
    "get_part_with_dimensions": _picture(_SIZE),
    "get_point": Call("point", _ASSETS),
    "get_bounds": Call("bounds"),
    "list_available_assets": Call("assets"),
    "get_item_asset_details": Call("info", _ASSETS),
    "get_info_geo_json": Call("info_geojson", _ASSETS),
    "list_statistics": Call("statistics", _ASSETS | {"max_size": 64}),
    "get_geo_json_statistics": Call("feature_statistics", _ASSETS | {"max_size": 64}),
    "get_asset_statistics": Call("asset_statistics", _ASSETS | {"max_size": 64}),
    "get_preview": _picture(max_size=64),
    "get_preview_with_format": _picture(max_size=64),
    # --- registered searches
    "get_mosaics_tile": _picture((512, 512)),
    "get_mosaics_tile_json": Call("tilejson", _ASSETS),
    "get_mosaics_wmts_capabilities": Call("wmts", _ASSETS),
    "get_mosaics_search_info": Call("search_info"),
    "get_mosaics_assets_for_tile": Call("items"),
    "get_mosaics_assets_for_point": Call("items"),
}

OPERATIONS: Final = {STABLE: OF_STABLE, PREVIEW: OF_PREVIEW}


def arguments(
    collection: str, item: str, tile: tuple[int, int, int], box: tuple[float, float, float, float]
) -> dict[str, dict[str, Any]]:
    """Values of the arguments that operations require, by name: ``*`` for all, else of one operation.

    Args:
        collection: that has the item.
        item: whose asset `image` has three bands.
        tile: z, x, y of one that the item touches.
        box: degrees, within the item.
    """
    west, south, east, north = box
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    shape = {"type": "Polygon", "coordinates": [ring]}
    of_item = {"op": "=", "args": [{"property": "id"}, item]}
    common = {
        "collection_id": collection,
        "item_id": item,
        "tile_matrix_set_id": "WebMercatorQuad",
        **dict(zip("zxy", tile, strict=True)),
        "scale": 2,
        "format": "png",
        "min_x": west,
        "min_y": south,
        "max_x": east,
        "max_y": north,
        "minx": west,
        "miny": south,
        "maxx": east,
        "maxy": north,
        "width": _SIZE[0],
        "height": _SIZE[1],
        "longitude": (west + east) / 2,
        "latitude": (south + north) / 2,
        "color_map_name": "viridis",
        "body": {"type": "Feature", "properties": {}, "geometry": shape},
    }
    return {
        "*": common,
        "get_class_map_legend": {"classmap_name": "mtbs-severity"},
        "get_interval_legend": {"classmap_name": "modis-64A1"},
        "register_mosaics_search": {
            "body": {"collections": [collection], "filter": of_item, "filter-lang": "cql2-json"}
        },
        "create_static_image": {
            "body": {
                "cql": {"op": "and", "args": [{"op": "=", "args": [{"property": "collection"}, collection]}, of_item]},
                "zoom": 10,
                "geometry": shape,
                "render_params": f"assets=image&collection={collection}",
                "cols": _SIZE[0],
                "rows": _SIZE[1],
                "showBranding": False,
                "imageSize": "64x32",
            }
        },
    }
