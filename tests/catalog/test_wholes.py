"""Extents and summaries: against brute force over the items, while these come and go, on every store."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from functools import partial
from typing import Any

import orjson
import pytest

from graticule.catalog import OnConflict, SqlCatalog, described, undescribed
from graticule.catalog.cells import TURN, Box
from graticule.catalog.sql import wholes as sql_wholes
from graticule.catalog.sql.wholes import refresh, waiting
from graticule.catalog.wholes import Bounds, Facts, Kind, Summing, Sums, Whole, degrees, keys_of
from graticule.database import Connection, Database
from graticule.stac.documents import Item

EXTENT = {"spatial": {"bbox": [[-180, -90, 180, 90]]}, "temporal": {"interval": [["2000-01-01T00:00:00Z", None]]}}
ItemFactory = Callable[..., Item]
Put = Callable[..., None]
Show = Callable[..., Any]

runs = iter(range(1, 1_000_000))


def box(west: float, south: float, east: float, north: float) -> dict[str, Any]:
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    return {"type": "Polygon", "coordinates": [ring]}


@pytest.fixture
def write(store: Database, catalog: SqlCatalog) -> Callable[..., None]:
    """Replace the document of collection a."""

    def write(**members: Any) -> None:
        document = orjson.dumps({"type": "Collection", "id": "a", "extent": EXTENT} | members)
        store.write_now(partial(catalog.replace_collection, collection_id="a", doc=document))

    write()
    return write


@pytest.fixture
def show(catalog: SqlCatalog, write: Callable[..., None]) -> Show:  # noqa: ARG001 - the document is written first
    """Collection a as it is answered."""
    return lambda: orjson.loads(described(asyncio.run(catalog.collection("a"))))


@pytest.fixture
def remove(store: Database, catalog: SqlCatalog) -> Callable[[str], None]:
    def remove(item_id: str) -> None:
        assert store.write_now(lambda tx: catalog.remove_item(tx, "a", item_id)) is not None

    return remove


@pytest.fixture
def refreshed(store: Database) -> Callable[[], bool]:
    return lambda: asyncio.run(refresh(store, "a", run=next(runs), fence=lambda _tx: None))


def test_a_collection_without_items_is_answered_as_it_was_written(
    catalog: SqlCatalog, write: Callable[..., None], put: Put, item_factory: ItemFactory, remove: Any
) -> None:
    write(title="t")
    before = asyncio.run(catalog.collection("a"))
    assert described(before) == before.doc
    put("a", item_factory("one"))
    remove("one")
    after = asyncio.run(catalog.collection("a"))
    assert orjson.loads(described(after)) == orjson.loads(after.doc)
    assert after.doc == before.doc


def test_the_first_extent_is_that_of_the_items_and_an_open_end_stays_open(
    show: Show, put: Put, item_factory: ItemFactory
) -> None:
    put("a", item_factory("one", {"datetime": "2021-06-01T00:00:00Z"}, geometry=box(10.1, 20.2, 11.3, 21.4)))
    put("a", item_factory("two", {"datetime": "2019-06-01T12:00:00.5Z"}, geometry=box(12, 19, 13, 20)))
    assert show()["extent"] == {
        "spatial": {"bbox": [[10.1, 19.0, 13.0, 21.4]]},
        "temporal": {"interval": [["2019-06-01T12:00:00.500000Z", None]]},
    }


def test_further_extents_and_heights_stay(show: Show, write: Any, put: Put, item_factory: ItemFactory) -> None:
    interval = [["2000-01-01T00:00:00Z", "2030-01-01T00:00:00Z"], ["2001-01-01T00:00:00Z", None]]
    spatial = {"bbox": [[-180, -90, -5, 180, 90, 100], [1, 2, 3, 4]]}
    write(extent={"spatial": spatial, "temporal": {"interval": interval}, "own": 1})
    properties = {"datetime": None, "start_datetime": "2020-01-01T00:00:00Z", "end_datetime": "2020-03-01T00:00:00Z"}
    put("a", item_factory("one", properties, geometry=box(1, 2, 3, 4)))
    assert show()["extent"] == {
        "spatial": {"bbox": [[1.0, 2.0, -5, 3.0, 4.0, 100], [1, 2, 3, 4]]},
        "temporal": {"interval": [["2020-01-01T00:00:00Z", "2020-03-01T00:00:00Z"], interval[1]]},
        "own": 1,
    }


def test_items_without_a_place_tell_the_time_only(show: Show, put: Put, item_factory: ItemFactory) -> None:
    put("a", item_factory("one", geometry=None))
    assert show()["extent"]["spatial"] == EXTENT["spatial"]
    assert show()["extent"]["temporal"]["interval"][0][0] == "2021-06-01T00:00:00Z"


def test_the_smaller_box_is_answered_across_the_antimeridian_too(
    show: Show, put: Put, item_factory: ItemFactory
) -> None:
    put("a", item_factory("fiji", geometry=box(177, -19, 179, -16)))
    put("a", item_factory("taveuni", geometry=box(-180, -17, -179.5, -16)))
    assert show()["extent"]["spatial"]["bbox"] == [[177.0, -19.0, -179.5, -16.0]]
    put("a", item_factory("london", geometry=box(-1, 51, 1, 52)))
    assert show()["extent"]["spatial"]["bbox"] == [[-1.0, -19.0, -179.5, 52.0]]


def test_values_and_ranges_come_beside_the_owners(show: Show, write: Any, put: Put, item_factory: ItemFactory) -> None:
    schema = {"type": "string"}
    write(
        summaries={
            "platform": ["planned", "b"],
            "mine": ["x"],
            "height": {"minimum": 5, "maximum": 6, "unit": "m"},
            "mission": schema,
            "eo:bands": [{"name": "B1"}],
        }
    )
    put(
        "a",
        item_factory("1", {"platform": "b", "mine": "y", "height": 2.5, "mission": "m", "gsd": 10}),
        item_factory(
            "2", {"platform": "a", "height": "tall", "gsd": 10.0, "instruments": ["i", "j"], "eo:cloud_cover": 7}
        ),
        item_factory("3", {"platform": ["odd"], "height": 9, "gsd": True, "eo:cloud_cover": 3.5, "instruments": ["i"]}),
    )
    assert show()["summaries"] == {
        "platform": ["planned", "b", "a", "odd"],
        "mine": ["x", "y"],
        "height": {"minimum": 2.5, "maximum": 9, "unit": "m"},
        "mission": schema,
        "eo:bands": [{"name": "B1"}],
        "eo:cloud_cover": {"minimum": 3.5, "maximum": 7},
        "gsd": [True, 10, 10.0],
        "instruments": ["i", "j"],
    }


def test_a_property_with_very_many_values_is_left_out(show: Show, put: Put, item_factory: ItemFactory) -> None:
    put("a", *(item_factory(f"{n}", {"platform": f"p{n}", "gsd": 10}) for n in range(101)))
    assert show()["summaries"] == {"gsd": [10]}


def test_counted_values_go_with_their_last_item(show: Show, put: Put, remove: Any, item_factory: ItemFactory) -> None:
    put("a", *(item_factory(name, {"platform": name[0]}) for name in ("x1", "x2", "y1")))
    remove("y1")
    assert show()["summaries"] == {"platform": ["x"]}
    remove("x1")
    assert show()["summaries"] == {"platform": ["x"]}


def test_who_sends_back_what_was_answered_changes_nothing(
    catalog: SqlCatalog, show: Show, write: Any, put: Put, item_factory: ItemFactory
) -> None:
    write(summaries={"platform": ["planned"], "eo:cloud_cover": {"minimum": 0, "maximum": 1}})
    put("a", item_factory("one", {"platform": "a", "gsd": 10, "eo:cloud_cover": 50}))
    record = asyncio.run(catalog.collection("a"))
    answered = show()
    assert answered != orjson.loads(record.doc)
    assert undescribed(answered, record) == orjson.loads(record.doc)
    changed: Any = {**answered, "title": "new", "summaries": {**answered["summaries"], "gsd": [20], "mine": [1]}}
    assert undescribed(changed, record) == orjson.loads(record.doc) | {
        "title": "new",
        "summaries": {
            "platform": ["planned"],
            "eo:cloud_cover": {"minimum": 0, "maximum": 1},
            "gsd": [20],
            "mine": [1],
        },
    }
    write()
    record = asyncio.run(catalog.collection("a"))
    assert undescribed(show(), record) == orjson.loads(record.doc)  # the summaries were all ours
    assert undescribed(orjson.loads(record.doc), record) == orjson.loads(record.doc)


def test_a_removal_that_bounds_nothing_asks_for_nothing(
    store: Database, put: Put, remove: Any, item_factory: ItemFactory
) -> None:
    put(
        "a",
        item_factory("big", geometry=box(0, 0, 20, 20)),
        item_factory("n", {"datetime": "2023-01-01T00:00:00Z"}, geometry=None),
    )
    put("a", item_factory("in", {"datetime": "2022-01-01T00:00:00Z"}, geometry=box(5, 5, 6, 6)))
    remove("in")
    assert store.read_now(waiting) == []
    remove("n")
    assert store.read_now(waiting) == ["a"]


def test_a_catalog_tells_once_that_there_is_something_to_refresh(store: Database, item_factory: ItemFactory) -> None:
    told: list[str] = []
    catalog = SqlCatalog(store, on_stale=lambda _tx, collection_id: told.append(collection_id))
    doc = orjson.dumps({"type": "Collection", "id": "a", "extent": EXTENT})
    store.write_now(partial(catalog.add_collection, collection_id="a", doc=doc, container="a-1"))
    items = [item_factory(f"{n}", geometry=box(n, n, n + 1, n + 1)) for n in range(5)]
    store.write_now(partial(catalog.put_items, collection_id="a", items=items, on_conflict=OnConflict.ERROR))
    assert told == []
    for item in ("0", "1"):
        store.write_now(partial(catalog.remove_item, collection_id="a", item_id=item))
    assert told == ["a"]
    assert asyncio.run(refresh(store, "a", run=next(runs), fence=lambda _tx: None)) is False
    store.write_now(partial(catalog.put_items, collection_id="a", items=items[4:], on_conflict=OnConflict.REPLACE))
    assert told == ["a", "a"]


def test_a_refresh_reckons_with_what_comes_and_goes_meanwhile(
    store: Database,
    catalog: SqlCatalog,
    show: Show,
    put: Put,
    remove: Any,
    item_factory: ItemFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Between two slices an item beyond the bounds is added, and one that was looked at and bounds is removed."""
    for n in range(6):
        put("a", item_factory(f"{n}", {"gsd": n}, geometry=box(n, n, n + 1, n + 1)))
    remove("5")
    monkeypatch.setattr(sql_wholes, "_READ_SLICE", 2)
    slices = 0
    real = Facts.read

    def read(stored: bytes) -> Facts:
        nonlocal slices
        slices += 1
        return real(stored)

    class Slow(Database):  # what the refresh sees: the store, with something happening after the second slice
        def __init__(self) -> None:
            pass

        async def read(self, function: Callable[[Connection], Any], limit: Any = None) -> Any:  # noqa: ARG002
            answer = await store.read(function)
            nonlocal slices
            slices += 1
            if slices == 2:
                new = item_factory("new", geometry=box(50, 50, 60, 60))
                await store.write(lambda tx: catalog.put_items(tx, "a", [new], on_conflict=OnConflict.ERROR))
                await store.write(lambda tx: catalog.remove_item(tx, "a", "0"))
            return answer

        write = staticmethod(store.write)
        _connect = _begin = _commit = _roll_back = _reading = _look_up = _close = None  # type: ignore[assignment]

    assert asyncio.run(refresh(Slow(), "a", run=next(runs), fence=lambda _tx: None)) is True
    assert show()["extent"]["spatial"]["bbox"] == [[0.0, 0.0, 60.0, 60.0]]
    assert asyncio.run(refresh(store, "a", run=next(runs), fence=lambda _tx: None)) is False
    assert show()["extent"]["spatial"]["bbox"] == [[1.0, 1.0, 60.0, 60.0]]
    assert store.read_now(waiting) == []


