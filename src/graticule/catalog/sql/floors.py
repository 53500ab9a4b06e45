"""What searches of large areas remember from one another."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from graticule.catalog.tokens import Key

#: So long it is remembered where the newest rows of a collection end, seconds.
_REMEMBERED: Final = 2.0


class Floors:
    """Where the newest few thousand rows of each collection end, as it was a moment ago.

    A search of a large area reads down to there first, whatever the exact number: a remembered place does as well.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Nothing is remembered; `clock` answers seconds."""
        self._clock = clock
        self._places: dict[tuple[int, int], tuple[float, Key | None]] = {}

    def get(self, coll: int, n: int, find: Callable[[], Key | None]) -> Key | None:
        """The place below the `n` newest rows of a collection; None: it has fewer."""
        until, place = self._places.get((coll, n), (0.0, None))
        if until < self._clock():
            place = find()
            self._places[coll, n] = (self._clock() + _REMEMBERED, place)
        return place
