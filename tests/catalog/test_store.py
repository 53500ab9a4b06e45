"""The promises of `Catalog`, on a database in memory and on one on disk."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import orjson
import pytest

from graticule.catalog import Catalog, OnConflict, PreparedItems, SqlCatalog, prepare_item
from graticule.database import Connection, Database
from graticule.errors import (
    CollectionDoesNotExist,
    Conflict,
    InvalidParameter,
    ItemAlreadyExists,
    NotFound,
    StacValidationFailed,
)
from graticule.stac.datetimes import parse_datetime
from graticule.stac.search import Search, parse_search

ItemFactory = Callable[..., Any]
Put = Callable[..., None]


async def found(catalog: SqlCatalog, **parameters: Any) -> list[str]:
    page = await catalog.search(parse_search({"limit": 1000, **parameters}))
    assert page.next_token is None
    return [orjson.loads(doc)["id"] for doc in page.items]


def test_the_store_keeps_the_promise(catalog: SqlCatalog) -> None:
    promise: Catalog = catalog
    assert promise is catalog


# --- collections


async def test_a_collection_comes_out_as_it_went_in(catalog: SqlCatalog) -> None:
    record = await catalog.collection("a")
    assert (record.id, record.doc, record.container, record.deleting) == ("a", b'{"id":"a"}', "a-1", False)
    assert record.created_us == record.updated_us
    assert [one.id for one in await catalog.collections()] == ["a", "b"]


async def test_replacing_a_collection_keeps_its_container_and_birth(store: Database, catalog: SqlCatalog) -> None:
    before = await catalog.collection("a")
    store.write_now(lambda tx: catalog.replace_collection(tx, "a", b"{}"))
    after = await catalog.collection("a")
    assert (after.doc, after.container, after.created_us) == (b"{}", before.container, before.created_us)
    assert after.updated_us > before.updated_us


async def test_unknown_collections_are_not_found(store: Database, catalog: SqlCatalog) -> None:
    for read in (catalog.collection("x"), catalog.item_count("x"), catalog.item("x", "one")):
        with pytest.raises(NotFound, match=r"^Collection 'x' does not exist\.$"):
            await read
    with pytest.raises(NotFound, match="'x'"):
        store.write_now(lambda tx: catalog.replace_collection(tx, "x", b"{}"))
    with pytest.raises(NotFound, match="'x'"):
        store.write_now(lambda tx: catalog.mark_deleting(tx, "x"))
    assert store.read_now(lambda tx: catalog.collection_in(tx, "x")) is None
    assert store.write_now(lambda tx: catalog.remove_items(tx, "x", 10)) == []
    assert store.write_now(lambda tx: catalog.remove_item(tx, "x", "one")) is None
    store.write_now(lambda tx: catalog.forget_collection(tx, "x"))


def test_a_taken_id_or_container_is_a_conflict(store: Database, catalog: SqlCatalog) -> None:
    with pytest.raises(Conflict, match="'a' already exists"):
        store.write_now(lambda tx: catalog.add_collection(tx, "a", b"{}", "a-2"))
    with pytest.raises(Conflict, match="'a-1' belongs to another"):
        store.write_now(lambda tx: catalog.add_collection(tx, "c", b"{}", "a-1"))


async def test_a_collection_being_deleted_is_hidden_and_its_id_is_not_free(
    store: Database, catalog: SqlCatalog, put: Put, item_factory: ItemFactory, check_counts: Callable[[], None]
) -> None:
    put("a", *(item_factory(f"i{n}") for n in range(5)))
    put("b", item_factory("other"))
    assert store.write_now(lambda tx: catalog.mark_deleting(tx, "a")) is True
    assert store.write_now(lambda tx: catalog.mark_deleting(tx, "a")) is False
    with pytest.raises(NotFound):
        await catalog.collection("a")
    with pytest.raises(NotFound):
        await catalog.item("a", "i0")
    assert [one.id for one in await catalog.collections()] == ["b"]
    assert await found(catalog) == ["other"]
    assert await found(catalog, collections=["a"], ids=["i0"]) == []
    with pytest.raises(Conflict, match="being deleted"):
        store.write_now(lambda tx: catalog.add_collection(tx, "a", b"{}", "a-2"))
    with pytest.raises(NotFound):
        store.write_now(lambda tx: catalog.replace_collection(tx, "a", b"{}"))
    with pytest.raises(CollectionDoesNotExist, match="'a' is being deleted"):
        put("a", item_factory("late"))
    with pytest.raises(Conflict, match="still has items"):
        store.write_now(lambda tx: catalog.forget_collection(tx, "a"))
    record = store.read_now(lambda tx: catalog.collection_in(tx, "a"))
    assert record is not None
    assert record.deleting

    removed: list[str] = []
    while slice_ := store.write_now(lambda tx: catalog.remove_items(tx, "a", 2)):
        assert len(slice_) <= 2
        removed += slice_
        check_counts()
    assert sorted(removed) == [f"i{n}" for n in range(5)]
    store.write_now(lambda tx: catalog.forget_collection(tx, "a"))
    store.write_now(lambda tx: catalog.add_collection(tx, "a", b"{}", "a-2"))
    assert await catalog.item_count("a") == 0
    put("a", item_factory("i0"))
    assert await found(catalog, collections=["a"]) == ["i0"]
    check_counts()


# --- items


async def test_an_item_is_found_by_collection_and_id(catalog: SqlCatalog, put: Put, item_factory: ItemFactory) -> None:
    put("a", item_factory("same", {"from": "a"}))
    put("b", item_factory("same", {"from": "b"}))
    assert orjson.loads(await catalog.item("a", "same"))["properties"]["from"] == "a"
    assert orjson.loads(await catalog.item("b", "same"))["properties"]["from"] == "b"
    with pytest.raises(NotFound, match=r"^Item 'x' does not exist in collection 'a'\.$"):
        await catalog.item("a", "x")
    assert await found(catalog, ids="same") == ["same", "same"]
    assert (await catalog.item_count("a"), await catalog.item_count("b")) == (1, 1)


def test_items_need_their_collection(put: Put, item_factory: ItemFactory) -> None:
    with pytest.raises(CollectionDoesNotExist, match="'x' does not exist: create it first"):
        put("x", item_factory())


async def test_a_prepared_item_is_stored_alike(
    catalog: SqlCatalog, put: Put, item_factory: ItemFactory, check_counts: Callable[[], None]
) -> None:
    put("a", prepare_item(item_factory("one")), item_factory("two"))
    assert await catalog.item("a", "one") == orjson.dumps(item_factory("one"))
    assert await found(catalog, bbox="4,4,6,6") == ["two", "one"]
    check_counts()


async def test_an_existing_item_is_refused_and_nothing_of_its_batch_is_kept(
    catalog: SqlCatalog, put: Put, item_factory: ItemFactory, check_counts: Callable[[], None]
) -> None:
    put("a", item_factory("one", {"version": 1}))
    with pytest.raises(ItemAlreadyExists, match=r"^Item 'one' already exists in collection 'a': use another id"):
        put("a", item_factory("two"), item_factory("one", {"version": 2}))
    assert await found(catalog) == ["one"]
    assert orjson.loads(await catalog.item("a", "one"))["properties"]["version"] == 1
    with pytest.raises(ItemAlreadyExists, match="'twice'"):
        put("a", item_factory("twice"), item_factory("twice"))
    check_counts()


async def test_replacing_moves_an_item_in_every_index(
    catalog: SqlCatalog, put: Put, item_factory: ItemFactory, check_counts: Callable[[], None]
) -> None:
    put("a", item_factory("one"), item_factory("two"))
    far = {"type": "Point", "coordinates": [100, 50]}
    newer = item_factory("one", {"datetime": "2023-01-01T00:00:00Z"}, geometry=far)
    put("a", newer, item_factory("three"), on_conflict=OnConflict.REPLACE)
    assert await catalog.item("a", "one") == orjson.dumps(newer)
    assert await found(catalog, bbox="4,4,6,6") == ["two", "three"]
    assert await found(catalog, bbox="99,49,101,51") == ["one"]
    assert await found(catalog, datetime="2023-01-01T00:00:00Z/..") == ["one"]
    assert await catalog.item_count("a") == 3
    check_counts()


async def test_of_equal_ids_in_one_replacing_batch_the_last_one_stays(
    catalog: SqlCatalog, put: Put, item_factory: ItemFactory, check_counts: Callable[[], None]
) -> None:
    last = item_factory("one", {"version": 2})
    put("a", item_factory("one"), last, on_conflict=OnConflict.REPLACE)
    assert await catalog.item("a", "one") == orjson.dumps(last)
    check_counts()


async def test_a_removed_item_is_handed_back_and_its_id_is_free(
    store: Database, catalog: SqlCatalog, put: Put, item_factory: ItemFactory, check_counts: Callable[[], None]
) -> None:
    put("a", item_factory("one"), item_factory("two"))
    doc = store.write_now(lambda tx: catalog.remove_item(tx, "a", "one"))
    assert doc == orjson.dumps(item_factory("one"))
    assert store.write_now(lambda tx: catalog.remove_item(tx, "a", "one")) is None
    assert store.read_now(lambda tx: catalog.item_in(tx, "a", "one")) is None
    assert store.read_now(lambda tx: catalog.item_in(tx, "a", "two")) is not None
    assert await found(catalog) == ["two"]
    check_counts()
    put("a", item_factory("one"))
    assert await catalog.item_count("a") == 2


def test_writes_of_one_transaction_are_taken_back_together(
    store: Database, catalog: SqlCatalog, item_factory: ItemFactory, check_counts: Callable[[], None]
) -> None:
    def fail(tx: Any) -> None:
        catalog.add_collection(tx, "c", b"{}", "c-1")
        catalog.put_items(tx, "c", [item_factory("one")], on_conflict=OnConflict.ERROR)
        assert catalog.item_in(tx, "c", "one") is not None
        raise LookupError

    with pytest.raises(LookupError):
        store.write_now(fail)
    assert store.read_now(lambda tx: catalog.collection_in(tx, "c")) is None
    check_counts()


def test_an_unsearchable_item_is_refused_by_name(put: Put, item_factory: ItemFactory) -> None:
    with pytest.raises(StacValidationFailed, match="Item 'bad' has no datetime"):
        put("a", item_factory("fine"), item_factory("bad", {"datetime": None}))


# --- what a search finds


async def test_items_without_geometry_are_found_except_by_place(
    catalog: SqlCatalog, put: Put, item_factory: ItemFactory, check_counts: Callable[[], None]
) -> None:
    put("a", item_factory("nowhere", geometry=None), item_factory("somewhere"))
    assert await found(catalog) == ["somewhere", "nowhere"]
    assert await found(catalog, datetime="2021-06-01T00:00:00Z/2021-06-01T23:59:59Z") == ["somewhere", "nowhere"]
    assert await found(catalog, ids="nowhere,somewhere") == ["somewhere", "nowhere"]
    for bbox in ("-180,-90,180,90", "-100,-80,100,80", "4,4,6,6"):
        assert await found(catalog, bbox=bbox) == ["somewhere"]
        assert await found(catalog, bbox=bbox, ids="nowhere,somewhere") == ["somewhere"]
    check_counts()


async def test_intervals_are_found_where_they_overlap(catalog: SqlCatalog, put: Put, item_factory: ItemFactory) -> None:
    year = {"datetime": None, "start_datetime": "2020-01-01T00:00:00Z", "end_datetime": "2020-12-31T23:59:59Z"}
    put("a", item_factory("year", year), item_factory("day", {"datetime": "2020-06-01T12:00:00Z"}))
    assert await found(catalog, datetime="2020-06-01T00:00:00Z/2020-06-01T23:59:59Z") == ["day", "year"]
    assert await found(catalog, datetime="2020-06-02T00:00:00Z/2020-06-03T23:59:59Z") == ["year"]
    assert await found(catalog, datetime="../2020-01-01T00:00:00Z") == ["year"]
    assert await found(catalog, datetime="2020-12-31T23:59:59Z/..") == ["year"]
    assert await found(catalog, datetime="2021-01-01T00:00:00Z/..") == []


async def test_footprints_across_the_antimeridian_are_found_from_both_sides(
    catalog: SqlCatalog, put: Put, item_factory: ItemFactory
) -> None:
    def box(west: float, east: float) -> list[list[list[float]]]:
        return [[[west, -5], [east, -5], [east, 5], [west, 5], [west, -5]]]

    put(
        "a",
        item_factory("cut", geometry={"type": "MultiPolygon", "coordinates": [box(178, 180), box(-180, -178)]}),
        item_factory("beyond", geometry={"type": "Polygon", "coordinates": box(178, 182)}),
        item_factory("before", geometry={"type": "Polygon", "coordinates": box(-182, -178)}),
    )
    for bbox in ("179,0,179.5,1", "-179.5,0,-179,1", "179,0,-179,1", "-180,0,-179.9,1", "170,-10,-170,10"):
        assert await found(catalog, bbox=bbox) == ["cut", "beyond", "before"]
    for bbox in ("-177,0,177,1", "0,0,10,10", "177,6,-177,7"):
        assert await found(catalog, bbox=bbox) == []


async def test_the_exact_footprint_decides_and_not_its_bounds(
    catalog: SqlCatalog, put: Put, item_factory: ItemFactory
) -> None:
    triangle = [[[0, 0], [10, 0], [0, 10], [0, 0]]]
    put("a", item_factory("half", geometry={"type": "Polygon", "coordinates": triangle}))
    assert await found(catalog, bbox="7,7,9,9") == []
    assert await found(catalog, bbox="5,5,9,9") == ["half"]
    collection = {
        "type": "GeometryCollection",
        "geometries": [
            {"type": "Point", "coordinates": [9, 9]},
            {"type": "LineString", "coordinates": [[1, 1], [2, 2]]},
        ],
    }
    assert await found(catalog, intersects=collection) == ["half"]
    assert await found(catalog, intersects={"type": "Point", "coordinates": [9, 9]}) == []


async def test_newest_come_first_and_then_ids_descending(
    catalog: SqlCatalog, put: Put, item_factory: ItemFactory
) -> None:
    put("a", item_factory("x", {"datetime": "2020-01-01T00:00:00Z"}), item_factory("m"), item_factory("é"))
    put("b", item_factory("n"), item_factory("Z"))
    assert await found(catalog) == ["é", "n", "m", "Z", "x"]


async def test_matched_is_told_where_it_costs_nothing(catalog: SqlCatalog, put: Put, item_factory: ItemFactory) -> None:
    put("a", *(item_factory(f"i{n}") for n in range(12)))
    assert (await catalog.search(Search(limit=5))).matched == 12
    assert (await catalog.search(Search(limit=5, collections=("b",)))).matched == 0
    assert (await catalog.search(Search(limit=5, ids=("i1", "x")))).matched == 1
    assert (await catalog.search(parse_search({"limit": 5, "bbox": "0,0,9,9"}))).matched == 12
    assert (await catalog.search(parse_search({"limit": 5, "bbox": "0,0,4,4"}))).matched == 0


async def test_unknown_collections_and_ids_find_nothing(
    catalog: SqlCatalog, put: Put, item_factory: ItemFactory
) -> None:
    put("a", item_factory("one"))
    assert await found(catalog, collections=["x"]) == []
    assert await found(catalog, collections=["x", "a"]) == ["one"]
    assert await found(catalog, ids=["x", "'; DROP TABLE items", 'a"b', "\0"]) == []


async def test_a_search_by_ids_alone_answers_as_one_that_is_planned(
    store: Database, catalog: SqlCatalog, put: Put, item_factory: ItemFactory
) -> None:
    for name in ("a", "b"):
        put(name, *(item_factory(f"i{n}", {"datetime": f"2020-01-{1 + n % 3:02}T00:00:00Z"}) for n in range(9)))
    ids = tuple(f"i{n}" for n in range(6))
    for search in (
        Search(ids=ids, limit=6),  # more than a page: there are twelve
        Search(ids=ids, limit=12),
        Search(ids=(*ids, "x"), collections=("b",), limit=100),
        Search(ids=ids, collections=("b", "x", "a")),
        Search(ids=ids, collections=("x",)),
    ):
        assert search.is_lookup
        page = await catalog.search(search)
        planned = await catalog.search(replace(search, datetime=parse_datetime("2000-01-01T00:00:00Z/..")))
        assert (page.items, page.names, page.next_token) == (planned.items, planned.names, planned.next_token)
        assert page.matched == (6 if search.collections == ("b",) else 0 if search.collections == ("x",) else 12)
        if page.next_token is not None:
            rest = await catalog.search(replace(search, token=page.next_token))
            assert len(set(page.names + rest.names)) == 12
    small = SqlCatalog(store, page_bytes=1)
    page = await small.search(Search(ids=ids, collections=("a",)))
    assert (len(page.items), page.matched) == (1, 6)
    assert page.next_token is not None
    store.write_now(lambda tx: catalog.mark_deleting(tx, "a"))
    assert {name for name, _ in (await catalog.search(Search(ids=ids))).names} == {"b"}


async def test_among_many_collections_ids_are_not_looked_up_at_once(
    store: Database, catalog: SqlCatalog, put: Put, item_factory: ItemFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    put("a", *(item_factory(f"i{n}") for n in range(30)))
    for n in range(70):
        store.write_now(partial(catalog.add_collection, collection_id=f"more-{n}", doc=b"{}", container=f"more-{n}"))
    looked: list[object] = []
    real = store.look_up

    async def look_up(function: Callable[[Connection], Any]) -> Any:
        looked.append(function)
        return await real(function)

    monkeypatch.setattr(store, "look_up", look_up)
    ids = tuple(f"i{n}" for n in range(30))
    for search, at_once in (
        (Search(ids=ids, limit=30), False),
        (Search(ids=ids[:20], limit=30), True),
        (Search(ids=ids, limit=30, collections=("a",)), True),
        (Search(ids=ids, limit=30, collections=("a", *(f"x{n}" for n in range(70)))), False),
    ):
        looked.clear()
        assert len((await catalog.search(search)).items) == len(search.ids or ())
        assert bool(looked) is at_once


@pytest.mark.parametrize(
    "more", [{"limit": 1}, {"datetime": "2000-01-01T00:00:00Z/.."}, {"bbox": "0,0,1,1"}, {"token": "x"}, {"q": "x"}]
)
def test_what_asks_for_more_than_ids_is_planned(more: dict[str, Any]) -> None:
    assert parse_search({"ids": "a,b"}).is_lookup
    assert not parse_search({"ids": "a,b", **more}).is_lookup
    assert not parse_search({"collections": "a"}).is_lookup
    assert not Search(ids=tuple(map(str, range(101))), limit=1_000).is_lookup


async def test_a_page_has_a_token_only_if_something_follows(
    catalog: SqlCatalog, put: Put, item_factory: ItemFactory
) -> None:
    put("a", *(item_factory(f"i{n}") for n in range(4)))
    first = await catalog.search(Search(limit=2))
    assert first.next_token is not None
    second = await catalog.search(Search(limit=2, token=first.next_token))
    assert len(second.items) == 2
    assert second.next_token is None
    assert (await catalog.search(Search(limit=4))).next_token is None


@pytest.mark.parametrize("token", ["x", "next:abc", "W10", "WzEsMiwzXQ", "é", "WzFd====", "bnVsbA", "e30"])
async def test_a_malformed_token_is_refused(catalog: SqlCatalog, token: str) -> None:
    with pytest.raises(InvalidParameter, match="token"):
        await catalog.search(Search(token=token))


# --- real documents


def real_items(folder: Path) -> list[tuple[str, dict[str, Any]]]:
    files = sorted((folder / "stac" / "items").rglob("*.ndjson"))
    # The Landsat file is half of all bytes; some of it is enough.
    return [
        (f"{file.parent.name}/{file.stem}", orjson.loads(line))
        for file in files
        for line in file.read_bytes().splitlines()[: 60 if "landsat-8" in file.name else None]
    ]


async def test_real_items_come_out_byte_for_byte(
    store: Database, catalog: SqlCatalog, test_data: Path, check_counts: Callable[[], None]
) -> None:
    by_collection: dict[str, dict[str, Any]] = {}
    for name, item in real_items(test_data):
        by_collection.setdefault(name, {})[item["id"]] = item
    for name, items in by_collection.items():
        store.write_now(lambda tx, name=name: catalog.add_collection(tx, name, b"{}", name))  # type: ignore[misc]
        batch = list(items.values())
        for start in range(0, len(batch), 200):
            part = batch[start : start + 200]
            store.write_now(
                lambda tx, name=name, part=part: catalog.put_items(tx, name, part, on_conflict=OnConflict.ERROR)  # type: ignore[misc]
            )
    assert len(by_collection["pc/naip"]) == 976
    for name, items in by_collection.items():
        expected = {item_id: orjson.dumps(item) for item_id, item in items.items()}
        page = await catalog.search(Search(collections=(name,), limit=10_000))
        assert {orjson.loads(doc)["id"]: doc for doc in page.items} == expected
        some = next(iter(items))
        assert await catalog.item(name, some) == expected[some]
    check_counts()


def test_new_items_of_several_collections_are_added_at_once(
    store: Database, catalog: SqlCatalog, item_factory: ItemFactory, check_counts: Callable[[], None]
) -> None:
    def prepared(collection: str, *names: str) -> PreparedItems:
        documents = [item_factory(name, {"title": f"Scene {name}"}, collection=collection) for name in names]
        return PreparedItems.of([prepare_item(document) for document in documents])

    items = {"a": prepared("a", *map(str, range(20))), "b": prepared("b", "0", "x")}
    store.write_now(lambda tx: catalog.add_new_items(tx, items))
    rows = store.read_now(lambda tx: tx.all("SELECT coll, n FROM collstat ORDER BY coll"))
    assert [row[1] for row in rows] == [20, 2]
    check_counts()


@pytest.mark.parametrize("names", [("new", "taken"), ("twice", "twice")])
def test_of_new_items_none_is_added_if_one_is_not_new(
    store: Database, catalog: SqlCatalog, item_factory: ItemFactory, check_counts: Callable[[], None], names: tuple[str]
) -> None:
    def add(tx: Connection, *wanted: str) -> None:
        other = PreparedItems.of([prepare_item(item_factory("other", collection="b"))])
        these = PreparedItems.of([prepare_item(item_factory(name)) for name in wanted])
        catalog.add_new_items(tx, ({"b": other} if len(wanted) > 1 else {}) | {"a": these})

    store.write_now(lambda tx: add(tx, "taken"))
    with pytest.raises(ItemAlreadyExists):
        store.write_now(lambda tx: add(tx, *names))
    assert store.read_now(lambda tx: tx.all("SELECT id FROM items"))[0][0] == "taken"
    assert store.read_now(lambda tx: tx.value("SELECT count(*) FROM items")) == 1
    assert store.read_now(lambda tx: tx.value("SELECT count(*) FROM item_facts")) == 1
    check_counts()


def test_new_items_need_a_collection(store: Database, catalog: SqlCatalog, item_factory: ItemFactory) -> None:
    items = {"nowhere": PreparedItems.of([prepare_item(item_factory())])}
    with pytest.raises(CollectionDoesNotExist):
        store.write_now(lambda tx: catalog.add_new_items(tx, items))
