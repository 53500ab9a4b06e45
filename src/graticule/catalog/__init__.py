"""Owns: collections and items, and finding them. Refuses: to fetch assets, change documents or know HTTP.

Entry points: `Catalog` (the promise), `SqlCatalog` (keeps it), `check_searchable` (may this item come in?).
"""

from graticule.catalog.base import Catalog, CollectionRecord, ItemPage, OnConflict
from graticule.catalog.searchable import check_searchable
from graticule.catalog.sql.store import SqlCatalog

__all__ = ["Catalog", "CollectionRecord", "ItemPage", "OnConflict", "SqlCatalog", "check_searchable"]
