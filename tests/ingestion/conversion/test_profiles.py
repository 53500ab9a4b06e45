"""A collection's conversion profile is followed where the raster allows it, and never at the cost of data."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytest_asyncio
import rasterio
from rasterio.enums import ColorInterp

from graticule.ingestion.conversion import Compression, ConversionProfile, Outcome
from graticule.ingestion.conversion.pool import ConversionPool
from graticule.settings import load_settings

from .conftest import MakeRaster, MakeRequest
from .test_conversion import assert_is_cog, assert_same_raster

pytestmark = pytest.mark.asyncio(loop_scope="module")

LOSSLESS = [compression for compression in Compression if not compression.is_lossy]
rows, columns = np.indices((1200, 1100))
RGB = np.stack([(rows // 5) % 256, (columns // 5) % 256, ((rows + columns) // 9) % 256]).astype("uint8")
PICTURE: dict[str, Any] = {"photometric": "RGB"}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pool(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ConversionPool]:
    folder = tmp_path_factory.mktemp("pool")
    async with ConversionPool(load_settings(data_dir=folder, conversion_processes=2), folder) as pool:
        yield pool


async def converted(
    pool: ConversionPool, make_request: MakeRequest, source: Path, profile: ConversionProfile, **members: Any
) -> Path:
    result = await pool.convert(make_request(source, profile=profile, **members))
    assert result.outcome is Outcome.CONVERTED
    assert_is_cog(result.path)
    return result.path


@pytest.mark.parametrize("compression", LOSSLESS)
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "float32", "float64", "complex64"])
async def test_every_lossless_compression_keeps_every_pixel(
    pool: ConversionPool, make_raster: MakeRaster, make_request: MakeRequest, compression: Compression, dtype: str
) -> None:
    values = (rows * 0.37 + columns * 1.7).astype(dtype)
    source = make_raster(values=values[:700, :600], nodata=None if dtype.startswith("complex") else 3)
    path = await converted(pool, make_request, source, ConversionProfile(compression, block_size=256))
    assert_same_raster(source, path)
    with rasterio.open(path) as cog:
        is_unfit = compression is Compression.LERC and dtype.startswith("complex")
        expected = "deflate" if is_unfit else None if compression is Compression.NONE else compression.value
        found = cog.compression.name.lower() if cog.compression else None
        assert found == expected or (found, expected) == ("lerc", "lerc")
        assert cog.block_shapes[0] == (256, 256)


@pytest.mark.parametrize("compression", [Compression.JPEG, Compression.WEBP])
async def test_a_picture_may_lose_detail_by_choice(
    pool: ConversionPool, make_raster: MakeRaster, make_request: MakeRequest, compression: Compression
) -> None:
    source = make_raster(values=RGB, **PICTURE)
    sizes = []
    for quality in (50, 95):
        path = await converted(pool, make_request, source, ConversionProfile(compression, quality=quality))
        with rasterio.open(source) as before, rasterio.open(path) as after:
            assert after.compression.name.lower() in {compression.value, f"ycbcr_{compression.value}", "jpeg"}
            assert (after.count, after.dtypes, after.transform, after.crs) == (
                before.count,
                before.dtypes,
                before.transform,
                before.crs,
            )
            loss = np.abs(before.read().astype(int) - after.read()).mean()
            assert 0 < loss < 8
        sizes.append(path.stat().st_size)
    assert sizes[0] < sizes[1] < source.stat().st_size


def with_alpha(dataset: Any) -> None:
    dataset.colorinterp = [ColorInterp.red, ColorInterp.green, ColorInterp.blue, ColorInterp.alpha]


def with_colors(dataset: Any) -> None:
    dataset.write_colormap(1, {value: (value, 0, 0, 255) for value in range(256)})


@pytest.mark.parametrize(
    ("values", "options", "finish", "members"),
    [
        (RGB.astype("uint16") * 100, PICTURE, None, {}),
        (RGB, {**PICTURE, "nodata": 0}, None, {}),
        (RGB[:2], {}, None, {}),
        (np.concatenate([RGB, RGB[:1]]), PICTURE, with_alpha, {}),
        (RGB[:1], {"photometric": "palette"}, with_colors, {}),
        (RGB[:1], {}, None, {"has_classes": True}),
        (RGB[:1], {}, None, {"roles": ("data", "cloud")}),
        (RGB[:1] // 40, {}, None, {}),
    ],
    ids=["16 bits", "nodata", "two bands", "alpha", "palette", "classes", "role", "few values"],
)
async def test_what_is_no_picture_keeps_every_pixel_whatever_was_chosen(
    pool: ConversionPool,
    make_raster: MakeRaster,
    make_request: MakeRequest,
    values: Any,
    options: Any,
    finish: Any,
    members: Any,
) -> None:
    source = make_raster(values=values, finish=finish, **options)
    path = await converted(pool, make_request, source, ConversionProfile(Compression.JPEG), **members)
    assert_same_raster(source, path)
    with rasterio.open(path) as cog:
        assert cog.compression.name.lower() == "deflate"


async def test_overviews_are_made_as_chosen_but_classes_stay_classes(
    pool: ConversionPool, make_raster: MakeRaster, make_request: MakeRequest
) -> None:
    noise = np.random.default_rng(1).integers(0, 200, (1200, 1100)).astype("uint8")
    source = make_raster(values=noise)
    found = {}
    for resampling in ("nearest", "average", "cubic", None):
        profile = ConversionProfile(overview_resampling=resampling)
        path = await converted(pool, make_request, source, profile)
        with rasterio.open(path, OVERVIEW_LEVEL=0) as overview:
            found[resampling] = overview.read(1)
    assert np.array_equal(found[None], found["average"])
    assert np.isin(found["nearest"][:400, :400], noise).all()
    assert max(found["average"].std(), found["cubic"].std()) < found["nearest"].std()
    assert not np.array_equal(found["average"], found["cubic"])
    classes = make_raster("classes.tif", values=(noise > 100).astype("uint8") * 200)
    path = await converted(pool, make_request, classes, ConversionProfile(overview_resampling="cubic"))
    with rasterio.open(path, OVERVIEW_LEVEL=0) as overview:
        assert set(np.unique(overview.read(1))) <= {0, 200}


async def test_level_and_block_size_are_followed(
    pool: ConversionPool, make_raster: MakeRaster, make_request: MakeRequest
) -> None:
    source = make_raster(values=RGB)
    sizes = {}
    for level in (1, 9):
        profile = replace(ConversionProfile(), level=level, block_size=1024)
        path = await converted(pool, make_request, source, profile)
        sizes[level] = path.stat().st_size
        with rasterio.open(path) as cog:
            assert cog.block_shapes[0] == (1024, 1024)
    assert sizes[9] < sizes[1]


async def test_a_cog_is_copied_whatever_the_profile(
    pool: ConversionPool, make_raster: MakeRaster, make_request: MakeRequest
) -> None:
    source = make_raster(values=RGB, driver="COG", compress="LZW")
    result = await pool.convert(make_request(source, profile=ConversionProfile(Compression.JPEG)))
    assert (result.outcome, result.path) == (Outcome.COPIED, source)
