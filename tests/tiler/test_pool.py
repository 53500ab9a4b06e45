"""Render processes: what they may do, how they end, and that one's end is nobody else's."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from graticule.errors import AssetUnreadable, InvalidParameter, OutsideData, RenderCrashed, RenderLimitExceeded
from graticule.settings import Settings, load_settings
from graticule.tiler import Job, Layer, Point, RenderParameters, Source, parse_parameters, select
from graticule.tiler.pool import RenderPool


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    settings = load_settings(data_dir=tmp_path / "data", render_processes=1, render_timeout=60)
    settings.assets_dir.mkdir(parents=True)
    return settings


@pytest.fixture
async def pool(settings: Settings) -> AsyncIterator[RenderPool]:
    pool = RenderPool(settings)
    yield pool
    await pool.close()


def job(path: Path | str, **parameters: Any) -> Job:
    asked = parse_parameters([("assets", "a"), *((name, str(value)) for name, value in parameters.items())])
    return Job("image", (Layer("c", "i", (("a", Source(str(path))),)),), select(asked, ["a"]), asked)


@pytest.fixture
def raster(settings: Settings, test_data: Path) -> Path:
    return Path(shutil.copy(test_data / "raster" / "sentinel2" / "B01.tif", settings.assets_dir / "a.tif"))


async def test_a_process_is_started_by_the_first_job_and_used_again(pool: RenderPool, raster: Path) -> None:
    assert not list(pool.pids)
    assert (await pool.run(job(raster, max_size=16))).header["media_type"] == "image/png"
    (pid,) = pool.pids
    await pool.run(job(raster, max_size=17))
    assert pool.pids == (pid,)


async def test_a_death_is_this_requests_only(pool: RenderPool, raster: Path) -> None:
    await pool.run(job(raster, max_size=16))
    (pid,) = pool.pids
    psutil.Process(pid).suspend()
    running = asyncio.create_task(pool.run(job(raster, max_size=17)))
    while not pool._busy:  # noqa: ASYNC110 - until it is handed over
        await asyncio.sleep(0)
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(RenderCrashed):
        await running
    await pool.run(job(raster, max_size=18))
    assert pid not in pool.pids


async def test_what_takes_too_long_is_stopped(settings: Settings, raster: Path) -> None:
    pool = RenderPool(settings.model_copy(update={"render_timeout": 0.5}))
    await _warm(pool, raster)
    (pid,) = pool.pids
    psutil.Process(pid).suspend()
    with pytest.raises(RenderLimitExceeded, match="GRATICULE_RENDER_TIMEOUT"):
        await pool.run(job(raster, max_size=17))
    assert not psutil.pid_exists(pid)
    await pool.close()


async def _warm(pool: RenderPool, raster: Path) -> None:
    """Start a process; a loaded machine may need several tries within a short limit."""
    while True:
        try:
            await pool.run(job(raster, max_size=16))
        except RenderLimitExceeded:
            continue
        return


async def test_a_process_is_replaced_after_its_jobs(settings: Settings, raster: Path) -> None:
    pool = RenderPool(settings.model_copy(update={"render_jobs_per_process": 2}))
    await pool.run(job(raster, max_size=16))
    (first,) = pool.pids
    await pool.run(job(raster, max_size=17))
    await pool.run(job(raster, max_size=18))
    assert first not in pool.pids
    await pool.close()


async def test_only_files_of_the_folder_are_opened_and_only_as_pictures(
    pool: RenderPool, settings: Settings, raster: Path, test_data: Path
) -> None:
    outside = test_data / "raster" / "sentinel2" / "B01.tif"
    for path in (outside, f"/vsicurl/http://127.0.0.1/{raster}", f"{settings.assets_dir}/../data/assets/a.tif"):
        with pytest.raises(AssetUnreadable):
            await pool.run(job(path))
    link = settings.assets_dir / "link.tif"
    link.symlink_to("/etc/passwd")
    with pytest.raises((AssetUnreadable, OutsideData)):
        await pool.run(job(link))
    virtual = settings.assets_dir / "virtual.tif"
    virtual.write_text(f'<VRTDataset rasterXSize="1" rasterYSize="1"><SRS>{outside}</SRS></VRTDataset>')
    with pytest.raises(AssetUnreadable):
        await pool.run(job(virtual))
    with pytest.raises(OutsideData, match="gone"):
        await pool.run(job(settings.assets_dir / "gone.tif"))


@pytest.mark.parametrize("name", ["cog_truncated.tif", "corrupt_jpeg_tiles.tif", "naip_truncated.tif"])
async def test_damaged_files_are_told(pool: RenderPool, settings: Settings, test_data: Path, name: str) -> None:
    path = shutil.copy(test_data / "raster" / "corrupt" / name, settings.assets_dir / name)
    with pytest.raises(AssetUnreadable, match="'a'"):
        await pool.run(job(path, format="npy", max_size=4096))


async def test_places_and_values_that_cannot_be_are_told(
    pool: RenderPool, settings: Settings, raster: Path, test_data: Path
) -> None:
    far = replace(job(raster), verb="point", area=Point(1e12, 91))
    with pytest.raises(OutsideData):
        await pool.run(far)
    for nodata in ("nan", "-9999", "0.5"):
        with pytest.raises(InvalidParameter, match="uint16"):
            await pool.run(job(raster, nodata=nodata))
    radar = shutil.copy(test_data / "raster" / "sar" / "cint16_gcps.tif", settings.assets_dir / "radar.tif")
    with pytest.raises(AssetUnreadable, match="complex"):
        await pool.run(job(radar))


async def test_closing_ends_the_processes(settings: Settings, raster: Path) -> None:
    pool = RenderPool(settings)
    await pool.run(job(raster, max_size=16))
    (pid,) = pool.pids
    await pool.close()
    assert not psutil.pid_exists(pid)


async def test_a_data_folder_may_be_reached_by_a_link(settings: Settings, raster: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(settings.data_dir)
    pool = RenderPool(settings.model_copy(update={"data_dir": tmp_path / "link"}))
    assert (await pool.run(job(raster, max_size=16))).body
    await pool.close()


async def test_defaults_are_frozen() -> None:
    with pytest.raises(AttributeError):
        RenderParameters().scale = 2  # type: ignore[misc]
