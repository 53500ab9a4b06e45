"""A whole collection as one picture: newest first, held to rio-tiler's own mosaic of the same files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import morecantile
import numpy as np
import pytest
from rio_tiler.io import Reader
from rio_tiler.models import ImageData
from rio_tiler.mosaic import mosaic_reader
from rio_tiler.mosaic.methods import PixelSelectionMethod

from tiler.served import COLLECTION, ITEM_PREFIX, Tiled, array, bounds_of, tiled

pytestmark = [pytest.mark.acceptance, pytest.mark.filterwarnings("ignore::UserWarning")]

WEB = morecantile.tms.get("WebMercatorQuad")
#: The newest first: each is a day older.
ITEMS = ("second", "first", "fourth", "third", "whole")


@pytest.fixture(scope="module")
def catalog(test_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tiled]:
    raster = test_data / "raster"
    names = ("mosaic4/rgb2.tif", "mosaic4/rgb1.tif", "mosaic4/rgb4.tif", "mosaic4/rgb3.tif", "striped/RGB.byte.tif")
    items = {item: {"image": raster / name} for item, name in zip(ITEMS, names, strict=True)}
    with tiled(tmp_path_factory.mktemp("mosaic"), items) as running:
        yield running


@pytest.fixture(scope="module")
def tile(catalog: Tiled) -> morecantile.Tile:
    """One that several items touch, and others do not."""
    west, south, east, north = bounds_of(catalog.file("whole", "image"))
    return WEB.tile((west + east) / 2, (south + north) / 2, 7)


def expected(catalog: Tiled, tile: morecantile.Tile, selection: str, items: tuple[str, ...] = ITEMS) -> ImageData:
    def read(path: str, x: int, y: int, z: int) -> ImageData:
        with Reader(path) as reader:
            image = reader.tile(x, y, z)
            assert isinstance(image, ImageData)
            return image

    paths = [str(catalog.file(item, "image")) for item in items]
    method = PixelSelectionMethod[selection].value()
    method.exit_when_filled = True
    image, _ = mosaic_reader(paths, read, *tile, pixel_selection=method, threads=0)
    assert isinstance(image, ImageData)
    return image


@pytest.mark.parametrize(
    "selection", ["first", "highest", "lowest", "mean", "median", "stdev", "lastbandhigh", "count"]
)
def test_pixels_are_selected_as_rio_tiler_does(catalog: Tiled, tile: morecantile.Tile, selection: str) -> None:
    path = f"tiles/WebMercatorQuad/{tile.z}/{tile.x}/{tile.y}.npy"
    found = array(catalog.mosaic(path, assets="image", pixel_selection=selection))
    image = expected(catalog, tile, selection)
    valid = ~np.ma.getmaskarray(image.array)
    assert valid.any()
    np.testing.assert_array_equal(found[:-1][valid], image.array.data[valid])
    np.testing.assert_array_equal(found[-1], image.mask)


def test_items_are_chosen_by_the_query(catalog: Tiled, tile: morecantile.Tile) -> None:
    path = f"tiles/{tile.z}/{tile.x}/{tile.y}.npy"
    found = array(catalog.mosaic(path, assets="image", ids="first,fourth"))
    image = expected(catalog, tile, "first", ("first", "fourth"))
    np.testing.assert_array_equal(found[-1], image.mask)
    one = array(catalog.mosaic(path, assets="image", items_limit=1))
    np.testing.assert_array_equal(one[-1], expected(catalog, tile, "first", ("second",)).mask)
    newest = array(catalog.mosaic(path, assets="image", datetime="2024-05-27T00:00:00Z/.."))
    np.testing.assert_array_equal(newest[-1], expected(catalog, tile, "first", ("second", "first")).mask)


def test_points_and_boxes_and_features_of_a_mosaic(catalog: Tiled) -> None:
    west, south, east, north = bounds_of(catalog.file("whole", "image"))
    lon, lat = west + 0.55 * (east - west), south + 0.45 * (north - south)
    answer = catalog.mosaic(f"point/{lon},{lat}", assets="image").json()
    at = catalog.mosaic(f"point/{lon},{lat}/assets").json()
    top = catalog.get(at[0]["id"], f"point/{lon},{lat}", assets="image").json()
    assert answer["values"] == top["values"]
    box = f"{west},{south},{east},{north}"
    assert array(catalog.mosaic(f"bbox/{box}/90x60.npy", assets="image")).shape == (4, 60, 90)
    ring = [[west, south], [east, south], [east, north], [west, south]]
    feature = {"type": "Feature", "properties": {}, "geometry": {"type": "Polygon", "coordinates": [ring]}}
    url = f"{catalog.served.url}/{ITEM_PREFIX}/{COLLECTION}/feature.npy"
    cut = array(catalog.client.post(f"{url}?assets=image&max_size=64", json=feature))
    assert 0 < (cut[-1] == 0).sum() < cut[-1].size


def test_the_items_of_an_area_are_named_newest_first(catalog: Tiled, tile: morecantile.Tile) -> None:
    reach = WEB.bounds(tile)
    boxes = {item: bounds_of(catalog.file(item, "image")) for item in ITEMS}
    touching = [item for item in ITEMS if boxes[item][0] < reach.right and boxes[item][2] > reach.left]
    touching = [item for item in touching if boxes[item][1] < reach.top and boxes[item][3] > reach.bottom]
    assert 1 < len(touching) < len(ITEMS)
    for path in (f"tiles/{tile.z}/{tile.x}/{tile.y}", f"tiles/WebMercatorQuad/{tile.z}.0/{tile.x}.0/{tile.y}.0"):
        found = catalog.mosaic(f"{path}/assets").json()
        assert [entry["id"] for entry in found] == touching
        assert set(found[0]) == {"id", "bbox", "assets", "collection"}
        assert found[0]["assets"]["image"]["href"].startswith(f"{catalog.served.url}/blobs/")
    box = ",".join(map(str, bounds_of(catalog.file("whole", "image"))))
    everything = {"exitwhenfull": "false", "skipcovered": "false"}
    assert [entry["id"] for entry in catalog.mosaic(f"bbox/{box}/assets", **everything).json()] == list(ITEMS)
    shown = [entry["id"] for entry in catalog.mosaic(f"bbox/{box}/assets").json()]
    assert shown == [item for item in ITEMS if item in shown]
    assert shown[0] == "second"
    assert catalog.mosaic("bbox/0,0,1,1/assets").json() == []


def test_where_nothing_lies_is_404_and_tilejson_covers_the_collection(catalog: Tiled, tile: morecantile.Tile) -> None:
    answer = catalog.mosaic("tiles/7/0/0.png", assets="image")
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "OutsideData")
    found = catalog.mosaic("tilejson.json", assets="image", pixel_selection="mean").json()
    known = catalog.client.get(f"{catalog.served.url}/stac/collections/{COLLECTION}").json()["extent"]["spatial"][
        "bbox"
    ]
    assert known[0] != [-180, -90, 180, 90], "the items' own, not what the owner wrote before there were any"
    assert (found["minzoom"], found["maxzoom"], found["bounds"]) == (0, 24, known[0])
    template = found["tiles"][0]
    assert "pixel_selection=mean" in template
    drawn = catalog.client.get(template.format(z=tile.z, x=tile.x, y=tile.y))
    assert drawn.headers["content-type"] in {"image/png", "image/jpeg"}
    assert catalog.mosaic("WMTSCapabilities.xml", assets="image").status_code == 200
    assert len(catalog.mosaic("tiles").json()["tilesets"]) == 13
    assert catalog.client.get(f"{catalog.served.url}/{ITEM_PREFIX}/missing/tilejson.json").status_code == 404
