"""Owns: the managed bytes: their names, the bytes themselves, the record of each, and their removal.

Refuses: to know what an item is beyond its id, or where bytes come from. Names are written once and never overwritten;
the ledger's row is there before the bytes and goes after them.
Entry points: `AssetStore` (bytes), `ledger` (rows, in the caller's transaction), `sweep`, `ManagedHrefs`, `layout`.
"""

from graticule.storage import layout, ledger
from graticule.storage.assets import AssetStore, StoredBlob
from graticule.storage.hrefs import ManagedHrefs
from graticule.storage.ledger import BlobRecord
from graticule.storage.sweep import Swept, orphans, sweep

__all__ = [
    "AssetStore",
    "BlobRecord",
    "ManagedHrefs",
    "StoredBlob",
    "Swept",
    "layout",
    "ledger",
    "orphans",
    "sweep",
]
