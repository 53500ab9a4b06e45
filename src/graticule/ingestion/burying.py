"""Giving bytes up: what a new document no longer names is buried, and a worker sweeps what is buried."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from graticule.catalog import CollectionRecord
from graticule.database import Connection
from graticule.storage import ManagedHrefs, ledger

if TYPE_CHECKING:
    from graticule.workflows import Engine


def defer_sweep(engine: Engine, tx: Connection) -> None:
    """Have a worker remove buried bytes soon; one such job waits at most."""
    from graticule.workflows import AlreadyQueued  # noqa: PLC0415 - a load mostly has no jobs, and starts sooner without

    with suppress(AlreadyQueued):
        engine.defer(tx, "sweep", [{}], queueing_lock="sweep")


def bury_unnamed(tx: Connection, hrefs: ManagedHrefs, record: CollectionRecord) -> int:
    """Bury the blobs of a collection itself that its document does not name any more; answers how many.

    Whoever writes a collection's document calls this in the same transaction. Blobs of items stay, also where the
    document named one.
    """
    unnamed = [
        blob
        for blob in ledger.of_item(tx, record.id, None)
        if hrefs.stored(blob.container, blob.key).encode() not in record.doc
    ]
    return sum(ledger.bury(tx, blob.container, blob.key) for blob in unnamed)
