"""A worker, or a writer at full load, as a process of its own: ``worker_process.py ROLE DATABASE OPTIONS``."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import time
from pathlib import Path
from typing import Any

import psycopg

from graticule.database import Connection, Database, SqliteDatabase
from graticule.database.postgres import PostgresDatabase
from graticule.workflows import Attempt, Backoff, Engine, LeaseLost, Timing


def write_result(tx: Connection, attempt: Attempt, n: int, kind: str) -> None:
    tx.execute(
        "INSERT INTO results (n, kind, job_id, worker_id, losses) VALUES (:n, :kind, :job_id, :worker_id, :losses)",
        {
            "n": n,
            "kind": kind,
            "job_id": attempt.job_id,
            "worker_id": attempt.worker_id,
            "losses": attempt.losses,
        },
    )


def make_engine(database: Database, options: dict[str, Any]) -> Engine:
    timing = Timing(
        heartbeat=options.get("heartbeat", 0.2),
        stalled=options.get("stalled", 30.0),
        polling=options.get("polling", 0.5),
        restart=Backoff(0.05, 0.2),
    )
    engine = Engine(database, worker_name="process", timing=timing, backoff=Backoff(0.01, 0.02))

    @engine.task("publish")
    async def publish(attempt: Attempt, n: int) -> None:
        def record(tx: Connection) -> None:
            attempt.still_ours(tx)
            write_result(tx, attempt, n, "published")

        await database.write(record)

    async def publish_or_note(attempt: Attempt, n: int) -> None:
        try:
            await publish(attempt, n)
        except LeaseLost:
            await database.write(lambda tx: write_result(tx, attempt, n, "refused"))
            raise

    @engine.task("publish when allowed")
    async def publish_when_allowed(attempt: Attempt, n: int, flag: str) -> None:
        await database.write(lambda tx: write_result(tx, attempt, n, "started"))
        while True:
            try:
                while not Path(flag).exists():  # noqa: ASYNC110, ASYNC240 - another process makes it
                    await asyncio.sleep(0.02)
                return await publish_or_note(attempt, n)
            # Even a task that will not stop is held off, also where the server has ended the connection of a process
            # that stood still within a transaction.
            except (asyncio.CancelledError, psycopg.OperationalError):
                if not options.get("stubborn"):
                    raise

    return engine


async def work(database: Database, options: dict[str, Any]) -> None:
    engine = make_engine(database, options)
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await engine.run_worker(options.get("concurrency", 8), stop)


def hammer(database: Database) -> None:
    """Write transactions of 40 ms, one after the other."""

    def load(tx: Connection) -> None:
        until = time.monotonic() + 0.04
        while time.monotonic() < until:
            tx.execute("UPDATE load SET n = n + 1")

    while True:
        database.write_now(load)


def main() -> None:
    role, address, options = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
    database: Database = PostgresDatabase(address) if "://" in address else SqliteDatabase(Path(address))
    if role == "hammer":
        hammer(database)
    asyncio.run(work(database, options))
    database.close()


if __name__ == "__main__":
    main()
