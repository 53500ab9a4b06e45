"""One served catalog with five overlapping items, for the tests of mosaics."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import morecantile
import pytest

from tiler.served import Tiled, bounds_of, tiled

#: The newest first: each is a day older.
MOSAIC_ITEMS = {
    "second": "mosaic4/rgb2.tif",
    "first": "mosaic4/rgb1.tif",
    "fourth": "mosaic4/rgb4.tif",
    "third": "mosaic4/rgb3.tif",
    "whole": "striped/RGB.byte.tif",
}


@pytest.fixture(scope="session")
def mosaics(test_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tiled]:
    items = {item: {"image": test_data / "raster" / name} for item, name in MOSAIC_ITEMS.items()}
    with tiled(tmp_path_factory.mktemp("mosaics"), items) as running:
        yield running


@pytest.fixture(scope="session")
def middle_tile(mosaics: Tiled) -> morecantile.Tile:
    """One that several items touch, and others do not."""
    west, south, east, north = bounds_of(mosaics.file("whole", "image"))
    return morecantile.tms.get("WebMercatorQuad").tile((west + east) / 2, (south + north) / 2, 7)
