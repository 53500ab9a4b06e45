"""A catalog in memory and one on disk, and items to put in."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import partial
from typing import Any

import pytest

from graticule.catalog import OnConflict, SqlCatalog
from graticule.database import Connection, Database
from graticule.stac.documents import Item

OpenDatabase = Callable[[str], AbstractContextManager[Database]]
ItemFactory = Callable[..., Item]
Put = Callable[..., None]


@pytest.fixture(params=["memory", "disk", "postgres"])
def store(request: pytest.FixtureRequest, open_database: OpenDatabase) -> Iterator[Database]:
    with open_database(request.param) as store:
        yield store


@pytest.fixture
def catalog(store: Database) -> SqlCatalog:
    """With the empty collections a and b."""
    catalog = SqlCatalog(store, clock=iter(range(1_000, 1_000_000)).__next__)
    for name in ("a", "b"):
        document = f'{{"id":"{name}"}}'.encode()
        store.write_now(partial(catalog.add_collection, collection_id=name, doc=document, container=f"{name}-1"))
    return catalog


@pytest.fixture
def put(store: Database, catalog: SqlCatalog) -> Put:
    """Put items into a collection, in one transaction."""

    def put(collection: str, *items: Item, on_conflict: OnConflict = OnConflict.ERROR) -> None:
        store.write_now(lambda tx: catalog.put_items(tx, collection, items, on_conflict=on_conflict))

    return put


@pytest.fixture(scope="session")
def item_factory() -> ItemFactory:
    """A valid item; keywords replace members, those of `properties` are added."""

    def make(item_id: str = "one", properties: dict[str, Any] | None = None, **members: Any) -> Item:
        item: dict[str, Any] = {
            "type": "Feature",
            "stac_version": "1.0.0",
            "id": item_id,
            "geometry": {"type": "Point", "coordinates": [5, 5]},
            "properties": {"datetime": "2021-06-01T00:00:00Z"} | (properties or {}),
            "links": [],
            "assets": {},
            "collection": "a",
        }
        return item | members  # type: ignore[return-value]

    return make


@pytest.fixture
def check_counts(store: Database) -> Callable[[], None]:
    """Assert that grid and collstat say what the items say."""

    def check(tx: Connection) -> None:
        counted = {
            (r[0], r[1]): r for r in tx.all("SELECT coll, cell, count(*), min(t), max(te) FROM items GROUP BY 1, 2")
        }
        kept = {(r[0], r[1]): r for r in tx.all("SELECT coll, cell, n, t0, t1 FROM grid")}
        assert {key: row[2] for key, row in counted.items()} == {key: row[2] for key, row in kept.items()}
        assert all(kept[key][3] <= row[3] and kept[key][4] >= row[4] for key, row in counted.items())
        totals = {r[0]: r for r in tx.all("SELECT coll, count(*), min(t), max(te), max(te - t) FROM items GROUP BY 1")}
        stats = {r[0]: r for r in tx.all("SELECT coll, n, t0, t1, maxdur, levels FROM collstat")}
        assert {coll: row[1] for coll, row in totals.items()} == {coll: row[1] for coll, row in stats.items()}
        for coll, row in totals.items():
            assert stats[coll][2] <= row[2]
            assert stats[coll][3] >= row[3]
            assert stats[coll][4] >= row[4]
            cells = [cell for c, cell in counted if c == coll]
            assert all(stats[coll][5] >> (cell >> 40) & 1 for cell in cells if cell >= 0)
        assert tx.value("SELECT count(*) FROM items") == tx.value("SELECT count(*) FROM bodies")

    def run() -> None:
        store.read_now(check)

    return run
