"""The demo's source: a small server in the role of the open Planetary Computer.

It answers the addresses that the published quickstart uses: a STAC API to find Items with, a SAS API that gives a
short-lived token to anybody, a blob container that gives nothing without one, and a service whose answers are assets.
Blobs refuse as Azure Blob Storage does: 409 ``PublicAccessNotPermitted`` without a token, 403 ``AuthenticationFailed``
with one that is wrong, changed or expired.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
import time
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from aiohttp import web

from graticule.demo.documents import (
    COLLECTION_ID,
    CONTAINER,
    collection_document,
    item_document,
    tilejson_document,
)
from graticule.demo.scenes import Scene

GEOJSON = "application/geo+json"
#: How long a token is good for, seconds.
TOKEN_LIFE = 45 * 60
_STORAGE_VERSION = "2024-11-04"
#: The fields of a token that its signature covers.
_SIGNED = ("st", "se", "sp", "sv", "sr")


class Source:
    """The scenes, served over HTTP."""

    def __init__(self, scenes: Sequence[Scene], thumbnail: Path, *, now: Callable[[], float] = time.time) -> None:
        """Serve these files. ``now`` is the clock, in seconds since 1970, that tokens go by."""
        self._scenes = {scene.id: scene for scene in scenes}
        self._blobs = {f"annual/{scene.path.name}": scene.path for scene in scenes}
        self._thumbnail = thumbnail
        self._now = now
        self._key = secrets.token_bytes(32)

    def application(self) -> web.Application:
        """The aiohttp application."""
        app = web.Application()
        stac = f"/api/stac/v1/collections/{COLLECTION_ID}"
        app.add_routes(
            [
                web.get(stac, self._collection),
                web.get("/api/stac/v1/search", self._search),
                web.get(f"/api/sas/v1/token/{COLLECTION_ID}", self._token),
                web.get("/api/data/v1/item/tilejson.json", self._tilejson),
                web.get("/api/data/v1/item/preview.png", self._preview),
                web.get(f"/public/thumbnails/{COLLECTION_ID}.png", self._thumbnail_file),
                web.get(f"/{CONTAINER}/{{key:.+}}", self._blob),
                web.get(f"/{CONTAINER}", self._list),
            ]
        )
        return app

    # --- STAC API

    async def _collection(self, request: web.Request) -> web.Response:
        return web.json_response(collection_document(_base(request), list(self._scenes.values())))

    async def _search(self, request: web.Request) -> web.Response:
        collections, ids = _names(request, "collections"), _names(request, "ids")
        found = [
            scene
            for scene in self._scenes.values()
            if (not collections or COLLECTION_ID in collections) and (not ids or scene.id in ids)
        ]
        features = [item_document(_base(request), scene) for scene in found]
        body = {"type": "FeatureCollection", "features": features, "links": []}
        return web.json_response(body, content_type=GEOJSON)

    # --- SAS API

    async def _token(self, _request: web.Request) -> web.Response:
        start, end = int(self._now()) - 60, int(self._now()) + TOKEN_LIFE
        fields = {"st": _stamp(start), "se": _stamp(end), "sp": "rl", "sv": _STORAGE_VERSION, "sr": "c"}
        fields["sig"] = self._signature(fields[name] for name in _SIGNED)
        token = "&".join(f"{name}={quote(value, safe='')}" for name, value in fields.items())
        return web.json_response({"msft:expiry": fields["se"], "token": token})

    def _signature(self, values: Iterable[str]) -> str:
        text = "\n".join((CONTAINER, *values))
        return base64.b64encode(hmac.digest(self._key, text.encode(), hashlib.sha256)).decode()

    # --- blobs

    async def _blob(self, request: web.Request) -> web.StreamResponse:
        refusal = self._refusal(request)
        if refusal is not None:
            return refusal
        path = self._blobs.get(request.match_info["key"])
        if path is None:
            return _storage_error(404, "BlobNotFound", "The specified blob does not exist.")
        # Ranges, HEAD, ETag and conditions are aiohttp's.
        return web.FileResponse(path, headers={"Content-Type": "image/tiff", "x-ms-blob-type": "BlockBlob"})

    async def _list(self, request: web.Request) -> web.Response:
        """The names alone: a catalog asks for them to see whether its token opens the container."""
        refusal = self._refusal(request)
        if refusal is not None:
            return refusal
        names = "".join(f"<Blob><Name>{key}</Name></Blob>" for key in sorted(self._blobs))
        body = f'<?xml version="1.0" encoding="utf-8"?><EnumerationResults><Blobs>{names}</Blobs></EnumerationResults>'
        return web.Response(text=body, content_type="application/xml")

    def _refusal(self, request: web.Request) -> web.Response | None:
        query = request.query
        if "sig" not in query:
            return _storage_error(409, "PublicAccessNotPermitted", "Public access is not permitted on this account.")
        expected = self._signature(query.get(name, "") for name in _SIGNED)
        genuine = hmac.compare_digest(expected.encode(), query["sig"].encode())
        now = _stamp(int(self._now()))  # stamps of one form sort as their times do
        if genuine and query["st"] <= now < query["se"] and "r" in query["sp"]:
            return None
        return _storage_error(403, "AuthenticationFailed", "The signature does not fit, or its time is over.")

    # --- the service behind dynamic assets, open to all

    async def _tilejson(self, request: web.Request) -> web.Response:
        return web.json_response(tilejson_document(_base(request), self._asked(request)))

    async def _preview(self, request: web.Request) -> web.FileResponse:
        return web.FileResponse(self._asked(request).preview)

    async def _thumbnail_file(self, _request: web.Request) -> web.FileResponse:
        return web.FileResponse(self._thumbnail)

    def _asked(self, request: web.Request) -> Scene:
        """The scene a request names. What a second ``?`` brings lands in the last parameter and is not looked at."""
        scene = self._scenes.get(request.query.get("item", ""))
        if scene is None or request.query.get("collection") != COLLECTION_ID:
            raise web.HTTPNotFound(text="No such item.")
        return scene


@asynccontextmanager
async def serve_source(source: Source, *, port: int = 0) -> AsyncIterator[str]:
    """Serve on loopback for the duration of the block; gives the base URL. Port 0 takes a free one.

    Raises:
        OSError: the port is taken.
    """
    runner = web.AppRunner(source.application(), access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", port).start()
        address: tuple[Any, ...] = runner.addresses[0]
        yield f"http://127.0.0.1:{address[1]}"
    finally:
        await runner.cleanup()


def _base(request: web.Request) -> str:
    return f"{request.scheme}://{request.host}"


def _names(request: web.Request, parameter: str) -> set[str]:
    return {name for name in request.query.get(parameter, "").split(",") if name}


def _stamp(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _storage_error(status: int, code: str, message: str) -> web.Response:
    body = f'<?xml version="1.0" encoding="utf-8"?><Error><Code>{code}</Code><Message>{message}</Message></Error>'
    return web.Response(status=status, text=body, content_type="application/xml", headers={"x-ms-error-code": code})
