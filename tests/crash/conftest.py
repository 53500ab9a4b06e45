"""Where a catalog under fire keeps its database: in a file, and on a server that may be killed too."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest

import postgres_server
from postgres_server import PostgresServer

_CHOSEN = os.environ.get("GRATICULE_TEST_DATABASE", "sqlite,postgresql").split(",")


@dataclass(frozen=True)
class Place:
    """Settings that choose a database, and its server if it has one."""

    kind: str  #: sqlite, postgresql
    env: dict[str, str]
    server: PostgresServer | None = None


@pytest.fixture
def places(request: pytest.FixtureRequest) -> Iterator[list[Place]]:
    """A fresh database of each kind (``GRATICULE_TEST_DATABASE`` chooses)."""
    quick = {"GRATICULE_RESTART_DELAY": "0.2"}  # what dies so often would be waited for longer and longer
    places = [Place("sqlite", quick)] if "sqlite" in _CHOSEN else []
    if "postgresql" not in _CHOSEN:
        yield places
        return
    server: PostgresServer = request.getfixturevalue("own_postgres")
    with server.emptied_database("template1") as url:
        at = {"GRATICULE_DATABASE_URL": url, "GRATICULE_SECRET_KEY": secrets.token_hex(32)}
        yield [*places, Place("postgresql", {**quick, **at}, server)]


def in_each(places: Sequence[Place], run: Callable[[Place], None]) -> None:
    """Do the same in each place, side by side: most of the time something is being started, which takes one core."""
    with ThreadPoolExecutor() as pool:
        runs = [pool.submit(run, place) for place in places]
    failures = {place.kind: one.exception() for place, one in zip(places, runs, strict=True)}
    for kind, failure in failures.items():
        if failure is not None:
            raise AssertionError(f"on {kind}: {failure}") from failure


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
