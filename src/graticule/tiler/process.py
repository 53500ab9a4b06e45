"""Owns one render process from outside: its start, its jobs, its limits and its end.

What it answers is not trusted. What it shares with conversion: `graticule.children`. Messages on the pipes: to the
child a length and a pickled `Job`, which only we write; from the child two lengths, a JSON object and bytes. Where
files lie in a bucket, the child asks for parts of them in between (``wanted``), and is given those of its job's items.
"""

from __future__ import annotations

import asyncio
import logging
import struct
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson

from graticule.children import Child, command, spawn
from graticule.errors import NotFound, RenderCrashed, RenderLimitExceeded, Unavailable
from graticule.tiler.jobs import Job, pack
from graticule.tiler.remote import MOST, Part

logger = logging.getLogger(__name__)

_START_SECONDS: Final = 60.0
_HEADER_BYTES: Final = 16 << 20
_BODY_BYTES: Final = 1 << 30
_LENGTHS: Final = struct.Struct(">II")

#: Reads a range (path, start, end) of a stored object. Raises NotFound, Unavailable.
Read = Callable[[str, int, int], Awaitable[Part]]


@dataclass(frozen=True, slots=True)
class Limits:
    """What a render process may use."""

    memory_bytes: int  #: address space
    cache_bytes: int  #: of decoded blocks
    folder: str  #: the only one whose files it may read, beside libraries; or `remote.FOLDER`


@dataclass(frozen=True, slots=True)
class Answer:
    """What a render process made of a job."""

    header: Mapping[str, Any]  #: plain JSON; ``media_type`` for a picture
    body: bytes


class RenderProcess(Child):
    """A running, confined render process. One job at a time."""

    kind = "render"

    @classmethod
    async def start(cls, limits: Limits) -> RenderProcess:
        """Start a process and wait until it can render.

        Raises:
            Unavailable: it does not come up.
        """
        line = command("graticule.tiler.child", limits.folder, limits.memory_bytes, limits.cache_bytes)
        # Big buffers of threads would otherwise go back to the kernel after each tile.
        child = cls(await spawn(line, cwd="/", env={"MALLOC_ARENA_MAX": "1"}, limit=1 << 20), logger)
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

    async def run(self, job: Job, *, seconds: float, read: Read | None = None) -> Answer:
        """Hand over a job and wait for its answer. After any exception the process is to be killed.

        Args:
            job: what is to be done.
            seconds: how long it may take.
            read: reads for the process what lies in a bucket.

        Raises:
            Unavailable: the storage fails.
            RenderLimitExceeded: time is over.
            RenderCrashed: the process died, or answers nonsense.
        """
        message = pack(job)
        try:
            async with asyncio.timeout(seconds):
                await self._send(len(message).to_bytes(4, "big") + message)
                answer = await self._read()
                while (wanted := answer.header.get("wanted")) is not None:
                    await self._supply(job, wanted, read)
                    answer = await self._read()
        except TimeoutError:
            raise RenderLimitExceeded(
                f"This takes longer than {seconds:g} seconds (GRATICULE_RENDER_TIMEOUT): ask for less at a time."
            ) from None
        self.done(answer.header.get("memory"))
        return answer

    async def _supply(self, job: Job, wanted: object, read: Read | None) -> None:
        """Give the process a part of a file: of those that lie beside a file of its job, and of no others."""
        folders = {source.path.rpartition("/")[0] for layer in job.layers for _, source in layer.sources}
        match wanted:
            case [str(path), int(start), int(end)] if (
                read is not None and path.rpartition("/")[0] in folders and 0 <= start < end <= start + MOST
            ):
                try:
                    part = await read(path, start, end)
                    message = part.size.to_bytes(8, "big") + part.data
                except NotFound:
                    message = b""
                await self._send(len(message).to_bytes(4, "big") + message)
            case _:
                self._log("nonsense", "a render process asked for what is not its own")
                raise RenderCrashed

    async def _read(self) -> Answer:
        assert self._process.stdout is not None
        try:
            header_size, body_size = _LENGTHS.unpack(await self._process.stdout.readexactly(_LENGTHS.size))
            if header_size > _HEADER_BYTES or body_size > _BODY_BYTES:
                self._log("nonsense", "a render process answered nonsense")
                raise RenderCrashed
            header = orjson.loads(await self._process.stdout.readexactly(header_size))
            body = await self._process.stdout.readexactly(body_size)
        except asyncio.IncompleteReadError:
            await self._died()
            raise RenderCrashed from None
        except orjson.JSONDecodeError:
            self._log("nonsense", "a render process answered nonsense")
            raise RenderCrashed from None
        if not isinstance(header, dict):
            raise RenderCrashed
        return Answer(header, body)
