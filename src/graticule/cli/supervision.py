"""A supervisor: child processes that are restarted when they die, die with their parent, and stop together.

Kept free of the catalog's own imports, so that the process which only watches stays small.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

#: Exit code of a child that cannot work with these settings: starting it again would not help.
UNUSABLE: Final = 2
#: A stop takes at most this long; then children are killed, seconds.
STOP_SECONDS: Final = 3.5
_FIRST_DELAY: Final = 0.2
#: Seconds; see the setting ``restart_delay``.
LONGEST_DELAY: Final = 10.0
#: A child that lived this long was healthy: its next death is a first one, seconds.
_HEALTHY_SECONDS: Final = 30.0

_PR_SET_PDEATHSIG: Final = 1


def die_with_parent(parent: int | None = None) -> None:
    """Have the kernel kill this process when its parent ends, however that ends (Linux, prctl(2)).

    Args:
        parent: the parent's process id as it was known before; a parent that has gone meanwhile ends us at once.
    """
    if sys.platform != "linux":
        return
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if parent is not None and os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)


@dataclass(frozen=True)
class Child:
    """A process to keep alive."""

    name: str
    command: Sequence[str]


class Supervisor:
    """Keeps children running until it is told to stop, or one says that it cannot work."""

    def __init__(
        self, children: Sequence[Child], *, report: Callable[[str], None], longest_delay: float = LONGEST_DELAY
    ) -> None:
        """Take what to run, where to say that something died, and how long to wait at most before it is started again.

        The wait begins at 0.2 seconds and doubles with each death of a child that did not live long.
        """
        self._longest_delay = longest_delay
        self._children = children
        self._report = report
        self._stop = asyncio.Event()
        self._exit_code = 0

    async def run(self) -> int:
        """Run until SIGTERM or SIGINT; answers the exit code."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            loop.add_signal_handler(number, self._stop.set)
        await asyncio.gather(*(self._keep(child) for child in self._children))
        return self._exit_code

    async def _keep(self, child: Child) -> None:
        delay = _FIRST_DELAY
        by_signal = False
        while not self._stop.is_set():
            born = time.monotonic()
            try:
                process = await self._start(child, after_crash=by_signal)
            except OSError as exc:  # no memory, or no process left to have: that passes
                ending = exc.strerror or str(exc)
            else:
                code = await self._watch(process)
                by_signal = code < 0
                if code == UNUSABLE and not self._stop.is_set():
                    self._exit_code = UNUSABLE
                    self._stop.set()
                ending = _ending(code)
            if self._stop.is_set():
                return
            if time.monotonic() - born > _HEALTHY_SECONDS:
                delay = _FIRST_DELAY
            self._report(f"{child.name} ended ({ending}); starting it again in {delay:.1f} s")
            await self._pause(delay)
            delay = min(delay * 2, self._longest_delay)

    async def _start(self, child: Child, *, after_crash: bool) -> asyncio.subprocess.Process:
        environment = {**os.environ, "GRATICULE_PARENT_PID": str(os.getpid())}
        if after_crash:
            environment["GRATICULE_AFTER_CRASH"] = "1"
        # A process group of its own: Ctrl-C in the terminal reaches the supervisor only, which stops them in order.
        return await asyncio.create_subprocess_exec(
            *child.command, stdin=subprocess.DEVNULL, env=environment, process_group=0
        )

    async def _watch(self, process: asyncio.subprocess.Process) -> int:
        ended = asyncio.create_task(process.wait())
        stopping = asyncio.create_task(self._stop.wait())
        await asyncio.wait({ended, stopping}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if not ended.done():
            process.terminate()
            await asyncio.wait({ended}, timeout=STOP_SECONDS)
            if not ended.done():
                process.kill()
        return await ended

    async def _pause(self, seconds: float) -> None:
        try:
            await asyncio.wait_for(self._stop.wait(), seconds)
        except TimeoutError:
            return


async def supervise(children: Sequence[Child], *, longest_delay: float = LONGEST_DELAY) -> int:
    """Keep children running until SIGTERM or SIGINT, telling on stderr what died; answers the exit code."""

    def report(text: str) -> None:
        print(f"graticule: {text}", file=sys.stderr)

    return await Supervisor(children, report=report, longest_delay=longest_delay).run()


def on_stop(stop: Callable[[], None]) -> None:
    """In a child: call this when the supervisor, or a terminal, asks it to end."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)


def adopt() -> bool:
    """In a child: die with the supervisor that started it. Is it in the place of one that a signal ended?"""
    parent = os.environ.pop("GRATICULE_PARENT_PID", None)
    if parent is not None and parent.isdecimal():
        die_with_parent(int(parent))
    return os.environ.pop("GRATICULE_AFTER_CRASH", None) is not None


def _ending(code: int) -> str:
    return f"signal {-code}" if code < 0 else f"exit code {code}"
