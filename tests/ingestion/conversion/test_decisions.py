"""Which assets are converted, by the Item alone."""

from __future__ import annotations

import json
from typing import Any

import pytest

from graticule.ingestion.conversion import SidecarKind, georeference_of, has_classes, sidecars_of, wants_conversion
from graticule.stac.documents import Asset, Item


def asset(href: str = "https://source.example/a.bin", **members: Any) -> Asset:
    made: Any = {"href": href, **members}
    return made  # type: ignore[no-any-return]


def item(asset_members: dict[str, Any], **properties: Any) -> Item:
    return {"type": "Feature", "id": "i", "properties": properties, "assets": {"data": asset(**asset_members)}}


@pytest.mark.parametrize(
    "media_type",
    [
        "image/tiff",
        "image/tiff; application=geotiff; profile=cloud-optimized",
        "IMAGE/TIFF;application=geotiff",
        "image/vnd.stac.geotiff; cloud-optimized=true",
        "image/jpeg",
        "image/jp2",
        "image/png",
    ],
)
def test_rasters_are_wanted_by_media_type_whatever_the_extension(media_type: str) -> None:
    assert wants_conversion("data", asset(type=media_type, roles=["data"]), "https://source.example/x?sig=1")


@pytest.mark.parametrize(
    "media_type", ["application/json", "text/xml", "application/x-hdf5", "application/geopackage+sqlite3"]
)
def test_other_media_types_are_not_wanted_whatever_the_extension(media_type: str) -> None:
    assert not wants_conversion("data", asset(type=media_type), "https://source.example/x.tif")


@pytest.mark.parametrize("media_type", [None, "application/octet-stream", "binary/octet-stream"])
@pytest.mark.parametrize(
    ("name", "wanted"), [("a.TIF", True), ("a.jp2", True), ("a%2Etiff", True), ("a.txt", False), ("tif", False)]
)
def test_the_extension_decides_where_the_media_type_says_nothing(
    media_type: str | None, name: str, *, wanted: bool
) -> None:
    described = asset(type=media_type) if media_type else asset()
    assert wants_conversion("data", described, f"https://source.example/{name}?st=1&x.png") is wanted


@pytest.mark.parametrize(
    "role", ["thumbnail", "overview", "visual-preview", "visual_preview", "tiles", "metadata", "Thumbnail"]
)
def test_pictures_for_people_and_metadata_are_left_alone(role: str) -> None:
    assert not wants_conversion(
        "rendered_preview", asset(type="image/png", roles=["data", role]), "https://s.example/a.png"
    )


@pytest.mark.parametrize("name", ["a.tif.ovr", "a.tif.msk", "a.tfw", "a.prj", "a.tif.aux.xml"])
def test_sidecars_are_not_rasters(name: str) -> None:
    assert not wants_conversion("side", asset(type="image/tiff"), f"https://s.example/{name}")


def test_sidecars_share_the_rasters_stem() -> None:
    names = ["a.jpg", "a.JGW", "a.prj", "a.jpg.aux.xml", "a.jpg.msk", "a.ovr", "a.tfw", "b.wld", "a.txt"]
    assets = {name: asset(f"https://s.example/x/{name}?sig=a.wld") for name in names}
    assert sidecars_of("a.jpg", assets) == {
        SidecarKind.WORLD_FILE: "a.JGW",
        SidecarKind.PROJECTION: "a.prj",
        SidecarKind.PAM: "a.jpg.aux.xml",
        SidecarKind.MASK: "a.jpg.msk",
        SidecarKind.OVERVIEWS: "a.ovr",
    }


def test_a_sidecar_in_the_rasters_own_folder_wins() -> None:
    assets = {"far": asset(), "data": asset(), "near": asset()}
    hrefs = {
        "data": "https://s.example/x/a.tif",
        "far": "https://s.example/y/a.tfw",
        "near": "https://s.example/x/a.tfw",
    }
    assert sidecars_of("data", assets, hrefs) == {SidecarKind.WORLD_FILE: "near"}


def test_the_assets_projection_members_win_over_the_items() -> None:
    place = georeference_of(
        item(
            {"proj:transform": [10, 0, 5, 0, -10, 7, 0, 0, 1], "proj:shape": [20, 30], "proj:epsg": 32618},
            **{"proj:transform": [60, 0, 5, 0, -60, 7], "proj:shape": [2, 3], "proj:code": "EPSG:4326"},
        ),
        "data",
    )
    assert place is not None
    assert (place.transform, place.crs, place.shape) == ((10, 0, 5, 0, -10, 7), "EPSG:32618", (20, 30))


def test_the_items_transform_is_not_used_for_an_asset_of_another_shape() -> None:
    place = georeference_of(
        item(
            {"proj:shape": [20, 30]},
            **{"proj:transform": [60, 0, 5, 0, -60, 7], "proj:shape": [2, 3], "proj:epsg": 4326},
        ),
        "data",
    )
    assert place is not None
    assert place.transform is None
    assert place.crs == "EPSG:4326"


def test_a_null_epsg_gives_way_to_wkt2_and_projjson() -> None:
    assert (
        getattr(georeference_of(item({"proj:epsg": None, "proj:wkt2": "GEOGCRS[]"}), "data"), "crs", "") == "GEOGCRS[]"
    )
    place = georeference_of(item({"proj:projjson": {"type": "GeographicCRS"}}), "data")
    assert place is not None
    assert place.crs is not None
    assert json.loads(place.crs) == {"type": "GeographicCRS"}


@pytest.mark.parametrize("transform", [[1, 2, 3], "text", [0, 0, 0, 0, 0, 0], [1, 0, 0, 0, None, 0]])
def test_a_malformed_transform_says_nothing(transform: Any) -> None:
    assert georeference_of(item({"proj:transform": transform}), "data") is None


def test_classes_are_found_in_the_asset_and_in_its_bands() -> None:
    assert has_classes({"file:values": [{"values": [1]}]})
    assert has_classes({"raster:bands": [{}, {"classification:classes": [{"value": 1}]}]})
    assert has_classes({"bands": [{"classification:bitfields": [{}]}]})
    assert not has_classes({"bands": [{"name": "red"}], "classification:classes": []})
