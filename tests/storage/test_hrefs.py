from __future__ import annotations

from urllib.parse import unquote, urlsplit

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from graticule.storage import ManagedHrefs, layout

HREFS = ManagedHrefs("0123456789abcdef")
BASES = ("http://127.0.0.1:8080", "https://geo.example/catalog")
BLOB = ("naip-0a1b2c3d", "00ff00ff00ff/item/image.tif")


def test_both_forms_name_the_same_blob() -> None:
    assert HREFS.stored(*BLOB) == "managed:0123456789abcdef/naip-0a1b2c3d/00ff00ff00ff/item/image.tif"
    assert HREFS.public(*BLOB, BASES[1]) == (
        "https://geo.example/catalog/blobs/naip-0a1b2c3d/00ff00ff00ff/item/image.tif"
    )
    for form in (HREFS.stored(*BLOB), HREFS.public(*BLOB, BASES[0]), HREFS.public(*BLOB, BASES[1])):
        assert HREFS.locate(form, BASES) == BLOB
        assert HREFS.fold(form, BASES) == HREFS.stored(*BLOB)


@given(st.text(min_size=1, max_size=60), st.text(min_size=1, max_size=60))
def test_any_key_comes_back_from_its_url(item: str, asset: str) -> None:
    container, key = layout.container_name("c"), layout.item_asset_key("op", item, asset, ".tif")
    public = HREFS.public(container, key, BASES[0])
    assert unquote(urlsplit(public).path) == f"/blobs/{container}/{key}"
    assert HREFS.locate(public, BASES) == (container, key)
    document = orjson.dumps({"href": HREFS.stored(container, key)})
    assert orjson.loads(HREFS.unfold(document, BASES[0]))["href"] == public


def test_a_plus_is_escaped_for_clients_that_read_it_as_a_space() -> None:
    assert HREFS.public("c-12345678", "a+b", BASES[0]).endswith("/a%2Bb")


def test_a_signature_is_dropped_when_folding() -> None:
    signed = f"{HREFS.public(*BLOB, BASES[0])}?st=1&se=2&sig=x"
    assert HREFS.fold(signed, BASES) == HREFS.stored(*BLOB)


@pytest.mark.parametrize(
    "href",
    [
        "HTTP://127.0.0.1:8080/blobs/naip-0a1b2c3d/a",
        "https://GEO.example/catalog/blobs/naip-0a1b2c3d/a",
        "https://geo.example:443/catalog/blobs/naip-0a1b2c3d/a?sig=1",
        "https://geo.example/catalog/blobs/naip-0a1b2c3d/%61#t",
    ],
)
def test_spellings_of_our_own_urls_are_ours(href: str) -> None:
    assert HREFS.locate(href, BASES) == ("naip-0a1b2c3d", "a")


@pytest.mark.parametrize(
    "href",
    [
        "",
        "https://geo.example/blobs/naip-0a1b2c3d/a",
        "https://geo.example/catalogue/blobs/naip-0a1b2c3d/a",
        "http://geo.example/catalog/blobs/naip-0a1b2c3d/a",
        "https://geo.example:444/catalog/blobs/naip-0a1b2c3d/a",
        "https://geo.example.evil/catalog/blobs/naip-0a1b2c3d/a",
        "https://user@geo.example/catalog/blobs/naip-0a1b2c3d/a",
        "https://geo.example/catalog/x/../blobs/naip-0a1b2c3d/a",
        "https://geo.example/catalog/blobs/naip-0a1b2c3d/../other/a",
        "https://geo.example/catalog/blobs/naip-0a1b2c3d/%2e%2e/a",
        "https://geo.example/catalog/blobs/naip-0a1b2c3d/%252e",
        "https://geo.example/catalog/blobs/naip-0a1b2c3d/%ff",
        "https://geo.example/catalog/blobs/naip-0a1b2c3d/",
        "https://geo.example/catalog/blobs/naip-0a1b2c3d",
        "https://geo.example/catalog/blobs/NAIP/a",
        "https://geo.example/catalog/blobs/..%2fa/b",
        "https://other.example/?u=https://geo.example/catalog/blobs/naip-0a1b2c3d/a",
        "managed:ffffffffffffffff/naip-0a1b2c3d/a",
        "managed:0123456789abcdef/../a",
        "relative/blobs/naip-0a1b2c3d/a",
    ],
)
def test_other_hrefs_are_not_ours(href: str) -> None:
    assert not HREFS.is_managed(href, BASES)
    assert HREFS.fold(href, BASES) == href


def test_unfolding_changes_nothing_but_the_marker() -> None:
    document = b'{ "a" :1,"href": "managed:0123456789abcdef/c-12345678/k", "t":"managed:ffff/x"}'
    assert HREFS.unfold(document, 'https://h/"x') == (
        b'{ "a" :1,"href": "https://h/\\"x/blobs/c-12345678/k", "t":"managed:ffff/x"}'
    )


@pytest.mark.parametrize("catalog_id", ["", "abc", "G" * 16, '0123456789abcde"', "A" * 16])
def test_a_catalog_id_is_hex(catalog_id: str) -> None:
    with pytest.raises(ValueError, match="hex"):
        ManagedHrefs(catalog_id)
