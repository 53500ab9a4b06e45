"""Counts of the values of declared properties, against the same made from the documents; ranges and their edges."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from catalog.test_aggregation import begin, conditions
from catalog.test_queryables import declare
from graticule.catalog import OnConflict, SqlCatalog
from graticule.catalog.aggregating import Aggregation
from graticule.catalog.ranges import Ranges
from graticule.catalog.sql import frequencies
from graticule.catalog.sql.aggregation import aggregate
from graticule.catalog.sql.dialects import dialect_of
from graticule.database import Connection, Database
from graticule.errors import InvalidParameter
from graticule.stac.aggregation import INTERVALS, AggregationRequest, Scale, parse_aggregation, scale_of
from graticule.stac.search import parse_search

OpenDatabase = Callable[[str], AbstractContextManager[Database]]

PROPERTIES = {
    "mode": Scale.TERMS,
    "gsd": Scale.NUMBERS,
    "rows": Scale.INTEGERS,
    "updated": Scale.TIMES,
    "odd": Scale.TERMS,
    "view:off_nadir": Scale.NUMBERS,
    "none": Scale.NUMBERS,
}
NAMES = {name: "off_nadir_frequency" if ":" in name else f"{name}_frequency" for name in PROPERTIES}
CHOICES: dict[str, list[Any]] = {
    "mode": ["IW", "EW", "É", "", "5"],
    "gsd": [0.3, 0.1, 0.7, 10, 2.5, -0.29, 10.0, "10", None],
    "rows": [1, 2, 3, 500, 10_980, -3],
    "updated": ["2021-03-01", "2021-03-01T12:00:00.5Z", "1931-02-03T04:05:06+02:00", "soon", 5],
    "odd": [1, 1.0, "1", True, False, "true", 2**60, [1], {"x": 1}, 2.5],
    "view:off_nadir": [0, 12.5, 29.999, 30],
}


def items() -> Iterator[tuple[str, Any]]:
    rng = random.Random(12)
    for number in range(240):
        properties: dict[str, Any] = {"datetime": f"2021-0{number % 6 + 1}-15T00:00:00Z", "n": number % 7}
        properties |= {name: rng.choice(choice) for name, choice in CHOICES.items() if rng.random() < 0.8}
        if rng.random() < 0.3:
            properties |= {"title": "forest fire", "eo:cloud_cover": rng.choice([5, 50])}
        point = {"type": "Point", "coordinates": [rng.choice([-9, 0, 5, 175]), rng.choice([-19, 0, 3])]}
        collection = "ab"[number % 2]
        item = {"id": f"i{number // 2}", "collection": collection, "geometry": point, "properties": properties}
        yield collection, item


class Loaded:
    def __init__(self, database: Database, indexed: dict[str, tuple[str, ...]]) -> None:
        self.catalog = SqlCatalog(database)
        self.database = database
        self.documents: dict[tuple[str, str], dict[str, Any]] = {}
        batches: dict[str, list[Any]] = {"a": [], "b": [], "empty": []}
        for collection, item in items():
            batches[collection].append(item)
            self.documents[collection, item["id"]] = item["properties"]
        for name, batch in batches.items():
            database.write_now(partial(self._fill, name=name, batch=batch))
            declare(database, self.catalog, name, *indexed.get(name, ()))

    def _fill(self, tx: Connection, *, name: str, batch: list[Any]) -> None:
        self.catalog.add_collection(tx, name, b"{}", name)
        self.catalog.put_items(tx, name, batch, on_conflict=OnConflict.ERROR)

    def counted(self, asked: dict[str, Any], **bounds: Any) -> dict[str, Aggregation]:
        request = parse_aggregation(asked, PROPERTIES)
        dialect = dialect_of(self.database)
        found = self.database.read_now(lambda tx: aggregate(tx, dialect=dialect, request=request, **bounds))
        return {one.name: one for one in found}

    async def found(self, asked: dict[str, Any]) -> list[dict[str, Any]]:
        page = await self.catalog.search(parse_search({**asked, "limit": 1000}))
        return [self.documents[name] for name in page.names]


@pytest.fixture(scope="module", params=["disk", "postgres"])
def loaded(request: pytest.FixtureRequest, open_database: OpenDatabase) -> Iterator[Loaded]:
    """Everything is indexed in ``a``, some of it in ``b``."""
    with open_database(request.param) as database:
        yield Loaded(database, {"a": tuple(PROPERTIES), "b": ("mode", "gsd", "updated"), "empty": ("gsd",)})


# --- the same in plain Python ----------------------------------------------------------------------------------------


def term(value: Any) -> str | None:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return str(int(value)) if value == int(value) and value < 2**53 else repr(float(value))
    return value if isinstance(value, str) else None


def moment(value: Any) -> datetime | None:
    if not isinstance(value, str) or value == "soon":
        return None
    found = datetime.fromisoformat(value)
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)


def number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def check_ranges(answer: Aggregation, values: list[float | None], width: str | None) -> None:
    numbers = [value for value in values if value is not None]
    buckets = answer.buckets or ()
    assert answer.overflow == len(values) - len(numbers)
    for one in buckets:
        assert one.start is not None
        assert one.end is not None
        assert one.frequency == sum(one.start <= value < one.end for value in numbers)
        assert width is None or Decimal(repr(one.end)) - Decimal(repr(one.start)) == Decimal(width)
    assert sum(one.frequency for one in buckets) == len(numbers)
    assert all(before.end == after.start for before, after in pairwise(buckets))
    assert not buckets or (buckets[0].frequency and buckets[-1].frequency)
    assert width is not None or len(buckets) <= 22


def check(found: dict[str, Aggregation], items: list[dict[str, Any]], interval: str, width: str | None) -> None:
    for name in ("mode", "odd"):
        counted = Counter(term(item.get(name)) for item in items)
        missing = counted.pop(None, 0)
        answer = found[NAMES[name]]
        assert {one.key: one.frequency for one in answer.buckets or ()} == counted
        assert answer.overflow == missing
        assert answer.data_type == "string"
    times = [moment(item.get("updated")) for item in items]
    begins = Counter(begin(one.replace(microsecond=0), interval) for one in times if one is not None)
    answer = found["updated_frequency"]
    assert [(one.key, one.frequency) for one in answer.buckets or ()] == sorted(begins.items())
    assert (answer.overflow, answer.data_type) == (times.count(None), f"interval_{interval}")
    for name in ("gsd", "view:off_nadir", "rows", "none"):
        values = [number(item.get(name)) for item in items]
        check_ranges(found[NAMES[name]], values, width if name == "gsd" else None)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    chosen=st.lists(st.sampled_from(conditions), max_size=2),
    interval=st.sampled_from(INTERVALS),
    width=st.sampled_from([None, "0.1", "0.01", "0.25", "3", "10"]),
)
async def test_counts_are_those_of_the_items_found(
    loaded: Loaded, chosen: list[dict[str, Any]], interval: str, width: str | None
) -> None:
    asked: dict[str, Any] = {}
    for one in chosen:
        asked |= one
    assume(not {"bbox", "intersects"} <= asked.keys())
    wanted = {"aggregations": list(NAMES.values()), "updated_frequency_interval": interval}
    if width is not None:
        wanted["gsd_frequency_interval"] = width
    check(loaded.counted({**asked, **wanted}), await loaded.found(asked), interval, width)


def test_documents_are_bounded_and_the_message_tells_the_way_out(loaded: Loaded) -> None:
    asked = {"aggregations": "rows_frequency"}
    with pytest.raises(InvalidParameter, match="let 'rows' have an index in each collection"):
        loaded.counted(asked, most_documents=119)
    assert loaded.counted(asked, most_documents=120)["rows_frequency"].buckets
    assert loaded.counted({**asked, "collections": ["a"]}, most_documents=0)["rows_frequency"].buckets


def test_too_many_values_and_ranges_are_refused(loaded: Loaded, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frequencies, "MOST_VALUES", 2)
    with pytest.raises(InvalidParameter, match="more than 2 different values"):
        loaded.counted({"aggregations": "mode_frequency", "collections": ["a"]})
    with pytest.raises(InvalidParameter, match="more than 10000 ranges") as caught:
        loaded.counted({"aggregations": "rows_frequency", "rows_frequency_interval": 1})
    assert caught.value.target == "rows_frequency_interval"


async def test_values_of_every_size_have_ranges(open_database: OpenDatabase) -> None:
    """Also where the first and the last are all but equal, or as far from each other as numbers can be."""
    for kind in ("memory", "postgres"):
        with open_database(kind) as database:
            catalog = SqlCatalog(database)
            for place, numbers in enumerate(([5e-324, 0], [1e15, 1e15 + 1], [-1e300, 1e300], [1e-9], [], [1e308])):
                batch: list[Any] = [
                    {"id": str(n), "geometry": None, "properties": {"datetime": "2021-01-01T00:00:00Z", "v": value}}
                    for n, value in enumerate(numbers)
                ]
                name = f"c{place}"
                database.write_now(partial(catalog.add_collection, collection_id=name, doc=b"{}", container=name))
                declare(database, catalog, name, "v")
                put = partial(catalog.put_items, collection_id=name, items=batch, on_conflict=OnConflict.ERROR)
                database.write_now(put)
                request = parse_aggregation(
                    {"aggregations": ["v_frequency"], "collections": [name]}, {"v": Scale.NUMBERS}
                )
                if numbers == [1e308]:
                    with pytest.raises(InvalidParameter, match="beyond 1e"):
                        await catalog.aggregate(request)
                else:
                    check_ranges((await catalog.aggregate(request))[0], list(numbers), None)


@settings(deadline=None)
@given(st.lists(st.floats(-1e300, 1e300), min_size=1), st.booleans())
def test_suitable_ranges_hold_every_number(values: list[float], whole: bool) -> None:
    ranges = Ranges.suitable(min(values), max(values), whole=whole)
    assert ranges.counts(min(values), max(values)) <= 22
    for value in values:
        place = ranges.place(value)
        assert ranges.edge(place) <= value < ranges.edge(place + 1)


# --- what can be asked -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("definition", "data_type", "scale"),
    [
        ({"type": "string"}, None, Scale.TERMS),
        ({"type": "number"}, None, Scale.NUMBERS),
        ({"type": ["integer", "null"]}, None, Scale.INTEGERS),
        ({"type": ["integer", "number"]}, None, Scale.NUMBERS),
        ({"type": ["string", "number"]}, None, Scale.TERMS),
        ({"type": "integer", "enum": [1, 2]}, "number", Scale.TERMS),
        ({"type": "string", "format": "date-time"}, None, Scale.TIMES),
        ({"type": "string"}, "timestamp", Scale.TERMS),
        ({"type": 5}, "date", Scale.TIMES),
        ({}, "number", Scale.NUMBERS),
        ({}, None, Scale.TERMS),
    ],
)
def test_the_definition_says_how_values_are_counted(
    definition: dict[str, Any], data_type: str | None, scale: Scale
) -> None:
    assert scale_of(definition, data_type) is scale


@pytest.mark.parametrize(
    ("asked", "target"),
    [
        ({"aggregations": "view:off_nadir_frequency"}, "aggregations"),
        ({"aggregations": "gsd"}, "aggregations"),
        ({"aggregations": "mode_frequency", "mode_frequency_interval": "5"}, "mode_frequency_interval"),
        ({"aggregations": "updated_frequency", "updated_frequency_interval": "eon"}, "updated_frequency_interval"),
        ({"aggregations": "updated_frequency", "updated_frequency_interval": ["day"]}, "updated_frequency_interval"),
        *(
            ({"aggregations": "gsd_frequency", "gsd_frequency_interval": width}, "gsd_frequency_interval")
            for width in ("0", 0, -1, "1e5", "nan", True, [1], "1234567890123", "0.0000000001", "", "٣")
        ),
    ],
)
def test_what_cannot_be_asked_is_refused(asked: dict[str, Any], target: str) -> None:
    with pytest.raises(InvalidParameter) as caught:
        parse_aggregation(asked, PROPERTIES)
    assert caught.value.target == target


def test_options_of_what_is_not_asked_for_are_ignored() -> None:
    request = parse_aggregation({"aggregations": "total_count", "gsd_frequency_interval": "x"}, PROPERTIES)
    assert request == AggregationRequest(("total_count",), parse_search({}))
