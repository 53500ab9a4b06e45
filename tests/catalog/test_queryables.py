"""Declared queryables: their index says what the documents say, follows the items, is built and removed in slices."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from catalog import test_filtering as filtering
from catalog.test_filtering import Loaded, op, prop, swapped
from catalog.test_search import COLLECTIONS, explained, make_world, random_query, vacuum
from catalog.test_sorting import all_pages, decorate
from graticule.catalog import OnConflict, SqlCatalog
from graticule.catalog import sorting as sort_plan
from graticule.catalog.sql import searching
from graticule.catalog.sql.candidates import SqlCandidates
from graticule.catalog.sql.dialects import dialect_of
from graticule.catalog.sql.filtering import compile_filter
from graticule.catalog.sql.ordering import SqlSortedCandidates
from graticule.catalog.sql.queryables import Indexed
from graticule.catalog.values import values_of
from graticule.database import Connection, Database
from graticule.errors import InvalidParameter
from graticule.stac.cql2 import parse_json, parse_text
from graticule.stac.search import Search, parse_search

OpenDatabase = Callable[[str], AbstractContextManager[Database]]

NAMES = ("n", "odd", "note", "updated", "tags", "seen", "deep.value", "missing")
ODD: tuple[Any, ...] = (None, 1, 2.5, 2**53, 2**60, -3, 1e300, True, False, "", "5", "x", [1], {"x": 1}, "2021-02-01")
NOTES = ("alpha", "alpha%", "al", "b_c", "É", "\U0010ffff", "\ud7ff", "", "alphb")
WHEN = ("2021-03-01", "2021-03-01T00:00:00Z", "2021-03-01T12:00:00.5Z", "2021-05-15T00:00:00Z", "9999-12-31", "soon", 5)


def items() -> Iterator[tuple[str, dict[str, Any]]]:
    rng = random.Random(8)
    for collection, item in filtering.items():
        properties = item["properties"]
        for name, choice in (("odd", ODD), ("note", NOTES), ("updated", WHEN), ("seen", WHEN)):
            if rng.random() < 0.8:
                properties[name] = rng.choice(choice)
        properties["deep"] = rng.choice([{"value": 1}, {"value": "x"}, 4, None])
        yield collection, item


def build(database: Database, catalog: SqlCatalog, collection: str, name: str, slice_size: int = 17) -> int:
    """Build or remove an index to the end; answers the number of slices."""
    work = partial(catalog.work_on_queryable, collection_id=collection, name=name, limit=slice_size)
    for slices in range(1, 1_000):
        if database.write_now(work).ended:
            return slices
    raise AssertionError("it does not end")


def declare(database: Database, catalog: SqlCatalog, collection: str, *names: str) -> None:
    for name in names:
        if database.write_now(partial(catalog.declare_queryable, collection_id=collection, name=name, indexed=True)):
            build(database, catalog, collection, name)


def values(database: Database) -> list[tuple[Any, ...]]:
    """Every row of the index, in the order of its key."""
    columns = "coll, number, kind, value, text, t, id, pk"
    return [
        tuple(row)
        for row in database.read_now(lambda tx: tx.all(f"SELECT {columns} FROM item_values ORDER BY {columns}"))
    ]


@pytest.fixture(scope="module", params=["disk", "postgres"])
def loaded(request: pytest.FixtureRequest, open_database: OpenDatabase) -> Iterator[Loaded]:
    with open_database(request.param) as database:
        loaded = Loaded(database, items(), filtering.COLLECTIONS)
        declare(database, loaded.catalog, "a", *NAMES)
        declare(database, loaded.catalog, "b", "n", "odd", "updated", "deep.value")
        yield loaded


# --- filters ---------------------------------------------------------------------------------------------------------

names = st.sampled_from(NAMES)
numbers = st.sampled_from([0, 1, 5, 2.5, 3, 2**53 - 1, 2**53, 2**60, -1])
texts = st.sampled_from(["x", "5", "alpha", "É", "", "2021-03-01", "soon", "\U0010ffff"])
spans = st.one_of(
    filtering.spans,
    st.sampled_from(
        [
            {"date": "2021-03-01"},
            {"timestamp": "2021-03-01T12:00:00.5Z"},
            {"date": "9999-12-31"},
            {"date": "1000-01-01"},
        ]
    ),
)
patterns = st.sampled_from(["al%", "alpha\\%", "%", "alph_", "b\\_%", "", "\U0010ffff%", "\ud7ff%", "al%a"])
scalars = st.one_of(numbers, texts, spans, st.booleans())
predicates = st.one_of(
    st.tuples(filtering.comparisons, names.map(prop), scalars, st.booleans()).map(swapped),
    st.tuples(filtering.relations, names.map(prop), filtering.intervals | spans, st.booleans()).map(swapped),
    st.tuples(names.map(prop), st.lists(scalars, max_size=4)).map(lambda two: op("in", *two)),
    st.tuples(names.map(prop), st.lists(numbers, min_size=1, max_size=4)).map(lambda two: op("in", *two)),
    st.tuples(names.map(prop), st.lists(texts, min_size=1, max_size=4)).map(lambda two: op("in", *two)),
    st.tuples(names.map(prop), numbers, numbers).map(lambda three: op("between", *three)),
    st.tuples(names.map(prop), spans, spans).map(lambda three: op("between", *three)),
    names.map(lambda name: op("isNull", prop(name))),
    st.tuples(names.map(prop), patterns).map(lambda two: op("like", *two)),
    filtering.predicates,
)
conditions = st.recursive(
    predicates,
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=4).map(lambda parts: op("and", *parts)),
        st.lists(inner, min_size=1, max_size=3).map(lambda parts: op("or", *parts)),
        inner.map(lambda one: op("not", one)),
    ),
    max_leaves=5,
)


@settings(deadline=None, max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    condition=conditions,
    other=filtering.others,
    limit=st.sampled_from([7, 50, 1_000]),
    scan_limit=st.sampled_from([3, 10_000]),
    few=st.sampled_from([1, 30, 3_000]),
)
def test_a_search_finds_what_the_filter_means(
    loaded: Loaded, condition: Any, other: dict[str, Any], limit: int, scan_limit: int, few: int
) -> None:
    search = replace(parse_search(other), filter=parse_json(condition), limit=limit)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(searching, "_FEW", few)
        found = loaded.found(search, scan_limit)
    assert found == loaded.expected(search)


@pytest.mark.parametrize(
    "text",
    [
        "n = 3",
        "odd > 1 and odd <= 2.5",
        "odd = true",
        "note in ('al', 'b_c')",
        "note like 'al%'",
        "not seen < DATE('2021-05-01')",
        "t_during(updated, INTERVAL('2021-01-01', '2021-04-01'))",
        "deep.value is null or n between 1 and 2",
    ],
)
def test_an_index_answers_without_a_document(loaded: Loaded, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    """Where every collection that is searched has it."""
    search = replace(parse_search({"collections": ["a", "empty"]}), filter=parse_text(text), limit=50)
    expected = loaded.expected(search)
    assert expected
    opened: list[int] = []

    def none_fail(_source: Any, rows: Any) -> set[int]:
        opened.append(len(rows))
        return set()

    monkeypatch.setattr(SqlCandidates, "failing", none_fail)
    for few in (1, 3_000):
        monkeypatch.setattr(searching, "_FEW", few)
        assert loaded.found(search) == expected
    assert opened == []


def test_a_collection_without_the_index_is_told_by_its_documents_only(
    loaded: Loaded, monkeypatch: pytest.MonkeyPatch
) -> None:
    search = Search(filter=parse_text("note = 'alpha'"), limit=1_000)
    expected = loaded.expected(search)
    looked: set[int] = set()
    failing = SqlCandidates.failing

    def note(source: Any, rows: Any) -> set[int]:
        looked.update(row[2] for row in rows if row[3])
        return failing(source, rows)

    monkeypatch.setattr(SqlCandidates, "failing", note)
    assert loaded.found(search) == expected
    in_b = [item["id"] for _, name, item in loaded.keyed if name == "b"]
    documents = [item for _, name, item in loaded.keyed if name == "a" and item["properties"].get("note") == "alpha"]
    assert looked == {1, 2}
    assert len(in_b) > len(documents) > 0


def test_a_rare_value_is_looked_up_and_counted(loaded: Loaded) -> None:
    page = loaded.page(replace(parse_search({"collections": ["a"]}), filter=parse_text("n = 3"), limit=2), 10_000)
    everything = [item for _, name, item in loaded.keyed if name == "a" and item["properties"]["n"] == 3]
    assert page.matched == len(everything) > 2


def test_conditions_that_are_jointly_empty_end_a_page(loaded: Loaded, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of the two is common, so neither is looked up; a page ends after so many looks into the index."""
    monkeypatch.setattr(searching, "_FEW", 5)
    search = replace(parse_search({"collections": ["a"]}), filter=parse_text("n < 3 and n > 3 and n <> 9"), limit=5)
    page = loaded.page(search, 1)
    assert page.items == []
    assert page.next_token is not None
    assert loaded.found(search, 1) == []


