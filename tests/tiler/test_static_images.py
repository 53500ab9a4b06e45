"""Static images of the preview version: the same picture as a crop, under a URL that needs no memory of ours."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from tiler.served import COLLECTION, Tiled, bounds_of, decoded, tiled

pytestmark = [
    pytest.mark.acceptance,
    pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning"),
]


@pytest.fixture(scope="module")
def catalog(test_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tiled]:
    raster = test_data / "raster"
    items = {"whole": {"image": raster / "striped/RGB.byte.tif"}, "below": {"image": raster / "mosaic4/rgb1.tif"}}
    with tiled(tmp_path_factory.mktemp("static"), items) as running:
        yield running


@pytest.fixture
def box(catalog: Tiled) -> tuple[float, float, float, float]:
    return bounds_of(catalog.file("below", "image"))


def body(box: tuple[float, float, float, float], **members: Any) -> dict[str, Any]:
    west, south, east, north = box
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    return {
        "cql": {"op": "=", "args": [{"property": "id"}, "below"]},
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "render_params": f"collection={COLLECTION}&assets=image",
        "cols": 120,
        "rows": 80,
        **members,
    }


def post(catalog: Tiled, document: Any) -> requests.Response:
    url = f"{catalog.served.url}/data/collections/{COLLECTION}/image/static"
    return catalog.client.post(url, params={"api-version": "2025-04-30-preview"}, json=document)


def test_an_image_is_the_crop_of_the_items_that_the_filter_leaves(catalog: Tiled, box: Any) -> None:
    made = post(catalog, body(box))
    assert made.status_code == 200, made.text
    image = catalog.client.get(made.json()["url"])
    assert image.headers["content-type"] == "image/png"
    assert decoded(image.content).shape[:2] == (80, 120)
    path = f"bbox/{','.join(map(str, box))}/120x80.png"
    expected = catalog.mosaic(path, assets="image", ids="below", dst_crs="epsg:3857")
    assert image.content == expected.content
    everything = catalog.client.get(post(catalog, body(box, cql={})).json()["url"])
    assert everything.content == catalog.mosaic(path, assets="image", dst_crs="epsg:3857").content
    assert everything.content != image.content


def test_a_url_outlives_the_server(catalog: Tiled, box: Any) -> None:
    url = post(catalog, body(box)).json()["url"]
    assert post(catalog, body(box, showBranding=True, imageSize="120x80")).json()["url"] == url
    before = catalog.client.get(url).content
    catalog.served.stop()
    catalog.served.start()
    assert catalog.client.get(url).content == before


@pytest.mark.parametrize(
    ("members", "target"),
    [
        ({"cols": 0}, "cols"),
        ({"rows": "80"}, "rows"),
        ({"render_params": None}, "render_params"),
        ({"render_params": "rescale=0,1"}, "render_params"),
        ({"render_params": "assets=image&colormap_name=nonesuch"}, "render_params"),
        ({"cql": {"op": "nonesuch", "args": []}}, "cql"),
        ({"geometry": {"type": "Point", "coordinates": [0, 0]}}, "geometry"),
        ({"cols": 16000, "rows": 16000}, "width"),
    ],
)
def test_what_cannot_be_drawn_is_refused_when_it_is_asked_for(
    catalog: Tiled, box: Any, members: dict[str, Any], target: str
) -> None:
    refused = post(catalog, body(box, **members))
    assert refused.status_code == 400, refused.text
    assert refused.json()["error"]["target"] == target


@pytest.mark.parametrize("image_id", ["none", "AAAA", "eJyrrgUAAXUA-Q", "e%C3%A9"])
def test_an_id_of_nobody_is_not_found_or_refused(catalog: Tiled, image_id: str) -> None:
    found = catalog.client.get(f"{catalog.served.url}/data/collections/{COLLECTION}/image/static/{image_id}")
    assert found.status_code in {400, 404}
    assert found.json()["error"]["message"]
