"""Makers of small rasters, and of conversion requests."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio

from graticule.ingestion.conversion import ConversionRequest
from graticule.ingestion.conversion.pool import ConversionPool
from graticule.settings import Settings, load_settings

MakeRaster = Callable[..., Path]
MakeRequest = Callable[..., ConversionRequest]


@pytest.fixture
def staging(tmp_path: Path) -> Path:
    folder = tmp_path / "staging"
    folder.mkdir()
    return folder


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load_settings(data_dir=tmp_path, conversion_processes=2)


@pytest.fixture
async def pool(settings: Settings, staging: Path) -> AsyncIterator[ConversionPool]:
    async with ConversionPool(settings, staging) as pool:
        yield pool


@pytest.fixture
def make_raster(tmp_path: Path) -> MakeRaster:
    """Write a striped GeoTIFF of smooth values, or of the ``values`` given; ``finish`` adds to the open dataset."""

    def make(
        name: str = "made.tif", values: Any = None, finish: Callable[[Any], None] | None = None, **options: Any
    ) -> Path:
        if values is None:
            rows, columns = np.indices((700, 600))
            values = (rows * 3 + columns * 5).astype("uint16")
        bands = values if values.ndim == 3 else values[np.newaxis]
        profile: dict[str, Any] = {
            "driver": "GTiff",
            "count": bands.shape[0],
            "height": bands.shape[1],
            "width": bands.shape[2],
            "dtype": bands.dtype.name,
            "crs": "EPSG:32618",
            "transform": rasterio.Affine(30, 0, 200_000, 0, -30, 4_000_000),
        }
        path = tmp_path / name
        with rasterio.open(path, "w", **(profile | options)) as dataset:
            dataset.write(bands)
            if finish is not None:
                finish(dataset)
        return path

    return make


@pytest.fixture
def make_request(tmp_path: Path) -> MakeRequest:
    def make(source: Path, **members: Any) -> ConversionRequest:
        given: dict[str, Any] = {"roles": ("data",), "name": source.name, "output": tmp_path / f"{source.name}.cog.tif"}
        return ConversionRequest(source=source, **(given | members))

    return make
