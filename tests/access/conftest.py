"""Factories for the access room: parts of a catalog, an issuer's keys behind a loopback server, a real HTTP server."""

from __future__ import annotations

import asyncio
import json
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from joserfc.jwk import RSAKey

from graticule.access import Issuer
from graticule.cli.address import bound_socket
from graticule.cli.http_server import HttpServer
from graticule.sealing import Sealer
from graticule.settings import AUDIENCE, Settings

MakeSettings = Callable[..., Settings]
ServeApp = Callable[..., str]


@pytest.fixture
def make_settings(tmp_path: Path) -> MakeSettings:
    def make(**overrides: Any) -> Settings:
        return Settings(data_dir=tmp_path, **overrides)

    return make


@pytest.fixture
def settings(make_settings: MakeSettings) -> Settings:
    return make_settings()


@pytest.fixture
def sealer() -> Sealer:
    return Sealer(b"a master key for tests, not a secret")


@pytest.fixture(scope="session")
def issuer() -> Issuer:
    """An issuer without a database behind it: making a key is slow."""
    return Issuer(str(uuid.uuid4()), RSAKey.generate_key(2048), AUDIENCE)


@dataclass
class JsonServer:
    """Answers JSON documents by path on the loopback, and counts who asks."""

    url: str = ""
    documents: dict[str, Any] = field(default_factory=dict)
    status: int = 200
    asked: list[str] = field(default_factory=list)


@pytest.fixture
def json_server() -> Iterator[JsonServer]:
    state = JsonServer()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            state.asked.append(self.path)
            known = self.path in state.documents
            body = json.dumps(state.documents.get(self.path, {})).encode()
            self.send_response(state.status if known else 404)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield state
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def serve_app() -> Iterator[ServeApp]:
    """Serves an ASGI application as the product does; answers its base URL."""
    with ExitStack() as stack:

        def start(app: Any, **options: Any) -> str:
            return stack.enter_context(_serving(app, options))

        yield start


@contextmanager
def _serving(app: Any, options: dict[str, Any]) -> Iterator[str]:
    listener = bound_socket("127.0.0.1", 0, shared=False)
    listening = threading.Event()
    server = HttpServer(app, on_listening=listening.set, **options)
    thread = threading.Thread(target=lambda: asyncio.run(server.serve([listener])))
    thread.start()
    assert listening.wait(10)
    scheme = "https" if options.get("certificate") else "http"
    yield f"{scheme}://127.0.0.1:{listener.getsockname()[1]}"
    server.stop()
    thread.join()
