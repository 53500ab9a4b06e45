"""Which failures of disk and database pass by themselves: a full disk, a locked file."""

from __future__ import annotations

import errno
import sqlite3
import sys
from typing import Final

_OF_SQLITE: Final = {
    sqlite3.SQLITE_FULL: "the disk is full",
    sqlite3.SQLITE_IOERR: "the disk fails",
    sqlite3.SQLITE_BUSY: "the database is busy",
    sqlite3.SQLITE_LOCKED: "the database is busy",
    sqlite3.SQLITE_NOMEM: "memory is short",
}
#: Classes of PostgreSQL's SQLSTATE, and single ones.
_OF_POSTGRESQL: Final = {
    "08": "the database cannot be reached",
    "40": "the database is busy",
    "53": "the database is short of memory, disk or connections",
    "57": "the database was shut down or interrupted",
    "58": "the database's system fails",
    "55P03": "the database is busy",
    "25P03": "the database is busy",
    "25006": "the database is read-only at the moment",
}
_OF_THE_SYSTEM: Final = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EMFILE: "too many files are open",
    errno.ENFILE: "too many files are open",
    errno.EIO: "the disk fails",
}


def passing_fault(error: BaseException) -> str | None:
    """Why the same work may succeed later, in words; None for a bug and for what stays as it is."""
    if isinstance(error, sqlite3.Error):
        # Extended codes carry the primary one in their lowest byte.
        return _OF_SQLITE.get(getattr(error, "sqlite_errorcode", 0) & 0xFF)
    # Not imported here: where it never was, none of its errors can come.
    psycopg = sys.modules.get("psycopg")
    if psycopg is not None and isinstance(error, psycopg.Error):
        state = error.sqlstate
        if state is None:  # the connection was lost, or not made
            return _OF_POSTGRESQL["08"] if isinstance(error, psycopg.OperationalError) else None
        return _OF_POSTGRESQL.get(state) or _OF_POSTGRESQL.get(state[:2])
    if isinstance(error, OSError):
        return _OF_THE_SYSTEM.get(error.errno or 0)
    return None
