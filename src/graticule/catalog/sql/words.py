"""The words of items: tables that follow them, for the parameter ``q``.

The text of an item is kept as folded words (`graticule.stac.free_text.folded`), so that a phrase is a text within it,
in every database alike; and every word of it once more, to find the items that have it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from graticule.catalog.searchable import PreparedItem
from graticule.catalog.sql.dialects import Dialect
from graticule.database import Connection

#: Longer words are looked up by as many of their characters: index rows have a largest size.
INDEXED: Final = 64

#: What a list of keys is compared with.
KEYS: Final = {"sqlite": "IN (SELECT value FROM json_each(:pks))", "postgresql": "= ANY(:pks::int8[])"}


class Words:
    """The `companions.Companion` that keeps both tables."""

    def added(
        self, tx: Connection, dialect: Dialect, coll: int, pks: Sequence[int], items: Sequence[PreparedItem]
    ) -> None:
        """See `Companion`. Items without text cost nothing."""
        del dialect
        texts = [(pk, item.text) for pk, item in zip(pks, items, strict=True) if item.text]
        if not texts:
            return
        tx.insert("item_texts", ("pk", "coll", "text"), [(pk, coll, text) for pk, text in texts])
        tx.insert("item_words", ("word", "coll", "pk"), [(word, coll, pk) for word, pk in _words(texts)])

    def removed(self, tx: Connection, dialect: Dialect, coll: int, pks: Sequence[int]) -> None:
        """See `Companion`."""
        rows = tx.all(f"SELECT pk, text FROM item_texts WHERE pk {KEYS[tx.dialect]}", {"pks": dialect.integers(pks)})
        texts = [(row[0], row[1]) for row in rows]
        if not texts:
            return
        tx.execute_many(
            "DELETE FROM item_words WHERE word = :word AND coll = :coll AND pk = :pk",
            [{"word": word, "coll": coll, "pk": pk} for word, pk in _words(texts)],
        )
        tx.execute_many("DELETE FROM item_texts WHERE pk = :pk", [{"pk": pk} for pk, _ in texts])

    def forgotten(self, tx: Connection, coll: int) -> None:
        """See `Companion`: rows went with the items."""


def _words(texts: Sequence[tuple[int, str]]) -> list[tuple[str, int]]:
    """(word, pk) for every word of every text, in the order of the key."""
    return sorted((word, pk) for pk, text in texts for word in {word[:INDEXED] for word in text.split()})
