"""What Items, Collections and what is written of them say, and that it is valid STAC."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pystac
import pytest
import rasterio

from forge.conftest import MakeItem, MakeRaster
from graticule.errors import NotForged
from graticule.forge import (
    CatalogFolder,
    CollectionMaker,
    Destination,
    Forge,
    Forged,
    Grouping,
    ItemTemplate,
    JsonLines,
    Recipe,
    TimeRules,
    find_files,
    group_scenes,
    read_crs,
)
from graticule.forge.collections import around

COG = "image/tiff; application=geotiff; profile=cloud-optimized"
SCENE = "LC08_L2SP_005009_20150710_20200908_02_T2"


def forged(folder: Path, **options: Any) -> tuple[list[Forged], CollectionMaker]:
    maker = CollectionMaker("c", title=None, description=None, license_id="CC-BY-4.0")
    scenes, _ = group_scenes(find_files([folder]), Grouping())
    forge = Forge(Recipe("c", times=TimeRules.from_options(None, "2021", None), **options))
    made = [forge.make(scene) for scene in scenes]
    for each in made:
        maker.add(each.item)
    return made, maker


@pytest.mark.parametrize("folder", ["landsat", "naip", "landcover", "worldfile"])
@pytest.mark.parametrize("copy", [False, True])
def test_a_folder_becomes_a_static_catalog_that_validates(
    test_data: Path, tmp_path: Path, folder: str, *, copy: bool
) -> None:
    made, maker = forged(test_data / "raster" / folder)
    with CatalogFolder(tmp_path / "out", Destination(), copy=copy, overwrite=False) as writer:
        for each in made:
            writer.write(each)
        writer.finish(maker.document())
    collection = pystac.Collection.from_file(str(tmp_path / "out" / "collection.json"))
    read = list(collection.get_items())
    assert [item.id for item in read] == [each.item["id"] for each in made]
    bbox = collection.extent.spatial.bboxes[0]
    for stac_object in (collection, *read):
        document = stac_object.to_dict(include_self_link=False)
        # The schemas of extensions are fetched by pystac, and tests have no network.
        core = {**document, "stac_extensions": [], "links": []}
        type(stac_object).from_dict({key: value for key, value in core.items() if key != "collection"}).validate()
    for item in read:
        assert item.bbox is not None
        assert bbox[1] <= item.bbox[1] <= item.bbox[3] <= bbox[3]
        for asset in item.assets.values():
            path = Path(str(asset.get_absolute_href()))
            assert path.stat().st_size == asset.extra_fields["file:size"]
            assert path.is_relative_to(tmp_path) is copy


def test_a_landsat_scene_has_bands_previews_metadata_and_what_its_mtl_says(
    test_data: Path, make_item: MakeItem
) -> None:
    item = make_item(test_data / "raster/landsat" / SCENE, when=None).item
    properties, assets = item["properties"], item["assets"]
    assert item["id"] == SCENE
    assert properties["datetime"] == "2015-07-10T14:34:35.978399Z"
    assert (properties["platform"], properties["instruments"]) == ("landsat-8", ["oli", "tirs"])
    assert (properties["eo:cloud_cover"], properties["view:sun_elevation"]) == (54.65, 40.0015903)
    by_role: dict[str, set[str]] = {}
    for key, asset in assets.items():
        by_role.setdefault(asset["roles"][0], set()).add(key)
    assert by_role == {
        "data": {*(f"SR_B{n}" for n in range(1, 8)), "ST_B10", "ST_QA", "SR_QA_AEROSOL", "QA_PIXEL", "QA_RADSAT"},
        "thumbnail": {"thumb_large", "thumb_small"},
        "metadata": {"MTL", "MTL.txt", "MTL.xml", "SR_stac", "ST_stac"},
    }
    with rasterio.open(test_data / f"raster/landsat/{SCENE}/{SCENE}_SR_B4.TIF") as dataset:
        assert properties["proj:code"] == f"EPSG:{dataset.crs.to_epsg()}"
        assert properties["proj:shape"] == list(dataset.shape)
        assert properties["proj:transform"] == list(dataset.transform)[:6]
        assert properties["proj:bbox"] == list(dataset.bounds)
    band: Any = assets["SR_B4"]
    assert band["type"] == COG
    assert band["bands"][0]["data_type"] == "uint16"
    assert band["bands"][0]["nodata"] == 0
    assert {url.split("/")[3] for url in item["stac_extensions"]} == {"projection", "raster", "file", "eo", "view"}


def test_classes_of_a_colour_table(test_data: Path, make_item: MakeItem, make_raster: MakeRaster) -> None:
    table = {0: (0, 0, 0, 0), 10: (0, 100, 0, 255), 80: (0, 100, 200, 255)}
    assets: Any = make_item(make_raster("a.tif", nodata=0, colormap=table)).item["assets"]
    assert assets["data"]["classification:classes"] == [
        {"value": 0, "name": "class-0", "color_hint": "000000", "nodata": True},
        {"value": 10, "name": "class-10", "color_hint": "006400"},
        {"value": 80, "name": "class-80", "color_hint": "0064C8"},
    ]
    worldcover: Any = make_item(test_data / "raster/landcover/annual_crops/worldcover_sao_tome_2020.tif").item["assets"]
    assert {each["value"] for each in worldcover["data"]["classification:classes"]} >= {10, 20, 30, 80}


def test_members_of_bands(make_raster: MakeRaster, make_item: MakeItem) -> None:
    path = make_raster("a.tif", dtype="float32", count=3, nodata=float("nan"), photometric="RGB")
    with rasterio.open(path, "r+") as dataset:
        dataset.scales, dataset.offsets = (0.5, 1, 1), (-1, 0, 0)
        dataset.set_band_description(1, "ndvi")
        dataset.set_band_unit(1, "1")
    bands: Any = make_item(path).item["assets"]["data"]["bands"]  # type: ignore[typeddict-item]
    assert bands[0] == {
        "name": "ndvi", "data_type": "float32", "nodata": "nan", "unit": "1", "raster:scale": 0.5, "raster:offset": -1,
        "raster:spatial_resolution": 10, "raster:sampling": "area",
    }  # fmt: skip
    assert [band["name"] for band in bands] == ["ndvi", "green", "blue"]


def test_grids_that_differ_are_told_at_their_assets(make_raster: MakeRaster, make_item: MakeItem) -> None:
    fine = make_raster("S/S_B02.tif")
    make_raster("S/S_B05.tif", size=(10, 5), transform=rasterio.Affine(20, 0, 400_000, 0, -20, 5_200_000))
    item = make_item(fine.parent).item
    assets: Any = item["assets"]
    assert [name for name in item["properties"] if name.startswith("proj:")] == ["proj:code"]
    assert (assets["B02"]["proj:shape"], assets["B05"]["proj:shape"]) == ([10, 20], [5, 10])


def test_checksums_are_multihashes(make_raster: MakeRaster, make_item: MakeItem) -> None:
    path = make_raster("a.tif")
    asset: Any = make_item(path, checksum=True).item["assets"]["data"]
    assert asset["file:checksum"] == "1220" + hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_world_file_needs_a_crs(test_data: Path, tmp_path: Path, make_item: MakeItem) -> None:
    folder = test_data / "raster/worldfile"
    for name in ("bahamas_l7.jpg", "bahamas_l7.jgw"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    with pytest.raises(NotForged, match=r"bahamas_l7\.jpg: it has a transform but no CRS.*--crs EPSG:32618"):
        make_item(tmp_path)
    given = make_item(tmp_path, crs=read_crs("EPSG:32618")).item
    (tmp_path / "bahamas_l7.prj").write_bytes((folder / "bahamas_l7.prj").read_bytes())
    read = make_item(tmp_path).item
    assert given["bbox"] == read["bbox"]
    assert read["properties"]["proj:code"] == "EPSG:32618"
    assert set(read["assets"]) == {"data", "data-worldfile", "data-prj"}
    with pytest.raises(NotForged, match="no CRS that PROJ knows"):
        read_crs("EPSG:nowhere")


def test_files_that_cannot_be_described_are_named_with_the_remedy(
    test_data: Path, tmp_path: Path, make_item: MakeItem
) -> None:
    page, empty, remote = (tmp_path / name / "x.tif" for name in ("page", "empty", "vrt"))
    for path, content in (
        (page, b"<!DOCTYPE html><html></html>"),
        (empty, b""),
        (remote, b"<VRTDataset><SourceFilename>/vsicurl/http://127.0.0.1:1/a.tif</SourceFilename></VRTDataset>"),
    ):
        path.parent.mkdir()
        path.write_bytes(content)
    for path, words in (
        (page, "HTML page"),
        (empty, "no bytes"),
        (remote, "XML document"),
        (test_data / "raster/corrupt/naip_truncated.tif", "cut off: 13 of its 30 blocks"),
        (test_data / "raster/plain_image/389225main_sw_1965_1024.jpg", "Put a world file beside it"),
    ):
        with pytest.raises(NotForged) as refused:
            make_item(path)
        assert words in refused.value.message
        assert path.name in refused.value.message


TEMPLATE = """{"properties": {"gsd": {{ item.properties["proj:transform"][0] | tojson }},
  "county": {{ scene | regex_search("_(\\\\w+)$", 1) | tojson }}, "note": {{ text("a_x.txt") | tojson }},
  "made": {{ tags.data.MAKER | default("nobody") | tojson }}},
 "assets": {"data": {"title": "The image"}, "metadata": null}}"""


def test_a_template_adds_to_the_item(make_raster: MakeRaster, make_item: MakeItem, tmp_path: Path) -> None:
    path = make_raster("in/a_x.tif", tags={"MAKER": "us"})
    path.with_suffix(".txt").write_text('said "so"')
    template = tmp_path / "item.json.j2"
    template.write_text(TEMPLATE)
    made = make_item(path.parent, template=ItemTemplate(template))
    properties = made.item["properties"]
    assert {name: properties[name] for name in ("gsd", "county", "note", "made")} == {
        "gsd": 10, "county": "x", "note": 'said "so"', "made": "us",
    }  # fmt: skip
    assert made.item["assets"]["data"]["title"] == "The image"
    assert set(made.files) == set(made.item["assets"]) == {"data"}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{% if %}", "item.j2:1: "),
        ("{{ nope }}", "'nope' is undefined: write (name | default('…'))"),
        ("[1]", "no JSON object"),
        ("{'a': 1}", "no JSON for this scene"),
        ('{"collection": "x"}', "sets 'collection'"),
        ('{"id": "a/b"}', "character that no URL segment can carry"),
        ('{{ text("/etc/passwd") }}', "is no file of the scene"),
        ("{{ ''.__class__.__mro__[1].__subclasses__() }}", "sandbox"),
        ("{{ item.properties.update(a=1) }}", "sandbox"),
        ("{% include '/etc/passwd' %}", "template"),
    ],
)
def test_a_template_that_fails_says_why(
    make_raster: MakeRaster, make_item: MakeItem, tmp_path: Path, text: str, words: str
) -> None:
    path = tmp_path / "item.j2"
    path.write_text(text)
    with pytest.raises(NotForged) as refused:
        make_item(make_raster("a.tif"), template=ItemTemplate(path))
    assert words in refused.value.message


def test_a_collection_sums_up(make_raster: MakeRaster) -> None:
    for number, name in enumerate(("a_2019", "b_2021")):
        make_raster(f"in/{name}.tif", transform=rasterio.Affine(10, 0, 4e5 + number * 1e4, 0, -10, 5.2e6))
    folder = make_raster(
        "in/c_20200101.tif", crs="EPSG:3035", transform=rasterio.Affine(10, 0, 4.3e6, 0, -10, 3e6)
    ).parent
    made, maker = forged(folder)
    document = maker.document()
    boxes = [each.item["bbox"] for each in made]
    assert document["extent"]["spatial"]["bbox"] == [[
        min(box[0] for box in boxes), min(box[1] for box in boxes), max(box[2] for box in boxes),
        max(box[3] for box in boxes),
    ]]  # fmt: skip
    assert document["extent"]["temporal"]["interval"] == [["2019-01-01T00:00:00Z", "2021-12-31T23:59:59Z"]]
    assert document["summaries"] == {"proj:code": ["EPSG:3035", "EPSG:32632"]}
    assert document["item_assets"]["data"]["roles"] == ["data"]
    assert document["license"] == "CC-BY-4.0"


@pytest.mark.parametrize(
    ("boxes", "expected"),
    [
        ([(-150, 0, -140, 1), (140, 2, 150, 3)], (-150, 0, 150, 3)),
        ([(175, 0, -175, 1), (170, 2, 176, 3)], (170, 0, -175, 3)),
        ([(175, 0, -175, 1), (-178, 2, -170, 3)], (175, 0, -170, 3)),
        ([(175, 0, -175, 1), (-20, 0, 20, 1)], (-20, 0, -175, 1)),
        ([(100, 0, -100, 1), (-110, 0, 110, 1)], (-180, 0, 180, 1)),
        ([], (-180, -90, 180, 90)),
    ],
)
def test_extents_cross_the_antimeridian_where_an_item_does(
    boxes: list[tuple[float, float, float, float]], expected: tuple[float, ...]
) -> None:
    assert around(boxes) == expected


def test_json_lines_and_their_hrefs(make_raster: MakeRaster, tmp_path: Path) -> None:
    folder = make_raster("in/deep/a b.tif").parents[1]
    made, maker = forged(folder)
    destination = Destination.below("https://example.org/data", [folder])
    with JsonLines(tmp_path / "o.ndjson", destination, overwrite=False) as writer:
        writer.write(made[0])
        writer.finish(maker.document())
    lines = [json.loads(line) for line in (tmp_path / "o.ndjson").read_text().splitlines()]
    assert [line["type"] for line in lines] == ["Collection", "Feature"]
    assert lines[1]["assets"]["data"]["href"] == "https://example.org/data/deep/a%20b.tif"
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []
    for wrong in (("ftp://x", [folder]), ("https://x", [folder, tmp_path])):
        with pytest.raises(NotForged, match="--asset-base"):
            Destination.below(*wrong)
    with pytest.raises(NotForged, match="exists: name another"):
        JsonLines(tmp_path / "o.ndjson", destination, overwrite=False)
