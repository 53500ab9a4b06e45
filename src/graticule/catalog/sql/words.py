"""The words of items: tables that follow them, for the parameter ``q``.

Searched are title, description and keywords, and the texts of declared queryables that have an index. The text of an
item is kept as folded words (`graticule.stac.free_text.folded`), so that a phrase is a text within it, in every
database alike; and every word of it once more, to find the items that have it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Final

from graticule.catalog.searchable import PreparedItems
from graticule.catalog.sql.dialects import Dialect
from graticule.catalog.values import texts_of
from graticule.database import Connection
from graticule.stac.free_text import fields_of, folded

#: Longer words are looked up by as many of their characters: index rows have a largest size.
INDEXED: Final = 64

#: What a list of keys is compared with.
KEYS: Final = {"sqlite": "IN (SELECT value FROM json_each(:pks))", "postgresql": "= ANY(:pks::int8[])"}


def text_of(item: Mapping[str, Any], names: Collection[str]) -> str:
    """The text of an item whose collection has indexes of these names, as it is searched."""
    return folded(fields_of(item["properties"])) + text_under(item, names)


def text_under(item: Mapping[str, Any], names: Collection[str]) -> str:
    """The part of it that these names add."""
    return folded(text for name in sorted(names) for text in texts_of(item, name))


def add(tx: Connection, coll: int, pks: Sequence[int], items: PreparedItems, names: Collection[str] = ()) -> None:
    """Keep the words of items that were added. Items without text cost nothing."""
    texts = items.texts
    if names:
        texts = [one.text + text_under(one.item, names) for one in items.singly()]
    _insert(tx, coll, [(pk, text) for pk, text in zip(pks, texts, strict=True) if text])


def remove(tx: Connection, dialect: Dialect, coll: int, pks: Sequence[int]) -> None:
    """Forget the words of items."""
    _delete(tx, coll, list(_texts(tx, dialect, pks).items()))


def renew(
    tx: Connection, dialect: Dialect, coll: int, items: Iterable[tuple[int, Mapping[str, Any]]], names: Collection[str]
) -> None:
    """Work out the words of items, given as (pk, document), once more."""
    wanted = {pk: text_of(item, names) for pk, item in items}
    present = _texts(tx, dialect, list(wanted))
    changed = [(pk, text) for pk, text in wanted.items() if present.get(pk, "") != text]
    _delete(tx, coll, [(pk, present[pk]) for pk, _ in changed if pk in present])
    _insert(tx, coll, [(pk, text) for pk, text in changed if text])


def _texts(tx: Connection, dialect: Dialect, pks: Sequence[int]) -> dict[int, str]:
    rows = tx.all(f"SELECT pk, text FROM item_texts WHERE pk {KEYS[tx.dialect]}", {"pks": dialect.integers(pks)})
    return {row[0]: row[1] for row in rows}


def _insert(tx: Connection, coll: int, texts: Sequence[tuple[int, str]]) -> None:
    if texts:
        tx.insert("item_texts", ("pk", "coll", "text"), [(pk, coll, text) for pk, text in texts])
        tx.insert("item_words", ("word", "coll", "pk"), [(word, coll, pk) for word, pk in _words(texts)])


def _delete(tx: Connection, coll: int, texts: Sequence[tuple[int, str]]) -> None:
    if texts:
        tx.execute_many(
            "DELETE FROM item_words WHERE word = :word AND coll = :coll AND pk = :pk",
            [{"word": word, "coll": coll, "pk": pk} for word, pk in _words(texts)],
        )
        tx.execute_many("DELETE FROM item_texts WHERE pk = :pk", [{"pk": pk} for pk, _ in texts])


def _words(texts: Sequence[tuple[int, str]]) -> list[tuple[str, int]]:
    """(word, pk) for every word of every text, in the order of the key."""
    return sorted((word, pk) for pk, text in texts for word in {word[:INDEXED] for word in text.split()})
