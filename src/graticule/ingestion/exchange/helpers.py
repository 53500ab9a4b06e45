"""Helper processes that prepare lines and write what is simple of them, chunk by chunk in the order of the file.

Python runs one thread at a time, and preparing an item takes as long as writing it. So the processes take turns: while
one writes its chunk the others prepare theirs, and no item travels to another process. A small load does without: a
process takes longer to start than a thousand items to load.
"""

from __future__ import annotations

import multiprocessing
from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any, Final, Self

from graticule.ingestion.exchange import forking, helper
from graticule.ingestion.exchange.files import Chunk, Line, Size, SourceFile
from graticule.ingestion.exchange.helper import Done
from graticule.ingestion.exchange.preparing import Outcome, Rules, prepare_lines
from graticule.ingestion.exchange.turns import Turns
from graticule.settings import cores

#: What is handed over at a time, and written by one transaction.
_CHUNK: Final = Size(1_000, 6_000_000)
#: A chunk that is prepared here.
_CHUNK_ALONE: Final = Size(100, 800_000)
#: Chunks that are prepared here before helpers are started, unless the file is known to be large.
_ALONE: Final = 10
#: And at most so many more while the helpers start.
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

#: Where word of helpers comes from.
_NOWHERE: Final = Line(0, None, 0)


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
        self._context = multiprocessing.get_context("forkserver")
        self._turns = Turns(self._context) if write and self._count > 0 else None
        self._pool: ProcessPoolExecutor | None = None
        self._done_alone = 0
        self._number = 0
        self._size = _CHUNK_ALONE
        #: What is added to the numbers that lines have in their chunk.
        self._before = 0

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

    def prepare(self, file: SourceFile) -> Generator[Found]:
        """Each document of a file with what becomes of it; None for one that is longer than allowed.

        Where a helper has written a chunk, its items are left out, and the last line of it comes with `Written`.

        Raises:
            BrokenProcessPool: a helper was ended from outside.
        """
        self._size, self._before = _CHUNK_ALONE, 0
        chunks = iter(file.chunks(self._rules.longest, lambda: self._size))
        if self._count > 0 and file.can_be_cut and file.size >= forking.LARGE:
            self._done_alone = max(self._done_alone, _ALONE)
        while self._count <= 0 or self._done_alone < _ALONE:
            if (chunk := next(chunks, None)) is None:
                return
            yield from self._alone(chunk)
        if (first := next(chunks, None)) is None:
            return
        chunks = chain([first], chunks)
        if self._pool is None:
            self._pool = self._start()
            started = [self._pool.submit(helper.say_hello) for _ in range(self._count)]
            for chunk in islice(chunks, _MEANWHILE):
                yield from self._alone(chunk)
                if any(one.done() for one in started):
                    break
        self._size = _CHUNK
        yield from self._helped(self._pool, chunks)

    def _alone(self, chunk: Chunk) -> Iterator[Found]:
        self._done_alone += 1
        lines = self._read(chunk)
        return zip(lines, prepare_lines(self._rules, (line.text for line in lines)), strict=True)

    def _read(self, chunk: Chunk) -> list[Line]:
        lines, numbers = chunk.read(self._rules.longest)
        lines = [line._replace(number=line.number + self._before) for line in lines] if self._before else lines
        self._before += numbers
        return lines

    def _helped(self, pool: ProcessPoolExecutor, chunks: Iterator[Chunk]) -> Iterator[Found]:
        under_way: deque[tuple[int, Chunk, Future[Any]]] = deque()

        def submit(chunk: Chunk) -> None:
            write = self._turns is not None and self._may_write()
            under_way.append((self._number, chunk, pool.submit(helper.work, self._number, chunk, write)))
            self._number += 1

        for chunk in islice(chunks, _AHEAD * self._count):
            submit(chunk)
        if under_way:
            yield _NOWHERE, Gate(under_way[0][0])
        while under_way:
            number, chunk, future = under_way.popleft()
            answer = future.result()
            if (another := next(chunks, None)) is not None:
                submit(another)
            if isinstance(answer, Done):
                for line, outcome in answer.others:
                    yield line._replace(number=line.number + self._before), outcome
                self._before += answer.numbers
                yield _NOWHERE._replace(offset=chunk.end), Written(answer.loaded)
            else:
                yield from zip(self._read(chunk), map(helper.unpacked, answer), strict=True)
                yield _NOWHERE._replace(offset=chunk.end), Gate(number + 1)

    def _start(self) -> ProcessPoolExecutor:
        forking.begin()
        return ProcessPoolExecutor(
            self._count, mp_context=self._context, initializer=helper.begin, initargs=(self._rules, self._turns)
        )
