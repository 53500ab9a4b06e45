"""Conversion processes are reused, replaced and killed, and the pool goes on."""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil
import pytest
import rasterio

import graticule
from graticule.errors import (
    CogTransformationError,
    CogTransformationTimeout,
    ConversionCrashed,
    InternalIntermittentError,
)
from graticule.ingestion.conversion import ConversionRequest, Outcome
from graticule.ingestion.conversion.pool import ConversionPool
from graticule.settings import Settings, load_settings

from .conftest import MakeRaster, MakeRequest


async def until(claim: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not claim():  # noqa: ASYNC110 - what is waited for happens in another process
            await asyncio.sleep(0.01)


def children(staging: Path) -> dict[int, psutil.Process]:
    """The conversion processes that run with a folder in ``staging``, by id."""
    found = psutil.Process().children(recursive=True)
    return {process.pid: process for process in found if _cwd(process).parent == staging}


def folders(staging: Path) -> list[Path]:
    return list(staging.iterdir())


def job_folders(staging: Path) -> list[Path]:
    return list(staging.glob("*/job"))


def _cwd(process: psutil.Process) -> Path:
    try:
        return Path(process.cwd())
    except psutil.Error:
        return Path("/")


async def stopped_child(pool: ConversionPool, staging: Path, request: ConversionRequest) -> psutil.Process:
    """Warm up one process and stop it, so that its next job never ends by itself."""
    await pool.convert(request)
    (process,) = children(staging).values()
    process.suspend()
    return process


async def test_a_process_is_reused(
    pool: ConversionPool, staging: Path, make_raster: MakeRaster, make_request: MakeRequest
) -> None:
    request = make_request(make_raster())
    await pool.convert(request)
    before = children(staging).keys()
    await pool.convert(request)
    assert children(staging).keys() == before
    assert len(before) == 1


async def test_a_process_is_replaced_after_its_jobs(
    settings: Settings, staging: Path, make_raster: MakeRaster, make_request: MakeRequest
) -> None:
    request = make_request(make_raster())
    async with ConversionPool(settings, staging, jobs_per_process=1) as pool:
        await pool.convert(request)
        assert not children(staging)
        assert (await pool.convert(request)).outcome is Outcome.CONVERTED


async def test_a_process_that_grew_is_replaced(
    settings: Settings, staging: Path, make_raster: MakeRaster, make_request: MakeRequest
) -> None:
    async with ConversionPool(settings, staging, most_memory_bytes=1) as pool:
        await pool.convert(make_request(make_raster()))
        assert not children(staging)


async def test_an_idle_process_ends_and_leaves_no_folder(
    settings: Settings, staging: Path, make_raster: MakeRaster, make_request: MakeRequest
) -> None:
    async with ConversionPool(settings, staging, idle_seconds=0.05) as pool:
        await pool.convert(make_request(make_raster()))
        await until(lambda: not folders(staging))
        assert not children(staging)


async def test_no_more_processes_run_than_are_set(
    staging: Path, tmp_path: Path, make_raster: MakeRaster, make_request: MakeRequest
) -> None:
    requests = [make_request(make_raster(f"{number}.tif")) for number in range(6)]
    async with ConversionPool(load_settings(data_dir=tmp_path, conversion_processes=1), staging) as pool:
        results = await asyncio.gather(*(pool.convert(request) for request in requests))
        assert len(children(staging)) == 1
    assert [result.path.exists() for result in results] == [True] * 6


async def test_close_kills_every_process_and_removes_their_folders(
    settings: Settings, staging: Path, make_raster: MakeRaster, make_request: MakeRequest
) -> None:
    pool = ConversionPool(settings, staging)
    await asyncio.gather(*(pool.convert(make_request(make_raster(f"{number}.tif"))) for number in range(2)))
    await pool.close()
    assert not children(staging)
    assert not folders(staging)
    with pytest.raises(InternalIntermittentError):
        await pool.convert(make_request(make_raster()))


async def test_a_conversion_at_close_may_be_tried_again(
    settings: Settings, staging: Path, make_raster: MakeRaster, make_request: MakeRequest
) -> None:
    request = make_request(make_raster())
    pool = ConversionPool(settings, staging)
    process = await stopped_child(pool, staging, request)
    job = asyncio.create_task(pool.convert(request))
    await until(lambda: bool(list(staging.glob("*/job/source"))))
    await pool.close()
    with pytest.raises(InternalIntermittentError):
        await job
    assert not process.is_running()


async def test_a_killed_process_fails_its_job_alone(
    pool: ConversionPool,
    staging: Path,
    make_raster: MakeRaster,
    make_request: MakeRequest,
    caplog: pytest.LogCaptureFixture,
) -> None:
    noise = np.random.default_rng(1).integers(0, 60000, (3000, 3000), dtype="uint16")
    request = make_request(make_raster(values=noise))
    job = asyncio.create_task(pool.convert(request))
    await until(lambda: bool(list(staging.glob("*/job/source.tif"))))
    (process,) = children(staging).values()
    process.kill()
    with pytest.raises(ConversionCrashed) as failure:
        await job
    assert failure.value.retriable
    assert not request.output.exists()
    (record,) = [record for record in caplog.records if getattr(record, "action", "") == "conversion_died"]
    assert getattr(record, "exit_code", None) == -signal.SIGKILL
    assert (await pool.convert(request)).outcome is Outcome.CONVERTED


async def test_a_process_that_died_idle_fails_nothing(
    pool: ConversionPool, staging: Path, make_raster: MakeRaster, make_request: MakeRequest
) -> None:
    request = make_request(make_raster())
    await pool.convert(request)
    (process,) = children(staging).values()
    process.kill()
    assert (await pool.convert(request)).outcome is Outcome.CONVERTED


async def test_a_job_that_overstays_is_killed(
    pool: ConversionPool, staging: Path, make_raster: MakeRaster, make_request: MakeRequest
) -> None:
    path = make_raster()
    process = await stopped_child(pool, staging, make_request(path))
    with pytest.raises(CogTransformationTimeout, match=r"0\.2 seconds"):
        await pool.convert(make_request(path, timeout=0.2))
    assert not process.is_running()
    assert not folders(staging)
    assert (await pool.convert(make_request(path))).outcome is Outcome.CONVERTED


async def test_cancelling_kills_the_process(
    pool: ConversionPool, staging: Path, make_raster: MakeRaster, make_request: MakeRequest
) -> None:
    request = make_request(make_raster())
    process = await stopped_child(pool, staging, request)
    job = asyncio.create_task(pool.convert(request))
    await until(lambda: bool(list(staging.glob("*/job/source"))))
    job.cancel()
    with pytest.raises(asyncio.CancelledError):
        await job
    assert not process.is_running()
    assert not folders(staging)


async def test_a_conversion_cancelled_as_it_ends_leaves_its_process_idle_and_no_file(
    tmp_path: Path, staging: Path, make_raster: MakeRaster, make_request: MakeRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with ConversionPool(load_settings(data_dir=tmp_path, conversion_processes=1), staging) as pool:
        request = make_request(make_raster())
        await pool.convert(request)
        (before,) = children(staging)
        cleared, go_on, remove = threading.Event(), threading.Event(), shutil.rmtree

        def slow_rmtree(folder: Path, *, ignore_errors: bool) -> None:
            if (folder / "source.tif").exists():  # the job is done
                cleared.set()
                go_on.wait(20)
            remove(folder, ignore_errors=ignore_errors)

        monkeypatch.setattr("graticule.ingestion.conversion.pool.shutil.rmtree", slow_rmtree)
        task = asyncio.create_task(pool.convert(request))
        await until(cleared.is_set)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        go_on.set()
        await until(lambda: not pool._busy)
        assert job_folders(staging) == []
        await pool.convert(request)
        assert list(children(staging)) == [before]


async def test_a_raster_that_needs_too_much_memory_fails_with_the_setting(
    staging: Path, tmp_path: Path, make_request: MakeRequest
) -> None:
    path = tmp_path / "one-tile.tif"
    with rasterio.open(
        path, "w", driver="GTiff", width=30_000, height=30_000, count=1, dtype="uint8", crs="EPSG:3857",
        transform=rasterio.Affine(2, 0, 0, 0, -2, 0), tiled=True, blockxsize=29_984, blockysize=29_984, sparse_ok=True,
    ):  # fmt: skip
        pass
    async with ConversionPool(load_settings(data_dir=tmp_path, conversion_memory_mb=512), staging) as pool:
        with pytest.raises(CogTransformationError, match="GRATICULE_CONVERSION_MEMORY_MB"):
            await pool.convert(make_request(path))


async def test_a_result_over_the_file_limit_fails(
    staging: Path, tmp_path: Path, make_raster: MakeRaster, make_request: MakeRequest
) -> None:
    noise = np.random.default_rng(1).integers(0, 60000, (700, 600), dtype="uint16")
    request = make_request(make_raster(values=noise))
    async with ConversionPool(load_settings(data_dir=tmp_path, max_asset_bytes=50_000), staging) as pool:
        with pytest.raises(CogTransformationError):
            await pool.convert(request)
        assert not request.output.exists()


async def test_sources_and_outputs_in_other_file_systems_are_copied(
    settings: Settings, make_raster: MakeRaster, make_request: MakeRequest
) -> None:
    shared_memory = Path("/dev/shm")
    if not os.access(shared_memory, os.W_OK):
        pytest.skip("no other file system to write to")
    staging = shared_memory / f"graticule-test-{os.getpid()}"
    try:
        async with ConversionPool(settings, staging) as pool:
            result = await pool.convert(make_request(make_raster()))
        assert result.path.stat().st_size == result.facts.size_bytes
    finally:
        staging.rmdir()


async def test_folders_of_a_dead_parent_are_swept_and_those_of_a_living_one_are_not(
    settings: Settings, pool: ConversionPool, staging: Path, make_raster: MakeRaster, make_request: MakeRequest
) -> None:
    request = make_request(make_raster())
    await pool.convert(request)
    (living,) = folders(staging)
    dead = staging / "conversion-dead"
    (dead / "job").mkdir(parents=True)
    (dead / "job" / "source").touch()
    async with ConversionPool(settings, staging) as another:
        await another.convert(request)
    assert folders(staging) == [living]


def test_a_process_dies_with_its_parent(tmp_path: Path, make_raster: MakeRaster) -> None:
    path = make_raster()
    code = f"""
import asyncio, os, pathlib, signal, psutil
from graticule.settings import load_settings
from graticule.ingestion.conversion import ConversionRequest
from graticule.ingestion.conversion.pool import ConversionPool
async def main():
    folder = pathlib.Path({str(tmp_path)!r})
    pool = ConversionPool(load_settings(data_dir=folder), folder / "staging")
    await pool.convert(ConversionRequest(pathlib.Path({str(path)!r}), folder / "out.tif", "a"))
    child, = psutil.Process().children()
    child.suspend()
    print(child.pid, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
asyncio.run(main())
"""
    package_root = str(Path(graticule.__file__).parents[1])
    run = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": package_root},
        stdout=subprocess.PIPE,
        check=False,
        timeout=60,
    )
    assert run.returncode == -signal.SIGKILL
    try:
        child = psutil.Process(int(run.stdout))
        gone, _ = psutil.wait_procs([child], timeout=10)
        assert gone or child.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        pass


async def test_weak_confinement_is_logged_once(
    settings: Settings,
    staging: Path,
    make_raster: MakeRaster,
    make_request: MakeRequest,
    caplog: pytest.LogCaptureFixture,
) -> None:
    request = make_request(make_raster())
    with caplog.at_level(logging.WARNING):
        async with ConversionPool(settings, staging, jobs_per_process=1) as pool:
            await pool.convert(request)
            await pool.convert(request)
    warnings = [record for record in caplog.records if getattr(record, "action", "") == "conversion_unconfined"]
    assert len(warnings) <= 1
