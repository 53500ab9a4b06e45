"""What JSON values at one place of many documents have in common: the type of a column that holds them."""

from __future__ import annotations

from typing import Any, Final

#: Deeper values are text in the columns.
_DEEPEST: Final = 12
_INT64: Final = 2**63


class Kind:
    """Kinds of JSON values, as bits; a number without fraction that 64 bits hold is INTEGER.

    Plain integers: enum.Flag took half of the time of a survey.
    """

    NOTHING: Final = 0
    BOOLEAN: Final = 1
    INTEGER: Final = 2
    NUMBER: Final = 4
    TEXT: Final = 8
    LIST: Final = 16
    OBJECT: Final = 32


class Budget:
    """How many places a table may have: documents whose keys are data would else make columns without end."""

    def __init__(self, places: int) -> None:
        """So many."""
        self._left = places

    def spend(self) -> bool:
        """Take one; False where none is left."""
        self._left -= 1
        return self._left >= 0


class Shape:
    """All values seen at one place."""

    __slots__ = ("_budget", "_depth", "elements", "kinds", "members")

    def __init__(self, budget: Budget, depth: int = 0) -> None:
        """Nothing seen yet."""
        self.kinds = Kind.NOTHING
        self.members: dict[str, Shape] = {}
        self.elements: Shape | None = None
        self._budget = budget
        self._depth = depth

    def add(self, value: Any) -> None:
        """See a value; null says nothing."""
        if value is None:
            return
        kind = _kind(value)
        if kind >= Kind.LIST and self._depth == _DEEPEST:
            kind = Kind.LIST | Kind.OBJECT  # mixed, so text
        self.kinds |= kind
        if kind == Kind.LIST:
            if self.elements is None:
                self.elements = Shape(self._budget, self._depth + 1)
            for element in value:
                self.elements.add(element)
        elif kind == Kind.OBJECT:
            for name, member in value.items():
                self._add_member(name, member)

    def _add_member(self, name: str, value: Any) -> None:
        if value is None or not name:
            return
        shape = self.members.get(name)
        if shape is None:
            if not self._budget.spend():
                return
            shape = self.members[name] = Shape(self._budget, self._depth + 1)
        shape.add(value)


def _kind(value: Any) -> int:
    if isinstance(value, str):
        return Kind.TEXT
    if isinstance(value, bool):
        return Kind.BOOLEAN
    if isinstance(value, int):
        return Kind.INTEGER if -_INT64 <= value < _INT64 else Kind.NUMBER
    if isinstance(value, float):
        return Kind.NUMBER
    return Kind.LIST if isinstance(value, list) else Kind.OBJECT
