"""Runs of bulk ingestion, by a real engine from a source on loopback: what they find, count, skip, refuse and keep."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import secrets
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from acceptance.rasters import small_geotiff
from acceptance.source import Source
from crash.torture import raster
from graticule.database import Connection
from graticule.errors import Conflict, TooManyRequests
from graticule.ingestion.bulk import Run, jobs, retries, store, walking
from graticule.ingestion.bulk.retries import MOST_TRIES, retry_delay
from graticule.services import Services, open_services, open_work
from graticule.settings import Settings
from graticule.workflows import cancelling, journal
from graticule.workflows.journal import Operation
from ingestion.bulk_source import catalog, document, feature, flat
from ingestion.test_service import COLLECTION, item
from postgres_server import PostgresServer


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest) -> Iterator[dict[str, Any]]:
    """The settings that say where the database is."""
    if request.param == "sqlite":
        yield {}
        return
    server: PostgresServer = request.getfixturevalue("postgres")
    with server.emptied_database(request.getfixturevalue("postgres_template")) as url:
        yield {"database_url": url, "secret_key": secrets.token_hex(32)}


@pytest.fixture
def source() -> Iterator[Source]:
    with Source({}, token=None) as source:
        yield source


@pytest.fixture
def other() -> Iterator[Source]:
    with Source({}, token=None) as source:
        yield source


@pytest.fixture
async def services(tmp_path: Path, database: dict[str, Any]) -> AsyncIterator[Services]:
    settings = Settings(data_dir=tmp_path / "catalog", fetch_allow=("127.0.0.1",), max_waiting_runs=3, **database)
    async with open_services(settings) as services:
        await services.ingestion.create_collection(dict(COLLECTION), ())
        yield services


@asynccontextmanager
async def working(services: Services, concurrency: int = 4) -> AsyncIterator[None]:
    async with open_work(services):
        stop = asyncio.Event()
        worker = asyncio.create_task(services.engine.run_worker(concurrency, stop))
        try:
            yield
        finally:
            stop.set()
            await worker


async def started(services: Services, url: str, *, dry: bool = False, **members: Any) -> Run:
    kind = "StacGeoparquet" if url.endswith(".parquet") else "StaticCatalog"
    name = "stacGeoparquetUrl" if kind == "StacGeoparquet" else "sourceCatalogUrl"
    ingestion = await services.bulk.create("c", {"importType": kind, name: url} | members)
    return await services.bulk.start("c", ingestion.id, dry=dry)


async def ended(services: Services, run: Run, limit: float = 60) -> Operation:
    """Wait for a run; its counts add up at every look."""
    return await until(services, run, lambda operation: operation.is_terminal, limit)


async def until(services: Services, run: Run, condition: Callable[[Operation], bool], limit: float = 60) -> Operation:
    give_up_at = time.monotonic() + limit
    while True:
        operation, states = await services.database.read(lambda tx: (journal.by_pk(tx, run.pk), counted(tx, run.pk)))
        assert operation is not None
        assert operation.total is not None
        assert operation.succeeded == states.get("succeeded", 0) + states.get("skipped", 0)
        assert operation.failed == states.get("failed", 0)
        assert operation.skipped == states.get("skipped", 0)
        assert operation.total >= sum(states.values())
        if condition(operation):
            return operation
        assert time.monotonic() < give_up_at, operation
        await asyncio.sleep(0.02)


def counted(tx: Any, pk: int) -> dict[str, int]:
    rows = tx.all("SELECT state, count(*) FROM operation_items WHERE operation=:pk GROUP BY state", {"pk": pk})
    return {row[0]: row[1] for row in rows}


async def report(services: Services, operation: Operation, state: str | None = None) -> list[Any]:
    found = await services.bulk.report(operation.id, state=state, after=-1, limit=1000)
    return [entry for entry, _ in found]


async def left_over(services: Services) -> dict[str, int]:
    """Rows that only runs under way have; the last job tidies up after it has ended its run, so they are waited for."""
    tables = ("run_links", "run_chunks", "submissions", "procrastinate_jobs")
    give_up_at = time.monotonic() + 30
    while True:
        found = await services.database.read(
            lambda tx: {table: n for table in tables if (n := tx.value(f"SELECT count(*) FROM {table}"))}
        )
        if not found or time.monotonic() > give_up_at:
            return found
        await asyncio.sleep(0.05)


async def test_a_walk_follows_relative_and_absolute_links_across_origins_and_round_loops_once(
    services: Services, source: Source, other: Source
) -> None:
    source.files = {
        "cat/catalog.json": catalog(
            ("self", "https://elsewhere.test/catalog.json"),
            ("child", "./a/collection.json"),
            ("child", other.href("b/catalog.json", signed=False)),
            ("item", "one.json"),
            ("item", "one.json#again"),
        ),
        "cat/a/collection.json": catalog(
            ("parent", "../catalog.json"), ("child", "../catalog.json"), ("item", "../a/two.json"), type="Collection"
        ),
        "cat/one.json": document("one"),
        "cat/a/two.json": document("two", assets={"raster": {"href": "../../pixels/two.tif", "type": "image/tiff"}}),
        "pixels/two.tif": small_geotiff(),
    }
    other.files = {
        "b/catalog.json": catalog(("item", "/b/three.json"), ("item", source.href("cat/one.json", signed=False))),
        "b/three.json": document("three"),
    }
    run = await started(services, source.href("cat/catalog.json", signed=False))
    async with working(services):
        operation = await ended(services, run)
        assert (operation.status, operation.total, operation.succeeded) == ("Succeeded", 3, 3)
        for name in ("one", "two", "three"):
            assert json.loads(await services.catalog.item("c", name))["collection"] == "c"
        two = json.loads(await services.catalog.item("c", "two"))
        assert two["assets"]["raster"]["href"].startswith("managed:")
        assert not await left_over(services)
    assert sorted(path.partition("?")[0] for path in source.requests).count("/cat/one.json") == 1


async def test_what_is_missing_or_wrong_is_told_item_by_item_and_the_rest_goes_on(
    services: Services, source: Source
) -> None:
    source.files = {
        "catalog.json": catalog(
            ("item", "good.json"),
            ("item", "gone.json"),
            ("item", "text.json"),
            ("item", "bad.json"),
            ("item", "greedy.json"),
            ("item", None),
            ("item", "file:///etc/passwd"),
            ("child", "lost/catalog.json"),
            ("child", "good.json"),
        ),
        "good.json": document("good"),
        "text.json": b"not json",
        "bad.json": document("bad", geometry="here"),
        "greedy.json": document("greedy", assets={"image": {"href": "file:///etc/passwd", "type": "image/tiff"}}),
    }
    run = await started(services, source.href("catalog.json", signed=False))
    async with working(services):
        operation = await ended(services, run)
    assert (operation.status, operation.error_code) == ("Failed", "ErrorsInBatchOperation")
    failed = await report(services, operation, "failed")
    assert sorted(entry.code for entry in failed) == sorted(
        [
            "IngestionResourceUriNotFound",
            "ImportFileValidationFailed",
            "InvalidInputData",
            "InvalidStacCatalog",
            "InvalidStacCatalog",
            "InvalidAssetHref",
            "IngestionResourceUriNotFound",
        ]
    )
    assert {entry.source for entry in failed} >= {source.href("gone.json", signed=False)}
    assert next(entry for entry in failed if entry.code == "InvalidInputData").item_id == "bad"
    assert [entry.item_id for entry in await report(services, operation, "succeeded")] == ["good"]


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (None, "IngestionResourceUriNotFound"),
        (b"<html>", "ImportFileValidationFailed"),
        (document("x"), "InvalidStacCatalog"),
        (b'{"type":"Catalog","stac_version":"1.0.0"}', "InvalidStacCatalog"),
        (b"[]", "InvalidStacCatalog"),
    ],
)
async def test_a_source_that_is_no_catalog_fails_the_run_with_a_code(
    services: Services, source: Source, content: bytes | None, code: str
) -> None:
    source.files = {} if content is None else {"catalog.json": content}
    run = await started(services, source.href("catalog.json", signed=False))
    async with working(services):
        operation = await ended(services, run)
        assert (operation.status, operation.error_code, operation.total) == ("Failed", code, 0)
        assert not await left_over(services)


async def test_ids_that_are_there_fail_or_are_skipped(services: Services, source: Source) -> None:
    url = flat(source, 5)
    await services.ingestion.submit_items("c", item("flat-2"), ())
    async with working(services):
        operation = await ended(services, await started(services, url))
        assert (operation.succeeded, operation.failed) == (4, 1)
        assert operation.error_code == "ErrorsInBatchOperation"
        again = await ended(services, await started(services, url, skipExistingItems=True))
    assert (again.status, again.succeeded, again.skipped) == ("Succeeded", 5, 5)


async def test_an_id_that_comes_twice_in_a_run_has_one_winner(services: Services, source: Source) -> None:
    source.files = {
        "catalog.json": catalog(*(("item", f"{n}.json") for n in range(6))),
        **{f"{n}.json": document("same", properties={"datetime": "2024-05-01T00:00:00Z", "n": n}) for n in range(6)},
    }
    run = await started(services, source.href("catalog.json", signed=False))
    async with working(services):
        operation = await ended(services, run)
    assert (operation.succeeded, operation.failed) == (1, 5)
    assert {entry.code for entry in await report(services, operation, "failed")} == {"ItemAlreadyExistsInCollection"}


async def test_a_rerun_takes_the_failed_items_and_the_catalogs_that_were_lost(
    services: Services, source: Source
) -> None:
    source.files = {
        "catalog.json": catalog(("item", "a.json"), ("item", "b.json"), ("child", "late/catalog.json")),
        "a.json": document("a"),
    }
    async with working(services):
        run = await started(services, source.href("catalog.json", signed=False))
        first = await ended(services, run)
        assert (first.succeeded, first.failed) == (1, 2)
        source.files |= {
            "b.json": document("b"),
            "late/catalog.json": catalog(("item", "c.json")),
            "late/c.json": document("c"),
        }
        again = await services.bulk.rerun(first.id)
        second = await ended(services, again)
        assert (again.parent, second.status, second.total) == (first.id, "Succeeded", 2)
        with pytest.raises(Conflict, match="no failed item"):
            await services.bulk.rerun(second.id)
    for name in ("a", "b", "c"):
        await services.catalog.item("c", name)


async def test_a_dry_run_tells_what_would_be_fetched_and_changes_nothing(services: Services, source: Source) -> None:
    tiff = small_geotiff()
    assets = {"raster": {"href": "a.tif", "type": "image/tiff"}, "text": {"href": "a.txt", "type": "text/plain"}}
    source.files = {
        "catalog.json": catalog(("item", "a.json"), ("item", "b.json"), ("item", "there.json")),
        "a.json": document("a", assets=assets),
        "b.json": document("b", assets={"gone": {"href": "gone.tif", "type": "image/tiff"}}),
        "there.json": document("there"),
        "a.tif": tiff,
        "a.txt": b"words",
    }
    await services.ingestion.submit_items("c", item("there"), ())
    url = source.href("catalog.json", signed=False)
    run = await started(services, url, dry=True, skipExistingItems=True)
    async with working(services):
        operation = await ended(services, run)
    assert (operation.succeeded, operation.skipped, operation.failed) == (2, 1, 1)
    plan = await services.bulk.plan(run)
    assert (plan.fetched, plan.converted, plan.refused, plan.unknown) == (2, 1, 1, 0)
    assert plan.bytes == len(tiff) + 5
    assert await services.catalog.item_count("c") == 1
    assert await services.database.read(lambda tx: tx.value("SELECT count(*) FROM blobs")) == 0


async def test_the_source_file_of_a_converted_asset_is_kept_when_asked_for(services: Services, source: Source) -> None:
    striped = raster(9, driver="GTiff", size=640)
    source.files = {
        "catalog.json": catalog(("item", "a.json")),
        "a.json": document("a", assets={"raster": {"href": "a.tif", "type": "image/tiff"}}),
        "a.tif": striped,
    }
    run = await started(services, source.href("catalog.json", signed=False), keepOriginalAssets=True)
    async with working(services):
        assert (await ended(services, run)).status == "Succeeded"
    assets = json.loads(await services.catalog.item("c", "a"))["assets"]
    assert assets.keys() == {"raster", "raster-original"}
    assert assets["raster-original"]["roles"] == ["source"]
    blobs = await services.database.read(
        lambda tx: tx.all("SELECT asset_key, state, size FROM blobs ORDER BY asset_key")
    )
    assert [(row[0], row[1]) for row in blobs] == [("raster", "live"), ("raster-original", "live")]
    assert blobs[1][2] == len(striped)


async def test_a_table_is_read_row_by_row_and_its_total_is_known_at_once(
    services: Services, source: Source, tmp_path: Path
) -> None:
    geoparquet = pytest.importorskip("graticule.ingestion.exchange.geoparquet")
    pytest.importorskip("pyarrow")
    lines, table = tmp_path / "items.ndjson", tmp_path / "items.parquet"
    lines.write_text("".join(json.dumps(feature(f"row-{n}")) + "\n" for n in range(1300)))
    geoparquet.write_geoparquet(lines, table)
    source.files = {"items.parquet": table.read_bytes(), "bad.parquet": b"PAR1 nothing of the kind"}
    run = await started(services, source.href("items.parquet", signed=False))
    bad = await started(services, source.href("bad.parquet", signed=False))
    async with working(services):
        seen = await until(services, run, lambda operation: operation.succeeded > 0)
        assert seen.total == 1300
        operation = await ended(services, run)
        assert (operation.status, operation.total, operation.succeeded) == ("Succeeded", 1300, 1300)
        assert (await ended(services, bad)).error_code == "InvalidGeoparquet"
        assert not await left_over(services)
    assert await services.catalog.item_count("c") == 1300


async def test_a_cancelled_run_ends_and_leaves_nothing_behind(
    services: Services, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(walking, "SLICE", 50)
    monkeypatch.setattr(cancelling, "_CANCEL_ITEMS", 100)
    url = flat(source, 700)
    run = await started(services, url)
    async with working(services, concurrency=2):
        await until(services, run, lambda operation: operation.succeeded > 5)
        await services.ingestion.cancel(run.operation.id)
        operation = await ended(services, run)
        assert operation.status == "Canceled"
        assert operation.history[-1]["errorCode"] == "CanceledOperation"
        assert not await left_over(services)
    assert await services.catalog.item_count("c") == operation.succeeded < 700


async def test_a_run_that_waits_is_cancelled_and_its_job_does_nothing(services: Services, source: Source) -> None:
    run = await started(services, flat(source, 3))
    await services.ingestion.cancel_all()
    async with working(services):
        assert (await ended(services, run)).status == "Canceled"
        assert not await left_over(services)
    assert source.requests == []


async def test_a_single_post_goes_before_a_run_that_has_one_worker_with_one_place(
    services: Services, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("graticule.ingestion.bulk.running.TURN_SECONDS", 0.05)
    monkeypatch.setattr(walking, "TURN_SECONDS", 0.05)
    source.files["text.txt"] = b"words"
    run = await started(services, flat(source, 120))
    posted = item("single") | {"assets": {"t": {"href": source.href("text.txt", signed=False)}}}
    async with working(services, concurrency=1):
        await until(services, run, lambda operation: operation.succeeded > 0)
        single = await services.ingestion.submit_items("c", posted, ())
        for _ in range(1000):
            if (await services.ingestion.operation(single.id)).is_terminal:
                break
            await asyncio.sleep(0.01)
        else:
            pytest.fail("the post waited for the run")
        meanwhile = await services.ingestion.operation(run.operation.id)
        assert not meanwhile.is_terminal
        assert (await ended(services, run)).succeeded == 120


async def test_a_run_has_few_jobs_however_many_items(services: Services, source: Source) -> None:
    run = await started(services, flat(source, 800))
    most = 0
    async with working(services):
        while not (await services.ingestion.operation(run.operation.id)).is_terminal:
            most = max(
                most, await services.database.read(lambda tx: tx.value("SELECT count(*) FROM procrastinate_jobs"))
            )
            await asyncio.sleep(0.05)
        operation = await ended(services, run)
    assert operation.succeeded == operation.total == 800
    assert 0 < most <= 2 * services.settings.bulk_lanes + 4


async def test_too_many_runs_are_refused_and_runs_do_not_count_as_posted_items(
    services: Services, source: Source
) -> None:
    url = flat(source, 1)
    for _ in range(3):
        await started(services, url)
    with pytest.raises(TooManyRequests, match="GRATICULE_MAX_WAITING_RUNS"):
        await started(services, url)
    assert await services.database.read(journal.unfinished_items) == 0


async def test_a_job_of_an_older_turn_does_nothing(services: Services, source: Source) -> None:
    run = await started(services, flat(source, 2))
    await services.database.write(lambda tx: store.next_turn(tx, run.pk))
    async with working(services):
        await asyncio.sleep(0.3)
        assert (await services.ingestion.operation(run.operation.id)).status == "Pending"
        await services.database.write(lambda tx: jobs.defer_walk(services.engine, tx, run.pk, 1))
        assert (await ended(services, run)).succeeded == 2


async def test_an_ingestion_with_a_run_under_way_is_not_deleted_and_goes_with_its_collection(
    services: Services, source: Source
) -> None:
    run = await started(services, flat(source, 2))
    with pytest.raises(Conflict, match="has not ended"):
        await services.bulk.delete("c", run.ingestion_id)
    await services.ingestion.delete_collection("c")
    async with working(services):
        assert (await ended(services, run)).status == "Canceled"
        await services.ingestion.create_collection(dict(COLLECTION) | {"id": "d"}, ())
        for _ in range(200):
            if await services.database.read(lambda tx: services.catalog.collection_in(tx, "c")) is None:
                break
            await asyncio.sleep(0.05)
        assert not await left_over(services)
    await services.ingestion.create_collection(dict(COLLECTION), ())
    assert await services.bulk.listing("c", top=10, skip=0) == []


async def test_signatures_are_in_no_plain_column(services: Services, source: Source) -> None:
    source.files = {
        "catalog.json": catalog(("item", "a.json?sig=hunter22"), ("item", "gone.json?sig=hunter22")),
        "a.json": document("a", assets={"t": {"href": "t.txt?sig=hunter22"}}),
        "t.txt": b"words",
    }
    run = await started(services, source.href("catalog.json", signed=False) + "?sig=hunter22")
    async with working(services):
        await ended(services, run)
    tables = ("ingestions", "ingestion_runs", "operations", "operation_items", "operation_assets", "items")
    for table in (*tables, "submissions", "run_links"):
        rows = await services.database.read(partial(_everything, table=table))
        assert "hunter22" not in repr(rows)


def _everything(tx: Connection, *, table: str) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in tx.all(f"SELECT * FROM {table}")]


async def test_a_run_warns_of_items_one_by_one_and_in_a_dry_run_too(services: Services, source: Source) -> None:
    eo = "https://stac-extensions.github.io/eo/v1.1.0/schema.json"
    cloudy = {"datetime": "2024-05-01T00:00:00Z", "eo:cloud_cover": 101}
    tif = {"href": "./a.tif", "type": "image/tiff", "roles": ["data"], "proj:shape": [1, 2]}
    source.files["w/bare.json"] = document("bare", stac_extensions=[eo], properties=cloudy)
    source.files["w/raster.json"] = document("raster", stac_extensions=[eo], properties=cloudy, assets={"a": tif})
    source.files["w/broken.json"] = document("broken", properties={"datetime": None})
    source.files["w/a.tif"] = small_geotiff()
    names = ("bare", "raster", "broken")
    source.files["w/catalog.json"] = catalog(*(("item", f"./{name}.json") for name in names))
    async with working(services):
        found = {}
        for dry in (True, False):
            url = source.href("w/catalog.json", signed=False)
            entries = await report(services, await ended(services, await started(services, url, dry=dry)))
            found[dry] = {entry.item_id: (entry.code, [w["path"] for w in entry.warnings]) for entry in entries}
    cloud = "properties.eo:cloud_cover"
    failed: dict[Any, Any] = {"broken": ("StacValidationFailed", [])}
    assert found[True] == {"bare": (None, [cloud]), "raster": (None, [cloud])} | failed
    assert found[False] == {"bare": (None, [cloud]), "raster": (None, [cloud, "assets.a.proj:shape"])} | failed


# --- what fails in passing --------------------------------------------------------------------------------------------


def patient(services: Services, seconds: float = 600) -> Services:
    """As the others, but one fetch is one try."""
    settings = services.settings.model_copy(update={"fetch_tries": 1, "bulk_retry_seconds": seconds})
    return dataclasses.replace(services, settings=settings)


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tries follow each other soon, and the time for them is long."""
    monkeypatch.setattr(retries, "_PARTS", (0.0001,) * 4)


