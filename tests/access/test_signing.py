from __future__ import annotations

import copy
from typing import Any
from urllib.parse import urlsplit

import pytest

from graticule.access import Tokens, open_tokens, sign_document, sign_href
from graticule.database import Database
from graticule.errors import InvalidParameter
from graticule.sealing import Sealer
from graticule.settings import Settings

BASE = "https://catalog.example/geo"
MANAGED = f"{BASE}/blobs/naip-0a1b2c3d/abc/item/image.tif"


@pytest.fixture
def tokens(database: Database, sealer: Sealer, settings: Settings) -> Tokens:
    return open_tokens(database, sealer, settings)


async def opens(tokens: Tokens, href: str, container: str, key: str) -> None:
    await tokens.verify(container, key, urlsplit(href).query)


async def test_a_managed_href_opens_once_signed(tokens: Tokens) -> None:
    signed = await sign_href(tokens, MANAGED, BASE)

    assert signed.href.startswith(MANAGED + "?st=")
    assert signed.expires_at is not None
    await opens(tokens, signed.href, "naip-0a1b2c3d", "abc/item/image.tif")


async def test_escapes_in_an_href_are_kept_and_the_key_is_signed_in_plain_text(tokens: Tokens) -> None:
    href = f"{BASE}/blobs/naip-0a1b2c3d/abc/item%20one/%C3%A9%2Btif"
    signed = await sign_href(tokens, href, BASE)

    assert signed.href.startswith(href + "?")
    await opens(tokens, signed.href, "naip-0a1b2c3d", "abc/item one/é+tif")


async def test_signing_again_replaces_the_signature_and_keeps_the_rest(tokens: Tokens) -> None:
    once = (await sign_href(tokens, MANAGED + "?a=1%2F&b", BASE, 5)).href
    twice = (await sign_href(tokens, once, BASE, 60)).href

    assert twice.startswith(MANAGED + "?a=1%2F&b&st=")
    assert twice.count("sig=") == 1
    await opens(tokens, twice, "naip-0a1b2c3d", "abc/item/image.tif")


@pytest.mark.parametrize("base", [BASE + "/", "https://CATALOG.example:443/geo"])
async def test_the_base_may_be_written_in_other_ways(tokens: Tokens, base: str) -> None:
    assert (await sign_href(tokens, MANAGED, base)).expires_at is not None


@pytest.mark.parametrize(
    "href",
    [
        "https://other.example/geo/blobs/naip-0a1b2c3d/abc/item/image.tif",
        "http://catalog.example/geo/blobs/naip-0a1b2c3d/abc/item/image.tif",
        "https://catalog.example:8443/geo/blobs/naip-0a1b2c3d/abc/item/image.tif",
        "https://someone@catalog.example/geo/blobs/naip-0a1b2c3d/abc/item/image.tif",
        "https://catalog.example.evil.example/geo/blobs/naip-0a1b2c3d/abc/item/image.tif",
        "https://catalog.example/blobs/naip-0a1b2c3d/abc/item/image.tif",
        "https://catalog.example/geo/blobs2/naip-0a1b2c3d/abc/item/image.tif",
        f"{BASE}/blobs/naip-0a1b2c3d",
        f"{BASE}/blobs/naip-0a1b2c3d/",
        f"{BASE}/blobs/naip-0a1b2c3d/../other/secret.tif",
        f"{BASE}/blobs/naip-0a1b2c3d/%2e%2e/other/secret.tif",
        f"{BASE}/stac/collections/naip?href={MANAGED}",
        "https://[broken/blobs/x/y",
        "https://catalog.example:port/geo/blobs/x/y",
        "relative/blobs/x/y",
        "",
    ],
)
async def test_every_other_href_comes_back_as_it_is(tokens: Tokens, href: str) -> None:
    assert await sign_href(tokens, href, BASE) == (href, None)


async def test_a_wrong_duration_is_refused_also_for_foreign_hrefs(tokens: Tokens) -> None:
    with pytest.raises(InvalidParameter):
        await sign_href(tokens, "https://other.example/x.tif", BASE, 0)


def item(number: int, container: str = "naip-0a1b2c3d") -> dict[str, Any]:
    return {
        "type": "Feature",
        "id": f"item-{number}",
        "assets": {
            "image": {"href": f"{BASE}/blobs/{container}/abc/{number}/image.tif", "title": "kept"},
            "metadata": {"href": f"{BASE}/blobs/{container}/abc/{number}/metadata.xml"},
            "elsewhere": {"href": "https://other.example/x.tif"},
            "odd": {"href": None},
        },
        "links": [{"rel": "self", "href": f"{BASE}/blobs/{container}/self"}],
    }


@pytest.mark.parametrize("wrap", [lambda d: d, lambda d: {"features": [d]}, lambda d: {"collections": [d]}])
async def test_every_managed_asset_of_a_document_is_signed_in_place(tokens: Tokens, wrap: Any) -> None:
    document = wrap(item(1))
    before = copy.deepcopy(document)
    await sign_document(tokens, document, BASE)

    assets = (document.get("features") or document.get("collections") or [document])[0]["assets"]
    await opens(tokens, assets["image"]["href"], "naip-0a1b2c3d", "abc/1/image.tif")
    await opens(tokens, assets["metadata"]["href"], "naip-0a1b2c3d", "abc/1/metadata.xml")
    for asset in (assets["image"], assets["metadata"]):
        asset["href"] = asset["href"].partition("?")[0]
    assert document == before


async def test_a_page_needs_one_token_per_container(tokens: Tokens) -> None:
    page: dict[str, list[Any]] = {"features": [item(1), item(2), item(3, "other-11111111"), {"assets": "odd"}, "odd"]}
    await sign_document(tokens, page, BASE)

    queries = {
        asset["href"].partition("?")[2]
        for feature in page["features"][:3]
        for name, asset in feature["assets"].items()
        if name in {"image", "metadata"}
    }
    assert len(queries) == 2
    assert all("sr=c" in query for query in queries)


async def test_documents_of_one_answer_share_what_was_minted(tokens: Tokens, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    mint = tokens.mint_container

    async def counted(container: str, minutes: int | None = None) -> Any:
        asked.append(container)
        return await mint(container, minutes)

    monkeypatch.setattr(tokens, "mint_container", counted)
    minted: dict[str, str] = {}
    documents = [{"assets": {"image": {"href": f"{MANAGED}{number}"}}} for number in range(3)]
    for document in documents:
        await sign_document(tokens, document, BASE, minted=minted)

    assert asked == ["naip-0a1b2c3d"]
    for number, document in enumerate(documents):
        await opens(tokens, document["assets"]["image"]["href"], "naip-0a1b2c3d", f"abc/item/image.tif{number}")
