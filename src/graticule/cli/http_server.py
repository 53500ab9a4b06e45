"""The HTTP server of an API process: uvicorn in the process's own event loop, and limits for the head of a request."""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

#: The first line and the headers of a request have at most about so many bytes. Next links, which hold a search, are
#: the longest (`graticule.api.routing.MAX_URL_BYTES`).
MAX_HEAD_BYTES: Final = 256 * 1024
#: And arrive within this time, seconds.
HEAD_SECONDS: Final = 30.0
#: The parser of URLs counts in 16 bits.
_PARSED_BYTES: Final = 0xFFFF
#: A connection without a request is kept for this time, seconds: longer than proxies keep theirs, for where both end
#: one at once, a request may be lost.
_IDLE_SECONDS: Final = 75
#: Requests that run may end, for this time after `stop`, seconds: less than a supervisor waits.
_LAST_SECONDS: Final = 2


class HttpServer(uvicorn.Server):
    """Serves an ASGI application over HTTP/1.1."""

    def __init__(
        self,
        application: ASGIApp,
        *,
        certificate: Path | None = None,
        key: Path | None = None,
        on_listening: Callable[[], None] = lambda: None,
    ) -> None:
        """Serve https, where a certificate and its key are given (PEM), from TLS 1.2 on.

        `on_listening` is called when connections are taken.
        """
        self._on_listening = on_listening
        config = uvicorn.Config(
            application,
            http=_Protocol,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,  # who is believed is ours to say: see `graticule.api.links`
            ssl_certfile=certificate,
            ssl_keyfile=key,
            timeout_keep_alive=_IDLE_SECONDS,
            timeout_graceful_shutdown=_LAST_SECONDS,
        )
        config.load()
        if config.ssl is not None:
            config.ssl.minimum_version = ssl.TLSVersion.TLSv1_2
        super().__init__(config)
        # It would quote what a handler raised, which may hold a URL: `graticule.api.routing` says what there is to say.
        logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL + 1)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to listen."""
        await super().startup(sockets)
        self._on_listening()

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """None: whoever runs the process does that, and calls `stop`."""
        yield

    def stop(self) -> None:
        """Take no more requests, and have `serve` return when those that run have ended."""
        self.should_exit = True


class _Protocol(HttpToolsProtocol):
    """uvicorn's, which would take a head of any length and wait for it for ever."""

    #: Has the head of a request begun, or is one waited for? And what there is of it.
    _in_head = True
    _head_bytes = 0
    _head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._head_timer = self.loop.call_later(HEAD_SECONDS, transport.close)

    def connection_lost(self, exc: Exception | None) -> None:
        self._head_is_there()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        # A head that arrives at once, as most do, costs neither a timer nor a count.
        if not self._in_head or self.transport.is_closing():
            return
        self._head_bytes += len(data)
        if self._head_bytes > MAX_HEAD_BYTES:
            self._head_is_there()
            self.send_400_response(f"The request's line and headers have more than {MAX_HEAD_BYTES} bytes.")
        elif self._head_timer is None:
            self._head_timer = self.loop.call_later(HEAD_SECONDS, self.transport.close)

    def on_message_begin(self) -> None:
        self._in_head, self._head_bytes = True, 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._in_head = False
        self._head_is_there()
        if len(self.url) <= _PARSED_BYTES:
            super().on_headers_complete()
            return
        self.url, _, query = self.url.partition(b"?")
        super().on_headers_complete()
        self.scope["query_string"] = query  # the handler's task has not begun

    def _head_is_there(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None
