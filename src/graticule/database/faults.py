"""Which failures of disk and database pass by themselves: a full disk, a locked file."""

from __future__ import annotations

import errno
import re
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
    # procrastinate's own errors wrap the driver's
    return None if error.__cause__ is None else passing_fault(error.__cause__)


def database_errors(*more: type[BaseException]) -> tuple[type[BaseException], ...]:
    """The base classes of what the drivers in use raise, and others, for an ``except`` clause."""
    psycopg = sys.modules.get("psycopg")
    return (sqlite3.Error, *more) if psycopg is None else (sqlite3.Error, psycopg.Error, *more)


def unreachable(error: BaseException) -> bool:
    """Was the server away, or did it end the session? Then nothing is known of the work itself."""
    psycopg = sys.modules.get("psycopg")
    if psycopg is None:
        return False
    if not isinstance(error, psycopg.OperationalError):
        return error.__cause__ is not None and unreachable(error.__cause__)
    return error.sqlstate is None or error.sqlstate[:2] == "08" or error.sqlstate[:3] == "57P"


def is_duplicate(error: BaseException, column: str, index: str) -> bool:
    """Did a unique index refuse the row? SQLite names the column (``table.column``), PostgreSQL the index."""
    if isinstance(error, sqlite3.IntegrityError):
        return column in str(error)
    psycopg = sys.modules.get("psycopg")
    return (
        psycopg is not None
        and isinstance(error, psycopg.errors.UniqueViolation)
        and error.diag.constraint_name == index
    )


def said(error: BaseException) -> str:
    """What a driver's error says, fit for a log: no address with its password, no values of rows."""
    diagnosis = getattr(error, "diag", None)
    text = (diagnosis.message_primary if diagnosis is not None else None) or str(error)
    return " ".join(re.sub(r"\w+://\S+", "(address)", text).split()) or type(error).__name__