def test_other_summaries_make_the_facts_anew(
    store: Database,
    show: Show,
    write: Any,
    put: Put,
    remove: Any,
    refreshed: Any,
    item_factory: ItemFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sql_wholes, "_WRITE_SLICE", 2)
    put("a", *(item_factory(f"{n}", {"gsd": n % 3, "depth": n, "kind": "k"}) for n in range(7)))
    write(summaries={"depth": {"minimum": 3, "maximum": 3}, "kind": [], "gsd": {"minimum": 1, "maximum": 1}})
    assert store.read_now(waiting) == ["a"]
    assert refreshed() is False
    expected = {"depth": {"minimum": 0, "maximum": 6}, "kind": ["k"], "gsd": {"minimum": 0, "maximum": 2}}
    assert show()["summaries"] == expected
    write()
    refreshed()
    assert show()["summaries"] == {"gsd": [0, 1, 2]}
    for n in range(6):
        remove(f"{n}")
    assert show()["summaries"] == {"gsd": [0]}


def test_facts_are_made_for_items_that_were_there_before(
    store: Database, show: Show, put: Put, refreshed: Any, item_factory: ItemFactory, remove: Any
) -> None:
    put(
        "a",
        item_factory("one", {"gsd": 10}, geometry=box(1, 1, 2, 2)),
        item_factory("two", {"gsd": 20}, geometry=box(3, 3, 4, 4)),
    )

    def as_migrated(tx: Connection) -> None:
        tx.execute("DELETE FROM item_facts")
        tx.execute("UPDATE collection_facts SET whole = :whole, keys = NULL, rebuild = 2", {"whole": b"{}"})

    store.write_now(as_migrated)
    remove("one")
    put("a", item_factory("three", {"gsd": 30}, geometry=box(5, 5, 6, 6)))
    assert show()["extent"] == EXTENT  # not known yet
    assert refreshed() is False
    assert show()["extent"]["spatial"]["bbox"] == [[3.0, 3.0, 6.0, 6.0]]
    assert show()["summaries"] == {"gsd": [20, 30]}


