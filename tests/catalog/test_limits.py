"""What one page may cost: seconds, bytes; and a reader that is free again when nobody waits for it."""

from __future__ import annotations

import asyncio
import sqlite3
import traceback
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import partial
from typing import Any

import orjson
import pytest

from graticule.catalog import OnConflict, SqlCatalog
from graticule.catalog.sql.candidates import SqlCandidates
from graticule.database import Connection, Database, ReadLimit
from graticule.database.postgres import PostgresDatabase
from graticule.errors import ReadStopped, SearchTimedOut
from graticule.stac.documents import Item
from graticule.stac.search import parse_search

OpenDatabase = Callable[[str], AbstractContextManager[Database]]

#: Runs for minutes.
ENDLESS = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < 10000000000) SELECT count(*) FROM n"


@pytest.fixture(scope="module", params=["disk", "postgres"])
def filled(request: pytest.FixtureRequest, open_database: OpenDatabase) -> Iterator[Database]:
    """400 items in a row of days, of 3,000 bytes each."""
    with open_database(request.param) as database:
        catalog = SqlCatalog(database)
        database.write_now(partial(catalog.add_collection, collection_id="a", doc=b'{"id":"a"}', container="a-1"))
        items = [_item(n) for n in range(400)]
        database.write_now(partial(catalog.put_items, collection_id="a", items=items, on_conflict=OnConflict.ERROR))
        yield database


def _item(n: int) -> Item:
    properties = {"datetime": f"20{10 + n // 28:02}-01-{1 + n % 28:02}T00:00:00Z", "n": n, "text": "x" * 3_000}
    where = {"type": "Point", "coordinates": [n % 20, n // 20]}
    return {"type": "Feature", "id": f"{n:03}", "geometry": where, "properties": properties, "collection": "a"}


def pages(catalog: SqlCatalog, **query: Any) -> list[list[int]]:
    """The numbers of the items, page by page."""
    found: list[list[int]] = []
    token: str | None = None
    while True:
        page = asyncio.run(catalog.search(parse_search({**query, "token": token})))
        found.append([orjson.loads(item)["properties"]["n"] for item in page.items])
        token = page.next_token
        if token is None:
            return found


@pytest.mark.parametrize(
    "query", [{}, {"sortby": [{"field": "eo:cloud_cover", "direction": "desc"}]}, {"bbox": [0, 0, 50, 50]}]
)
def test_a_page_of_too_many_bytes_ends_early_and_goes_on(filled: Database, query: dict[str, Any]) -> None:
    found = pages(SqlCatalog(filled, page_bytes=500_000), limit=1000, **query)
    assert [len(page) for page in found] == [158, 158, 84]
    assert [n for page in found for n in page] == list(reversed(range(400)))
    assert [len(page) for page in pages(SqlCatalog(filled, page_bytes=1), limit=390, bbox=[0, 0, 50, 0.5])] == [1] * 20
    first = asyncio.run(SqlCatalog(filled, page_bytes=500_000).search(parse_search({"limit": 1000})))
    assert first.matched == 400


def test_a_page_whose_time_is_over_ends_where_it_is(filled: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second block of candidates comes too late: what the first gave is answered, and nothing is lost."""
    real = SqlCandidates.failing
    asked: set[int] = set()

    def failing(self: SqlCandidates, rows: Any) -> set[int]:
        if id(self) in asked:
            asked.clear()
            raise ReadStopped
        asked.add(id(self))
        return real(self, rows)

    monkeypatch.setattr(SqlCandidates, "failing", failing)
    found = pages(SqlCatalog(filled), limit=30, filter="n % 4 = 1")
    assert [n for page in found for n in page] == list(range(397, 0, -4))
    assert [len(page) for page in found[:3]] == [8, 7, 8]


def test_a_search_that_has_found_nothing_when_its_time_is_over_fails(filled: Database) -> None:
    catalog = SqlCatalog(filled, search_timeout=1e-9)
    with pytest.raises(SearchTimedOut, match="GRATICULE_SEARCH_TIMEOUT"):
        asyncio.run(catalog.search(parse_search({})))
    assert len(pages(SqlCatalog(filled), limit=1000)[0]) == 400  # the reader goes on


def test_a_statement_ends_when_the_time_is_over(filled: Database) -> None:
    with pytest.raises(ReadStopped):
        asyncio.run(filled.read(lambda tx: tx.value(ENDLESS), ReadLimit(0.05)))
    assert asyncio.run(filled.read(lambda tx: tx.value("SELECT count(*) FROM items"))) == 400


def test_what_was_found_can_be_read_when_the_time_is_over(filled: Database) -> None:
    limit = ReadLimit(0.05)

    def read(tx: Connection) -> int:
        with pytest.raises(ReadStopped):
            tx.value(ENDLESS)
        limit.extend()
        return int(tx.value("SELECT count(*) FROM items"))

    assert asyncio.run(filled.read(read, limit)) == 400


async def test_a_reader_is_free_when_nobody_waits_any_more(filled: Database) -> None:
    """Every reader is at work without an end; the callers go away; another read is answered."""
    started = asyncio.Event()
    loop = asyncio.get_running_loop()

    def endless(tx: Connection) -> None:
        loop.call_soon_threadsafe(started.set)
        tx.value(ENDLESS)

    tasks = [asyncio.create_task(filled.read(endless, ReadLimit(3600))) for _ in range(4)]
    await started.wait()
    if isinstance(filled, PostgresDatabase):
        await asyncio.sleep(0.2)  # the statement has reached the server
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    async with asyncio.timeout(30):
        assert await filled.read(lambda tx: tx.value("SELECT 1")) == 1


@pytest.mark.parametrize("ask", ["all", "tuples", "one"])
def test_a_stopped_read_leaves_no_cursor_behind(filled: Database, ask: str) -> None:
    """An open one in a traceback would be closed with it, by a thread that has to wait for the connection."""
    with pytest.raises(ReadStopped) as caught:
        asyncio.run(filled.read(lambda tx: getattr(tx, ask)(ENDLESS), ReadLimit(0.05)))
    errors: list[BaseException | None] = [caught.value, caught.value.__context__]
    frames = [frame for error in errors if error is not None for frame, _ in traceback.walk_tb(error.__traceback__)]
    cursors = [one for frame in frames for one in frame.f_locals.values() if isinstance(one, sqlite3.Cursor)]
    for cursor in cursors:
        with pytest.raises(sqlite3.ProgrammingError, match="closed cursor"):
            cursor.fetchone()
    assert cursors or isinstance(filled, PostgresDatabase)


async def test_a_read_that_was_told_to_stop_before_it_began_runs_nothing(filled: Database) -> None:
    limit = ReadLimit(3600)
    limit.stop()
    with pytest.raises(ReadStopped):
        await filled.read(lambda tx: tx.value("SELECT 1"), limit)
