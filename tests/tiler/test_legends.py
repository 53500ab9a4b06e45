"""Legends of colour maps, and that every name of the contract is a colour map."""

from __future__ import annotations

import json
import typing
from pathlib import Path

import pytest
from rio_tiler.colormap import cmap

from graticule.errors import InvalidParameter, NotFound
from graticule.tiler import colormaps, legends
from tiler.served import colours

pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")


def test_every_colour_map_of_the_contract_has_a_legend() -> None:
    """The names are those that the official SDK knows."""
    from azure.planetarycomputer.models import ColorMapNames  # noqa: PLC0415

    names = {entry.value for entry in ColorMapNames}
    assert len(names) == 260
    assert set(colormaps.names()) == names
    for name in names:
        kind = colormaps.kind(name)
        if kind == "intervals":
            bounds = [entry[0] for entry in legends.interval_map(name)]
            assert bounds == sorted(bounds), name
            with pytest.raises(InvalidParameter, match="/data/legend/interval"):
                legends.picture(name)
        else:
            assert colours(legends.picture(name)).shape == (11, 387, 4), name


@pytest.mark.parametrize(
    ("name", "path"),
    [("viridis", "colormap"), ("io-lulc", "classmap"), ("modis-64A1", "interval")],
)
def test_a_legend_of_another_kind_tells_the_right_one(name: str, path: str) -> None:
    for other, legend in (("classmap", legends.class_map), ("interval", legends.interval_map)):
        if other != path:
            with pytest.raises(InvalidParameter, match=f"/data/legend/{path}\\."):
                legend(name)


@pytest.mark.parametrize("legend", [legends.class_map, legends.interval_map, legends.picture])
def test_an_unknown_colour_map_is_not_found(legend: typing.Callable[[str], object]) -> None:
    with pytest.raises(NotFound, match="nonesuch"):
        legend("nonesuch")


def test_colours_are_the_published_ones(test_data: Path) -> None:
    """The data sets' own tables, as their origin has them; a ``_`` in a file's name stands for a bar."""
    files = sorted((test_data / "config" / "colormaps").glob("*.json"))
    assert len(files) > 20
    for path in files:
        name = next(name for name in colormaps.names() if name.replace("|", "_") == path.stem)
        published = json.loads(path.read_text("utf-8"))
        if isinstance(published, dict):
            found: object = {key: list(color) for key, color in legends.class_map(name).items()}
            assert found == {key: list(color) for key, color in published.items()}, name
        else:
            assert legends.interval_map(name) == sorted([list(bounds), list(color)] for bounds, color in published)


def test_a_ramp_goes_from_its_first_colour_to_its_last() -> None:
    expected = cmap.get("viridis")
    pixels = colours(legends.picture("Viridis", width=256 / 77.5 + 0.001, height=0.02))
    assert pixels.shape == (1, 256, 4)
    assert [tuple(int(part) for part in pixel) for pixel in pixels[0]] == [expected[step] for step in range(256)]
    trimmed = colours(legends.picture("viridis", trim_start=100, trim_end=55, width=10))
    assert tuple(trimmed[0, 0]) == expected[100]
    assert tuple(trimmed[0, -1]) == expected[200]


def test_classes_are_trimmed_in_their_order() -> None:
    whole = legends.class_map("mtbs-severity")
    assert whole["0"] == [0, 0, 0, 0]
    assert list(legends.class_map("mtbs-severity", 1, 2)) == list(whole)[1:-2]
    intervals = legends.interval_map("modis-64A1")
    assert legends.interval_map("modis-64A1", 1) == intervals[1:]
    for start, end in ((7, 0), (3, 4), (-1, 0)):
        with pytest.raises(InvalidParameter):
            legends.class_map("mtbs-severity", start, end)


@pytest.mark.parametrize(("width", "height"), [(0, 1), (-1, 1), (51, 1), (1, 1000)])
def test_a_legend_has_a_size_that_can_be_drawn(width: float, height: float) -> None:
    with pytest.raises(InvalidParameter, match="inches"):
        legends.picture("viridis", width=width, height=height)
