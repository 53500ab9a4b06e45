"""Owns: collections and items, and finding them. Refuses: to fetch assets, change documents or know HTTP.

Entry points: `Catalog` (the promise), `SqlCatalog` (keeps it), `check_searchable` (may this item come in?),
`prepare_item` (do the work of writing that needs no transaction), `described` (a collection as it is answered).
"""

from graticule.catalog.base import Catalog, CollectionRecord, IndexProgress, ItemPage, OnConflict
from graticule.catalog.describing import described, undescribed
from graticule.catalog.searchable import PreparedItem, PreparedItems, check_searchable, prepare_item
from graticule.catalog.sql.store import SqlCatalog
from graticule.catalog.values import BUILT_IN

__all__ = [
    "BUILT_IN",
    "Catalog",
    "CollectionRecord",
    "IndexProgress",
    "ItemPage",
    "OnConflict",
    "PreparedItem",
    "PreparedItems",
    "SqlCatalog",
    "check_searchable",
    "described",
    "prepare_item",
    "undescribed",
]
