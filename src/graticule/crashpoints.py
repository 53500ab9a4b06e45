"""Named places where a crash test may kill this process.

A crash point does nothing unless ``GRATICULE_CRASH_POINT`` names it, as ``name`` or ``name:n`` (the n-th time that this
process reaches it), or among several separated by commas. Then the process sends itself SIGKILL, as a power cut or the
kernel's memory killer would. ``GRATICULE_CRASH_LOG`` names a file that each kill adds a line to, and
``GRATICULE_CRASH_TIMES`` how many there may be at each point (default 1), so that restarted processes die so often and
no more. With ``GRATICULE_CRASH_SIGNAL=STOP`` the process stands still instead, as a machine does that is suspended.
"""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

#: Every crash point there is; a test walks them all.
CRASH_POINTS: set[str] = set()

_reached: dict[str, int] = {}


def crash_point(name: str) -> str:
    """Register the name of a crash point, at import of the module that has it."""
    CRASH_POINTS.add(name)
    return name


def reach(name: str) -> None:
    """Die here if the environment asks for it."""
    wanted = os.environ.get("GRATICULE_CRASH_POINT")
    if not wanted:
        return
    nth = next(
        (n or "1" for point, _, n in (entry.partition(":") for entry in wanted.split(",")) if point == name), None
    )
    if nth is None:
        return
    _reached[name] = _reached.get(name, 0) + 1
    if _reached[name] < int(nth):
        return
    log = os.environ.get("GRATICULE_CRASH_LOG")
    if log:
        path = Path(log)
        kills = [line.split()[0] for line in path.read_text("utf-8").splitlines()] if path.exists() else []
        if kills.count(name) >= int(os.environ.get("GRATICULE_CRASH_TIMES", "1")):
            return
        with path.open("a", encoding="utf-8") as file:
            file.write(f"{name} {os.getpid()}\n")
    how = signal.SIGSTOP if os.environ.get("GRATICULE_CRASH_SIGNAL") == "STOP" else signal.SIGKILL
    signal.pthread_kill(threading.get_ident(), how)  # to this thread: it must not go on until another one has heard