def test_a_worker_that_lost_the_job_writes_nothing(
    store: Database, put: Put, remove: Any, show: Show, item_factory: ItemFactory
) -> None:
    put("a", item_factory("one", geometry=box(1, 1, 2, 2)), item_factory("two", geometry=box(3, 3, 4, 4)))
    remove("one")
    calls = iter([None])

    def fence(_tx: Connection) -> None:
        if next(calls, 1) is not None:
            raise LookupError

    with pytest.raises(LookupError):
        asyncio.run(refresh(store, "a", run=next(runs), fence=fence))
    assert store.read_now(waiting) == ["a"]
    assert show()["extent"]["spatial"]["bbox"] == [[1.0, 1.0, 4.0, 4.0]]
    assert asyncio.run(refresh(store, "a", run=next(runs), fence=lambda _tx: None)) is False
    assert show()["extent"]["spatial"]["bbox"] == [[3.0, 3.0, 4.0, 4.0]]


def test_a_refresh_of_a_collection_that_is_gone_does_nothing(store: Database) -> None:
    assert asyncio.run(refresh(store, "nowhere", run=next(runs), fence=lambda _tx: None)) is False


def test_nothing_is_left_of_a_forgotten_collection(
    store: Database, catalog: SqlCatalog, put: Put, item_factory: ItemFactory
) -> None:
    put("b", item_factory("one", {"gsd": 10}))
    store.write_now(partial(catalog.mark_deleting, collection_id="b"))
    store.write_now(lambda tx: catalog.remove_items(tx, "b", 10))
    store.write_now(lambda tx: catalog.forget_collection(tx, "b"))
    for table in ("item_facts", "collection_facts"):
        assert store.read_now(lambda tx: tx.value(f"SELECT count(*) FROM {table}")) == 0  # noqa: B023


