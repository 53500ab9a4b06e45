from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graticule.storage import layout

EXTENSIONS = st.sampled_from(["", ".tif", ".json", ".laz", ".copc.laz", ".a1"])
# Texts that are alike, awkward, or made to look like each other's names.
AWKWARD = st.sampled_from(
    [
        *(
            "",
            ".",
            "..",
            "...",
            "a",
            "A",
            "a.",
            ".a",
            "a\n",
            "a/b",
            "a_b",
            "a b",
            "a.tif",
            "a.copc",
            "a.copc.laz",
            "%2e",
        ),
        *("ä", "a\u0308", "\0", "\ud800", "a" * 150, "a" * 151, "a" * 256, "a-" + "0" * 16),
        *(layout.segment("a/b"), layout.segment("a" * 256)),
    ]
)
TEXTS = st.one_of(AWKWARD, st.text(max_size=300), st.text(alphabet="a./-_%0 ", max_size=6))


@given(TEXTS, TEXTS)
def test_different_texts_have_different_segments(one: str, other: str) -> None:
    assert (layout.segment(one) == layout.segment(other)) == (one == other)


@given(TEXTS, TEXTS, EXTENSIONS, EXTENSIONS)
def test_different_assets_of_an_item_have_different_keys(one: str, other: str, first: str, second: str) -> None:
    if one != other:
        assert layout.item_asset_key("op", "i", one, first) != layout.item_asset_key("op", "i", other, second)


@given(TEXTS, TEXTS, TEXTS, TEXTS)
def test_different_items_and_operations_share_no_key(one: str, other: str, item: str, another: str) -> None:
    if (one, item) != (other, another):
        assert layout.item_asset_key(one, item, "a", "") != layout.item_asset_key(other, another, "a", "")


@given(TEXTS, TEXTS, TEXTS, EXTENSIONS)
def test_a_key_is_safe_whatever_it_is_made_from(operation: str, item: str, asset: str, extension: str) -> None:
    for key in (
        layout.item_asset_key(operation, item, asset, extension),
        layout.collection_asset_key(operation, asset, item),
    ):
        assert layout.is_key(key)
        for part in key.split("/"):
            assert re.fullmatch(r"[A-Za-z0-9_+,().-]+", part)
            assert part not in {".", ".."}
            assert len(part.encode()) <= 200


@pytest.mark.parametrize(
    ("item", "asset", "extension", "key"),
    [
        ("S2A_MSIL2A_20240101T100000", "B04", ".tif", "S2A_MSIL2A_20240101T100000/B04.tif"),
        ("a.b(1),+c", "MTL.json", ".json", "a.b(1),+c/MTL.json.json"),
        ("5b2c1f44-8a70-4f0e-9d3c-0123456789ab", "data", "", "5b2c1f44-8a70-4f0e-9d3c-0123456789ab/data"),
    ],
)
def test_harmless_names_stay_readable(item: str, asset: str, extension: str, key: str) -> None:
    assert layout.item_asset_key("op", item, asset, extension).partition("/")[2] == key


def test_changed_names_stay_recognisable() -> None:
    assert re.fullmatch(r"Grosse_Karte_1-[0-9a-f]{16}", layout.segment("Grösse Karte/1").replace("ß", "ss"))
    assert re.fullmatch(r"_-[0-9a-f]{16}", layout.segment(""))


def test_a_key_starts_with_twelve_hex_of_operation_and_item() -> None:
    key = layout.item_asset_key("op", "item", "a", "")
    assert re.match(r"^[0-9a-f]{12}/", key)
    assert key == layout.item_asset_key("op", "item", "a", "")


def test_a_replaced_collection_asset_has_another_key() -> None:
    first = layout.collection_asset_key("op-1", "thumbnail", "thumbnail.png")
    second = layout.collection_asset_key("op-2", "thumbnail", "thumbnail.png")
    assert first != second
    assert re.fullmatch(r"collection-assets/thumbnail/[0-9a-f]{12}/thumbnail\.png", first)


@given(TEXTS)
def test_a_container_name_is_legal_for_azure(collection: str) -> None:
    name = layout.container_name(collection)
    assert 3 <= len(name) <= 63
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*-[0-9a-f]{8}", name)
    assert layout.is_container(name)


def test_a_container_name_is_the_collections_and_new_each_time() -> None:
    one, other = layout.container_name("Sentinel-2 L2A (Übung)"), layout.container_name("Sentinel-2 L2A (Übung)")
    assert one.startswith("sentinel-2-l2a-ubung-")
    assert one != other


@pytest.mark.parametrize(
    ("media_type", "href", "extension"),
    [
        ("image/tiff; application=geotiff; profile=cloud-optimized", "https://h/a.TIF", ".tif"),
        ("IMAGE/JP2", "https://h/a", ".jp2"),
        ("image/jpeg", "https://h/a.jpeg", ".jpg"),
        ("application/geo+json", "https://h/a", ".geojson"),
        ("application/x-hdf5", "https://h/a", ".h5"),
        ("application/x-netcdf", "https://h/a.nc4", ".nc"),
        ("application/vnd.laszip+copc", "https://h/a.laz", ".copc.laz"),
        ("application/octet-stream", "https://h/a.SAFE", ".safe"),
        (None, "https://h/folder.d/scene.Tif?file=b.png#c.jpg", ".tif"),
        (None, "https://h/folder.d/scene", ""),
        (None, "https://h.example", ""),
        (None, "https://h/?a=b.tif", ""),
        (None, "https://h/.hidden", ""),
        (None, "https://h/a.verylongextension", ""),
        (None, "https://h/a.t%69f", ""),
        (None, "https://h/a.", ""),
    ],
)
def test_the_extension_comes_from_the_media_type_then_from_the_path(
    media_type: str | None, href: str, extension: str
) -> None:
    assert layout.extension_for(media_type, href) == extension


@pytest.mark.parametrize("name", ["", "a", "-ab", "ab-", "a--b", "A-b", "a/b", "..", ".incoming", "a" * 64])
def test_what_is_no_container_name(name: str) -> None:
    assert not layout.is_container(name)


@pytest.mark.parametrize("key", ["", "/a", "a/", "a//b", "../a", "a/..", "a/./b", "a\\b", "a b", "a%2e", "ä", "a\n"])
def test_what_is_no_key(key: str) -> None:
    assert not layout.is_key(key)
