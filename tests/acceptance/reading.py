"""Rows of a catalog's database, read beside the running service: of its file, or of its server."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg


def rows(data_dir: Path, sql: str, url: str | None = None) -> list[tuple[Any, ...]]:
    """The answer to a statement that both databases understand; ``url`` where it is on a server."""
    if url is not None:
        with psycopg.connect(url) as server:
            return server.execute(sql.encode()).fetchall()
    with closing(sqlite3.connect(f"file:{data_dir / 'graticule.db'}?mode=ro", uri=True)) as database:
        return database.execute(sql).fetchall()
