"""Registered sources: kept, tried, renewed, and attached to the hrefs that are theirs and to no others."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from graticule.database import Database, SqliteDatabase
from graticule.errors import (
    Conflict,
    InvalidRequestBody,
    ManagedIdentityInfoNotFound,
    NotFound,
    PublicAccessRestricted,
    SourceAuthenticationFailed,
    SourceForbidden,
    SourceNotFound,
)
from graticule.sealing import Sealer
from graticule.settings import Settings, load_settings
from graticule.sources import Fetcher, Sources, parse_href
from graticule.sources import registry as registry_module
from graticule.sources.opening import Opened

TOKEN = "sv=2024-11-04&sr=c&sp=rl&sig=hunter22%2B"
CONTAINER = "https://account.blob.core.windows.net/container"


class Probe:
    """In the place of the guarded client: remembers, and answers as it is told."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.failure: Exception | None = None

    async def __call__(self, opened: Opened) -> None:
        self.asked.append(f"{opened.href.scheme}://{opened.href.authority}{opened.href.path_query}")
        if self.failure is not None:
            raise self.failure


def sas(url: str = CONTAINER, token: str | None = TOKEN) -> dict[str, Any]:
    info = {"containerUrl": url} | ({} if token is None else {"sasToken": token})
    return {"kind": "SasToken", "connectionInfo": info}


def identity(url: str = CONTAINER) -> dict[str, Any]:
    return {"kind": "BlobManagedIdentity", "connectionInfo": {"containerUrl": url, "objectId": "me"}}


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load_settings(data_dir=tmp_path, fetch_allow=("127.0.0.0/8",), fetch_idle_timeout=0.3)


@pytest.fixture
def database(tmp_path: Path) -> Any:
    database = SqliteDatabase(tmp_path / "graticule.db")
    yield database
    database.close()


@pytest.fixture
def probe() -> Probe:
    return Probe()


@pytest.fixture
def sources(settings: Settings, database: Database, probe: Probe) -> Sources:
    return Sources(settings=settings, database=database, sealer=Sealer(b"k" * 32), probe=probe, get_token=no_token)


async def no_token(object_id: str | None, client_id: str | None) -> str:
    raise ManagedIdentityInfoNotFound(f"This machine has no managed identity {object_id or client_id}.")


async def opened(sources: Sources, href: str) -> str | None:
    """The query that an href is asked for with."""
    found = await sources.credential(parse_href(href))
    assert found is None or found.headers == {}
    return None if found is None else found.href.path_query.partition("?")[2]


@pytest.fixture
async def fetcher(settings: Settings, sources: Sources) -> AsyncIterator[Fetcher]:
    async with Fetcher(settings, credentials=sources.credential) as fetcher:
        yield fetcher


def contents(folder: Path) -> list[bytes]:
    return [file.read_bytes() for file in folder.iterdir() if file.is_file()]


async def test_a_source_is_registered_tried_and_kept_with_its_token_sealed(
    sources: Sources, probe: Probe, tmp_path: Path
) -> None:
    made = await sources.create(sas())
    assert (made.kind, made.container_url, made.warning) == ("SasToken", CONTAINER, None)
    assert probe.asked == [f"{CONTAINER}?restype=container&comp=list&maxresults=1&{TOKEN}"]
    assert await sources.get(made.id) == made
    assert all(b"hunter22" not in content for content in contents(tmp_path))


async def test_a_container_has_one_source(sources: Sources, probe: Probe) -> None:
    made = await sources.create(sas())
    probe.asked.clear()
    sentence = f"{CONTAINER} already contains a SAS token ingestion source with id {made.id}"
    for document in (sas(), sas("https://ACCOUNT.blob.core.windows.net:443/container/"), identity()):
        with pytest.raises(Conflict, match=sentence):
            await sources.create(document)
    assert probe.asked == []
    other = await sources.create(sas(f"{CONTAINER}2"))
    with pytest.raises(Conflict, match=sentence):
        await sources.replace(other.id, sas())
    await sources.delete(made.id)
    assert (await sources.replace(other.id, sas())).container_url == CONTAINER


async def test_replacing_renews_the_token_and_keeps_id_and_time(sources: Sources) -> None:
    made = await sources.create(sas())
    renewed = await sources.replace(made.id, sas(token="se=2099-01-01&sp=rl&sig=new"))
    assert (renewed.id, renewed.created) == (made.id, made.created)
    assert renewed.expires is not None
    assert await opened(sources, f"{CONTAINER}/a.tif") == "se=2099-01-01&sp=rl&sig=new"
    kept = await sources.replace(made.id, sas(token=None))
    assert kept.expires == renewed.expires
    assert await opened(sources, f"{CONTAINER}/a.tif") == "se=2099-01-01&sp=rl&sig=new"
    with pytest.raises(InvalidRequestBody):
        await sources.replace(made.id, sas(f"{CONTAINER}2", token=None))
    assert (await sources.replace(made.id, identity())).object_id == "me"
    with pytest.raises(InvalidRequestBody):
        await sources.replace(made.id, sas(token=None))


