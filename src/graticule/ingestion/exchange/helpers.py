"""Helper processes that prepare lines and write what is simple of them, chunk by chunk in the order of the file.

Python runs one thread at a time, and preparing an item takes as long as writing it. So the processes take turns: while
one writes its chunk the others prepare theirs, and no item travels to another process. A small load does without: a
process takes longer to start than a thousand items to load.
"""

from __future__ import annotations

import multiprocessing
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any, Final, Self

from graticule.ingestion.exchange import helper
from graticule.ingestion.exchange.files import Line
from graticule.ingestion.exchange.helper import Done
from graticule.ingestion.exchange.preparing import Outcome, Rules, prepare_lines
from graticule.ingestion.exchange.turns import Turns
from graticule.settings import cores

#: Lines and bytes that are handed over at a time: what one transaction takes.
_CHUNK: Final = 500
_CHUNK_BYTES: Final = 5_000_000
#: Lines of a chunk that is prepared here.
_CHUNK_ALONE: Final = 100
#: Chunks that are prepared here before helpers are started.
_ALONE: Final = 10
#: And at most so many more while the helpers start, which takes about a second.
_MEANWHILE: Final = 100
#: Chunks per helper that are under way.
_AHEAD: Final = 2
_MOST_HELPERS: Final = 4


@dataclass(frozen=True, slots=True)
class Written:
    """Stands where a helper has written the items of a chunk."""

    loaded: int


@dataclass(frozen=True, slots=True)
class Gate:
    """Helpers go on with writing when all before it is written: see `Helpers.open`."""

    number: int


Found = tuple[Line, Outcome | Written | Gate | None]


def helpers_of_this_machine() -> int:
    """As many as it has processors; this process mostly waits for them. None where there is only one."""
    return min(cores(), _MOST_HELPERS) if cores() > 1 else 0


class Helpers:
    """Prepares lines, in other processes where that pays. A context manager."""

    def __init__(
        self,
        rules: Rules,
        count: int | None = None,
        *,
        write: bool = False,
        may_write: Callable[[], bool] = lambda: True,
    ) -> None:
        """Take what decides over lines, and how to help.

        Args:
            rules: for every line.
            count: how many processes; None: as many as this machine has use for.
            write: they also write, to the database that the settings name.
            may_write: asked at every chunk whether that is worth trying.
        """
        self._rules = rules
        self._count = helpers_of_this_machine() if count is None else count
        self._may_write = may_write
        # Not forked: this process has threads, and a database open.
        self._context = multiprocessing.get_context("spawn")
        self._turns = Turns(self._context) if write and self._count > 0 else None
        self._pool: ProcessPoolExecutor | None = None
        self._done_alone = 0
        self._number = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        if self._pool is not None:
            self._pool.shutdown(wait=True)

    def stop(self) -> None:
        """Nothing more is begun, and nobody waits for a turn any longer."""
        if self._turns is not None:
            self._turns.end()
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)

    def open(self, gate: Gate) -> None:
        """All that came before this gate is written."""
        if self._turns is not None:
            self._turns.give(gate.number)

    def prepare(self, lines: Iterable[Line]) -> Generator[Found]:
        """Each line with what becomes of it; None for one that is longer than allowed.

        Where a helper has written a chunk, its items are left out, and the last line of it comes with `Written`.

        Raises:
            BrokenProcessPool: a helper was ended from outside.
        """
        lines = iter(lines)
        alone = _chunks(lines, min(_CHUNK_ALONE, _CHUNK))
        while self._count <= 0 or self._done_alone < _ALONE:
            if (chunk := next(alone, None)) is None:
                return
            yield from self._alone(chunk)
        if (first := next(lines, None)) is None:
            return
        lines = chain([first], lines)
        if self._pool is None:
            self._pool = self._start()
            started = [self._pool.submit(helper.say_hello) for _ in range(self._count)]
            for chunk in islice(_chunks(lines, min(_CHUNK_ALONE, _CHUNK)), _MEANWHILE):
                yield from self._alone(chunk)
                if any(one.done() for one in started):
                    break
        yield from self._helped(self._pool, _chunks(lines, _CHUNK))

    def _alone(self, chunk: list[Line]) -> Iterator[Found]:
        self._done_alone += 1
        outcomes = prepare_lines(self._rules, _texts(chunk))
        for line in chunk:
            yield line, None if line.text is None else next(outcomes)

    def _helped(self, pool: ProcessPoolExecutor, chunks: Iterator[list[Line]]) -> Iterator[Found]:
        under_way: deque[tuple[int, list[Line], Future[Any]]] = deque()

        def submit(chunk: list[Line]) -> None:
            write = self._turns is not None and self._may_write()
            future = pool.submit(helper.work, self._number, _texts(chunk), write)
            under_way.append((self._number, chunk, future))
            self._number += 1

        for chunk in islice(chunks, _AHEAD * self._count):
            submit(chunk)
        if under_way:
            yield under_way[0][1][0], Gate(under_way[0][0])
        while under_way:
            number, chunk, future = under_way.popleft()
            answer = future.result()
            if (another := next(chunks, None)) is not None:
                submit(another)
            if isinstance(answer, Done):
                others = dict(answer.others)
                yield from _merged(chunk, (others.get(place) for place in range(len(chunk))), leave_out=True)
                yield chunk[-1], Written(answer.loaded)
            else:
                yield from _merged(chunk, map(helper.unpacked, answer), leave_out=False)
                yield chunk[-1], Gate(number + 1)

    def _start(self) -> ProcessPoolExecutor:
        return ProcessPoolExecutor(
            self._count, mp_context=self._context, initializer=helper.begin, initargs=(self._rules, self._turns)
        )


def _chunks(lines: Iterable[Line], most: int) -> Iterator[list[Line]]:
    chunk: list[Line] = []
    size = 0
    for line in lines:
        chunk.append(line)
        size += len(line.text or b"")
        if len(chunk) >= most or size >= _CHUNK_BYTES:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


def _texts(chunk: Iterable[Line]) -> list[bytes]:
    return [line.text for line in chunk if line.text is not None]


def _merged(chunk: list[Line], outcomes: Iterator[Outcome | None], *, leave_out: bool) -> Iterator[Found]:
    """The lines of a chunk with the outcomes of those that have a text; without those that have no outcome."""
    for line in chunk:
        if line.text is None:
            yield line, None
        elif (outcome := next(outcomes)) is not None or not leave_out:
            yield line, outcome
