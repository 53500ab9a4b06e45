"""A raster for tests that do not care which."""

from __future__ import annotations

from functools import cache

import numpy as np
from rasterio import Affine
from rasterio.io import MemoryFile


@cache
def small_geotiff() -> bytes:
    """64 x 64 pixels, striped, georeferenced: small enough to count as a COG as it is."""
    values = np.arange(64 * 64, dtype="uint16").reshape(1, 64, 64)
    with MemoryFile() as memory:
        with memory.open(
            driver="GTiff",
            width=64,
            height=64,
            count=1,
            dtype="uint16",
            crs="EPSG:32632",
            transform=Affine(10, 0, 400_000, 0, -10, 5_200_000),
        ) as dataset:
            dataset.write(values)
        content: bytes = memory.read()
    return content
