"""One page of a search: from the question through the plan to the documents."""

from __future__ import annotations

from graticule.catalog.base import ItemPage
from graticule.catalog.narrowing import Narrowing
from graticule.catalog.planning import Question, Scan, find, key_of
from graticule.catalog.sql.candidates import SqlCandidates, statistics_of
from graticule.catalog.sql.dialects import Dialect
from graticule.catalog.sql.filtering import Conditions, compile_filter
from graticule.catalog.tokens import Key, encode_token
from graticule.database import Connection
from graticule.stac.search import Search


def answer(tx: Connection, *, dialect: Dialect, search: Search, after: Key | None, scan_limit: int) -> ItemPage:
    """The page behind a key; the first one without."""
    narrowing = Narrowing(search)
    conditions = _conditions(tx, narrowing)
    question = _question(narrowing, conditions)
    collections = statistics_of(tx, narrowing.collections)
    candidates = SqlCandidates(tx, dialect, question, conditions)
    scan = Scan(scan_limit)
    # One more than a page holds: whether it exists decides whether there is a next page.
    rows = find(candidates, question, collections, after, search.limit + 1, scan)
    page = rows[: search.limit]
    docs = {row[0]: row[1] for row in tx.all(dialect.bodies, {"pks": dialect.integers(row[3] for row in page)})}
    following = key_of(page[-1]) if len(rows) > len(page) else scan.reached
    matched = None
    if after is None and following is None:
        matched = len(page)
    elif question == Question(None, None, placed=False, start=None, end=None):
        matched = sum(one.n for one in collections)
    token = None if following is None else encode_token(following)
    return ItemPage([docs[row[3]] for row in page], token, matched)


def _conditions(tx: Connection, narrowing: Narrowing) -> Conditions:
    if not narrowing.left:
        return Conditions("", {}, None)
    numbers = {row[0]: row[1] for row in tx.all("SELECT id, coll FROM collections")}
    return compile_filter(narrowing.left, numbers)


def _question(narrowing: Narrowing, conditions: Conditions) -> Question:
    region = narrowing.region
    world = region is not None and region.is_world
    return Question(
        ids=narrowing.ids,
        region=None if world else region,
        placed=region is not None,
        start=narrowing.start,
        end=narrowing.end,
        by_column=bool(conditions.where),
        by_document=conditions.residual is not None,
    )
