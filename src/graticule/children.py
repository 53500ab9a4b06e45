"""Owns one child process that is not trusted, from outside: its start, its complaints and its end.

The child sees an environment of a few names of ours and three pipes, and imports nothing from the working folder or the
user's. Conversion and rendering say what goes over the pipes.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import graticule

_STDERR_BYTES: Final = 4096
#: As many children as cores work side by side, so each has one thread: OpenBLAS's would spin while they wait, and
#: reserve address space. It starts them when it is loaded; the child itself would come too late to say so.
_ONE_THREAD: Final = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "NUMEXPR_NUM_THREADS"), "1")


class Child:
    """A running child process. One job at a time."""

    #: For the log: "conversion", "render".
    kind: str

    def __init__(self, process: asyncio.subprocess.Process, logger: logging.Logger) -> None:
        """Take over a process just started; see `spawn`."""
        self._process = process
        self._logger = logger
        self._stderr = bytearray()
        self._stderr_task = asyncio.create_task(self._drain_stderr())
        #: Jobs done.
        self.jobs = 0
        #: Resident bytes after the last job.
        self.memory_bytes = 0
        #: How far it is confined, as ``confinement.Confinement`` says it.
        self.confinement: Mapping[str, str] = {}

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        """May it be given a job?"""
        return self._process.returncode is None and not self._stderr_task.done()

    def done(self, memory: object) -> None:
        """A job has ended; `memory` is what the child says that it holds, bytes."""
        self.jobs += 1
        self.memory_bytes = memory if isinstance(memory, int) else 0

    async def retire(self, seconds: float = 2.0) -> None:
        """Let the process end by itself: its input ends."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._process.wait()
        await self.kill()

    async def kill(self) -> None:
        """End the process at once. May be called twice."""
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

    async def _send(self, message: bytes) -> None:
        """A child that has died is noticed when its answer is read."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self._process.stdin.write(message)
            await self._process.stdin.drain()

    async def _died(self) -> int:
        """Its exit status, after it went without an answer; the log gets its last words."""
        code = await self._process.wait()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(1):
                await asyncio.shield(self._stderr_task)
        self._log("died", f"a {self.kind} process died")
        return code

    def log_stderr(self) -> None:
        """Pass on what the process complained about during a job, and forget it."""
        if self._stderr:
            self._log("stderr", f"a {self.kind} process wrote to stderr", logging.INFO)
            self._stderr.clear()

    def _log(self, action: str, message: str, level: int = logging.WARNING) -> None:
        extra = {
            "action": f"{self.kind}_{action}",
            "pid": self.pid,
            "exit_code": self._process.returncode,
            "stderr": self._stderr.decode(errors="replace"),
        }
        self._logger.log(level, message, extra=extra)

    async def _drain_stderr(self) -> None:
        """Keep the last few kilobytes; a full pipe would stop the child."""
        assert self._process.stderr is not None
        while data := await self._process.stderr.read(_STDERR_BYTES):
            self._stderr += data
            del self._stderr[:-_STDERR_BYTES]


def command(module: str, *arguments: object) -> list[str]:
    """The command line of a child that runs ``main`` of a module."""
    # The package may lie outside site-packages.
    code = f"import sys; sys.path.insert(0, sys.argv.pop(1)); from {module} import main; main()"
    return command_of_code(code, *arguments)


def command_of_code(code: str, *arguments: object) -> list[str]:
    """The command line of a child that runs ``code``; its first argument is where the package lies."""
    package_root = str(Path(graticule.__file__).parents[1])
    return [sys.executable, "-I", "-B", "-X", "utf8", "-c", code, package_root, *map(str, arguments)]


async def spawn(
    command_line: list[str], *, cwd: str | Path, env: Mapping[str, str], limit: int
) -> asyncio.subprocess.Process:
    """Start a child with pipes and nothing but `env`; `limit` is the longest line that is read from it, bytes."""
    return await asyncio.create_subprocess_exec(
        *command_line,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        cwd=cwd,
        env={**_ONE_THREAD, **env},
        start_new_session=True,  # a Ctrl-C in the terminal is the parent's to handle
        limit=limit,
    )
