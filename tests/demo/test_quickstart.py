"""The player of the quickstart, where things go wrong; that it succeeds is shown by the command's own test."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from rich.console import Console

from graticule.demo import run_demo
from graticule.demo.catalog import free_port
from graticule.demo.quickstart import Quickstart, QuickstartFailed, SourceUnreachable, read_collection
from graticule.demo.scenes import Scene
from graticule.demo.source import Source, serve_source

TOKEN = "a-token-that-nobody-may-see"


def player(session: aiohttp.ClientSession, *, catalog_url: str, source_url: str) -> Quickstart:
    console = Console(file=io.StringIO())
    return Quickstart(session, console, catalog_url=catalog_url, source_url=source_url, token=TOKEN)


@asynccontextmanager
async def answering(status: int, body: object, path: str = "/{any:.*}") -> AsyncIterator[str]:
    """A server that always answers the same."""

    async def answer(_request: web.Request) -> web.Response:
        return web.json_response(body, status=status)

    app = web.Application()
    app.router.add_route("*", path, answer)
    runner = web.AppRunner(app)
    await runner.setup()
    port = free_port()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        await runner.cleanup()


async def test_a_refused_step_is_named_with_the_reason_and_without_the_token(
    scenes: tuple[Scene, ...], thumbnail: Path
) -> None:
    refusal = {"error": {"code": "Forbidden", "message": "The token's role does not allow this."}}
    async with (
        serve_source(Source(scenes, thumbnail)) as source_url,
        answering(403, refusal) as catalog_url,
        aiohttp.ClientSession() as session,
    ):
        with pytest.raises(QuickstartFailed) as caught:
            await player(session, catalog_url=catalog_url, source_url=source_url).play(clean_up=True)
    assert caught.value.message == (
        "Step 2 (Create the collection): POST /stac/collections answers 403 instead of 202 "
        "(Forbidden: The token's role does not allow this.)."
    )
    assert TOKEN not in caught.value.message


async def test_a_catalog_that_is_gone_ends_the_play(scenes: tuple[Scene, ...], thumbnail: Path) -> None:
    async with serve_source(Source(scenes, thumbnail)) as source_url, aiohttp.ClientSession() as session:
        nowhere = f"http://127.0.0.1:{free_port()}"
        with pytest.raises(QuickstartFailed, match=r"Step 2 .*ClientConnectorError"):
            await player(session, catalog_url=nowhere, source_url=source_url).play(clean_up=True)


async def test_an_answer_without_what_it_should_have_ends_the_play() -> None:
    async with answering(200, {"id": "io-lulc-annual-v02"}) as url, aiohttp.ClientSession() as session:
        with pytest.raises(QuickstartFailed, match=r"Step 1 .*lacks.*'assets'"):
            await player(session, catalog_url=url, source_url=url).play(clean_up=True)


async def test_a_failed_operation_is_told_with_its_code_and_message() -> None:
    operation = {
        "status": "Failed",
        "statusHistory": [
            {"status": "Pending"},
            {"status": "Failed", "errorCode": "EmptyAsset", "errorMessage": "Asset 'data' has no bytes."},
        ],
    }
    async with answering(200, operation) as url, aiohttp.ClientSession() as session:
        with pytest.raises(QuickstartFailed, match=r"ended Failed \(EmptyAsset: Asset 'data' has no bytes\.\)"):
            await player(session, catalog_url=url, source_url=url)._poll(f"{url}/operation")


async def test_a_live_source_that_is_there_is_taken(scenes: tuple[Scene, ...], thumbnail: Path) -> None:
    async with serve_source(Source(scenes, thumbnail)) as url, aiohttp.ClientSession() as session:
        await read_collection(session, url)


async def test_a_live_source_without_the_collection_is_unreachable() -> None:
    async with answering(404, {}) as url, aiohttp.ClientSession() as session:
        with pytest.raises(SourceUnreachable, match="answers 404: check the connection, or leave out --live"):
            await read_collection(session, url)


def test_a_live_source_out_of_reach_is_exit_code_3(capsys: pytest.CaptureFixture[str]) -> None:
    nowhere = f"http://127.0.0.1:{free_port()}"
    assert run_demo(once=True, live=True, live_source=nowhere) == 3
    assert "cannot be reached" in capsys.readouterr().out
