"""Which properties items have, from a sample: some of each stretch of a collection's time.

Nothing is kept, so nothing is to be maintained while items are written, and what was deleted is gone from the answer.
A property that few items have may be missed; it can be asked for nevertheless.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import orjson

from graticule.database import Connection

#: Items that one answer looks into, at most; about 10 ms.
_MOST: Final = 400
_STRETCHES: Final = 10
_TYPES: Final[Mapping[type, str]] = {
    str: "string", bool: "boolean", int: "number", float: "number", list: "array", dict: "object",
}  # fmt: skip
_DOCUMENTS: Final = """
    SELECT b.doc FROM documents b WHERE b.pk IN (
        SELECT i.pk FROM items i WHERE i.coll = :coll AND i.t >= :since ORDER BY i.t, i.id LIMIT :limit)"""


def property_types(tx: Connection, coll: int | None) -> dict[str, set[str]]:
    """JSON types by name of property, of one collection or of all, ordered by name."""
    found: dict[str, set[str]] = {}
    one = "" if coll is None else "AND s.coll = :coll"
    collections = tx.all(
        "SELECT s.coll, s.n, s.t0, s.t1 FROM collstat s JOIN collections c ON c.coll = s.coll"
        f" WHERE c.deleting = 0 {one}",
        {"coll": coll},
    )
    for row in collections[:_MOST]:
        share = max(_MOST // len(collections), 1)
        stretches = 1 if row["n"] <= share else min(_STRETCHES, share)
        for stretch in range(stretches):
            since = row["t0"] + (row["t1"] - row["t0"]) * stretch // stretches
            values = {"coll": row["coll"], "since": since, "limit": share // stretches}
            for document in tx.all(_DOCUMENTS, values):
                _note(orjson.loads(document[0]), found)
    return dict(sorted(found.items()))


def _note(item: Mapping[str, Any], found: dict[str, set[str]]) -> None:
    for name, value in (item.get("properties") or {}).items():
        types = found.setdefault(name, set())
        if value is not None:
            types.add(_TYPES[type(value)])
