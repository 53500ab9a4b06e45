"""Ranges of numbers, all of one width: where they begin and end, and which of them a number is in.

An edge is ``k * step / scale`` in doubles, for a whole k: the number that its decimal reads as, wherever that has at
most 15 digits, so that 0.3 is in the range that begins at 0.3. `Ranges.place` and the SQL `PLACE` say the same: both
guess, and then compare with the edges that are shown.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

#: A range is counted from 0 with fewer than this many before it, else doubles could not tell edges apart.
_FARTHEST: Final = 2**50
#: Ranges that are shown where none were asked for, at most.
_SOME: Final = 20


#: Beyond it, edges might be infinite.
GREATEST: Final = 1e300
#: Nobody needs narrower ones, and their scale would be infinite some day.
_NARROWEST: Final = 1e-15

#: `Ranges.place` of a column ``value``, for `PLACE` of rows that `GUESS` was added to as ``k``; binds ``step`` and
#: ``scale``. A cast rounds or truncates: that is one off at most.
GUESS: Final = "CAST(v.value * :scale / :step AS BIGINT)"
PLACE: Final = """k - (CASE WHEN value < k * :step / :scale THEN 1 ELSE 0 END)
    + (CASE WHEN value >= (k + 1) * :step / :scale THEN 1 ELSE 0 END)"""


@dataclass(frozen=True, slots=True)
class Ranges:
    """Ranges whose width is ``step / scale``."""

    step: float
    scale: float

    @classmethod
    def of_width(cls, width: Decimal) -> Ranges:
        """Ranges of just this width."""
        places = max(-int(width.normalize().as_tuple().exponent), 0)
        return cls(float(width.scaleb(places)), float(10**places))

    @classmethod
    def suitable(cls, least: float, greatest: float, *, whole: bool) -> Ranges:
        """Some ten or twenty ranges for numbers between these; of `whole` numbers none is narrower than 1."""
        narrowest = max(greatest / _SOME - least / _SOME, 2 * max(abs(least), abs(greatest)) / _FARTHEST)
        if whole or not narrowest:
            narrowest = max(narrowest, 1.0)
        narrowest = max(narrowest, _NARROWEST)
        exponent = math.floor(math.log10(narrowest))
        for power in (exponent - 1, exponent, exponent + 1):  # a logarithm may be off by a hair
            for step in (1, 2, 5):
                width = Decimal(step).scaleb(power)
                if width >= Decimal(narrowest):
                    return cls.of_width(width)
        raise AssertionError(narrowest)  # the last width is at least ten times as wide

    def counts(self, least: float, greatest: float) -> float:
        """About how many there are from one number to the other; infinite where they cannot be told apart."""
        if max(abs(least), abs(greatest)) * (self.scale / self.step) >= _FARTHEST:
            return math.inf
        return self.place(greatest) - self.place(least) + 1

    def edge(self, place: int) -> float:
        """Where a range begins; the next one begins where it ends."""
        return place * self.step / self.scale

    def place(self, value: float) -> int:
        """The number of the range that a number is in."""
        guess = math.floor(value * self.scale / self.step)
        return guess - (value < self.edge(guess)) + (value >= self.edge(guess + 1))
