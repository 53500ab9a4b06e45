"""Jobs that go over a collection in slices: short transactions, each of which reports to the job's operation.

How far such a job is lies in the database, written in the transaction of each slice: one that is killed goes on where
it was. The engine runs a job at least once, so every slice first asks it whether this attempt still owns the job.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol

from graticule import crashpoints
from graticule.database import Connection, Database
from graticule.errors import GraticuleError, InternalError
from graticule.workflows import journal
from graticule.workflows.journal import Operation
from graticule.workflows.leases import Attempt

#: Items that one transaction reads, so that other writers get their turn.
SLICE: Final = 100


class Progress(Protocol):
    """How far a job is after a slice."""

    @property
    def done(self) -> int:
        """Items read so far."""
        ...

    @property
    def total(self) -> int | None:
        """Of how many; None where that is not the measure."""
        ...

    @property
    def ended(self) -> bool:
        """There is nothing left to do."""
        ...


#: The work of one slice, given the job's operation (None where it has been removed).
Slice = Callable[[Connection, Operation | None], Progress]


async def run(database: Database, attempt: Attempt, pk: int, work: Slice, *, after: str) -> None:
    """Do slices until nothing is left to do; `after` is the crash point behind each."""

    def one(tx: Connection) -> bool:
        attempt.still_ours(tx)
        operation = journal.by_pk(tx, pk)
        progress = work(tx, operation)
        if operation is not None and not operation.is_terminal:
            _report(tx, operation, progress)
        return progress.ended

    ended = False
    while not ended:
        ended = await database.write(one)
        crashpoints.reach(after)


def _report(tx: Connection, operation: Operation, progress: Progress) -> None:
    journal.start(tx, operation)
    if progress.total is not None:
        journal.progress(tx, operation, done=progress.done, total=progress.total)
    if progress.ended:
        journal.succeed(tx, journal.get(tx, operation.id))


async def give_up(
    database: Database,
    attempt: Attempt,
    pk: int,
    error: Exception,
    undo: Callable[[Connection], object],
    *,
    what: str,
    remedy: str,
) -> None:
    """The engine has tried often enough: the operation says `what` failed and the `remedy`; `undo` goes with that."""
    reason = (
        error
        if isinstance(error, GraticuleError)
        else InternalError(f"{what} ({type(error).__name__}): the log tells more under this operation's id. {remedy}")
    )

    def fail(tx: Connection) -> None:
        attempt.still_ours(tx)
        undo(tx)
        operation = journal.by_pk(tx, pk)
        if operation is not None and not operation.is_terminal:
            journal.fail(tx, operation, reason)

    await database.write(fail)
