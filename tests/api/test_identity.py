from __future__ import annotations

import json
import uuid
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from joserfc import jwt
from joserfc.jwk import KeySet, RSAKey
from starlette.applications import Starlette

from graticule.access import Issuer, ManagedIdentity, Role
from graticule.api.identity import ENDPOINTS
from graticule.api.routing import routes
from graticule.settings import AUDIENCE, Settings

ISSUER = Issuer(str(uuid.uuid4()), RSAKey.generate_key(2048), AUDIENCE)


async def get(path: str, *, method: str = "GET", **settings: Any) -> tuple[int, Any]:
    """One request to the smallest application that has the routes."""
    app = Starlette(routes=routes(ENDPOINTS))
    app.state.services = SimpleNamespace(
        issuer=ISSUER,
        managed_identity=ManagedIdentity(ISSUER, "secret", (AUDIENCE,)),
        settings=Settings(**settings),
    )
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "scheme": "http",
        "query_string": b"",
        "headers": [(b"host", b"catalog.example:8080")],
        "server": ("127.0.0.1", 8080),
        "client": ("127.0.0.1", 1),
    }
    await app(scope, receive, send)
    body = b"".join(message.get("body", b"") for message in sent[1:])
    return sent[0]["status"], json.loads(body) if body.startswith(b"{") else body


async def test_published_keys_verify_a_token() -> None:
    status, document = await get("/identity/keys")
    token = ISSUER.issue(Role.READER, timedelta(minutes=1))

    assert status == 200
    assert jwt.decode(token, KeySet.import_key_set(document), algorithms=["RS256"]).claims["iss"] == ISSUER.name


@pytest.mark.parametrize(
    ("public_url", "base"),
    [(None, "http://catalog.example:8080"), ("https://maps.example/catalog", "https://maps.example/catalog")],
)
async def test_discovery_names_the_keys_under_the_public_url(public_url: str | None, base: str) -> None:
    status, document = await get("/identity/.well-known/openid-configuration", public_url=public_url)

    assert status == 200
    assert document["issuer"] == ISSUER.name
    assert document["jwks_uri"] == f"{base}/identity/keys"


async def test_the_token_endpoint_wants_its_header() -> None:
    status, document = await get("/identity/token")

    assert status == 401
    assert document["error"]["code"] == "Unauthorized"
    assert document["statusCode"] == 401


async def test_the_token_endpoint_takes_no_post() -> None:
    assert (await get("/identity/token", method="POST"))[0] == 405
