"""A small HTTP client for load: keep-alive, requests encoded beforehand, bodies not read while the clock runs."""

from __future__ import annotations

import asyncio
import math
import socket
import time
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

import orjson
import uvloop

_HEAD_END: Final = b"\r\n\r\n"


@dataclass(frozen=True)
class Request:
    """A request below the root of a STAC API, or an absolute URL of the same server."""

    path: str
    #: A POST where there is one, else a GET.
    body: dict[str, Any] | None = None


@dataclass(frozen=True)
class Root:
    """A STAC API on this machine."""

    url: str
    #: Sent with every request.
    headers: tuple[tuple[str, str], ...] = ()

    @property
    def address(self) -> tuple[str, int]:
        """Host and port."""
        parts = urlsplit(self.url)
        return str(parts.hostname), parts.port or 80

    def encode(self, request: Request) -> bytes:
        """The bytes of a request."""
        target = request.path if "://" in request.path else self.url + request.path
        parts = urlsplit(target)
        body = b"" if request.body is None else orjson.dumps(request.body)
        method = "GET" if request.body is None else "POST"
        lines = [f"{method} {parts.path}{'?' + parts.query if parts.query else ''} HTTP/1.1", f"Host: {parts.netloc}"]
        headers = {"Accept": "*/*", "Accept-Encoding": "identity", **dict(self.headers)}
        if request.body is not None:
            headers |= {"Content-Type": "application/json", "Content-Length": str(len(body))}
        lines += [f"{name}: {value}" for name, value in headers.items()]
        return "\r\n".join(lines).encode("latin-1") + _HEAD_END + body


class Reader:
    """Finds the end of an answer: by its length, or by the last chunk."""

    def __init__(self) -> None:
        """Wait for an answer."""
        self._parts: list[bytes] = []
        self._seen = 0
        self._length = 0  # of the whole answer; 0: not known yet, -1: chunked

    def feed(self, data: bytes) -> bytes | None:
        """Take what arrived; the whole answer once it is there."""
        self._parts.append(data)
        self._seen += len(data)
        if not self._length:
            start = b"".join(self._parts)
            end = start.find(_HEAD_END)
            if end < 0:
                return None
            head = start[:end].lower()
            place = head.find(b"\r\ncontent-length:")
            if place >= 0:
                self._length = end + 4 + int(head[place + 17 :].split(b"\r\n", 1)[0])
            elif head[9:12] == b"304":  # has no body (RFC 9110, 15.4.5)
                self._length = end + 4
            elif b"chunked" in head:
                self._length = -1
            else:
                raise ConnectionError("an answer without a length")
        done = b"".join(self._parts[-2:]).endswith(b"0\r\n\r\n") if self._length < 0 else self._seen >= self._length
        if not done:
            return None
        answer = b"".join(self._parts)
        self.__init__()  # type: ignore[misc]
        return answer


def body_of(answer: bytes) -> bytes:
    """The body of a whole answer."""
    head, _, body = answer.partition(_HEAD_END)
    if b"transfer-encoding: chunked" not in head.lower():
        return body
    parts: list[bytes] = []
    while True:
        size, _, body = body.partition(b"\r\n")
        length = int(size.split(b";", 1)[0], 16)
        if not length:
            return b"".join(parts)
        parts.append(body[:length])
        body = body[length + 2 :]


class Connection:
    """One request at a time, blocking: the least that a client can cost."""

    def __init__(self, root: Root) -> None:
        """Connect."""
        self.root = root
        self._reader = Reader()
        self._socket = socket.create_connection(root.address)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def send(self, request: bytes) -> bytes:
        """The whole answer to an encoded request."""
        self._socket.sendall(request)
        while True:
            data = self._socket.recv(1 << 18)
            if not data:
                raise ConnectionError("the server closed the connection")
            answer = self._reader.feed(data)
            if answer is not None:
                return answer

    def json(self, request: Request) -> dict[str, Any]:
        """The body of a successful answer.

        Raises:
            SystemExit: the server refused.
        """
        answer = self.send(self.root.encode(request))
        if answer[9:12] != b"200":
            raise SystemExit(f"{request}: {answer[:600].decode('utf-8', 'replace')}")
        found: dict[str, Any] = orjson.loads(body_of(answer))
        return found

    def close(self) -> None:
        """Disconnect."""
        self._socket.close()


@dataclass(frozen=True)
class Round:
    """What one round of load measured."""

    #: Sorted, seconds.
    times: list[float]
    seconds: float
    #: CPU time of the client itself, seconds.
    client: float
    size: int
    failed: int

    @property
    def rate(self) -> float:
        """Requests per second."""
        return len(self.times) / self.seconds

    def percentile(self, share: float) -> float:
        """Milliseconds."""
        return 1e3 * self.times[min(len(self.times) - 1, max(0, math.ceil(share * len(self.times)) - 1))]


def run(root: Root, requests: list[bytes], concurrency: int, seconds: float) -> Round:
    """Send requests, each once, until they or the time are at an end."""
    begun, cpu = time.perf_counter(), time.process_time()
    if concurrency == 1:
        times, size, failed = _in_turn(root, requests, begun + seconds)
    else:
        times, size, failed = uvloop.run(_beside(root, requests, concurrency, begun + seconds))
    return Round(sorted(times), time.perf_counter() - begun, time.process_time() - cpu, size, failed)


def _in_turn(root: Root, requests: list[bytes], until: float) -> tuple[list[float], int, int]:
    connection = Connection(root)
    times, size, failed = [], 0, 0
    at = time.perf_counter()
    for request in requests:
        answer = connection.send(request)
        before, at = at, time.perf_counter()
        times.append(at - before)
        size += len(answer)
        failed += answer[9:12] != b"200"
        if at > until:
            break
    connection.close()
    return times, size, failed


class Protocol(asyncio.Protocol):
    """One request at a time of many connections: the answer is `waiting`'s."""

    def __init__(self) -> None:
        """Wait for a request."""
        self.waiting: asyncio.Future[bytes] | None = None
        self._reader = Reader()

    def data_received(self, data: bytes) -> None:
        answer = self._reader.feed(data)
        if answer is not None and self.waiting is not None and not self.waiting.done():
            self.waiting.set_result(answer)

    def connection_lost(self, exc: Exception | None) -> None:
        if self.waiting is not None and not self.waiting.done():
            self.waiting.set_exception(exc or ConnectionError("the server closed the connection"))


async def _beside(root: Root, requests: list[bytes], concurrency: int, until: float) -> tuple[list[float], int, int]:
    loop = asyncio.get_running_loop()
    left = iter(requests)
    times: list[float] = []
    size = failed = 0

    async def worker() -> None:
        nonlocal size, failed
        transport, protocol = await loop.create_connection(Protocol, *root.address)
        for request in left:
            begun = time.perf_counter()
            if begun > until:
                break
            protocol.waiting = loop.create_future()
            transport.write(request)
            answer = await protocol.waiting
            times.append(time.perf_counter() - begun)
            size += len(answer)
            failed += answer[9:12] != b"200"
        transport.close()

    await asyncio.gather(*(worker() for _ in range(concurrency)))
    return times, size, failed
