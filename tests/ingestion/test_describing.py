"""What an item lacks is filled in from its rasters; what it says wrongly is told, and nothing of that is changed."""

from __future__ import annotations

import copy
from dataclasses import asdict, replace
from typing import Any

import pytest

from graticule.ingestion.conversion.models import BandFacts, RasterFacts
from graticule.ingestion.describing import compare, compare_files, facts_by_asset, fill_in
from graticule.stac.documents import Item
from graticule.stac.validation import core_faults, extension_faults
from graticule.workflows.asset_entries import StoredAsset

SHA = "ab" * 32
FACTS = RasterFacts(
    driver="GTiff",
    width=200,
    height=100,
    count=1,
    dtype="int16",
    crs="EPSG:32618",
    transform=(30.0, 0.0, 200_000.0, 0.0, -30.0, 4_000_000.0),
    size_bytes=1000,
    bbox=(200_000.0, 3_997_000.0, 206_000.0, 4_000_000.0),
    resolution=30.0,
    bands=(BandFacts("int16", nodata=-9999, scale=0.1, offset=5.0, unit="m", description="height"),),
)
SITE = "https://stac-extensions.github.io"


def item(version: str = "1.0.0", extensions: tuple[str, ...] = (), asset: Any = None, said: Any = None) -> Item:
    """`asset` and `said` are more members of its only asset, and of its properties."""
    image: Any = {"href": "managed:c/a.tif", "type": "image/tiff", **(asset or {})}
    return {
        "type": "Feature",
        "stac_version": version,
        "stac_extensions": [f"{SITE}/{name}/schema.json" for name in extensions],
        "id": "a",
        "geometry": {"type": "Point", "coordinates": [1, 2]},
        "bbox": [1, 2, 1, 2],
        "properties": {"datetime": "2024-05-01T10:00:00Z", **(said or {})},
        "links": [],
        "assets": {"image": image},
    }


def stored(facts: RasterFacts | None = FACTS, outcome: str = "converted") -> dict[str, tuple[str, StoredAsset]]:
    members = None if facts is None else asdict(facts)
    asset = StoredAsset("image", outcome, "c", "k", "image/tiff", 9, 1000, SHA, facts=members)
    return {"image": ("managed:c/k", asset)}


def filled(document: Item, facts: RasterFacts | None = FACTS, outcome: str = "converted") -> Item:
    before = copy.deepcopy(document)
    files = stored(facts, outcome)
    result = fill_in(document, files, facts_by_asset(files))
    assert document == before, "the item that was given is left alone"
    assert core_faults(result) == []
    assert extension_faults(result) == ([], [])
    return result


def test_an_item_of_stac_1_0_gets_members_of_projection_1_raster_1_and_file() -> None:
    result = filled(item())
    assert result["assets"]["image"] == {
        "href": "managed:c/a.tif",
        "type": "image/tiff",
        "file:size": 1000,
        "file:checksum": f"1220{SHA}",
        "proj:epsg": 32618,
        "proj:shape": [100, 200],
        "proj:transform": [30.0, 0.0, 200_000.0, 0.0, -30.0, 4_000_000.0],
        "proj:bbox": [200_000.0, 3_997_000.0, 206_000.0, 4_000_000.0],
        "raster:bands": [
            {
                "data_type": "int16",
                "nodata": -9999,
                "unit": "m",
                "scale": 0.1,
                "offset": 5.0,
                "spatial_resolution": 30.0,
            }
        ],
    }
    assert result["stac_extensions"] == [
        f"{SITE}/file/v2.1.0/schema.json",
        f"{SITE}/projection/v1.1.0/schema.json",
        f"{SITE}/raster/v1.1.0/schema.json",
    ]


def test_an_item_of_stac_1_1_gets_members_of_projection_2_raster_2_and_bands() -> None:
    asset: Any = filled(item("1.1.0"))["assets"]["image"]
    assert asset["proj:code"] == "EPSG:32618"
    assert "proj:epsg" not in asset
    assert asset["bands"] == [
        {
            "name": "height",
            "data_type": "int16",
            "nodata": -9999,
            "unit": "m",
            "raster:scale": 0.1,
            "raster:offset": 5.0,
            "raster:spatial_resolution": 30.0,
        }
    ]
    assert "raster:bands" not in asset


