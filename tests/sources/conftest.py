"""A source on loopback that does what a test's script says, byte by byte."""

# ruff: noqa: ARG001 - every answer is given the request and the writer

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from graticule.settings import load_settings
from graticule.sources import Fetcher

NO_FAULT = (ConnectionError, BrokenPipeError, asyncio.IncompleteReadError)


@dataclass
class Request:
    line: str
    headers: dict[str, str]

    @property
    def path_query(self) -> str:
        return self.line.split(" ")[1]


Answer = Callable[[Request, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Source:
    """Answers in the order of its script; the last answer repeats."""

    port: int = 0
    scheme: str = "http"
    script: list[Answer] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)
    connections: int = 0

    @property
    def base(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}"

    def says(self, *answers: Answer) -> str:
        """Set the script; answers an href to ask for."""
        self.script = list(answers)
        return f"{self.base}/folder/scene.tif?sig=SECRET"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        with contextlib.suppress(*NO_FAULT):
            while head := await reader.readuntil(b"\r\n\r\n"):
                lines = head.decode("latin-1").split("\r\n")
                headers = {
                    name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:-2])
                }
                request = Request(lines[0], headers)
                self.requests.append(request)
                answer = self.script.pop(0) if len(self.script) > 1 else self.script[0]
                await answer(request, writer)
                await writer.drain()
        with contextlib.suppress(*NO_FAULT):
            writer.close()
            await writer.wait_closed()


def whole(body: bytes = b"pixels", status: int = 200, **headers: str) -> Answer:
    """The usual answer."""

    async def answer(request: Request, writer: asyncio.StreamWriter) -> None:
        writer.write(head(status, {"Content-Length": str(len(body)), **headers}) + body)

    return answer


def head(status: int, headers: dict[str, str]) -> bytes:
    lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    return f"HTTP/1.1 {status} Status\r\n{lines}\r\n".encode("latin-1")


def broken(body: bytes, after: int, **headers: str) -> Answer:
    """Announces the whole body, sends its beginning and hangs up."""

    async def answer(request: Request, writer: asyncio.StreamWriter) -> None:
        writer.write(head(200, {"Content-Length": str(len(body)), **headers}) + body[:after])
        await writer.drain()
        writer.close()

    return answer


def ranged(body: bytes, **headers: str) -> Answer:
    """Answers a Range with 206 if If-Range names its ETag, else the whole."""

    async def answer(request: Request, writer: asyncio.StreamWriter) -> None:
        wanted = request.headers.get("range")
        if wanted and request.headers.get("if-range") == headers.get("ETag"):
            start = int(wanted.removeprefix("bytes=").rstrip("-"))
            part = body[start:]
            content_range = f"bytes {start}-{len(body) - 1}/{len(body)}"
            writer.write(
                head(206, {"Content-Length": str(len(part)), "Content-Range": content_range, **headers}) + part
            )
        else:
            writer.write(head(200, {"Content-Length": str(len(body)), **headers}) + body)

    return answer


async def hangs(request: Request, writer: asyncio.StreamWriter) -> None:
    """Never answers."""
    await asyncio.sleep(30)


async def resets(request: Request, writer: asyncio.StreamWriter) -> None:
    """Hangs up without a word."""
    writer.transport.abort()


def raw(data: bytes, *, close: bool = True) -> Answer:
    """Sends these bytes."""

    async def answer(request: Request, writer: asyncio.StreamWriter) -> None:
        writer.write(data)
        if close:
            await writer.drain()
            writer.close()

    return answer


def drips(body: bytes, pause: float) -> Answer:
    """Sends one byte at a time."""

    async def answer(request: Request, writer: asyncio.StreamWriter) -> None:
        writer.write(head(200, {"Content-Length": str(len(body))}))
        for byte in body:
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(pause)

    return answer


def redirect(location: str, status: int = 302) -> Answer:
    return whole(b"", status, Location=location)


@pytest.fixture
def answers() -> SimpleNamespace:
    """The kinds of answers: test modules cannot import a conftest."""
    kinds: list[Any] = [whole, broken, ranged, hangs, resets, raw, drips, redirect]
    return SimpleNamespace(**{kind.__name__: kind for kind in kinds})


SourceFactory = Callable[..., Awaitable[Source]]


@pytest.fixture
async def make_source() -> AsyncIterator[SourceFactory]:
    """Sources on free ports of loopback addresses."""
    servers: list[asyncio.Server] = []
    handlers: set[asyncio.Task[None]] = set()

    async def make(host: str = "127.0.0.1", port: int = 0, tls: ssl.SSLContext | None = None) -> Source:
        source = Source(scheme="https" if tls else "http")

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            handlers.add(task)
            task.add_done_callback(handlers.discard)
            try:
                with contextlib.suppress(asyncio.CancelledError):
                    await source.serve(reader, writer)
            finally:
                writer.transport.abort()

        server = await asyncio.start_server(serve, host, port, ssl=tls)
        source.port = server.sockets[0].getsockname()[1]
        source.script = [whole()]
        servers.append(server)
        return source

    yield make
    for task in list(handlers):
        task.cancel()
    await asyncio.gather(*handlers, return_exceptions=True)
    for server in servers:
        server.close()
        await server.wait_closed()
    await asyncio.sleep(0)


@pytest.fixture
async def source(make_source: SourceFactory) -> Source:
    return await make_source()


@dataclass
class Naps:
    """Waits that are not waited."""

    taken: list[float] = field(default_factory=list)

    async def __call__(self, seconds: float) -> None:
        self.taken.append(seconds)


@pytest.fixture
def naps() -> Naps:
    return Naps()


@pytest.fixture
async def open_fetcher(tmp_path: Path, naps: Naps) -> AsyncIterator[Callable[..., Awaitable[Fetcher]]]:
    """Fetchers with short times; loopback is allowed unless a test says otherwise."""
    async with contextlib.AsyncExitStack() as stack:

        async def make(*allow: str, lookup: Any = None, clock: Any = None, **values: Any) -> Fetcher:
            values = {"fetch_idle_timeout": 0.3, "fetch_connect_timeout": 0.3, **values}
            settings = load_settings(data_dir=tmp_path, fetch_allow=allow, **values)
            return await stack.enter_async_context(Fetcher(settings, lookup=lookup, sleep=naps, clock=clock))

        yield make


@pytest.fixture
async def fetcher(open_fetcher: Callable[..., Awaitable[Fetcher]]) -> Fetcher:
    return await open_fetcher("127.0.0.0/8")
