"""Owns the conversion processes of a worker: started when needed, reused, recycled, killed when they overstay.

A pool belongs to one event loop, and its processes to the thread that runs it: they die with that thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import math
import os
import shutil
import stat
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from graticule import errors
from graticule.ingestion.conversion.models import (
    COG_MEDIA_TYPE,
    ConversionRequest,
    ConversionResult,
    Outcome,
    RasterFacts,
    ReferenceRequest,
    SidecarKind,
)
from graticule.ingestion.conversion.process import ChildProcess, Limits, sweep_folders
from graticule.settings import Settings, cores
from graticule.threads import in_thread

logger = logging.getLogger(__name__)

T = TypeVar("T")

#: Of the errors that a child may name: others are ours alone to raise.
_CHILD_ERRORS: dict[str, type[errors.IngestionError]] = {
    error.__name__: error
    for error in (errors.CogTransformationError, errors.CubeRefused, errors.EmptyAsset, errors.InternalError)
}
#: An uncompressed COG of a lossy source is larger than it; beyond this many times the largest asset it is refused.
_FILE_GROWTH = 8


class ConversionPool:
    """Converts local raster files, several at a time, each in a confined child process."""

    def __init__(
        self,
        settings: Settings,
        staging_dir: Path,
        *,
        jobs_per_process: int = 500,
        idle_seconds: float = 20.0,
        most_memory_bytes: int = 400 << 20,
    ) -> None:
        """Prepare; no process is started before the first job.

        Args:
            settings: ``conversion_*`` and ``max_asset_bytes`` are used.
            staging_dir: where processes have their folders; sources and outputs best lie in the same file system.
            jobs_per_process: a process is replaced after so many; its start costs as much as a hundred small jobs.
            idle_seconds: a process without work ends after that long.
            most_memory_bytes: a process that stays larger than this after a job is replaced.
        """
        self._processes = settings.conversion_processes or cores()
        self._timeout = settings.conversion_timeout
        self._limits = Limits(settings.conversion_memory_mb << 20, settings.max_asset_bytes * _FILE_GROWTH)
        self._staging_dir = staging_dir
        self._jobs_per_process = jobs_per_process
        self._idle_seconds = idle_seconds
        self._most_memory_bytes = most_memory_bytes
        self._slots = asyncio.Semaphore(self._processes)
        self._idle: list[tuple[ChildProcess, asyncio.TimerHandle]] = []
        self._busy: set[ChildProcess] = set()
        self._ending: set[asyncio.Task[None]] = set()
        self._running = 0
        self._is_swept = self._is_closed = self._has_warned = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def convert(self, request: ConversionRequest) -> ConversionResult:
        """Look at one raster and convert it if it should be; waits for a free process.

        ``request.output`` appears only with the outcome ``converted``, complete. Cancelling kills the process.

        Raises:
            EmptyAsset: the file has no bytes.
            CogTransformationError: no raster, damaged, too large, or a TIFF with role data that lies nowhere.
            CogTransformationTimeout: it took longer than ``request.timeout``.
            ConversionCrashed: the process died by a signal or a limit. Counts against this file.
            InternalError: our own fault; the log has the details.
        """
        return await self._in_turn(
            partial(_lay_out, request.source, request.sidecars), self._job(request), partial(_result, request)
        )

    async def refer(self, request: ReferenceRequest) -> bool:
        """Write the manifest of references of one NetCDF or HDF5 file; was there one to write?

        ``request.output`` appears only with True, complete. Cancelling kills the process.

        Raises:
            EmptyAsset: the file has no bytes.
            CubeRefused: it is no such file, damaged, or refers to other files.
            CogTransformationTimeout, ConversionCrashed, InternalError: as `convert`.
        """
        job = {"kind": "references", "file_name": request.file_name}
        return await self._in_turn(partial(_lay_out, request.source, {}), job, partial(_manifest, request))

    async def _in_turn(
        self, lay_out: Callable[[Path], None], job: dict[str, Any], result: Callable[[dict[str, Any], Path], T]
    ) -> T:
        async with self._slots:
            self._running += 1
            try:
                return await self._do(lay_out, job, result)
            finally:
                self._running -= 1

    async def close(self) -> None:
        """Kill all processes at once; conversions under way end with InternalIntermittentError."""
        self._is_closed = True
        idle, self._idle = self._idle, []
        for _, timer in idle:
            timer.cancel()
        await asyncio.gather(*(child.kill() for child, _ in idle), *(child.kill() for child in tuple(self._busy)))
        await asyncio.gather(*self._ending)

    async def _do(
        self, lay_out: Callable[[Path], None], job: dict[str, Any], read: Callable[[dict[str, Any], Path], T]
    ) -> T:
        child = await self._take()
        try:
            await in_thread(lay_out, child.job_folder)
            answer = await child.run(self._fitted(job), seconds=job.get("seconds") or self._timeout)
            result = await in_thread(read, answer, child.job_folder)
        except tuple(_CHILD_ERRORS.values()):
            await self._surely(self._give_back(child))
            raise
        except errors.ConversionCrashed:
            await self._discard(child)
            if self._is_closed:
                raise errors.InternalIntermittentError("the catalog is stopping") from None
            if child.has_started:
                raise
            # It died between two jobs, by somebody else's hand: the file had no part in it.
            return await self._do(lay_out, job, read)
        except BaseException:
            await self._discard(child)
            raise
        await self._surely(self._give_back(child))
        return result

    def _fitted(self, job: dict[str, Any]) -> dict[str, Any]:
        """A job with its share of the cores, as busy as it is now."""
        threads = max(1, cores() // self._running) if "threads" in job else 1
        return {**job, "threads": threads, "cpu_seconds": math.ceil((job.get("seconds") or self._timeout) * threads)}

    def _job(self, request: ConversionRequest) -> dict[str, Any]:
        return {
            "kind": "raster",
            "seconds": request.timeout,
            "roles": [role.lower() for role in request.roles],
            "sidecars": [kind.value for kind in request.sidecars],
            "georeference": asdict(request.georeference) if request.georeference else None,
            "has_classes": request.has_classes,
            "profile": asdict(request.profile),
            "max_decoded_bytes": request.max_decoded_bytes,
            "threads": None,  # as many as are free when it begins
        }

    async def _take(self) -> ChildProcess:
        """An idle process, the last used first so that the others can end, or a new one."""
        while self._idle:
            child, timer = self._idle.pop()
            timer.cancel()
            if child.is_alive:
                self._busy.add(child)
                return child
            await child.kill()
        if self._is_closed:
            raise errors.InternalIntermittentError("the catalog is stopping")
        if not self._is_swept:
            self._is_swept = True
            self._staging_dir.mkdir(parents=True, exist_ok=True)
            await asyncio.to_thread(sweep_folders, self._staging_dir)
        child = await ChildProcess.start(self._staging_dir, self._limits)
        self._busy.add(child)
        self._warn_once(child)
        return child

    async def _give_back(self, child: ChildProcess) -> None:
        child.log_stderr()
        await asyncio.to_thread(shutil.rmtree, child.job_folder, ignore_errors=True)
        is_worn = child.jobs >= self._jobs_per_process or child.memory_bytes > self._most_memory_bytes
        if is_worn or self._is_closed or not child.is_alive:
            await self._discard(child)
            return
        self._busy.discard(child)
        timer = asyncio.get_running_loop().call_later(self._idle_seconds, self._retire, child)
        self._idle.append((child, timer))

    def _retire(self, child: ChildProcess) -> None:
        self._idle = [(other, timer) for other, timer in self._idle if other is not child]
        self._keep(child.retire())

    async def _surely(self, work: Coroutine[Any, Any, None]) -> None:
        """Do it also when cancelled: a process that is neither idle nor ended would stay for ever, with its files."""
        await asyncio.shield(self._keep(work))

    def _keep(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)
        return task

    async def _discard(self, child: ChildProcess) -> None:
        self._busy.discard(child)
        await child.kill()

    def _warn_once(self, child: ChildProcess) -> None:
        weak = [f"{what}: {how}" for what, how in child.confinement.items() if how == "none"]
        if weak and not self._has_warned:
            self._has_warned = True
            logger.warning(
                "conversion processes are not fully confined on this system (%s): allow user namespaces or Landlock",
                ", ".join(weak),
                extra={"action": "conversion_unconfined"},
            )


def _lay_out(source: Path, sidecars: Mapping[SidecarKind, Path], folder: Path) -> None:
    """Give the child its files under fixed names."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for path, name in ((source, "source"), *((path, kind.value) for kind, path in sidecars.items())):
        try:
            os.link(path, folder / name)
        except OSError as exc:
            if exc.errno not in (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOTSUP):
                raise
            shutil.copyfile(path, folder / name)


