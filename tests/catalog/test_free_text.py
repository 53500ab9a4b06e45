"""Searches for words against the meaning of the question, item by item; with every other condition; and the tables."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial
from typing import Any, Protocol

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from catalog.conftest import ItemFactory, Put
from catalog.test_queryables import build
from graticule.catalog import OnConflict, SqlCatalog
from graticule.catalog.sql import backfill, free_text
from graticule.catalog.sql.dialects import dialect_of
from graticule.database import Connection, Database
from graticule.stac.cql2.evaluation import Filter
from graticule.stac.free_text import All, AnyOf, Not, Phrase, TextQuery, fields_of, folded, found_in
from graticule.stac.search import Search, parse_search
from graticule.stac.sorting import SortKey

WORDS = ("forest", "fire", "Brésil", "land", "cover", "map", "x" * 100, "x" * 99)


class OpenDatabase(Protocol):
    def __call__(self, kind: str) -> AbstractContextManager[Database]: ...


def items() -> Iterator[tuple[str, dict[str, Any]]]:
    rng = random.Random(7)

    def text() -> str:
        return rng.choice([" ", "-", ", "]).join(rng.choices(WORDS, weights=[30, 5, 10, 10, 10, 1, 1, 1], k=3))

    for number in range(200):
        properties: dict[str, Any] = {"datetime": f"2021-0{number % 6 + 1}-01T00:00:00Z", "n": number % 7}
        if rng.random() < 0.6:
            properties["title"] = text()
        if rng.random() < 0.4:
            properties["description"] = text().upper()
        if rng.random() < 0.3:
            properties["keywords"] = [text(), rng.choice([5, "fire", None])]
        properties["eo:cloud_cover"] = rng.choice([0, 5, 50])
        point = {"type": "Point", "coordinates": [rng.choice([-170, 0, 5, 9]), rng.choice([-20, 0, 3])]}
        yield (
            "ab"[number % 2],
            {"id": f"i{number // 2 % 90}-{number % 40}", "geometry": point, "properties": properties},
        )


class Loaded:
    def __init__(self, database: Database) -> None:
        self.catalog = SqlCatalog(database)
        self.database = database
        self.items: dict[str, dict[str, Any]] = {"a": {}, "b": {}, "empty": {}}
        for collection, item in items():
            self.items[collection][item["id"]] = item
        for name, by_id in self.items.items():
            database.write_now(partial(self._fill, name=name, batch=list(by_id.values())))

    def _fill(self, tx: Connection, *, name: str, batch: list[Any]) -> None:
        self.catalog.add_collection(tx, name, b"{}", name)
        self.catalog.put_items(tx, name, batch, on_conflict=OnConflict.ERROR)

    async def found(self, search: Search) -> list[Any]:
        """The properties of every item, in order, paged to the end."""
        found: list[Any] = []
        while True:
            page = await self.catalog.search(search)
            found += [orjson.loads(item)["properties"] for item in page.items]
            if search.token is None and page.matched is not None and page.next_token is None:
                assert page.matched == len(found)
            if page.next_token is None:
                return found
            search = replace(search, token=page.next_token)

    async def expected(self, search: Search) -> list[Any]:
        """Those of the same search without words that hold what is asked."""
        assert search.text is not None
        everything = await self.found(replace(search, text=None, limit=1_000))
        return [one for one in everything if found_in(search.text, folded(fields_of(one)))]


@pytest.fixture(scope="module", params=["memory", "postgres"])
def loaded(request: pytest.FixtureRequest, open_database: OpenDatabase) -> Iterator[Loaded]:
    with open_database(request.param) as database:
        yield Loaded(database)


queries: st.SearchStrategy[TextQuery] = st.recursive(
    st.lists(
        st.sampled_from([*(word.lower().replace("é", "e") for word in WORDS), "none"]), min_size=1, max_size=2
    ).map(lambda words: Phrase(tuple(words))),
    lambda inner: st.one_of(
        inner.map(Not),
        st.lists(inner, min_size=2, max_size=3).map(lambda parts: All(tuple(parts))),
        st.lists(inner, min_size=2, max_size=3).map(lambda parts: AnyOf(tuple(parts))),
    ),
    max_leaves=5,
)
searches = st.builds(
    replace,
    st.sampled_from(
        [
            {},
            {"collections": "b"},
            {"collections": "a,b"},
            {"collections": "empty"},
            {"bbox": "-1,-1,6,1"},
            {"bbox": "-180,-90,180,90"},
            {"bbox": "-180,-80,179,80"},
            {"datetime": "2021-03-01T00:00:00Z/.."},
            {"ids": "i1-2,i1-3,i5-10,i11-22"},
            {"filter": "n < 3"},
            {"filter": "eo:cloud_cover < 10 AND n <> 2"},
            {"collections": "a", "bbox": "4,-30,10,4", "datetime": "2021-02-01T00:00:00Z/2021-05-01T00:00:00Z"},
        ]
    ).map(parse_search),
    text=queries,
    limit=st.sampled_from([7, 50]),
    sortby=st.sampled_from(
        [
            (),
            (SortKey(("properties", "eo:cloud_cover"), descending=True),),
            (SortKey(("properties", "n"), descending=False),),
        ]
    ),
)


@pytest.mark.parametrize("few", [10_000, 12])
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(search=searches)
async def test_searches_for_words_find_what_they_mean(
    loaded: Loaded, monkeypatch: pytest.MonkeyPatch, few: int, search: Search
) -> None:
    monkeypatch.setattr(free_text, "_FEW_ITEMS", few)
    monkeypatch.setattr(free_text, "_FEW_LOOKUPS", 3 * few)
    assert await loaded.found(search) == await loaded.expected(search)


def test_a_rare_word_is_looked_up(loaded: Loaded) -> None:
    def ids(query: TextQuery) -> int | None:
        found = loaded.database.read_now(lambda tx: free_text.text_condition(tx, query, [1, 2, 3]).ids)
        return None if found is None else len(found)

    assert ids(Phrase(("none",))) == 0
    assert 0 < (ids(Phrase(("map",))) or 0) < 40
    assert ids(All((Phrase(("forest",)), Phrase(("none",))))) == 0
    assert ids(Not(Phrase(("map",)))) is None
    assert ids(AnyOf((Phrase(("map",)), Not(Phrase(("fire",)))))) is None


# --- the tables ------------------------------------------------------------------------------------------------------


def check_words(store: Database, *indexed: str) -> int:
    """The tables say what the documents say, with texts of these names; answers how many words they have."""

    def check(tx: Connection) -> int:
        expected = {}
        for pk, coll, doc in tx.all("SELECT i.pk, i.coll, b.doc FROM items i JOIN documents b ON b.pk = i.pk"):
            properties = orjson.loads(doc)["properties"]
            found = [properties.get(name) for name in sorted(indexed)]
            more = [text for one in found for text in (one if isinstance(one, list) else [one])]
            more = [text for text in more if isinstance(text, str) and not text.startswith("20")]
            text = folded(fields_of(properties) + more)
            if text:
                expected[pk] = (coll, text)
        assert {row[0]: (row[1], row[2]) for row in tx.all("SELECT pk, coll, text FROM item_texts")} == expected
        words = {(row[0], row[1], row[2]) for row in tx.all("SELECT word, coll, pk FROM item_words")}
        assert words == {(word[:64], coll, pk) for pk, (coll, text) in expected.items() for word in text.split()}
        return len(words)

    return store.read_now(check)


async def test_words_follow_the_items(
    store: Database, catalog: SqlCatalog, put: Put, item_factory: ItemFactory
) -> None:
    put("a", item_factory("one", {"title": "Forest fire"}), item_factory("two", {"keywords": ["Fire", "fire map"]}))
    put("a", item_factory("three"), item_factory("four", {"title": "x" * 300}))
    assert check_words(store) == 5
    put("a", item_factory("one", {"description": "Flood\0ed"}), on_conflict=OnConflict.REPLACE)
    assert check_words(store) == 5
    store.write_now(lambda tx: catalog.remove_item(tx, "a", "two"))
    assert check_words(store) == 3
    put("b", item_factory("one", {"title": "flood"}, collection="b"))
    assert [len((await catalog.search(parse_search({"q": q}))).items) for q in ("flood", "fire", "x" * 300)] == [
        2,
        0,
        1,
    ]
    store.write_now(lambda tx: catalog.remove_items(tx, "a", 100))
    store.write_now(lambda tx: catalog.forget_collection(tx, "a"))
    assert check_words(store) == 1


# --- words of indexed queryables, and of items from before ------------------------------------------------------------


async def found_ids(catalog: SqlCatalog, q: str) -> list[str]:
    return sorted(item_id for _, item_id in (await catalog.search(parse_search({"q": q, "limit": 100}))).names)


async def test_texts_of_indexed_queryables_are_words(
    store: Database, catalog: SqlCatalog, put: Put, item_factory: ItemFactory
) -> None:
    put("a", item_factory("one", {"title": "Forest", "mode": "IW burst", "tags": ["Sea Ice", 5, "2021-01-01"]}))
    put("a", item_factory("two", {"mode": 5, "made": "2021-02-03T00:00:00Z"}), item_factory("three", {"mode": "é IW"}))
    put("b", item_factory("far", {"mode": "IW"}, collection="b"))
    for name in ("mode", "tags", "made"):
        assert store.write_now(partial(catalog.declare_queryable, collection_id="a", name=name, indexed=True))
        assert await found_ids(catalog, "ice" if name == "tags" else "2021") == []
        build(store, catalog, "a", name, slice_size=2)
    assert check_words_of(store, "a") == {"forest", "iw", "burst", "sea", "ice", "e"}
    assert await found_ids(catalog, "iw") == ["one", "three"]
    assert await found_ids(catalog, '"sea ice" AND iw') == ["one"]
    assert await found_ids(catalog, '"burst sea"') == [], "a phrase is within one field"

    put("a", item_factory("four", {"mode": "new IW", "tags": ["ice"]}))
    put("a", item_factory("one", {"title": "Forest", "mode": "EW"}), on_conflict=OnConflict.REPLACE)
    assert await found_ids(catalog, "iw") == ["four", "three"]
    assert await found_ids(catalog, "ice,ew") == ["four", "one"]

    store.write_now(partial(catalog.declare_queryable, collection_id="a", name="mode", indexed=False))
    put("a", item_factory("five", {"mode": "IW", "tags": "ice"}))
    build(store, catalog, "a", "mode", slice_size=2)
    assert check_words_of(store, "a") == {"forest", "ice"}
    assert await found_ids(catalog, "ice") == ["five", "four"]
    store.write_now(partial(catalog.withdraw_queryable, collection_id="a", name="tags"))
    build(store, catalog, "a", "tags", slice_size=2)
    assert check_words(store) == 1


def check_words_of(store: Database, collection: str) -> set[str]:
    """The words of one collection."""
    sql = "SELECT word FROM item_words w JOIN collections c ON c.coll = w.coll WHERE c.id = :id"
    return {row[0] for row in store.read_now(lambda tx: tx.all(sql, {"id": collection}))}


def forget_words(tx: Connection) -> None:
    """As a database is when the migration that notes the collections has just run."""
    for table in ("item_texts", "item_words"):
        tx.execute(f"DELETE FROM {table}")
    tx.execute("INSERT INTO word_backfills(coll) SELECT coll FROM collstat")


async def test_words_of_older_items_are_worked_out_in_slices(
    store: Database, catalog: SqlCatalog, put: Put, item_factory: ItemFactory
) -> None:
    put("a", *(item_factory(f"i{n}", {"title": f"map {n}", "mode": "IW"} if n % 3 else {}) for n in range(10)))
    put("b", item_factory("one", {"title": "map"}, collection="b"))
    store.write_now(partial(catalog.declare_queryable, collection_id="a", name="mode", indexed=True))
    build(store, catalog, "a", "mode")
    store.write_now(forget_words)
    assert store.read_now(backfill.waiting) == ["a", "b"]
    assert await found_ids(catalog, "map") == []
    put("a", item_factory("new", {"title": "map", "datetime": "2020-01-01T00:00:00Z", "mode": "IW"}))
    store.write_now(lambda tx: catalog.remove_item(tx, "a", "i4"))

    work = partial(backfill.work_on, dialect=dialect_of(store), collection_id="a", limit=4)
    done = [store.write_now(work) for _ in range(3)]
    assert [(one.done, one.total, one.ended) for one in done] == [(4, 10, False), (8, 10, False), (10, 10, True)]
    assert store.write_now(work).ended, "there is nothing more"
    assert await found_ids(catalog, "map AND iw") == ["i1", "i2", "i5", "i7", "i8", "new"]
    assert store.read_now(backfill.waiting) == ["b"]
    store.write_now(lambda tx: catalog.mark_deleting(tx, "b"))
    assert store.read_now(backfill.waiting) == []
    store.write_now(lambda tx: catalog.remove_items(tx, "b", 10))
    store.write_now(lambda tx: catalog.forget_collection(tx, "b"))
    assert store.read_now(lambda tx: tx.value("SELECT count(*) FROM word_backfills")) == 0
    check_words(store, "mode")


async def test_a_filter_and_words_hold_together(loaded: Loaded) -> None:
    search = parse_search({"q": "forest,fire", "filter": "n = 1 OR eo:cloud_cover = 50", "limit": 1000})
    assert search.filter is not None
    holds = Filter(search.filter)
    found = await loaded.found(search)
    assert found
    assert all(holds({"properties": one}) is True for one in found)
