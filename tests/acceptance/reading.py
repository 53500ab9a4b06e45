"""Rows of a catalog's database (its file, or its server), read beside the running service; changed beside none."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg

from graticule.database.packing import plain


def rows(data_dir: Path, sql: str, url: str | None = None) -> list[tuple[Any, ...]]:
    """The answer to a statement that both databases understand; ``url`` where it is on a server."""
    if url is not None:
        with psycopg.connect(url) as server:
            return server.execute(sql.encode()).fetchall()
    with closing(sqlite3.connect(f"file:{data_dir / 'graticule.db'}?mode=ro", uri=True)) as database:
        database.create_function("plain", 1, plain)
        return database.execute(sql).fetchall()


def execute(data_dir: Path, sql: str, url: str | None = None) -> None:
    """Change rows, while the service is stopped."""
    if url is not None:
        with psycopg.connect(url) as server:
            server.execute(sql.encode())
        return
    with closing(sqlite3.connect(data_dir / "graticule.db")) as database, database:
        database.execute(sql)
