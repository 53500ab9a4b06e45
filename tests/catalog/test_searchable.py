from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest

from graticule.catalog import check_searchable
from graticule.catalog.searchable import searchable
from graticule.errors import StacValidationFailed

ItemFactory = Callable[..., Any]
HOUR = 3_600_000_000


def test_time_is_datetime_to_end_or_start_to_end(item_factory: ItemFactory) -> None:
    def interval(**properties: Any) -> tuple[int, int]:
        row = searchable(item_factory(properties=properties))
        return row.t // HOUR, row.te // HOUR

    start, end = "1970-01-01T01:00:00Z", "1970-01-01T03:00:00Z"
    assert interval(datetime="1970-01-01T02:00:00Z") == (2, 2)
    assert interval(datetime=None, start_datetime=start, end_datetime=end) == (1, 3)
    assert interval(datetime="1970-01-01T02:00:00Z", start_datetime=start, end_datetime=end) == (2, 3)
    assert interval(datetime="1970-01-01T04:00:00Z", end_datetime=end) == (4, 4)
    assert interval(datetime="1970-01-01 02:00:00+00:00") == (2, 2)


def test_cloud_cover_and_platform_are_taken_where_they_are_what_they_should_be(item_factory: ItemFactory) -> None:
    def taken(cloud: Any, platform: Any) -> tuple[float | None, str | None]:
        row = searchable(item_factory(properties={"eo:cloud_cover": cloud, "platform": platform}))
        return row.cloud, row.platform

    assert taken(5, "sentinel-2a") == (5.0, "sentinel-2a")
    for odd in (None, "5", True, math.nan, 10**400, [1]):
        assert taken(odd, 7) == (None, None)


def test_an_item_without_geometry_has_no_place(item_factory: ItemFactory) -> None:
    row = searchable(item_factory(geometry=None))
    assert (row.cell, row.box, row.wkb) == (-1, None, None)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"id": ""}, "The item has no id"),
        ({"id": 5}, "The item has no id"),
        ({"id": "a\0b"}, "The item has no id"),
        ({"properties": None}, "Item 'one' has no properties"),
        ({"properties": {}}, "Item 'one' has no datetime"),
        ({"properties": {"datetime": None, "start_datetime": "2021-01-01T00:00:00Z"}}, "Item 'one' has no datetime"),
        ({"properties": {"datetime": 5}}, "Item 'one': datetime must be"),
        ({"properties": {"datetime": "2021-01-01"}}, "Item 'one': datetime '2021-01-01' is not an RFC 3339"),
        ({"properties": {"datetime": "2021-02-30T00:00:00Z"}}, "no such day"),
        (
            {"properties": {"start_datetime": "2021-01-02T00:00:00Z", "end_datetime": "2021-01-01T00:00:00Z"}},
            "Item 'one': end_datetime is before start_datetime",
        ),
        ({"geometry": {"type": "Circle"}}, "Item 'one': the geometry has the type 'Circle'"),
        ({"geometry": {"type": "Point", "coordinates": [math.nan, 0]}}, "Item 'one': the geometry has the position"),
        ({"geometry": {"type": "GeometryCollection", "geometries": []}}, "Item 'one': the geometry has no geometries"),
    ],
)
def test_what_cannot_be_searched_is_refused_by_name(
    item_factory: ItemFactory, changes: dict[str, Any], reason: str
) -> None:
    item = item_factory()
    item.update(changes)
    with pytest.raises(StacValidationFailed) as refused:
        check_searchable(item)
    assert reason in refused.value.message


def test_a_missing_geometry_is_not_a_null_geometry(item_factory: ItemFactory) -> None:
    item = item_factory()
    del item["geometry"]
    with pytest.raises(StacValidationFailed, match="has no geometry: write null"):
        check_searchable(item)


def test_the_published_example_with_a_bad_geometry_is_refused(test_data: Path) -> None:
    item = orjson.loads((test_data / "stac" / "invalid" / "badGeometryItem.json").read_bytes())
    with pytest.raises(StacValidationFailed):
        check_searchable(item)


def test_published_items_are_searchable(test_data: Path) -> None:
    for file in sorted((test_data / "stac" / "items").rglob("*.ndjson")):
        for line in file.read_bytes().splitlines():
            check_searchable(orjson.loads(line))


def test_rings_may_run_either_way(item_factory: ItemFactory, test_data: Path) -> None:
    geometry = orjson.loads((test_data / "stac" / "invalid" / "polygonWoundCCW.json").read_bytes())
    check_searchable(item_factory(geometry=geometry))
