"""Where a catalog under fire keeps its database: in a file, and on a server that may be killed too."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

import postgres_server
from postgres_server import PostgresServer

_CHOSEN = os.environ.get("GRATICULE_TEST_DATABASE", "sqlite,postgresql").split(",")


@dataclass(frozen=True)
class Place:
    """Settings that choose a database, and its server if it has one."""

    env: dict[str, str]
    server: PostgresServer | None = None


@pytest.fixture(params=[pytest.param(kind, id=kind) for kind in _CHOSEN])
def place(request: pytest.FixtureRequest) -> Iterator[Place]:
    """A fresh database of each kind (``GRATICULE_TEST_DATABASE`` chooses)."""
    quick = {"GRATICULE_RESTART_DELAY": "0.2"}  # what dies so often would be waited for longer and longer
    if request.param == "sqlite":
        yield Place(quick)
        return
    server: PostgresServer = request.getfixturevalue("own_postgres")
    with server.emptied_database("template1") as url:
        yield Place({**quick, "GRATICULE_DATABASE_URL": url, "GRATICULE_SECRET_KEY": secrets.token_hex(32)}, server)


@pytest.fixture(scope="module")
def own_postgres() -> Iterator[PostgresServer]:
    """A server that other tests do not use, because these kill it."""
    programs = postgres_server.programs()
    if programs is None:
        message = "no PostgreSQL server: install one, or name its folder of programs with GRATICULE_TEST_POSTGRES"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    with postgres_server.running(programs) as server:
        yield server
