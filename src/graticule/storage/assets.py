"""Owns: the bytes of managed assets, behind obstore's verbs.

Locally, a folder: obstore reads and lists, `LocalFolder` writes and removes (durably, and through no link). Elsewhere
(memory in tests; Azure, S3) obstore does all of it. LocalStore keeps no content type: the ledger does.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

import obstore
from obstore.store import LocalStore, ObjectStore

from graticule import crashpoints
from graticule.errors import BlobConflict, InternalError, InternalIntermittentError, NotFound
from graticule.storage.local import INCOMING, LocalFolder

_BEFORE_PUT: Final = crashpoints.crash_point("storage.put.before")
_AFTER_PUT: Final = crashpoints.crash_point("storage.put.after")

#: Pieces in which objects are read and sent, bytes.
_CHUNK: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class StoredBlob:
    """What lies in storage, verified."""

    #: Bytes.
    size: int
    #: Hex.
    sha256: str
    #: With quotes; follows from the bytes, so it survives a move to another store.
    etag: str


class AssetStore:
    """The managed objects: container and key → bytes. Names are written once."""

    def __init__(self, store: ObjectStore, folder: LocalFolder | None = None) -> None:
        """Wrap a store; `local` is the usual way."""
        self._store = store
        self._folder = folder

    @classmethod
    def local(cls, root: Path) -> Self:
        """The store in a local folder, made if missing (`Settings.assets_dir`)."""
        folder = LocalFolder(root)
        return cls(LocalStore(folder.root), folder)

    async def put_file(
        self, container: str, key: str, path: Path, media_type: str | None, sha256: str, *, replace: bool = False
    ) -> StoredBlob:
        """Store a file, durable and verified when this returns; the file itself stays where it is.

        Storing the same bytes again is no error. On the same file system it is a hard link, so the file must not be
        written to any more.

        Args:
            container: the container.
            key: the name in it.
            path: a regular file.
            media_type: kept by stores that can.
            sha256: hex, of the bytes that it must have.
            replace: other bytes under this name were never recorded as stored (a crash came between), and may go.

        Raises:
            BlobConflict: other bytes lie under this name.
            InternalIntermittentError: the file has other bytes than `sha256` says, or the store fails.
        """
        name = f"{container}/{key}"
        if self._folder is not None:
            put = self._folder.put_file
            size = await asyncio.to_thread(lambda: put(name, path, sha256, replace=replace))
            return _blob(size, sha256)
        blocks = await asyncio.to_thread(path.open, "rb")
        try:
            return await self._put_remote(name, iter(lambda: blocks.read(_CHUNK), b""), media_type, sha256, replace)
        finally:
            blocks.close()

    async def put_bytes(
        self, container: str, key: str, data: bytes, media_type: str | None, *, replace: bool = False
    ) -> StoredBlob:
        """Store bytes; as `put_file`."""
        name = f"{container}/{key}"
        sha256 = hashlib.sha256(data).hexdigest()
        if self._folder is not None:
            put = self._folder.put_bytes
            size = await asyncio.to_thread(lambda: put(name, data, sha256, replace=replace))
            return _blob(size, sha256)
        return await self._put_remote(name, iter([data]), media_type, sha256, replace)

    async def open_range(self, container: str, key: str, start: int, end: int) -> AsyncIterator[bytes]:
        """Bytes from start up to, not including, end, in pieces of about 1 MiB.

        Raises:
            NotFound: no such object.
        """
        name = self._name(container, key)
        if start >= end:
            return _nothing()
        with _missing(name), _faults(name):
            result = await obstore.get_async(self._store, name, options={"range": (start, end)})
        return _pieces(name, result)

    async def size(self, container: str, key: str) -> int | None:
        """The size of an object, bytes; None where there is none."""
        name = self._name(container, key)
        try:
            with _faults(name):
                return (await obstore.head_async(self._store, name))["size"]
        except FileNotFoundError:
            return None

    def path(self, container: str, key: str) -> Path | None:
        """Where an object lies as a local file, for readers of rasters; None for other stores.

        Raises:
            InternalError: a symbolic link leads out of the folder.
        """
        return None if self._folder is None else self._folder.path(f"{container}/{key}")

    async def delete(self, container: str, key: str) -> int:
        """Remove an object for good; answers its size, 0 if there was none."""
        name = f"{container}/{key}"
        if self._folder is not None:
            return await asyncio.to_thread(self._folder.remove, name)
        size = await self.size(container, key)
        if size is None:
            return 0
        with contextlib.suppress(FileNotFoundError), _faults(name):
            await obstore.delete_async(self._store, name)
        return size

    async def list_all(self) -> AsyncIterator[tuple[str, str, int]]:
        """Every object, as (container, key, size), in no order."""
        async for part in obstore.list(self._store, chunk_size=1000):
            for meta in part:
                container, _, key = meta["path"].partition("/")
                # LocalStore lists what links lead to; that is not ours, and must not come to be taken for an orphan.
                if container != INCOMING and self._is_inside(meta["path"]):
                    yield container, key, meta["size"]

    async def tidy(self) -> None:
        """Remove what killed processes left half-written."""
        if self._folder is not None:
            await asyncio.to_thread(self._folder.tidy)

    def _name(self, container: str, key: str) -> str:
        name = f"{container}/{key}"
        if self._folder is not None:
            self._folder.path(name)
        return name

    def _is_inside(self, name: str) -> bool:
        if self._folder is None:
            return True
        path = os.path.join(self._folder.root, name)  # noqa: PTH118 - a hundred thousand times in a row
        return os.path.realpath(path) == path

    async def _put_remote(
        self, name: str, blocks: Iterator[bytes], media_type: str | None, sha256: str, replace: bool
    ) -> StoredBlob:
        container, _, key = name.partition("/")
        existing = await self.size(container, key)
        if existing is not None and not replace:
            if await self._digest(container, key, existing) != sha256:
                raise BlobConflict(f"The stored object {name} exists with other bytes.")
            return _blob(existing, sha256)
        sent, size = hashlib.sha256(), 0

        async def stream() -> AsyncIterator[bytes]:
            nonlocal size
            while block := await asyncio.to_thread(next, blocks, b""):
                sent.update(block)
                size += len(block)
                yield block

        crashpoints.reach(_BEFORE_PUT)
        with _faults(name):
            attributes = {"Content-Type": media_type} if media_type else None
            await obstore.put_async(self._store, name, stream(), attributes=attributes)
        crashpoints.reach(_AFTER_PUT)
        if sent.hexdigest() != sha256 or await self.size(container, key) != size:
            await self.delete(container, key)
            raise InternalIntermittentError(f"The stored object {name} is not what was to be stored.")
        return _blob(size, sha256)

    async def _digest(self, container: str, key: str, size: int) -> str:
        digest = hashlib.sha256()
        async for block in await self.open_range(container, key, 0, size):
            digest.update(block)
        return digest.hexdigest()


async def _pieces(name: str, result: obstore.GetResult) -> AsyncIterator[bytes]:
    with _faults(name):
        async for piece in result.stream(min_chunk_size=_CHUNK):
            yield bytes(piece)


async def _nothing() -> AsyncIterator[bytes]:
    nothing: tuple[bytes, ...] = ()
    for piece in nothing:
        yield piece


def _blob(size: int, sha256: str) -> StoredBlob:
    return StoredBlob(size, sha256, f'"{sha256[:32]}"')


@contextlib.contextmanager
def _missing(name: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise NotFound(f"The stored object {name} does not exist.") from None


@contextlib.contextmanager
def _faults(name: str) -> Iterator[None]:
    try:
        yield
    except obstore.exceptions.BaseError as exc:
        raise InternalIntermittentError(f"Managed storage fails on {name}: {type(exc).__name__}.") from exc
    except ValueError as exc:
        raise InternalError(f"{name!r} is no name of a stored object.") from exc
