"""A catalog with collections, and the configuration room on top of it."""

from __future__ import annotations

from collections.abc import Callable

import orjson
import pytest

from graticule.catalog import Catalog, SqlCatalog
from graticule.configuration import Configuration, Indexing
from graticule.database import Database
from graticule.tiler import check_options
from graticule.workflows import Engine, Timing

AddCollection = Callable[[str], None]


@pytest.fixture
def database(each_database: Database) -> Database:
    """On SQLite and on PostgreSQL."""
    return each_database


@pytest.fixture
def catalog(database: Database) -> Catalog:
    return SqlCatalog(database)


@pytest.fixture
def add_collection(database: Database, catalog: Catalog) -> AddCollection:
    def add(collection_id: str) -> None:
        doc = orjson.dumps({"type": "Collection", "links": [], "id": collection_id})
        database.write_now(lambda tx: catalog.add_collection(tx, collection_id, doc, f"{collection_id}-0badcafe"))

    return add


@pytest.fixture
def engine(database: Database) -> Engine:
    return Engine(database, worker_name="test", timing=Timing(heartbeat=0.1, polling=0.1, wake=0.02))


@pytest.fixture
def indexing(database: Database, catalog: Catalog, engine: Engine) -> Indexing:
    return Indexing(database=database, catalog=catalog, engine=engine, slice_size=3)


@pytest.fixture
def configuration(
    database: Database, catalog: Catalog, indexing: Indexing, add_collection: AddCollection
) -> Configuration:
    """With one collection, ``naip``."""
    add_collection("naip")
    return Configuration(database=database, catalog=catalog, indexing=indexing, check_options=check_options)
