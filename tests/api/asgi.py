"""Calls the application in this process: no server, no socket, every part behind it real."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urlsplit

from starlette.types import ASGIApp, Message

#: What clients see as the catalog's base URL.
BASE = "http://catalog.test"


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    headers: Mapping[str, str]  #: names in lower case
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> dict[str, Any]:
        """The error of the envelope."""
        error: dict[str, Any] = self.json()["error"]
        assert self.headers["x-ms-error-code"] == error["code"]
        return error


class Client:
    """Sends requests as one caller."""

    def __init__(self, app: ASGIApp, token: str | None = None) -> None:
        self._app = app
        self._token = token

    async def get(self, url: str, **headers: str) -> Answer:
        return await self.send("GET", url, headers=headers)

    async def post(self, url: str, document: Any) -> Answer:
        return await self.send("POST", url, json.dumps(document).encode())

    async def put(self, url: str, document: Any) -> Answer:
        return await self.send("PUT", url, json.dumps(document).encode())

    async def delete(self, url: str) -> Answer:
        return await self.send("DELETE", url)

    async def send(
        self, method: str, url: str, body: bytes | Iterable[bytes] = b"", *, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """Send a body in one piece, or in those given."""
        parts = urlsplit(url)
        pieces = [body] if isinstance(body, bytes) else list(body)
        sent = {"host": urlsplit(BASE).netloc, **(headers or {})}
        if self._token is not None:
            sent["authorization"] = f"Bearer {self._token}"
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": method,
            "scheme": parts.scheme or "http",
            "path": unquote(parts.path),
            "raw_path": parts.path.encode(),
            "query_string": parts.query.encode(),
            "root_path": "",
            "headers": [(name.lower().encode(), value.encode()) for name, value in sent.items()],
            "client": ("127.0.0.1", 50000),
            "server": ("127.0.0.1", 80),
        }
        incoming: list[Message] = [
            {"type": "http.request", "body": piece, "more_body": place < len(pieces) - 1}
            for place, piece in enumerate(pieces)
        ]
        outgoing: list[Message] = []

        async def receive() -> Message:
            if not incoming:
                await asyncio.Event().wait()  # the caller stays until the answer is complete
            return incoming.pop(0)

        async def send(message: Message) -> None:
            outgoing.append(message)

        await self._app(scope, receive, send)
        start = outgoing[0]
        return Answer(
            status=start["status"],
            headers={name.decode().lower(): value.decode() for name, value in start["headers"]},
            body=b"".join(message.get("body", b"") for message in outgoing[1:]),
        )
