"""Whose turn it is to write: helper processes prepare side by side, and write in the order of the file."""

from __future__ import annotations

from multiprocessing.context import BaseContext
from typing import Any, Final

#: Nobody's turn.
_CLOSED: Final = -1
#: All are to stop waiting.
_ENDED: Final = -2


class Turns:
    """A number that processes share. Made in the process that starts the others, and given to them as they start."""

    def __init__(self, context: BaseContext) -> None:
        """Nobody's turn yet."""
        self._changed: Any = context.Condition()
        self._turn: Any = context.Value("q", _CLOSED, lock=False)

    def wait(self, number: int) -> bool:
        """Wait until it is this one's turn; False: it will not come any more."""
        with self._changed:
            self._changed.wait_for(lambda: self._turn.value in {number, _ENDED})
            return bool(self._turn.value == number)

    def give(self, number: int) -> None:
        """It is this one's turn. Nothing happens once all have ended."""
        with self._changed:
            if self._turn.value != _ENDED:
                self._turn.value = number
                self._changed.notify_all()

    def end(self) -> None:
        """Let nobody wait any more."""
        with self._changed:
            self._turn.value = _ENDED
            self._changed.notify_all()