async def test_what_is_not_there_is_not_found(sources: Sources) -> None:
    for asked in (sources.get("x"), sources.delete("x"), sources.replace("x", sas())):
        with pytest.raises(NotFound):
            await asked


async def test_sources_are_listed_in_order(sources: Sources) -> None:
    made = [await sources.create(sas(f"{CONTAINER}{number}")) for number in range(4)]
    assert await sources.listing(top=2, skip=1) == made[1:3]


async def test_what_the_test_finds_is_a_warning(
    sources: Sources, probe: Probe, monkeypatch: pytest.MonkeyPatch
) -> None:
    probe.failure = SourceForbidden(f"{CONTAINER} answered 403.")
    made = await sources.create(sas())
    assert made.warning == f"{CONTAINER} answered 403."
    probe.failure = None
    assert (await sources.replace(made.id, sas())).warning is None
    asked = len(probe.asked)
    expired = await sources.create(sas(f"{CONTAINER}2", "se=2020-01-01&sp=rl&sig=x"))
    assert "expired" in (expired.warning or "")
    assert len(probe.asked) == asked
    assert "no managed identity me" in ((await sources.create(identity(f"{CONTAINER}3"))).warning or "")
    monkeypatch.setattr(registry_module, "TEST_LIMIT", 0.01)
    probe.failure = None
    sources.probe = lambda _href: asyncio.sleep(30)
    assert "did not answer" in ((await sources.create(sas(f"{CONTAINER}4"))).warning or "")


@pytest.mark.parametrize("path", ["/a.tif", "/folder/a b.tif", "/x/", "//a"])
async def test_a_token_is_for_what_lies_in_its_container(sources: Sources, path: str) -> None:
    await sources.create(sas())
    assert await opened(sources, f"{CONTAINER}{path.replace(' ', '%20')}") == TOKEN


@pytest.mark.parametrize(
    "href",
    [
        CONTAINER,
        f"{CONTAINER}/a.tif?sig=own",
        f"{CONTAINER}/a.tif?",
        f"{CONTAINER}2/a.tif",
        f"{CONTAINER}/../other/a.tif",
        f"{CONTAINER}/%2e%2e/other/a.tif",
        f"{CONTAINER}/..%2Fother/a.tif",
        "https://account.blob.core.windows.net/Container/a.tif",
        "https://account.blob.core.windows.net/c%6fntainer/a.tif",
        "https://account.blob.core.windows.net:8443/container/a.tif",
        "http://account.blob.core.windows.net/container/a.tif",
        "http://account.blob.core.windows.net:443/container/a.tif",
        "https://account.blob.core.windows.net.evil.test/container/a.tif",
        "https://account.blob.core.windows.net./container/a.tif",
        "https://evil.test/account.blob.core.windows.net/container/a.tif",
    ],
)
async def test_a_token_is_for_nothing_else(sources: Sources, href: str) -> None:
    await sources.create(sas())
    assert await sources.credential(parse_href(href)) is None


async def test_the_innermost_container_counts(sources: Sources) -> None:
    await sources.create(sas("https://host.test/a", "sp=rl&sig=outer"))
    await sources.create(sas("https://host.test/a/b", "sp=rl&sig=inner"))
    assert await opened(sources, "https://host.test/a/b/c.tif") == "sp=rl&sig=inner"
    assert await opened(sources, "https://host.test/a/bc.tif") == "sp=rl&sig=outer"


async def test_a_source_that_cannot_be_used_says_why(
    sources: Sources, settings: Settings, database: Database, probe: Probe
) -> None:
    href = parse_href(f"{CONTAINER}/a.tif")
    made = await sources.create(identity())
    with pytest.raises(ManagedIdentityInfoNotFound, match="no managed identity me"):
        await sources.credential(href)
    await sources.replace(made.id, sas(token="se=2020-01-01&sig=hunter22"))
    with pytest.raises(SourceAuthenticationFailed, match="expired at 2020") as caught:
        await sources.credential(href)
    assert "hunter22" not in caught.value.message
    await sources.replace(made.id, sas())
    other = Sources(settings=settings, database=database, sealer=Sealer(b"x" * 32), probe=probe)
    with pytest.raises(SourceAuthenticationFailed, match="secret key"):
        await other.credential(href)


# --- through the client


MakeSource = Callable[..., Awaitable[Any]]


