"""A source that does everything wrong, each under a path of its own."""

from __future__ import annotations

import base64
import gzip
import hashlib
import itertools
import socket
import struct
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from types import TracebackType
from typing import Literal

from acceptance.source import Source

#: Looks like a TIFF from outside, and is none.
GEOTIFF = b"II*\0" + bytes(range(256)) * 40
#: What a `Misbehaving` source may send at most, without end in sight, bytes.
_PATIENCE = 64_000_000


@dataclass(frozen=True)
class Raw:
    """An answer byte by byte, and what comes after it."""

    data: bytes
    then: Literal["close", "reset", "silence"] = "close"


def head(status: int, *headers: str) -> bytes:
    """The head of an answer."""
    return "\r\n".join([f"HTTP/1.1 {status} Status", *headers, "", ""]).encode()


def error(status: int, code: str, text: str = "", *headers: str) -> Raw:
    """A refusal as Azure Blob and S3 write it."""
    body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>{text}</Message></Error>".encode()
    return Raw(head(status, f"Content-Length: {len(body)}", *headers) + body)


def status(number: int, *headers: str) -> Raw:
    """An answer without a body."""
    return Raw(head(number, "Content-Length: 0", *headers))


def body(content: bytes, *headers: str) -> Raw:
    """A whole answer."""
    return Raw(head(200, f"Content-Length: {len(content)}", *headers) + content)


def moved(location: str) -> Raw:
    """A redirect."""
    return status(302, f"Location: {location}")


def chunks(*parts: bytes, end: bytes = b"0\r\n\r\n") -> Raw:
    """A chunked answer; `end` is what should be its last chunk."""
    return Raw(
        head(200, "Transfer-Encoding: chunked") + b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + end
    )


HALF = head(200, f"Content-Length: {len(GEOTIFF) * 2}") + GEOTIFF
_RANGES = ("Accept-Ranges: bytes", 'ETag: "1"')
_MD5 = base64.b64encode(hashlib.md5(b"something else", usedforsecurity=False).digest()).decode()

