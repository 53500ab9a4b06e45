"""The durable work, run by a real engine: what is tried again, what ends an item, and who may still write."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from graticule.configuration import forget_collection
from graticule.database import Connection
from graticule.errors import InternalIntermittentError, SourceNotFound
from graticule.ingestion.copying import ItemWork
from graticule.ingestion.workflows import Workflows
from graticule.services import Services, open_services
from graticule.settings import Settings
from graticule.workflows import Backoff, Engine, Timing, item_entries, journal
from graticule.workflows.asset_entries import StoredAsset
from graticule.workflows.journal import Operation
from ingestion.test_service import COLLECTION, item, submit

TIMING = Timing(heartbeat=0.1, polling=0.05, wake=0.01, restart=Backoff(0.05, 0.1))


class Copies:
    """In the place of the copier: fails as it is told, then stores nothing."""

    def __init__(self, *failures: Exception) -> None:
        self.failures = list(failures)
        self.calls = 0
        self.hold = asyncio.Event()
        self.hold.set()

    async def copy_assets(self, work: ItemWork) -> dict[str, tuple[str, StoredAsset]]:
        self.calls += 1
        await self.hold.wait()
        if self.failures:
            raise self.failures.pop(0)
        asset = StoredAsset("a0", "copied", "c", "k", "text/plain", 1, 1, "0" * 64)
        return dict.fromkeys(work.item["assets"], ("managed:x/c/k", asset))


@pytest.fixture
async def services(tmp_path: Path) -> AsyncIterator[Services]:
    async with open_services(Settings(data_dir=tmp_path / "catalog")) as services:
        await services.ingestion.create_collection(dict(COLLECTION), ())
        yield services


@asynccontextmanager
async def working(services: Services, copies: Any) -> AsyncIterator[Workflows]:
    engine = Engine(services.database, worker_name="test", timing=TIMING, backoff=Backoff(0.01, 0.02), max_attempts=3)
    workflows = Workflows(
        settings=services.settings,
        database=services.database,
        catalog=services.catalog,
        engine=engine,
        sealer=services.sealer,
        store=services.store,
        copier=copies,
        updater=services.updater,
        forget_collection=forget_collection,
    )
    workflows.register()
    stop = asyncio.Event()
    worker = asyncio.create_task(engine.run_worker(4, stop))
    try:
        yield workflows
    finally:
        stop.set()
        await worker


async def ended(services: Services, operation: Operation) -> Operation:
    return await until(services, operation, lambda current: current.is_terminal)


async def until(services: Services, operation: Operation, condition: Callable[[Operation], bool]) -> Operation:
    give_up_at = time.monotonic() + 30
    while not condition(current := await services.ingestion.operation(operation.id)):
        assert time.monotonic() < give_up_at, current
        await asyncio.sleep(0.02)
    return current


async def test_an_item_is_published_and_its_document_erased(services: Services) -> None:
    operation = await submit(services, item("a", assets=1))
    async with working(services, Copies()):
        assert (await ended(services, operation)).status == "Succeeded"
    assert b'"managed:x/c/k"' in await services.catalog.item("c", "a")
    assert await services.database.read(lambda tx: item_entries.document(tx, operation.pk, 0)) is None


async def test_a_failure_of_the_source_ends_the_item_at_once(services: Services) -> None:
    copies = Copies(SourceNotFound("Item 'a', asset 'a0': gone."))
    operation = await submit(services, item("a", assets=1))
    async with working(services, copies):
        operation = await ended(services, operation)
    assert (operation.status, operation.error_code, copies.calls) == ("Failed", "IngestionResourceUriNotFound", 1)


@pytest.mark.parametrize(
    "failure", [InternalIntermittentError("Managed storage cannot take x."), OSError(28, "No space left on device")]
)
async def test_an_item_outlasts_a_disk_that_is_full_for_a_moment(services: Services, failure: Exception) -> None:
    copies = Copies(failure, failure)
    operation = await submit(services, item("a", assets=1))
    async with working(services, copies):
        assert (await ended(services, operation)).status == "Succeeded"
    assert copies.calls == 3


@pytest.mark.parametrize(
    "failure", [InternalIntermittentError("Managed storage cannot take x."), OSError(28, "No space left on device")]
)
async def test_a_disk_that_stays_full_ends_the_item_with_a_code_that_says_try_again(
    services: Services, failure: Exception
) -> None:
    operation = await submit(services, item("a", assets=1))
    async with working(services, Copies(*[failure] * 3)):
        operation = await ended(services, operation)
    assert (operation.status, operation.error_code) == ("Failed", "InternalIntermitentError")


async def test_a_bug_ends_the_item_without_its_text(services: Services) -> None:
    operation = await submit(services, item("a", assets=1))
    async with working(services, Copies(*[ValueError("https://x.test?sig=hunter22")] * 3)):
        operation = await ended(services, operation)
    assert (operation.status, operation.error_code) == ("Failed", "InternalError")
    assert "hunter22" not in (operation.error_message or "")


async def test_a_cancelled_item_is_stopped_where_it_is(services: Services) -> None:
    copies = Copies()
    copies.hold.clear()
    operation = await submit(services, item("a", assets=1))
    async with working(services, copies):
        await until(services, operation, lambda current: current.status == "Running")
        await services.ingestion.cancel(operation.id)
        operation = await ended(services, operation)
    assert (operation.status, operation.canceled) == ("Canceled", 1)
    assert await services.catalog.item_count("c") == 0


async def test_what_was_sent_for_items_cancelled_while_they_waited_is_erased(services: Services) -> None:
    operation = await submit(services, item("a", assets=1))
    await services.ingestion.cancel(operation.id)
    assert (await services.ingestion.operation(operation.id)).status == "Canceled"
    async with working(services, Copies()):
        give_up_at = time.monotonic() + 30
        while await services.database.read(lambda tx: item_entries.document(tx, operation.pk, 0)) is not None:
            assert time.monotonic() < give_up_at
            await asyncio.sleep(0.02)
    assert await services.catalog.item_count("c") == 0


async def test_of_two_posts_of_one_id_the_second_fails(services: Services) -> None:
    first, second = [await submit(services, item("a", assets=1)) for _ in range(2)]
    async with working(services, Copies()):
        outcomes = [await ended(services, operation) for operation in (first, second)]
    assert sorted(operation.status for operation in outcomes) == ["Failed", "Succeeded"]
    assert {operation.error_code for operation in outcomes} == {None, "ItemAlreadyExistsInCollection"}


async def test_nothing_of_a_deleted_collection_comes_into_one_of_the_same_id(services: Services) -> None:
    copies = Copies()
    copies.hold.clear()
    old = await submit(services, item("a", assets=1))
    async with working(services, copies):
        await until(services, old, lambda current: current.status == "Running")
        deletion = await services.ingestion.delete_collection("c")
        assert (await ended(services, old)).status == "Canceled"
        assert (await ended(services, deletion)).status == "Succeeded"
        await services.ingestion.create_collection(dict(COLLECTION), ())
        copies.hold.set()
        new = await submit(services, item("a", assets=1))
        assert (await ended(services, new)).status == "Succeeded"
    assert await services.catalog.item_count("c") == 1


async def test_a_deletion_cancels_more_than_the_request_did(services: Services) -> None:
    def many(tx: Connection) -> None:
        for _ in range(230):
            operation = journal.create(tx, "AddItem", "c", total=1)
            item_entries.add(tx, operation.pk, [(0, "i", None)])

    await services.database.write(many)
    deletion = await services.ingestion.delete_collection("c")
    async with working(services, Copies()):
        assert (await ended(services, deletion)).status == "Succeeded"
    assert await services.ingestion.operations(top=10, skip=0, collection_id="c", status="Pending") == []


async def test_a_deletion_is_never_given_up(services: Services) -> None:
    deletion = await services.ingestion.delete_collection("c")

    class Broken:
        """A catalog that cannot remove items for now."""

        def __getattr__(self, name: str) -> Any:
            if name == "remove_items":
                raise OSError(28, "No space left on device")
            return getattr(services.catalog, name)

    async with working(services, Copies()) as workflows:
        object.__setattr__(workflows, "catalog", Broken())
        give_up_at = time.monotonic() + 30
        while not (
            waiting := await services.database.read(
                lambda tx: tx.all(
                    "SELECT task_name FROM procrastinate_jobs WHERE scheduled_at > :soon",
                    {"soon": time.time_ns() // 1000 + 30_000_000},
                )
            )
        ):
            assert time.monotonic() < give_up_at
            await asyncio.sleep(0.02)
    assert [row["task_name"] for row in waiting] == ["delete_collection"]
    assert (await services.ingestion.operation(deletion.id)).status == "Running"
