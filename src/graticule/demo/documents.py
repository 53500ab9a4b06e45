"""The demo's STAC documents: a Collection and Items as a public catalog would offer them.

Hrefs are made for the base URL that a request came to. Items carry three assets, as those of the published quickstart
do: ``data``, and two that are answers of a service rather than files (``tilejson``, ``rendered_preview``), whose hrefs
have a query of their own. The quickstart appends ``?`` and a token to every href, so these two get a second ``?``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import urlencode

from graticule.demo.scenes import CLASSES, NODATA, RESOLUTION, Scene

JsonObject = dict[str, Any]

#: The id that the published quickstart asks for.
COLLECTION_ID = "io-lulc-annual-v02"
#: The container that holds the scenes; it gives nothing without a SAS token.
CONTAINER = "io-lulc"
COG = "image/tiff; application=geotiff; profile=cloud-optimized"
GEOTIFF = "image/tiff; application=geotiff"

_EXTENSIONS = "https://stac-extensions.github.io"


def collection_document(base: str, scenes: Sequence[Scene]) -> JsonObject:
    """The Collection of the scenes."""
    here = f"{base}/api/stac/v1/collections/{COLLECTION_ID}"
    return {
        "type": "Collection",
        "stac_version": "1.0.0",
        "stac_extensions": [
            f"{_EXTENSIONS}/item-assets/v1.0.0/schema.json",
            f"{_EXTENSIONS}/file/v2.1.0/schema.json",
        ],
        "id": COLLECTION_ID,
        "title": "10m Annual Land Use Land Cover, demonstration",
        "description": (
            "Annual land cover of a made-up landscape, drawn by `graticule demo` in place of a public data set: nine "
            "classes at ten metres, a file per tile and year."
        ),
        "license": "CC0-1.0",
        "keywords": ["Land cover", "Demonstration"],
        "providers": [{"name": "graticule demo", "roles": ["producer", "host"]}],
        "extent": {
            "spatial": {"bbox": [_around([scene.bbox for scene in scenes])]},
            "temporal": {
                "interval": [
                    [
                        f"{min(scene.year for scene in scenes)}-01-01T00:00:00Z",
                        f"{max(scene.year for scene in scenes) + 1}-01-01T00:00:00Z",
                    ]
                ]
            },
        },
        "summaries": {"raster:bands": [_band()]},
        "item_assets": {
            "data": {"type": COG, "roles": ["data"], "title": "Land cover", "file:values": _file_values()},
            "tilejson": {"type": "application/json", "roles": ["tiles"], "title": "TileJSON with default rendering"},
            "rendered_preview": {"type": "image/png", "roles": ["overview"], "title": "Rendered preview"},
        },
        "assets": {
            "thumbnail": {
                "href": f"{base}/public/thumbnails/{COLLECTION_ID}.png",
                "type": "image/png",
                "roles": ["thumbnail"],
                "title": "The four tiles side by side",
            }
        },
        "links": [
            _link("items", f"{here}/items", "application/geo+json"),
            _link("parent", f"{base}/api/stac/v1/"),
            _link("root", f"{base}/api/stac/v1/"),
            _link("self", here),
        ],
    }


def item_document(base: str, scene: Scene) -> JsonObject:
    """The Item of one scene."""
    collection = f"{base}/api/stac/v1/collections/{COLLECTION_ID}"
    west, south, east, north = scene.bbox
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "stac_extensions": [
            f"{_EXTENSIONS}/projection/v2.0.0/schema.json",
            f"{_EXTENSIONS}/raster/v1.1.0/schema.json",
            f"{_EXTENSIONS}/classification/v2.0.0/schema.json",
            f"{_EXTENSIONS}/file/v2.1.0/schema.json",
        ],
        "id": scene.id,
        "collection": COLLECTION_ID,
        "bbox": [west, south, east, north],
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "properties": {
            "datetime": None,
            "start_datetime": f"{scene.year}-01-01T00:00:00Z",
            "end_datetime": f"{scene.year + 1}-01-01T00:00:00Z",
            "supercell": scene.tile.id,
            "io:tile_id": scene.tile.id,
            "proj:code": f"EPSG:{scene.tile.epsg}",
            "proj:shape": list(scene.shape),
            "proj:transform": list(scene.transform)[:6],
            "proj:bbox": _projected_bbox(scene),
        },
        "assets": {
            "data": {
                "href": f"{base}/{CONTAINER}/annual/{scene.path.name}",
                "type": GEOTIFF if scene.is_striped else COG,
                "roles": ["data"],
                "title": "Land cover",
                "file:size": scene.size_bytes,
                "file:values": _file_values(),
                "raster:bands": [_band()],
                "classification:classes": _classes(),
            },
            "tilejson": {
                "href": _service(base, "tilejson.json", scene),
                "type": "application/json",
                "roles": ["tiles"],
                "title": "TileJSON with default rendering",
            },
            "rendered_preview": {
                "href": _service(base, "preview.png", scene),
                "type": "image/png",
                "rel": "preview",
                "roles": ["overview"],
                "title": "Rendered preview",
            },
        },
        "links": [
            _link("collection", collection),
            _link("parent", collection),
            _link("root", f"{base}/api/stac/v1/"),
            _link("self", f"{collection}/items/{scene.id}", "application/geo+json"),
        ],
    }


def tilejson_document(base: str, scene: Scene) -> JsonObject:
    """What the ``tilejson`` asset answers. The tiles that it names are not served: only the document is ingested."""
    west, south, east, north = scene.bbox
    return {
        "tilejson": "2.2.0",
        "name": scene.id,
        "version": "1.0.0",
        "scheme": "xyz",
        "tiles": [_service(base, "tiles/WebMercatorQuad/{z}/{x}/{y}@1x", scene)],
        "minzoom": 8,
        "maxzoom": 14,
        "bounds": [west, south, east, north],
        "center": [(west + east) / 2, (south + north) / 2, 10],
    }


def _service(base: str, verb: str, scene: Scene) -> str:
    query = {"collection": COLLECTION_ID, "item": scene.id, "assets": "data", "format": "png"}
    return f"{base}/api/data/v1/item/{verb}?{urlencode(query)}"


def _projected_bbox(scene: Scene) -> list[float]:
    rows, columns = scene.shape
    left, top = scene.transform.c, scene.transform.f
    return [left, top - rows * RESOLUTION, left + columns * RESOLUTION, top]


def _around(boxes: Sequence[tuple[float, float, float, float]]) -> list[float]:
    west, south, east, north = zip(*boxes, strict=True)
    return [min(west), min(south), max(east), max(north)]


def _band() -> JsonObject:
    return {"nodata": NODATA, "data_type": "uint8", "spatial_resolution": RESOLUTION}


def _file_values() -> list[JsonObject]:
    return [{"values": [code], "summary": name} for code, (name, _) in CLASSES.items()]


def _classes() -> list[JsonObject]:
    return [
        {
            "value": code,
            "name": name.lower().replace(" ", "-"),
            "title": name,
            "color_hint": "".join(f"{part:02X}" for part in colour),
            "nodata": code == NODATA,
        }
        for code, (name, colour) in CLASSES.items()
    ]


def _link(rel: str, href: str, media_type: str = "application/json") -> JsonObject:
    return {"rel": rel, "type": media_type, "href": href}
