"""The structure of TIFF files is read in every form, and damaged ones are refused."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
import rasterio
from hypothesis import given, settings
from hypothesis import strategies as st
from rio_cogeo.cogeo import cog_validate

from graticule.ingestion.conversion.tiff import TiffStructureError, blocks_outside, cog_faults, read_directories

from .conftest import MakeRaster


@pytest.mark.parametrize(
    "options", [{}, {"endianness": "big"}, {"bigtiff": "yes"}, {"bigtiff": "yes", "endianness": "big"}]
)
def test_every_form_of_tiff_is_read(options: dict[str, str], make_raster: MakeRaster) -> None:
    path = make_raster(blockysize=64, **options)
    (main,) = read_directories(path)
    assert (main.width, main.height, main.is_tiled, main.block_offsets.size) == (600, 700, False, 11)
    assert int(main.block_counts.sum()) == 600 * 700 * 2
    assert blocks_outside([main], path.stat().st_size) == (0, 11)
    assert blocks_outside([main], path.stat().st_size - 1) == (1, 11)


@pytest.mark.parametrize(
    ("options", "is_cog"),
    [
        ({"driver": "COG"}, True),
        ({"driver": "COG", "bigtiff": "YES"}, True),
        ({"driver": "COG", "sparse_ok": True}, True),
        ({}, False),
        ({"tiled": True, "blockxsize": 256, "blockysize": 256}, True),
        ({"tiled": True, "blockxsize": 608, "blockysize": 608}, True),
    ],
)
def test_layouts_are_judged_as_rio_cogeo_does(
    options: dict[str, object], is_cog: bool, make_raster: MakeRaster
) -> None:
    path = make_raster(**options)
    assert cog_validate(path, quiet=True)[0] is is_cog
    assert (not cog_faults(path, read_directories(path))) is is_cog


def test_overviews_added_later_are_not_a_cog(make_raster: MakeRaster) -> None:
    path = make_raster(tiled=True, blockxsize=256, blockysize=256)
    with rasterio.open(path, "r+") as dataset:
        dataset.build_overviews([2, 4])
    assert not cog_validate(path, quiet=True)[0]
    assert cog_faults(path, read_directories(path))


def test_real_files_are_judged_as_rio_cogeo_does(test_data: Path) -> None:
    for path in sorted((test_data / "raster").rglob("*.[tT][iI][fF]")):
        assert (not cog_faults(path, read_directories(path))) == cog_validate(path, quiet=True)[0], path.name


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"II*\0",
        b"II*\0\x08\0\0\0",
        b"II*\0\x08\0\0\0\0\0\0\0\0\0",
        b"II*\0\x08\0\0\0\xff\xff",
        struct.pack("<2sHIHHHIII", b"II", 42, 8, 1, 256, 4, 1, 5, 8),  # its next directory is itself
        struct.pack("<2sHIHHHIIII", b"II", 42, 8, 1, 324, 16, 0xFFFFFFFF, 8, 0, 0),  # a table larger than the file
        b"II+\0\x08\0\0\0" + b"\xff" * 8,
    ],
)
def test_damaged_structures_are_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "damaged.tif"
    path.write_bytes(content)
    with pytest.raises(TiffStructureError):
        read_directories(path)


@given(position=st.integers(0, 700), replacement=st.binary(min_size=1, max_size=8))
@settings(max_examples=200, deadline=None)
def test_no_damage_to_the_head_escapes(
    tmp_path_factory: pytest.TempPathFactory, position: int, replacement: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "fuzzed.tif"
    if not path.exists() or path.stat().st_size < 1000:
        with rasterio.open(
            path, "w", driver="COG", width=64, height=64, count=1, dtype="uint8", crs="EPSG:3857",
            transform=rasterio.Affine(2, 0, 0, 0, -2, 0),
        ) as dataset:  # fmt: skip
            dataset.write(np.arange(64 * 64, dtype="uint8").reshape(1, 64, 64))
    content = bytearray(path.read_bytes())
    content[position : position + len(replacement)] = replacement
    damaged = path.with_name("damaged.tif")
    damaged.write_bytes(content)
    try:
        directories = read_directories(damaged)
    except TiffStructureError:
        return
    cog_faults(damaged, directories)
    blocks_outside(directories, len(content))
