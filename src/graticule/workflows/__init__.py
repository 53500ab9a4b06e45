"""Owns: durable jobs, their leases and the workers that run them (procrastinate on our own SQLite connector).

Refuses: to know what a task does, to carry more than ids in a job, to promise more than at least once.

Entry points: `Engine` (``task``, ``defer``, ``cancel``, ``run_worker``), `Attempt.still_ours` (the fence of whoever
publishes), `release_all` (at an embedded start, when every old worker is known to be dead).
"""

from graticule.workflows.engine import AlreadyQueued, Engine, GivenUp, Timing, describe
from graticule.workflows.leases import Attempt, LeaseLost, release_all
from graticule.workflows.retry import Backoff

__all__ = [
    "AlreadyQueued",
    "Attempt",
    "Backoff",
    "Engine",
    "GivenUp",
    "LeaseLost",
    "Timing",
    "describe",
    "release_all",
]
