"""Searches for items by their ids alone: one statement answers them, and nothing is planned."""

from __future__ import annotations

from operator import itemgetter
from typing import Final

from graticule.catalog.base import ItemPage
from graticule.catalog.sql.dialects import Dialect
from graticule.catalog.tokens import encode_token
from graticule.database import Connection
from graticule.stac.search import Search

#: Of a row that is found: where it is in the order of pages.
_KEY: Final = itemgetter(0, 1, 2)


def looked_up(tx: Connection, dialect: Dialect, search: Search, page_bytes: int) -> ItemPage:
    """The page of a search that is a lookup (`Search.is_lookup`), newest first; see `searching.answer`."""
    values = {"ids": dialect.texts(search.ids or ())}
    named = search.collections is not None
    if search.collections is not None:
        values["collections"] = dialect.texts(search.collections)
    rows = sorted(tx.tuples(dialect.looked_up(named=named), values), key=_KEY, reverse=True)
    docs: list[bytes] = []
    size = 0
    for row in rows[: search.limit]:
        size += len(row[4])
        if size > page_bytes and docs:
            break
        docs.append(row[4])
    page = rows[: len(docs)]
    token = encode_token(_KEY(page[-1])) if len(page) < len(rows) else None
    return ItemPage(docs, [(row[3], row[1]) for row in page], token, len(rows))
