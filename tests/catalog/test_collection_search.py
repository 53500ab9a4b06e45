"""Searches for collections, against each condition said in a simpler way; order, paging and tokens."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import orjson
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from graticule.catalog import CollectionRecord
from graticule.catalog.collection_search import find_collections
from graticule.errors import InvalidParameter
from graticule.stac.collection_search import CollectionSearch, parse_collection_search
from graticule.stac.datetimes import parse_instant

BOXES = (
    [-10, 0, 5, 5], [5, 5, 5, 5], [170, -20, -170, 10], [-180, -90, 180, 90], [0, 0, -5, 9, 9, 5], [20, 1, 30, 1],
)  # fmt: skip
SINCE = "2000-01-01T00:00:00Z"


def documents() -> list[dict[str, Any]]:
    rng = random.Random(3)
    found = []
    for number in range(60):
        boxes = [
            rng.choice(
                [
                    [-10, 0, 5, 5],
                    [5, 5, 5, 5],
                    [170, -20, -170, 10],
                    [-180, -90, 180, 90],
                    [0, 0, -5, 9, 9, 5],
                    [20, 1, 30, 1],
                ]
            )
            for _ in range(rng.choice([1, 1, 3]))
        ]
        years = sorted(rng.sample(range(1990, 2030), 2))
        interval: list[str | None] = [f"{years[0]}-01-01T00:00:00Z", f"{years[1]}-01-01T00:00:00Z"]
        interval = rng.choice([interval, [interval[0], None], [None, interval[1]]])
        document = {
            "type": "Collection",
            "id": f"c{number:02}",
            "description": rng.choice(["Optical scenes of Brésil", "Radar", "Land cover, yearly"]),
            "license": rng.choice(["CC-BY-4.0", "proprietary"]),
            "extent": {"spatial": {"bbox": boxes}, "temporal": {"interval": [interval]}},
        }
        if rng.random() < 0.7:
            document["title"] = rng.choice(["Sentinel", "Landsat", "sentinel radar"])
        if rng.random() < 0.5:
            document["keywords"] = rng.sample(["radar", "optical", "land cover"], 2)
        if rng.random() < 0.5:
            document["summaries"] = {"gsd": rng.choice([10, 30, "fine", True, None]), "platform": ["s1", "s2"]}
        found.append(document)
    return found


DOCUMENTS = documents()
RECORDS = [
    CollectionRecord(one["id"], orjson.dumps(one), one["id"], 1_000 + number // 3, 0, deleting=False)
    for number, one in enumerate(DOCUMENTS)
]


def found(search: CollectionSearch) -> list[str]:
    ids: list[str] = []
    while True:
        page = find_collections(RECORDS, search)
        assert len(page.records) <= search.limit
        ids += [record.id for record in page.records]
        if page.next_token is None:
            assert page.matched == len(ids)
            return ids
        search = replace(search, token=page.next_token)


def in_box(document: dict[str, Any], box: list[float]) -> bool:
    def shapes(box: list[float]) -> list[Any]:
        west, south, east, north = box if len(box) == 4 else (*box[:2], *box[3:5])
        parts = [(west, east)] if west <= east else [(west, 180), (-180, east)]
        # The meridian of 180 degrees is one line, from either side.
        return [shapely.box(w + by, south, e + by, north) for w, e in parts for by in (0, 360, -360)]

    return any(
        shapely.intersects(one, other)
        for extent in document["extent"]["spatial"]["bbox"]
        for one in shapes(extent)
        for other in shapes(box)
    )


def in_time(document: dict[str, Any], start: str, end: str) -> bool:
    first, last = document["extent"]["temporal"]["interval"][0]
    return (end == ".." or first is None or parse_instant(first) <= parse_instant(end)) and (
        start == ".." or last is None or parse_instant(last) >= parse_instant(start)
    )


CONDITIONS: list[tuple[dict[str, Any], Any]] = [
    ({"q": "radar"}, lambda d: "radar" in str([d.get("title"), d["description"], d.get("keywords")]).lower()),
    ({"q": "bresil,landsat"}, lambda d: "Brésil" in d["description"] or d.get("title") == "Landsat"),
    ({"q": '"land cover" AND NOT radar'}, lambda d: "land cover" in (t := words(d)) and "radar" not in t),
    ({"filter": "license = 'proprietary'"}, lambda d: d["license"] == "proprietary"),
    ({"filter": "summaries.gsd < 20"}, lambda d: d.get("summaries", {}).get("gsd") == 10),
    ({"filter": "title IS NULL"}, lambda d: "title" not in d),
    ({"filter": "id IN ('c01', 'c05', 'x')"}, lambda d: d["id"] in {"c01", "c05"}),
    (
        {"filter": "A_CONTAINS(keywords, ('radar', 'optical'))"},
        lambda d: {"radar", "optical"} <= set(d.get("keywords", ())),
    ),
    ({"filter": f"T_INTERSECTS(datetime, INTERVAL('{SINCE}', '..'))"}, lambda d: in_time(d, SINCE, "..")),
    ({"filter": "S_INTERSECTS(geometry, BBOX(-9, 1, -8, 2))"}, lambda d: in_box(d, [-9, 1, -8, 2])),
    ({"filter": "S_INTERSECTS(geometry, BBOX(-175, 1, -171, 2))"}, lambda d: in_box(d, [-175, 1, -171, 2])),
    ({"query": {"license": {"eq": "CC-BY-4.0"}}}, lambda d: d["license"] == "CC-BY-4.0"),
]  # fmt: skip
CONDITIONS += [
    ({"bbox": box}, lambda d, box=box: in_box(d, box))
    for box in (
        [5, 5, 6, 6],
        [21, 0, 22, 2],
        [-179, -5, -178, 0],
        [175, 5, -175, 6],
        [100, 50, 101, 51],
        [-180, 0, -180, 1],
    )
]
CONDITIONS += [
    ({"datetime": f"{start}/{end}"}, lambda d, start=start, end=end: in_time(d, start, end))
    for start, end in (
        ("2010-01-01T00:00:00Z", "2010-01-02T00:00:00Z"), ("..", "1999-01-01T00:00:00Z"),
        ("2028-06-01T00:00:00Z", ".."),
    )
]  # fmt: skip


def words(document: dict[str, Any]) -> str:
    texts = [document.get("title", ""), document["description"], *document.get("keywords", [])]
    return "|".join(texts).lower()


@pytest.mark.parametrize(("asked", "holds"), CONDITIONS, ids=lambda one: str(one) if isinstance(one, dict) else "")
def test_a_condition_finds_what_it_means(asked: dict[str, Any], holds: Any) -> None:
    expected = [one["id"] for one in DOCUMENTS if holds(one)]
    assert found(parse_collection_search(asked)) == expected
    assert found(parse_collection_search({**asked, "limit": 4})) == expected


def test_the_conditions_tell_collections_apart() -> None:
    counts = [len(found(parse_collection_search(asked))) for asked, _ in CONDITIONS]
    assert sum(0 < count < len(DOCUMENTS) for count in counts) == len(counts)


@given(st.lists(st.sampled_from(CONDITIONS), max_size=3), st.sampled_from([1, 7, 100]))
@settings(deadline=None)
def test_conditions_hold_together(chosen: list[tuple[dict[str, Any], Any]], limit: int) -> None:
    asked: dict[str, Any] = {}
    for parameters, _ in chosen:
        asked |= parameters
    holding = [holds for parameters, holds in CONDITIONS if parameters.items() <= asked.items()]
    expected = [one["id"] for one in DOCUMENTS if all(holds(one) for holds in holding)]
    assert found(parse_collection_search({**asked, "limit": limit})) == expected


@pytest.mark.parametrize("limit", [1, 7, 100])
@pytest.mark.parametrize(
    ("sortby", "key", "descending"),
    [
        ("title", lambda d: d.get("title"), False),
        ("-title", lambda d: d.get("title"), True),
        ("-id", lambda d: d["id"], True),
        ("license", lambda d: d["license"], False),
        ("datetime", lambda d: d["extent"]["temporal"]["interval"][0][0] or "", False),
    ],
)
def test_an_order_holds_over_all_pages(sortby: str, key: Any, descending: bool, limit: int) -> None:
    having = sorted((one for one in DOCUMENTS if key(one) is not None), key=key, reverse=descending)
    if descending:  # ties stay in the order of creation
        having = sorted((one for one in DOCUMENTS if key(one) is not None), key=lambda one: one["id"])
        having.sort(key=key, reverse=True)
    expected = having + [one for one in DOCUMENTS if key(one) is None]
    assert found(parse_collection_search({"sortby": sortby, "limit": limit})) == [one["id"] for one in expected]


def test_kinds_of_values_are_sorted_as_for_items() -> None:
    gsd = {one["id"]: one.get("summaries", {}).get("gsd") for one in DOCUMENTS}
    order = [gsd[name] for name in found(parse_collection_search({"sortby": "summaries.gsd"}))]
    kinds = [(0 if v in (10, 30) and v is not True else 1 if v == "fine" else 2 if v is True else 3) for v in order]
    assert kinds == sorted(kinds)
    assert set(kinds) == {0, 1, 2, 3}


def test_a_page_goes_on_behind_a_collection_that_has_gone() -> None:
    first = find_collections(RECORDS, CollectionSearch(limit=3))
    left = [record for record in RECORDS if record not in first.records]
    second = find_collections(left, CollectionSearch(limit=3, token=first.next_token))
    assert [one.id for one in second.records] == ["c03", "c04", "c05"]


@pytest.mark.parametrize("token", ["x", "é", "W10", "WyIiLFtdLCJhIiwiYiJd", "WyIiLFtbMF1dLDEsImIiXQ"])
def test_a_token_that_is_none_is_refused(token: str) -> None:
    with pytest.raises(InvalidParameter, match="token"):
        find_collections(RECORDS, CollectionSearch(token=token))


def test_a_token_of_another_order_is_refused() -> None:
    token = find_collections(RECORDS, parse_collection_search({"sortby": "title", "limit": 1})).next_token
    with pytest.raises(InvalidParameter, match="another sortby"):
        find_collections(RECORDS, parse_collection_search({"sortby": "-title", "limit": 1, "token": token}))


@pytest.mark.parametrize("extent", [None, {}, {"spatial": 5, "temporal": {"interval": [["soon", None], 5]}}])
def test_an_extent_that_cannot_be_read_is_not_found(extent: Any) -> None:
    record = CollectionRecord("odd", orjson.dumps({"id": "odd", "extent": extent}), "odd", 0, 0, deleting=False)
    for asked in ({"bbox": "-180,-90,180,90"}, {"datetime": "../2030-01-01T00:00:00Z"}):
        assert find_collections([record], parse_collection_search(asked)).records == []
    assert find_collections([record], parse_collection_search({"filter": "id = 'odd'"})).records == [record]


@pytest.mark.parametrize(
    "end", ["2020-04-14T00:00:00", "2020-04-14", "2020-04-14 12:00:00", "2020-04-14T02:00:00+02:00"]
)
def test_an_interval_without_zone_or_time_of_day_is_found(end: str) -> None:
    extent = {"temporal": {"interval": [["1984-12-31T00:00:00", end]]}}
    record = CollectionRecord("mtbs", orjson.dumps({"id": "mtbs", "extent": extent}), "mtbs", 0, 0, deleting=False)
    asked: list[tuple[dict[str, Any], bool]] = [
        ({"datetime": "1985-01-01T00:00:00Z"}, True),
        ({"datetime": "1980-01-01T00:00:00Z/1984-12-30T23:59:59Z"}, False),
        ({"datetime": "2020-04-14T00:00:00Z/.."}, True),
        ({"datetime": "2020-04-15T00:00:00Z/.."}, False),
        ({"filter": "T_INTERSECTS(datetime, INTERVAL('2020-04-14T00:00:00Z', '..'))"}, True),
        ({"filter": "T_AFTER(datetime, DATE('1984-12-30'))"}, True),
    ]
    for query, is_there in asked:
        assert bool(find_collections([record], parse_collection_search(query)).records) is is_there, query
