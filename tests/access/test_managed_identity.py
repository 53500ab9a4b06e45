"""The managed-identity endpoint under the real azure-identity, over plain HTTP on the loopback."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import azure.identity
import azure.identity.aio
import pytest
import requests
from azure.core.exceptions import ClientAuthenticationError
from starlette.applications import Starlette

from graticule.access import Issuer, ManagedIdentity, Role, open_identity, open_managed_identity, prepare_tls
from graticule.api.identity import ENDPOINTS
from graticule.api.routing import routes
from graticule.database import Database
from graticule.errors import Forbidden, InvalidParameter, Unauthorized
from graticule.sealing import Sealer
from graticule.settings import AUDIENCE, Settings

if TYPE_CHECKING:
    from access.conftest import ServeApp

SCOPE = f"{AUDIENCE}/.default"


@pytest.fixture
def managed_identity(database: Database, sealer: Sealer, settings: Settings, issuer: Issuer) -> ManagedIdentity:
    return open_managed_identity(database, sealer, settings, issuer)


@pytest.fixture
def app(managed_identity: ManagedIdentity, issuer: Issuer, settings: Settings) -> Starlette:
    app = Starlette(routes=routes(ENDPOINTS))
    app.state.services = SimpleNamespace(issuer=issuer, managed_identity=managed_identity, settings=settings)
    return app


@pytest.fixture
def clean_environment(managed_identity: ManagedIdentity, monkeypatch: pytest.MonkeyPatch) -> None:
    """No Azure configuration but the header that `graticule env` gives."""
    for name in ("AZURE_CLIENT_ID", "AZURE_TENANT_ID", "AZURE_CLIENT_SECRET", "AZURE_TOKEN_CREDENTIALS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("IDENTITY_HEADER", managed_identity.header)


@pytest.fixture
def endpoint(app: Starlette, serve_app: ServeApp, clean_environment: None, monkeypatch: pytest.MonkeyPatch) -> str:
    """A served endpoint that Azure clients find in the environment."""
    assert clean_environment is None
    url = f"{serve_app(app)}/identity/token"
    monkeypatch.setenv("IDENTITY_ENDPOINT", url)
    return url


@pytest.mark.usefixtures("endpoint")
@pytest.mark.parametrize("kind", ["ManagedIdentityCredential", "DefaultAzureCredential"])
async def test_azure_credentials_log_in(kind: str, issuer: Issuer, settings: Settings) -> None:
    with getattr(azure.identity, kind)() as credential:
        token = credential.get_token(SCOPE)

    assert 3500 < token.expires_on - time.time() <= 3600
    principal = await open_identity(issuer, settings).authenticate(token.token)
    assert principal.roles == {Role.ADMINISTRATOR}


@pytest.mark.usefixtures("endpoint")
@pytest.mark.parametrize("kind", ["ManagedIdentityCredential", "DefaultAzureCredential"])
async def test_asynchronous_azure_credentials_log_in(kind: str, issuer: Issuer, settings: Settings) -> None:
    async with getattr(azure.identity.aio, kind)() as credential:
        token = await credential.get_token(SCOPE)

    await open_identity(issuer, settings).authenticate(token.token)


SCRIPT = """
import asyncio
import azure.identity, azure.identity.aio

print(azure.identity.DefaultAzureCredential().get_token("SCOPE").token)

async def main():
    async with azure.identity.aio.DefaultAzureCredential() as credential:
        print((await credential.get_token("SCOPE")).token)

