"""What an operation's report tells of an item that came in all the same: warnings, and notes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Protocol, Self

#: Remarks that are kept of one item.
MOST_REMARKS = 50


class _Fault(Protocol):
    """What `graticule.stac.validation` finds."""

    @property
    def path(self) -> str: ...
    @property
    def rule(self) -> str: ...
    @property
    def message(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Remark:
    """Something about an item that its owner should know."""

    path: str  #: of the member, with dots; empty for the item itself
    rule: str  #: what says so: a schema and its keyword, ``raster``, ``unknown extension``
    message: str

    @classmethod
    def of(cls, fault: _Fault) -> Self:
        """A broken rule that does not matter."""
        return cls(fault.path, fault.rule, fault.message)

    def __str__(self) -> str:
        """In one sentence."""
        return f"{self.path or 'the Item'}: {self.message} ({self.rule})"


def shown(remarks: Sequence[Remark]) -> list[dict[str, str]]:
    """For the journal and the report; at most `MOST_REMARKS`."""
    return [asdict(remark) for remark in remarks[:MOST_REMARKS]]
