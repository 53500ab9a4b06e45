"""Owns: durable jobs, their leases and the workers that run them (procrastinate on a connector of our own).

Refuses: to know what a task does, to carry more than ids in a job, to promise more than at least once.

Entry points: `Engine` (``task``, ``defer``, ``cancel``, ``run_worker``), `Attempt.still_ours` (the fence of whoever
publishes), `release_all` and `release_place` (at a start, when old workers are known to be dead). The journal:
`journal` (operations), `item_entries`, `asset_entries`, `cancelling`. `slices`: jobs that go over a whole collection.
"""

from graticule.workflows.engine import AlreadyQueued, Engine, GivenUp, Timing, describe
from graticule.workflows.leases import Attempt, LeaseLost, Released, release_all, release_place
from graticule.workflows.retry import Backoff

__all__ = [
    "AlreadyQueued",
    "Attempt",
    "Backoff",
    "Engine",
    "GivenUp",
    "LeaseLost",
    "Released",
    "Timing",
    "describe",
    "release_all",
    "release_place",
]
