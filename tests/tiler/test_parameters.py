from __future__ import annotations

import re
from typing import Any

import morecantile
import pytest
from rio_tiler.colormap import cmap

from graticule.errors import InvalidParameter
from graticule.tiler import RenderParameters, colormaps, parse_parameters
from graticule.tiler.grids import TILE_MATRIX_SETS
from graticule.tiler.jobs import Job, Layer, Source, Tile
from graticule.tiler.names import RAMPS
from graticule.tiler.parameters import Colormap
from graticule.tiler.selection import Selection


def parsed(*pairs: tuple[str, str], **path: str) -> RenderParameters:
    return parse_parameters(pairs, path)


def test_nothing_given_is_the_contracts_defaults() -> None:
    found = parsed()
    assert found == RenderParameters()
    assert (found.max_size, found.resampling, found.return_mask, found.coord_crs) == (
        1024,
        "nearest",
        True,
        "epsg:4326",
    )
    assert (found.mosaic.scan_limit, found.mosaic.items_limit, found.mosaic.time_limit) == (10_000, 100, 5)


@pytest.mark.parametrize(
    ("pairs", "name", "expected"),
    [
        ([("assets", "a"), ("assets", "b,c")], "assets", ("a", "b,c")),
        ([("asset_bidx", "image|1,2,3,b|1")], "asset_bidx", (("image", (1, 2, 3)), ("b", (1,)))),
        ([("asset_bidx", "a|1"), ("asset_bidx", "b|2,1")], "asset_bidx", (("a", (1,)), ("b", (2, 1)))),
        ([("bidx", "1"), ("bidx", "3.0,2")], "bidx", (1, 3, 2)),
        ([("rescale", "0,255"), ("rescale", "1,2")], "rescale", ((0, 255), (1, 2))),
        ([("rescale", "0,255,1,2")], "rescale", ((0, 255), (1, 2))),
        ([("asset_as_band", "True")], "asset_as_band", True),
        ([("return_mask", "False")], "return_mask", False),
        ([("nodata", "-9999")], "nodata", -9999),
        ([("buffer", "1.5")], "buffer", 1.5),
        ([("coord-crs", "EPSG:3857")], "coord_crs", "EPSG:3857"),
        ([("dst_crs", "http://www.opengis.net/def/crs/EPSG/0/3857")], "dst_crs", None),
        ([("algorithm", "normalizedindex")], "algorithm", "normalizedIndex"),
        ([("pixel_selection", "LowEst")], "pixel_selection", "lowest"),
        ([("scale", "2.0")], "scale", 2),
        ([("max_size", "")], "max_size", 1024),
    ],
)
def test_forms_of_values(pairs: list[tuple[str, str]], name: str, expected: Any) -> None:
    found = getattr(parse_parameters(pairs), name)
    assert found == (pairs[0][1] if expected is None else expected)


def test_the_path_wins_over_the_query() -> None:
    found = parsed(("format", "png"), ("width", "9"), format="tif", width="64.0", height="32")
    assert (found.format, found.width, found.height) == ("tif", 64, 32)


def test_a_named_colour_map_wins_over_one_by_value() -> None:
    assert parsed(("colormap_name", "VIRIDIS"), ("colormap", '{"1": "#fff"}')).colormap == Colormap(name="viridis")
    by_value = parsed(("colormap", '{"1": [1,2,3], "2.5": "#ff000080"}')).colormap
    assert by_value == Colormap(classes=((1.0, (1, 2, 3, 255)), (2.5, (255, 0, 0, 128))))
    spans = parsed(("colormap", "[[[0, 5], [1, 2, 3, 4]]]")).colormap
    assert spans == Colormap(intervals=(((0.0, 5.0), (1, 2, 3, 4)),))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("asset_bidx", "image"),
        ("asset_bidx", "image|0"),
        ("bidx", "x"),
        ("rescale", "1"),
        ("rescale", "2,1"),
        ("rescale", "nan,1"),
        ("nodata", "none"),
        ("unscale", "perhaps"),
        ("format", "gif"),
        ("scale", "0"),
        ("scale", "1.5"),
        ("buffer", "0.3"),
        ("buffer", "1e9"),
        ("padding", "-1"),
        ("max_size", "1e3"),
        ("width", "99999"),
        ("colormap", "[1]"),
        ("colormap", '{"a": "#fff"}'),
        ("colormap", '{"1": [300, 0, 0]}'),
        ("colormap_name", "jet_jet"),
        ("algorithm_params", "[]"),
        ("coord_crs", "/vsicurl/http://x"),
        ("dst_crs", "+proj=longlat"),
        ("histogram_bins", "3,2,1"),
        ("histogram_range", "5,5"),
        ("p", "101"),
        ("sel", "time"),
        ("time_limit", "0"),
        ("pixel_selection", "best"),
    ],
)
def test_bad_values_are_refused_by_name(name: str, value: str) -> None:
    with pytest.raises(InvalidParameter) as refused:
        parsed((name, value))
    assert refused.value.target == name
    assert refused.value.message.startswith(name)


def test_every_colour_map_of_the_contract_is_there() -> None:
    assert len(colormaps.names()) == 260
    assert set(RAMPS) == {name for name in cmap.list() if name in RAMPS}
    assert set(cmap.list()) == set(RAMPS)
    assert colormaps.kind("mtbs-severity") == "classes"
    assert colormaps.classes("mtbs-severity")[0] == (0, (0, 0, 0, 0))
    assert colormaps.kind("modis-64A1") == "intervals"
    for name in colormaps.names():
        assert colormaps.find_name(name.upper()) == name
        if colormaps.kind(name) == "intervals":
            edges = [bounds for bounds, _ in colormaps.intervals(name)]
            assert edges == sorted(edges)


def test_the_tile_matrix_sets_are_those_of_morecantile() -> None:
    assert sorted(TILE_MATRIX_SETS) == sorted(morecantile.tms.list())


def test_a_jobs_tag_follows_all_that_it_depends_on() -> None:
    def job(path: str = "/a/1.tif", x: int = 1, **parameters: Any) -> Job:
        layer = Layer("c", "i", (("image", Source(path)),))
        return Job("image", (layer,), Selection(()), RenderParameters(**parameters), Tile("WebMercatorQuad", 3, x, 1))

    tags = {made.etag for made in (job(), job("/a/2.tif"), job(x=2), job(rescale=((0.0, 1.0),)), job(scale=2))}
    assert len(tags) == 5
    assert job().etag == job().etag
    assert re.fullmatch(r'"[0-9a-f]{32}"', job().etag)
