"""Which failures of disk and database pass by themselves: a full disk, a locked file."""

from __future__ import annotations

import errno
import sqlite3
from typing import Final

_OF_SQLITE: Final = {
    sqlite3.SQLITE_FULL: "the disk is full",
    sqlite3.SQLITE_IOERR: "the disk fails",
    sqlite3.SQLITE_BUSY: "the database is busy",
    sqlite3.SQLITE_LOCKED: "the database is busy",
    sqlite3.SQLITE_NOMEM: "memory is short",
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
    if isinstance(error, OSError):
        return _OF_THE_SYSTEM.get(error.errno or 0)
    return None
