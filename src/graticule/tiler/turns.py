"""Owns: which of the jobs that wait is done next, and by which process, so that few blocks are decoded twice.

Neighbouring tiles lie in the same blocks of a file, and each render process decodes for itself. A map asks for a
viewport at once: a process that is free takes what lies beside what it has drawn, and leaves to the others what lies
beside theirs, if there is anything else. Nobody waits much longer for that: what is oldest is passed over a few times.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Hashable
from dataclasses import dataclass
from itertools import islice
from typing import Final

from graticule.tiler.jobs import Job, Tile

#: A square of so many tiles a side, as a power of two, lies in about one block of 512 pixels.
_SHIFT: Final = 1
#: Places that a process is known for.
_KNOWN: Final = 64
#: Jobs that are looked at, of those that wait; and how often the oldest is passed over.
_LOOKED_AT: Final = 16

Place = Hashable


def place_of(job: Job) -> Place | None:
    """Where a job's blocks are: equal for tiles that are likely to share some. None where nothing is known."""
    if not isinstance(job.area, Tile) or not job.layers:
        return None
    item = None if job.is_mosaic else job.layers[0].item
    return job.layers[0].collection, item, job.area.z, job.area.x >> _SHIFT, job.area.y >> _SHIFT


class Known:
    """The places where a process has drawn lately."""

    def __init__(self) -> None:
        """None yet."""
        self._places: deque[Place] = deque(maxlen=_KNOWN)

    def add(self, place: Place | None) -> None:
        """It draws there now."""
        if place is not None and place not in self._places:
            self._places.append(place)

    def __contains__(self, place: object) -> bool:
        """Has it drawn there?"""
        return place in self._places


@dataclass(slots=True, eq=False)
class _Waiting:
    place: Place | None
    turn: asyncio.Future[None]
    passed_over: int = 0


class Turns:
    """So many turns at a time."""

    def __init__(self, size: int) -> None:
        """Take how many."""
        self._free = size
        self._waiting: deque[_Waiting] = deque()

    def __len__(self) -> int:
        """How many wait."""
        return len(self._waiting)

    async def take(self, place: Place | None) -> None:
        """Wait for a turn; every one that was taken is given back with `give_back`."""
        if self._free:
            self._free -= 1
            return
        waiting = _Waiting(place, asyncio.get_running_loop().create_future())
        self._waiting.append(waiting)
        try:
            await waiting.turn
        except asyncio.CancelledError:
            if not waiting.turn.cancelled():
                self.give_back(None, ())  # it came just now
            elif waiting in self._waiting:
                self._waiting.remove(waiting)
            raise

    def give_back(self, known: Known | None, others: tuple[Known, ...]) -> None:
        """A turn is over: the next one's.

        Args:
            known: where the process has drawn that is free now; None: it has gone.
            others: where those have drawn that are at work.
        """
        while self._waiting:
            at = self._next(known, others)
            chosen = self._waiting[at]
            del self._waiting[at]
            if not chosen.turn.cancelled():
                for passed in islice(self._waiting, at):
                    passed.passed_over += 1
                chosen.turn.set_result(None)
                return
        self._free += 1

    def _next(self, known: Known | None, others: tuple[Known, ...]) -> int:
        if known is None or self._waiting[0].passed_over >= _LOOKED_AT:
            return 0
        places = [one.place for one in islice(self._waiting, _LOOKED_AT)]
        own = next((at for at, place in enumerate(places) if place in known), None)
        if own is not None:
            return own
        return next((at for at, place in enumerate(places) if not any(place in other for other in others)), 0)
