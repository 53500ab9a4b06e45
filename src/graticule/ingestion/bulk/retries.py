"""When an item of a run is tried again whose source failed in passing."""

from __future__ import annotations

import random
from typing import Final

#: Tries of an item, and the part of the time for them that passes before each but the first.
MOST_TRIES: Final = 5
_PARTS: Final = (0.03, 0.1, 0.25, 0.5)


def retry_delay(tries: int, seconds: float, retry_after: float | None) -> int | None:
    """Microseconds until an item is tried again after so many tries, within so many seconds; None: not any more.

    A quarter of each delay is random, so that what failed together does not come back together.
    """
    if seconds <= 0 or not 0 < tries < MOST_TRIES:
        return None
    delay = seconds * _PARTS[tries - 1] * random.uniform(0.75, 1)  # noqa: S311 - spreads load, guards nothing
    return round(max(delay, retry_after or 0) * 1_000_000)
