"""Owns: objects of a bucket: sent in parts, verified when they are there, read in parts, copied by the service.

The counterpart of `LocalFolder`, with coroutines: obstore does its waiting outside of Python.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import IO, Final

import obstore

from graticule import crashpoints
from graticule.errors import BlobConflict, InternalIntermittentError, NotFound
from graticule.storage import remote_copy
from graticule.storage.buckets import Bucket, faults, missing
from graticule.storage.local import open_staged

_BEFORE_PUT: Final = crashpoints.crash_point("storage.put.before")
_AFTER_PUT: Final = crashpoints.crash_point("storage.put.after")

#: Most of an object that is read in one request, bytes. A reader that is slow holds one such part in memory, and no
#: connection to the service, whose patience would end before its own.
READ_PART: Final = 2 << 20
#: Most of one that is sent in one request, bytes.
SEND_PART: Final = 8 << 20
#: Parts of one object that are sent at a time, and objects: some 200 MiB of memory at most.
_PARTS_AT_ONCE: Final = 2
_SENT_AT_ONCE: Final = 8


class RemoteObjects:
    """The objects of a bucket by name, container included."""

    def __init__(self, bucket: Bucket) -> None:
        """Take an opened bucket."""
        self.bucket = bucket
        self._store = bucket.store
        self._sending = asyncio.Semaphore(_SENT_AT_ONCE)

    async def put_file(
        self, name: str, path: Path, media_type: str | None, sha256: str, *, replace: bool, origin: str | None
    ) -> int:
        """As `AssetStore.put_file`; answers the size."""
        if (found := await self._already(name, sha256, replace=replace)) is not None:
            return found
        with await asyncio.to_thread(open_staged, name, path) as file:
            size = os.fstat(file.fileno()).st_size
            crashpoints.reach(_BEFORE_PUT)
            if origin is not None and await remote_copy.from_url(self.bucket, name, origin, size):
                crashpoints.reach(_AFTER_PUT)
                if await self._holds(name, size, sha256):
                    return size
            async with self._sending:
                sent = await self._send(name, file, size, media_type)
        return await self._confirmed(name, size, sha256, sent)

    async def put_bytes(self, name: str, data: bytes, media_type: str | None, sha256: str, *, replace: bool) -> int:
        """As `AssetStore.put_bytes`; answers the size."""
        if (found := await self._already(name, sha256, replace=replace)) is not None:
            return found
        crashpoints.reach(_BEFORE_PUT)
        await self._send_at_once(name, data, media_type)
        return await self._confirmed(name, len(data), sha256, sha256)

    async def copy(self, source: str, name: str, size: int, sha256: str, media_type: str | None) -> int:
        """As `AssetStore.copy`; answers the size."""
        if (found := await self._already(name, sha256, replace=False)) is not None:
            return found
        if await self.size(source) is None:
            raise NotFound(f"The stored object {source} does not exist.")
        crashpoints.reach(_BEFORE_PUT)
        if await remote_copy.within(self.bucket, source, name, size):
            crashpoints.reach(_AFTER_PUT)
            if await self._holds(name, size, sha256):
                return size
        async with self._sending:
            sent = await self._send_parts(name, await self.open_range(source, 0, size), media_type)
        return await self._confirmed(name, size, sha256, sent)

    async def size(self, name: str) -> int | None:
        """Bytes; None where there is no such object."""
        try:
            with faults(name), missing(name):
                return (await obstore.head_async(self._store, name))["size"]
        except NotFound:
            return None

    async def open_range(self, name: str, start: int, end: int) -> AsyncIterator[bytes]:
        """As `AssetStore.open_range`; the range has bytes."""
        _, first = await self.part(name, start, min(end, start + READ_PART))
        return self._parts(name, first, start, end)

    async def part(self, name: str, start: int, end: int) -> tuple[int, bytes]:
        """As `AssetStore.part`."""
        with faults(name), missing(name):
            result = await obstore.get_async(self._store, name, options={"range": (start, end)})
            return result.meta["size"], bytes(await result.bytes_async())

    async def remove(self, name: str) -> int:
        """Remove an object; answers its size, 0 if there was none."""
        size = await self.size(name)
        if size is None:
            return 0
        with faults(name), contextlib.suppress(FileNotFoundError):
            await obstore.delete_async(self._store, name)
        return size

    # --- inside

    async def _already(self, name: str, sha256: str, *, replace: bool) -> int | None:
        """The size of what lies under a name, if it is what is to be stored: a crash came after it was."""
        size = await self.size(name)
        if size is None or replace:
            return None
        if await self._digest(name, size) != sha256:
            raise BlobConflict(f"The stored object {name} exists with other bytes.")
        return size

    async def _send(self, name: str, file: IO[bytes], size: int, media_type: str | None) -> str:
        """Upload a file; the SHA-256 of what was sent."""
        if size > SEND_PART:

            async def parts() -> AsyncIterator[bytes]:
                while part := await asyncio.to_thread(file.read, SEND_PART):
                    yield part

            return await self._send_parts(name, parts(), media_type)
        data = await asyncio.to_thread(file.read)
        await self._send_at_once(name, data, media_type)
        return hashlib.sha256(data).hexdigest()

    async def _send_at_once(self, name: str, data: bytes, media_type: str | None) -> None:
        with faults(name):
            await obstore.put_async(self._store, name, data, attributes=_attributes(media_type), use_multipart=False)
        crashpoints.reach(_AFTER_PUT)

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
                chunk_size=SEND_PART,
                max_concurrency=_PARTS_AT_ONCE,
            )
        crashpoints.reach(_AFTER_PUT)
        return sent.hexdigest()

    async def _confirmed(self, name: str, size: int, sha256: str, sent: str) -> int:
        """The size of what was uploaded, after a look at what lies there."""
        is_whole = sent == sha256 and await self.size(name) == size
        if not is_whole or not (self.bucket.checks_uploads or await self._digest(name, size) == sha256):
            await self.remove(name)
            raise InternalIntermittentError(f"The stored object {name} is not what was to be stored.")
        return size

    async def _holds(self, name: str, size: int, sha256: str) -> bool:
        """Is this what lies there?"""
        return await self.size(name) == size and await self._digest(name, size) == sha256

    async def _parts(self, name: str, first: bytes, start: int, end: int) -> AsyncIterator[bytes]:
        yield first
        for at in range(start + READ_PART, end, READ_PART):
            _, part = await self.part(name, at, min(end, at + READ_PART))
            yield part

    async def _digest(self, name: str, size: int) -> str:
        digest = hashlib.sha256()
        if size:
            async for block in await self.open_range(name, 0, size):
                await asyncio.to_thread(digest.update, block)
        return digest.hexdigest()


def _attributes(media_type: str | None) -> dict[str, str] | None:
    """None where what a client declared cannot stand in a header."""
    return {"Content-Type": media_type} if media_type and media_type.isascii() and media_type.isprintable() else None
