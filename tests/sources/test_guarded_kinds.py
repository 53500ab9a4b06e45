"""Sources of every kind against the canary of `test_guard`: no endpoint, container or scheme leads inside."""

# ruff: noqa: ARG001 - fixtures are arguments

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from graticule.database import SqliteDatabase
from graticule.errors import InvalidRequestBody, SourceError
from graticule.sealing import Sealer
from graticule.settings import load_settings
from graticule.sources import Fetcher, Sources
from sources.test_guard import HOSTS, Canary, canary, lookup

OpenFetcher = Callable[..., Awaitable[Fetcher]]

__all__ = ["canary"]  # the fixture

KEYS = {"accessKeyId": "AKIA", "secretAccessKey": "SECRET"}


def _kinds(base: str) -> list[tuple[str, dict[str, Any]]]:
    return [
        ("SasToken", {"containerUrl": f"{base}/container", "sasToken": "sp=rl&sig=SECRET"}),
        ("BlobManagedIdentity", {"containerUrl": f"{base}/container", "objectId": "me"}),
        ("S3", {"containerUrl": f"{base}/bucket", **KEYS}),
        ("S3", {"containerUrl": "s3://bucket", "endpoint": base, **KEYS}),
        ("Gcs", {"containerUrl": f"{base}/bucket", "serviceAccountKey": "{}"}),
        ("HttpHeaders", {"containerUrl": f"{base}/api", "headers": {"Authorization": "SECRET"}}),
        ("LocalFolder", {"containerUrl": base.replace("https", "file").replace("http", "file")}),
    ]


@pytest.fixture
async def guarded(open_fetcher: OpenFetcher, tmp_path: Path) -> AsyncIterator[Sources]:
    """Sources that are tried through a client for which every unknown name leads to loopback."""
    fetcher = await open_fetcher(lookup=lookup)
    database = SqliteDatabase(tmp_path / "graticule.db")
    yield Sources(
        settings=load_settings(data_dir=tmp_path),
        database=database,
        sealer=Sealer(b"k" * 32),
        probe=fetcher.probe,
        get_token=_token,
    )
    database.close()


async def _token(object_id: str | None, client_id: str | None) -> str:
    return "SECRET"


@pytest.mark.parametrize("scheme", ["https", "http"])
async def test_no_source_is_an_inner_address(scheme: str, guarded: Sources, canary: Canary) -> None:
    taken, refused = [], []
    for host in HOSTS:
        for kind, info in _kinds(f"{scheme}://{host}:{canary.port}"):
            try:
                made = await guarded.create({"kind": kind, "connectionInfo": info})
            except InvalidRequestBody as exc:
                refused.append(exc.message)
            else:
                await guarded.delete(made.id)
                if "may not be fetched" not in (made.warning or ""):
                    taken.append(f"{kind} {host}: {made.warning}")
    assert taken == []
    assert len(refused) > 4 * len(HOSTS)  # most are refused for what they are, names only when they are looked up
    assert not any("SECRET" in message for message in refused)
    assert canary.connections == 0


@pytest.mark.parametrize(
    "href",
    [
        "file:///proc/self/environ",
        "file:///etc/passwd",
        "file://localhost/etc/passwd",
        "file://127.0.0.1/etc/passwd",
        "file:/etc/passwd",
        "FILE:///etc/passwd",
        "/etc/passwd",
        "/vsicurl/http://127.0.0.1:{port}/",
        "/vsis3/bucket/key",
        "vsicurl://127.0.0.1:{port}/",
        "s3://127.0.0.1:{port}/a",
        "s3://[::1]:{port}/a",
        "s3://x@127.0.0.1:{port}/a",
        "s3://127.0.0.1/a",
        "s3://localhost/../../a",
        "gs://127.0.0.1:{port}/a",
        "gs://localhost\\@storage/a",
        "az://127.0.0.1:{port}/c/a",
        "az://localhost.blob.localhost:{port}/c/a",
        "az://account.blob.inner.example:{port}/c/a",
        "az://account.blob.inner.example/c/a",
        "abfss://c@127.0.0.1:{port}/a",
        "abfss://c@account.dfs.inner.example/a",
        "abfss://c@account.dfs.inner.example:{port}/a",
        "abfs://c@169.254.169.254/a",
        "gopher://127.0.0.1:{port}/_GET",
        "dict://127.0.0.1:{port}/",
        "ftp://127.0.0.1:{port}/a",
        "ws://127.0.0.1:{port}/a",
        "jar:http://127.0.0.1:{port}/!/a",
        "data:text/plain,a",
        "http+unix://%2Fvar%2Frun%2Fdocker.sock/info",
        "https:127.0.0.1:{port}/a",
        "https:///127.0.0.1:{port}/a",
        "https:\\\\127.0.0.1:{port}\\a",
        "//127.0.0.1:{port}/a",
    ],
)
async def test_no_scheme_leads_inside(
    href: str, guarded: Sources, open_fetcher: OpenFetcher, canary: Canary, tmp_path: Path
) -> None:
    client = await open_fetcher(lookup=lookup)
    async with Fetcher(load_settings(data_dir=tmp_path), locate=guarded.locate, lookup=lookup) as fetcher:
        for opened in (fetcher, client):
            with pytest.raises(SourceError) as caught:
                await opened.download(href.format(port=canary.port), tmp_path / "file")
            assert not caught.value.retriable
    assert canary.connections == 0
    assert not (tmp_path / "file").exists()


async def test_an_endpoint_that_turns_inward_after_it_was_registered_is_not_asked(
    guarded: Sources, canary: Canary, tmp_path: Path
) -> None:
    async def all_is_well(_opened: Any) -> None:
        """As if the name had led to the open internet then."""

    async def inward(host: str) -> Sequence[str]:
        return ["127.0.0.1"]

    guarded.probe = all_is_well
    base = f"https://turncoat.example:{canary.port}"
    for kind, info in _kinds(base)[3:6:2]:
        await guarded.create({"kind": kind, "connectionInfo": info})
    settings = load_settings(data_dir=tmp_path)
    async with Fetcher(settings, credentials=guarded.credential, locate=guarded.locate, lookup=inward) as fetcher:
        for href in ("s3://bucket/a.tif", f"{base}/bucket/a.tif", f"{base}/api/a"):
            with pytest.raises(SourceError, match="may not be fetched") as caught:
                await fetcher.download(href, tmp_path / "file")
            assert "SECRET" not in caught.value.message
    assert canary.connections == 0
