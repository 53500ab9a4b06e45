"""Words of older items are worked out by a worker, as operations, and go on after one was lost or cancelled."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from functools import partial
from typing import Any

import pytest

from graticule.catalog import OnConflict, SqlCatalog
from graticule.database import Connection, Database
from graticule.ingestion.backfilling import WordBackfill
from graticule.stac.search import parse_search
from graticule.workflows import Attempt, Engine, LeaseLost, Timing, cancelling, journal
from graticule.workflows.journal import Operation

ITEMS = 20


@pytest.fixture
def catalog(each_database: Database) -> SqlCatalog:
    """Twenty items that have a title, and no words of it, as before migration 10."""
    catalog = SqlCatalog(each_database)
    batch: list[Any] = [
        {"id": f"i{n}", "geometry": None, "properties": {"datetime": "2024-01-01T00:00:00Z", "title": f"Map {n}"}}
        for n in range(ITEMS)
    ]

    def fill(tx: Connection) -> None:
        catalog.add_collection(tx, "naip", b"{}", "naip-1")
        catalog.put_items(tx, "naip", batch, on_conflict=OnConflict.ERROR)
        for table in ("item_texts", "item_words"):
            tx.execute(f"DELETE FROM {table}")
        tx.execute("INSERT INTO word_backfills(coll) SELECT coll FROM collstat")

    each_database.write_now(fill)
    return catalog


async def started(database: Database) -> tuple[Engine, WordBackfill]:
    """As a worker that starts."""
    engine = Engine(database, worker_name="test", timing=Timing(heartbeat=0.1, polling=0.1, wake=0.02))
    work = WordBackfill(database, engine, slice_size=3)
    await work.register()
    return engine, work


def operations(database: Database) -> list[Operation]:
    """Oldest first."""
    return database.read_now(lambda tx: journal.listing(tx, top=100, skip=0))[::-1]


async def finish(engine: Engine, database: Database) -> None:
    stop = asyncio.Event()
    worker = asyncio.create_task(engine.run_worker(2, stop))
    try:
        async with asyncio.timeout(30):
            while database.read_now(lambda tx: tx.value("SELECT count(*) FROM procrastinate_jobs")):  # noqa: ASYNC110
                await asyncio.sleep(0.02)
    finally:
        stop.set()
        await worker


async def found(catalog: SqlCatalog) -> int:
    return len((await catalog.search(parse_search({"q": "map", "limit": 100}))).items)


async def test_it_is_an_operation_that_begins_with_the_worker(catalog: SqlCatalog, each_database: Database) -> None:
    engine, _ = await started(each_database)
    await started(each_database)  # a second worker: the work is given once
    (operation,) = operations(each_database)
    assert (operation.type, operation.collection_id, operation.status) == ("IndexWords", "naip", "Pending")
    assert await found(catalog) == 0
    await finish(engine, each_database)
    (operation,) = operations(each_database)
    assert (operation.status, operation.total, operation.succeeded) == ("Succeeded", ITEMS, ITEMS)
    assert each_database.read_now(journal.unfinished_items) == 0
    assert await found(catalog) == ITEMS
    await started(each_database)
    assert len(operations(each_database)) == 1


async def test_a_job_that_was_lost_goes_on_where_it_was(
    catalog: SqlCatalog, each_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, backfill = await started(each_database)
    slices = 0
    work = WordBackfill._work

    def dying(self: WordBackfill, tx: Connection, *args: Any, **given: Any) -> Any:
        nonlocal slices
        slices += 1
        if slices == 4:
            raise LeaseLost("as if the worker was killed here")
        return work(self, tx, *args, **given)

    monkeypatch.setattr(WordBackfill, "_work", dying)

    class Ours(Attempt):
        def still_ours(self, tx: Connection) -> None:
            """It is."""

    (operation,) = operations(each_database)
    with suppress(LeaseLost):
        await backfill.run(Ours(1, 1, 0), operation=operation.pk, collection="naip")
    (operation,) = operations(each_database)
    assert (operation.status, operation.succeeded, await found(catalog)) == ("Running", 9, 9)
    engine, _ = await started(each_database)
    await finish(engine, each_database)
    (operation,) = operations(each_database)
    assert (operation.status, operation.succeeded, await found(catalog)) == ("Succeeded", ITEMS, ITEMS)
    assert slices == 4 + 4, "no slice twice"


async def test_one_that_is_cancelled_is_begun_again_with_the_next_worker(
    catalog: SqlCatalog, each_database: Database
) -> None:
    engine, _ = await started(each_database)
    (operation,) = operations(each_database)
    each_database.write_now(partial(cancelling.cancel, operation=operation))
    await finish(engine, each_database)
    assert await found(catalog) == 0
    engine, _ = await started(each_database)
    await finish(engine, each_database)
    assert [one.status for one in operations(each_database)] == ["Canceled", "Succeeded"]
    assert await found(catalog) == ITEMS
