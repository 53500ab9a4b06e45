"""Who may call what: every route that is served, with every kind of caller (design: nothing anonymous).

A new route has to be entered here, with the role that it asks for; one that asks for none has to be entered in the
closed list of public routes.
"""

from __future__ import annotations

import re
from datetime import timedelta
from types import SimpleNamespace

import pytest
from joserfc import jwt
from joserfc.jwk import RSAKey
from starlette.routing import Route
from starlette.types import ASGIApp

from api.asgi import Answer, Client
from api.data_routes import DATA_ROUTES
from graticule.access import Issuer, Role
from graticule.api import ENDPOINTS, Endpoint, openapi_endpoint
from graticule.app import create_app
from graticule.services import Services
from graticule.settings import AUDIENCE

#: Open to anybody: they tell nothing that is secret, or guard themselves by a signature or a header.
PUBLIC = {
    "GET /healthz",
    "GET /identity/.well-known/openid-configuration",
    "GET /identity/keys",
    "GET /identity/token",  # the managed-identity endpoint: X-IDENTITY-HEADER, from this machine only
    "GET /blobs/{container}/{key:path}",  # by signature
    "GET /openapi.json",
}

READERS = {
    "GET /",
    "GET /stac",
    "GET /stac/",
    "GET /stac/conformance",
    "GET /stac/queryables",
    "GET /stac/search",
    "POST /stac/search",
    "GET /stac/collections",
    "GET /stac/collections/{collectionId}",
    "GET /stac/collections/{collectionId}/items",
    "GET /stac/collections/{collectionId}/items/{itemId}",
    "GET /stac/collections/{collectionId}/thumbnail",
    "GET /stac/collections/{collectionId}/queryables",
    "GET /stac/collections/{collectionId}/configurations",
    "GET /stac/collections/{collectionId}/configurations/render-options",
    "GET /stac/collections/{collectionId}/configurations/render-options/{renderOptionId}",
    "GET /stac/collections/{collectionId}/configurations/mosaics",
    "GET /stac/collections/{collectionId}/configurations/mosaics/{mosaicId}",
    "GET /stac/collections/{collectionId}/configurations/tile-settings",
    "GET /stac/collections/{collectionId}/configurations/partition-type",
    "GET /inma/ingestion-sources",
    "GET /inma/ingestion-sources/managed-identities",
    "GET /inma/ingestion-sources/{id}",
    "GET /inma/operations",
    "GET /inma/operations/{operationId}",
    "GET /inma/operations/{operationId}/items",
    "GET /inma/collections/{collectionId}/ingestions",
    "GET /inma/collections/{collectionId}/ingestions/{ingestionId}",
    "GET /inma/collections/{collectionId}/ingestions/{ingestionId}/runs",
    "GET /inma/collections/{collectionId}/ingestions/{ingestionId}/runs/{runId}",
    "GET /sas/token/{collectionId}",
    "GET /sas/sign",
    "POST /stac/collections/search",
    "GET /stac/collection-queryables",
    "GET /stac/aggregations",
    "GET /stac/aggregate",
    "POST /stac/aggregate",
    "GET /stac/collections/{collectionId}/aggregations",
    "GET /stac/collections/{collectionId}/aggregate",
    "POST /stac/collections/{collectionId}/aggregate",
    *DATA_ROUTES,
}

ADMINISTRATORS = {
    "POST /stac/collections",
    "PUT /stac/collections/{collectionId}",
    "DELETE /stac/collections/{collectionId}",
    "POST /stac/collections/{collectionId}/items",
    "PUT /stac/collections/{collectionId}/items/{itemId}",
    "PATCH /stac/collections/{collectionId}/items/{itemId}",
    "DELETE /stac/collections/{collectionId}/items/{itemId}",
    "POST /stac/collections/{collectionId}/assets",
    "PUT /stac/collections/{collectionId}/assets/{assetId}",
    "DELETE /stac/collections/{collectionId}/assets/{assetId}",
    "POST /stac/collections/{collectionId}/queryables",
    "PUT /stac/collections/{collectionId}/queryables/{queryableName}",
    "DELETE /stac/collections/{collectionId}/queryables/{queryableName}",
    "POST /stac/collections/{collectionId}/configurations/render-options",
    "PUT /stac/collections/{collectionId}/configurations/render-options/{renderOptionId}",
    "DELETE /stac/collections/{collectionId}/configurations/render-options/{renderOptionId}",
    "POST /stac/collections/{collectionId}/configurations/mosaics",
    "PUT /stac/collections/{collectionId}/configurations/mosaics/{mosaicId}",
    "DELETE /stac/collections/{collectionId}/configurations/mosaics/{mosaicId}",
    "PUT /stac/collections/{collectionId}/configurations/tile-settings",
    "PUT /stac/collections/{collectionId}/configurations/partition-type",
    "POST /inma/ingestion-sources",
    "PUT /inma/ingestion-sources/{id}",
    "DELETE /inma/ingestion-sources/{id}",
    "DELETE /inma/operations",
    "DELETE /inma/operations/{operationId}",
    "POST /inma/operations/{operationId}/rerun",
    "POST /inma/collections/{collectionId}/ingestions",
    "PATCH /inma/collections/{collectionId}/ingestions/{ingestionId}",
    "DELETE /inma/collections/{collectionId}/ingestions/{ingestionId}",
    "POST /inma/collections/{collectionId}/ingestions/{ingestionId}/runs",
    "POST /sas/token/revoke",
}

