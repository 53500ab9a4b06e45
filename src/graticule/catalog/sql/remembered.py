"""What searches of large areas remember from one another."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Final

from graticule.catalog.tokens import Key

if TYPE_CHECKING:  # a worker never searches, and shall not import numpy
    from graticule.catalog.blocks import Blocks
    from graticule.catalog.planning import CollectionStatistics

#: So long it is remembered where the newest rows of a collection end, seconds,
_FLOOR_SECONDS: Final = 2.0
#: and how many items its blocks have,
_BLOCKS_SECONDS: Final = 60.0
#: as long as their number changes by less than this part, and of at most so many collections.
_CHANGED: Final = 0.02
_MOST_COLLECTIONS: Final = 200


class Remembered:
    """How things were a moment ago, where that serves as well as how they are."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Nothing is remembered; `clock` answers seconds."""
        self._clock = clock
        self._floors: dict[tuple[int, int], tuple[float, Key | None]] = {}
        self._blocks: dict[int, tuple[float, int, Blocks]] = {}

    def floor(self, coll: int, n: int, find: Callable[[], Key | None]) -> Key | None:
        """The place below the `n` newest rows of a collection; None: it has fewer.

        A search of a large area reads down to there first, whatever the exact number: it need not be exact.
        """
        until, place = self._floors.get((coll, n), (0.0, None))
        if until < self._clock():
            place = find()
            self._floors[coll, n] = (self._clock() + _FLOOR_SECONDS, place)
        return place

    def blocks(
        self, collections: Sequence[CollectionStatistics], count: Callable[[Sequence[int]], Mapping[int, Blocks]]
    ) -> list[tuple[Blocks, float]]:
        """The blocks of collections, each with the factor by which its items have become more or fewer since.

        `count` is asked about those that are not remembered well.
        """
        known = {one.coll: self._blocks.get(one.coll) for one in collections}
        now = self._clock()
        stale = [one for one in collections if not _holds(known[one.coll], one.n, now)]
        if stale:
            counted = count([one.coll for one in stale])
            known |= {one.coll: (now + _BLOCKS_SECONDS, one.n, counted[one.coll]) for one in stale}
            if len(self._blocks) + len(stale) > _MOST_COLLECTIONS:
                self._blocks.clear()
            self._blocks.update({one.coll: found for one in stale if (found := known[one.coll]) is not None})
        return [(found[2], one.n / max(found[1], 1)) for one in collections if (found := known[one.coll]) is not None]


def _holds(found: tuple[float, int, Blocks] | None, n: int, now: float) -> bool:
    return found is not None and now < found[0] and abs(n - found[1]) <= found[1] * _CHANGED
