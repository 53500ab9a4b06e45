"""Owns: what a local folder needs beyond obstore: durable, atomic writes, and no way out by a symbolic link.

obstore's LocalStore neither syncs what it writes nor minds links, so files come into the folder and leave it here.
Plain functions; `AssetStore` crosses to a thread.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import secrets
import stat
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, Final

from graticule import crashpoints
from graticule.errors import BlobConflict, InternalError, InternalIntermittentError

_BEFORE_LINK: Final = crashpoints.crash_point("storage.link.before")
_AFTER_LINK: Final = crashpoints.crash_point("storage.link.after")

#: Half-written files, on file systems that have none without a name.
INCOMING: Final = ".incoming"
_STALE_AFTER: Final = 3600
_READ: Final = 1 << 20
#: From here on a thread more is worth its start, bytes.
_LARGE: Final = 4 << 20
#: Another process may prune a folder between its opening and the link into it.
_ATTEMPTS: Final = 8
#: Where a hard link of the staged file is not to be had: other file system, no permission, too many links, no /proc.
_COPY_INSTEAD: Final = frozenset(
    {errno.EXDEV, errno.EPERM, errno.EACCES, errno.EMLINK, errno.EOPNOTSUPP, errno.ELOOP, errno.EINVAL}
)


class LocalFolder:
    """The folder under which containers are folders and keys are files."""

    def __init__(self, root: Path) -> None:
        """Make the folder, for its owner only."""
        root.mkdir(parents=True, exist_ok=True, mode=0o700)
        #: Without links on the way.
        self.root = root.resolve()

    def path(self, name: str) -> Path:
        """Where an object lies, or would.

        Raises:
            InternalError: the name, or a symbolic link on its way, leads elsewhere.
        """
        _parts(name)
        path = self.root / name
        if os.path.realpath(path) != str(path):
            raise InternalError(f"The stored object {name!r} is reached by a symbolic link: remove the link.")
        return path

    def put_file(self, name: str, file: Path, sha256: str | None, *, replace: bool) -> tuple[int, str]:
        """Link (or copy) a file in, after reading it once; answers its size and SHA-256.

        Args:
            name: of the object.
            file: a regular file.
            sha256: what it must have; None: nobody has read it before, so that it is what it is.
            replace: see `AssetStore.put_file`.

        Raises:
            BlobConflict: other bytes lie there, and they are not to be replaced.
            InternalIntermittentError: the file is not what it should be, or the disk is full.
        """
        with _faults(name), open_staged(name, file) as staged:
            descriptor = staged.fileno()
            size = os.fstat(descriptor).st_size
            found = _synced_digest(descriptor, size)
            if sha256 not in (None, found):
                raise InternalIntermittentError(f"The staged file of {name} has changed since it was read.")
            try:
                self._place(name, f"/proc/self/fd/{descriptor}", found, replace=replace)
            except OSError as exc:
                if exc.errno not in _COPY_INSTEAD and not isinstance(exc, FileNotFoundError):
                    raise
                self._copy(name, descriptor, found, replace=replace)
        return size, found

    def put_bytes(self, name: str, data: bytes, sha256: str, *, replace: bool) -> int:
        """Write bytes; as `put_file`."""
        with _faults(name), self._unnamed() as (descriptor, source):
            _write(descriptor, data)
            os.fsync(descriptor)
            self._place(name, source, sha256, replace=replace)
        return len(data)

    def remove(self, name: str) -> int:
        """Remove a file for good, and the folders that are empty without it; answers its size, 0 if it was not there.

        A symbolic link is removed itself, never what it leads to.
        """
        parts = _parts(name)
        try:
            folders = self._open_folders(parts[:-1], make=False)
        except (FileNotFoundError, NotADirectoryError):
            return 0
        try:
            with _faults(name):
                size = _unlink(folders[-1], parts[-1])
            with contextlib.suppress(OSError):  # not empty, or pruned by another process already
                for depth in range(len(parts) - 2, -1, -1):
                    os.rmdir(parts[depth], dir_fd=folders[depth])
        finally:
            _close(folders)
        return size

    def tidy(self) -> None:
        """Remove half-written files that a killed process left."""
        with contextlib.suppress(FileNotFoundError):
            for entry in os.scandir(self.root / INCOMING):
                with contextlib.suppress(FileNotFoundError):
                    if time.time() - entry.stat(follow_symlinks=False).st_mtime > _STALE_AFTER:
                        Path(entry.path).unlink()

    def _copy(self, name: str, descriptor: int, sha256: str, *, replace: bool) -> None:
        copied = hashlib.sha256()
        with self._unnamed() as (target, source):
            os.lseek(descriptor, 0, os.SEEK_SET)
            while block := os.read(descriptor, _READ):
                copied.update(block)
                _write(target, block)
            if copied.hexdigest() != sha256:
                raise InternalIntermittentError(f"The staged file of {name} has changed while it was copied.")
            os.fsync(target)
            self._place(name, source, sha256, replace=replace)

    def _place(self, name: str, source: str, sha256: str, *, replace: bool) -> None:
        """Give a finished, synced file its name: all at once, and never over another one's."""
        parts = _parts(name)
        for attempt in range(_ATTEMPTS):
            folders = self._open_folders(parts[:-1], make=True)
            try:
                crashpoints.reach(_BEFORE_LINK)
                self._link(name, source, folders[-1], parts[-1], sha256, replace=replace)
                crashpoints.reach(_AFTER_LINK)
                for folder in reversed(folders):
                    os.fsync(folder)
            except FileNotFoundError:
                if attempt + 1 == _ATTEMPTS or not os.path.lexists(source):
                    raise
            else:
                return
            finally:
                _close(folders)

    @staticmethod
    def _link(name: str, source: str, folder: int, last: str, sha256: str, *, replace: bool) -> None:
        try:
            # With a folder given, Python calls linkat(AT_SYMLINK_FOLLOW): /proc/self/fd/N becomes the open file.
            os.link(source, last, src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=True)
        except FileExistsError:
            if _same(folder, last, sha256):
                return  # done before a crash
            if not replace:
                raise BlobConflict(f"The stored object {name} exists with other bytes.") from None
            os.unlink(last, dir_fd=folder)  # killed here, the next try finds the name free
            os.link(source, last, src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=True)

    def _open_folders(self, parts: list[str], *, make: bool) -> list[int]:
        """The root and the folders below it, opened one after the other, through no link."""
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
        folders = [os.open(self.root, flags)]
        try:
            for part in parts:
                if make:
                    with contextlib.suppress(FileExistsError):
                        os.mkdir(part, 0o700, dir_fd=folders[-1])
                folders.append(os.open(part, flags, dir_fd=folders[-1]))
        except BaseException:
            _close(folders)
            raise
        return folders

    @contextlib.contextmanager
    def _unnamed(self) -> Iterator[tuple[int, str]]:
        """A new file on the folder's file system and a path to link it by; it vanishes with this process."""
        try:
            descriptor = os.open(self.root, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
            path, named = f"/proc/self/fd/{descriptor}", False
        except OSError as exc:
            if exc.errno not in (errno.EOPNOTSUPP, errno.EISDIR, errno.ENOENT, errno.EINVAL):
                raise
            incoming = self.root / INCOMING
            incoming.mkdir(mode=0o700, exist_ok=True)
            path, named = str(incoming / secrets.token_hex(16)), True
            descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            yield descriptor, path
        finally:
            if named:
                Path(path).unlink(missing_ok=True)
            os.close(descriptor)


def open_staged(name: str, file: Path) -> IO[bytes]:
    """A staged file, open; not through a link: a conversion of hostile input may have left one in the staging folder.

    Raises:
        InternalIntermittentError: it is no regular file, or cannot be opened.
    """
    with _faults(name):
        descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise InternalIntermittentError(f"The staged file of {name} is no regular file.")
    return os.fdopen(descriptor, "rb", buffering=0)


def digest_of(name: str, file: Path) -> str:
    """The SHA-256 of a staged file. Raises as `open_staged`."""
    with open_staged(name, file) as staged, _faults(name):
        return _digest(staged.fileno())


def _parts(name: str) -> list[str]:
    parts = name.split("/")
    if any(part in ("", ".", "..") or "\0" in part for part in parts):
        raise InternalError(f"{name!r} is no name of a stored object.")
    return parts


def _unlink(folder: int, last: str) -> int:
    try:
        size = os.stat(last, dir_fd=folder, follow_symlinks=False).st_size
        os.unlink(last, dir_fd=folder)
    except FileNotFoundError:
        return 0
    os.fsync(folder)  # else the file may be back after a power cut, and its record gone
    return size


def _write(descriptor: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def _synced_digest(descriptor: int, size: int) -> str:
    """The SHA-256 of a file that is on the disk when this returns: of a large one both are done at a time."""
    if size < _LARGE:
        os.fsync(descriptor)
        return _digest(descriptor)
    with ThreadPoolExecutor(1) as other:
        synced = other.submit(os.fsync, descriptor)
        digest = _digest(descriptor)
        synced.result()
    return digest


def _digest(descriptor: int) -> str:
    digest = hashlib.sha256()
    while block := os.read(descriptor, _READ):
        digest.update(block)
    return digest.hexdigest()


def _same(folder: int, last: str, sha256: str) -> bool:
    try:
        descriptor = os.open(last, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
    except OSError:  # a link, or a folder
        return False
    try:
        return stat.S_ISREG(os.fstat(descriptor).st_mode) and _digest(descriptor) == sha256
    finally:
        os.close(descriptor)


def _close(descriptors: list[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)


@contextlib.contextmanager
def _faults(name: str) -> Iterator[None]:
    try:
        yield
    except OSError as exc:
        raise InternalIntermittentError(f"Managed storage cannot take {name}: {exc.strerror}.") from exc
