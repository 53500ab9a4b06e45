"""The demo's STAC documents."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

import pystac
import rasterio
from rasterio.warp import transform_bounds

from graticule.demo.documents import collection_document, item_document, tilejson_document
from graticule.demo.scenes import Scene

BASE = "http://127.0.0.1:1"


def core(document: dict[str, Any]) -> dict[str, Any]:
    """Without what pystac would fetch from the network: the extensions' schemas and the linked catalog."""
    links = [link for link in document["links"] if link["rel"] in {"self", "collection"}]
    return {**document, "stac_extensions": [], "links": links}


def test_the_collection_is_valid_stac(scenes: tuple[Scene, ...]) -> None:
    collection = pystac.Collection.from_dict(core(collection_document(BASE, scenes)))
    collection.validate()


def test_the_items_are_valid_stac_and_lie_within_the_collection(scenes: tuple[Scene, ...]) -> None:
    extent = collection_document(BASE, scenes)["extent"]
    west, south, east, north = extent["spatial"]["bbox"][0]
    for scene in scenes:
        item = item_document(BASE, scene)
        pystac.Item.from_dict(core(item)).validate()
        assert west <= item["bbox"][0] < item["bbox"][2] <= east
        assert south <= item["bbox"][1] < item["bbox"][3] <= north
        assert extent["temporal"]["interval"][0][0] <= item["properties"]["start_datetime"]


def test_what_an_item_says_of_its_raster_is_so(scenes: tuple[Scene, ...]) -> None:
    for scene in scenes:
        item = item_document(BASE, scene)
        properties, data = item["properties"], item["assets"]["data"]
        with rasterio.open(scene.path) as dataset:
            assert properties["proj:code"] == f"EPSG:{dataset.crs.to_epsg()}"
            assert properties["proj:shape"] == list(dataset.shape)
            assert properties["proj:transform"] == list(dataset.transform)[:6]
            assert properties["proj:bbox"] == list(dataset.bounds)
            left, bottom, right, top = transform_bounds(dataset.crs, "EPSG:4326", *dataset.bounds)
            assert data["raster:bands"][0]["nodata"] == dataset.nodata
        assert left <= item["bbox"][0]
        assert bottom <= item["bbox"][1]
        assert right >= item["bbox"][2]
        assert top >= item["bbox"][3]
        assert data["file:size"] == scene.path.stat().st_size
        assert ("cloud-optimized" in data["type"]) is not scene.is_striped


def test_classes_are_named_in_both_extensions(scenes: tuple[Scene, ...]) -> None:
    data = item_document(BASE, scenes[0])["assets"]["data"]
    assert [entry["values"][0] for entry in data["file:values"]] == [
        entry["value"] for entry in data["classification:classes"]
    ]
    assert all(len(entry["color_hint"]) == 6 for entry in data["classification:classes"])


def test_dynamic_assets_have_a_query_of_their_own(scenes: tuple[Scene, ...]) -> None:
    assets = item_document(BASE, scenes[0])["assets"]
    assert list(assets) == ["data", "tilejson", "rendered_preview"]
    assert urlsplit(assets["data"]["href"]).query == ""
    for key in ("tilejson", "rendered_preview"):
        assert urlsplit(assets[key]["href"]).query


def test_the_item_assets_of_the_collection_are_those_of_the_items(scenes: tuple[Scene, ...]) -> None:
    expected = collection_document(BASE, scenes)["item_assets"]
    assert set(item_document(BASE, scenes[0])["assets"]) == set(expected)


def test_the_tilejson_names_the_place(scenes: tuple[Scene, ...]) -> None:
    document = tilejson_document(BASE, scenes[0])
    assert document["bounds"] == list(scenes[0].bbox)
    assert "{z}/{x}/{y}" in document["tiles"][0]
