"""What clients may send to an API process, and how it stops: over sockets, as a client that no library tames."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import pytest
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from graticule.api.patience import while_connected
from graticule.api.routing import Call, Endpoint, routes
from graticule.cli import http_server
from graticule.cli.address import bound_socket
from graticule.cli.http_server import MAX_HEAD_BYTES, HttpServer

Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Connect = Callable[[], Awaitable[Stream]]


async def hello(request: Request) -> Response:
    return PlainTextResponse(f"{len(await request.body())} bytes, {len(request.url.query)} of query")


async def slow(_request: Request) -> Response:
    await asyncio.sleep(0.5)
    return PlainTextResponse("done")


@asynccontextmanager
async def served(application: Starlette) -> AsyncIterator[tuple[HttpServer, Connect]]:
    listener = bound_socket("127.0.0.1", 0, shared=False)
    port = listener.getsockname()[1]
    listening = asyncio.Event()
    server = HttpServer(application, on_listening=listening.set)
    serving = asyncio.create_task(server.serve([listener]))
    await listening.wait()
    opened: list[Stream] = []

    async def connect() -> Stream:
        opened.append(await asyncio.open_connection("127.0.0.1", port))
        return opened[-1]

    try:
        yield server, connect
    finally:
        for _, writer in opened:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()
        server.stop()
    await asyncio.wait_for(serving, 10)


@pytest.fixture
def application() -> Starlette:
    return Starlette(routes=[Route("/", hello, methods=["GET", "POST"]), Route("/slow", slow)])


async def answer(stream: Stream) -> tuple[bytes, bytes]:
    """Status line and body."""
    head = await stream[0].readuntil(b"\r\n\r\n")
    length = next(int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.startswith(b"content-length:"))
    return head.split(b"\r\n", 1)[0], await stream[0].readexactly(length)


async def test_a_connection_serves_many_requests_also_behind_an_upgrade_that_is_not_taken(
    application: Starlette,
) -> None:
    upgrade = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n"
    async with served(application) as (_, connect):
        for first in (
            b"GET / HTTP/1.1\r\nHost: a\r\n" + upgrade + b"\r\n",
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n" + upgrade + b"\r\nabc",
        ):
            stream = await connect()
            stream[1].write(first)
            assert (await answer(stream))[0] == b"HTTP/1.1 200 OK"
            stream[1].write(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n12")
            await asyncio.sleep(0.05)
            stream[1].write(b"345")
            assert await answer(stream) == (b"HTTP/1.1 200 OK", b"5 bytes, 0 of query")


async def test_a_long_next_link_is_taken_and_a_head_without_end_is_not(application: Starlette) -> None:
    async with served(application) as (_, connect):
        stream = await connect()
        stream[1].write(b"GET /?" + b"q" * 128_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n")
        assert await answer(stream) == (b"HTTP/1.1 200 OK", b"0 bytes, 128000 of query")

        stream[1].write(b"GET / HTTP/1.1\r\nHost: a\r\nX-Long: ")
        for _ in range(MAX_HEAD_BYTES // 16_384 + 1):
            stream[1].write(b"x" * 16_384)
        status, body = await answer(stream)
        assert status.startswith(b"HTTP/1.1 400")
        assert b"more than 262144 bytes" in body
        assert await stream[0].read() == b""


async def test_a_head_that_does_not_come_is_not_waited_for(
    application: Starlette, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_server, "HEAD_SECONDS", 0.3)
    async with served(application) as (_, connect):
        nothing, part, body = await connect(), await connect(), await connect()
        part[1].write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        await answer(part)
        part[1].write(b"GET / HTTP")
        body[1].write(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n")
        for _ in range(3):  # a body may take its time
            await asyncio.sleep(0.2)
            body[1].write(b"x")
        assert await answer(body) == (b"HTTP/1.1 200 OK", b"3 bytes, 0 of query")
        for stream in (nothing, part):
            assert await asyncio.wait_for(stream[0].read(), 5) == b""


async def test_what_runs_may_end_when_the_server_stops(application: Starlette) -> None:
    async with served(application) as (server, connect):
        stream, idle = await connect(), await connect()
        stream[1].write(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n")
        await asyncio.sleep(0.1)
        server.stop()
        assert await answer(stream) == (b"HTTP/1.1 200 OK", b"done")
        assert await asyncio.wait_for(stream[0].read(), 5) == await asyncio.wait_for(idle[0].read(), 5) == b""


async def test_work_that_nobody_waits_for_ends_when_the_client_hangs_up() -> None:
    ended: list[str] = []
    begun, done = asyncio.Event(), asyncio.Event()

    async def work() -> str:
        begun.set()
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise
        return "waited to the end"

    async def search(request: Request) -> Response:
        await request.body()
        try:
            return PlainTextResponse(await while_connected(request, work()))
        except ClientDisconnect:
            ended.append("told")
            return PlainTextResponse("nobody reads this")
        finally:
            done.set()

    application = Starlette(routes=[Route("/", search, methods=["GET", "POST"])])
    async with served(application) as (_, connect):
        for request in (
            b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}",
        ):
            for event in (begun, done):
                event.clear()
            ended.clear()
            stream = await connect()
            stream[1].write(request)
            await asyncio.wait_for(begun.wait(), 5)
            stream[1].close()
            await asyncio.wait_for(done.wait(), 10)
            assert ended == ["cancelled", "told"]


async def test_an_answer_that_breaks_off_is_seen_by_the_client_and_logged_without_its_text(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def broken(_call: Call) -> Response:
        async def parts() -> AsyncIterator[bytes]:
            yield b"begun"
            raise OSError("https://host/?sig=" + "terces"[::-1])

        return StreamingResponse(parts(), headers={"content-length": "100"})

    application = Starlette(routes=routes([Endpoint("GET", "/", broken, None, "Break off")]))
    application.state.services = None
    async with served(application) as (_, connect):
        stream = await connect()
        stream[1].write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        with pytest.raises(asyncio.IncompleteReadError) as read:
            await answer(stream)
    assert read.value.partial == b"begun"
    assert "GET / failed: OSError" in caplog.text
    assert "secret" not in caplog.text