def _result(request: ConversionRequest, answer: dict[str, Any], folder: Path) -> ConversionResult:
    """Read an answer, believing no more of it than has to be believed."""
    _raise_error(request.name, answer)
    try:
        outcome = Outcome(answer["outcome"])
        facts = RasterFacts.read(answer["facts"])
    except (KeyError, TypeError, ValueError, OverflowError) as exc:
        raise errors.ConversionCrashed("the conversion process answered nonsense") from exc
    if outcome is not Outcome.CONVERTED:
        media_type = COG_MEDIA_TYPE if outcome is Outcome.COPIED else None
        return ConversionResult(outcome, request.source, media_type, facts)
    _take_over(folder / "result.tif", request.output, "COG")
    return ConversionResult(outcome, request.output, COG_MEDIA_TYPE, facts)


def _manifest(request: ReferenceRequest, answer: dict[str, Any], folder: Path) -> bool:
    _raise_error(request.name, answer)
    if answer.get("outcome") != Outcome.REFERENCED:
        logger.info(
            "no manifest of references: %s",
            str(answer.get("why"))[:300],
            extra={"action": "no_manifest", "asset": request.name},
        )
        return False
    _take_over(folder / "result.json", request.output, "manifest")
    return True


def _raise_error(name: str, answer: dict[str, Any]) -> None:
    if "error" in answer:
        error = _CHILD_ERRORS.get(str(answer["error"]), errors.InternalError)
        raise error(f"asset {name!r}: {str(answer.get('message'))[:1000]}", target=name)


def _take_over(made: Path, output: Path, what: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        status = made.lstat()
        # A link would have us read or publish somebody else's file.
        if stat.S_ISREG(status.st_mode) and status.st_nlink == 1:
            shutil.move(made, output)
            return
    raise errors.ConversionCrashed(f"the conversion process left no {what}")