# --- orders ----------------------------------------------------------------------------------------------------------

SORTED = ("mixed", "created", "deep", "deep.er.value", "nowhere")


@pytest.fixture(scope="module", params=["memory", "postgres"])
def twins(request: pytest.FixtureRequest, open_database: OpenDatabase) -> Iterator[tuple[SqlCatalog, SqlCatalog, Any]]:
    """The same items in a catalog without queryables, and in one that has declared all that is sorted by."""
    world = make_world(random.Random(11))
    decorate(random.Random(12), world.documents)
    with open_database(request.param) as plain, open_database(request.param) as indexed:
        for database in (plain, indexed):
            catalog = SqlCatalog(database)
            for name in COLLECTIONS:
                database.write_now(partial(catalog.add_collection, collection_id=name, doc=b"{}", container=name))
                batch: list[Any] = world.documents[name]
                half = len(batch) // 2 if database is indexed else 0
                put = partial(catalog.put_items, collection_id=name, on_conflict=OnConflict.ERROR)
                database.write_now(partial(put, items=batch[:half]))
                if database is indexed:  # half of the items are read, half of them followed
                    declare(database, catalog, name, *SORTED)
                database.write_now(partial(put, items=batch[half:]))
            vacuum(database)
        yield SqlCatalog(plain), SqlCatalog(indexed), world


