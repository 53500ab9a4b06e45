"""Several writers at once: nothing fails, nothing is lost, and the counts stay what the items say."""

from __future__ import annotations

import asyncio
import multiprocessing
import random
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from graticule.catalog import OnConflict, SqlCatalog
from graticule.catalog.sql.dialects import PostgresDialect
from graticule.database import Connection, Database, SqliteDatabase
from graticule.database.postgres import PostgresDatabase
from graticule.stac.documents import Item

WRITERS = 8


@pytest.fixture(params=["disk", "postgres"])
def store(request: pytest.FixtureRequest, open_database: Callable[[str], Any]) -> Iterator[Database]:
    with open_database(request.param) as store:
        yield store


def scene(name: str, seed: int) -> Item:
    """An item somewhere: small and large footprints, instants and intervals."""
    chance = random.Random(seed)
    x, y, size = chance.randrange(-170, 160), chance.randrange(-80, 70), chance.choice([0.1, 1, 9])
    ring = [[x, y], [x + size, y], [x + size, y + size], [x, y + size], [x, y]]
    day = f"20{chance.randrange(10, 25)}-0{chance.randrange(1, 10)}-11T00:00:00Z"
    properties = {"datetime": day, "end_datetime": "2026-01-01T00:00:00Z", "eo:cloud_cover": seed % 100}
    return {
        "type": "Feature", "stac_version": "1.0.0", "id": name, "collection": "a", "links": [], "assets": {},
        "geometry": {"type": "Polygon", "coordinates": [ring]}, "properties": properties,
    }  # fmt: skip


def write_and_remove(database: Database, writer: int, rounds: int) -> None:
    """Each writer adds items of its own and removes some, and all of them replace the same few."""
    catalog = SqlCatalog(database)
    for turn in range(rounds):
        own = [scene(f"{writer}-{turn}-{number}", writer * 1000 + turn * 10 + number) for number in range(10)]
        shared = [scene(f"shared-{number}", writer * 77 + turn + number) for number in range(3)]

        def add(tx: Connection, own: list[Item] = own) -> None:
            catalog.put_items(tx, "a", own, on_conflict=OnConflict.ERROR)

        def replace(tx: Connection, shared: list[Item] = shared) -> None:
            catalog.put_items(tx, "a", shared, on_conflict=OnConflict.REPLACE)

        database.write_now(add)
        database.write_now(replace)
        database.write_now(partial(catalog.remove_item, collection_id="a", item_id=f"{writer}-{turn}-0"))


def in_a_process(path: str | None, url: str, writer: int, rounds: int) -> None:
    database: Database = PostgresDatabase(url) if path is None else SqliteDatabase(Path(path))
    try:
        write_and_remove(database, writer, rounds)
    finally:
        database.close()


def expected(rounds: int) -> set[str]:
    own = {f"{w}-{t}-{n}" for w in range(WRITERS) for t in range(rounds) for n in range(1, 10)}
    return own | {f"shared-{n}" for n in range(3)}


def ids(store: Database) -> set[str]:
    return {row[0] for row in store.read_now(lambda tx: tx.all("SELECT id FROM items"))}


@pytest.mark.usefixtures("catalog")
def test_threads_write_into_one_collection(store: Database, check_counts: Callable[[], None]) -> None:
    with ThreadPoolExecutor(WRITERS) as pool:
        list(pool.map(lambda writer: write_and_remove(store, writer, 5), range(WRITERS)))
    assert ids(store) == expected(5)
    check_counts()


@pytest.mark.usefixtures("catalog")
def test_processes_write_into_one_collection(store: Database, check_counts: Callable[[], None]) -> None:
    path, url = str(store.path) if store.path else None, getattr(store, "url", "")
    with ProcessPoolExecutor(WRITERS, mp_context=multiprocessing.get_context("spawn")) as pool:
        list(pool.map(partial(in_a_process, path, url, rounds=3), range(WRITERS)))
    assert ids(store) == expected(3)
    check_counts()


def test_counts_are_exact_after_deletions_beside_additions(
    store: Database, catalog: SqlCatalog, check_counts: Callable[[], None]
) -> None:
    def remove(_: int) -> int:
        return len(store.write_now(lambda tx: catalog.remove_items(tx, "a", 25)))

    with ThreadPoolExecutor(WRITERS) as pool:
        removing = [pool.submit(remove, turn) for turn in range(12)]
        writing = [pool.submit(write_and_remove, store, writer, 4) for writer in range(4)]
        removed = sum(future.result() for future in removing)
        for future in writing:
            future.result()
    check_counts()
    while remove(0):
        removed += 1
    check_counts()
    assert removed > 0
    assert (
        store.read_now(lambda tx: tx.value("SELECT (SELECT count(*) FROM grid) + (SELECT count(*) FROM collstat)")) == 0
    )