asyncio.run(main())
"""


async def test_an_unmodified_script_logs_in_over_tls_with_the_exported_bundle(
    app: Starlette, serve_app: ServeApp, tmp_path: Path
) -> None:
    services = app.state.services
    files = prepare_tls(tmp_path)
    url = serve_app(app, certificate=files.certificate, key=files.key)
    # A process of its own: aiohttp reads SSL_CERT_FILE when it is imported.
    environment = {
        "PATH": os.environ["PATH"],
        "IDENTITY_ENDPOINT": f"{url}/identity/token",
        "IDENTITY_HEADER": services.managed_identity.header,
        "REQUESTS_CA_BUNDLE": str(files.bundle),
        "SSL_CERT_FILE": str(files.bundle),
    }
    command = [sys.executable, "-c", SCRIPT.replace("SCOPE", SCOPE)]
    result = await asyncio.to_thread(
        subprocess.run, command, env=environment, capture_output=True, text=True, timeout=60, check=False
    )

    assert result.returncode == 0, result.stderr
    tokens = result.stdout.split()
    assert len(tokens) == 2
    for token in tokens:
        await open_identity(services.issuer, services.settings).authenticate(token)


@pytest.mark.usefixtures("endpoint")
async def test_a_user_assigned_identity_is_answered_too(issuer: Issuer, settings: Settings) -> None:
    with azure.identity.ManagedIdentityCredential(client_id="6388acc4-795e-43a9-a320-33075c1eb83b") as credential:
        token = credential.get_token(SCOPE)

    await open_identity(issuer, settings).authenticate(token.token)


@pytest.mark.usefixtures("endpoint")
async def test_azure_credentials_say_that_other_resources_are_not_served() -> None:
    with (
        azure.identity.ManagedIdentityCredential() as credential,
        pytest.raises(ClientAuthenticationError, match="400, This identity has tokens for"),
    ):
        credential.get_token("https://storage.azure.com/.default")
    async with azure.identity.aio.ManagedIdentityCredential() as asynchronous:
        with pytest.raises(ClientAuthenticationError, match="not for other resources"):
            await asynchronous.get_token("https://storage.azure.com/.default")


@pytest.mark.usefixtures("endpoint")
def test_azure_credentials_fail_with_a_wrong_header(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IDENTITY_HEADER", "wrong")
    with (
        azure.identity.ManagedIdentityCredential() as credential,
        pytest.raises(ClientAuthenticationError, match="X-IDENTITY-HEADER"),
    ):
        credential.get_token(SCOPE)


def test_the_answer_is_that_of_the_protocol_and_not_cached(endpoint: str, managed_identity: ManagedIdentity) -> None:
    answer = requests.get(
        endpoint,
        params={"resource": AUDIENCE, "api-version": "2019-08-01"},
        headers={"X-IDENTITY-HEADER": managed_identity.header},
        timeout=5,
    )
    assert answer.status_code == 200
    assert set(answer.json()) == {"access_token", "expires_on", "resource", "token_type", "client_id"}
    assert answer.json()["expires_on"].isdigit()
    assert answer.headers["Cache-Control"] == "no-store"


def test_a_forwarded_request_is_not_local(endpoint: str, managed_identity: ManagedIdentity) -> None:
    headers = {"X-IDENTITY-HEADER": managed_identity.header, "X-Forwarded-For": "127.0.0.1"}
    answer = requests.get(endpoint, params={"resource": AUDIENCE}, headers=headers, timeout=5)

    assert answer.status_code == 403
    assert answer.json()["error"]["code"] == "Forbidden"


# --- the rules themselves


def test_the_secret_stays_the_same(
    managed_identity: ManagedIdentity, database: Database, sealer: Sealer, settings: Settings, issuer: Issuer
) -> None:
    assert open_managed_identity(database, sealer, settings, issuer).header == managed_identity.header
    assert len(managed_identity.header) >= 40


@pytest.mark.parametrize("peer", [None, "", "testclient", "192.168.1.5", "10.0.0.1", "::ffff:8.8.8.8", "2001:db8::1"])
def test_only_this_machine_is_answered(managed_identity: ManagedIdentity, peer: str | None) -> None:
    with pytest.raises(Forbidden):
        managed_identity.token(peer=peer, header=managed_identity.header, resource=AUDIENCE)


@pytest.mark.parametrize("peer", ["127.0.0.1", "127.1.2.3", "::1", "::ffff:127.0.0.1"])
def test_every_loopback_address_is_this_machine(managed_identity: ManagedIdentity, peer: str) -> None:
    assert managed_identity.token(peer=peer, header=managed_identity.header, resource=AUDIENCE)["access_token"]


@pytest.mark.parametrize("header", [None, "", "wrong", "é"])
def test_a_missing_or_wrong_header_is_refused(managed_identity: ManagedIdentity, header: str | None) -> None:
    with pytest.raises(Unauthorized):
        managed_identity.token(peer="127.0.0.1", header=header, resource=AUDIENCE)


@pytest.mark.parametrize("resource", [None, "", "https://storage.azure.com", AUDIENCE + ".evil.example"])
def test_other_resources_are_refused(managed_identity: ManagedIdentity, resource: str | None) -> None:
    with pytest.raises(InvalidParameter) as caught:
        managed_identity.token(peer="127.0.0.1", header=managed_identity.header, resource=resource)
    assert caught.value.target == "resource"


def test_another_protocol_version_is_refused(managed_identity: ManagedIdentity) -> None:
    with pytest.raises(InvalidParameter, match="2019-08-01"):
        managed_identity.token(
            peer="127.0.0.1", header=managed_identity.header, resource=AUDIENCE, api_version="2017-09-01"
        )