@pytest.mark.usefixtures("hurried")
async def test_an_item_whose_source_fails_in_passing_is_tried_again(services: Services, source: Source) -> None:
    services = patient(services)
    source.files |= {"a.tif": small_geotiff(), "b.tif": small_geotiff()}
    url = flat(source, 2)
    for name in ("a", "b"):
        assets = {"image": {"href": f"../{name}.tif", "type": "image/tiff"}}
        source.files[f"flat/{name}.json"] = document(name, assets=assets)
    source.files["flat/catalog.json"] = catalog(*(("item", f"./{name}.json") for name in ("a", "b", 0, 1)))
    source.failures = {"flat/a.json": [503, 429], "a.tif": [500], "b.tif": [503] * 4}
    async with working(services):
        operation = await ended(services, await started(services, url))
        assert (operation.status, operation.succeeded) == ("Succeeded", 4)
        entries = {entry.item_id: entry for entry in await report(services, operation)}
        assert (entries["a"].attempts, entries["b"].attempts, entries["flat-0"].attempts) == (4, 5, 1)
        assert await left_over(services) == {}
    assert source.requests.count("/a.tif") == 2


@pytest.mark.usefixtures("hurried")
async def test_an_item_is_given_up_after_five_tries_and_at_once_where_trying_again_is_of_no_use(
    services: Services, source: Source
) -> None:
    services = patient(services)
    url = flat(source, 3)
    source.failures = {"flat/0.json": [503] * 9, "flat/1.json": [404]}
    async with working(services):
        operation = await ended(services, await started(services, url))
        assert (operation.status, operation.succeeded, operation.failed) == ("Failed", 1, 2)
        told = [(entry.attempts, entry.retriable) for entry in await report(services, operation, "failed")]
        assert told == [(5, True), (1, False)]
        assert await left_over(services) == {"submissions": 2}  # kept for another run


