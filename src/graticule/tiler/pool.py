"""Owns the render processes of an API process: started by the first job, reused, recycled, killed when they overstay.

A pool belongs to one event loop, and its processes to the thread that runs it: they die with that thread.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any, Final

from graticule import errors
from graticule.settings import Settings, cores
from graticule.tiler.jobs import Job
from graticule.tiler.process import Answer, Limits, Read, RenderProcess
from graticule.tiler.remote import FOLDER as REMOTE_FOLDER
from graticule.tiler.turns import Known, Place, Turns, place_of

logger = logging.getLogger(__name__)

#: Of the errors that a child may name: others are ours alone to raise.
_CHILD_ERRORS: Final[dict[str, type[errors.GraticuleError]]] = {
    error.__name__: error
    for error in (
        errors.InvalidParameter,
        errors.InvalidRequestBody,
        errors.NotFound,
        errors.OutsideData,
        errors.AssetUnreadable,
        errors.RenderLimitExceeded,
    )
}
#: Jobs that may wait for a process, for each process; one more is answered 503.
_MOST_WAITING: Final = 500


class RenderPool:
    """Runs jobs, several at a time, each in a confined child process."""

    def __init__(self, settings: Settings, *, read: Read | None = None, idle_seconds: float = 300.0) -> None:
        """Prepare; no process is started before the first job.

        Args:
            settings: ``render_*`` are used.
            read: reads for the processes what lies in a bucket; None: they read the folder of assets themselves.
            idle_seconds: a process without work ends after that long.
        """
        self.size = settings.render_processes or max(1, cores() // settings.api_process_count)
        self._timeout = settings.render_timeout
        self._jobs_per_process = settings.render_jobs_per_process
        self._most_memory_bytes = (
            settings.render_memory_mb << 19
        )  # resident half of what it may address: time for a new one
        self._limits = Limits(
            memory_bytes=settings.render_memory_mb << 20,
            cache_bytes=settings.render_cache_mb << 20,
            # Storage names files by their real path.
            folder=str(settings.assets_dir.resolve()) if read is None else REMOTE_FOLDER,
        )
        self._read = read
        self._idle_seconds = idle_seconds
        self._turns = Turns(self.size)
        self._known: dict[RenderProcess, Known] = {}
        self._idle: list[tuple[RenderProcess, asyncio.TimerHandle]] = []
        self._busy: set[RenderProcess] = set()
        self._ending: set[asyncio.Task[None]] = set()
        self._is_closed = self._has_warned = False

    async def run(self, job: Job) -> Answer:
        """Do a job; waits for a free process. Cancelling kills the process.

        Raises:
            Unavailable: too many are waiting, or the catalog is stopping.
            RenderCrashed: the process died. Another takes its place.
            RenderLimitExceeded: it took too long, or too much memory.
            InvalidParameter, NotFound, OutsideData, AssetUnreadable: as the process found.
        """
        if len(self._turns) >= _MOST_WAITING * self.size:
            raise errors.Unavailable("Too many tiles are waiting to be rendered: try again in a while.")
        place = place_of(job)
        await self._turns.take(place)
        child: RenderProcess | None = None
        try:
            child = await self._take(place)
            return await self._run(child, job)
        finally:
            others = tuple(self._known[busy] for busy in self._busy if busy is not child)
            self._turns.give_back(None if child is None else self._known.get(child), others)

    async def close(self) -> None:
        """Kill all processes at once; jobs under way end with an error."""
        self._is_closed = True
        idle, self._idle = self._idle, []
        for _, timer in idle:
            timer.cancel()
        await asyncio.gather(*(child.kill() for child, _ in idle), *(child.kill() for child in tuple(self._busy)))
        await asyncio.gather(*self._ending)

    @property
    def pids(self) -> tuple[int, ...]:
        """Process ids of the processes that live."""
        return tuple(child.pid for child in (*self._busy, *(child for child, _ in self._idle)))

    async def _run(self, child: RenderProcess, job: Job) -> Answer:
        try:
            answer = await child.run(job, seconds=self._timeout, read=self._read)
        except BaseException:
            self._forget(child)
            await child.kill()
            if self._is_closed:
                raise errors.Unavailable("The catalog is stopping.") from None
            raise
        self._give_back(child)
        name = answer.header.get("error")
        if name is not None:
            error = _CHILD_ERRORS.get(str(name), errors.RenderCrashed)
            target = answer.header.get("target")
            raise error(str(answer.header.get("message"))[:1000], target=None if target is None else str(target))
        return answer

    async def _take(self, place: Place | None) -> RenderProcess:
        """An idle process: one that knows the place, else the last used so that the others can end; or a new one."""
        while self._idle:
            knowing = (at for at, (child, _) in enumerate(self._idle) if place in self._known[child])
            child, timer = self._idle.pop(next(knowing, -1))
            timer.cancel()
            if child.is_alive:
                self._busy.add(child)
                self._known[child].add(place)
                return child
            self._forget(child)
            await child.kill()
        if self._is_closed:
            raise errors.Unavailable("The catalog is stopping.")
        child = await RenderProcess.start(self._limits)
        self._busy.add(child)
        self._known[child] = Known()
        self._known[child].add(place)
        self._warn_once(child)
        return child

    def _give_back(self, child: RenderProcess) -> None:
        child.log_stderr()
        self._busy.discard(child)
        is_worn = 0 < self._jobs_per_process <= child.jobs or child.memory_bytes > self._most_memory_bytes
        if is_worn or self._is_closed or not child.is_alive:
            self._forget(child)
            self._keep(child.retire())
            return
        timer = asyncio.get_running_loop().call_later(self._idle_seconds, self._retire, child)
        self._idle.append((child, timer))

    def _retire(self, child: RenderProcess) -> None:
        self._idle = [(other, timer) for other, timer in self._idle if other is not child]
        self._forget(child)
        self._keep(child.retire())

    def _forget(self, child: RenderProcess) -> None:
        self._busy.discard(child)
        self._known.pop(child, None)

    def _keep(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    def _warn_once(self, child: RenderProcess) -> None:
        weak = [f"{what}: {how}" for what, how in child.confinement.items() if how == "none"]
        if weak and not self._has_warned:
            self._has_warned = True
            logger.warning(
                "render processes are not fully confined on this system (%s): allow user namespaces or Landlock",
                ", ".join(weak),
                extra={"action": "render_unconfined"},
            )
