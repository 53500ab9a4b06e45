"""The demo's source, asked over HTTP."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any, Protocol

import aiohttp
import pytest
from yarl import URL

from graticule.demo.documents import COLLECTION_ID
from graticule.demo.scenes import Scene
from graticule.demo.source import TOKEN_LIFE, Source, serve_source


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.time = time.time()

    def __call__(self) -> float:
        return self.time


class Asking(Protocol):
    """Asks the source for a path or URL, byte for byte."""

    def __call__(
        self, url: str, method: str = "GET", **headers: str
    ) -> AbstractAsyncContextManager[aiohttp.ClientResponse]: ...


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def ask(scenes: tuple[Scene, ...], thumbnail: Path, clock: Clock) -> AsyncIterator[Asking]:
    async with serve_source(Source(scenes, thumbnail, now=clock)) as base, aiohttp.ClientSession() as session:

        @asynccontextmanager
        async def ask(url: str, method: str = "GET", **headers: str) -> AsyncIterator[aiohttp.ClientResponse]:
            target = url if url.startswith("http") else base + url
            spelled = {name.replace("_", "-"): value for name, value in headers.items()}
            async with session.request(method, URL(target, encoded=True), headers=spelled) as response:
                yield response

        yield ask


async def json_of(ask: Asking, url: str) -> Any:
    async with ask(url) as response:
        assert response.status == 200
        return await response.json(content_type=None)


async def token_of(ask: Asking) -> str:
    return str((await json_of(ask, f"/api/sas/v1/token/{COLLECTION_ID}"))["token"])


async def item_of(ask: Asking, item_id: str = "23M-2023") -> Any:
    found = await json_of(ask, f"/api/stac/v1/search?collections={COLLECTION_ID}&ids={item_id}")
    (item,) = found["features"]
    return item


async def test_search_by_ids_gives_just_those(ask: Asking) -> None:
    ids = "23M-2023,23L-2023,24M-2023,24L-2023"
    found = await json_of(ask, f"/api/stac/v1/search?collections={COLLECTION_ID}&ids={ids}")
    assert [item["id"] for item in found["features"]] == ids.split(",")
    assert len((await json_of(ask, "/api/stac/v1/search"))["features"]) == 5
    assert (await json_of(ask, "/api/stac/v1/search?collections=other"))["features"] == []


async def test_an_unknown_collection_is_404(ask: Asking) -> None:
    for url in ("/api/stac/v1/collections/other", "/api/sas/v1/token/other"):
        async with ask(url) as response:
            assert response.status == 404


async def test_the_collection_has_a_thumbnail_that_opens(ask: Asking) -> None:
    collection = await json_of(ask, f"/api/stac/v1/collections/{COLLECTION_ID}")
    async with ask(collection["assets"]["thumbnail"]["href"]) as response:
        assert (await response.read()).startswith(b"\x89PNG")


async def test_a_blob_without_a_token_is_409(ask: Asking) -> None:
    href = (await item_of(ask))["assets"]["data"]["href"]
    async with ask(href) as response:
        assert response.status == 409
        assert response.headers["x-ms-error-code"] == "PublicAccessNotPermitted"


async def test_a_blob_with_the_token_gives_its_bytes(ask: Asking, scenes: tuple[Scene, ...]) -> None:
    href = (await item_of(ask))["assets"]["data"]["href"]
    async with ask(f"{href}?{await token_of(ask)}") as response:
        assert response.status == 200
        assert response.headers["Content-Type"] == "image/tiff"
        assert await response.read() == scenes[0].path.read_bytes()


@pytest.mark.parametrize(
    ("old", "new"),
    [("sig=", "sig=A"), ("sp=rl", "sp=rwl"), ("se=2", "se=9"), ("st=2", "st=1"), ("sr=c", "sr=b"), ("sv=2", "sv=3")],
)
async def test_a_token_that_was_changed_is_403(ask: Asking, old: str, new: str) -> None:
    href = (await item_of(ask))["assets"]["data"]["href"]
    token = await token_of(ask)
    assert old in token
    async with ask(f"{href}?{token.replace(old, new)}") as response:
        assert response.status == 403
        assert response.headers["x-ms-error-code"] == "AuthenticationFailed"


async def test_a_token_ends(ask: Asking, clock: Clock) -> None:
    href = (await item_of(ask))["assets"]["data"]["href"]
    token = await token_of(ask)
    clock.time += TOKEN_LIFE - 2
    async with ask(f"{href}?{token}") as response:
        assert response.status == 200
    clock.time += 3
    async with ask(f"{href}?{token}") as response:
        assert response.status == 403


async def test_a_token_of_another_source_is_403(ask: Asking, scenes: tuple[Scene, ...], thumbnail: Path) -> None:
    token = await token_of(ask)
    blob = f"/io-lulc/annual/{scenes[0].path.name}"
    async with serve_source(Source(scenes, thumbnail)) as other, ask(f"{other}{blob}?{token}") as response:
        assert response.status == 403


async def test_a_missing_blob_is_404_to_those_who_may_ask(ask: Asking) -> None:
    for name in ("annual/none.tif", "annual/../../etc/passwd", "annual/%2e%2e/23M.tif"):
        async with ask(f"/io-lulc/{name}?{await token_of(ask)}") as response:
            assert response.status == 404


async def test_ranges_head_and_etag(ask: Asking, scenes: tuple[Scene, ...]) -> None:
    href = f"{(await item_of(ask))['assets']['data']['href']}?{await token_of(ask)}"
    content = scenes[0].path.read_bytes()
    async with ask(href, Range="bytes=4-99") as response:
        assert response.status == 206
        assert await response.read() == content[4:100]
        assert response.headers["Content-Range"] == f"bytes 4-99/{len(content)}"
    async with ask(href, "HEAD") as response:
        assert response.status == 200
        assert response.content_length == len(content)
        etag = response.headers["ETag"]
    async with ask(href, If_None_Match=etag) as response:
        assert response.status == 304
    async with ask(href, Range=f"bytes={len(content)}-") as response:
        assert response.status == 416


async def test_dynamic_assets_answer_with_and_without_a_second_question_mark(ask: Asking) -> None:
    assets = (await item_of(ask))["assets"]
    token = await token_of(ask)
    for suffix in ("", f"?{token}"):
        tilejson = await json_of(ask, assets["tilejson"]["href"] + suffix)
        assert tilejson["tilejson"] == "2.2.0"
        async with ask(assets["rendered_preview"]["href"] + suffix) as response:
            assert response.status == 200
            assert response.content_type == "image/png"
            assert (await response.read()).startswith(b"\x89PNG")


async def test_dynamic_assets_of_an_unknown_item_are_404(ask: Asking) -> None:
    for query in ("item=none&collection=io-lulc-annual-v02", "item=23M-2023", "", "item=23M-2023&collection=other"):
        async with ask(f"/api/data/v1/item/preview.png?{query}") as response:
            assert response.status == 404
