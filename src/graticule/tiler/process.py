"""Owns one render process from outside: its start, its jobs, its limits and its end.

The child sees an empty environment but for a few names of ours, and three pipes. What it answers is not trusted.
Messages on the pipes: to the child a length and a pickled `Job`, which only we write; from the child two lengths, a
JSON object and bytes.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import struct
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import orjson

import graticule
from graticule.errors import RenderCrashed, RenderLimitExceeded, Unavailable
from graticule.tiler.jobs import Job, pack

logger = logging.getLogger(__name__)

_START_SECONDS: Final = 60.0
_STDERR_BYTES: Final = 4096
_HEADER_BYTES: Final = 16 << 20
_BODY_BYTES: Final = 1 << 30
_LENGTHS: Final = struct.Struct(">II")
# -I: nothing is imported from the working folder or the user's; the package may lie outside site-packages.
_BOOTSTRAP: Final = "import sys; sys.path.insert(0, sys.argv.pop(1)); from graticule.tiler.child import main; main()"


@dataclass(frozen=True, slots=True)
class Limits:
    """What a render process may use."""

    memory_bytes: int  #: address space
    cache_bytes: int  #: of decoded blocks
    folder: str  #: the only one whose files it may read, beside libraries


@dataclass(frozen=True, slots=True)
class Answer:
    """What a render process made of a job."""

    header: Mapping[str, Any]  #: plain JSON; ``media_type`` for a picture
    body: bytes


class RenderProcess:
    """A running, confined render process. One job at a time."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        """Take over a process just started; use `start`."""
        self._process = process
        self._stderr = bytearray()
        self._stderr_task = asyncio.create_task(self._drain_stderr())
        #: Jobs done.
        self.jobs = 0
        #: Resident bytes after the last job.
        self.memory_bytes = 0
        #: How far it is confined, as ``confinement.Confinement`` says it.
        self.confinement: Mapping[str, str] = {}

    @classmethod
    async def start(cls, limits: Limits) -> RenderProcess:
        """Start a process and wait until it can render.

        Raises:
            Unavailable: it does not come up.
        """
        package_root = str(Path(graticule.__file__).parents[1])
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-I", "-B", "-X", "utf8", "-c", _BOOTSTRAP, package_root),
            *(limits.folder, str(limits.memory_bytes), str(limits.cache_bytes)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            cwd="/",
            # Big buffers of threads would otherwise go back to the kernel after each tile.
            env={"MALLOC_ARENA_MAX": "1"},
            start_new_session=True,  # a Ctrl-C in the terminal is the parent's to handle
            limit=1 << 20,
        )
        child = cls(process)
        try:
            async with asyncio.timeout(_START_SECONDS):
                child.confinement = (await child._read()).header
        except (RenderCrashed, TimeoutError) as exc:
            await child.kill()
            raise Unavailable("A render process does not start; the log says why.") from exc
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

    async def run(self, job: Job, *, seconds: float) -> Answer:
        """Hand over a job and wait for its answer. After any exception the process is to be killed.

        Raises:
            RenderLimitExceeded: time is over.
            RenderCrashed: the process died, or answers nonsense.
        """
        assert self._process.stdin is not None
        message = pack(job)
        try:
            async with asyncio.timeout(seconds):
                with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                    self._process.stdin.write(len(message).to_bytes(4, "big") + message)
                    await self._process.stdin.drain()
                answer = await self._read()
        except TimeoutError:
            raise RenderLimitExceeded(
                f"This takes longer than {seconds:g} seconds (GRATICULE_RENDER_TIMEOUT): ask for less at a time."
            ) from None
        self.jobs += 1
        memory = answer.header.get("memory")
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

    async def _read(self) -> Answer:
        assert self._process.stdout is not None
        try:
            header_size, body_size = _LENGTHS.unpack(await self._process.stdout.readexactly(_LENGTHS.size))
            if header_size > _HEADER_BYTES or body_size > _BODY_BYTES:
                self._log("render_nonsense", "a render process answered nonsense")
                raise RenderCrashed
            header = orjson.loads(await self._process.stdout.readexactly(header_size))
            body = await self._process.stdout.readexactly(body_size)
        except asyncio.IncompleteReadError:
            await self._process.wait()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(1):
                    await asyncio.shield(self._stderr_task)
            self._log("render_died", "a render process died")
            raise RenderCrashed from None
        except orjson.JSONDecodeError:
            self._log("render_nonsense", "a render process answered nonsense")
            raise RenderCrashed from None
        if not isinstance(header, dict):
            raise RenderCrashed
        return Answer(header, body)

    def log_stderr(self) -> None:
        """Pass on what the process complained about, and forget it."""
        if self._stderr:
            self._log("render_stderr", "a render process wrote to stderr")
            self._stderr.clear()

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

    async def _drain_stderr(self) -> None:
        """Keep the last few kilobytes; a full pipe would stop the child."""
        assert self._process.stderr is not None
        while data := await self._process.stderr.read(_STDERR_BYTES):
            self._stderr += data
            del self._stderr[:-_STDERR_BYTES]
