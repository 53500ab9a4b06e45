"""Owns: files of a bucket as a render process sees them: without a network, by asking its parent over their pipes.

A `RemotePath` is to data cubes what a `Path` is; `RemoteFiles.name_for_gdal` is what GDAL opens. What was read is kept
in blocks, because readers ask for a few bytes at a time.
"""

from __future__ import annotations

import contextlib
import io
import os
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from types import SimpleNamespace
from typing import Final, NamedTuple
from urllib.parse import quote, unquote

#: Under which stored objects are named to render processes: ``/managed/{container}/{key}``. There is no such folder.
FOLDER: Final = "/managed"
#: Read at once where less is wanted, bytes: what a request to a storage service costs is mostly its way there.
BLOCK: Final = 256 << 10
#: Asked for at once, bytes.
MOST: Final = 32 * BLOCK
_SIZES: Final = 10_000


class Part(NamedTuple):
    """A range of a stored object."""

    #: Of the whole object, bytes.
    size: int
    data: bytes


#: Reads a range (path, start, end); None where there is no such object.
Ask = Callable[[str, int, int], Part | None]


class RemoteFiles:
    """Stored objects by path, through `ask`."""

    def __init__(self, ask: Ask, keep_bytes: int) -> None:
        """Take what reads, and how many bytes of it are kept."""
        self._ask = ask
        self._keep = keep_bytes
        self._blocks: OrderedDict[tuple[str, int], bytes] = OrderedDict()
        self._sizes: OrderedDict[str, int] = OrderedDict()
        self._lock = threading.RLock()  # zarr reads in a thread of its own
        self._prefix: str | None = None
        #: Was an object gone while it was read? GDAL hears only that it is short; who has drawn it has to look here.
        self.has_lost = False

    def size(self, path: str) -> int:
        """Bytes. Raises FileNotFoundError."""
        with self._lock:
            if path not in self._sizes:
                self._load(path, range(1))
            return self._sizes[path]

    def exists(self, path: str) -> bool:
        """Is there such an object?"""
        with contextlib.suppress(FileNotFoundError):
            return self.size(path) >= 0
        return False

    def read(self, path: str, start: int, end: int) -> bytes:
        """Bytes from start up to, not including, end; fewer where the object ends before.

        Raises:
            FileNotFoundError: there is no such object (any more).
        """
        with self._lock:
            end = min(end, self.size(path))
            if start >= end:
                return b""
            wanted = range(start // BLOCK, (end - 1) // BLOCK + 1)
            found = self._load(path, wanted)
        data = found[wanted[0]] if len(wanted) == 1 else b"".join(found[at] for at in wanted)
        return data[start - wanted[0] * BLOCK : end - wanted[0] * BLOCK]

    def name_for_gdal(self, path: str) -> str:
        """The name by which GDAL opens an object in this process."""
        if self._prefix is None:
            from rasterio._vsiopener import _opener_registration  # noqa: PLC0415 - libraries load after confinement

            # rasterio.open ends a registration when it returns, and takes one driver only. This one is for good, and
            # is for all files of one folder: hence the quoted names.
            registration = _opener_registration(f"{FOLDER}/any", self._open_quoted)
            self._prefix = str(registration.__enter__()).removesuffix("any")
            self._registration = registration
        return self._prefix + quote(path, safe="")

    def _open_quoted(self, path: str, mode: str = "rb") -> RemoteFile:
        del mode
        name = unquote(path.rpartition("/")[2])
        if not name.startswith(f"{FOLDER}/"):  # rasterio tries an opener on a name of its own
            raise FileNotFoundError(path)
        return RemoteFile(self, name, self.size(name), forgiving=True)

    def _load(self, path: str, wanted: range) -> dict[int, bytes]:
        """These blocks of an object, from memory or by as few questions as can be."""
        found = {at: self._blocks[path, at] for at in wanted if (path, at) in self._blocks}
        for at in found:
            self._blocks.move_to_end((path, at))
        missing = [at for at in wanted if at not in found]
        while missing:
            first, count = missing[0], 1
            while count < len(missing) and missing[count] == first + count and (count + 1) * BLOCK <= MOST:
                count += 1
            known = self._sizes.get(path)
            end = (first + count) * BLOCK
            part = self._ask(path, first * BLOCK, end if known is None else min(end, known))
            if part is None:
                raise FileNotFoundError(path)
            self._sizes[path] = part.size
            while len(self._sizes) > _SIZES:
                self._sizes.popitem(last=False)
            for at in missing[:count]:
                found[at] = part.data[(at - first) * BLOCK : (at - first + 1) * BLOCK]
                self._blocks[path, at] = found[at]
            del missing[:count]
        while len(self._blocks) * BLOCK > self._keep:
            self._blocks.popitem(last=False)
        return found


class RemoteFile(io.RawIOBase):
    """An object as a file that is read."""

    def __init__(self, files: RemoteFiles, path: str, size: int, *, forgiving: bool = False) -> None:
        """Open it; `forgiving`: no exception may leave it, because native code calls."""
        self.name = path
        self._files = files
        self._size = size
        self._at = 0
        self._forgiving = forgiving

    def readable(self) -> bool:
        """Yes."""
        return True

    def seekable(self) -> bool:
        """Yes."""
        return True

    def tell(self) -> int:
        """Where the next byte is read."""
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """As files do."""
        self._at = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        return self._at

    def read(self, size: int = -1) -> bytes:
        """As files do."""
        end = self._size if size < 0 else self._at + size
        try:
            data = self._files.read(self.name, self._at, end)
        except FileNotFoundError:
            self._files.has_lost = True
            if not self._forgiving:
                raise
            return b""
        self._at += len(data)
        return data

    def readall(self) -> bytes:
        """As files do."""
        return self.read()

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """As files do."""
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)


@dataclass(frozen=True)
class RemotePath:
    """What readers of data cubes use of a `Path`."""

    files: RemoteFiles
    path: PurePosixPath

    @property
    def name(self) -> str:
        """The last segment."""
        return self.path.name

    @property
    def parent(self) -> RemotePath:
        """The folder."""
        return RemotePath(self.files, self.path.parent)

    def __truediv__(self, name: str) -> RemotePath:
        return RemotePath(self.files, self.path / name)

    def __str__(self) -> str:
        return str(self.path)

    def open(self, mode: str = "rb") -> RemoteFile:
        """As `Path.open`, in the one mode that there is."""
        del mode
        return RemoteFile(self.files, str(self.path), self.files.size(str(self.path)))

    def read_bytes(self) -> bytes:
        """As `Path.read_bytes`."""
        return self.open().read()

    def stat(self) -> SimpleNamespace:
        """``st_size`` alone."""
        return SimpleNamespace(st_size=self.files.size(str(self.path)))

    def is_file(self) -> bool:
        """As `Path.is_file`."""
        return self.files.exists(str(self.path))


#: A stored file, wherever it lies.
StoredPath = Path | RemotePath
