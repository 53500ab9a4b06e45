"""What became of each asset of an operation's items: where its bytes are, or why there are none."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from graticule.database import Connection
from graticule.errors import GraticuleError, IngestionError

#: Of the failure of an asset or an item, characters.
LONGEST_MESSAGE = 2000


@dataclass(frozen=True)
class StoredAsset:
    """An asset whose bytes are in managed storage."""

    asset_key: str
    outcome: str  #: converted, copied, untouched, packed or referenced
    container: str
    key: str
    media_type: str | None
    bytes_in: int
    bytes_out: int
    sha256: str
    source: str = ""  #: the href without its query
    attempts: int = 1
    milliseconds: int = 0
    facts: Mapping[str, Any] | None = None  #: of a raster: what it is, as the stored file says
    cube: Mapping[str, Any] | None = None  #: of a manifest: what it says of its data cube; not kept here


@dataclass(frozen=True)
class AssetEntry:
    """An asset of an operation's item, as a report tells of it."""

    asset_key: str
    outcome: str  #: converted, copied, untouched or failed; of a dry run: fetch, convert, failed
    source: str | None
    code: str | None
    message: str | None
    retriable: bool | None
    attempts: int
    bytes_in: int | None
    bytes_out: int | None
    sha256: str | None
    media_type: str | None
    milliseconds: int | None


def write_stored(tx: Connection, pk: int, seq: int, asset: StoredAsset) -> None:
    """An asset's bytes are safe; a later attempt does not fetch it again."""
    tx.execute(
        "INSERT INTO operation_assets(operation, seq, asset_key, source, outcome, attempts, bytes_in, bytes_out,"
        " sha256, media_type, container, key, milliseconds, facts) VALUES(:pk, :seq, :asset_key, :source, :outcome,"
        " :attempts, :bytes_in, :bytes_out, :sha256, :media_type, :container, :key, :milliseconds, :facts)"
        " ON CONFLICT(operation, seq, asset_key) DO UPDATE SET outcome=excluded.outcome, attempts=excluded.attempts,"
        " code=NULL, message=NULL, retriable=NULL, bytes_in=excluded.bytes_in, bytes_out=excluded.bytes_out,"
        " sha256=excluded.sha256, media_type=excluded.media_type, container=excluded.container, key=excluded.key,"
        " milliseconds=excluded.milliseconds, facts=excluded.facts",
        {"pk": pk, "seq": seq, **vars(asset), "facts": None if asset.facts is None else json.dumps(dict(asset.facts))},
    )


def write_failed(tx: Connection, pk: int, seq: int, asset_key: str, source: str, error: GraticuleError) -> None:
    """An asset could not be brought in."""
    tx.execute(
        "INSERT INTO operation_assets(operation, seq, asset_key, source, outcome, code, message, retriable)"
        " VALUES(:pk, :seq, :asset_key, :source, 'failed', :code, :message, :retriable)"
        " ON CONFLICT(operation, seq, asset_key) DO UPDATE SET outcome='failed', code=excluded.code,"
        " message=excluded.message, retriable=excluded.retriable",
        {
            "pk": pk,
            "seq": seq,
            "asset_key": asset_key,
            "source": source,
            "code": error.code,
            "message": error.message[:LONGEST_MESSAGE],
            "retriable": retriable_flag(error),
        },
    )


def stored(tx: Connection, pk: int, seq: int) -> dict[str, StoredAsset]:
    """The assets of an item whose bytes are safe, by key."""
    rows = tx.all(
        "SELECT asset_key, outcome, container, key, media_type, bytes_in, bytes_out, sha256, source, attempts,"
        " milliseconds, facts FROM operation_assets WHERE operation=:pk AND seq=:seq AND outcome<>'failed'",
        {"pk": pk, "seq": seq},
    )
    found = {}
    for row in rows:
        members: tuple[Any, ...] = (*row[:-1], None if row["facts"] is None else json.loads(row["facts"]))
        found[row["asset_key"]] = StoredAsset(*members)
    return found


def between(tx: Connection, pk: int, first: int, last: int) -> dict[int, list[AssetEntry]]:
    """Assets of the items with these numbers, by number."""
    rows = tx.all(
        "SELECT seq, asset_key, outcome, source, code, message, retriable, attempts, bytes_in, bytes_out, sha256,"
        " media_type, milliseconds FROM operation_assets WHERE operation=:pk AND seq BETWEEN :first AND :last"
        " ORDER BY seq, asset_key",
        {"pk": pk, "first": first, "last": last},
    )
    found: dict[int, list[AssetEntry]] = {}
    for row in rows:
        flag = None if row["retriable"] is None else bool(row["retriable"])
        facts: tuple[Any, ...] = (*row[1:6], flag, *row[7:])
        found.setdefault(row["seq"], []).append(AssetEntry(*facts))
    return found


def retriable_flag(error: GraticuleError | None) -> int | None:
    """As it is kept: may the same work succeed later? None where nothing failed."""
    return None if error is None else int(isinstance(error, IngestionError) and error.retriable)
