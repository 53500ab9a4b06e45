"""Managed identities: a fake identity endpoint and fake blob hosts on loopback, and where the token goes."""

# ruff: noqa: ARG001 - fixtures are arguments

from __future__ import annotations

import contextlib
import datetime as dt
import ipaddress
import json
import logging
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from graticule.database import SqliteDatabase
from graticule.errors import (
    InvalidRequestBody,
    ManagedIdentityInfoNotFound,
    SourceConnectionFailed,
    SourceError,
    SourceForbidden,
    SourceNotFound,
)
from graticule.sealing import Sealer
from graticule.settings import load_settings
from graticule.sources import Fetcher, Sources, parse_href
from graticule.sources.identity import Tokens, bears_identity

ME = "00000000-0000-0000-0000-000000000001"
TOKEN = "canary-token"

OpenSources = Callable[..., Awaitable[tuple[Sources, Fetcher]]]


def document(url: str, **info: str) -> dict[str, Any]:
    return {"kind": "BlobManagedIdentity", "connectionInfo": {"containerUrl": url, "objectId": ME, **info}}


@pytest.fixture
async def endpoint(make_source: Any, answers: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The machine's identity endpoint (IMDS), which azure-identity finds by this variable."""
    for name in ("IDENTITY_ENDPOINT", "IDENTITY_HEADER", "MSI_ENDPOINT", "AZURE_CLIENT_ID"):
        monkeypatch.delenv(name, raising=False)
    source = await make_source()
    monkeypatch.setenv("AZURE_POD_IDENTITY_AUTHORITY_HOST", source.base)
    source.says(token(answers))
    return source


def token(answers: Any, lives: int = 86_400, text: str = TOKEN) -> Any:
    body = {
        "access_token": text,
        "expires_in": str(lives),
        "expires_on": str(int(time.time()) + lives),
        "resource": "https://storage.azure.com",
        "token_type": "Bearer",
    }
    return answers.whole(json.dumps(body).encode(), Content_Type="application/json")


@pytest.fixture
async def blobs(make_source: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A blob host with a certificate that the client trusts."""
    file = tmp_path / "certificate.pem"
    file.write_bytes(certificate())
    monkeypatch.setenv("SSL_CERT_FILE", str(file))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(file)
    return await make_source(tls=context)


def certificate() -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = dt.datetime.now(dt.UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return signed.public_bytes(serialization.Encoding.PEM) + private


@pytest.fixture
async def open_sources(tmp_path: Path) -> AsyncIterator[OpenSources]:
    """Sources and their client, with these hosts for the identity."""
    async with contextlib.AsyncExitStack() as stack:

        async def make(*hosts: str, **values: Any) -> tuple[Sources, Fetcher]:
            values = {"fetch_idle_timeout": 1, "fetch_tries": 1, **values}
            settings = load_settings(
                data_dir=tmp_path, fetch_allow=("127.0.0.0/8",), machine_identity_hosts=hosts, **values
            )
            database = stack.enter_context(contextlib.closing(SqliteDatabase(tmp_path / "graticule.db")))
            sources = Sources(settings=settings, database=database, sealer=Sealer(b"k" * 32))
            return sources, await stack.enter_async_context(Fetcher(settings, credentials=sources.credential))

        yield make


async def test_a_blob_is_read_with_a_token_of_the_identity(
    open_sources: OpenSources,
    endpoint: Any,
    blobs: Any,
    answers: Any,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    sources, fetcher = await open_sources(f"127.0.0.1:{blobs.port}")
    made = await sources.create(document(f"{blobs.base}/container"))
    assert made.warning is None, made.warning
    listing = blobs.requests[0]
    assert listing.path_query == "/container?restype=container&comp=list&maxresults=1"
    await fetcher.download(f"{blobs.base}/container/a.tif", tmp_path / "file")
    await fetcher.download(f"{blobs.base}/elsewhere/a.tif", tmp_path / "file")
    await fetcher.download(f"{blobs.base}/container/a.tif?sp=r&sig=own", tmp_path / "file")
    assert [request.headers.get("authorization") for request in blobs.requests] == [
        f"Bearer {TOKEN}",
        f"Bearer {TOKEN}",
        None,
        None,
    ]
    assert blobs.requests[1].headers["x-ms-version"] >= "2017-11-09"  # the first with bearer tokens
    (asked,) = endpoint.requests  # kept for the next request
    assert f"object_id={ME}" in asked.path_query
    assert "resource=https://storage.azure.com&" in asked.path_query
    assert asked.headers["metadata"] == "true"
    assert TOKEN not in caplog.text


async def test_a_token_never_follows_a_redirect_to_another_origin(
    open_sources: OpenSources, endpoint: Any, blobs: Any, source: Any, answers: Any, tmp_path: Path
) -> None:
    sources, fetcher = await open_sources(f"127.0.0.1:{blobs.port}")
    await sources.create(document(f"{blobs.base}/container"))
    blobs.says(answers.redirect(f"{source.base}/container/b.tif"), answers.whole())
    source.says(answers.redirect(f"{blobs.base}/container/c.tif"))
    await fetcher.download(f"{blobs.base}/container/a.tif", tmp_path / "file")
    assert [request.headers.get("authorization") for request in blobs.requests[1:]] == [f"Bearer {TOKEN}", None]
    assert ["authorization" in request.headers for request in source.requests] == [False]
    # The connection test is no way around it either.
    blobs.says(answers.redirect(f"{source.base}/container/b.tif"))
    source.says(answers.whole())
    await sources.replace((await sources.listing(top=1, skip=0))[0].id, document(f"{blobs.base}/container"))
    assert ["authorization" in request.headers for request in source.requests] == [False, False]


async def test_a_token_is_for_the_operators_hosts_only_and_only_by_https(
    open_sources: OpenSources, endpoint: Any, blobs: Any, source: Any, tmp_path: Path
) -> None:
    sources, _ = await open_sources(f"127.0.0.1:{source.port}")
    for url in (f"{blobs.base}/container", f"{source.base}/container", "https://evil.test/container"):
        with pytest.raises(InvalidRequestBody, match="GRATICULE_MACHINE_IDENTITY_HOSTS"):
            await sources.create(document(url))
    # What was allowed once and is no more, is not read any more.
    sources, _ = await open_sources(f"127.0.0.1:{blobs.port}")
    await sources.create(document(f"{blobs.base}/container"))
    _, fetcher = again = await open_sources()
    with pytest.raises(SourceForbidden, match="not sent there"):
        await fetcher.download(f"{blobs.base}/container/a.tif", tmp_path / "file")
    assert len(blobs.requests) == 1
    assert again


@pytest.mark.parametrize(
    ("href", "shown"),
    [
        ("https://account.blob.core.windows.net/c", True),
        ("https://account.blob.core.windows.net./c", True),
        ("https://account-secondary.blob.core.windows.net/c", True),
        ("https://account.z12.blob.storage.azure.net/c", True),
        ("https://account.blob.core.usgovcloudapi.net/c", True),
        ("https://account.blob.core.chinacloudapi.cn/c", True),
        ("https://account.blob.core.windows.net:8443/c", True),
        ("http://account.blob.core.windows.net/c", False),
        ("http://account.blob.core.windows.net:443/c", False),
        ("https://account.blob.core.windows.net.evil.test/c", False),
        ("https://evil.test/account.blob.core.windows.net/c", False),
        ("https://blob.core.windows.net/c", False),
        ("https://evilblob.core.windows.net/c", False),
        ("https://account.evil.blob.core.windows.net/c", False),
        ("https://account.file.core.windows.net/c", False),
        ("https://account-blob.core.windows.net/c", False),
        ("https://account.blob.core.windows.net-evil.test/c", False),
        ("https://s3.eu-west-1.amazonaws.com/c", False),
        ("https://storage.googleapis.com/c", False),
        ("https://127.0.0.1/c", False),
    ],
)
def test_hosts_of_azure_blob(href: str, shown: bool) -> None:
    assert bears_identity(parse_href(href), load_settings(), "azure") is shown


async def test_a_token_is_renewed_before_it_ends(endpoint: Any, answers: Any) -> None:
    now = time.time()
    tokens = Tokens(load_settings(), clock=lambda: now)
    endpoint.says(token(answers, 3600), token(answers, 3600, "second"))
    assert [await tokens.token(ME, None) for _ in range(2)] == [TOKEN] * 2
    now += 3200
    assert [await tokens.token(ME, None) for _ in range(2)] == [TOKEN] * 2
    now += 150
    assert await tokens.token(ME, None) == "second"
    assert await tokens.token(None, "app") == "second"
    assert "client_id=app" in endpoint.requests[-1].path_query
    assert len(endpoint.requests) == 3


async def test_an_identity_that_is_not_there_says_what_to_do(
    open_sources: OpenSources, endpoint: Any, blobs: Any, answers: Any, tmp_path: Path
) -> None:
    sources, fetcher = await open_sources(f"127.0.0.1:{blobs.port}")
    body = json.dumps({"error": "invalid_request", "error_description": "Identity not found"}).encode()
    endpoint.says(answers.whole(body, 400, Content_Type="application/json"))
    made = await sources.create(document(f"{blobs.base}/container"))
    assert f"no managed identity {ME}" in (made.warning or "")
    with pytest.raises(ManagedIdentityInfoNotFound, match="attach") as caught:
        await fetcher.download(f"{blobs.base}/container/a.tif", tmp_path / "file")
    assert caught.value.code == "ManagedIdentityInfoNotFound"
    assert blobs.requests == []


async def test_a_slow_identity_endpoint_holds_nothing_up_for_long(
    open_sources: OpenSources, endpoint: Any, blobs: Any, answers: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("graticule.sources.identity._PATIENCE", 0.2)
    sources, _ = await open_sources(f"127.0.0.1:{blobs.port}")
    endpoint.says(answers.hangs)
    made = await sources.create(document(f"{blobs.base}/container"))
    assert "did not answer in time" in (made.warning or "")
    with pytest.raises(SourceConnectionFailed):
        await sources.get_token(ME, None)


async def test_an_operator_says_which_identities_there_are(
    open_sources: OpenSources, endpoint: Any, blobs: Any, tmp_path: Path
) -> None:
    host = f"127.0.0.1:{blobs.port}"
    for values, said in (
        ({"machine_identity": ("aws",)}, "switched off"),
        ({"managed_identities": {"other": "/subscriptions/x"}}, "GRATICULE_MANAGED_IDENTITIES"),
    ):
        sources, _ = await open_sources(host, **values)
        with pytest.raises(ManagedIdentityInfoNotFound, match=said):
            await sources.get_token(ME, None)
    assert endpoint.requests == []


async def test_the_whole_chain_is_used_where_the_operator_says_so(endpoint: Any) -> None:
    tokens = Tokens(load_settings(machine_identity=("azure-default",)))
    assert await tokens.token(ME, None) == TOKEN


# --- headers ----------------------------------------------------------------------------------------------------------


def headers(url: str, **sent: str) -> dict[str, Any]:
    return {"kind": "HttpHeaders", "connectionInfo": {"containerUrl": url, "headers": sent}}


def contents(folder: Path) -> bytes:
    return b"".join(file.read_bytes() for file in folder.iterdir() if file.is_file())


async def test_headers_go_to_their_prefix_and_nowhere_else(
    open_sources: OpenSources, source: Any, make_source: Any, answers: Any, tmp_path: Path
) -> None:
    other = await make_source()
    sources, fetcher = await open_sources()
    source.says(answers.whole(b"", 404))  # the beginning of addresses need be nothing itself
    made = await sources.create(headers(f"{source.base}/api", Authorization="Basic hunter22", **{"X-Api-Key": "k"}))
    assert (made.warning, made.details) == (None, {"headerNames": ["Authorization", "X-Api-Key"]})
    assert source.requests[0].headers["authorization"] == "Basic hunter22"
    source.says(answers.redirect("/api/b?page=2"), answers.redirect(f"{other.base}/c"))
    await fetcher.download(f"{source.base}/api/a?page=1", tmp_path / "file")
    assert [request.headers.get("x-api-key") for request in source.requests[1:]] == ["k", "k"]
    assert "x-api-key" not in other.requests[0].headers
    source.says(answers.whole())
    await fetcher.download(f"{source.base}/apis/a", tmp_path / "file")
    assert "x-api-key" not in source.requests[-1].headers
    kept = await sources.replace(
        made.id, {"kind": "HttpHeaders", "connectionInfo": {"containerUrl": made.container_url}}
    )
    assert kept.details == made.details
    await fetcher.download(f"{source.base}/api/a", tmp_path / "file")
    assert source.requests[-1].headers["x-api-key"] == "k"
    assert b"hunter22" not in contents(tmp_path)


async def test_headers_that_are_rejected_are_told_at_once(
    open_sources: OpenSources, source: Any, answers: Any, tmp_path: Path
) -> None:
    sources, fetcher = await open_sources()
    source.says(answers.whole(b"", 401))
    made = await sources.create(headers(f"{source.base}/api", Authorization="Basic hunter22"))
    assert "answered 401" in (made.warning or "")
    with pytest.raises(SourceError) as caught:
        await fetcher.download(f"{source.base}/api/a", tmp_path / "file")
    assert (caught.value.code, caught.value.retriable) == ("IngestionAuthenticationFailed", False)
    source.says(answers.whole(b"", 404, x_ms_error_code="ResourceNotFound"))
    with pytest.raises(SourceNotFound):  # it was no anonymous request
        await fetcher.download(f"{source.base}/api/a", tmp_path / "file")
