"""Registered searches over HTTP, in both versions: the same pixels as the collection's mosaic, settings, limits."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from xml.etree import ElementTree as ET

import morecantile
import numpy as np
import pytest
import requests

from tiler.conftest import MOSAIC_ITEMS
from tiler.served import COLLECTION, Tiled, array, bounds_of, colours

pytestmark = [pytest.mark.acceptance, pytest.mark.filterwarnings("ignore::UserWarning")]

PREVIEW = "2025-04-30-preview"
FILTER = {"op": "=", "args": [{"property": "collection"}, COLLECTION]}


def register(catalog: Tiled, body: dict[str, Any], **query: str) -> dict[str, Any]:
    answer = catalog.client.post(f"{catalog.served.url}/data/mosaic/register", json=body, params=query)
    assert answer.status_code == 200, answer.text
    made: dict[str, Any] = answer.json()
    return made


@pytest.fixture(scope="module")
def search(mosaics: Tiled) -> str:
    """The address of a search that names its collection in the filter only."""
    found = register(mosaics, {"filter": FILTER, "filter-lang": "cql2-json"})["searchid"]
    return f"{mosaics.served.url}/data/mosaic/searches/{found}"


@contextmanager
def tile_settings(catalog: Tiled, **settings: Any) -> Iterator[None]:
    url = f"{catalog.served.url}/stac/collections/{COLLECTION}/configurations/tile-settings"
    administrator = catalog.served.client()
    before = administrator.get(url).json()
    assert administrator.put(url, json={**before, **settings}).status_code == 200
    try:
        yield
    finally:
        assert administrator.put(url, json=before).status_code == 200


def test_one_search_has_one_id_and_links_of_its_version(mosaics: Tiled) -> None:
    made = register(mosaics, {"collections": [COLLECTION], "filter": FILTER, "filter-lang": "cql2-json"})
    again = register(mosaics, {"filter_lang": "cql2-json", "filter": FILTER, "collections": [COLLECTION]})
    assert again["searchid"] == made["searchid"]
    links = {link["rel"]: link["href"] for link in made["links"]}
    prefix = f"{mosaics.served.url}/data/mosaic/searches/{made['searchid']}"
    assert links["tilejson"].startswith(f"{prefix}/tilejson.json")
    for href in links.values():
        assert mosaics.client.get(href, params={"assets": "image"}).status_code == 200, href
    preview = register(mosaics, {"filter": FILTER}, **{"api-version": PREVIEW})
    for link in preview["links"]:
        assert f"/data/mosaic/{preview['searchid']}/" in link["href"]
        assert mosaics.client.get(link["href"], params={"assets": "image"}).status_code == 200, link


def test_bad_searches_are_refused(mosaics: Tiled) -> None:
    url = f"{mosaics.served.url}/data/mosaic/register"
    answer = mosaics.client.post(url, json={"filter": {"op": "nonsense", "args": []}})
    assert (answer.status_code, answer.json()["error"]["target"]) == (400, "filter")
    assert mosaics.client.post(url, json=[]).status_code == 400
    assert requests.post(url, json={}, timeout=10).status_code == 401
    for path in ("searches/" + "0" * 32 + "/info", "0" * 32 + "/info", "searches/x/tiles/1/0/0?assets=image"):
        answer = mosaics.client.get(f"{mosaics.served.url}/data/mosaic/{path}")
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "NotFound")


def test_info_tells_the_search_and_its_uses(mosaics: Tiled) -> None:
    made = register(mosaics, {"ids": ["first"], "collections": [COLLECTION], "metadata": {"name": "One item"}})
    url = f"{mosaics.served.url}/data/mosaic/searches/{made['searchid']}"
    before = mosaics.client.get(f"{url}/info").json()["search"]
    assert before["hash"] == made["searchid"]
    assert before["search"] == {"collections": [COLLECTION], "ids": ["first"]}
    assert before["metadata"] == {"type": "mosaic", "name": "One item"}
    assert before["usecount"] == 0
    assert mosaics.client.get(f"{url}/tilejson.json", params={"assets": "image"}).json()["name"] == "One item"
    after = mosaics.client.get(f"{url}/info").json()["search"]
    assert after["usecount"] == 1
    assert after["lastused"] >= before["lastused"]
    assert "_where" not in after
    old = mosaics.client.get(f"{mosaics.served.url}/data/mosaic/{made['searchid']}/info?api-version={PREVIEW}").json()
    assert f"collection IN ('{COLLECTION}')" in old["search"]["_where"]
    assert old["search"]["orderby"] == "datetime DESC, id DESC"
    collection = mosaics.mosaic("info").json()
    assert collection["search"]["search"] == {"collections": [COLLECTION]}
    assert all(f"/data/mosaic/collections/{COLLECTION}/" in link["href"] for link in collection["links"])


def test_a_search_draws_what_the_collection_does(mosaics: Tiled, search: str, middle_tile: morecantile.Tile) -> None:
    x, y, z = middle_tile
    same = array(mosaics.mosaic(f"tiles/{z}/{x}/{y}.npy", assets="image"))
    query = {"assets": "image"}
    for path in (f"tiles/{z}/{x}/{y}.npy", f"tiles/WebMercatorQuad/{z}.0/{x}.0/{y}.0@1.0x.npy"):
        np.testing.assert_array_equal(array(mosaics.client.get(f"{search}/{path}", params=query)), same)
    old = search.replace("/searches/", "/")
    drawn = mosaics.client.get(f"{old}/tiles/WebMercatorQuad/{z}/{x}/{y}@1x.npy", params=query)
    np.testing.assert_array_equal(array(drawn), same)
    west, south, east, north = bounds_of(mosaics.file("whole", "image"))
    lon, lat = west + 0.55 * (east - west), south + 0.45 * (north - south)
    for path in (f"point/{lon},{lat}", f"bbox/{west},{south},{east},{north}/60x40.npy"):
        expected = mosaics.mosaic(path, **query)
        found = mosaics.client.get(f"{search}/{path}", params=query)
        assert (found.status_code, found.content) == (200, expected.content)
    ring = [[west, south], [east, south], [east, north], [west, south]]
    feature = {"type": "Feature", "properties": {}, "geometry": {"type": "Polygon", "coordinates": [ring]}}
    assert array(mosaics.client.post(f"{search}/feature/50x40.npy?assets=image", json=feature)).shape == (4, 40, 50)
    expected_items = [item["id"] for item in mosaics.mosaic(f"point/{lon},{lat}/assets").json()]
    for path in (f"{search}/point/{lon},{lat}/assets", f"{old}/{lon},{lat}/assets"):
        assert [item["id"] for item in mosaics.client.get(path).json()] == expected_items
    for path in (f"{search}/tiles/{z}/{x}/{y}/assets", f"{old}/tiles/WebMercatorQuad/{z}/{x}/{y}/assets"):
        assert {item["id"] for item in mosaics.client.get(path, params={"collection": COLLECTION}).json()} <= set(
            MOSAIC_ITEMS
        )


def test_documents_of_a_search(mosaics: Tiled, search: str, middle_tile: morecantile.Tile) -> None:
    z, x, y = middle_tile.z, middle_tile.x, middle_tile.y
    old = search.replace("/searches/", "/")
    for url in (f"{search}/tilejson.json", f"{search}/WebMercatorQuad/tilejson.json", f"{old}/tilejson.json"):
        (template,) = mosaics.client.get(url, params={"assets": "image"}).json()["tiles"]
        assert template.startswith(url.split("/tilejson")[0].removesuffix("/WebMercatorQuad") + "/tiles/")
        assert mosaics.client.get(template.format(z=z, x=x, y=y)).status_code == 200
    document = ET.fromstring(mosaics.client.get(f"{old}/WebMercatorQuad/WMTSCapabilities.xml?assets=image").content)
    (resource,) = document.iter("{http://www.opengis.net/wmts/1.0}ResourceURL")
    address = resource.attrib["template"]
    for name, value in (("TileMatrix", z), ("TileCol", x), ("TileRow", y)):
        address = address.replace(f"{{{name}}}", str(value))
    assert mosaics.client.get(address).status_code == 200
    assert len(mosaics.client.get(f"{search}/tiles").json()["tilesets"]) == 13
    assert mosaics.client.get(f"{search}/tiles/WebMercatorQuad").json()["tileMatrixSetLimits"]
    named = register(
        mosaics,
        {"collections": [COLLECTION], "metadata": {"minzoom": 3, "maxzoom": 9, "bounds": "-80,20,-70,30"}},
    )["searchid"]
    url = f"{mosaics.served.url}/data/mosaic/searches/{named}/tilejson.json"
    found = mosaics.client.get(url, params={"assets": "image"}).json()
    assert (found["minzoom"], found["maxzoom"], found["bounds"]) == (3, 9, [-80, 20, -70, 30])


def test_tile_settings_bound_the_tiles_of_mosaics(mosaics: Tiled, search: str, middle_tile: morecantile.Tile) -> None:
    x, y, z = middle_tile
    parent = morecantile.tms.get("WebMercatorQuad").parent(middle_tile)[0]
    query = {"assets": "image"}
    whole = array(mosaics.client.get(f"{search}/tiles/{z}/{x}/{y}.npy", params=query))
    with tile_settings(mosaics, minZoom=z, maxItemsPerTile=1):
        for prefix in (search, f"{mosaics.served.url}/data/mosaic/collections/{COLLECTION}"):
            refused = mosaics.client.get(f"{prefix}/tiles/{parent.z}/{parent.x}/{parent.y}", params=query)
            assert refused.status_code == 404
            assert f"begin at zoom {z}" in refused.json()["error"]["message"]
            assert mosaics.client.get(f"{prefix}/tilejson.json", params=query).json()["minzoom"] == z
            one = array(mosaics.client.get(f"{prefix}/tiles/{z}/{x}/{y}.npy", params=query))
            assert 0 < (one[-1] > 0).sum() < (whole[-1] > 0).sum()
            assert len(mosaics.client.get(f"{prefix}/tiles/{z}/{x}/{y}/assets", params=query).json()) == 1
    assert mosaics.client.get(f"{search}/tiles/{parent.z}/{parent.x}/{parent.y}", params=query).status_code == 200


def test_a_mosaic_of_the_configuration_chooses_items(mosaics: Tiled, middle_tile: morecantile.Tile) -> None:
    url = f"{mosaics.served.url}/stac/collections/{COLLECTION}/configurations/mosaics"
    administrator = mosaics.served.client()
    choice = {
        "id": "late",
        "name": "Late",
        "description": "",
        "cql": [{"op": ">=", "args": [{"property": "datetime"}, {"timestamp": "2024-05-27T00:00:00Z"}]}],
    }
    assert administrator.post(url, json=choice).status_code in {200, 201}
    x, y, z = middle_tile
    path = f"tiles/{z}/{x}/{y}.npy"
    late = array(mosaics.mosaic(path, assets="image", mosaic="late"))
    chosen = array(mosaics.mosaic(path, assets="image", ids="second,first"))
    np.testing.assert_array_equal(late, chosen)
    assert (late[-1] > 0).sum() < (array(mosaics.mosaic(path, assets="image"))[-1] > 0).sum()
    (template,) = mosaics.mosaic("tilejson.json", assets="image", mosaic="late").json()["tiles"]
    assert "mosaic=late" in template
    assert mosaics.mosaic(path, assets="image", mosaic="none").status_code == 404


def test_static_images(mosaics: Tiled) -> None:
    west, south, east, north = bounds_of(mosaics.file("whole", "image"))
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    body = {
        "cql": {"op": "=", "args": [{"property": "id"}, "whole"]},
        "zoom": 7,
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "render_params": "assets=image&asset_bidx=image|1,2,3",
        "cols": 200,
        "rows": 100,
        "showBranding": False,
        "imageSize": "200x100",
    }
    url = f"{mosaics.served.url}/data/collections/{COLLECTION}/image/static"
    answer = mosaics.client.post(url, json=body, params={"api-version": PREVIEW})
    assert answer.status_code == 200, answer.text
    found = answer.json()["url"]
    assert mosaics.client.post(url, json=body).json()["url"].split("?")[0] == found.split("?")[0]
    picture = requests.get(found, timeout=30)  # the URL is signed: an <img> sends no token
    assert (picture.status_code, picture.headers["content-type"]) == (200, "image/png")
    pixels = colours(picture.content)
    assert pixels.shape == (100, 200, 4)
    mask = pixels[..., 3]
    assert mask[:, 95:105].mean() > 200, "the geometry is in the middle"
    assert mask[:, :20].max() == 0, "the picture is wider than the geometry"
    assert mosaics.client.get(found.split("?")[0]).content == picture.content
    assert requests.get(found.split("?")[0], timeout=10).status_code == 401
    assert requests.get(found.replace("signature=", "signature=x"), timeout=10).status_code == 403
    assert mosaics.client.get(f"{url}/{'0' * 32}").status_code == 404


@pytest.mark.parametrize(
    ("changes", "target"),
    [
        ({"cols": 0}, "cols"),
        ({"rows": "many"}, "rows"),
        ({"cql": None}, "cql"),
        ({"cql": {"op": "nonsense", "args": []}}, "filter"),
        ({"render_params": None}, "render_params"),
        ({"render_params": "assets=nothing"}, "render_params"),
        ({"render_params": "rescale=5"}, "render_params"),
        ({"geometry": {"type": "Point"}}, "intersects"),
        ({"zoom": 99}, "zoom"),
    ],
)
def test_bad_static_images_are_refused(mosaics: Tiled, changes: dict[str, Any], target: str) -> None:
    body = {"cql": {}, "render_params": "assets=image", "cols": 10, "rows": 10, **changes}
    url = f"{mosaics.served.url}/data/collections/{COLLECTION}/image/static"
    answer = mosaics.client.post(url, json=body)
    assert (answer.status_code, answer.json()["error"].get("target")) == (400, target), answer.text
