"""Files that clients send, until they are stored: each locked by the process that receives it.

The kernel frees the lock with the process. A file that can be locked belongs to nobody any more, and its name says
which upload may have left bytes in storage.
"""

from __future__ import annotations

import fcntl
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO


@dataclass(frozen=True)
class Upload:
    """A file that a client sent; its name is the upload's id."""

    path: Path
    size: int  #: bytes
    sha256: str  #: hex
    file_name: str | None  #: as the client calls it
    media_type: str | None

    @property
    def id(self) -> str:
        """Under which the ledger has what is stored of it."""
        return self.path.name


@contextmanager
def incoming_file(folder: Path) -> Iterator[tuple[Path, BinaryIO]]:
    """A new file to write into, there until the end of the block."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path, descriptor = _locked_file(folder)
    with os.fdopen(descriptor, "wb") as file:
        try:
            yield path, file
        finally:
            path.unlink(missing_ok=True)


def abandoned(folder: Path) -> Iterator[Path]:
    """The files of processes that were killed, one after the other; each is removed once the caller goes on."""
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            continue
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield path
            path.unlink(missing_ok=True)
        except BlockingIOError:
            continue
        finally:
            os.close(descriptor)


def _locked_file(folder: Path) -> tuple[Path, int]:
    while True:
        path = folder / str(uuid.uuid4())
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        if path.exists():
            return path, descriptor
        os.close(descriptor)  # a starting process was faster with the lock, and took the file for an abandoned one
