"""How a long command shows where it is: a bar on a terminal, JSON lines for programs, else nothing until it ends."""

from __future__ import annotations

import json
import sys
import time
from types import TracebackType
from typing import Any, Final, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

#: Between two progress lines of JSON, seconds.
PAUSE: Final = 0.5


class Display:
    """Shows the progress of one command."""

    def __init__(self, what: str, *, as_json: bool, total: int, to_stderr: bool = False) -> None:
        """Begin.

        Args:
            what: is going on, in a word.
            as_json: write lines of JSON.
            total: what `update` counts up to; 0 if that is not known.
            to_stderr: standard output has other uses; else JSON goes there, and everything else to standard error.
        """
        self._what = what
        self._as_json = as_json
        self._events = sys.stderr if to_stderr else sys.stdout
        self._told_at = -PAUSE
        self._bar: Progress | None = None
        if not as_json and sys.stderr.isatty():
            columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
            self._bar = Progress(*columns, TextColumn("{task.fields[told]}"), console=Console(stderr=True))
            self._task = self._bar.add_task(what, total=total or None, told="")

    def __enter__(self) -> Self:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def update(self, completed: int, told: str, /, *, total: int | None = None, **members: Any) -> None:
        """So much is done, of `total` where that has changed; `told` is for people, the members for programs."""
        if self._bar is not None:
            self._bar.update(self._task, completed=completed, told=told, total=total)  # None: as it was
        elif self._as_json and time.monotonic() >= self._told_at + PAUSE:
            self._told_at = time.monotonic()
            self._event("progress", members)

    def note(self, event: str, text: str, /, **members: Any) -> None:
        """Something worth a line of its own."""
        if self._as_json:
            self._event(event, members)
        elif self._bar is not None:
            self._bar.console.print(text, markup=False, highlight=False, soft_wrap=True)
        else:
            print(text, file=sys.stderr, flush=True)

    def _event(self, event: str, members: dict[str, Any]) -> None:
        print(json.dumps({"event": event, **members}), file=self._events, flush=True)
