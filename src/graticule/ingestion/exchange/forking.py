"""The process that helpers are forked from: it has imported what they need, and has neither threads nor a database.

It ends with the process that began it. Nothing of ours is imported here, so that it can be begun before all else.
"""

from __future__ import annotations

import multiprocessing
import signal
from multiprocessing import forkserver, resource_tracker
from typing import Final

#: Bytes of a file for which helpers are started at once; of a smaller one it shows on the way.
LARGE: Final = 8_000_000
_IMPORTED: Final = ["graticule.ingestion.exchange.helper"]


def begin() -> None:
    """Start it, if it does not run yet. `multiprocessing.get_context("forkserver")` then starts helpers from it."""
    multiprocessing.set_forkserver_preload(_IMPORTED)
    resource_tracker.ensure_running()  # otherwise begun below, and it would let the signal through
    # Ctrl+C goes to every process of a terminal, and would be complained of while it imports. It inherits this.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
