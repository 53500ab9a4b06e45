"""Keeps configuration in the database: plain functions for the caller's transaction.

That the collection exists is for the caller to see to. Entries come back in the order in which they were added; a
replaced one keeps its place.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, cast

import orjson

from graticule.configuration.models import (
    DEFAULT_PARTITION_TYPE,
    DEFAULT_TILE_SETTINGS,
    Kind,
    Mosaic,
    PartitionType,
    Queryable,
    RenderOption,
    TileSettings,
)
from graticule.database import Connection
from graticule.errors import Conflict, NotFound
from graticule.stac.documents import JsonObject

_TILE_SETTINGS = "tile-settings"
_PARTITION_TYPE = "partition-type"


# --- what a collection has several of --------------------------------------------------------------------------------


def entries(tx: Connection, collection_id: str, kind: Kind) -> list[JsonObject]:
    """Every entry of a kind."""
    rows = tx.all(
        "SELECT doc FROM configuration_entries WHERE collection_id=:collection AND kind=:kind ORDER BY pk",
        {"collection": collection_id, "kind": kind.value},
    )
    return [orjson.loads(row["doc"]) for row in rows]


def entry(tx: Connection, collection_id: str, kind: Kind, entry_id: str) -> JsonObject:
    """One entry.

    Raises:
        NotFound: the collection has none of this id.
    """
    doc = tx.value(
        "SELECT doc FROM configuration_entries WHERE collection_id=:collection AND kind=:kind AND id=:id",
        {"collection": collection_id, "kind": kind.value, "id": entry_id},
    )
    if doc is None:
        raise _missing(collection_id, kind, entry_id)
    return _object(doc)


def add(tx: Connection, collection_id: str, kind: Kind, documents: Iterable[JsonObject]) -> None:
    """Add entries behind those that are there.

    Raises:
        Conflict: one of the ids is taken, or comes twice; the caller's transaction is to be given up.
    """
    for document in documents:
        added = tx.execute(
            "INSERT INTO configuration_entries(collection_id, kind, id, doc) VALUES(:collection, :kind, :id, :doc)"
            " ON CONFLICT(collection_id, kind, id) DO NOTHING",
            {
                "collection": collection_id,
                "kind": kind.value,
                "id": document[kind.key],
                "doc": orjson.dumps(document),
            },
        )
        if not added:
            raise Conflict(
                f"The {kind.noun} '{document[kind.key]}' exists already in collection '{collection_id}':"
                f" replace it with PUT, or use another {kind.key}.",
                target=kind.key,
            )


def replace(tx: Connection, collection_id: str, kind: Kind, document: JsonObject) -> None:
    """Replace the entry of the document's id.

    Raises:
        NotFound: the collection has none of this id.
    """
    changed = tx.execute(
        "UPDATE configuration_entries SET doc=:doc WHERE collection_id=:collection AND kind=:kind AND id=:id",
        {
            "collection": collection_id,
            "kind": kind.value,
            "id": document[kind.key],
            "doc": orjson.dumps(document),
        },
    )
    if not changed:
        raise _missing(collection_id, kind, document[kind.key])


def remove(tx: Connection, collection_id: str, kind: Kind, entry_id: str) -> None:
    """Remove an entry.

    Raises:
        NotFound: the collection has none of this id.
    """
    removed = tx.execute(
        "DELETE FROM configuration_entries WHERE collection_id=:collection AND kind=:kind AND id=:id",
        {"collection": collection_id, "kind": kind.value, "id": entry_id},
    )
    if not removed:
        raise _missing(collection_id, kind, entry_id)


def render_options(tx: Connection, collection_id: str) -> list[RenderOption]:
    """The render options of a collection."""
    return cast("list[RenderOption]", entries(tx, collection_id, Kind.RENDER_OPTION))


def mosaics(tx: Connection, collection_id: str) -> list[Mosaic]:
    """The mosaics of a collection."""
    return cast("list[Mosaic]", entries(tx, collection_id, Kind.MOSAIC))


def queryables(tx: Connection, collection_id: str) -> list[Queryable]:
    """The queryables that were defined for a collection."""
    return cast("list[Queryable]", entries(tx, collection_id, Kind.QUERYABLE))


def all_queryables(tx: Connection) -> list[tuple[str, Queryable]]:
    """The queryables of every collection, oldest first, as (collection id, queryable)."""
    rows = tx.all(
        "SELECT collection_id, doc FROM configuration_entries WHERE kind=:kind ORDER BY pk",
        {"kind": Kind.QUERYABLE.value},
    )
    return [(row["collection_id"], orjson.loads(row["doc"])) for row in rows]


# --- what it has one of ----------------------------------------------------------------------------------------------


def tile_settings(tx: Connection, collection_id: str) -> TileSettings:
    """The tile settings in force."""
    found = _setting(tx, collection_id, _TILE_SETTINGS)
    return DEFAULT_TILE_SETTINGS.copy() if found is None else cast("TileSettings", found)


def put_tile_settings(tx: Connection, collection_id: str, document: JsonObject) -> None:
    """Replace the tile settings."""
    _put_setting(tx, collection_id, _TILE_SETTINGS, document)


def partition_type(tx: Connection, collection_id: str) -> PartitionType:
    """The partition type in force."""
    found = _setting(tx, collection_id, _PARTITION_TYPE)
    return DEFAULT_PARTITION_TYPE.copy() if found is None else cast("PartitionType", found)


def put_partition_type(tx: Connection, collection_id: str, document: JsonObject) -> None:
    """Replace the partition type."""
    _put_setting(tx, collection_id, _PARTITION_TYPE, document)


# --- all of it -------------------------------------------------------------------------------------------------------


def configuration(tx: Connection, collection_id: str) -> JsonObject:
    """The whole configuration of a collection, as models.md's UserCollectionSettings."""
    return {
        "tileSettings": tile_settings(tx, collection_id),
        "mosaicInfo": {
            "mosaics": mosaics(tx, collection_id),
            "renderOptions": render_options(tx, collection_id),
            # No route sets these two; the original shows them as null (api.md 2.4).
            "defaultLocation": None,
            "defaultCustomQuery": None,
        },
    }


def forget_collection(tx: Connection, collection_id: str) -> None:
    """Remove everything that is kept for a collection."""
    tx.execute("DELETE FROM configuration_entries WHERE collection_id=:collection", {"collection": collection_id})
    tx.execute("DELETE FROM configuration_settings WHERE collection_id=:collection", {"collection": collection_id})


# --- inside ----------------------------------------------------------------------------------------------------------


def _setting(tx: Connection, collection_id: str, name: str) -> JsonObject | None:
    doc = tx.value(
        "SELECT doc FROM configuration_settings WHERE collection_id=:collection AND name=:name",
        {"collection": collection_id, "name": name},
    )
    return None if doc is None else _object(doc)


def _put_setting(tx: Connection, collection_id: str, name: str, document: JsonObject) -> None:
    tx.execute(
        "INSERT INTO configuration_settings(collection_id, name, doc) VALUES(:collection, :name, :doc)"
        " ON CONFLICT(collection_id, name) DO UPDATE SET doc=excluded.doc",
        {"collection": collection_id, "name": name, "doc": orjson.dumps(document)},
    )


def _object(doc: Any) -> JsonObject:
    return cast("JsonObject", orjson.loads(doc))


def _missing(collection_id: str, kind: Kind, entry_id: str) -> NotFound:
    return NotFound(f"The {kind.noun} '{entry_id}' does not exist in collection '{collection_id}'.", target=kind.key)
