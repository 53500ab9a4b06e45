"""Owns one child process from outside: its start, its jobs, its limits and its end.

The child has one folder of its own, and what it answers is not trusted. What it shares with rendering:
`graticule.children`.
"""

from __future__ import annotations

import asyncio
import fcntl
import itertools
import json
import logging
import os
import shutil
import signal
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from graticule.children import Child, command, spawn
from graticule.errors import CogTransformationTimeout, ConversionCrashed, InternalIntermittentError

logger = logging.getLogger(__name__)

FOLDER_PREFIX = "conversion-"
_START_SECONDS = 60.0
_ANSWER_BYTES = 4 << 20


@dataclass(frozen=True)
class Limits:
    """What a child process may use."""

    #: Address space, bytes.
    memory_bytes: int
    #: The largest file it may write, bytes.
    file_bytes: int


def child_arguments(limits: Limits) -> tuple[int, int, int]:
    """What a child is told: whose it is, and what it may use."""
    return os.getpid(), limits.memory_bytes, limits.file_bytes


class ChildProcess(Child):
    """A running, confined conversion process. One job at a time."""

    kind = "conversion"

    def __init__(self, process: asyncio.subprocess.Process, folder: Path, lock_fd: int) -> None:
        """Take over a process just started; use ``start``."""
        super().__init__(process, logger)
        self._lock_fd = lock_fd
        self._ids = itertools.count(1)
        self.folder = folder
        #: Has the job last given reached the process?
        self.has_started = False

    @classmethod
    async def start(cls, staging_dir: Path, limits: Limits) -> ChildProcess:
        """Start a process with a folder of its own in ``staging_dir``.

        Raises:
            InternalIntermittentError: it does not come up.
        """
        folder, lock_fd = make_folder(staging_dir)
        try:
            line = command("graticule.ingestion.conversion.child", *child_arguments(limits))
            process = await spawn(line, cwd=folder, env={}, limit=_ANSWER_BYTES)
        except BaseException:
            _remove_folder(folder, lock_fd)
            raise
        child = cls(process, folder, lock_fd)
        try:
            async with asyncio.timeout(_START_SECONDS):
                child.confinement = await child._read_answer()
        except (ConversionCrashed, TimeoutError) as exc:
            await child.kill()
            raise InternalIntermittentError("a conversion process does not start; the log says why") from exc
        except BaseException:
            await child.kill()
            raise
        return child

    @property
    def job_folder(self) -> Path:
        """Where the files of the next job are laid."""
        return self.folder / "job"

    async def run(self, job: Mapping[str, Any], *, seconds: float) -> dict[str, Any]:
        """Hand over a job and wait for its answer. After any exception the process is to be killed.

        Raises:
            CogTransformationTimeout: wall or CPU time is over.
            ConversionCrashed: the process died, or answers nonsense.
        """
        job_id, self.has_started = next(self._ids), False
        line = json.dumps({"id": job_id, **job}) + "\n"
        try:
            async with asyncio.timeout(seconds):
                await self._send(line.encode())
                acknowledgement = await self._read_answer()
                self.has_started = True
                answer = await self._read_answer()
        except TimeoutError:
            raise CogTransformationTimeout(
                f"conversion took longer than {seconds:g} seconds: split the file, or supply a COG"
            ) from None
        if not acknowledgement.get("id") == answer.get("id") == job_id:
            self._log("nonsense", "a conversion process answered another job")
            raise ConversionCrashed
        self.done(answer.get("memory"))
        return answer

    async def _bury(self) -> None:
        """Its folder goes with it."""
        await super()._bury()
        lock_fd, self._lock_fd = self._lock_fd, -1
        if lock_fd >= 0:
            await asyncio.to_thread(_remove_folder, self.folder, lock_fd)

    async def _read_answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        try:
            line = await self._process.stdout.readline()
            answer = json.loads(line) if line else None
        except ValueError:  # no JSON, not UTF-8, or a line without end
            answer = []
        if isinstance(answer, dict):
            return answer
        if answer is not None:
            self._log("nonsense", "a conversion process answered something that is not JSON")
            raise ConversionCrashed
        if await self._died() == -signal.SIGXCPU:
            raise CogTransformationTimeout("conversion used up its CPU time: split the file, or supply a COG")
        raise ConversionCrashed(
            "the conversion process died: the file may be damaged, or need more than"
            " GRATICULE_CONVERSION_MEMORY_MB; test it with GDAL, or supply a COG"
        )


def make_folder(staging_dir: Path) -> tuple[Path, int]:
    """A new folder and the lock that keeps it from being swept; closing the descriptor gives the lock up."""
    while True:
        folder = Path(tempfile.mkdtemp(prefix=FOLDER_PREFIX, dir=staging_dir))
        try:
            lock_fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError:
            continue  # somebody's sweep came between
        fcntl.flock(lock_fd, fcntl.LOCK_EX)
        if folder.exists():
            return folder, lock_fd
        os.close(lock_fd)  # the sweep had the lock first


def sweep_folders(staging_dir: Path) -> None:
    """Remove the folders of processes whose parent died; a living parent holds a lock on each of its own."""
    for folder in staging_dir.glob(FOLDER_PREFIX + "*"):
        try:
            lock_fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:
            continue
        try:
            fcntl.flock(lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(lock_fd)
        else:
            _remove_folder(folder, lock_fd)


def _remove_folder(folder: Path, lock_fd: int) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    os.close(lock_fd)
