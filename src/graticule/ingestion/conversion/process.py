"""Owns one child process from outside: its start, its jobs, its limits and its end.

The child sees an empty environment, one folder of its own and three pipes. What it answers is not trusted.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import itertools
import json
import logging
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import graticule
from graticule.errors import CogTransformationTimeout, ConversionCrashed, InternalIntermittentError

logger = logging.getLogger(__name__)

FOLDER_PREFIX = "conversion-"
_START_SECONDS = 60.0
_ANSWER_BYTES = 4 << 20
_STDERR_BYTES = 4096
# -I: nothing is imported from the working folder or the user's; the package may lie outside site-packages.
_BOOTSTRAP = (
    "import sys; sys.path.insert(0, sys.argv.pop(1)); from graticule.ingestion.conversion.child import main; main()"
)


@dataclass(frozen=True)
class Limits:
    """What a child process may use."""

    #: Address space, bytes.
    memory_bytes: int
    #: The largest file it may write, bytes.
    file_bytes: int


def child_command(code: str, limits: Limits) -> list[str]:
    """The command line of a child that runs ``code``."""
    package_root = str(Path(graticule.__file__).parents[1])
    numbers = [str(os.getpid()), str(limits.memory_bytes), str(limits.file_bytes)]
    return [sys.executable, "-I", "-B", "-X", "utf8", "-c", code, package_root, *numbers]


class ChildProcess:
    """A running, confined conversion process. One job at a time."""

    def __init__(self, process: asyncio.subprocess.Process, folder: Path, lock_fd: int) -> None:
        """Take over a process just started; use ``start``."""
        self._process = process
        self._lock_fd = lock_fd
        self._ids = itertools.count(1)
        self._stderr = bytearray()
        self._stderr_task = asyncio.create_task(self._drain_stderr())
        self.folder = folder
        #: Has the job last given reached the process?
        self.has_started = False
        #: Jobs done.
        self.jobs = 0
        #: Resident bytes after the last job.
        self.memory_bytes = 0
        #: How far it is confined, as ``confinement.Confinement`` says it.
        self.confinement: Mapping[str, str] = {}

    @classmethod
    async def start(cls, staging_dir: Path, limits: Limits) -> ChildProcess:
        """Start a process with a folder of its own in ``staging_dir``.

        Raises:
            InternalIntermittentError: it does not come up.
        """
        folder, lock_fd = make_folder(staging_dir)
        try:
            process = await asyncio.create_subprocess_exec(
                *child_command(_BOOTSTRAP, limits),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                cwd=folder,
                env={},
                start_new_session=True,  # a Ctrl-C in the terminal is the parent's to handle
                limit=_ANSWER_BYTES,
            )
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
    def pid(self) -> int:
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        return self._process.returncode is None and not self._stderr_task.done()

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
        assert self._process.stdin is not None
        try:
            async with asyncio.timeout(seconds):
                with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                    self._process.stdin.write(line.encode())
                    await self._process.stdin.drain()
                acknowledgement = await self._read_answer()
                self.has_started = True
                answer = await self._read_answer()
        except TimeoutError:
            raise CogTransformationTimeout(
                f"conversion took longer than {seconds:g} seconds: split the file, or supply a COG"
            ) from None
        if not acknowledgement.get("id") == answer.get("id") == job_id:
            self._log("conversion_nonsense", "a conversion process answered another job")
            raise ConversionCrashed
        self.jobs += 1
        memory = answer.get("memory")
        self.memory_bytes = memory if isinstance(memory, int) else 0
        return answer

    async def retire(self, seconds: float = 2.0) -> None:
        """Let the process end by itself: its input ends."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._process.wait()
        await self.kill()

    async def kill(self) -> None:
        """End the process at once and remove its folder. May be called twice."""
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
        await asyncio.shield(self._bury())

    async def _bury(self) -> None:
        await self._process.wait()
        self._stderr_task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._stderr_task
        if self._process.stdin is not None:
            self._process.stdin.close()
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
            self._log("conversion_nonsense", "a conversion process answered something that is not JSON")
            raise ConversionCrashed
        code = await self._process.wait()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(1):
                await asyncio.shield(self._stderr_task)
        self._log("conversion_died", "a conversion process died")
        if code == -signal.SIGXCPU:
            raise CogTransformationTimeout("conversion used up its CPU time: split the file, or supply a COG")
        raise ConversionCrashed(
            "the conversion process died: the file may be damaged, or need more than"
            " GRATICULE_CONVERSION_MEMORY_MB; test it with GDAL, or supply a COG"
        )

    def _log(self, action: str, message: str) -> None:
        logger.warning(
            message,
            extra={
                "action": action,
                "pid": self.pid,
                "exit_code": self._process.returncode,
                "stderr": self._stderr.decode(errors="replace"),
            },
        )

    def log_stderr(self) -> None:
        """Pass on what the process complained about during a job, and forget it."""
        if self._stderr:
            logger.info(
                "a conversion process wrote to stderr",
                extra={"action": "conversion_stderr", "pid": self.pid, "stderr": self._stderr.decode(errors="replace")},
            )
            self._stderr.clear()

    async def _drain_stderr(self) -> None:
        """Keep the last few kilobytes; a full pipe would stop the child."""
        assert self._process.stderr is not None
        while data := await self._process.stderr.read(_STDERR_BYTES):
            self._stderr += data
            del self._stderr[:-_STDERR_BYTES]


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