ALL = (*ENDPOINTS, openapi_endpoint())
GUARDED = [endpoint for endpoint in ALL if endpoint.role is not None]


def name_of(endpoint: Endpoint) -> str:
    return f"{endpoint.method} {endpoint.path}"


def test_every_route_is_listed_with_the_role_that_it_asks_for() -> None:
    served: dict[Role | None, set[str]] = {None: set(), Role.READER: set(), Role.ADMINISTRATOR: set()}
    for endpoint in ALL:
        served[endpoint.role].add(name_of(endpoint))
    assert served[None] == PUBLIC
    assert served[Role.READER] == READERS
    assert served[Role.ADMINISTRATOR] == ADMINISTRATORS


def test_the_application_serves_these_routes_and_no_others() -> None:
    app = create_app(SimpleNamespace(settings=None))  # type: ignore[arg-type]  # no request is made
    served = {
        f"{method} {route.path}"
        for route in app.routes
        if isinstance(route, Route)
        for method in (route.methods or ())
        if method != "HEAD"
    }
    assert len([route for route in app.routes if not isinstance(route, Route)]) == 0
    assert served == PUBLIC | READERS | ADMINISTRATORS


def url_of(endpoint: Endpoint) -> str:
    """With names that nothing has."""
    path = re.sub(r"\{\w+:number\}", "1.0", endpoint.path)
    path = re.sub(r"\{\w+:format\}", "png", path)
    return re.sub(r"\{\w+(?::path)?\}", "no-such", path)


async def call(client: Client, endpoint: Endpoint) -> Answer:
    # Neither the body nor the api-version would pass: who calls is asked first.
    return await client.send(endpoint.method, f"{url_of(endpoint)}?api-version=none", b"{")


def without_role(issuer: Issuer) -> str:
    """A token of the right issuer that names no role."""
    token = issuer.issue(Role.READER, timedelta(minutes=5))
    claims = jwt.decode(token, issuer.public_key, algorithms=["RS256"]).claims
    del claims["roles"]
    key: RSAKey = issuer._key
    return jwt.encode({"alg": "RS256", "kid": issuer.key_id}, claims, key, algorithms=["RS256"])


@pytest.mark.parametrize("caller", ["nobody", "garbage", "expired", "forged"])
async def test_without_a_valid_token_every_guarded_route_is_unauthorized(
    app: ASGIApp, services: Services, caller: str
) -> None:
    issuer = services.issuer
    token = {
        "nobody": None,
        "garbage": "not.a.token",
        "expired": issuer.issue(Role.ADMINISTRATOR, timedelta(hours=-1)),
        "forged": Issuer(issuer.catalog_id, RSAKey.generate_key(2048), AUDIENCE).issue(
            Role.ADMINISTRATOR, timedelta(hours=1)
        ),
    }[caller]
    for endpoint in GUARDED:
        answer = await call(Client(app, token), endpoint)
        assert (answer.status, answer.error["code"]) == (401, "Unauthorized"), name_of(endpoint)
        assert answer.headers["www-authenticate"].startswith("Bearer")


async def test_a_token_without_a_role_is_forbidden_everywhere(app: ASGIApp, services: Services) -> None:
    client = Client(app, without_role(services.issuer))
    for endpoint in GUARDED:
        answer = await call(client, endpoint)
        assert (answer.status, answer.error["code"]) == (403, "Forbidden"), name_of(endpoint)


async def test_a_reader_is_forbidden_what_changes_things(reader: Client) -> None:
    for endpoint in GUARDED:
        answer = await call(reader, endpoint)
        if name_of(endpoint) in ADMINISTRATORS:
            assert (answer.status, answer.error["code"]) == (403, "Forbidden"), name_of(endpoint)
        else:
            assert (answer.status, answer.error["code"]) == (400, "UnsupportedApiVersionValue"), name_of(endpoint)


async def test_an_administrator_comes_through_everywhere(admin: Client) -> None:
    for endpoint in GUARDED:
        answer = await admin.send(endpoint.method, url_of(endpoint), b"{")
        assert answer.status not in {401, 403}, name_of(endpoint)
        if answer.status >= 400:
            assert answer.status in {400, 404}, (name_of(endpoint), answer.body)
            assert answer.error["message"]


async def test_a_head_request_asks_for_the_same_role_as_a_get(app: ASGIApp, reader: Client) -> None:
    for endpoint in GUARDED:
        if endpoint.method == "GET":
            assert (await Client(app).send("HEAD", url_of(endpoint))).status == 401, name_of(endpoint)
    assert (await reader.send("HEAD", "/stac/collections")).status == 200


async def test_public_routes_answer_without_a_token(app: ASGIApp) -> None:
    stranger = Client(app)
    for url in ("/healthz", "/openapi.json", "/identity/keys", "/identity/.well-known/openid-configuration"):
        assert (await stranger.get(url)).status == 200
    assert (await stranger.get("/identity/token")).status == 401
    assert (await stranger.get("/blobs/no-such-00000000/key")).status == 409


async def test_what_is_not_served_is_told_without_asking_who_calls(app: ASGIApp) -> None:
    assert (await Client(app).get("/no/such/route")).error["code"] == "NotFound"
    wrong = await Client(app).send("PATCH", "/stac/collections")
    assert (wrong.status, wrong.error["code"]) == (405, "MethodNotAllowed")
    assert set(wrong.headers["allow"].replace(" ", "").split(",")) == {"GET", "HEAD", "POST"}