@pytest.mark.parametrize("seed", range(3))
def test_extents_are_those_of_brute_force(
    store: Database, catalog: SqlCatalog, show: Show, refreshed: Any, item_factory: ItemFactory, seed: int
) -> None:
    rng = random.Random(seed)
    there: dict[str, Item] = {}
    for step in range(25):
        batch = [_random_item(rng, item_factory, f"i{rng.randrange(40)}") for _ in range(rng.randrange(1, 5))]
        put_all = partial(catalog.put_items, collection_id="a", items=batch, on_conflict=OnConflict.REPLACE)
        store.write_now(put_all)
        there |= {item["id"]: item for item in batch}
        for item_id in rng.sample(sorted(there), min(len(there) - 1, rng.randrange(4))):
            store.write_now(partial(catalog.remove_item, collection_id="a", item_id=item_id))
            del there[item_id]
        if step % 3 == 2:
            while refreshed():
                pass
            _check(show(), list(there.values()))


def _random_item(rng: random.Random, item_factory: ItemFactory, item_id: str) -> Item:
    x, y = rng.choice(((170.0, 0.0), (-175.0, 10.0), (20.0, 40.0), (-60.0, -30.0)))
    x, y, size = x + rng.randrange(8), y + rng.randrange(8), rng.choice((0.5, 2.0))
    month = rng.randrange(1, 12)
    properties: dict[str, Any] = {"gsd": rng.randrange(3), "eo:cloud_cover": rng.randrange(100)}
    properties |= {"datetime": None, "start_datetime": f"20{rng.randrange(10, 30)}-{month:02}-01T00:00:00Z"}
    properties["end_datetime"] = properties["start_datetime"].replace("01T", f"{rng.randrange(1, 28):02}T")
    return item_factory(item_id, properties, geometry=box(x, y, x + size, y + size))


