"""Fixtures that every room's tests share."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import TypeVar

import pytest

import bucket_servers
import postgres_server
from graticule.database import Database, SqliteDatabase
from graticule.database.postgres import PostgresDatabase
from postgres_server import PostgresServer

Server = TypeVar("Server")

#: Opens a fresh database of a kind: ``memory``, ``disk`` or ``postgres``.
OpenDatabase = Callable[[str], AbstractContextManager[Database]]


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting of the developer's shell reaches a test."""
    for name in list(os.environ):
        if name.startswith("GRATICULE_") and not name.startswith("GRATICULE_TEST_"):
            monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def test_data() -> Path:
    """The folder of real rasters and STAC documents (`GRATICULE_TEST_DATA`)."""
    root = Path(__file__).resolve().parents[1]
    folder = Path(os.environ.get("GRATICULE_TEST_DATA", root.parent / "shared" / "data"))
    if not (folder / "raster").is_dir():
        message = f"no test data at {folder}: set GRATICULE_TEST_DATA"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    return folder


@pytest.fixture(scope="session")
def azurite() -> Iterator[bucket_servers.Azurite]:
    """An Azure Blob service, started when the first test asks for it."""
    with ExitStack() as stack:
        yield _entered(stack, bucket_servers.azurite())


@pytest.fixture(scope="session")
def moto() -> Iterator[bucket_servers.Moto]:
    """An S3 service, started when the first test asks for it."""
    with ExitStack() as stack:
        yield _entered(stack, bucket_servers.moto())


def _entered(stack: ExitStack, server: AbstractContextManager[Server]) -> Server:
    try:
        return stack.enter_context(server)
    except bucket_servers.Unavailable as exc:
        if os.environ.get("CI"):
            pytest.fail(str(exc))
        pytest.skip(str(exc))


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A PostgreSQL server, started when the first test asks for it."""
    programs = postgres_server.programs()
    if programs is None:
        message = "no PostgreSQL server: install one, or name its folder of programs with GRATICULE_TEST_POSTGRES"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    with postgres_server.running(programs) as server:
        yield server


@pytest.fixture(scope="session")
def postgres_template(postgres: PostgresServer) -> str:
    """The name of a database with our schema, to be copied."""
    postgres.administer("CREATE DATABASE template_graticule")
    PostgresDatabase(postgres.url("template_graticule"), readers=1).close()
    return "template_graticule"


@pytest.fixture(scope="session")
def open_database(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> OpenDatabase:
    """Open a fresh database of a kind: ``memory``, ``disk`` or ``postgres``."""

    @contextmanager
    def opened(kind: str) -> Iterator[Database]:
        with ExitStack() as stack:
            if kind == "postgres":
                server: PostgresServer = request.getfixturevalue("postgres")
                url = stack.enter_context(server.emptied_database(request.getfixturevalue("postgres_template")))
                database: Database = PostgresDatabase(url)
            else:
                folder = tmp_path_factory.mktemp("database")
                database = SqliteDatabase(None if kind == "memory" else folder / "graticule.db")
            stack.callback(database.close)
            yield database

    return opened


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    """A fresh database on disk."""
    database = SqliteDatabase(tmp_path / "graticule.db")
    yield database
    database.close()


@pytest.fixture(params=["disk", "postgres"])
def each_database(request: pytest.FixtureRequest, open_database: OpenDatabase) -> Iterator[Database]:
    """A fresh database of each kind that keeps its data."""
    with open_database(request.param) as database:
        yield database
