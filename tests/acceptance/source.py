"""A source of files on loopback that refuses requests without the right token, as a private blob container does."""

from __future__ import annotations

import sys
import threading
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self
from urllib.parse import unquote

TOKEN = "sv=2024-11-04&sr=c&sp=rl&sig=letmein%2Bplease%3D"


class Source:
    """Serves byte strings by path; `requests` lists what was asked, queries included."""

    def __init__(self, files: Mapping[str, bytes], *, token: str | None = TOKEN) -> None:
        """Take the files by path (without the leading slash) and the query that every request must end with."""
        self.files = dict(files)
        self.token = token
        self.requests: list[str] = []
        #: Statuses to answer for a path instead of its file, the first one first; then the file.
        self.failures: dict[str, list[int]] = {}
        #: Paths that are answered only when their gate is opened.
        self.gates: dict[str, threading.Event] = {}
        source = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                source.answer(self)

            do_HEAD = do_GET  # noqa: N815 - http.server's names

            def log_message(self, *_arguments: object) -> None:
                """Say nothing."""

        self._server = _Server(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.host = f"127.0.0.1:{self._server.server_address[1]}"
        self.url = f"http://{self.host}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for gate in self.gates.values():
            gate.set()
        self._server.shutdown()
        self._server.server_close()

    def href(self, path: str, *, signed: bool = True) -> str:
        """The URL of a file; an href with a query already gets a second `?`, as the quickstart does it."""
        return f"{self.url}/{path}" + (f"?{self.token}" if signed and self.token else "")

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        """Answer one request."""
        self.requests.append(handler.path)
        path, _, query = handler.path.partition("?")
        name = unquote(path).lstrip("/")
        if self.token is not None and not query.endswith(self.token):
            self._send(handler, 409 if not query else 403, b"<Error><Code>AuthenticationFailed</Code></Error>", {})
            return
        if name in self.gates:
            self.gates[name].wait()
        if self.failures.get(name):
            self._send(handler, self.failures[name].pop(0), b"", {})
            return
        content = self.files.get(name)
        if content is None:
            self._send(handler, 404, b"<Error><Code>BlobNotFound</Code></Error>", {})
            return
        start, end = _range(handler.headers.get("Range"), len(content))
        status = 206 if "Range" in handler.headers else 200
        headers = {"ETag": f'"{hash(content) & 0xFFFFFFFF:x}"', "Accept-Ranges": "bytes"}
        if status == 206:
            headers["Content-Range"] = f"bytes {start}-{end - 1}/{len(content)}"
        self._send(handler, status, content[start:end], headers)

    @staticmethod
    def _send(handler: BaseHTTPRequestHandler, status: int, body: bytes, headers: Mapping[str, str]) -> None:
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name, value)
        handler.send_header("Content-Type", "application/octet-stream")
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        if handler.command != "HEAD":
            try:
                handler.wfile.write(body)
            except ConnectionError:  # the client was killed, as some tests want it
                handler.close_connection = True


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: object, client_address: object) -> None:
        """Clients that go in the middle are what some tests are about; anything else is told."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]  # typeshed's private type


def _range(header: str | None, size: int) -> tuple[int, int]:
    if header is None:
        return 0, size
    first, _, last = header.removeprefix("bytes=").partition("-")
    return int(first), min(int(last) + 1 if last else size, size)