def _check(answered: dict[str, Any], items: list[Item]) -> None:
    properties = [item["properties"] for item in items]
    begin = min(p["start_datetime"] for p in properties)
    assert answered["extent"]["temporal"]["interval"] == [[begin, None]]
    corners = [corner for item in items for corner in (item["geometry"] or {})["coordinates"][0]]
    west, south, east, north = answered["extent"]["spatial"]["bbox"][0]
    assert (south, north) == (min(y for _, y in corners), max(y for _, y in corners))
    width = min(_width_from(start, items) for start, _ in corners)
    assert ((east - west) % 360, _width_from(west, items)) == (width, width)
    clouds = [p["eo:cloud_cover"] for p in properties]
    assert answered["summaries"] == {
        "gsd": sorted({p["gsd"] for p in properties}),
        "eo:cloud_cover": {"minimum": min(clouds), "maximum": max(clouds)},
    }


def _width_from(west: float, items: list[Item]) -> float:
    """How far east of `west` the items reach, if the box begins there."""
    reach = 0.0
    for item in items:
        first, second = (item["geometry"] or {})["coordinates"][0][:2]
        reach = max(reach, (first[0] - west) % 360 + second[0] - first[0])
    return reach


def test_a_whole_survives_being_written() -> None:
    whole = Whole()
    whole.add(Facts(None, 5, 7, {"gsd": [10, "x"], "eo:cloud_cover": 5.5}))
    assert Whole.read(whole.dumps()) == whole
    facts = Facts(None, 5, 7, {"gsd": [1]})
    assert Facts.read(facts.dumps()) == facts


@pytest.mark.parametrize("parts", [1, 3])
def test_items_summed_up_at_once_are_those_added_one_by_one(parts: int) -> None:
    rng = random.Random(parts)
    keys: dict[str, Kind] = {"platform": "values", "gsd": "values", "cloud": "range", "mixed": "range"}
    singly, at_once, sums = Whole(), Whole(), []
    for _ in range(parts):
        summing = Summing(keys)
        for _ in range(20):
            west, south, t = rng.randrange(-10, 10), rng.randrange(-9, 9), rng.randrange(100)
            corners = (west, south, west + 3, south + 3) if rng.random() < 0.9 else (None,) * 4
            properties = {
                "platform": rng.choice(["a", "b", ["a", "b", "b"], None, {}]),
                "gsd": rng.choice([10, 10.0, "10", True]),
                "cloud": rng.random(),
                "mixed": rng.choice([1, 7.5, "x", "y", [1]]),
            }
            columns = (0, t, t + 5, "id", *corners)
            summing.add(columns, properties)
            box = None if corners[0] is None else Box(*corners)
            singly.add(Facts.of_row(box, t, t + 5, properties, keys))
        sums.append(summing.sums())
    joined = Sums.joined(sums)
    assert joined is not None
    at_once.add_sums(joined)
    assert orjson.loads(at_once.dumps()) == orjson.loads(singly.dumps())
    assert len(joined.facts) == 20 * parts


def test_sums_by_different_keys_are_not_joined() -> None:
    by: list[dict[str, Kind]] = [{"gsd": "values"}, {"gsd": "range"}]
    assert Sums.joined([Summing(keys).sums() for keys in by]) is None


def test_very_many_places_are_joined_over_the_narrowest_gaps() -> None:
    bounds = Bounds()
    for n in range(100):
        bounds.join(Bounds(spans=[(n * 20_000_000 - TURN // 4, 100)], south=0, north=1))
    assert len(bounds.spans) <= 16
    assert bounds.bbox() == (-90.0, 0.0, 108.00001, 0.0)


@pytest.mark.parametrize(
    ("value", "expected"), [(244_000_001, 24.4), (-1_250_000_000, -125.0), (123, 1.23e-05), (0, 0.0)]
)
def test_rounding_outward_is_not_shown(value: int, expected: float) -> None:
    assert degrees(value) == expected


def test_a_document_may_name_what_is_summed_up() -> None:
    keys = keys_of({"summaries": {"a": [1], "b": {"minimum": 1, "maximum": 2}, "platform": {"type": "string"}, "c": 5}})
    assert (keys["a"], keys["b"], "platform" in keys, "c" in keys) == ("values", "range", False, False)
    assert keys_of({"summaries": 5}) == keys_of({})
