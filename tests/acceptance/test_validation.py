"""Items against STAC's rules and their rasters, through the whole service: refused, warned of, filled in, loaded."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pystac
import pytest
import rasterio
import requests
from rasterio import Affine
from rasterio.io import MemoryFile

from acceptance.documents import collection, item
from acceptance.serving import Served
from acceptance.source import Source

pytestmark = pytest.mark.acceptance

TRANSFORM = Affine(10, 0, 400_000, 0, -10, 5_200_000)


def geotiff(scale: int, dtype: str = "uint16", bands: int = 1) -> bytes:
    """A striped raster of 600 x 500 pixels of 10 m, or fewer and larger ones on the same ground."""
    height, width = 500 // scale, 600 // scale
    values = (np.arange(bands * height * width).reshape(bands, height, width) % 250 + 1).astype(dtype)
    with MemoryFile() as memory:
        with memory.open(
            driver="GTiff", width=width, height=height, count=bands, dtype=dtype, crs="EPSG:32632",
            transform=TRANSFORM * Affine.scale(scale), nodata=0 if bands == 1 else None,
            photometric="RGB" if bands == 3 else "MINISBLACK",
        ) as dataset:  # fmt: skip
            dataset.write(values)
        return bytes(memory.read())


FILES = {"b04.tif": geotiff(1), "b05.tif": geotiff(2), "rgb.tif": geotiff(1, "uint8", 3), "notes.txt": b"plain text"}
CONVERSION = {"compression": "webp", "quality": 70, "block_size": 256, "overview_resampling": "bilinear"}


class Catalog:
    """A server with two collections, a source, and what became of what was posted."""

    def __init__(self, served: Served, source: Source) -> None:
        self.served, self.source = served, source
        self.client = served.client()

    def href(self, name: str) -> str:
        return self.source.href(name)

    def send(
        self, document: dict[str, Any], method: str = "POST", path: str = ""
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """The operation, once it has ended, and the report of its item."""
        url = f"{self.served.url}/stac/collections/{document.get('collection', 'scenes')}/items{path}"
        operation = self.served.finished(self.client, self.client.request(method, url, json=document))
        answer = self.client.get(f"{self.served.url}/inma/operations/{operation['id']}/items")
        return operation, answer.json()["value"][0]

    def read(self, item_id: str, collection_id: str = "scenes", **query: str) -> dict[str, Any]:
        answer = self.client.get(f"{self.served.url}/stac/collections/{collection_id}/items/{item_id}", params=query)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Catalog]:
    with Source(FILES) as source:
        env = {"GRATICULE_FETCH_ALLOW": source.host}
        with Served(tmp_path_factory.mktemp("validation"), env=env) as served:
            made = Catalog(served, source)
            plain = collection("plain") | {"graticule:fill_in": False, "graticule:conversion": CONVERSION}
            for document in (collection("scenes"), plain):
                answer = made.client.post(f"{served.url}/stac/collections", json=document)
                assert answer.status_code in {200, 201, 202}, answer.text
            yield made


def tif(href: str, **members: Any) -> dict[str, Any]:
    return {"href": href, "type": "image/tiff", "roles": ["data"], **members}


@pytest.mark.filterwarnings("ignore::DeprecationWarning:odc")
@pytest.mark.filterwarnings("ignore:The 'shapely.ops.transform:DeprecationWarning")
def test_an_item_comes_back_with_what_readers_need_and_odc_stac_loads_it(catalog: Catalog) -> None:
    import odc.stac  # noqa: PLC0415 - loads for a while, and only here

    assets = {"b04": tif(catalog.href("b04.tif")), "b05": tif(catalog.href("b05.tif"))}
    notes = {"notes": {"href": catalog.href("notes.txt"), "type": "text/plain"}}
    operation, report = catalog.send(item("filled", assets | notes, bbox=(7.7, 46.9, 7.8, 47.0)))
    assert operation["status"] == "Succeeded", operation
    assert "warnings" not in report
    document = catalog.read("filled", sign="true")
    found = document["assets"]
    # What stackstac reads: proj:epsg, and of each asset proj:shape and proj:transform, or proj:bbox.
    assert found["b05"]["proj:shape"] == [250, 300]
    assert found["b05"]["proj:transform"] == [20.0, 0.0, 400_000.0, 0.0, -20.0, 5_200_000.0]
    assert found["b04"]["proj:epsg"] == 32632
    assert found["b04"]["raster:bands"] == [{"data_type": "uint16", "nodata": 0, "spatial_resolution": 10.0}]
    assert found["notes"].keys() & {"file:size", "file:checksum", "raster:bands"} == {"file:size", "file:checksum"}
    content = catalog.client.get(found["b04"]["href"]).content
    assert found["b04"]["file:size"] == len(content)
    assert pystac.Item.from_dict(document).ext.has("proj")

    # Neither CRS nor resolution is given: they are the item's own.
    cube = odc.stac.load([pystac.Item.from_dict(document)], bands=["b04", "b05"])
    assert cube.odc.geobox.crs.to_epsg() == 32632
    assert cube["b04"].dtype == "uint16"
    with rasterio.open(MemoryFile(FILES["b04.tif"])) as source:
        assert np.array_equal(cube["b04"].values[0], source.read(1))
    assert cube["b05"].shape == (1, 500, 600)


def test_a_description_that_is_not_so_is_told_and_left_as_it_is(catalog: Catalog) -> None:
    said = {"proj:epsg": 32633, "proj:shape": [10, 10], "eo:bands": [{"name": "a"}, {"name": "b"}]}
    _, report = catalog.send(item("wrong", {"b04": tif(catalog.href("b04.tif"), **said)}))
    assert report["state"] == "succeeded"
    assert {warning["path"] for warning in report["warnings"]} == {
        "assets.b04.proj:epsg",
        "assets.b04.proj:shape",
        "assets.b04.eo:bands",
    }
    assert {"message": "EPSG:32633 was said, and the raster has EPSG:32632"}.items() <= report["warnings"][0].items()
    assert said.items() <= catalog.read("wrong")["assets"]["b04"].items()
    printed = catalog.served.command("operations", "items", report_operation(catalog))
    assert "warning: assets.b04.proj:shape: [10, 10] was said, and the raster has [500, 600] (raster)" in printed


def report_operation(catalog: Catalog) -> str:
    """The operation that ended last."""
    return str(catalog.client.get(f"{catalog.served.url}/inma/operations", params={"$top": 1}).json()["value"][0]["id"])


def test_what_breaks_the_core_is_refused_and_what_breaks_an_extension_is_told(catalog: Catalog) -> None:
    broken = item("broken")
    broken["properties"]["gsd"] = -1
    operation, report = catalog.send(broken)
    assert (operation["status"], report["code"]) == ("Failed", "StacValidationFailed")
    assert "Item 'broken' is no valid STAC Item. properties.gsd: -1 is less than or equal to" in report["message"]

    urls = ["https://stac-extensions.github.io/eo/v1.1.0/schema.json", "https://example.com/own/v1.0.0/schema.json"]
    odd = item("odd", stac_extensions=urls)
    odd["properties"]["eo:cloud_cover"] = 250
    operation, report = catalog.send(odd)
    assert operation["status"] == "Succeeded"
    assert [(warning["path"], warning["rule"]) for warning in report["warnings"]] == [
        ("properties.eo:cloud_cover", "eo v1.1.0: maximum"),
        ("stac_extensions", "unknown extension"),
    ]


def test_a_collection_decides_on_conversion_and_filling_in(catalog: Catalog) -> None:
    assets = {"rgb": tif(catalog.href("rgb.tif")), "b04": tif(catalog.href("b04.tif"))}
    operation, _ = catalog.send(item("mine", assets, collection="plain"))
    assert operation["status"] == "Succeeded", operation
    found = catalog.read("mine", "plain", sign="true")["assets"]
    assert found["b04"].keys() == {"href", "type", "roles"}
    for key, compression in (("rgb", "WEBP"), ("b04", "DEFLATE")):
        with rasterio.open(MemoryFile(catalog.client.get(found[key]["href"]).content)) as cog:
            assert cog.compression.name.upper() == compression
            assert cog.block_shapes[0] == (256, 256)
    bad = collection("bad") | {"graticule:conversion": {"compression": "zip"}}
    answer = catalog.client.post(f"{catalog.served.url}/stac/collections", json=bad)
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "InvalidInputData"
    assert "'compression' must be one of deflate, zstd, lzw" in answer.json()["error"]["message"]


def test_a_new_file_brings_new_facts(catalog: Catalog) -> None:
    catalog.send(item("moving", {"b04": tif(catalog.href("b04.tif"))}))
    before = catalog.read("moving")["assets"]["b04"]
    catalog.send({"assets": {"b04": {"href": catalog.href("b05.tif")}}}, "PATCH", "/moving")
    after = catalog.read("moving")["assets"]["b04"]
    assert (before["proj:shape"], after["proj:shape"]) == ([500, 600], [250, 300])
    assert before["file:checksum"] != after["file:checksum"]
    catalog.send({"properties": {"title": "only this"}}, "PATCH", "/moving")
    assert catalog.read("moving")["assets"]["b04"] == after


def test_the_settings_are_as_strict_as_one_wants(tmp_path: Path) -> None:
    with Source(FILES) as source:
        env = {
            "GRATICULE_FETCH_ALLOW": source.host,
            "GRATICULE_VALIDATE_CORE": "warn",
            "GRATICULE_VALIDATE_EXTENSIONS": "fail",
            "GRATICULE_VALIDATE_RASTERS": "fail",
            "GRATICULE_FILL_IN": "false",
        }
        with Served(tmp_path, env=env) as served:
            strict = Catalog(served, source)
            assert requests.get(f"{served.url}/healthz", timeout=5).ok
            strict.client.post(f"{served.url}/stac/collections", json=collection("scenes"))
            broken = item("broken")
            broken["properties"]["gsd"] = -1
            operation, report = strict.send(broken)
            assert operation["status"] == "Succeeded"
            assert report["warnings"][0]["path"] == "properties.gsd"
            extension = item("odd", stac_extensions=["https://stac-extensions.github.io/eo/v1.1.0/schema.json"])
            extension["properties"]["eo:cloud_cover"] = 250
            _, report = strict.send(extension)
            assert report["code"] == "StacValidationFailed"
            assert "eo v1.1.0: maximum" in report["message"]
            _, report = strict.send(item("wrong", {"b04": tif(source.href("b04.tif"), **{"proj:shape": [1, 1]})}))
            assert report["code"] == "StacValidationFailed"
            assert "does not describe its rasters as they are. assets.b04.proj:shape" in report["message"]
            strict.send(item("right", {"b04": tif(source.href("b04.tif"))}))
            assert strict.read("right")["assets"]["b04"].keys() == {"href", "type", "roles"}
