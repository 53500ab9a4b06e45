"""Owns: how each collection is shown and searched: render options, mosaics, tile settings, partition type, queryables.

Refuses: to render a tile or evaluate a filter; what is kept here is checked when written and given back unchanged.

Entry points: `Configuration` for the API; `Indexing` for workers; `Kind` names what a collection has several of; the
functions of `store` for other rooms' transactions, `forget_collection` among them.
"""

from graticule.configuration.indexing import Indexing
from graticule.configuration.models import (
    Kind,
    Mosaic,
    PartitionType,
    Queryable,
    RenderOption,
    TileSettings,
)
from graticule.configuration.service import Configuration
from graticule.configuration.store import forget_collection

__all__ = [
    "Configuration",
    "Indexing",
    "Kind",
    "Mosaic",
    "PartitionType",
    "Queryable",
    "RenderOption",
    "TileSettings",
    "forget_collection",
]