@pytest.mark.parametrize(("dry", "seconds"), [(True, 600), (False, 0)])
async def test_a_dry_run_and_an_operator_who_wants_none_try_nothing_again(
    dry: bool, seconds: float, services: Services, source: Source
) -> None:
    url = flat(source, 1)
    source.failures = {"flat/0.json": [503]}
    async with working(patient(services, seconds)):
        operation = await ended(services, await started(services, url, dry=dry))
        assert (operation.failed, (await report(services, operation))[0].attempts) == (1, 1)


async def test_others_of_the_lane_go_on_meanwhile_and_a_run_that_waits_is_cancelled_at_once(
    services: Services, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "CHUNK_ITEMS", 2)
    services = patient(services)
    services = dataclasses.replace(services, settings=services.settings.model_copy(update={"bulk_concurrency": 1}))
    url = flat(source, 6)
    source.failures = {"flat/0.json": [503] * 9}
    async with working(services):
        run = await started(services, url)
        operation = await until(services, run, lambda operation: operation.succeeded == 5)
        assert operation.status == "Running"
        await services.ingestion.cancel_all("another")
        await services.ingestion.cancel_all("c")
        operation = await ended(services, run)
        assert (operation.status, operation.succeeded, operation.canceled) == ("Canceled", 5, 1)


def test_tries_are_spread_over_the_time_for_them() -> None:
    latest = 0.0
    for tries in range(1, MOST_TRIES):
        delays = {retry_delay(tries, 600, None) for _ in range(50)}
        assert len(delays) > 40  # what failed together does not come back together
        latest += max(delay for delay in delays if delay is not None)
    assert 400_000_000 < latest < 600_000_000
    assert retry_delay(MOST_TRIES, 600, None) is None
    assert retry_delay(1, 0, None) is None
    assert retry_delay(1, 600, 120.0) == 120_000_000