async def test_the_client_sends_the_token_and_tells_nobody(
    sources: Sources, fetcher: Fetcher, source: Any, answers: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    await sources.create(sas(f"{source.base}/folder"))
    source.says(answers.whole())
    await fetcher.download(f"{source.base}/folder/a.tif", tmp_path / "file")
    assert source.requests[0].path_query == f"/folder/a.tif?{TOKEN}"
    source.says(answers.whole(b"", 403))
    with pytest.raises(SourceForbidden) as caught:
        await fetcher.download(f"{source.base}/folder/a.tif", tmp_path / "file")
    assert "hunter22" not in caught.value.message
    assert "hunter22" not in caplog.text
    source.says(answers.whole())
    await fetcher.download(f"{source.base}/elsewhere/a.tif", tmp_path / "file")
    assert source.requests[-1].path_query == "/elsewhere/a.tif"


async def test_every_try_sends_the_token(
    sources: Sources, fetcher: Fetcher, source: Any, answers: Any, tmp_path: Path
) -> None:
    await sources.create(sas(f"{source.base}/folder"))
    source.says(answers.broken(b"x" * 1000, 100, ETag='"1"', Accept_Ranges="bytes"), answers.whole(b"y"))
    await fetcher.download(f"{source.base}/folder/a.tif", tmp_path / "file")
    assert [request.path_query for request in source.requests] == [f"/folder/a.tif?{TOKEN}"] * 2


async def test_a_redirect_to_another_origin_loses_every_token_for_good(
    sources: Sources, fetcher: Fetcher, source: Any, make_source: MakeSource, answers: Any, tmp_path: Path
) -> None:
    other = await make_source()
    await sources.create(sas(f"{source.base}/folder"))
    await sources.create(sas(f"{other.base}/folder", "sp=rl&sig=other"))
    source.says(answers.redirect(f"{other.base}/folder/b.tif"), answers.whole())
    other.says(answers.redirect(f"{source.base}/folder/c.tif"))
    await fetcher.download(f"{source.base}/folder/a.tif", tmp_path / "file")
    assert [request.path_query for request in source.requests] == [f"/folder/a.tif?{TOKEN}", "/folder/c.tif"]
    assert [request.path_query for request in other.requests] == ["/folder/b.tif"]


async def test_a_redirect_within_the_container_keeps_its_token(
    sources: Sources, fetcher: Fetcher, source: Any, answers: Any, tmp_path: Path
) -> None:
    await sources.create(sas(f"{source.base}/folder"))
    source.says(answers.redirect("b.tif"), answers.redirect("/elsewhere/c.tif"), answers.whole())
    await fetcher.download(f"{source.base}/folder/a.tif", tmp_path / "file")
    asked = [request.path_query for request in source.requests]
    assert asked == [f"/folder/a.tif?{TOKEN}", f"/folder/b.tif?{TOKEN}", "/elsewhere/c.tif"]


@pytest.mark.parametrize(
    ("status", "code"), [(409, "PublicAccessNotPermitted"), (409, "Other"), (404, "ResourceNotFound")]
)
async def test_a_private_container_without_a_source_says_register_one(
    status: int, code: str, fetcher: Fetcher, source: Any, answers: Any, tmp_path: Path
) -> None:
    source.says(answers.whole(b"", status, x_ms_error_code=code))
    with pytest.raises(PublicAccessRestricted, match="register an ingestion source"):
        await fetcher.download(f"{source.base}/folder/a.tif", tmp_path / "file")
    with pytest.raises(Exception, match=str(status)) as caught:
        await fetcher.download(f"{source.base}/folder/a.tif?sig=x", tmp_path / "file")
    assert isinstance(caught.value, PublicAccessRestricted) is (code == "PublicAccessNotPermitted")


async def test_the_probe_asks_once_and_says_what_came(fetcher: Fetcher, source: Any, answers: Any) -> None:
    await fetcher.probe(Opened(parse_href(source.says(answers.whole()))))
    with pytest.raises(SourceNotFound) as caught:
        await fetcher.probe(Opened(parse_href(source.says(answers.whole(b"", 404)))))
    assert "SECRET" not in caught.value.message
    assert len(source.requests) == 2


async def test_a_real_connection_test_goes_through_the_guard(
    settings: Settings, database: Database, source: Any
) -> None:
    sources = Sources(settings=settings, database=database, sealer=Sealer(b"k" * 32))
    assert (await sources.create(sas(f"{source.base}/folder"))).warning is None
    assert source.requests[0].path_query.startswith("/folder?restype=container&comp=list")
    closed = await sources.create(sas("http://127.0.0.1:9/closed"))
    assert "no connection" in (closed.warning or "")
    assert "hunter22" not in (closed.warning or "")