#: What is answered under ``bad/{name}.tif``, always the same.
RAW: dict[str, Raw] = {
    **{
        str(number): status(number)
        for number in (
            202,
            204,
            300,
            302,
            304,
            400,
            401,
            402,
            403,
            404,
            405,
            407,
            408,
            410,
            416,
            425,
            451,
            *range(500, 506),
            511,
        )
    },
    "206": Raw(head(206, "Content-Length: 4", "Content-Range: bytes 0-3/8") + b"half"),
    "429": status(429, "Retry-After: 1"),
    "503": status(503, "Retry-After: 0"),
    # refusals with a code
    "denied": error(403, "AccessDenied"),
    "expired-sas": error(403, "AuthenticationFailed", "Signature not valid in the specified time frame"),
    "wrong-sas": error(403, "AuthenticationFailed", "Signature did not match"),
    "narrow-sas": error(403, "AuthorizationPermissionMismatch"),
    "foreign-sas": error(403, "AuthorizationSourceIPMismatch"),
    "s3-expired-token": error(400, "ExpiredToken"),
    "s3-signature": error(403, "SignatureDoesNotMatch"),
    "s3-expired": error(403, "AccessDenied", "Request has expired"),
    "s3-slow-down": error(503, "SlowDown"),
    "azure-busy": error(503, "ServerBusy"),
    "no-container": error(404, "ContainerNotFound", "", "x-ms-request-id: 1"),
    "private": error(404, "ResourceNotFound", "", "x-ms-request-id: 1"),
    "not-public": error(409, "PublicAccessNotPermitted"),
    # 200, and not the file
    "login": body(b"<!DOCTYPE html><html>Log in</html>", "Content-Type: text/html"),
    "portal": body(b"\n\n<HTML><head><meta http-equiv='refresh'></head></HTML>", "Content-Type: image/tiff"),
    "error-as-200": body(b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>", "Content-Type: image/tiff"),
    "json-as-200": body(b'{"error": {"code": "Forbidden"}}'),
    "lfs-pointer": body(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 12345\n"),
    "zip": body(b"PK\x03\x04" + bytes(100)),
    "pdf": body(b"%PDF-1.7\n"),
    "zeros": body(bytes(5000)),
    "noise": body(bytes(range(255, 0, -1))),
    "empty": body(b""),
    "empty-chunks": chunks(),
    "nothing": Raw(head(200)),
    # compressed, although that was not asked for
    "gzip-bomb": body(gzip.compress(bytes(50_000_000)), "Content-Encoding: gzip"),
    "gzip-broken": body(gzip.compress(bytes(range(256)) * 40)[:60], "Content-Encoding: gzip"),
    "gzip-login": body(gzip.compress(b"<html>Log in</html>"), "Content-Encoding: gzip"),
    "not-gzip": body(GEOTIFF, "Content-Encoding: gzip"),
    "brotli": body(GEOTIFF, "Content-Encoding: br"),
    "twice": body(gzip.compress(gzip.compress(GEOTIFF)), "Content-Encoding: gzip, gzip"),
    # broken off
    "truncated": Raw(HALF),
    "one-byte-less": Raw(head(200, f"Content-Length: {len(GEOTIFF) + 1}") + GEOTIFF),
    "truncated-always": Raw(head(200, f"Content-Length: {len(GEOTIFF) * 2}", *_RANGES) + GEOTIFF),
    "short": chunks(GEOTIFF, end=b""),
    "cut-in-chunk": chunks(GEOTIFF, end=b"ffff\r\nxx"),
    "no-chunk": chunks(GEOTIFF, end=b"zz\r\n\r\n"),
    "closed": Raw(b""),
    "reset": Raw(b"", "reset"),
    "reset-in-head": Raw(b"HTTP/1.1 200 OK\r\nContent-", "reset"),
    "reset-after-head": Raw(head(200, "Content-Length: 9"), "reset"),
    "reset-in-body": Raw(HALF, "reset"),
    "silent": Raw(b"", "silence"),
    "silent-in-head": Raw(b"HTTP/1.1 200 OK\r\nContent-", "silence"),
    "silent-after-head": Raw(head(200, "Content-Length: 9"), "silence"),
    "stalling": Raw(HALF, "silence"),
    # not as it should be
    "not-http": Raw(b"SSH-2.0-OpenSSH_9.2\r\n\r\n"),
    "long-header": Raw(head(200, "X: " + "y" * 100_000)),
    "negative-length": Raw(head(200, "Content-Length: -5") + GEOTIFF),
    "length-is-text": Raw(head(200, "Content-Length: many") + GEOTIFF),
    "two-lengths": Raw(head(200, "Content-Length: 5", f"Content-Length: {len(GEOTIFF)}") + GEOTIFF),
    "length-and-chunks": Raw(
        head(200, "Content-Length: 5", "Transfer-Encoding: chunked") + b"5\r\nII*\0\0\r\n0\r\n\r\n"
    ),
    "md5": body(GEOTIFF, f"Content-MD5: {_MD5}"),
    # elsewhere
    "loop": moved("loop.tif"),
    "nowhere": status(302, "Location: "),
    "to-metadata": moved("http://169.254.169.254/latest/meta-data?sig=letmein"),
    "to-private": moved("https://10.0.0.1/a.tif"),
    "to-loopback": moved("https://[::1]/a.tif"),
    "to-name": moved("https://localhost/a.tif"),
    "to-decimal": moved("https://2130706433/a.tif"),
    "to-file": moved("file:///etc/passwd"),
    "to-ftp": moved("ftp://x.example/a.tif"),
    "to-user": moved("https://me:letmein@x.example/a.tif"),  # leak-ok: made up
    "to-unsigned": moved("/sound.tif"),
}


class Misbehaving(Source):
    """`Source`, but ``bad/…`` paths misbehave."""

    def __init__(self, files: Mapping[str, bytes]) -> None:
        """Take the files that are served well."""
        super().__init__(files)
        self._over = threading.Event()
        self._count = itertools.count(1)
        self._ways: dict[str, Callable[[BaseHTTPRequestHandler], Iterator[bytes]]] = {
            "drip": lambda _: self._drip(head(200, "Content-Length: 5000")),
            "drip-in-head": lambda _: self._drip(b"HTTP/1.1 200 OK\r\n", b"X: y\r\n"),
            "endless": lambda _: self._endless(
                head(200, "Transfer-Encoding: chunked"), b"fff0\r\n%b\r\n" % bytes(65520)
            ),
            "endless-head": lambda _: self._endless(b"HTTP/1.1 200 OK\r\n", b"X: y\r\n" * 1000),
            "endless-102": lambda _: self._endless(b"", head(102) * 1000),
            "changed": lambda handler: self._part(handler, etag=f'"{next(self._count)}"'),
            "grown": lambda handler: self._part(handler, size=len(GEOTIFF) + next(self._count)),
            "other-part": lambda handler: self._part(handler, skip=100),
            "part-of-nothing": lambda handler: self._part(handler, content_range="bytes */*"),
            "range-refused": lambda handler: self._part(handler, status=416),
            "hops": lambda _: iter((moved(f"hops.tif?hop={next(self._count)}").data,)),
        }

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """End the requests that hang, too."""
        self._over.set()
        super().__exit__(kind, exc, traceback)

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        """Answer one request, or not."""
        path = handler.path.partition("?")[0].lstrip("/")
        name = path.removeprefix("bad/").removesuffix(".tif")
        if path != f"bad/{name}.tif" or (name not in RAW and name not in self._ways):
            super().answer(handler)
            return
        self.requests.append(handler.path)
        handler.close_connection = True
        raw = RAW.get(name)
        try:
            for part in self._ways[name](handler) if raw is None else (raw.data,):
                handler.wfile.write(part)
                handler.wfile.flush()
        except ConnectionError:  # the client has had enough, as it should
            return
        if raw is not None and raw.then == "silence":
            self._over.wait()
        if raw is not None and raw.then == "reset":
            # Lingering for no time makes close() send RST.
            handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def _drip(self, start: bytes, drop: bytes = b"x") -> Iterator[bytes]:
        """A drop at a time, always in time for the next."""
        yield start
        while not self._over.wait(0.1):
            yield drop

    @staticmethod
    def _endless(start: bytes, more: bytes) -> Iterator[bytes]:
        yield start
        for _ in range(0, _PATIENCE, len(more)):
            yield more

    @staticmethod
    def _part(
        handler: BaseHTTPRequestHandler,
        *,
        status: int = 206,
        etag: str = '"1"',
        size: int = len(GEOTIFF),
        skip: int = 0,
        content_range: str | None = None,
    ) -> Iterator[bytes]:
        """Half of the file at first; then, for a range, something else than the other half."""
        common = ("Accept-Ranges: bytes", f"ETag: {etag}")
        wanted = handler.headers.get("Range")
        if wanted is None:
            yield head(200, f"Content-Length: {size}", *common) + GEOTIFF[: len(GEOTIFF) // 2]
            return
        start = int(wanted.removeprefix("bytes=").rstrip("-")) + skip
        rest = GEOTIFF[start:]
        content_range = content_range or f"bytes {start}-{size - 1}/{size}"
        yield head(status, f"Content-Length: {len(rest)}", f"Content-Range: {content_range}", *common) + rest
