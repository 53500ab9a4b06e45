"""Which items a picture is made of: order, footprints that hide each other, limits; in every kind of database."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import orjson
import pytest

from graticule.catalog import SqlCatalog
from graticule.catalog.picking import Wanted
from graticule.stac.bbox import BBox
from graticule.stac.search import Search, parse_search

from .conftest import ItemFactory, Put


def square(west: float, south: float, east: float, north: float) -> dict[str, Any]:
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    return {"type": "Polygon", "coordinates": [ring]}


@pytest.fixture
def stack(put: Put, item_factory: ItemFactory) -> None:
    """Newest first: left half, left half again, right half, all; and one elsewhere."""
    boxes = {
        "left": (0, 0, 5, 10),
        "under": (1, 1, 4, 9),
        "right": (5, 0, 10, 10),
        "all": (-5, -5, 15, 15),
        "away": (40, 40, 50, 50),
    }
    items = [
        item_factory(name, {"datetime": f"2024-01-{20 - age:02}T00:00:00Z"}, geometry=square(*box))
        for age, (name, box) in enumerate(boxes.items())
    ]
    put("a", *items)


def names(catalog: SqlCatalog, search: Search | None = None, **wanted: Any) -> list[str]:
    asked = replace(Wanted(around=BBox(0, 0, 10, 10), most=100), **wanted)
    found = asyncio.run(catalog.pick(search or Search(collections=("a",)), asked))
    return [orjson.loads(item)["id"] for item in found]


@pytest.mark.usefixtures("stack")
class TestPicking:
    def test_what_lies_below_others_is_left_out(self, catalog: SqlCatalog) -> None:
        assert names(catalog) == ["left", "right"]
        assert names(catalog, around=BBox(0, 0, 12, 10)) == ["left", "right", "all"]

    def test_hidden_items_count_where_they_are_asked_for(self, catalog: SqlCatalog) -> None:
        assert names(catalog, skip_hidden=False) == ["left", "under", "right"]
        assert names(catalog, stop_when_covered=False) == ["left", "right"]
        assert names(catalog, skip_hidden=False, stop_when_covered=False) == ["left", "under", "right", "all"]

    def test_spares_fill_what_room_there_is_and_keep_the_order(self, catalog: SqlCatalog) -> None:
        assert names(catalog, with_spares=True) == ["left", "under", "right", "all"]
        assert names(catalog, with_spares=True, most=3) == ["left", "under", "right"]
        assert names(catalog, with_spares=True, most=2) == ["left", "right"]

    def test_limits(self, catalog: SqlCatalog) -> None:
        assert names(catalog, most=1) == ["left"]
        assert names(catalog, scan=2) == ["left"]
        assert names(catalog, scan=2, skip_hidden=False) == ["left", "under"]

    def test_the_order_and_conditions_of_the_search_hold(self, catalog: SqlCatalog) -> None:
        oldest_first = parse_search({"collections": ["a"], "sortby": "+datetime"})
        assert names(catalog, oldest_first) == ["all"]
        some = parse_search({"collections": ["a"], "ids": ["under", "right", "away"]})
        assert names(catalog, some) == ["under", "right"]
        assert names(catalog, Search(collections=("b",))) == []

    def test_an_item_meets_the_area_and_the_searchs_place_each_for_itself(self, catalog: SqlCatalog) -> None:
        # The search looks at a corner of "all" that is far from the area: "all" is still drawn there.
        corner = parse_search({"collections": ["a"], "intersects": square(13, 13, 14, 14)})
        assert names(catalog, corner) == ["all"]
        by_box = parse_search({"collections": ["a"], "bbox": [13, 13, 14, 14]})
        assert names(catalog, by_box) == ["all"]
        wide = parse_search({"collections": ["a"], "bbox": [-60, -60, 60, 60]})
        assert names(catalog, wide) == ["left", "right"]
        elsewhere = parse_search({"collections": ["a"], "bbox": [30, 30, 60, 60]})
        assert names(catalog, elsewhere) == []

    def test_a_point(self, catalog: SqlCatalog) -> None:
        assert names(catalog, around=BBox(2, 2, 2, 2)) == ["left"]
        assert names(catalog, around=BBox(2, 2, 2, 2), with_spares=True) == ["left", "under", "all"]

    def test_without_an_area_all_items_count(self, catalog: SqlCatalog) -> None:
        assert names(catalog, around=None) == ["left", "under", "right", "all", "away"]


def test_footprints_across_the_antimeridian_cover_what_lies_there(
    catalog: SqlCatalog, put: Put, item_factory: ItemFactory
) -> None:
    parts = [square(170, 0, 180, 10)["coordinates"], square(-180, 0, -170, 10)["coordinates"]]
    halves = {"type": "MultiPolygon", "coordinates": parts}
    put(
        "a",
        item_factory("split", {"datetime": "2024-01-03T00:00:00Z"}, geometry=halves),
        item_factory("beyond", {"datetime": "2024-01-02T00:00:00Z"}, geometry=square(165, -5, 195, 15)),
        item_factory("below", {"datetime": "2024-01-01T00:00:00Z"}, geometry=square(-179, 1, -175, 2)),
    )
    assert names(catalog, around=BBox(172, 1, -172, 9)) == ["split"]
    assert names(catalog, around=BBox(172, 1, -168, 9)) == ["split", "beyond"]
    assert names(catalog, around=BBox(-178, 1, -176, 2)) == ["split"]
    assert names(catalog, around=BBox(160, 1, 172, 2)) == ["split", "beyond"]


def test_many_hidden_items_do_not_end_the_search(catalog: SqlCatalog, put: Put, item_factory: ItemFactory) -> None:
    items = [
        item_factory(f"s{n:03}", {"datetime": "2024-02-01T00:00:00Z"}, geometry=square(0, 0, 5, 10)) for n in range(150)
    ]
    put("a", *items, item_factory("last", {"datetime": "2020-01-01T00:00:00Z"}, geometry=square(5, 0, 10, 10)))
    assert names(catalog, most=35) == ["s149", "last"]
    with_spares = names(catalog, most=35, with_spares=True)
    assert (len(with_spares), with_spares[0], with_spares[-1]) == (35, "s149", "last")
    assert names(catalog, most=35, scan=150) == ["s149"]
