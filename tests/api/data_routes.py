"""The tiler's routes, all of which readers may call, as api.md lists them."""

from __future__ import annotations

_TMS = "{tileMatrixSetId}"
_ZXY = "{z:number}/{x:number}/{y:number}"
_SCALE = "@{scale:number}x"
_FORMAT = ".{format:format}"
_SIZE = "{width:number}x{height:number}"
_BOX = "{minx:number},{miny:number},{maxx:number},{maxy:number}"
_POINT = "point/{longitude:number},{latitude:number}"

#: What every stable target has (api.md 6.1 to 6.3).
TARGET = {
    *(
        f"GET tiles/{grid}{_ZXY}{scale}{image}"
        for grid in (f"{_TMS}/", "")
        for scale in (_SCALE, "")
        for image in (_FORMAT, "")
    ),
    "GET tiles",
    f"GET tiles/{_TMS}",
    *(f"GET {grid}{name}" for grid in (f"{_TMS}/", "") for name in ("tilejson.json", "WMTSCapabilities.xml")),
    f"GET bbox/{_BOX}{_FORMAT}",
    f"GET bbox/{_BOX}/{_SIZE}{_FORMAT}",
    "POST feature",
    f"POST feature{_FORMAT}",
    f"POST feature/{_SIZE}{_FORMAT}",
    f"GET {_POINT}",
}
#: What only an item has, in both versions.
ITEM = {
    "GET bounds",
    "GET assets",
    "GET info",
    "GET info.geojson",
    "GET statistics",
    "POST statistics",
    "GET asset_statistics",
    "GET preview",
    f"GET preview{_FORMAT}",
}
#: What only a mosaic has (api.md 6.3).
MOSAIC = {
    f"GET tiles/{_TMS}/{_ZXY}/assets",
    f"GET tiles/{_ZXY}/assets",
    f"GET bbox/{_BOX}/assets",
    f"GET {_POINT}/assets",
}
#: What an item has in the preview version (api.md 7).
PREVIEW_ITEM = {
    f"GET tiles/{_TMS}/{_ZXY}{_SCALE}{_FORMAT}",
    f"GET {_TMS}/tilejson.json",
    f"GET {_TMS}/WMTSCapabilities.xml",
    f"GET crop/{_BOX}{_FORMAT}",
    f"GET crop/{_BOX}/{_SIZE}{_FORMAT}",
    f"POST crop{_FORMAT}",
    f"POST crop/{_SIZE}{_FORMAT}",
    f"GET {_POINT}",
}
#: What a registered search has in the preview version (api.md 7); its documents also without a set, for its links.
PREVIEW_SEARCH = {
    "GET info",
    f"GET tiles/{_TMS}/{_ZXY}{_SCALE}{_FORMAT}",
    *(f"GET {grid}{name}" for grid in (f"{_TMS}/", "") for name in ("tilejson.json", "WMTSCapabilities.xml")),
    f"GET tiles/{_TMS}/{_ZXY}/assets",
    "GET {longitude:number},{latitude:number}/assets",
}


def _below(prefix: str, names: set[str]) -> set[str]:
    return {f"{method} {prefix}/{path}" for method, path in (name.split(" ") for name in names)}


DATA_ROUTES = {
    "GET /data/tile-matrix-sets",
    f"GET /data/tile-matrix-sets/{_TMS}",
    *_below("/data/mosaic/collections/{collectionId}/items/{itemId}", TARGET | ITEM),
    *_below("/data/mosaic/collections/{collectionId}", TARGET | MOSAIC | {"GET info"}),
    *_below("/data/mosaic/searches/{searchId}", TARGET | MOSAIC | {"GET info"}),
    *_below("/data/mosaic/{searchId}", PREVIEW_SEARCH),
    "POST /data/mosaic/register",
    "GET /data/legend/classmap/{classmapName}",
    "GET /data/legend/interval/{classmapName}",
    "GET /data/legend/colormap/{colorMapName}",
    "POST /data/collections/{collectionId}/image/static",
    "GET /data/collections/{collectionId}/image/static/{imageId}",
    *_below("/data/collections/{collectionId}/items/{itemId}", PREVIEW_ITEM | ITEM),
}
