"""Owns: how long a source is waited for: without a byte, with few of them, and between two tries."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Final

from graticule.errors import SourceError, SourceFailed
from graticule.settings import Settings

#: A new try is not started, and a running one is ended, when no byte has come for this long, seconds.
_NO_NEW_TRY: Final = 45.0
_NO_BYTES: Final = 50.0
_FIRST_DELAY: Final = 0.5
#: Longest wait that a source's Retry-After is granted, seconds.
_MAX_RETRY_AFTER: Final = 20.0


class Patience:
    """How long a source has sent nothing."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self.renew()

    def renew(self) -> None:
        """A byte came."""
        self._since = self._clock()

    @property
    def left(self) -> float:
        """Seconds until the source is given up."""
        return max(0.0, _NO_BYTES - self._spent())

    def allows(self, delay: float) -> bool:
        """May another try begin after so many seconds?"""
        return self._spent() + delay <= _NO_NEW_TRY

    def _spent(self) -> float:
        return self._clock() - self._since


class Pace:
    """How fast a source sends, looked at from time to time."""

    def __init__(self, settings: Settings, clock: Callable[[], float]) -> None:
        self._slowest, self._seconds = settings.fetch_slowest, settings.fetch_slow_seconds
        self._clock = clock
        self._since, self._bytes = clock(), 0

    def is_too_slow(self, received: int) -> bool:
        """Count bytes; was the span that ends now, if one does, too slow?"""
        self._bytes += received
        elapsed = self._clock() - self._since
        if elapsed < self._seconds:
            return False
        sent, self._bytes, self._since = self._bytes, 0, self._clock()
        return sent < self._slowest * elapsed


def delay_after(failures: int, error: SourceError) -> float:
    """Seconds before the next try: 0.5, 1, 2, 4, … less up to a quarter, or what the source asks for."""
    delay = _FIRST_DELAY * 2.0 ** min(failures - 1, 4) * random.uniform(0.75, 1)  # noqa: S311 - spreads tries, no secret
    if isinstance(error, SourceFailed) and error.retry_after is not None:
        return max(delay, min(error.retry_after, _MAX_RETRY_AFTER))
    return delay
