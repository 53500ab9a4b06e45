"""Writing items: the rows, their documents, and the counts of grid and collection in the same transaction.

Grid rows are touched in the order of their keys and the collection's row last, by every writer: where several write at
once (PostgreSQL), they then wait for each other instead of locking up.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from graticule.catalog.base import OnConflict
from graticule.catalog.cells import NOWHERE, level_of
from graticule.catalog.searchable import PreparedItem, PreparedItems
from graticule.catalog.sql.companions import COMPANIONS
from graticule.catalog.sql.dialects import Dialect
from graticule.database import Connection, is_duplicate
from graticule.errors import ItemAlreadyExists

_ITEM_COLUMNS = ("pk", "coll", "cell", "t", "te", "id", "x0", "y0", "x1", "y1", "cloud", "platform", "wkb")
_COUNT_COLLECTION = """
    INSERT INTO collstat(coll, n, t0, t1, maxdur, levels) VALUES (:coll, :n, :t0, :t1, :maxdur, :levels)
    ON CONFLICT (coll) DO UPDATE SET n = collstat.n + excluded.n,
      t0 = CASE WHEN excluded.t0 < collstat.t0 THEN excluded.t0 ELSE collstat.t0 END,
      t1 = CASE WHEN excluded.t1 > collstat.t1 THEN excluded.t1 ELSE collstat.t1 END,
      maxdur = CASE WHEN excluded.maxdur > collstat.maxdur THEN excluded.maxdur ELSE collstat.maxdur END,
      levels = collstat.levels | excluded.levels"""


class ItemWriter:
    """Writes the items of one collection inside one transaction."""

    def __init__(self, tx: Connection, dialect: Dialect, coll: int, collection_id: str) -> None:
        """For the collection of this number and id."""
        self._tx = tx
        self._dialect = dialect
        self._coll = coll
        self._collection_id = collection_id

    def put(self, items: Sequence[PreparedItem], on_conflict: OnConflict) -> None:
        """Add items; raises before it writes anything. See `Catalog.put_items`."""
        # Of equal ids the last one counts.
        by_id = {item.columns.id: item for item in items}
        existing = self._tx.all(self._dialect.existing, {"coll": self._coll, "ids": self._dialect.texts(list(by_id))})
        if on_conflict is OnConflict.ERROR:
            self._refuse_conflicts(items, {row["id"] for row in existing})
        self.remove([(row["pk"], row["cell"]) for row in existing])
        self._insert(list(by_id.values()))

    def remove(self, rows: Sequence[tuple[int, int]]) -> None:
        """Remove items given as (pk, cell)."""
        if not rows:
            return
        pks = {"pks": self._dialect.integers(pk for pk, _ in rows)}
        self._tx.execute(self._dialect.delete_items, pks)
        self._tx.execute(self._dialect.delete_bodies, pks)
        counts = Counter(cell for _, cell in rows)
        cells = self._dialect.cell_counts(sorted(counts.items()))
        # Ranges of time stay as they are: too wide is safe, and exact would mean to look. Empty, they go.
        self._tx.execute(self._dialect.uncount_cells, {"coll": self._coll, **cells})
        self._tx.execute(self._dialect.drop_cells, {"coll": self._coll, **cells})
        total = {"coll": self._coll, "n": len(rows)}
        self._tx.execute("UPDATE collstat SET n = n - :n WHERE coll = :coll", total)
        self._tx.execute("DELETE FROM collstat WHERE coll = :coll AND n = 0", {"coll": self._coll})
        for companion in COMPANIONS:
            companion.removed(self._tx, self._dialect, self._coll, [pk for pk, _ in rows])

    def _refuse_conflicts(self, items: Iterable[PreparedItem], taken: set[str]) -> None:
        for item in items:
            item_id = item.columns.id
            if item_id in taken:
                raise ItemAlreadyExists(
                    f"Item '{item_id}' already exists in collection '{self._collection_id}':"
                    " use another id, or delete that item first.",
                    target=item_id,
                )
            taken.add(item_id)

    def _insert(self, items: Sequence[PreparedItem]) -> None:
        if items:
            _insert(self._tx, self._dialect, [(self._coll, PreparedItems.of(items))])


def add_new(tx: Connection, dialect: Dialect, groups: Sequence[tuple[int, PreparedItems]]) -> None:
    """Add items, given by the numbers of their collections, without a look whether their ids are free.

    Raises:
        ItemAlreadyExists: one is taken. What the transaction has written since its last savepoint must be taken back.
    """
    try:
        _insert(tx, dialect, groups)
    except Exception as exc:
        if not is_duplicate(exc, "items.id", "i_id"):
            raise
        raise ItemAlreadyExists("One of these items already exists.") from exc


def _insert(tx: Connection, dialect: Dialect, groups: Sequence[tuple[int, PreparedItems]]) -> None:
    pks = dialect.new_keys(tx, sum(len(items) for _, items in groups))
    numbered, begin = [], 0
    for coll, items in groups:
        numbered.append((coll, pks[begin : begin + len(items)], items))
        begin += len(items)
    rows = [
        (pk, coll, *columns) for coll, keys, items in numbered for pk, columns in zip(keys, items.columns, strict=True)
    ]
    tx.insert("items", _ITEM_COLUMNS, rows)
    docs = [
        (pk, dialect.stored(body)) for _, keys, items in numbered for pk, body in zip(keys, items.bodies, strict=True)
    ]
    tx.insert("bodies", ("pk", "doc"), docs)
    for coll, keys, items in numbered:
        _count(tx, dialect, coll, items.columns)
        for companion in COMPANIONS:
            companion.added(tx, dialect, coll, keys, items)


def _count(tx: Connection, dialect: Dialect, coll: int, rows: Sequence[tuple[Any, ...]]) -> None:
    """Count new items in the grid and in the collection."""
    cells: dict[int, list[int]] = {}
    for row in rows:
        number, t, te = row[0], row[1], row[2]
        cell = cells.get(number)
        if cell is None:
            cells[number] = [number, 1, t, te]
            continue
        cell[1] += 1
        cell[2] = min(cell[2], t)
        cell[3] = max(cell[3], te)
    levels = 0
    for number in cells:
        levels |= 0 if number == NOWHERE else 1 << level_of(number)
    counts = dialect.cell_counts([cells[cell] for cell in sorted(cells)])
    tx.execute(dialect.count_cells, {"coll": coll, **counts})
    tx.execute(
        _COUNT_COLLECTION,
        {
            "coll": coll,
            "n": len(rows),
            "t0": min(cell[2] for cell in cells.values()),
            "t1": max(cell[3] for cell in cells.values()),
            "maxdur": max([row[2] - row[1] for row in rows]),
            "levels": levels,
        },
    )
