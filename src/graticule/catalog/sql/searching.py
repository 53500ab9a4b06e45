"""One page of a search: from the question through the plan to the documents."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from graticule.catalog.base import ItemPage
from graticule.catalog.counting import count, few
from graticule.catalog.narrowing import Narrowing
from graticule.catalog.planning import CollectionStatistics, Question, Row, Scan, find, key_of
from graticule.catalog.sorting import Order, Place, find_sorted, order_of, place_of
from graticule.catalog.sql.candidates import SqlCandidates, statistics_of
from graticule.catalog.sql.dialects import Dialect
from graticule.catalog.sql.filtering import Check, Conditions, compile_filter
from graticule.catalog.sql.free_text import with_text
from graticule.catalog.sql.ordering import SqlSortedCandidates, components_of
from graticule.catalog.sql.queryables import Known, known
from graticule.catalog.sql.remembered import Remembered
from graticule.catalog.tokens import decode_token, encode_token
from graticule.catalog.values import BUILT_IN
from graticule.database import Connection
from graticule.errors import InvalidParameter
from graticule.stac.cql2.properties import properties_of
from graticule.stac.search import Search

#: So many items that an index tells of are looked up, rather than met in the order of the search.
_FEW: Final = 3_000
#: Documents of a page that are read without knowing how large they are.
_FIRST_DOCUMENTS: Final = 100


def answer(
    tx: Connection,
    *,
    dialect: Dialect,
    search: Search,
    scan_limit: int,
    page_bytes: int = 20_000_000,
    strict: bool = False,
    remembered: Remembered | None = None,
) -> ItemPage:
    """The page that a search asks for; it ends early, but with an item, before its items have more than `page_bytes`.

    With `strict` properties that no collection declares are refused.

    Raises:
        ReadStopped: the read's limit is over, and nothing was found to go on from.
    """
    plan = plan_of(tx, dialect, search, strict=strict)
    question, conditions, collections, order = plan.question, plan.conditions, plan.collections, plan.order
    candidates = SqlCandidates(tx, dialect, question, conditions, remembered)
    source = Source(tx, dialect, question, conditions, collections, candidates, order)
    scan = Scan(scan_limit)
    everything = few(candidates, question, collections, scan) if search.token is None and order is None else None
    if everything is None:
        rows, token = source.page(search, scan)
    else:
        rows, token = source.cut(everything, search.limit, scan)
    stopped = tx.limit is not None and tx.limit.is_over()
    if tx.limit is not None:
        tx.limit.extend()  # what was found is read to the end
    docs = documents(tx, dialect, rows, page_bytes)
    matched, estimate = None, None
    if everything is not None and scan.last is None:
        matched = len(everything)
    elif search.token is None and token is None:
        matched = len(rows)
    elif question == Question(None, None, placed=False, start=None, end=None):
        matched = sum(one.n for one in collections)
    elif search.token is None and not stopped:
        matched, estimate = count(candidates, question, collections, rows if order is None else None)
        if matched is None and question == Question(None, None, placed=False, start=None, end=None, by_column=True):
            matched = _count_of_one_value(tx, dialect, conditions, collections)
            estimate = estimate if matched is None else None
    if len(docs) < len(rows):
        token = source.token(rows[len(docs) - 1])
    ids = {one.coll: one.id for one in collections}
    names = [(ids[row[2]], row[1]) for row in rows[: len(docs)]]
    return ItemPage(docs, names, token, matched, estimate)


def documents(tx: Connection, dialect: Dialect, rows: Sequence[Row], most: int) -> list[bytes]:
    """The documents of the first rows, as many as fit into `most` bytes, and at least one."""
    docs: list[bytes] = []
    size, step = 0, _FIRST_DOCUMENTS
    while len(docs) < len(rows):
        pks = [row[3] for row in rows[len(docs) : len(docs) + step]]
        found = {row[0]: row[1] for row in tx.tuples(dialect.bodies, {"pks": dialect.integers(pks)})}
        for pk in pks:
            size += len(found[pk])
            if size > most and docs:
                return docs
            docs.append(found[pk])
        step = max((most - size) * len(docs) // size, 1)
    return docs


@dataclass(frozen=True, slots=True)
class Source:
    """Where the rows of a page come from."""

    tx: Connection
    dialect: Dialect
    question: Question
    conditions: Conditions
    collections: Sequence[CollectionStatistics]
    candidates: SqlCandidates
    order: Order | None

    def page(self, search: Search, scan: Scan) -> tuple[list[Row], str | None]:
        """The rows of the page, and the token of the next."""
        order = self.order
        # One more than a page holds: whether it exists decides whether there is a next page.
        wanted = search.limit + 1
        rows = self._newest(search, wanted, scan) if order is None else self._sorted(search, order, wanted, scan)
        return self.cut(rows, search.limit, scan)

    def cut(self, rows: list[Row], limit: int, scan: Scan) -> tuple[list[Row], str | None]:
        """The rows of a page, of those found; and the token of the next, if there are more or `scan` was broken off."""
        last = rows[limit - 1] if len(rows) > limit else scan.last
        return rows[:limit], None if last is None else self.token(last)

    def token(self, last: Row) -> str:
        """The token of the page behind a row."""
        if self.order is None:
            return encode_token(key_of(last))
        return encode_token(key_of(last), self.order.text, place_of(last)[:-3])

    def _newest(self, search: Search, wanted: int, scan: Scan) -> list[Row]:
        after = None if search.token is None else decode_token(search.token)[0]
        return find(self.candidates, self.question, self.collections, after, wanted, scan)

    def _sorted(self, search: Search, order: Order, wanted: int, scan: Scan) -> list[Row]:
        components = components_of(order, self.dialect)
        after: Place | None = None
        if search.token is not None:
            key, values = decode_token(search.token, order.text, [one.type for one in components])
            after = (*values, *key)
        source = SqlSortedCandidates(self.tx, self.dialect, self.question, self.conditions, order, components)
        return find_sorted(source, self.question, self.collections, order, after, wanted, scan)


@dataclass(frozen=True, slots=True)
class Plan:
    """What a search asks, in the units of the tables."""

    question: Question
    conditions: Conditions
    collections: list[CollectionStatistics]
    order: Order | None


def plan_of(tx: Connection, dialect: Dialect, search: Search, *, strict: bool, probe: bool = True) -> Plan:
    """The plan of a search; without `probe` no index of values is asked whether few items meet a condition."""
    narrowing = Narrowing(search)
    order = order_of(search.sortby)
    collections = statistics_of(tx, narrowing.collections)
    names = _names(narrowing, order)
    about = Known()
    if names:
        asked = {step for name in names for step in _with_objects(name)} if strict else names
        about = known(tx, asked, {one.coll for one in collections})
    if strict:
        _refuse_unknown(names, search, about)
    if order is not None and about.indexed:
        order = _with_numbers(order, about, collections)
    conditions = _conditions(tx, narrowing, about, collections)
    if search.text is not None:
        conditions, collections = with_text(tx, search.text, narrowing, conditions, collections)
    keys = None
    if probe and conditions.checks and narrowing.ids is None:
        newest = order is None and (narrowing.region is None or narrowing.region.is_world)
        conditions, keys = _few(tx, dialect, conditions, collections, newest=newest)
    return Plan(_question(narrowing, conditions, keys), conditions, collections, order)


def _names(narrowing: Narrowing, order: Order | None) -> set[str]:
    """The properties that neither a column nor a parameter tells of."""
    names = {one.name for part in narrowing.left for one in properties_of(part) if not one.of_item}
    if order is not None:
        names |= {".".join(path[1:]) for path in order.documents}
    return names - BUILT_IN


def _with_numbers(order: Order, about: Known, collections: Sequence[CollectionStatistics]) -> Order:
    """The order with what is indexed in all collections; a name with dots leads elsewhere there than in a filter."""
    colls = {one.coll for one in collections}
    numbers: dict[tuple[str, ...], int] = {
        path: about.indexed[path[1]].number
        for path in order.documents
        if len(path) == 2 and path[1] in about.indexed and about.indexed[path[1]].colls >= colls
    }
    return replace(order, numbers=numbers)


def _conditions(
    tx: Connection, narrowing: Narrowing, about: Known, collections: Sequence[CollectionStatistics]
) -> Conditions:
    if not narrowing.left:
        return Conditions("", {}, None)
    numbers = {row[0]: row[1] for row in tx.tuples("SELECT id, coll FROM collections")}
    return compile_filter(narrowing.left, numbers, about.indexed, {one.coll for one in collections})


def _few(
    tx: Connection,
    dialect: Dialect,
    conditions: Conditions,
    collections: Sequence[CollectionStatistics],
    *,
    newest: bool,
) -> tuple[Conditions, tuple[int, ...] | None]:
    """Rule 1 of the plan: where an index knows that few items meet a condition, only they are candidates.

    Answers the conditions that are left to be checked, and the pks. If all items of one value are asked for `newest`
    first, its part of the index has them in that order, however many they are.
    """
    left, of_one_value = [], None
    keys: set[int] | None = None
    for check in conditions.checks:
        if newest and of_one_value is None and check.lead is not None and check.lead.of_one_value:
            of_one_value = check
            continue
        found = _keys(tx, dialect, check, conditions, collections)
        if found is None:
            left.append(check)
        else:
            keys = found if keys is None else keys & found
    if keys is not None:
        checks = (*left, of_one_value) if of_one_value is not None else tuple(left)
        return replace(conditions, checks=checks), tuple(sorted(keys))
    if of_one_value is not None and of_one_value.lead is not None:
        return replace(conditions, checks=tuple(left), of_one_value=of_one_value.lead.ranges[0]), None
    return conditions, None


def _count_of_one_value(
    tx: Connection, dialect: Dialect, conditions: Conditions, collections: Sequence[CollectionStatistics]
) -> int | None:
    """How many items have the one value that is asked for, if nothing else is asked and they are few."""
    if conditions.where or not conditions.of_one_value:
        return None
    found = _counted(tx, dialect, conditions.of_one_value, conditions, collections)
    return found if found < _FEW else None


def _counted(
    tx: Connection, dialect: Dialect, where: str, conditions: Conditions, collections: Sequence[CollectionStatistics]
) -> int:
    """The rows of a range of the index, up to `_FEW`: that takes a fifth of the time of reading them."""
    colls = dialect.integers(one.coll for one in collections)
    sql = f"SELECT count(*) FROM ({dialect.keys_of_values(where)}) found"
    return int(tx.value(sql, {**conditions.values, "colls": colls, "most": _FEW}))


def _keys(
    tx: Connection, dialect: Dialect, check: Check, conditions: Conditions, collections: Sequence[CollectionStatistics]
) -> set[int] | None:
    """The pks of all items that meet a condition; None where they are many, or no index has them together."""
    if check.lead is None:
        return None
    counts = [_counted(tx, dialect, where, conditions, collections) for where in check.lead.ranges]
    if sum(counts) >= _FEW:
        return None
    values = {**conditions.values, "colls": dialect.integers(one.coll for one in collections), "most": _FEW}
    found = [tx.tuples(dialect.keys_of_values(where), values) for where in check.lead.ranges]
    return {row[0] for rows in found for row in rows}


def _with_objects(name: str) -> set[str]:
    """The name, and those of the objects that it may lead into."""
    steps = name.split(".")
    return {".".join(steps[:n]) for n in range(1, len(steps) + 1)}


def _refuse_unknown(names: Iterable[str], search: Search, about: Known) -> None:
    """Raise for a property that nobody declared; a declared object declares what is in it."""
    sorted_by = {".".join(key.path[1:]) for key in search.sortby}
    for name in sorted(names):
        if about.declared.isdisjoint(_with_objects(name)):
            parameter = "sortby" if name in sorted_by else "filter"
            asked = parameter if parameter == "sortby" else "filter or query"  # which are one condition by now
            raise InvalidParameter(
                f"{asked}: '{name[:60]}' is no queryable of the collections that are searched: take one that their "
                "queryables name, or declare it there (GRATICULE_STRICT_QUERYABLES lets no others through).",
                target=parameter,
            )


def _question(narrowing: Narrowing, conditions: Conditions, keys: tuple[int, ...] | None) -> Question:
    region = narrowing.region
    world = region is not None and region.is_world
    return Question(
        ids=narrowing.ids,
        region=None if world else region,
        placed=region is not None,
        start=narrowing.start,
        end=narrowing.end,
        by_column=bool(conditions.where or conditions.of_one_value),
        by_document=conditions.residual is not None,
        by_value=bool(conditions.checks),
        keys=keys,
    )
