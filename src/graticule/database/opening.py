"""Which database a catalog has: the server that its settings name, else a file in its data folder."""

from __future__ import annotations

import sqlite3

from graticule.database.connection import Database
from graticule.database.sqlite import SqliteDatabase
from graticule.errors import SettingsError
from graticule.settings import Settings


def open_database(settings: Settings, *, readers: int = 4) -> Database:
    """Open it, and bring its schema up to date.

    Raises:
        SettingsError: it cannot be used, and will not be by waiting.
        Unavailable: the server does not answer at the moment.
    """
    if settings.database_url is not None:
        from graticule.database.postgres import PostgresDatabase  # noqa: PLC0415 - only where it is used

        return PostgresDatabase(settings.database_url.get_secret_value(), readers=readers)
    try:
        return SqliteDatabase(settings.database_path, readers=readers)
    except sqlite3.Error as exc:
        raise SettingsError(f"The database {settings.database_path} cannot be opened: {exc}.") from exc
