"""A viewport of many small items: no tile fails, however many items lie below it, and the pixels are theirs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import morecantile
import numpy as np
import pytest
import rasterio
from rasterio.transform import from_bounds
from rio_tiler.io import Reader
from rio_tiler.models import ImageData
from rio_tiler.mosaic import mosaic_reader
from rio_tiler.mosaic.methods import PixelSelectionMethod

from acceptance.documents import collection
from acceptance.serving import Served
from acceptance.source import Source
from tiler.served import COLLECTION, Tiled, array, document

pytestmark = [pytest.mark.acceptance, pytest.mark.filterwarnings("ignore::UserWarning")]

WEB = morecantile.tms.get("WebMercatorQuad")
ROWS, COLUMNS, SIDE = 6, 8, 0.12
WEST, SOUTH = 8.0, 46.0


def small_cog(path: Path, box: tuple[float, float, float, float], seed: int) -> None:
    """Three bands; a corner has no data."""
    rng = np.random.default_rng(seed)
    pixels = (rng.integers(20, 230, (3, 1, 1)) + rng.integers(-15, 15, (3, 128, 128))).astype("uint8")
    pixels[:, :20, :20] = 0
    profile: dict[str, Any] = {"driver": "COG", "count": 3, "dtype": "uint8", "width": 128, "height": 128, "nodata": 0}
    with rasterio.open(path, "w", crs="EPSG:4326", transform=from_bounds(*box, 128, 128), **profile) as dataset:
        dataset.write(pixels)


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tiled]:
    folder = tmp_path_factory.mktemp("viewport")
    documents, files = [], {}
    for number in range(ROWS * COLUMNS):
        column, row = divmod(number, ROWS)
        west, south = WEST + column * SIDE, SOUTH + row * SIDE
        box = (west, south, west + SIDE * 1.05, south + SIDE * 1.05)
        small_cog(folder / "scene.tif", box, number)
        files[f"{number}.tif"] = (folder / "scene.tif").read_bytes()
        documents.append((f"s{number:02}", box, f"2024-05-{number % 28 + 1:02}T10:00:00Z"))
    with Source(files, token=None) as source, Served(folder, env={"GRATICULE_FETCH_ALLOW": source.host}) as served:
        client = served.client()
        assert client.post(f"{served.url}/stac/collections", json=collection(COLLECTION)).status_code == 202
        features = [
            document(name, {"image": source.href(f"{int(name[1:])}.tif")}, box, moment)
            for name, box, moment in documents
        ]
        posted = client.post(
            f"{served.url}/stac/collections/{COLLECTION}/items",
            json={"type": "FeatureCollection", "features": features},
        )
        assert served.finished(client, posted)["status"] == "Succeeded"
        yield Tiled(served, served.client("reader"))


@pytest.mark.parametrize("zoom", [4, 6, 8])
def test_no_tile_of_a_viewport_fails(scenes: Tiled, zoom: int) -> None:
    middle = WEB.tile(WEST + COLUMNS * SIDE / 2, SOUTH + ROWS * SIDE / 2, zoom)
    places = [(middle.x + x, middle.y + y) for x in range(-4, 5) for y in range(-3, 4)]

    def one(place: tuple[int, int]) -> int:
        return scenes.mosaic(f"tiles/{zoom}/{place[0]}/{place[1]}.png", assets="image").status_code

    with ThreadPoolExecutor(8) as threads:
        statuses = Counter(threads.map(one, places))
    assert statuses[200] + statuses[404] == 63
    assert statuses[200] > 0
    drawn = scenes.mosaic(f"tiles/{zoom}/{middle.x}/{middle.y}.png", assets="image")
    assert drawn.status_code == 200


@pytest.mark.parametrize("selection", ["first", "mean"])
def test_items_that_cover_little_of_a_tile_are_drawn_as_rio_tiler_does(scenes: Tiled, selection: str) -> None:
    x, y, z = tile = WEB.tile(WEST + 0.5, SOUTH + 0.4, 8)
    # Few, because rio-tiler warps all of the tile for each of them.
    few = {"ids": "s19,s20,s21,s25,s26"}
    found = array(scenes.mosaic(f"tiles/{z}/{x}/{y}.npy", assets="image", pixel_selection=selection, **few))
    everything = {"skipcovered": "false", "exitwhenfull": "false", **few}
    items = [item["id"] for item in scenes.mosaic(f"tiles/{z}/{x}/{y}/assets", **everything).json()]
    assert len(items) == 5

    def read(path: str, *place: int) -> ImageData:
        with Reader(path) as reader:
            image = reader.tile(*place)
            assert isinstance(image, ImageData)
            return image

    method = PixelSelectionMethod[selection].value()
    paths = [str(scenes.file(item, "image")) for item in items]
    expected, _ = mosaic_reader(paths, read, *tile, pixel_selection=method, threads=0)
    assert isinstance(expected, ImageData)
    # Each item is a few pixels wide here, and its edge falls on either side of a pixel's middle.
    mask = expected.mask > 0
    assert mask.any()
    assert ((found[-1] > 0) != mask).sum() <= 0.05 * mask.sum()
    both = mask & (found[-1] > 0)
    difference = np.abs(found[:-1].astype(int) - expected.array.data.astype(int))[:, both]
    assert (difference > 31).mean() < 0.05, "noise of a scene is 30 values; scenes differ by more"
