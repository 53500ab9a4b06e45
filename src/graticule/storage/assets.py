"""Owns: the bytes of managed assets, behind obstore's verbs.

Locally, a folder: obstore reads and lists, `LocalFolder` writes and removes (durably, and through no link). Elsewhere
(a bucket; memory in tests) obstore does all of it, and what was sent is compared with what lies there before anybody
is told that it is stored. The ledger keeps content types: LocalStore has none.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final, Self

import obstore
from obstore.store import LocalStore, ObjectStore

from graticule import crashpoints
from graticule.errors import BlobConflict, InternalError, InternalIntermittentError, NotFound
from graticule.settings import Settings
from graticule.storage import buckets, remote_copy
from graticule.storage.buckets import Bucket, faults, missing
from graticule.storage.local import INCOMING, LocalFolder

_BEFORE_PUT: Final = crashpoints.crash_point("storage.put.before")
_AFTER_PUT: Final = crashpoints.crash_point("storage.put.after")

#: Pieces in which local objects are read, bytes.
_CHUNK: Final = 1 << 20
#: Most of an object in a bucket that is read or sent in one request, bytes. A reader that is slow holds one such part
#: in memory, and no connection to the service, whose patience would end before its own.
PART: Final = 8 << 20
#: Parts of one object that are under way at a time.
_PARTS_AT_ONCE: Final = 4


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
        self._bucket = store if isinstance(store, Bucket) else Bucket(store, "memory")
        self._store = self._bucket.store
        self._folder = folder

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
        return self._folder is None and remote_copy.may_fetch(self._bucket, href)

    async def check(self) -> None:
        """See whether a bucket can be used at all.

        Raises:
            SettingsError: not with these settings and credentials.
            InternalIntermittentError: not at the moment.
        """
        if self._folder is None:
            await buckets.check(self._bucket)

    async def put_file(
        self,
        container: str,
        key: str,
        path: Path,
        media_type: str | None,
        sha256: str,
        *,
        replace: bool = False,
        origin: str | None = None,
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
            origin: a URL, with its credential, that answers the same bytes: a service that can fetch them itself may.

        Raises:
            BlobConflict: other bytes lie under this name.
            InternalIntermittentError: the file has other bytes than `sha256` says, or the store fails.
        """
        name = _name(container, key)
        if self._folder is not None:
            put = self._folder.put_file
            size = await asyncio.to_thread(lambda: put(name, path, sha256, replace=replace))
            return _blob(size, sha256)
        if (found := await self._already(name, sha256, replace=replace)) is not None:
            return found
        size = (await asyncio.to_thread(path.stat)).st_size
        crashpoints.reach(_BEFORE_PUT)
        if origin is not None and await remote_copy.from_url(self._bucket, name, origin, size):
            crashpoints.reach(_AFTER_PUT)
            if await self._holds(name, size, sha256):
                return _blob(size, sha256)
        file = await asyncio.to_thread(path.open, "rb")
        try:
            sent = await self._send(name, file, size, media_type)
        finally:
            file.close()
        return await self._confirmed(name, size, sha256, sent)

    async def put_bytes(
        self, container: str, key: str, data: bytes, media_type: str | None, *, replace: bool = False
    ) -> StoredBlob:
        """Store bytes; as `put_file`."""
        name = _name(container, key)
        sha256 = hashlib.sha256(data).hexdigest()
        if self._folder is not None:
            put = self._folder.put_bytes
            size = await asyncio.to_thread(lambda: put(name, data, sha256, replace=replace))
            return _blob(size, sha256)
        if (found := await self._already(name, sha256, replace=replace)) is not None:
            return found
        crashpoints.reach(_BEFORE_PUT)
        with faults(name):
            await obstore.put_async(self._store, name, data, attributes=_attributes(media_type), use_multipart=False)
        crashpoints.reach(_AFTER_PUT)
        return await self._confirmed(name, len(data), sha256, sha256)

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
        if (found := await self._already(name, sha256, replace=False)) is not None:
            return found
        if await self.size(*source) is None:
            with missing(other):
                raise FileNotFoundError
        crashpoints.reach(_BEFORE_PUT)
        if await remote_copy.within(self._bucket, other, name, size):
            crashpoints.reach(_AFTER_PUT)
            if await self._holds(name, size, sha256):
                return _blob(size, sha256)
        sent = await self._send_parts(name, await self.open_range(*source, 0, size), media_type)
        return await self._confirmed(name, size, sha256, sent)

    async def open_range(self, container: str, key: str, start: int, end: int) -> AsyncIterator[bytes]:
        """Bytes from start up to, not including, end, in pieces of some MiB.

        Raises:
            NotFound: no such object.
        """
        name = self._checked(container, key)
        if start >= end:
            return _nothing()
        if self._folder is None:
            _, first = await self.part(container, key, start, min(end, start + PART))
            return self._parts(name, first, start, end)
        with faults(name), missing(name):
            result = await obstore.get_async(self._store, name, options={"range": (start, end)})
        return _pieces(name, result)

    async def part(self, container: str, key: str, start: int, end: int) -> tuple[int, bytes]:
        """The size of an object, and its bytes from start up to, not including, end or where the object ends.

        Raises:
            NotFound: no such object.
            InternalIntermittentError: the store fails; or nothing of the object lies behind `start`.
        """
        name = self._checked(container, key)
        with faults(name), missing(name):
            result = await obstore.get_async(self._store, name, options={"range": (start, end)})
            return result.meta["size"], bytes(await result.bytes_async())

    async def size(self, container: str, key: str) -> int | None:
        """The size of an object, bytes; None where there is none."""
        name = self._checked(container, key)
        try:
            with faults(name), missing(name):
                return (await obstore.head_async(self._store, name))["size"]
        except NotFound:
            return None

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
        size = await self.size(container, key)
        if size is None:
            return 0
        with faults(name), contextlib.suppress(FileNotFoundError):
            await obstore.delete_async(self._store, name)
        return size

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

    async def _already(self, name: str, sha256: str, *, replace: bool) -> StoredBlob | None:
        """What lies under a name in a bucket, if it is what is to be stored: a crash came after it was."""
        size = await self.size(*_split(name))
        if size is None or replace:
            return None
        if await self._digest(name, size) != sha256:
            raise BlobConflict(f"The stored object {name} exists with other bytes.")
        return _blob(size, sha256)

    async def _send(self, name: str, file: IO[bytes], size: int, media_type: str | None) -> str:
        """Upload a file; the SHA-256 of what was sent."""
        if size > PART:

            async def parts() -> AsyncIterator[bytes]:
                while part := await asyncio.to_thread(file.read, PART):
                    yield part

            return await self._send_parts(name, parts(), media_type)
        data = await asyncio.to_thread(file.read)
        with faults(name):
            await obstore.put_async(self._store, name, data, attributes=_attributes(media_type), use_multipart=False)
        crashpoints.reach(_AFTER_PUT)
        return hashlib.sha256(data).hexdigest()

    async def _send_parts(self, name: str, parts: AsyncIterator[bytes], media_type: str | None) -> str:
        """As `_send`, of what may be larger than a request. It is there when its last part is, all at once."""
        sent = hashlib.sha256()

        async def passing() -> AsyncIterator[bytes]:
            async for part in parts:
                await asyncio.to_thread(sent.update, part)
                yield part

        with faults(name):
            await obstore.put_async(
                self._store,
                name,
                passing(),
                attributes=_attributes(media_type),
                chunk_size=PART,
                max_concurrency=_PARTS_AT_ONCE,
            )
        crashpoints.reach(_AFTER_PUT)
        return sent.hexdigest()

    async def _confirmed(self, name: str, size: int, sha256: str, sent: str) -> StoredBlob:
        """What was uploaded, after a look at what lies there."""
        is_whole = sent == sha256 and await self.size(*_split(name)) == size
        if not is_whole or not (self._bucket.checks_uploads or await self._digest(name, size) == sha256):
            await self.delete(*_split(name))
            raise InternalIntermittentError(f"The stored object {name} is not what was to be stored.")
        return _blob(size, sha256)

    async def _holds(self, name: str, size: int, sha256: str) -> bool:
        """Is this what lies there?"""
        return await self.size(*_split(name)) == size and await self._digest(name, size) == sha256

    async def _parts(self, name: str, first: bytes, start: int, end: int) -> AsyncIterator[bytes]:
        yield first
        for at in range(start + PART, end, PART):
            _, part = await self.part(*_split(name), at, min(end, at + PART))
            yield part

    async def _digest(self, name: str, size: int) -> str:
        digest = hashlib.sha256()
        async for block in await self.open_range(*_split(name), 0, size):
            await asyncio.to_thread(digest.update, block)
        return digest.hexdigest()


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


def _split(name: str) -> tuple[str, str]:
    container, _, key = name.partition("/")
    return container, key


def _attributes(media_type: str | None) -> dict[str, str] | None:
    """None where what a client declared cannot stand in a header."""
    return {"Content-Type": media_type} if media_type and media_type.isascii() and media_type.isprintable() else None
