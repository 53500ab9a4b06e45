"""The paths of the tiler: the stable ones and those of the preview version, onto the same handlers (api.md 6, 7).

Both families are served whatever the api-version says. Fixed words come before identifiers, the first path that fits
wins.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Final

from graticule.access import Role
from graticule.api.data import convertors, documents, images, legends, searches, signing, static_images, values
from graticule.api.routing import Endpoint, Handler

convertors.register()

# Sets of query parameters, by the letters of api.md 5.3.
_A: Final = (*("assets", "expression", "asset_bidx", "asset_as_band", "nodata", "unscale", "bidx", "reproject"),)
_L: Final[tuple[str, ...]] = ("algorithm", "algorithm_params")
_V: Final[tuple[str, ...]] = ("color_formula", "resampling", "rescale", "colormap_name", "colormap", "return_mask")
_X: Final[tuple[str, ...]] = ("subdataset_name", "subdataset_bands", "crs", "datetime", "sel", "sel_method")
_D: Final[tuple[str, ...]] = ("max_size", "width", "height")
_T: Final[tuple[str, ...]] = ("tile_format", "tile_scale", "minzoom", "maxzoom")
_S: Final[tuple[str, ...]] = ("categorical", "c", "p", "histogram_bins", "histogram_range")
_M: Final[tuple[str, ...]] = ("scan_limit", "items_limit", "time_limit", "exitwhenfull", "skipcovered")
_K: Final[tuple[str, ...]] = ("collection", "pixel_selection")
_F: Final[tuple[str, ...]] = ("ids", "bbox", "query", "sortby", "datetime")
_PLACE: Final[tuple[str, ...]] = ("coord_crs", "dst_crs")
_TILE: Final[tuple[str, ...]] = (*_A, *_L, *_V, *_X, "buffer", "padding")
_CROP: Final[tuple[str, ...]] = (*_A, *_L, *_V, *_X, *_D, *_PLACE)
_SET: Final = "TileMatrixSetId"
_SIGNING: Final[tuple[str, ...]] = ("sign", "duration")

_GRID: Final = "/{tileMatrixSetId}"
_ZXY: Final = "/{z:number}/{x:number}/{y:number}"
_SCALE: Final = "@{scale:number}x"
_FORMAT: Final = ".{format:format}"
_SIZE: Final = "/{width:number}x{height:number}"
_BOX: Final = "/{minx:number},{miny:number},{maxx:number},{maxy:number}"
_POINT: Final = "/point/{longitude:number},{latitude:number}"


def tile_forms(prefix: str, family: str) -> Iterator[Endpoint]:
    """The eight paths of a tile (api.md 6.1), of any target."""
    for grid, in_query, with_set in ((_GRID, (), "tile"), ("", (_SET,), "tile_no_tms")):
        for scale, scaled in (("", ("scale",)), (_SCALE, ())):
            for end, formatted in (("", ("format",)), (_FORMAT, ())):
                by = [name for name, part in (("scale", scale), ("format", end)) if part]
                operation = with_set + (f"_by_{'_and_'.join(by)}" if by else "")
                query = (*_TILE, *in_query, *scaled, *formatted)
                path = f"{prefix}/tiles{grid}{_ZXY}{scale}{end}"
                yield _signed(path, images.tile, "Draw a tile", query, f"{family}_{operation}")


def documents_of(prefix: str, family: str) -> Iterator[Endpoint]:
    """Tile sets, TileJSON and WMTS of any target."""
    yield _get(f"{prefix}/tiles", documents.list_tilesets, "List tile sets", _X, f"{family}_tilesets")
    yield _get(f"{prefix}/tiles{_GRID}", documents.get_tileset, "Describe a tile set", _X, f"{family}_tileset")
    for grid, in_query, end in ((_GRID, (), ""), ("", (_SET,), "_no_tms")):
        query = (*_TILE, *_T, *in_query, *_SIGNING)
        path = f"{prefix}{grid}/tilejson.json"
        yield _signed(path, documents.tilejson, "TileJSON", query, f"{family}_tilejson{end}")
        path = f"{prefix}{grid}/WMTSCapabilities.xml"
        yield _signed(path, documents.wmts, "WMTS capabilities", query, f"{family}_wmts{end}")


def crops_of(prefix: str, family: str) -> Iterator[Endpoint]:
    """Crops by box and by feature of any target, and the value at a point."""
    box = f"{prefix}/bbox{_BOX}"
    yield _get(f"{box}{_FORMAT}", images.crop_box, "Draw a box", _CROP, f"{family}_bbox")
    yield _get(f"{box}{_SIZE}{_FORMAT}", images.crop_box, "Draw a box", _CROP, f"{family}_bbox_by_size")
    for end, in_query, operation in (
        ("", ("format",), "feature"),
        (_FORMAT, (), "feature_by_format"),
        (f"{_SIZE}{_FORMAT}", (), "feature_by_size_and_format"),
    ):
        path = f"{prefix}/feature{end}"
        yield _post(path, images.crop_feature, "Draw a feature", (*_CROP, *in_query), f"{family}_{operation}")
    query = (*_A, *_X, "coord_crs", "resampling")
    yield _get(f"{prefix}{_POINT}", values.point, "Values at a point", query, f"{family}_point")


def assets_of(prefix: str, family: str) -> Iterator[Endpoint]:
    """Which items lie where, of a mosaic."""
    query: tuple[str, ...] = (*_M, *_X, "coord_crs")
    for grid, in_query, end in ((_GRID, (), ""), ("", (_SET,), "_no_tms")):
        path = f"{prefix}/tiles{grid}{_ZXY}/assets"
        summary = "Items of a tile"
        yield _get(path, values.assets_at_tile, summary, (*query, *in_query), f"{family}_assets_for_tile{end}")
    path = f"{prefix}/bbox{_BOX}/assets"
    yield _get(path, values.assets_in_box, "Items in a box", query, f"{family}_assets_for_bbox")
    path = f"{prefix}{_POINT}/assets"
    yield _get(path, values.assets_at_point, "Items at a point", query, f"{family}_assets_for_point")


def with_parameters(endpoints: Iterable[Endpoint], *names: str) -> Iterator[Endpoint]:
    """The same with more query parameters: those of a mosaic."""
    for endpoint in endpoints:
        yield replace(endpoint, query=tuple(dict.fromkeys((*endpoint.query, *names))))


def readings_of(prefix: str, family: str) -> Iterator[Endpoint]:
    """What only an item has."""
    yield _get(f"{prefix}/bounds", values.item_bounds, "Bounds of an item", (), f"{family}_bounds")
    yield _get(f"{prefix}/assets", values.item_assets, "Readable assets of an item", (), f"{family}_assets")
    info, geojson = ("assets", *_X), f"{prefix}/info.geojson"
    yield _get(f"{prefix}/info", values.item_info, "Describe assets", info, f"{family}_info")
    yield _get(geojson, values.item_info_geojson, "Describe assets", info, f"{family}_info_geojson")
    query: tuple[str, ...] = (*_A, *_L, *_X, *_D, *_S, "resampling")
    path = f"{prefix}/statistics"
    yield _get(path, values.item_statistics, "Statistics of an item", query, f"{family}_statistics")
    query = (*query, *_PLACE)
    summary = "Statistics within a feature"
    yield _post(path, values.feature_statistics, summary, query, f"{family}_feature_statistics")
    query = (*_A, *_D, *_X, *_S, "asset_expression", "resampling")
    path = f"{prefix}/asset_statistics"
    yield _get(path, values.asset_statistics, "Statistics of assets", query, f"{family}_asset_statistics")
    query = (*_A, *_L, *_V, *_X, *_D, "dst_crs")
    path = f"{prefix}/preview"
    yield _get(path, images.preview, "Draw an item", (*query, "format"), f"{family}_preview")
    yield _get(f"{path}{_FORMAT}", images.preview, "Draw an item", query, f"{family}_preview_by_format")


def preview_crops_of(prefix: str, family: str) -> Iterator[Endpoint]:
    """Crops as the preview version has them (api.md 7)."""
    query: tuple[str, ...] = (*_A, *_L, *_V, *_D, "coord-crs", "dst-crs")
    box = f"{prefix}/crop{_BOX}"
    yield _get(f"{box}{_FORMAT}", images.crop_box, "Draw a box", query, f"{family}_crop_box")
    yield _get(f"{box}{_SIZE}{_FORMAT}", images.crop_box, "Draw a box", query, f"{family}_crop_box_by_size")
    crop, sized = f"{prefix}/crop{_FORMAT}", f"{prefix}/crop{_SIZE}{_FORMAT}"
    yield _post(crop, images.crop_feature, "Draw a feature", query, f"{family}_crop_feature")
    yield _post(sized, images.crop_feature, "Draw a feature", query, f"{family}_crop_feature_by_size")
    query = (*_A, "coord-crs", "resampling")
    yield _get(f"{prefix}{_POINT}", values.point, "Values at a point", query, f"{family}_point")


def preview_tiles_of(prefix: str, family: str) -> Iterator[Endpoint]:
    """Tiles and documents as the preview version has them: everything in the path."""
    tile = f"{prefix}/tiles{_GRID}{_ZXY}{_SCALE}{_FORMAT}"
    yield _signed(tile, images.tile, "Draw a tile", (*_A, *_L, *_V, "buffer"), f"{family}_tile")
    query = (*_A, *_L, *_V, *_T, "buffer", *_SIGNING)
    yield _signed(f"{prefix}{_GRID}/tilejson.json", documents.tilejson, "TileJSON", query, f"{family}_tilejson")
    path = f"{prefix}{_GRID}/WMTSCapabilities.xml"
    yield _signed(path, documents.wmts, "WMTS capabilities", query, f"{family}_wmts")


def _get(path: str, handler: Handler, summary: str, query: tuple[str, ...], operation: str) -> Endpoint:
    return Endpoint("GET", path, handler, Role.READER, summary, query, operation=operation)


def _signed(path: str, handler: Handler, summary: str, query: tuple[str, ...], operation: str) -> Endpoint:
    """One that a signature in the URL opens too."""
    return replace(_get(path, handler, summary, query, operation), signed=signing.subject_of)


def preview_searches_of(prefix: str, family: str) -> Iterator[Endpoint]:
    """A registered search as the preview version has it; documents without a tile matrix set too, for its links."""
    yield _get(f"{prefix}/info", searches.search_info, "Describe a search", (), f"{family}_info")
    for endpoint in preview_tiles_of(prefix, family):
        yield replace(endpoint, query=(*endpoint.query, *_M, *_K))
    query = (*_A, *_L, *_V, *_T, "buffer", *_SIGNING, *_M, *_K, _SET)
    for name, handler, title in (
        ("tilejson.json", documents.tilejson, "TileJSON"),
        ("WMTSCapabilities.xml", documents.wmts, "WMTS capabilities"),
    ):
        yield _signed(f"{prefix}/{name}", handler, title, query, f"{family}_{handler.__name__}_no_tms")
    path = f"{prefix}/tiles{_GRID}{_ZXY}/assets"
    yield _get(path, values.assets_at_tile, "Items of a tile", _M, f"{family}_assets_for_tile")
    path = f"{prefix}/{{longitude:number}},{{latitude:number}}/assets"
    yield _get(path, values.assets_at_point, "Items at a point", (*_M, "coord-crs"), f"{family}_assets_for_point")


def static_images_of(prefix: str) -> Iterator[Endpoint]:
    """Static images, of the preview version only."""
    path = f"{prefix}/image/static"
    yield _post(path, static_images.create_static_image, "Ask for a static image", (), "create_static_image")
    endpoint = _get(f"{path}/{{imageId}}", static_images.get_static_image, "Draw a static image", (), "static_image")
    yield replace(endpoint, signed=signing.image_subject)


def _post(path: str, handler: Handler, summary: str, query: tuple[str, ...], operation: str) -> Endpoint:
    return Endpoint("POST", path, handler, Role.READER, summary, query, operation=operation)


_ITEM: Final = "/data/mosaic/collections/{collectionId}/items/{itemId}"
_COLLECTION: Final = "/data/mosaic/collections/{collectionId}"
_SEARCH: Final = "/data/mosaic/searches/{searchId}"
_PREVIEW_SEARCH: Final = "/data/mosaic/{searchId}"
_PREVIEW_ITEM: Final = "/data/collections/{collectionId}/items/{itemId}"

ENDPOINTS: Final = (
    *tile_forms(_ITEM, "item"),
    *documents_of(_ITEM, "item"),
    *crops_of(_ITEM, "item"),
    *readings_of(_ITEM, "item"),
    *with_parameters(tile_forms(_COLLECTION, "collection"), *_M, *_F, *_K, "mosaic"),
    *with_parameters(documents_of(_COLLECTION, "collection"), *_M, *_F, *_K, "mosaic"),
    *with_parameters(assets_of(_COLLECTION, "collection"), *_F, "mosaic"),
    *with_parameters(crops_of(_COLLECTION, "collection"), *_M, *_F, *_K, "mosaic"),
    _get(f"{_COLLECTION}/info", searches.collection_info, "Describe a collection's mosaic", (), "collection_info"),
    _post("/data/mosaic/register", searches.register, "Register a search", (), "register_search"),
    *with_parameters(tile_forms(_SEARCH, "search"), *_M, *_K),
    *with_parameters(documents_of(_SEARCH, "search"), *_M, *_K),
    *with_parameters(assets_of(_SEARCH, "search"), "collection"),
    *with_parameters(crops_of(_SEARCH, "search"), *_M, *_K),
    _get(f"{_SEARCH}/info", searches.search_info, "Describe a search", (), "search_info"),
    *preview_searches_of(_PREVIEW_SEARCH, "preview_search"),
    *preview_tiles_of(_PREVIEW_ITEM, "preview_item"),
    *preview_crops_of(_PREVIEW_ITEM, "preview_item"),
    *readings_of(_PREVIEW_ITEM, "preview_item"),
    *static_images_of("/data/collections/{collectionId}"),
    _get("/data/tile-matrix-sets", documents.list_tile_matrix_sets, "List tile matrix sets", (), "tile_matrix_sets"),
    _get(
        f"/data/tile-matrix-sets{_GRID}",
        documents.get_tile_matrix_set,
        "Read a tile matrix set",
        (),
        "tile_matrix_set",
    ),
    *legends.ENDPOINTS,
)
