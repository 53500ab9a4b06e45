"""A source that does everything wrong, each under a path of its own."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler
from types import TracebackType

from acceptance.source import Source

GEOTIFF = b"II*\0" + bytes(range(256)) * 40


class Misbehaving(Source):
    """`Source`, but ``bad/…`` paths misbehave."""

    def __init__(self, files: Mapping[str, bytes]) -> None:
        """Take the files that are served well."""
        super().__init__(files)
        self._over = threading.Event()
        self._ways: dict[str, Callable[[BaseHTTPRequestHandler], None]] = {
            "bad/reset.tif": self._reset,
            "bad/silent.tif": self._silent,
            "bad/stalling.tif": self._stalling,
            "bad/truncated.tif": self._truncated,
            "bad/short.tif": self._short,
            "bad/empty.tif": lambda handler: self._send(handler, 200, b"", {}),
            "bad/login.tif": lambda handler: self._send(handler, 200, b"<!DOCTYPE html><html>Log in</html>", {}),
            "bad/noise.tif": lambda handler: self._send(handler, 200, bytes(range(255, 0, -1)), {}),
            "bad/401.tif": lambda handler: self._send(handler, 401, b"", {}),
            "bad/403.tif": lambda handler: self._send(handler, 403, b"<Error><Code>AccessDenied</Code></Error>", {}),
            "bad/500.tif": lambda handler: self._send(handler, 500, b"", {}),
            "bad/inward.tif": lambda handler: self._send(
                handler, 302, b"", {"Location": "http://169.254.169.254/latest/meta-data?sig=letmein"}
            ),
        }

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """End the requests that hang, too."""
        self._over.set()
        super().__exit__(kind, exc, traceback)

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        """Answer one request, or not."""
        way = self._ways.get(handler.path.partition("?")[0].lstrip("/"))
        if way is None:
            super().answer(handler)
        else:
            self.requests.append(handler.path)
            way(handler)

    def _reset(self, handler: BaseHTTPRequestHandler) -> None:
        # Lingering for no time makes close() send RST.
        handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        handler.close_connection = True

    def _silent(self, handler: BaseHTTPRequestHandler) -> None:
        self._over.wait()
        handler.close_connection = True

    def _stalling(self, handler: BaseHTTPRequestHandler) -> None:
        self._begin(handler, len(GEOTIFF) * 2)
        self._silent(handler)

    def _truncated(self, handler: BaseHTTPRequestHandler) -> None:
        self._begin(handler, len(GEOTIFF) * 2)
        handler.close_connection = True

    def _short(self, handler: BaseHTTPRequestHandler) -> None:
        """A chunked body without its last chunk."""
        handler.send_response(200)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        handler.wfile.write(f"{len(GEOTIFF):x}\r\n".encode() + GEOTIFF + b"\r\n")
        handler.close_connection = True

    @staticmethod
    def _begin(handler: BaseHTTPRequestHandler, size: int) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(size))
        handler.end_headers()
        handler.wfile.write(GEOTIFF)
        handler.wfile.flush()
