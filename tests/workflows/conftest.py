"""Factories of engines, running workers and worker processes."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from conftest import OpenDatabase
from graticule.database import Database
from graticule.workflows import Backoff, Engine, Timing

#: A worker that notices everything soon.
FAST = Timing(heartbeat=0.1, stalled=30.0, polling=0.1, wake=0.02, stop=2.5, restart=Backoff(0.05, 0.1))

StartProcess = Callable[..., subprocess.Popen[bytes]]


@pytest.fixture(params=["memory", "disk", "postgres"])
def either_database(request: pytest.FixtureRequest, open_database: OpenDatabase) -> Iterator[Database]:
    """A fresh database of every kind."""
    with open_database(request.param) as database:
        yield database


@pytest.fixture
def database(each_database: Database) -> Database:
    """A fresh database of each kind that other processes can open."""
    return each_database


@pytest.fixture
def make_engine() -> Callable[..., Engine]:
    def make(database: Database, **overrides: Any) -> Engine:
        arguments: dict[str, Any] = {"worker_name": "test", "timing": FAST, "backoff": Backoff(0.01, 0.02)}
        return Engine(database, **(arguments | overrides))

    return make


@pytest.fixture
def running() -> Callable[..., AbstractAsyncContextManager[None]]:
    @asynccontextmanager
    async def run(engine: Engine, concurrency: int = 4) -> AsyncIterator[None]:
        stop = asyncio.Event()
        worker = asyncio.create_task(engine.run_worker(concurrency, stop))
        try:
            yield
        finally:
            stop.set()
            await worker

    return run


@pytest.fixture
def until() -> Callable[..., Any]:
    async def wait(condition: Callable[[], Any], limit: float = 30.0) -> Any:
        give_up_at = time.monotonic() + limit
        while not (found := condition()):
            if time.monotonic() > give_up_at:
                pytest.fail("what was waited for did not happen")
            await asyncio.sleep(0.02)
        return found

    return wait


@pytest.fixture
def job_rows() -> Callable[[Database], list[dict[str, Any]]]:
    def rows(database: Database) -> list[dict[str, Any]]:
        return database.read_now(
            lambda tx: [dict(row) for row in tx.all("SELECT * FROM procrastinate_jobs ORDER BY id")]
        )

    return rows


@pytest.fixture
def start_process(database: Database) -> Iterator[StartProcess]:
    """Start `worker_process.py` on the database; what still lives at the end of the test is killed."""
    address = str(database.path) if database.path is not None else getattr(database, "url", "")
    processes: list[subprocess.Popen[bytes]] = []

    def start(role: str = "worker", **options: Any) -> subprocess.Popen[bytes]:
        script = Path(__file__).with_name("worker_process.py")
        command = [sys.executable, str(script), role, address, json.dumps(options)]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **options.pop("environment", {})}
        processes.append(subprocess.Popen(command, env=environment))
        return processes[-1]

    yield start
    for process in processes:
        with suppress(ProcessLookupError):
            process.send_signal(signal.SIGKILL)
        process.wait()
