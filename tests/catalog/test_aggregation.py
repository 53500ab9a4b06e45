"""Aggregations against the same counts made from the items that a search finds; bounds of work."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Protocol

import orjson
import pytest
import shapely
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from graticule.catalog import OnConflict, SqlCatalog
from graticule.catalog.aggregating import Aggregation, suitable
from graticule.catalog.sql import aggregation
from graticule.catalog.sql.aggregation import aggregate
from graticule.catalog.sql.dialects import dialect_of
from graticule.database import Connection, Database
from graticule.errors import InvalidParameter
from graticule.stac.aggregation import AGGREGATIONS, INTERVALS, AggregationRequest, parse_aggregation
from graticule.stac.search import parse_search

EVERYTHING = tuple(AGGREGATIONS)


class OpenDatabase(Protocol):
    def __call__(self, kind: str) -> AbstractContextManager[Database]: ...


def footprint(rng: random.Random) -> dict[str, Any] | None:
    west, south, size = rng.choice([-179, -10, 0, 5, 170, 178]), rng.choice([-20, 0, 3, 80]), rng.choice([1, 4, 9])
    if rng.random() < 0.1:
        return None
    if rng.random() < 0.3:
        return {"type": "Point", "coordinates": [west + 0.123456789, rng.choice([south + 0.5, 90, -90])]}
    corners = [[west, south], [west + size, south], [west + size, south + size], [west, south]]  # a triangle
    return {"type": "Polygon", "coordinates": [corners]}


def items() -> Iterator[tuple[str, dict[str, Any]]]:
    rng = random.Random(11)
    days = ["1969-12-31T23:59:59.5Z", "1931-02-03T04:05:06Z", "2020-02-29T12:00:00Z", "2021-06-01T00:00:00Z"]
    for number in range(200):
        start = rng.choice([*days, f"2021-0{number % 6 + 1}-15T0{number % 10}:00:00Z"])
        properties: dict[str, Any] = {"datetime": start}
        if rng.random() < 0.2:
            properties = {"datetime": None, "start_datetime": start, "end_datetime": "2022-01-01T00:00:00Z"}
        if rng.random() < 0.7:
            properties["eo:cloud_cover"] = rng.choice([0, 5, 9.99, 10, 50, 100, 120, -1])
        if rng.random() < 0.7:
            properties["platform"] = rng.choice(["L8", "S2", "é%"])
        if rng.random() < 0.4:
            properties["title"] = rng.choice(["forest fire", "fire", "land cover"])
        properties["n"] = number % 7
        yield "ab"[number % 2], {"id": f"i{number // 2}", "geometry": footprint(rng), "properties": properties}


class Loaded:
    def __init__(self, database: Database) -> None:
        self.catalog = SqlCatalog(database)
        self.database = database
        batches: dict[str, list[Any]] = {"a": [], "b": [], "empty": []}
        for collection, item in items():
            batches[collection].append({**item, "collection": collection})
        for name, batch in batches.items():
            database.write_now(partial(self._fill, name=name, batch=batch))

    def _fill(self, tx: Connection, *, name: str, batch: list[Any]) -> None:
        self.catalog.add_collection(tx, name, b"{}", name)
        self.catalog.put_items(tx, name, batch, on_conflict=OnConflict.ERROR)

    def aggregated(self, request: AggregationRequest, **bounds: Any) -> list[Aggregation]:
        dialect = dialect_of(self.database)
        return self.database.read_now(lambda tx: aggregate(tx, dialect=dialect, request=request, **bounds))


@pytest.fixture(scope="module", params=["memory", "postgres"])
def loaded(request: pytest.FixtureRequest, open_database: OpenDatabase) -> Iterator[Loaded]:
    with open_database(request.param) as database:
        yield Loaded(database)


# --- the same in plain Python ----------------------------------------------------------------------------------------


def time_of(item: dict[str, Any]) -> str:
    properties = item["properties"]
    return str(properties["datetime"] or properties["start_datetime"])


def at(item: dict[str, Any]) -> datetime:
    return datetime.fromisoformat(time_of(item))


def begin(when: datetime, interval: str) -> str:
    for unit in ("second", "minute", "hour"):
        if interval == unit:
            break
        when = when.replace(**{unit: 0})  # type: ignore[arg-type]  # none of these is the time zone
    if interval == "week":
        when -= timedelta(days=when.weekday())
    elif interval in {"month", "year"}:
        when = when.replace(day=1, month=1 if interval == "year" else when.month)
    return when.strftime("%Y-%m-%dT%H:%M:%S.000000Z")


def cloud_key(item: dict[str, Any]) -> str | None:
    cloud = item["properties"].get("eo:cloud_cover")
    if cloud is None:
        return None
    if cloud < 0:
        return "*-0.0"
    return "90.0-*" if cloud >= 90 else f"{cloud // 10 * 10:.1f}-{cloud // 10 * 10 + 10:.1f}"


def geohash(item: dict[str, Any], precision: int) -> str | None:
    """By halving, as the encoding is described."""
    if item["geometry"] is None:
        return None
    west, south, east, north = shapely.from_geojson(orjson.dumps(item["geometry"]).decode()).bounds
    lon, lat = (west + east) / 2, (south + north) / 2
    lon = (lon + 180) % 360 - 180
    box, bits = [[-180.0, 180.0], [-90.0, 90.0]], ""
    for place in range(5 * precision):
        ends, value = box[place % 2], (lon, lat)[place % 2]
        middle = sum(ends) / 2
        bits += "1" if value >= middle else "0"
        ends[0 if value >= middle else 1] = middle
    letters = "0123456789bcdefghjkmnpqrstuvwxyz"
    return "".join(letters[int(bits[n : n + 5], 2)] for n in range(0, len(bits), 5))


def check(found: list[Aggregation], items: list[dict[str, Any]], interval: str, precision: int) -> None:
    by_name = {one.name: one for one in found}
    times = sorted(at(item) for item in items)
    assert by_name["total_count"].value == len(items)
    for name, expected in (("datetime_min", times[:1]), ("datetime_max", times[-1:])):
        assert by_name[name].value == (expected[0].strftime("%Y-%m-%dT%H:%M:%S.%fZ") if expected else None)
    keys = {
        "collection_frequency": lambda item: item["collection"],
        "platform_frequency": lambda item: item["properties"].get("platform"),
        "cloud_cover_frequency": cloud_key,
        "datetime_frequency": lambda item: begin(at(item), interval),
        "centroid_geohash_grid_frequency": lambda item: geohash(item, precision),
    }
    for name, key in keys.items():
        counted = Counter(map(key, items))
        missing = counted.pop(None, 0)
        answer = by_name[name]
        assert answer.buckets is not None
        assert {one.key: one.frequency for one in answer.buckets if one.frequency} == counted, name
        assert len({one.key for one in answer.buckets}) == len(answer.buckets)
        assert answer.overflow == missing
        if name == "datetime_frequency":
            assert [one.key for one in answer.buckets] == sorted(counted)
            assert answer.data_type == f"interval_{interval}"
        elif name != "cloud_cover_frequency":
            assert [one.frequency for one in answer.buckets] == sorted(counted.values(), reverse=True)


conditions: list[dict[str, Any]] = [
    {"collections": "b"},
    {"collections": "a,b"},
    {"collections": "empty"},
    {"bbox": "-10,-20,6,4"},
    {"bbox": "171,-30,-175,90"},
    {"bbox": "-180,-90,180,90"},
    {"bbox": "-180,-80,179,80"},
    {"bbox": "100,40,101,41"},
    {"intersects": {"type": "Polygon", "coordinates": [[[-10, 0], [3, 0], [-10, 9], [-10, 0]]]}},
    {"intersects": {"type": "Point", "coordinates": [1, 1]}},
    {"datetime": "2021-03-01T00:00:00Z/.."},
    {"datetime": "../1980-01-01T00:00:00Z"},
    {"ids": "i1,i2,i3,i50,none"},
    {"filter": "eo:cloud_cover <= 10"},
    {"filter": "n < 3"},
    {"filter": "S_WITHIN(geometry, POLYGON((-10 -30, 20 -30, 20 30, -10 30, -10 -30)))"},
    {"q": "fire"},
    {"q": "NOT fire"},
]


@pytest.mark.parametrize("dearer", [0, 5])  # through the cells, or past all items where that is cheaper
@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    chosen=st.lists(st.sampled_from(conditions), max_size=3),
    interval=st.sampled_from(INTERVALS),
    precision=st.integers(1, 6),
)
async def test_counts_are_those_of_the_items_found(
    loaded: Loaded,
    monkeypatch: pytest.MonkeyPatch,
    dearer: int,
    chosen: list[dict[str, Any]],
    interval: str,
    precision: int,
) -> None:
    monkeypatch.setattr(aggregation, "_DEARER", dearer)
    asked: dict[str, Any] = {}
    for one in chosen:
        asked |= one
    if "bbox" in asked and "intersects" in asked:
        del asked["bbox"]
    search = parse_search({**asked, "limit": 1_000})
    page = await loaded.catalog.search(search)
    assert page.next_token is None
    found = await loaded.catalog.aggregate(AggregationRequest(EVERYTHING, search, interval, precision))
    assert [one.name for one in found] == list(EVERYTHING)
    check(found, [orjson.loads(item) for item in page.items], interval, precision)


async def test_an_interval_is_chosen_by_what_was_found(loaded: Loaded) -> None:
    def chosen(**asked: str) -> str:
        request = parse_aggregation({"aggregations": "datetime_frequency", **asked})
        (found,) = loaded.aggregated(request)
        return found.data_type

    assert chosen() == "interval_year"
    assert chosen(datetime="2021-01-01T00:00:00Z/..", filter="datetime >= DATE('2021-01-01')") == "interval_month"
    assert chosen(filter="datetime = DATE('2021-06-01')") == "interval_hour"
    assert chosen(collections="empty") == "interval_hour"
    assert suitable(0, 30 * 86_400_000_000) == "day"


async def test_what_would_take_too_much_work_is_refused(loaded: Loaded) -> None:
    def ask(**asked: Any) -> AggregationRequest:
        return parse_aggregation({"aggregations": "total_count,platform_frequency", **asked})

    cases: list[tuple[AggregationRequest, dict[str, int], str]] = [
        (ask(), {"most_rows": 199}, "200 items would have to be read"),
        (ask(bbox="-10,-20,6,4"), {"most_footprints": 3}, "footprints of more than 3"),
        (ask(filter="n < 3"), {"most_documents": 50}, "documents of more than 50"),
        (ask(datetime="2021-01-01T00:00:00Z/.."), {"most_rows": 399}, "would have to be read"),
    ]
    for request, bounds, reason in cases:
        with pytest.raises(InvalidParameter, match=reason):
            loaded.aggregated(request, **bounds)
        enough = dict.fromkeys(bounds, 1000)
        assert loaded.aggregated(request, **enough)[0].value
    known = parse_aggregation({"aggregations": "total_count,collection_frequency,datetime_min,datetime_max"})
    assert loaded.aggregated(known, most_rows=0)[0].value == 200


async def test_times_beyond_the_calendar_count_as_its_ends(open_database: OpenDatabase) -> None:
    with open_database("memory") as database:
        catalog = SqlCatalog(database)
        odd: list[Any] = [
            {"id": at, "geometry": None, "properties": {"datetime": at}}
            for at in ("0001-01-01T00:00:00+10:00", "9999-12-31T23:59:59-10:00")
        ]
        database.write_now(partial(catalog.add_collection, collection_id="c", doc=b"{}", container="c"))
        database.write_now(partial(catalog.put_items, collection_id="c", items=odd, on_conflict=OnConflict.ERROR))
        for interval in INTERVALS:
            request = AggregationRequest(EVERYTHING, parse_search({}), interval)
            found = {one.name: one for one in await catalog.aggregate(request)}
            assert found["datetime_min"].value == "0001-01-01T00:00:00.000000Z"
            assert sum(one.frequency for one in found["datetime_frequency"].buckets or ()) == 2


@pytest.mark.parametrize(
    ("asked", "target"),
    [
        ({}, "aggregations"),
        ({"aggregations": ""}, "aggregations"),
        ({"aggregations": "total_count,sums"}, "aggregations"),
        ({"aggregations": 5}, "aggregations"),
        ({"datetime_frequency_interval": "fortnight"}, "datetime_frequency_interval"),
        ({"centroid_geohash_grid_frequency_precision": "7"}, "centroid_geohash_grid_frequency_precision"),
        ({"centroid_geohash_grid_frequency_precision": True}, "centroid_geohash_grid_frequency_precision"),
        ({"centroid_geohash_grid_frequency_precision": "²"}, "centroid_geohash_grid_frequency_precision"),
        ({"bbox": "1,2"}, "bbox"),
        ({"q": "("}, "q"),
    ],
)
def test_what_cannot_be_asked_is_refused(asked: dict[str, Any], target: str) -> None:
    with pytest.raises(InvalidParameter) as caught:
        parse_aggregation({"aggregations": "total_count", **asked} if target != "aggregations" else asked)
    assert caught.value.target == target


def test_what_has_no_meaning_is_ignored() -> None:
    request = parse_aggregation({"aggregations": ["total_count"], "limit": 0, "token": 5, "sortby": 1, "fields": 1})
    assert request == AggregationRequest(("total_count",), parse_search({}))
