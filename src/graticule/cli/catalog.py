"""A catalog opened for a short command: beside a running server, without one, or for the first time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from graticule.database import Database, open_database
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
        SettingsError: a setting, the folder or the database cannot be used.
        Unavailable: the database server does not answer at the moment.
    """
    settings = load_settings(data_dir=data_dir)
    prepare_data_dir(settings.data_dir)  # with a master key from the environment the sealer makes no folder
    sealer = open_sealer(settings)
    database = open_database(settings, readers=1)
    try:
        yield OpenCatalog(settings, sealer, database)
    finally:
        database.close()