def test_the_version_that_an_item_names_decides() -> None:
    asset: Any = filled(item("1.0.0", ("projection/v2.0.0",)))["assets"]["image"]
    assert asset["proj:code"] == "EPSG:32618"
    older = filled(item("1.1.0", ("projection/v1.1.0", "raster/v1.1.0")))
    asset = older["assets"]["image"]
    assert asset["proj:epsg"] == 32618
    assert asset["raster:bands"][0]["scale"] == 0.1
    assert [name for name in older["stac_extensions"] if "file" not in name] == [
        f"{SITE}/projection/v1.1.0/schema.json",
        f"{SITE}/raster/v1.1.0/schema.json",
    ]


@pytest.mark.parametrize("version", ["1.0.0", "1.1.0"])
def test_nothing_that_was_said_is_changed(version: str) -> None:
    said: dict[str, Any] = {
        "proj:epsg": 4326,
        "proj:shape": [1, 2],
        "proj:transform": [1, 0, 0, 0, -1, 0],
        "proj:bbox": [0, 0, 1, 1],
        "file:size": 7,
        "file:checksum": "1220" + "00" * 32,
        "raster:bands": [{"data_type": "uint8", "nodata": 0, "unit": "K", "scale": 1, "offset": 0}],
    }
    result = filled(item(version, ("projection/v1.1.0", "raster/v1.1.0"), said))
    asset: Any = result["assets"]["image"]
    assert said["raster:bands"][0].items() <= asset.pop("raster:bands")[0].items()
    assert {name: value for name, value in said.items() if name != "raster:bands"}.items() <= asset.items()


def test_what_the_item_says_of_all_assets_is_not_said_again() -> None:
    asset = filled(item(said={"proj:epsg": 32618, "proj:shape": [100, 200]}))["assets"]["image"]
    assert not {"proj:epsg", "proj:shape"} & asset.keys()
    assert "proj:transform" in asset


def test_an_asset_on_another_grid_than_the_items_gets_its_own() -> None:
    asset: Any = filled(item(said={"proj:shape": [1000, 2000]}))["assets"]["image"]
    assert asset["proj:shape"] == [100, 200]


@pytest.mark.parametrize(
    ("crs", "older", "newer"),
    [
        ("ESRI:102001", {"proj:epsg": None}, {"proj:code": "ESRI:102001"}),
        (
            'PROJCRS["x"]',
            {"proj:epsg": None, "proj:wkt2": 'PROJCRS["x"]'},
            {"proj:code": None, "proj:wkt2": 'PROJCRS["x"]'},
        ),
    ],
)
def test_a_crs_without_epsg_code(crs: str, older: dict[str, Any], newer: dict[str, Any]) -> None:
    facts = replace(FACTS, crs=crs)
    assert older.items() <= filled(item(), facts)["assets"]["image"].items()
    assert newer.items() <= filled(item("1.1.0"), facts)["assets"]["image"].items()


def test_a_raster_with_ground_control_points_gets_no_grid() -> None:
    asset = filled(item(), replace(FACTS, transform=None, bbox=None, resolution=None))["assets"]["image"]
    assert not any(name.startswith("proj:") for name in asset)
    assert "raster:bands" in asset


@pytest.mark.parametrize(("facts", "outcome"), [(None, "untouched"), (FACTS, "untouched")])
def test_what_is_no_raster_on_a_map_gets_size_and_checksum_only(facts: RasterFacts | None, outcome: str) -> None:
    added = filled(item(), facts, outcome)["assets"]["image"].keys() - {"href", "type"}
    assert added == {"file:size", "file:checksum"}


def test_nodata_that_json_has_no_number_for() -> None:
    band = BandFacts("float32", nodata="nan")
    asset: Any = filled(item(), replace(FACTS, bands=(band,)))["assets"]["image"]
    assert asset["raster:bands"][0]["nodata"] == "nan"


# --- what is said wrongly


def paths(document: Item, facts: RasterFacts = FACTS) -> list[str]:
    return [remark.path for remark in compare(document, {"image": facts})]


