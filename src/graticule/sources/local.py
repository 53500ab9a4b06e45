"""Owns: reading local files: only below a folder that the operator has opened, and through no symbolic link.

A path is walked from the opened folder down, each name relative to the folder above and without following links, so
that nobody who may write there can lead out of it, before or while it is read.
"""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
import stat
from pathlib import Path, PurePosixPath
from typing import Final, NoReturn

from graticule.errors import (
    AssetTooLarge,
    EmptyAsset,
    InternalIntermittentError,
    SourceForbidden,
    SourceNotFound,
    SourceRefused,
)
from graticule.settings import Settings
from graticule.sources.places import FileHref
from graticule.sources.transfer import Download, OnProgress

_BLOCK: Final = 8 << 20
_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def opened_folder(place: FileHref, settings: Settings) -> Path | None:
    """The folder of ``GRATICULE_LOCAL_SOURCES`` that a path lies in, the innermost; None: in none."""
    path = PurePosixPath(place.path)
    found = [Path(entry) for entry in settings.local_sources if path.is_relative_to(entry)]
    return max(found, key=lambda folder: len(folder.parts), default=None)


def open_file(place: FileHref, settings: Settings, *, folder: bool = False) -> int:
    """A file descriptor of a regular file, or of a folder, below a folder that is open to ingestion.

    Raises:
        SourceForbidden: the path is in none, passes a symbolic link, or may not be read.
        SourceNotFound: there is nothing.
        SourceRefused: it is something else.
    """
    base = opened_folder(place, settings)
    if base is None:
        raise SourceForbidden(
            f"{place} may not be read: an operator names its folder, or one above it, in GRATICULE_LOCAL_SOURCES."
        )
    names = PurePosixPath(place.path).relative_to(base).parts
    try:
        current = os.open(base, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)  # the operator's own path may have links
        for number, name in enumerate(names, 1):
            above = current
            try:
                current = os.open(name, _FOLDER if folder or number < len(names) else _FILE, dir_fd=above)
            finally:
                os.close(above)
    except OSError as exc:
        raise _refusal(place, exc) from None
    mode = os.fstat(current).st_mode
    if not (stat.S_ISDIR(mode) if folder else stat.S_ISREG(mode)):
        os.close(current)
        raise SourceRefused(f"{place} is no {'folder' if folder else 'regular file'}.")
    return current


async def copy(
    place: FileHref, path: Path, settings: Settings, *, max_bytes: int, on_progress: OnProgress | None = None
) -> Download:
    """Bring a local file into another one, with its checksum; the file exists afterwards only if all is well.

    Raises:
        SourceError: as `open_file`; AssetTooLarge, EmptyAsset.
        InternalIntermittentError: the staging folder cannot be written.
    """
    descriptor = await asyncio.to_thread(open_file, place, settings)
    digest, copied, size = hashlib.sha256(), 0, os.fstat(descriptor).st_size
    try:
        with path.open("wb") as target:
            while block := await asyncio.to_thread(os.read, descriptor, _BLOCK):
                copied += len(block)
                _check_size(place, max(copied, size), max_bytes)
                digest.update(block)
                await asyncio.to_thread(target.write, block)
                if on_progress is not None:
                    on_progress(copied, size)
        if not copied:
            _refuse_empty(place)
    except OSError as exc:
        _remove(path)
        raise InternalIntermittentError(f"{place} cannot be copied: {(exc.strerror or '').lower()}.") from None
    except BaseException:
        _remove(path)
        raise
    finally:
        os.close(descriptor)
    return Download(
        bytes=copied,
        sha256=digest.hexdigest(),
        md5=None,
        content_type=None,
        etag=None,
        name=None,
        content_encoding=None,
    )


def size_of(place: FileHref, settings: Settings) -> int:
    """Size of a local file, bytes. Raises as `open_file`."""
    descriptor = open_file(place, settings)
    try:
        return os.fstat(descriptor).st_size
    finally:
        os.close(descriptor)


def _remove(path: Path) -> None:
    path.unlink(missing_ok=True)


def _check_size(place: FileHref, size: int, max_bytes: int) -> None:
    if size > max_bytes:
        raise AssetTooLarge(
            f"{place} is larger than the {max_bytes} bytes that an asset may have: an operator may raise"
            " GRATICULE_MAX_ASSET_BYTES."
        )


def _refuse_empty(place: FileHref) -> NoReturn:
    raise EmptyAsset(f"{place} has no bytes: check the file and its URL.")


def _refusal(place: FileHref, exc: OSError) -> SourceForbidden | SourceNotFound | SourceRefused:
    if exc.errno == errno.ENOENT:
        return SourceNotFound(f"{place}: there is no such file. Correct the href.")
    if exc.errno in (errno.ELOOP, errno.ENOTDIR):
        return SourceForbidden(
            f"{place} may not be read: a symbolic link, or a file in the place of a folder, is on its path. Name the"
            " file itself."
        )
    if exc.errno in (errno.EACCES, errno.EPERM):
        return SourceForbidden(f"{place} may not be read: let the catalog's user read it.")
    return SourceRefused(f"{place} cannot be opened: {(exc.strerror or '').lower()}.")
