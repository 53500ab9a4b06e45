"""Owns: addresses on this machine that a command of the catalog's own user serves files at, while it runs.

`graticule forge --post` hands files over by a server of its own on loopback, which ingestion may otherwise not reach.
It notes the URL, with a path that nobody guesses, in the data folder (which is the user's alone) and holds a lock on
the note; the kernel frees the lock with the process, and with it the permission. Only what begins with that URL is
opened.
"""

from __future__ import annotations

import fcntl
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from graticule.sources.hrefs import Href

_FOLDER: Final = "offers"


@contextmanager
def offer(data_dir: Path, url: str) -> Iterator[None]:
    """Let ingestion fetch what begins with ``url`` (which ends with a slash) until the end of the block."""
    folder = data_dir / _FOLDER
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = folder / secrets.token_hex(8)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX)  # before there is anything to read
            file.write(url)
            file.flush()
            yield
        finally:
            path.unlink(missing_ok=True)


def is_offered(data_dir: Path, href: Href) -> bool:
    """Does a running command serve this href? Notes of commands that were killed are removed on the way."""
    asked = f"{href.scheme}://{href.authority}{href.path}"
    try:
        notes = list((data_dir / _FOLDER).iterdir())
    except FileNotFoundError:
        return False
    return any(asked.startswith(url) for note in notes if (url := _held(note)))


def _held(note: Path) -> str | None:
    """What a note says, if somebody holds it."""
    with suppress(FileNotFoundError), note.open(encoding="ascii") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return file.read()
        # The lock was free: a command that begins just now has an empty one, and may go on.
        if file.read():
            note.unlink(missing_ok=True)
    return None
