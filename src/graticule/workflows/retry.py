"""Trying again: when a job that ended without success runs next.

The engine decides and raises one of these from the job; procrastinate asks `Decision` and puts the job back.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import timedelta

from procrastinate import RetryDecision, utils
from procrastinate.jobs import Job
from procrastinate.retry import BaseRetryStrategy


class TryAgain(Exception):
    """The job failed and runs again after a delay."""

    def __init__(self, delay: timedelta) -> None:
        """Keep the delay."""
        super().__init__(f"The job runs again in {delay.total_seconds():.1f} s.")
        self.delay = delay


class HandBack(TryAgain):
    """The worker stops; another one may run the job at once."""

    def __init__(self) -> None:
        """No delay."""
        super().__init__(timedelta(0))


@dataclass(frozen=True, slots=True)
class Backoff:
    """Exponential delays with jitter: half of each is certain, the other half random."""

    #: The first delay, seconds.
    first: float = 1.0
    #: The longest one, seconds.
    longest: float = 60.0

    def delay(self, failures: int) -> timedelta:
        """How long to wait after so many failures before this one."""
        full = min(self.longest, self.first * 2.0 ** min(failures, 30))
        return timedelta(seconds=full * random.uniform(0.5, 1.0))  # noqa: S311 - spreads load, guards nothing


class Decision(BaseRetryStrategy):
    """Tells procrastinate what the engine decided."""

    def get_retry_decision(self, *, exception: BaseException, job: Job) -> RetryDecision:  # noqa: ARG002
        """A job that the engine did not end is never dropped: without a decision it waits again at once."""
        delay = exception.delay if isinstance(exception, TryAgain) else timedelta(0)
        return RetryDecision(retry_at=utils.utcnow() + delay)