class Counting:
    """A connection that counts statements."""

    def __init__(self, tx: Connection) -> None:
        self.statements = 0
        self._tx = tx

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._tx, name)
        if name in {"execute", "execute_many", "insert", "all", "one", "value"}:
            self.statements += 1
        return value


def statements(store: Database, catalog: SqlCatalog, collection: str, turn: int) -> int:
    def put(tx: Connection) -> int:
        counting = Counting(tx)
        items = [scene(f"{turn}-{number}", number) for number in range(20)]
        catalog.put_items(counting, collection, items, on_conflict=OnConflict.ERROR)  # type: ignore[arg-type]
        return counting.statements

    return store.write_now(put)


def test_a_write_costs_the_same_among_a_thousand_collections(store: Database, catalog: SqlCatalog) -> None:
    statements(store, catalog, "a", 0)  # the first items of a collection also make its rows
    before = statements(store, catalog, "a", 1)

    def fill(tx: Connection) -> None:
        for number in range(1000):
            name = f"c{number}"
            catalog.add_collection(tx, name, f'{{"id":"{name}"}}'.encode(), f"{name}-1")
            catalog.put_items(tx, name, [scene("one", number)], on_conflict=OnConflict.ERROR)

    store.write_now(fill)
    assert statements(store, catalog, "c500", 2) == before
    assert before <= 12


def test_a_bulk_insert_keeps_every_kind_of_value(store: Database) -> None:
    columns = ("pk", "coll", "cell", "t", "te", "id", "x0", "y0", "x1", "y1", "cloud", "platform", "wkb")
    rows = [
        (n, 1, n << 40, -n, n, f"id-{n}", None if n % 2 else -n, 0, 5_400_000_000, n, n / 3, None, b"\x00\xff" * n)
        for n in range(150)
    ]
    store.write_now(lambda tx: tx.insert("items", columns, rows))
    found = store.read_now(lambda tx: tx.all(f"SELECT {', '.join(columns)} FROM items ORDER BY pk"))
    assert [tuple(row) for row in found] == rows


def test_a_text_with_nul_does_not_fail_a_bulk_insert(store: Database) -> None:
    rows = [(n, f"k{n}", 0, 0, 0, "a\0b") for n in range(20)]
    store.write_now(
        lambda tx: tx.insert("items", ("pk", "id", "cell", "t", "te", "platform", "coll"), [(*row, 1) for row in rows])
    )
    values = {row[0] for row in store.read_now(lambda tx: tx.all("SELECT platform FROM items"))}
    assert values in ({"a\0b"}, {"a\ufffdb"})


@pytest.fixture
def unanalysed(open_database: Callable[[str], Any]) -> Iterator[Database]:
    """On PostgreSQL, with 3,000 items and no statistics: the test server has no autovacuum."""
    with open_database("postgres") as database:
        catalog = SqlCatalog(database)
        database.write_now(partial(catalog.add_collection, collection_id="a", doc=b"{}", container="a-1"))
        items = [scene(f"s{number}", number) for number in range(3000)]
        database.write_now(lambda tx: catalog.put_items(tx, "a", items, on_conflict=OnConflict.ERROR))
        yield database


def test_taken_ids_are_found_by_index_before_there_are_statistics(unanalysed: Database) -> None:
    dialect = PostgresDialect()
    parameters = {"coll": 1, "ids": [f"s{number}" for number in range(200)]}
    plan = unanalysed.read_now(lambda tx: tx.all(f"EXPLAIN (ANALYZE) {dialect.existing}", parameters))
    text = "\n".join(row[0] for row in plan)
    assert "i_id" in text
    assert "Rows Removed by Filter" not in text


def test_tidying_makes_statistics(unanalysed: Database) -> None:
    def analysed(tx: Connection) -> int:
        return int(tx.value("SELECT count(*) FROM pg_stats WHERE tablename = 'items' AND attname = 'cell'"))

    unanalysed.write_now(lambda tx: tx.execute("DELETE FROM pg_statistic WHERE starelid = 'items'::regclass"))
    assert unanalysed.read_now(analysed) == 0
    asyncio.run(SqlCatalog(unanalysed).tidy())
    assert unanalysed.read_now(analysed) == 1
