"""A catalog opened for a short command: beside a running server, without one, or for the first time."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from graticule.database import Database, SqliteDatabase
from graticule.errors import SettingsError
from graticule.sealing import Sealer, open_sealer, prepare_data_dir
from graticule.settings import Settings, load_settings


@dataclass(frozen=True)
class OpenCatalog:
    """What a command works with."""

    settings: Settings
    sealer: Sealer
    database: Database


@contextmanager
def open_catalog(data_dir: Path | None) -> Iterator[OpenCatalog]:
    """Open the data folder, making it if need be, and close it afterwards.

    Raises:
        SettingsError: a setting or the folder cannot be used.
    """
    settings = load_settings(data_dir=data_dir)
    prepare_data_dir(settings.data_dir)  # with a master key from the environment the sealer makes no folder
    sealer = open_sealer(settings)
    try:
        database = SqliteDatabase(settings.database_path, readers=1)
    except sqlite3.Error as exc:
        raise SettingsError(f"The database {settings.database_path} cannot be opened: {exc}.") from exc
    try:
        yield OpenCatalog(settings, sealer, database)
    finally:
        database.close()
