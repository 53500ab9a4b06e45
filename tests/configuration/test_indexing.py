"""Indexes of queryables are built and removed by a worker, as operations, and go on after a worker was lost."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, suppress
from functools import partial
from typing import Any

import pytest

from graticule.catalog import Catalog, OnConflict
from graticule.configuration import Configuration, Indexing, Kind
from graticule.database import Connection, Database
from graticule.errors import InternalError
from graticule.stac.search import parse_search
from graticule.workflows import Attempt, Engine, LeaseLost, cancelling, journal
from graticule.workflows.journal import Operation

OpenDatabase = Callable[[str], AbstractContextManager[Database]]


@pytest.fixture
def database(open_database: OpenDatabase) -> Iterator[Database]:
    """On disk: the catalog's part is tested on every store, and the engine has tests of its own."""
    with open_database("disk") as database:
        yield database


@pytest.fixture(autouse=True)
def _registered(indexing: Indexing) -> None:
    indexing.register()


def item(number: int) -> Any:
    return {
        "type": "Feature",
        "id": f"i{number}",
        "geometry": None,
        "properties": {"datetime": f"2024-01-{number % 28 + 1:02}T00:00:00Z", "v": number, "w": str(number)},
    }


@pytest.fixture
def filled(database: Database, catalog: Catalog, configuration: Configuration) -> Configuration:
    """With twenty items in ``naip``."""
    batch = [item(number) for number in range(20)]
    database.write_now(lambda tx: catalog.put_items(tx, "naip", batch, on_conflict=OnConflict.ERROR))
    return configuration


def queryable(name: str = "v", **members: Any) -> dict[str, Any]:
    return {"name": name, "definition": {"type": "number"}, **members}


def operations(database: Database) -> list[Operation]:
    """Oldest first."""
    return database.read_now(lambda tx: journal.listing(tx, top=100, skip=0))[::-1]


def rows(database: Database) -> int:
    return int(database.read_now(lambda tx: tx.value("SELECT count(*) FROM item_values")))


async def finish(engine: Engine, database: Database) -> None:
    """Run a worker until every operation has ended."""
    stop = asyncio.Event()
    worker = asyncio.create_task(engine.run_worker(2, stop))
    try:
        async with asyncio.timeout(30):
            while not all(one.is_terminal for one in operations(database)):  # noqa: ASYNC110 - another thread's
                await asyncio.sleep(0.02)
    finally:
        stop.set()
        await worker


async def test_an_index_is_built_as_an_operation(
    filled: Configuration, engine: Engine, database: Database, catalog: Catalog
) -> None:
    await filled.add(
        "naip", Kind.QUERYABLE, [queryable(create_index=True), queryable("w"), queryable("x", create_index=False)]
    )
    (operation,) = operations(database)
    assert (operation.type, operation.collection_id, operation.status) == ("IndexQueryable", "naip", "Pending")
    assert database.read_now(journal.unfinished_items) == 0
    await finish(engine, database)
    (operation,) = operations(database)
    assert (operation.status, operation.total, operation.succeeded) == ("Succeeded", 20, 20)
    assert rows(database) == 20
    page = await catalog.search(parse_search({"filter": "v >= 18"}))
    assert page.matched == 2


async def test_a_change_of_mind_builds_and_removes(filled: Configuration, engine: Engine, database: Database) -> None:
    await filled.add("naip", Kind.QUERYABLE, queryable())
    assert operations(database) == []
    await filled.replace("naip", Kind.QUERYABLE, "v", queryable(create_index=True))
    await finish(engine, database)
    assert rows(database) == 20
    await filled.replace("naip", Kind.QUERYABLE, "v", queryable(create_index=True, data_type="number"))
    assert len(operations(database)) == 1, "what the index holds does not depend on the definition"
    await filled.remove("naip", Kind.QUERYABLE, "v")
    assert rows(database) == 20
    await finish(engine, database)
    assert [one.status for one in operations(database)] == ["Succeeded", "Succeeded"]
    assert rows(database) == 0


async def test_an_empty_collection_has_its_index_at_once(configuration: Configuration, database: Database) -> None:
    await configuration.add("naip", Kind.QUERYABLE, queryable(create_index=True))
    assert operations(database) == []


async def test_a_job_that_was_lost_goes_on_where_it_was(
    filled: Configuration, engine: Engine, indexing: Indexing, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    await filled.add("naip", Kind.QUERYABLE, queryable(create_index=True))
    slices = 0
    work = indexing._work

    def dying(tx: Connection, *args: Any, **given: Any) -> Any:
        nonlocal slices
        slices += 1
        if slices == 4:
            raise LeaseLost("as if the worker was killed here")
        return work(tx, *args, **given)

    monkeypatch.setattr(indexing, "_work", dying)
    job = {"operation": 1, "collection": "naip", "name": "v"}

    class Ours(Attempt):
        def still_ours(self, tx: Connection) -> None:
            """It is."""

    with suppress(LeaseLost):
        await indexing.run(Ours(1, 1, 0), **job)  # type: ignore[arg-type]
    (operation,) = operations(database)
    assert (operation.status, operation.succeeded) == ("Running", 9)
    await finish(engine, database)
    (operation,) = operations(database)
    assert (operation.status, operation.succeeded) == ("Succeeded", 20)
    assert slices == 4 + 4, "nine items were not read again"
    assert rows(database) == 20


async def test_a_build_that_is_cancelled_is_taken_back(
    filled: Configuration, engine: Engine, database: Database
) -> None:
    await filled.add("naip", Kind.QUERYABLE, queryable(create_index=True))
    database.write_now(partial(Catalog.work_on_queryable, filled._catalog, collection_id="naip", name="v", limit=5))
    database.write_now(lambda tx: cancelling.cancel(tx, journal.listing(tx, top=1, skip=0)[0]))
    (operation,) = operations(database)
    assert operation.status == "Canceled"
    operation_id = operation.id
    await filled.add("naip", Kind.QUERYABLE, queryable("w", create_index=True))
    await finish(engine, database)
    async with asyncio.timeout(10):
        while rows(database) != 20:  # noqa: ASYNC110 - as above
            await asyncio.sleep(0.02)
    assert [one.id for one in operations(database) if one.status == "Canceled"] == [operation_id]
    # And written again it is built again.
    await filled.replace("naip", Kind.QUERYABLE, "v", queryable(create_index=True))
    assert len(operations(database)) == 3


async def test_what_is_given_up_fails_and_stays_out_of_use(
    filled: Configuration, indexing: Indexing, database: Database, catalog: Catalog
) -> None:
    class Ours(Attempt):
        def still_ours(self, tx: Connection) -> None:
            """It is."""

    await filled.add("naip", Kind.QUERYABLE, queryable(create_index=True))
    database.write_now(lambda tx: catalog.work_on_queryable(tx, "naip", "v", 5))
    await indexing.give_up(Ours(1, 1, 0), {"operation": 1, "collection": "naip", "name": "v"}, ValueError("secret"))
    (operation,) = operations(database)
    assert (operation.status, operation.error_code) == ("Failed", InternalError.code)
    assert "secret" not in str(operation.error_message)
    assert (await catalog.search(parse_search({"filter": "v < 3"}))).matched == 3
    await filled.replace("naip", Kind.QUERYABLE, "v", queryable(create_index=True))
    assert len(operations(database)) == 2
