"""Owns: the removal of bytes that nothing names any more.

Bytes go first, rows second: killed anywhere in between, the next sweep finds the row, finds no bytes, and goes on.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import partial
from typing import Final

from graticule import crashpoints
from graticule.database import Connection, Database
from graticule.storage import ledger
from graticule.storage.assets import AssetStore

_BEFORE_DELETE: Final = crashpoints.crash_point("storage.sweep.before")
_AFTER_DELETE: Final = crashpoints.crash_point("storage.sweep.after")

#: Rows changed in one transaction (well below 50 ms), and blobs removed at a time (they share the disk's syncs).
_SLICE: Final = 100


@dataclass(frozen=True, slots=True)
class Swept:
    """What one sweep removed."""

    #: Blobs whose bytes were asked to go.
    count: int
    #: Bytes that were there and are gone.
    bytes: int


async def sweep(database: Database, store: AssetStore, limit: int = 1000) -> Swept:
    """Remove the bytes of at most so many dead blobs; call again until it answers a count of 0."""
    for _ in range(limit // _SLICE + 1):
        if await database.write(partial(ledger.bury_dropped, limit=_SLICE)) < _SLICE:
            break
    records = await database.read(partial(ledger.dead, limit=limit))
    removed = 0
    for start in range(0, len(records), _SLICE):
        part = records[start : start + _SLICE]
        removed += sum(await asyncio.gather(*(_remove(store, record) for record in part)))
        await database.write(partial(ledger.forget, records=part))
    await store.tidy()
    return Swept(len(records), removed)


async def _remove(store: AssetStore, record: ledger.BlobRecord) -> int:
    crashpoints.reach(_BEFORE_DELETE)
    size = await store.delete(record.container, record.key)
    crashpoints.reach(_AFTER_DELETE)
    return size


async def orphans(database: Database, store: AssetStore) -> AsyncIterator[tuple[str, str, int]]:
    """Stored objects without a record, as (container, key, size).

    A record is committed before its bytes are written, so a list made before the question cannot hold a false one.
    """
    batch: dict[tuple[str, str], int] = {}

    async def unknown() -> list[tuple[str, str, int]]:
        def ask(tx: Connection) -> set[tuple[str, str]]:
            return ledger.known(tx, batch)

        known = await database.read(ask)
        found = [(*name, size) for name, size in batch.items() if name not in known]
        batch.clear()
        return found

    async for container, key, size in store.list_all():
        batch[container, key] = size
        if len(batch) >= 1000:
            for orphan in await unknown():
                yield orphan
    for orphan in await unknown():
        yield orphan
