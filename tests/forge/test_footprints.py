"""Outlines in WGS 84, checked against GDAL's own bounds."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from rasterio import Affine
from rasterio.warp import transform_bounds
from shapely.geometry import Point, shape

from forge.conftest import MakeItem, MakeRaster
from graticule.errors import NotForged
from graticule.stac.documents import Item


def outline_of(item: Item) -> Any:
    """Its geometry, as shapely has it."""
    assert item["geometry"] is not None
    return shape(item["geometry"])


def test_the_outline_follows_bent_edges(test_data: Path, make_item: MakeItem) -> None:
    path = test_data / "raster/landsat/cog_uint16.tif"
    item = make_item(path).item
    with rasterio.open(path) as dataset:
        bounds = transform_bounds(dataset.crs, "EPSG:4326", *dataset.bounds, densify_pts=200)
    assert item["bbox"] == pytest.approx(bounds, abs=1e-4)
    assert len(outline_of(item).exterior.coords) > 20


def test_a_raster_over_the_antimeridian_is_cut_there(test_data: Path, make_item: MakeItem) -> None:
    item = make_item(test_data / "raster/landsat/cog_dateline.tif").item
    west, south, east, north = item["bbox"]
    assert west > 177 > -178 > east
    outline = outline_of(item)
    assert outline.geom_type == "MultiPolygon"
    assert outline.is_valid
    assert all(part.bounds[2] == 180 or part.bounds[0] == -180 for part in outline.geoms)
    assert all(part.exterior.is_ccw for part in outline.geoms)
    assert 4 < outline.area < (360 + east - west) * (north - south)


def test_longitudes_beyond_180_are_brought_back(make_raster: MakeRaster, make_item: MakeItem) -> None:
    path = make_raster("a.tif", crs="EPSG:4326", transform=Affine(1, 0, 175, 0, -1, 5))
    assert make_item(path).item["bbox"] == [175, -5, -165, 5]


def test_the_whole_world_is_one_box(make_raster: MakeRaster, make_item: MakeItem) -> None:
    half = 20_037_508.342789244
    wide = make_raster("a.tif", crs="EPSG:3857", transform=Affine(half / 10, 0, -half, 0, -half / 5, half))
    item = make_item(wide).item
    assert item["bbox"] == pytest.approx([-180, -85.051129, 180, 85.051129], abs=1e-5)
    assert outline_of(item).geom_type == "Polygon"


def test_a_pole_is_inside(make_raster: MakeRaster, make_item: MakeItem) -> None:
    path = make_raster("a.tif", crs="EPSG:3031", transform=Affine(1e5, 0, -1e6, 0, -1e5, 5e5))
    outline = outline_of(make_item(path).item)
    assert outline.is_valid
    assert outline.contains(Point(10, -89.9))
    assert outline.contains(Point(-170, -89.9))
    assert not outline.contains(Point(0, -70))


def test_what_looks_past_the_edge_of_the_earth_has_a_hull(test_data: Path, make_item: MakeItem) -> None:
    west, south, east, north = make_item(test_data / "raster/odd/goes_geos.tif").item["bbox"]
    assert -160 < west < -150 < 0 < east < 10  # around 75° west
    assert -90 < south < north < 90


def test_turned_rasters_and_control_points(test_data: Path, make_item: MakeItem) -> None:
    turned = make_item(test_data / "raster/odd/naip_rotated_15deg.tif").item
    outline = outline_of(turned)
    assert outline.area / outline.envelope.area < 0.8
    points = make_item(test_data / "raster/gcps/landsat_gcps.tif").item
    assert points["bbox"] == pytest.approx([-78.196, 23.982, -77.231, 24.865], abs=1e-2)
    assert "proj:transform" not in points["properties"]


def test_valid_data_is_outlined(make_raster: MakeRaster, make_item: MakeItem) -> None:
    values = np.zeros((1, 10, 20), "uint8")
    values[0, 5:, :10] = 7
    path = make_raster("a.tif", values=values, nodata=0)
    whole, data = make_item(path).item, make_item(path, valid_data=True).item
    assert outline_of(data).area == pytest.approx(outline_of(whole).area / 4, rel=1e-3)
    assert data["properties"]["proj:bbox"] == whole["properties"]["proj:bbox"]
    empty = make_raster("b/b.tif", values=0, nodata=0)
    with pytest.raises(NotForged, match="no pixel holds data"):
        make_item(empty, valid_data=True)


def test_another_planet_is_refused(test_data: Path, make_item: MakeItem) -> None:
    with pytest.raises(NotForged, match=r"cog_hirise_mars\.tif: its CRS is not of the Earth"):
        make_item(test_data / "raster/odd/cog_hirise_mars.tif")


def test_numbers_are_finite_and_short(make_raster: MakeRaster, make_item: MakeItem) -> None:
    for x, y in outline_of(make_item(make_raster("a.tif")).item).exterior.coords:
        assert math.isfinite(x)
        assert round(x, 7) == x
        assert round(y, 7) == y