@pytest.mark.parametrize("seed", range(3))
async def test_an_index_has_the_order_of_the_documents(
    twins: tuple[SqlCatalog, SqlCatalog, Any], monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    plain, indexed, world = twins
    rng = random.Random(seed)
    for _ in range(12):
        keys = rng.sample([*SORTED, "id", "platform"], rng.choice([1, 1, 2]))
        query = {
            **random_query(rng, world),
            "sortby": ",".join(rng.choice("+-") + key for key in keys),
            "limit": rng.choice([40, 300, 5_000]),
        }
        if rng.random() < 0.4:
            query["filter"] = "mixed " + rng.choice(["> 1", "< 3", "= 'a'", "is null", "= true"])
        expected = await all_pages(plain, query, 10_000)
        for few in (1, 20_000):  # walked, or sorted
            monkeypatch.setattr(sort_plan, "_FEW", few)
            assert await all_pages(indexed, query, 10_000) == expected, query


async def test_an_index_is_walked_to_the_end(
    twins: tuple[SqlCatalog, SqlCatalog, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, indexed, _ = twins
    walks: list[bool] = []
    walk = SqlSortedCandidates._walk_values

    def noted(source: Any, *given: Any, missing: bool) -> Any:
        walks.append(missing)
        return walk(source, *given, missing=missing)

    monkeypatch.setattr(SqlSortedCandidates, "_walk_values", noted)
    monkeypatch.setattr(sort_plan, "_FEW", 1)
    for sortby in ("mixed", "-mixed"):
        query = {"sortby": sortby, "collections": ["dense", "ties"], "limit": 60}
        expected = await all_pages(plain, query, 10_000)
        walks.clear()
        assert await all_pages(indexed, query, 10_000) == expected
        assert {False, True} == set(walks)


async def test_an_order_of_many_items_needs_no_document_where_it_is_indexed(
    twins: tuple[SqlCatalog, SqlCatalog, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, indexed, _ = twins
    monkeypatch.setattr(sort_plan, "_MOST_DOCUMENTS", 100)
    with pytest.raises(InvalidParameter, match="declare it as a queryable"):
        await plain.search(parse_search({"sortby": "mixed"}))
    assert (await indexed.search(parse_search({"sortby": "mixed"}))).items


# --- following the items, building, removing -------------------------------------------------------------------------


def expected_values(database: Database, collection: str, name: str) -> list[tuple[Any, ...]]:
    """What the index should have, from the documents."""

    def read(tx: Connection) -> list[tuple[Any, ...]]:
        rows = tx.all(
            "SELECT i.coll, i.t, i.id, i.pk, b.doc FROM items i JOIN documents b ON b.pk = i.pk JOIN collections c"
            " ON c.coll = i.coll WHERE c.id = :id",
            {"id": collection},
        )
        number = tx.value("SELECT number FROM queryable_names WHERE name = :name", {"name": name})
        return sorted(
            (row["coll"], number, *value, row["t"], row["id"], row["pk"])
            for row in rows
            for value in values_of(orjson.loads(row["doc"]), name)
        )

    return database.read_now(read)


def test_an_index_follows_items_while_it_is_built_and_afterwards(
    store: Database, catalog: SqlCatalog, put: Any, item_factory: Any
) -> None:
    rng = random.Random(3)

    def item(number: int) -> Any:
        properties = {"v": rng.choice(ODD), "datetime": f"2021-01-{rng.randrange(1, 29):02}T00:00:00Z"}
        return item_factory(f"i{number}", properties)

    put("a", *(item(number) for number in range(40)))
    put("b", item_factory("other", {"v": 1}))
    declared = partial(catalog.declare_queryable, collection_id="a", name="v", indexed=True)
    assert store.write_now(declared) is True
    assert store.write_now(declared) is False, "it is being built already"
    for step in range(100):
        progress = store.write_now(lambda tx: catalog.work_on_queryable(tx, "a", "v", 4))
        put("a", item(100 + step), item(rng.randrange(40)), on_conflict=OnConflict.REPLACE)
        store.write_now(partial(catalog.remove_item, collection_id="a", item_id=f"i{rng.randrange(40)}"))
        if progress.ended and step > 20:
            break
    assert values(store) == expected_values(store, "a", "v")
    assert {row[0] for row in values(store)} == {1}
    assert store.write_now(declared) is False, "it is whole"


async def test_until_it_is_whole_an_index_is_not_used(
    store: Database, catalog: SqlCatalog, put: Any, item_factory: Any
) -> None:
    put("a", *(item_factory(f"i{number}", {"v": number % 2}) for number in range(10)))
    store.write_now(lambda tx: catalog.declare_queryable(tx, "a", "v", indexed=True))
    search = Search(filter=parse_text("v = 1"), sortby=parse_search({"sortby": "v"}).sortby)
    for _ in range(6):
        page = await catalog.search(search)
        assert page.matched == 5
        progress = store.write_now(lambda tx: catalog.work_on_queryable(tx, "a", "v", 2))
    assert progress.ended
    store.write_now(lambda tx: tx.execute("DELETE FROM item_values WHERE value = 1"))
    assert (await catalog.search(search)).matched == 0, "now it is"


def test_an_index_that_goes_is_removed_in_slices(
    store: Database, catalog: SqlCatalog, put: Any, item_factory: Any
) -> None:
    put("a", *(item_factory(f"i{number}", {"v": number, "w": number}) for number in range(10)))
    declare(store, catalog, "a", "v", "w")
    assert store.write_now(lambda tx: catalog.withdraw_queryable(tx, "a", "v")) is True
    assert build(store, catalog, "a", "v", 3) == 4
    assert values(store) == expected_values(store, "a", "w")
    # Without an index, and with one again, while the values of the one before are still there.
    assert store.write_now(lambda tx: catalog.declare_queryable(tx, "a", "w", indexed=False)) is True
    store.write_now(lambda tx: catalog.work_on_queryable(tx, "a", "w", 3))
    put("a", item_factory("late", {"w": 3}))
    assert store.write_now(lambda tx: catalog.declare_queryable(tx, "a", "w", indexed=True)) is True
    build(store, catalog, "a", "w", 3)
    assert values(store) == expected_values(store, "a", "w")
    assert store.write_now(lambda tx: catalog.withdraw_queryable(tx, "a", "v")) is False


def test_a_collection_that_goes_takes_its_index_along(
    store: Database, catalog: SqlCatalog, put: Any, item_factory: Any
) -> None:
    put("a", *(item_factory(f"i{number}", {"v": number}) for number in range(5)))
    declare(store, catalog, "a", "v")
    store.write_now(partial(catalog.mark_deleting, collection_id="a"))
    while store.write_now(partial(catalog.remove_items, collection_id="a", limit=2)):
        pass
    store.write_now(partial(catalog.forget_collection, collection_id="a"))
    assert values(store) == []
    assert store.read_now(lambda tx: tx.value("SELECT count(*) FROM queryables")) == 0


@pytest.mark.parametrize("odd", ["x" * 501, "é" * 300, "a\0b"])
async def test_a_text_that_no_index_takes_puts_it_out_of_use(
    store: Database, catalog: SqlCatalog, put: Any, item_factory: Any, odd: str
) -> None:
    put("a", item_factory("odd", {"v": odd}), item_factory("short", {"v": "x" * 500}))
    declare(store, catalog, "a", "v")
    query = {"sortby": "v"}
    search = replace(parse_search(query), filter=parse_text("v > 'a'"))
    expected = ["odd", "short"] if odd[0] == "a" else ["short", "odd"]
    assert [orjson.loads(one)["id"] for one in (await catalog.search(search)).items] == expected
    store.write_now(partial(catalog.remove_item, collection_id="a", item_id="odd"))
    assert [orjson.loads(one)["id"] for one in (await catalog.search(search)).items] == ["short"]


def test_names_that_have_columns_need_no_index(
    store: Database, catalog: SqlCatalog, put: Any, item_factory: Any
) -> None:
    put("a", item_factory("one", {"eo:cloud_cover": 5}))
    for name in ("eo:cloud_cover", "platform", "datetime", "id", "collection", "geometry"):
        declared = partial(catalog.declare_queryable, collection_id="a", name=name, indexed=True)
        assert store.write_now(declared) is False
    assert values(store) == []


# --- what is known ---------------------------------------------------------------------------------------------------


async def test_a_strict_catalog_refuses_what_is_not_declared(
    store: Database, catalog: SqlCatalog, put: Any, item_factory: Any
) -> None:
    put("a", item_factory("one", {"v": 1, "deep": {"er": 1}}))
    put("b", item_factory("two", {"v": 1}))
    strict = SqlCatalog(store, strict_queryables=True)
    for query in ({"query": {"v": {"eq": 1}}}, {"sortby": "v"}, {"filter": "datetime is null or v = 1"}):
        with pytest.raises(InvalidParameter, match="'v' is no queryable of the collections") as refused:
            await strict.search(parse_search(query))
        assert refused.value.target == ("sortby" if "sortby" in query else "filter")
        assert (await catalog.search(parse_search(query))).items
    for name in ("v", "deep"):
        store.write_now(partial(catalog.declare_queryable, collection_id="a", name=name, indexed=False))
    for query in ({"query": {"v": {"eq": 1}}}, {"sortby": "-v"}, {"filter": "deep.er = 1"}):
        assert (await strict.search(parse_search(query))).items
    with pytest.raises(InvalidParameter, match="'v'"):
        await strict.search(parse_search({"collections": ["b"], "sortby": "v"}))
    known = {"sortby": "platform,-eo:cloud_cover,id", "filter": "collection = 'a' and datetime > DATE('2000-01-01')"}
    assert (await strict.search(parse_search(known))).items


async def test_properties_that_occur_are_found_with_their_types(
    store: Database, catalog: SqlCatalog, put: Any, item_factory: Any
) -> None:
    put("a", *(item_factory(f"i{n}", {"v": n, "at": f"{n}"}) for n in range(600)))
    put("a", item_factory("odd", {"v": "text", "none": None, "flag": True, "list": [], "deep": {}}))
    put("b", item_factory("other", {"w": 1.5}))
    assert await catalog.property_types("b") == {"datetime": {"string"}, "w": {"number"}}
    found = await catalog.property_types("a")
    assert found["v"] >= {"number"}
    assert found["at"] == {"string"}
    assert set(await catalog.property_types()) >= {"v", "w", "at"}
    store.write_now(partial(catalog.remove_item, collection_id="b", item_id="other"))
    assert await catalog.property_types("b") == {}


@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("started", [False, True])
@pytest.mark.parametrize("descending", [False, True])
def test_the_index_is_walked_from_the_place_of_the_page(
    twins: tuple[SqlCatalog, SqlCatalog, Any], *, missing: bool, started: bool, descending: bool
) -> None:
    database = twins[1]._database
    sql = dialect_of(database).of_values(
        1, "v.kind AS s0", "AND i.t >= :low", missing=missing, descending=descending, started=started
    )
    found = explained(database, sql, value_kind=0, value=1.0, value_text="")
    if database.dialect == "sqlite":
        assert "SEARCH v USING PRIMARY KEY (coll=? AND number=? AND " in found, found
        assert "TEMP B-TREE" not in found, found
        place = "(t,id)" if missing else "(kind,value,text,t,id)"
        assert (f"{place}{'<' if descending else '>'}(" in found) is started, found
    else:
        assert "using item_values_pkey on item_values v" in found, found
        assert "Sort" not in found, found


@pytest.mark.parametrize("text", ["mixed = 5", "mixed = 'a'", "mixed = true"])
def test_items_of_one_value_are_read_newest_first(twins: tuple[SqlCatalog, SqlCatalog, Any], text: str) -> None:
    database = twins[1]._database
    conditions = compile_filter([parse_text(text)], {}, {"mixed": Indexed(1, frozenset({1}))}, {1})
    lead = conditions.checks[0].lead
    assert lead is not None
    assert lead.of_one_value
    sql = dialect_of(database).of_one_value(lead.ranges[0], "AND i.te >= :since")
    found = explained(database, sql, **conditions.values)
    if database.dialect == "sqlite":
        assert "kind=? AND value=? AND text=? AND t>? AND (t,id)<(?,?))" in found, found
        assert "TEMP B-TREE" not in found, found
    else:
        assert "Scan Backward using item_values_pkey on item_values v" in found, found
        assert "Sort" not in found, found


@pytest.mark.parametrize("text", ["mixed = 5", "mixed > 5", "mixed = 'a'", "mixed in ('a', 'b')", "mixed like 'a%'"])
def test_a_rare_value_is_a_range_of_the_index(twins: tuple[SqlCatalog, SqlCatalog, Any], text: str) -> None:
    database = twins[1]._database
    conditions = compile_filter([parse_text(text)], {}, {"mixed": Indexed(1, frozenset({1}))}, {1})
    (check,) = conditions.checks
    assert check.lead is not None
    dialect = dialect_of(database)
    sql = dialect.keys_of_values(check.lead.ranges[0])
    found = explained(database, sql, colls=dialect.integers([1]), most=10, **conditions.values)
    column = "value" if text[-1] == "5" else "text"
    if database.dialect == "sqlite":
        assert re.search(
            rf"SEARCH v USING PRIMARY KEY \(coll=\? AND number=\? AND kind=\? AND .*{column}[=<>]", found
        ), found
    else:
        condition = next(line for line in found.splitlines() if "Index Cond" in line)
        assert f"{column} " in condition or f"({column})" in condition, condition
        assert "using item_values_pkey" in found, found
