"""Files handed to a worker of the same machine: a server on loopback, for as long as a command waits."""

from __future__ import annotations

import secrets
import shutil
import sys
import threading
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import quote

_PIECE: Final = 1 << 20


class FileServer:
    """Serves the files that it was given, and nothing else, under a path that nobody guesses.

    with FileServer() as server:
        href = server.href(Path("/data/scene.tif"))
    """

    def __init__(self) -> None:
        """Take a free port; nothing is served yet."""
        self._files: dict[str, Path] = {}
        self._secret = secrets.token_urlsafe(24)
        self._server = _Server(("127.0.0.1", 0), _handler(self._files))

    @property
    def url(self) -> str:
        """Of all files; ends with a slash."""
        return f"http://127.0.0.1:{self._server.server_address[1]}/{self._secret}/"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.2}, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    def href(self, path: Path) -> str:
        """Serve this file from now on, and say where. Its name stays: a sidecar is known by it."""
        # The folder's number keeps files of one name apart, and those of one folder together.
        place = f"{abs(hash(path.parent)):x}/{quote(path.name)}"
        self._files[f"/{self._secret}/{place}"] = path
        return f"{self.url}{place}"


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A worker that hangs up is no news; it comes again, or says why not in its operation."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


def _handler(files: Mapping[str, Path]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            path = files.get(self.path)
            try:
                file = None if path is None else path.open("rb")
            except OSError:
                file = None
            if file is None:
                self.send_error(404)
                return
            with file:
                size = file.seek(0, 2)
                span = _span(self.headers.get("Range"), size)
                if span is None:
                    self.send_error(416)
                    return
                first, end = span
                self.send_response(206 if "Range" in self.headers else 200)
                if "Range" in self.headers:
                    self.send_header("Content-Range", f"bytes {first}-{end - 1}/{size}")
                self.send_header("Accept-Ranges", "bytes")
                self.send_header("Content-Type", "application/octet-stream")
                self.send_header("Content-Length", str(end - first))
                self.end_headers()
                if self.command == "HEAD":
                    return
                file.seek(first)
                if end == size:
                    shutil.copyfileobj(file, self.wfile, _PIECE)
                else:
                    self.wfile.write(file.read(end - first))

        do_HEAD = do_GET  # noqa: N815 - http.server's names

        def log_message(self, *_arguments: object) -> None:
            """Say nothing: the command shows what comes of it."""

    return Handler


def _span(header: str | None, size: int) -> tuple[int, int] | None:
    """First byte and the one after the last of a Range (RFC 9110 14.1.2: one, from a first byte on); None: not ours."""
    if header is None:
        return 0, size
    first, _, last = header.removeprefix("bytes=").partition("-")
    if not header.startswith("bytes=") or not first.isdigit() or (last and not last.isdigit()):
        return None
    end = min(int(last) + 1, size) if last else size
    return (int(first), end) if int(first) < end else None