def test_a_true_description_is_not_remarked_upon() -> None:
    said = {
        "type": "image/tiff; application=geotiff",
        "proj:epsg": 32618,
        "proj:shape": [100, 200],
        "proj:transform": [30, 0, 200_000, 0, -30, 4_000_000, 0, 0, 1],
        "proj:bbox": [200_000, 3_997_000, 206_000, 4_000_000.001],
        "raster:bands": [{"data_type": "int16", "nodata": -9999, "scale": 0.1, "offset": 5}],
        "eo:bands": [{"name": "height"}],
    }
    assert paths(item(asset=said)) == []
    assert paths(filled(item())) == []
    assert paths(filled(item("1.1.0"))) == []
    assert paths(item(said={"proj:code": "EPSG:32618"})) == []


@pytest.mark.parametrize(
    ("said", "path"),
    [
        ({"type": "image/jp2"}, "type"),
        ({"proj:epsg": 32619}, "proj:epsg"),
        ({"proj:code": "EPSG:4326"}, "proj:code"),
        ({"proj:shape": [200, 100]}, "proj:shape"),
        ({"proj:transform": [30, 0, 200_015, 0, -30, 4_000_000]}, "proj:transform"),
        ({"proj:transform": [30.1, 0, 200_000, 0, -30, 4_000_000]}, "proj:transform"),
        ({"proj:bbox": [0, 0, 1, 1]}, "proj:bbox"),
        ({"raster:bands": [{}, {}]}, "raster:bands"),
        ({"eo:bands": [{}, {}, {}]}, "eo:bands"),
        ({"bands": [{}, {}]}, "bands"),
        ({"raster:bands": [{"data_type": "uint8"}]}, "raster:bands.0.data_type"),
        ({"raster:bands": [{"nodata": 0}]}, "raster:bands.0.nodata"),
        ({"raster:bands": [{"scale": 0.2}]}, "raster:bands.0.scale"),
        ({"bands": [{"raster:offset": 0}]}, "bands.0.raster:offset"),
    ],
)
def test_a_false_description_is(said: dict[str, Any], path: str) -> None:
    assert paths(item(asset=said)) == [f"assets.image.{path}"]


def test_what_the_file_does_not_say_may_be_said() -> None:
    plain = replace(FACTS, bands=(BandFacts("int16"),))
    assert paths(item(asset={"raster:bands": [{"nodata": 0, "scale": 0.0001, "offset": -0.1}]}), plain) == []


def test_an_alpha_band_need_not_be_counted() -> None:
    bands = tuple(BandFacts("uint8", color=color) for color in ("red", "green", "blue", "alpha"))
    picture = replace(FACTS, count=4, bands=bands)
    for number, expected in ((3, []), (4, []), (2, ["assets.image.eo:bands"])):
        assert paths(item(asset={"eo:bands": [{} for _ in range(number)]}), picture) == expected


def test_the_item_must_be_right_for_one_of_its_rasters() -> None:
    coarse = replace(FACTS, width=100, height=50, transform=(60.0, 0.0, 200_000.0, 0.0, -60.0, 4_000_000.0))
    document = item(said={"proj:shape": [100, 200]})
    document["assets"]["coarse"] = {"href": "managed:c/b.tif"}
    assert compare(document, {"image": FACTS, "coarse": coarse}) == []
    wrong = item(said={"proj:shape": [10, 20], "proj:epsg": 4326})
    assert sorted(paths(wrong)) == ["properties.proj:epsg", "properties.proj:shape"]


def test_size_and_checksum_of_another_file_are_remarked_upon() -> None:
    said = {"file:size": 7, "file:checksum": "1220" + "00" * 32}
    remarks = compare_files(item(asset=said), stored())
    assert [remark.path for remark in remarks] == ["assets.image.file:checksum", "assets.image.file:size"]
    assert remarks[1].message == "the COG made of it has 1000 bytes"
    assert compare_files(item(asset={"file:size": 1000, "file:checksum": f"1220{SHA.upper()}"}), stored()) == []
    # Another kind of hash cannot be compared.
    assert compare_files(item(asset={"file:checksum": "d50110" + "00" * 16}), stored()) == []
    assert compare_files(item(), {}) == []
