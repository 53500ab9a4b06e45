"""How the tiler answers over HTTP: forms of paths, documents, bad input, caching, limits, crashes, the official SDK."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import morecantile
import psutil
import pytest
import requests
from rio_tiler.io import Reader

from acceptance.documents import collection, item
from tiler.served import COLLECTION, ITEM_PREFIX, Tiled, array, bounds_of, tiled

pytestmark = [pytest.mark.acceptance, pytest.mark.filterwarnings("ignore::UserWarning")]

WEB = morecantile.tms.get("WebMercatorQuad")


@pytest.fixture(scope="module")
def catalog(test_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tiled]:
    raster = test_data / "raster"
    items = {
        "rgb": {"image": raster / "sentinel2" / "TCI.tif"},
        "sentinel": {"B01": raster / "sentinel2" / "B01.tif", "B09": raster / "sentinel2" / "B09.tif"},
        "naip": {"image": raster / "naip" / "m_4112001_sw_10_060_20220716.tif"},
    }
    with tiled(tmp_path_factory.mktemp("tiler"), items, GRATICULE_RENDER_PROCESSES="2") as running:
        yield running


@pytest.fixture(scope="module")
def tile(catalog: Tiled) -> morecantile.Tile:
    """A tile in the middle of the item `rgb`."""
    west, south, east, north = bounds_of(catalog.file("rgb", "image"))
    return WEB.tile((west + east) / 2, (south + north) / 2, 10)


def preview_url(catalog: Tiled, item_id: str) -> str:
    return f"{catalog.served.url}/data/collections/{COLLECTION}/items/{item_id}"


def refused(answer: requests.Response, status: int, code: str, *words: str) -> None:
    assert answer.status_code == status, answer.text[:500]
    error = answer.json()["error"]
    assert error["code"] == code == answer.headers["x-ms-error-code"]
    for word in words:
        assert word in error["message"]


# --- paths -----------------------------------------------------------------------------------------------------------


def test_all_eight_forms_of_a_tile_in_integers_and_floats(catalog: Tiled, tile: morecantile.Tile) -> None:
    z, x, y = tile.z, tile.x, tile.y
    sizes = {}
    for grid in ("WebMercatorQuad/", ""):
        for number in ("{}", "{}.0"):
            place = "/".join(number.format(value) for value in (z, x, y))
            for scale in ("", "@" + number.format(1) + "x", "@" + number.format(2) + "x"):
                for end in ("", ".npy"):
                    query = {} if end else {"format": "npy"}
                    answer = catalog.get("rgb", f"tiles/{grid}{place}{scale}{end}", assets="image", **query)
                    sizes[scale.removesuffix(".0x").removesuffix("x")] = array(answer).shape
    assert sizes == {"": (4, 256, 256), "@1": (4, 256, 256), "@2": (4, 512, 512)}


def test_the_preview_versions_paths_have_the_same_answers(catalog: Tiled, tile: morecantile.Tile) -> None:
    old = preview_url(catalog, "rgb")
    query: dict[str, Any] = {"assets": "image", "api-version": "2025-04-30-preview"}
    path = f"tiles/WebMercatorQuad/{tile.z}.0/{tile.x}.0/{tile.y}.0@1.0x.png"
    found = catalog.client.get(f"{old}/{path}", params=query)
    assert found.content == catalog.get("rgb", path, assets="image").content
    west, south, east, north = bounds_of(catalog.file("rgb", "image"))
    box = f"{west},{south},{east},{north}"
    for before, now in ((f"crop/{box}.png", f"bbox/{box}.png"), (f"crop/{box}/64x32.png", f"bbox/{box}/64x32.png")):
        found = catalog.client.get(f"{old}/{before}", params=query)
        assert found.status_code == 200
        assert found.content == catalog.get("rgb", now, assets="image").content
    ring = [[west, south], [east, south], [east, north], [west, south]]
    feature = {"type": "Feature", "properties": {}, "geometry": {"type": "Polygon", "coordinates": [ring]}}
    for before, now in (("crop.png", "feature.png"), ("crop/64x32.png", "feature/64x32.png")):
        found = catalog.client.post(f"{old}/{before}", params=query, json=feature)
        assert found.content == catalog.post("rgb", now, feature, assets="image").content
    for name in ("info", "info.geojson", "bounds", "assets", "statistics?max_size=64", "asset_statistics?max_size=64"):
        assert catalog.client.get(f"{old}/{name}").json() == catalog.get("rgb", name).json()
    merc = WEB.xy_bounds(tile)
    middle = f"{(merc.left + merc.right) / 2},{(merc.bottom + merc.top) / 2}"
    found = catalog.client.get(f"{old}/point/{middle}", params={**query, "coord-crs": "EPSG:3857"})
    assert found.json() == catalog.get("rgb", f"point/{middle}", assets="image", coord_crs="epsg:3857").json()


# --- documents -------------------------------------------------------------------------------------------------------


def test_what_an_item_says_of_itself(catalog: Tiled) -> None:
    with Reader(str(catalog.file("sentinel", "B01"))) as reader:
        expected, zooms = reader.info(), (reader.minzoom, reader.maxzoom)
    assert catalog.get("sentinel", "assets").json() == ["B01", "B09"]
    info = catalog.get("sentinel", "info").json()
    assert list(info) == ["B01", "B09"]
    assert info["B01"]["bounds"] == list(expected.bounds)
    assert (info["B01"]["dtype"], info["B01"]["count"], info["B01"]["driver"]) == ("uint16", 1, "GTiff")
    assert (info["B01"]["minzoom"], info["B01"]["maxzoom"]) == zooms
    assert list(catalog.get("sentinel", "info", assets="B09").json()) == ["B09"]
    feature = catalog.get("sentinel", "info.geojson").json()
    assert (feature["type"], feature["id"], feature["properties"]) == ("Feature", "sentinel", info)
    assert feature["bbox"] == catalog.get("sentinel", "bounds").json()["bounds"]
    statistics = catalog.get("sentinel", "asset_statistics", max_size=64).json()
    assert {asset: list(bands) for asset, bands in statistics.items()} == {"B01": ["b1"], "B09": ["b1"]}
    both = catalog.get("sentinel", "statistics", max_size=64, p="5,95", histogram_bins="4").json()
    assert list(both) == ["B01_b1", "B09_b1"]
    assert {"percentile_5", "percentile_95"} <= set(both["B01_b1"])
    assert len(both["B01_b1"]["histogram"][0]) == 4


def test_tile_matrix_sets(catalog: Tiled) -> None:
    names = catalog.client.get(f"{catalog.served.url}/data/tile-matrix-sets").json()
    assert names == sorted(morecantile.tms.list())
    for name in names:
        found = catalog.client.get(f"{catalog.served.url}/data/tile-matrix-sets/{name}").json()
        assert isinstance(found["crs"], str)
        assert len(found["tileMatrices"]) == len(morecantile.tms.get(name).tileMatrices)
    web = catalog.client.get(f"{catalog.served.url}/data/tile-matrix-sets/WebMercatorQuad").json()
    assert len(web["tileMatrices"]) == 25
    assert web["crs"] == "http://www.opengis.net/def/crs/EPSG/0/3857"
    unknown = catalog.client.get(f"{catalog.served.url}/data/tile-matrix-sets/Nowhere")
    refused(unknown, 404, "NotFound", "Nowhere", "WebMercatorQuad")


def test_tilesets_hold_the_tiles_of_the_data(catalog: Tiled, tile: morecantile.Tile) -> None:
    listed = catalog.get("rgb", "tiles").json()["tilesets"]
    assert [entry["title"] for entry in listed] == sorted(morecantile.tms.list())
    web = next(entry for entry in listed if entry["title"] == "WebMercatorQuad")
    found = catalog.client.get(web["links"][0]["href"]).json()
    limits = {entry["tileMatrix"]: entry for entry in found["tileMatrixSetLimits"]}
    at = limits[str(tile.z)]
    assert at["minTileCol"] <= tile.x <= at["maxTileCol"]
    assert at["minTileRow"] <= tile.y <= at["maxTileRow"]
    outside = catalog.get("rgb", f"tiles/{tile.z}/{at['minTileCol'] - 1}/{tile.y}", assets="image")
    refused(outside, 404, "OutsideData")


def test_tilejson_leads_to_tiles(catalog: Tiled, tile: morecantile.Tile) -> None:
    query = {"assets": ["B09", "B01", "B01"], "rescale": ["0,3000", "0,4000", "0,5000"], "tile_scale": 2}
    found = catalog.get("sentinel", "WebMercatorQuad/tilejson.json", tile_format="png", **query).json()
    assert (found["tilejson"], found["scheme"], found["name"]) == ("2.2.0", "xyz", "sentinel")
    assert 0 <= found["minzoom"] <= found["maxzoom"] <= 24
    (template,) = found["tiles"]
    assert "@2x.png?" in template
    assert "api-version=2026-04-15" in template
    assert "tile_format" not in template
    west, south, east, north = found["bounds"]
    assert west < found["center"][0] < east
    assert south < found["center"][1] < north
    url = re.sub(r"\{(\w)\}", lambda match: str(getattr(tile, match[1])), template)
    drawn = catalog.client.get(url)
    assert (drawn.status_code, drawn.headers["content-type"]) == (200, "image/png")
    bounded = catalog.get("sentinel", "tilejson.json", assets="B01", minzoom=3, maxzoom=14).json()
    assert (bounded["minzoom"], bounded["maxzoom"]) == (3, 14)
    old = catalog.client.get(
        f"{preview_url(catalog, 'rgb')}/WebMercatorQuad/tilejson.json",
        params={"assets": "image", "api-version": "2025-04-30-preview"},
    ).json()["tiles"][0]
    assert catalog.client.get(re.sub(r"\{(\w)\}", lambda match: str(getattr(tile, match[1])), old)).status_code == 200


def test_wmts_leads_to_tiles(catalog: Tiled, tile: morecantile.Tile) -> None:
    answer = catalog.get("rgb", "WMTSCapabilities.xml", assets="image", minzoom=8, maxzoom=12, api_key="a&b")
    assert answer.headers["content-type"] == "application/xml"
    assert answer.text.startswith('<Capabilities xmlns="http://www.opengis.net/wmts/1.0"')
    root = ET.fromstring(answer.text)
    spaces = {"w": "http://www.opengis.net/wmts/1.0", "o": "http://www.opengis.net/ows/1.1"}
    matrices = root.findall(".//w:TileMatrix", spaces)
    assert [matrix.findtext("o:Identifier", None, spaces) for matrix in matrices] == ["8", "9", "10", "11", "12"]
    assert root.findtext(".//w:Layer/o:Identifier", None, spaces) == "default"
    assert root.findtext(".//o:SupportedCRS", None, spaces) == "urn:ogc:def:crs:EPSG::3857"
    resource = root.find(".//w:ResourceURL", spaces)
    assert resource is not None
    template = resource.attrib["template"]
    assert "/{TileMatrix}/{TileCol}/{TileRow}@1x.png?" in template
    url = template.format(TileMatrix=tile.z, TileCol=tile.x, TileRow=tile.y)
    assert catalog.client.get(url).headers["content-type"] == "image/png"


# --- bad input -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "status", "code", "word"),
    [
        ({}, 400, "InvalidParameter", "assets"),
        ({"assets": "nothing"}, 404, "NotFound", "image"),
        ({"assets": "image", "asset_bidx": "image|9"}, 400, "InvalidParameter", "4"),
        ({"assets": "image", "asset_bidx": "other|1"}, 404, "NotFound", "other"),
        ({"assets": "image", "bidx": "0"}, 400, "InvalidParameter", "bidx"),
        ({"expression": "__import__('os')"}, 400, "InvalidParameter", "expression"),
        ({"expression": "image_b1.real"}, 400, "InvalidParameter", "expression"),
        ({"expression": "9**9**9**image_b1"}, 400, "InvalidParameter", "expression"),
        ({"expression": "image_b9"}, 400, "InvalidParameter", "band 9"),
        ({"expression": "other_b1"}, 400, "InvalidParameter", "other_b1"),
        ({"assets": "image", "rescale": "5"}, 400, "InvalidParameter", "rescale"),
        ({"assets": "image", "rescale": ["0,1", "0,1"]}, 400, "InvalidParameter", "rescale"),
        ({"assets": "image", "colormap_name": "nope"}, 400, "InvalidParameter", "nope"),
        ({"assets": "image", "colormap_name": "viridis"}, 400, "InvalidParameter", "one band"),
        ({"assets": "image", "colormap": "{"}, 400, "InvalidParameter", "colormap"),
        ({"assets": "image", "algorithm": "nope"}, 400, "InvalidParameter", "hillshade"),
        ({"assets": "image", "algorithm": "hillshade"}, 400, "InvalidParameter", "bands"),
        (
            {"assets": "image", "bidx": 1, "algorithm": "hillshade", "algorithm_params": '{"azimuth": 900}'},
            400,
            "InvalidParameter",
            "azimuth",
        ),
        ({"assets": "image", "resampling": "nope"}, 400, "InvalidParameter", "bilinear"),
        ({"assets": "image", "nodata": "nope"}, 400, "InvalidParameter", "nodata"),
        ({"assets": "image", "buffer": "0.3"}, 400, "InvalidParameter", "buffer"),
        ({"assets": "image", "color_formula": "nope R 3", "bidx": [1, 2, 3]}, 400, "InvalidParameter", "color_formula"),
        ({"assets": "image", "max_size": 16000}, 400, "RenderLimitExceeded", "GRATICULE_RENDER_MAX_PIXELS"),
        ({"assets": "image", "width": 9000, "height": 9000}, 400, "RenderLimitExceeded", "width"),
        ({"assets": "image", "width": -1}, 400, "InvalidParameter", "width"),
        ({"assets": "image"}, 400, "InvalidParameter", "one band or three"),
    ],
)
def test_bad_parameters_are_named(catalog: Tiled, query: dict[str, Any], status: int, code: str, word: str) -> None:
    refused(catalog.get("naip", "preview.png", **query), status, code, word)


def test_bad_places_are_refused(catalog: Tiled, tile: morecantile.Tile) -> None:
    z, x, y = tile.z, tile.x, tile.y
    refused(catalog.get("rgb", f"tiles/{z}/{2**z}/{y}", assets="image"), 400, "InvalidParameter", "x=1024")
    refused(catalog.get("rgb", f"tiles/{z}/{x}/-1", assets="image"), 400, "InvalidParameter", "y=-1")
    refused(catalog.get("rgb", f"tiles/31/{x}/{y}", assets="image"), 400, "InvalidParameter", "31")
    refused(catalog.get("rgb", f"tiles/{z}/{x}.5/{y}", assets="image"), 400, "InvalidParameter", "x")
    refused(catalog.get("rgb", f"tiles/{z}/{x}/{y}@7x", assets="image"), 400, "InvalidParameter", "scale")
    refused(catalog.get("rgb", f"tiles/{z}/{x}/{y}.gif", assets="image"), 400, "InvalidParameter", "gif")
    refused(catalog.get("rgb", f"tiles/Nowhere/{z}/{x}/{y}", assets="image"), 404, "NotFound", "Nowhere")
    refused(catalog.get("rgb", "tiles/10/0/0", assets="image"), 404, "OutsideData")
    refused(catalog.get("rgb", "point/0,0", assets="image"), 404, "OutsideData")
    refused(catalog.get("rgb", "point/23,33"), 400, "InvalidParameter", "assets")
    refused(catalog.get("rgb", "bbox/5,5,6,6.png", assets="image"), 404, "OutsideData")
    refused(catalog.get("rgb", "bbox/6,5,5,6.png", assets="image"), 400, "InvalidParameter", "minx")
    refused(catalog.get("rgb", "point/1,1", assets="image", coord_crs="EPSG:1"), 400, "InvalidParameter", "coord_crs")
    refused(catalog.get("rgb", "point/1,1", assets="image", coord_crs="/vsicurl/x"), 400, "InvalidParameter", "crs")
    for geometry in (None, {"type": "Point", "coordinates": [1, 2]}, {"type": "Polygon", "coordinates": [[[1]]]}):
        feature = {"type": "Feature", "geometry": geometry}
        refused(catalog.post("rgb", "feature.png", feature, assets="image"), 400, "InvalidRequestBody")
    bare = {"type": "Polygon", "coordinates": [[[0, 0], [1, 0], [1, 1], [0, 0]]]}
    refused(catalog.post("rgb", "feature.png", bare, assets="image"), 400, "InvalidRequestBody", "Feature")
    refused(catalog.get("missing", "info"), 404, "NotFound", "missing")


def test_only_stored_files_are_opened(catalog: Tiled) -> None:
    admin = catalog.served.client()
    url = f"{catalog.served.url}/stac/collections"
    assert admin.post(url, json=collection("elsewhere")).status_code == 202
    lines = catalog.served.data_dir.parent / "items.ndjson"
    import json  # noqa: PLC0415

    asset = {"href": "/vsicurl/http://127.0.0.1:1/secret.tif", "type": "image/tiff", "roles": ["data"]}
    document = item("far", {"image": asset}, collection="elsewhere")
    lines.write_text(json.dumps(document) + "\n")
    catalog.served.command("load", str(lines))
    base = f"{catalog.served.url}/{ITEM_PREFIX}/elsewhere/items/far"
    assert catalog.client.get(f"{base}/assets").json() == []
    answer = catalog.client.get(f"{base}/preview.png", params={"assets": "image"})
    refused(answer, 400, "InvalidParameter", "not stored in this catalog")


# --- caching ---------------------------------------------------------------------------------------------------------


def test_answers_are_kept_until_the_data_changes(catalog: Tiled, tile: morecantile.Tile) -> None:
    path = f"tiles/{tile.z}/{tile.x}/{tile.y}.png"
    first = catalog.get("rgb", path, assets="image")
    assert first.headers["cache-control"] == "private, no-cache"
    tag = first.headers["etag"]
    again = catalog.client.get(
        f"{catalog.url('rgb')}/{path}", params={"assets": "image"}, headers={"If-None-Match": tag}
    )
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
    assert catalog.get("rgb", path, assets="image", rescale="0,100").headers["etag"] != tag
    assert catalog.get("rgb", path, assets="image", unheard_of="1").headers["etag"] == tag
    assert catalog.get("rgb", "info").headers["etag"] != tag
    assert catalog.client.head(f"{catalog.url('rgb')}/{path}", params={"assets": "image"}).headers["etag"] == tag


# --- processes -------------------------------------------------------------------------------------------------------


def renderers(catalog: Tiled) -> list[psutil.Process]:
    assert catalog.served.process is not None
    return [
        process
        for process in psutil.Process(catalog.served.process.pid).children(recursive=True)
        if any("graticule.tiler.child" in word for word in process.cmdline())
    ]


def test_a_render_process_that_dies_is_replaced(catalog: Tiled) -> None:
    assert catalog.get("rgb", "preview.png", assets="image", max_size=64).status_code == 200
    before = renderers(catalog)
    assert 1 <= len(before) <= 2
    for process in before:
        os.kill(process.pid, signal.SIGSEGV)
    psutil.wait_procs(before, timeout=20)
    assert catalog.get("rgb", "preview.png", assets="image", max_size=65).status_code == 200
    assert not {process.pid for process in renderers(catalog)} & {process.pid for process in before}


def test_a_request_whose_process_dies_is_answered_500(catalog: Tiled) -> None:
    assert catalog.get("rgb", "info").status_code == 200
    stopped = renderers(catalog)
    for process in stopped:
        process.suspend()
    import threading  # noqa: PLC0415

    answers: list[requests.Response] = []
    asking = threading.Thread(
        target=lambda: answers.append(catalog.get("rgb", "preview.png", assets="image", max_size=66))
    )
    asking.start()
    until = time.monotonic() + 30
    while not answers and time.monotonic() < until:
        time.sleep(0.3)  # it is asked by now, or a moment later
        for process in stopped:
            if process.is_running():
                process.kill()
        asking.join(0.2)
    asking.join(30)
    assert answers[0].status_code in {200, 500}  # 200: the process was dead before it was asked
    if answers[0].status_code == 500:
        assert answers[0].json()["error"]["code"] == "InternalError"
    assert catalog.get("rgb", "preview.png", assets="image", max_size=67).status_code == 200


def test_the_api_process_loads_no_pixel_library(catalog: Tiled) -> None:
    assert catalog.get("rgb", "preview.png", assets="image").status_code == 200
    assert catalog.served.process is not None
    (api,) = (child for child in psutil.Process(catalog.served.process.pid).children() if "_api" in child.cmdline())
    mapped = {Path(entry.path).name for entry in api.memory_maps()}
    assert not [name for name in mapped if "gdal" in name.lower() or "rasterio" in name.lower()]


# --- the official SDK ------------------------------------------------------------------------------------------------


def test_the_official_sdk(catalog: Tiled, tile: morecantile.Tile) -> None:
    from azure.core.credentials import AccessToken  # noqa: PLC0415
    from azure.core.pipeline.policies import SansIOHTTPPolicy  # noqa: PLC0415
    from azure.planetarycomputer import PlanetaryComputerProClient  # noqa: PLC0415

    token = catalog.served.token("reader")

    class Credential:
        def get_token(self, *_scopes: str, **_options: Any) -> AccessToken:
            return AccessToken(token, int(time.time()) + 3600)

    class Bearer(SansIOHTTPPolicy):  # type: ignore[type-arg]
        """The SDK's own refuses http."""

        def on_request(self, request: Any) -> None:
            request.http_request.headers["Authorization"] = f"Bearer {token}"

    client = PlanetaryComputerProClient(catalog.served.url, Credential(), authentication_policy=Bearer())
    data = client.data
    where: dict[str, Any] = {"collection_id": COLLECTION, "item_id": "rgb"}
    place: dict[str, Any] = {"z": tile.z, "x": tile.x, "y": tile.y}

    def same(found: Any, path: str, **query: Any) -> None:
        assert b"".join(found) == catalog.get("rgb", path, assets="image", **query).content, path

    at = f"{tile.z}/{tile.x}/{tile.y}"
    image: dict[str, Any] = {"assets": ["image"]}
    assert data.get_tile_matrices() == sorted(morecantile.tms.list())
    assert data.get_tile_matrix_definitions("WebMercatorQuad").id == "WebMercatorQuad"
    bounds = catalog.get("rgb", "bounds").json()["bounds"]
    assert list(data.get_item_bounds(**where).bounds) == bounds
    assert list(data.get_item_available_assets(**where)) == ["image"]
    assert data.get_item_info(**where)["image"]["dtype"] == "uint8"
    assert data.get_item_info_geo_json(**where).properties["image"].count == 3
    assert data.get_item_statistics(**where, **image)["image_b1"]["max"] == 255
    assert data.get_item_asset_statistics(**where, **image)["image"]["b1"]["max"] == 255
    web: dict[str, Any] = {"tile_matrix_set_id": "WebMercatorQuad"}
    same(data.get_tile(**where, **web, **place, **image), f"tiles/{at}")
    same(data.get_tile_by_format(**where, **web, **place, format="png", **image), f"tiles/{at}.png")
    same(data.get_tile_by_scale(**where, **web, **place, scale=2, **image), f"tiles/{at}@2x")
    everything = data.get_tile_by_scale_and_format(**where, **web, **place, scale=1, format="webp", **image)
    same(everything, f"tiles/{at}.webp")
    same(data.get_tile_no_tms(**where, **place, **image), f"tiles/{at}")
    same(data.get_tile_no_tms_by_format(**where, **place, format="png", **image), f"tiles/{at}.png")
    same(data.get_tile_no_tms_by_scale(**where, **place, scale=2, **image), f"tiles/{at}@2x")
    nothing = data.get_tile_no_tms_by_scale_and_format(**where, **place, scale=1, format="png", **image)
    same(nothing, f"tiles/{at}.png")
    same(data.get_item_preview(**where, **image), "preview")
    same(data.get_item_preview_with_format(**where, format="png", **image), "preview.png")
    west, south, east, north = bounds
    box: dict[str, Any] = {"min_x": west, "min_y": south, "max_x": east, "max_y": north}
    path = f"bbox/{west},{south},{east},{north}"
    same(data.get_item_bbox_crop(**where, **box, format="png", **image), f"{path}.png")
    sized = data.get_item_bbox_crop_with_dimensions(**where, **box, width=64, height=32, format="png", **image)
    same(sized, f"{path}/64x32.png")
    middle: dict[str, Any] = {"longitude": (west + east) / 2, "latitude": (south + north) / 2}
    assert list(data.get_item_point(**where, **middle, **image).band_names) == ["image_b1", "image_b2", "image_b3"]
    assert data.get_item_tile_json(**where, **image).tiles[0].startswith(catalog.url("rgb"))
    assert "assets=image" in data.get_item_tile_json_by_tms(**where, **web, **image).tiles[0]
    assert b"".join(data.get_item_wmts_capabilities(**where, **image)).startswith(b"<Capabilities")
    assert b"".join(data.get_item_wmts_capabilities_by_tms(**where, **web, **image)).startswith(b"<Capabilities")
    assert len(data.get_tilesets(**where).tilesets) == 13
    assert data.get_tileset_metadata(**where, **web).title == "WebMercatorQuad"
