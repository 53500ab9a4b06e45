"""Owns: the bytes of managed assets, by container and key.

Locally, a folder: obstore reads and lists, `LocalFolder` writes and removes (durably, and through no link). Elsewhere
(a bucket; memory in tests) `RemoteObjects` does all of it. The ledger keeps content types: LocalStore has none.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

import obstore
from obstore.store import LocalStore, ObjectStore

from graticule.errors import InternalError
from graticule.settings import Settings
from graticule.storage import buckets, remote_copy
from graticule.storage.buckets import Bucket, faults, missing
from graticule.storage.local import INCOMING, LocalFolder, digest_of
from graticule.storage.remote import RemoteObjects
from graticule.threads import in_thread

#: Pieces in which local objects are read, bytes.
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

    def __init__(self, store: ObjectStore | Bucket, folder: LocalFolder | None = None) -> None:
        """Wrap a store; `open` is the usual way."""
        bucket = store if isinstance(store, Bucket) else Bucket(store, "memory")
        self._store = bucket.store
        self._folder = folder
        self._remote = RemoteObjects(bucket)  # where there is no folder

    @classmethod
    def open(cls, settings: Settings) -> Self:
        """The store that the settings name: a bucket, or the folder `Settings.assets_dir`.

        Raises:
            SettingsError: the environment does not fit ``GRATICULE_STORAGE_URL``.
        """
        return cls.local(settings.assets_dir) if settings.storage_url is None else cls(buckets.open_bucket(settings))

    @classmethod
    def local(cls, root: Path) -> Self:
        """The store in a local folder, made if missing."""
        folder = LocalFolder(root)
        return cls(LocalStore(folder.root), folder)

    @property
    def is_local(self) -> bool:
        """Do objects lie in files of this host? Then `path` says where."""
        return self._folder is not None

    def may_fetch(self, href: str) -> bool:
        """Can the store be asked to fetch what a URL answers (`put_file`, origin)?"""
        return self._folder is None and remote_copy.may_fetch(self._remote.bucket, href)

    async def check(self) -> None:
        """See whether a bucket can be used at all.

        Raises:
            SettingsError: not with these settings and credentials.
            InternalIntermittentError: not at the moment.
        """
        if self._folder is None:
            await buckets.check(self._remote.bucket)

    async def put_file(
        self,
        container: str,
        key: str,
        path: Path,
        media_type: str | None,
        sha256: str | None,
        *,
        replace: bool = False,
        origin: str | None = None,
    ) -> StoredBlob:
        """Store a file, durable and verified when this returns; the file itself stays where it is.

        Storing the same bytes again is no error. Nothing is written to a folder after this has ended, cancelled or not:
        a sweep may have been there by then. On the same file system it is a hard link, so the file must not be
        written to any more.

        Args:
            container: the container.
            key: the name in it.
            path: a regular file.
            media_type: kept by stores that can.
            sha256: hex, of the bytes that it must have; None where it was made here and nobody has read it yet.
            replace: other bytes under this name were never recorded as stored (a crash came between), and may go.
            origin: a URL, with its credential, that answers the same bytes: a service that can fetch them itself may.

        Raises:
            BlobConflict: other bytes lie under this name.
            InternalIntermittentError: the file has other bytes than `sha256` says, or the store fails.
        """
        name = _name(container, key)
        if self._folder is not None:
            put = self._folder.put_file
            return _blob(*await in_thread(put, name, path, sha256, replace=replace))
        if sha256 is None:
            sha256 = await asyncio.to_thread(digest_of, name, path)
        size = await self._remote.put_file(name, path, media_type, sha256, replace=replace, origin=origin)
        return _blob(size, sha256)

    async def put_bytes(
        self, container: str, key: str, data: bytes, media_type: str | None, *, replace: bool = False
    ) -> StoredBlob:
        """Store bytes; as `put_file`."""
        name = _name(container, key)
        sha256 = hashlib.sha256(data).hexdigest()
        if self._folder is not None:
            put = self._folder.put_bytes
            size = await in_thread(put, name, data, sha256, replace=replace)
            return _blob(size, sha256)
        return _blob(await self._remote.put_bytes(name, data, media_type, sha256, replace=replace), sha256)

    async def copy(
        self, source: tuple[str, str], container: str, key: str, size: int, sha256: str, media_type: str | None
    ) -> StoredBlob:
        """Store what another object holds, without its bytes passing through this process where the store can do that.

        Args:
            source: container and key of the other one.
            container: of the new one.
            key: of the new one.
            size: of both, bytes.
            sha256: of both, hex.
            media_type: as `put_file`.

        Raises:
            NotFound: there is no such object.
            BlobConflict, InternalIntermittentError: as `put_file`.
        """
        name, other = _name(container, key), _name(*source)
        if self._folder is not None:
            path = self._folder.path(other)
            with missing(other):
                await asyncio.to_thread(path.stat)
            return await self.put_file(container, key, path, media_type, sha256)
        return _blob(await self._remote.copy(other, name, size, sha256, media_type), sha256)

    async def open_range(self, container: str, key: str, start: int, end: int) -> AsyncIterator[bytes]:
        """Bytes from start up to, not including, end, in pieces of a MiB or two.

        Raises:
            NotFound: no such object.
        """
        name = self._checked(container, key)
        if start >= end:
            return _nothing()
        if self._folder is None:
            return await self._remote.open_range(name, start, end)
        with faults(name), missing(name):
            result = await obstore.get_async(self._store, name, options={"range": (start, end)})
        return _pieces(name, result)

    async def part(self, container: str, key: str, start: int, end: int) -> tuple[int, bytes]:
        """The size of an object, and its bytes from start up to, not including, end or where the object ends.

        Raises:
            NotFound: no such object.
            InternalIntermittentError: the store fails; or nothing of the object lies behind `start`.
        """
        return await self._remote.part(self._checked(container, key), start, end)

    async def size(self, container: str, key: str) -> int | None:
        """The size of an object, bytes; None where there is none."""
        return await self._remote.size(self._checked(container, key))

    def path(self, container: str, key: str) -> Path | None:
        """Where an object lies as a local file, for readers of rasters; None for other stores.

        Raises:
            InternalError: a symbolic link leads out of the folder.
        """
        return None if self._folder is None else self._folder.path(f"{container}/{key}")

    async def delete(self, container: str, key: str) -> int:
        """Remove an object for good; answers its size, 0 if there was none."""
        name = _name(container, key)
        if self._folder is not None:
            return await asyncio.to_thread(self._folder.remove, name)
        return await self._remote.remove(name)

    async def list_all(self) -> AsyncIterator[tuple[str, str, int]]:
        """Every object, as (container, key, size), in no order."""
        with faults("the list of stored objects"):
            async for part in obstore.list(self._store, chunk_size=1000):
                for meta in part:
                    container, _, key = meta["path"].partition("/")
                    # LocalStore lists what links lead to; that is not ours, and must not come to be taken for an
                    # orphan. What lies in a bucket's root is not ours either.
                    if key and container != INCOMING and self._is_inside(meta["path"]):
                        yield container, key, meta["size"]

    async def tidy(self) -> None:
        """Remove what killed processes left half-written."""
        if self._folder is not None:
            await asyncio.to_thread(self._folder.tidy)

    # --- inside

    def _checked(self, container: str, key: str) -> str:
        name = _name(container, key)
        if self._folder is not None:
            self._folder.path(name)
        return name

    def _is_inside(self, name: str) -> bool:
        if self._folder is None:
            return True
        path = os.path.join(self._folder.root, name)  # noqa: PTH118 - a hundred thousand times in a row
        return os.path.realpath(path) == path


async def _pieces(name: str, result: obstore.GetResult) -> AsyncIterator[bytes]:
    with faults(name):
        async for piece in result.stream(min_chunk_size=_CHUNK):
            yield bytes(piece)


async def _nothing() -> AsyncIterator[bytes]:
    nothing: tuple[bytes, ...] = ()
    for piece in nothing:
        yield piece


def _blob(size: int, sha256: str) -> StoredBlob:
    return StoredBlob(size, sha256, f'"{sha256[:32]}"')


def _name(container: str, key: str) -> str:
    """The name of an object in its store; what could lead out of it is none."""
    name = f"{container}/{key}"
    if any(part in ("", ".", "..") or "\0" in part for part in name.split("/")):
        raise InternalError(f"{name!r} is no name of a stored object.")
    return name
