"""A place where assets lie, for tests: files on the loopback, behind a token if wanted.

The catalog may fetch from it where its host stands in ``GRATICULE_FETCH_ALLOW``: `LocalSource.allow` is that setting.
"""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs


class LocalSource:
    """Serves what is in ``files`` (path → bytes) until the ``with`` block ends."""

    def __init__(self, files: dict[str, bytes] | None = None, *, token: str | None = None) -> None:
        """Bind a port.

        Args:
            files: what is served; may be changed while the source runs.
            token: what the query parameter ``sig`` must be; else 403, as a blob store answers.
        """
        self.files = dict(files or {})
        self.token = token
        #: ``(method, path with query)`` of each request, in order.
        self.requests: list[tuple[str, str]] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})
        self.allow = f"127.0.0.1:{self._server.server_address[1]}"
        self.url = f"http://{self.allow}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def href(self, path: str) -> str:
        """The URL of a file, with the token."""
        return f"{self.url}{path}" + (f"?sig={self.token}" if self.token is not None else "")

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        source = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                source.requests.append((self.command, self.path))
                path, _, query = self.path.partition("?")
                if source.token is not None and parse_qs(query).get("sig") != [source.token]:
                    self._answer(403, b"AuthenticationFailed")
                elif path not in source.files:
                    self._answer(404, b"BlobNotFound")
                else:
                    self._file(source.files[path])

            do_HEAD = do_GET  # noqa: N815 - the name the base class looks for

            def _file(self, content: bytes) -> None:
                wanted = self.headers.get("Range", "")
                if not wanted.startswith("bytes=") or "," in wanted:
                    self._answer(200, content)
                    return
                first, _, last = wanted.removeprefix("bytes=").partition("-")
                start = int(first) if first else max(0, len(content) - int(last))
                stop = min(int(last) + 1, len(content)) if first and last else len(content)
                if start >= len(content):
                    self._answer(416, b"", {"Content-Range": f"bytes */{len(content)}"})
                    return
                self._answer(206, content[start:stop], {"Content-Range": f"bytes {start}-{stop - 1}/{len(content)}"})

            def _answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
                self.send_response(status)
                for name, value in {"Accept-Ranges": "bytes", **(headers or {})}.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
                pass

        return Handler
