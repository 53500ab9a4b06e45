from __future__ import annotations

import math
from typing import Any

import orjson
import pytest
import shapely

from graticule.stac.geometry import Bounds, read_geometry

SQUARE = [[0, 0], [2, 0], [2, 2], [0, 2], [0, 0]]
HOLE = [[0.5, 0.5], [1, 0.5], [1, 1], [0.5, 0.5]]
MANY = {
    "Point": [1.5, 2],
    "LineString": [[0, 0], [1, 1], [-3, 4]],
    "Polygon": [SQUARE, HOLE],
    "MultiPoint": [[1, 2], [3, 4]],
    "MultiLineString": [[[0, 0], [1, 1]], [[5, 5], [6, 7]]],
    "MultiPolygon": [[SQUARE], [[[9, 9], [10, 9], [10, 10], [9, 9]]]],
}


@pytest.mark.parametrize("kind", MANY)
def test_every_type_is_written_as_the_same_geometry(kind: str) -> None:
    geometry = {"type": kind, "coordinates": MANY[kind]}
    shape = read_geometry(geometry)
    read = shapely.from_wkb(shape.wkb)
    assert shapely.equals_exact(read, shapely.from_geojson(orjson.dumps(geometry)))
    assert [tuple(part) for part in shape.parts] == [part.bounds for part in getattr(read, "geoms", [read])]


def test_heights_are_left_out() -> None:
    shape = read_geometry({"type": "LineString", "coordinates": [[0, 0, 100], [1, 1, 200, 7]]})
    assert not shapely.from_wkb(shape.wkb).has_z
    assert shape.parts == (Bounds(0, 0, 1, 1),)


def test_collections_are_read_with_the_bounds_of_all_their_parts() -> None:
    inner = {"type": "GeometryCollection", "geometries": [{"type": "Point", "coordinates": [1, 2]}]}
    nested = {"type": "GeometryCollection", "geometries": [inner, {"type": "Point", "coordinates": [3, 4]}]}
    shape = read_geometry(nested)
    assert shapely.get_num_geometries(shapely.from_wkb(shape.wkb)) == 2
    assert shape.parts == (Bounds(1, 2, 1, 2), Bounds(3, 4, 3, 4))


def test_a_bow_tie_passes() -> None:
    read_geometry({"type": "Polygon", "coordinates": [[[0, 0], [2, 2], [2, 0], [0, 2], [0, 0]]]})


@pytest.mark.parametrize(
    ("geometry", "reason"),
    [
        ("POINT(1 1)", "is not a GeoJSON object"),
        ({}, "has the type None"),
        ({"type": ["Point"], "coordinates": [1, 1]}, "has the type"),
        ({"type": "polygon", "coordinates": [SQUARE]}, "has the type 'polygon'"),
        ({"type": "Point"}, "has no coordinates"),
        ({"type": "Point", "coordinates": []}, "has no coordinates"),
        ({"type": "Point", "coordinates": [1]}, "where a position"),
        ({"type": "Point", "coordinates": [1, "2"]}, "not made of numbers"),
        ({"type": "Point", "coordinates": [1, None]}, "not made of numbers"),
        ({"type": "Point", "coordinates": [True, 1]}, "not made of numbers"),
        ({"type": "Point", "coordinates": [math.nan, 1]}, "degrees"),
        ({"type": "Point", "coordinates": [1, math.inf]}, "degrees"),
        ({"type": "Point", "coordinates": [1, 90.1]}, "degrees"),
        ({"type": "Point", "coordinates": [512000, 4100000]}, "degrees"),
        ({"type": "LineString", "coordinates": [[0, 0]]}, "fewer than two"),
        ({"type": "LineString", "coordinates": [0, 0]}, "where a position"),
        ({"type": "LineString", "coordinates": [[-200, 0], [200, 0]]}, "wider than 360"),
        ({"type": "Polygon", "coordinates": SQUARE}, "where a position"),
        ({"type": "Polygon", "coordinates": [SQUARE[:-1]]}, "not closed"),
        ({"type": "Polygon", "coordinates": [[[0, 0], [1, 1], [0, 0]]]}, "fewer than four"),
        ({"type": "Polygon", "coordinates": [[]]}, "has no rings"),
        ({"type": "Polygon", "coordinates": [SQUARE, []]}, "has no rings"),
        ({"type": "MultiPolygon", "coordinates": [[]]}, "has no parts"),
        ({"type": "MultiPolygon", "coordinates": {"0": 1}}, "has no coordinates"),
    ],
)
def test_a_broken_geometry_is_named(geometry: Any, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        read_geometry(geometry)


def test_collections_without_end_are_refused() -> None:
    geometry: dict[str, Any] = {"type": "Point", "coordinates": [0, 0]}
    for _ in range(2000):
        geometry = {"type": "GeometryCollection", "geometries": [geometry]}
    with pytest.raises(ValueError, match="too deep"):
        read_geometry(geometry)
