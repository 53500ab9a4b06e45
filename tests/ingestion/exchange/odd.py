"""Items that a table has no column for, each odd in one way; all are valid STAC."""

from __future__ import annotations

from typing import Any

from ingestion.exchange.documents import item


def _with(**properties: Any) -> dict[str, Any]:
    return item(0, properties={"datetime": "2020-01-01T00:00:00Z"} | properties)


def _without(member: str, **members: Any) -> dict[str, Any]:
    return {name: value for name, value in item(0, **members).items() if name != member}


ODD: dict[str, list[dict[str, Any]]] = {
    "plain": [item(0), item(1)],
    "no geometry": [_without("bbox", geometry=None), item(1)],
    "boxes with and without heights": [item(0, bbox=[0.0, 0.0, 5.5, 1.0, 1.0, 9.0]), item(1)],
    "heights": [
        item(0, bbox=[0.0, 0.0, 5.5, 1.0, 1.0, 9.0], geometry={"type": "Point", "coordinates": [1.0, 2.5, 3.0]})
    ],
    "null and missing": [_with(x=None), _with(), _with(x=1)],
    "numbers": [_with(x=1), _with(x=1.0), _with(x=1.5), _with(x=-0.0), _with(x=2**53 + 1), _with(x=2**64 - 1)],
    "mixed scalars": [_with(x=1), _with(x="1"), _with(x=True)],
    "mixed kinds": [_with(x=[1]), _with(x={"a": 1}), _with(x="1")],
    "a mixed list": [_with(x=[1, "a", None, 2.5, [], {}])],
    "empty": [_with(x={}, y=[], z=[[], [None]], q=[{}], w="")],
    "deep": [_with(x={"a": {"b": {"c": {"d": {"e": {"f": {"g": {"h": {"i": {"j": {"k": {"l": {"m": 1}}}}}}}}}}}}})],
    "fractions of seconds": [
        item(0, properties={"datetime": "2020-01-01T00:00:00.123Z"}),
        item(1, properties={"datetime": "2020-01-01T00:00:00.000000Z"}),
        item(2, properties={"datetime": "2020-01-01T00:00:00.123456789Z"}),
    ],
    "offsets": [item(0, properties={"datetime": "2020-01-01T02:00:00+02:00"})],
    "far times": [
        item(0, properties={"datetime": "0001-01-01T00:00:00Z"}),
        item(1, properties={"datetime": "9999-12-31T23:59:59.999999Z"}),
        item(2, properties={"datetime": "0001-01-01T00:00:00+02:00"}),
    ],
    "a range": [
        item(
            0,
            properties={
                "datetime": None,
                "start_datetime": "2020-01-01T00:00:00Z",
                "end_datetime": "2020-02-01T00:00:00Z",
            },
        )
    ],
    "times that are none": [_with(created="yesterday"), _with(created=5), _with(updated="2020-01-01T00:00:00Z")],
    "names of members": [_with(id="x", type="y", bbox=[1], geometry=2, links={}, collection=None, assets=[])],
    "own column": [_with(**{"graticule:patch": "[]"})],
    "other members": [item(0, extra={"a": None}, stac_extensions=["https://x.test/schema.json"])],
    "assets": [
        item(0, assets={}),
        item(1, assets={"a": {"href": "https://x.test/a", "bands": [{"name": "r", "nodata": 0}, {"nodata": "nan"}]}}),
        item(2, assets={"b/~.c": {"href": "https://x.test/b", "title": None}}),
    ],
    "links": [
        item(0, links=[]),
        item(1, links=[{"rel": "x", "href": "https://x.test/", "method": "POST", "body": {"q": [1]}}]),
        item(2, links=[{"rel": "x", "href": "https://x.test/", "headers": {"A": ["b"]}}, {"rel": "y", "href": "/z"}]),
    ],
    "names": [_with(**{"": 1, "a.b": 1, "a": {"b": 2}, "A": 3, "ä😀": "é\u0000\u2028", "x/y~z": [{"~1": None}]})],
    "proj:geometry": [
        _with(**{"proj:geometry": None}),
        _with(**{"proj:geometry": {"type": "Point", "coordinates": [5e5, 4.2e6], "x": 1}}),
        item(2, assets={"a": {"href": "https://x.test/a", "proj:geometry": {"type": "Point", "coordinates": [1, 2]}}}),
    ],
    "a geometry's members": [item(0, geometry={"type": "Point", "coordinates": [1.0, 2.0], "x": [1]})],
    "over the antimeridian": [item(0, bbox=[170.0, -10.0, -170.0, 10.0])],
}
