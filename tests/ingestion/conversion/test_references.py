"""Manifests of references, made in the confined process: what is refused, what is left out, what is told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from graticule.errors import CubeRefused, EmptyAsset
from graticule.ingestion.conversion import ReferenceRequest
from graticule.ingestion.conversion.pool import ConversionPool


def request(source: Path) -> ReferenceRequest:
    return ReferenceRequest(source=source, output=source.with_suffix(".json"), name="data", file_name="data.h5")


async def manifest(pool: ConversionPool, source: Path) -> Any:
    asked = request(source)
    assert await pool.refer(asked)
    return json.loads(asked.output.read_bytes())


async def test_chunks_are_where_they_are(pool: ConversionPool, tmp_path: Path) -> None:
    source = tmp_path / "made.h5"
    values = np.arange(4000, dtype="f4").reshape(40, 100)
    with h5py.File(source, "w") as file:
        file.create_dataset("v", data=values, chunks=(20, 100))
    document = await manifest(pool, source)
    assert document["templates"] == {"u": "data.h5"}
    found = b""
    for chunk in ("v/0.0", "v/1.0"):
        name, offset, length = document["refs"][chunk]
        assert name == "{{u}}"
        found += source.read_bytes()[offset : offset + length]
    np.testing.assert_array_equal(np.frombuffer(found, "f4").reshape(40, 100), values)
    assert json.loads(document["refs"]["v/.zarray"])["fill_value"] is None
    assert document["cube"]["cube:variables"]["v"]["type"] == "data"


async def test_a_fill_value_stays_where_chunks_are_missing(pool: ConversionPool, tmp_path: Path) -> None:
    source = tmp_path / "sparse.h5"
    with h5py.File(source, "w") as file:
        file.create_dataset("v", (40, 100), "f4", chunks=(20, 100), fillvalue=5.0)[0] = 1.0
    document = await manifest(pool, source)
    assert json.loads(document["refs"]["v/.zarray"])["fill_value"] == 5.0


async def test_what_leads_out_of_the_file_is_refused(pool: ConversionPool, tmp_path: Path) -> None:
    source = tmp_path / "linked.h5"
    with h5py.File(source, "w") as file:
        file["v"] = np.zeros((3, 3))
        file["away"] = h5py.ExternalLink("/etc/passwd", "/")
    with pytest.raises(CubeRefused, match="link into another file") as caught:
        await pool.refer(request(source))
    assert "without the roles data and visual" in caught.value.message
    assert not source.with_suffix(".json").exists()


async def test_what_is_no_cube_is_refused(pool: ConversionPool, tmp_path: Path) -> None:
    source = tmp_path / "page.nc"
    source.write_bytes(b"<html>")
    with pytest.raises(CubeRefused, match="neither NetCDF nor HDF5"):
        await pool.refer(request(source))
    source.write_bytes(b"")
    with pytest.raises(EmptyAsset):
        await pool.refer(request(source))
    source.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(200))
    with pytest.raises(CubeRefused, match="damaged"):
        await pool.refer(request(source))


async def test_classic_files_have_none(pool: ConversionPool, test_data: Path) -> None:
    source = test_data / "multidim" / "sentinel2_red_band.nc"
    asked = ReferenceRequest(source=source, output=Path("/nowhere"), name="data", file_name="data.nc")
    assert not await pool.refer(asked)


@pytest.mark.parametrize("name", ["gridmet_tmmx_20190121.nc", "basin_mask.nc", "MODIS_ARRAY.nc", "two-subs.h5"])
async def test_real_files(pool: ConversionPool, test_data: Path, tmp_path: Path, name: str) -> None:
    source = tmp_path / name
    source.write_bytes((test_data / "multidim" / name).read_bytes())
    document = await manifest(pool, source)
    spatial = {found.get("axis") for found in document["cube"]["cube:dimensions"].values()}
    assert {"x", "y"} <= spatial
