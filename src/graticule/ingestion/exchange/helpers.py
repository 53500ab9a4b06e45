"""Helper processes that prepare lines, chunk by chunk, and hand them back in the order of the file.

Python runs one thread at a time, and preparing an item takes longer than writing it. So this process only writes; what
comes back is small: columns, and the packed document. A small load does without: a process takes longer to start than a
thousand items to load.
"""

from __future__ import annotations

import multiprocessing
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass
from itertools import chain, islice
from typing import Final, Self

from graticule.ingestion.exchange import forking, helper
from graticule.ingestion.exchange.files import Chunk, Line, Size, SourceFile
from graticule.ingestion.exchange.helper import Answer, Group, Summed
from graticule.ingestion.exchange.preparing import Described, Open, Outcome, Ready, Rules, prepare_lines
from graticule.settings import cores

#: What is handed over at a time.
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
class Batch:
    """The items of a chunk, where nothing but its lines was needed to prepare them."""

    answer: Answer
    #: The lines they stood in: read once more, when somebody asks.
    lines: Callable[[], Sequence[Line]]

    @property
    def groups(self) -> Sequence[Group]:
        """The items by their collections."""
        return self.answer.groups

    @property
    def items(self) -> int:
        """How many there are."""
        return sum([len(group.items) for group in self.groups])

    @property
    def size(self) -> int:
        """Of the documents as they are written, bytes."""
        return sum([sum(map(len, group.items.bodies)) for group in self.groups])

    def ready(self) -> list[Ready]:
        """The items as they stood in the file."""
        return [outcome for outcome in self.answer.singly() if isinstance(outcome, Ready)]


Found = tuple[Line, Outcome | Batch | None]


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
        pack: bool = False,
        summed: Callable[[], Summed] = dict,
    ) -> None:
        """Take what decides over lines, and how to help.

        Args:
            rules: for every line.
            count: how many processes; None: as many as this machine has use for.
            pack: documents are stored packed.
            summed: asked at every chunk what the collections sum up; whoever writes looks again.
        """
        self._rules = rules
        self._count = helpers_of_this_machine() if count is None else count
        self._pack = pack
        self._summed = summed
        self._pool: ProcessPoolExecutor | None = None
        self._done_alone = 0
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
        """Nothing more is begun."""
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)

    def prepare(self, file: SourceFile) -> Generator[Found]:
        """Each document of a file with what becomes of it; None for one that is longer than allowed.

        The items of a chunk that a helper has prepared come together, as a `Batch` behind the lines that hold none.

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
        return prepare_lines(self._rules, self._read(chunk))

    def _read(self, chunk: Chunk) -> list[Line]:
        """The lines of a chunk, as they are numbered in the file."""
        lines = list(_numbered(chunk, self._rules.longest, self._before))
        self._before = lines[-1].number if lines and chunk.counts else self._before
        return lines

    def _helped(self, pool: ProcessPoolExecutor, chunks: Iterator[Chunk]) -> Iterator[Found]:
        under_way: deque[tuple[Chunk, Future[Answer]]] = deque()

        def submit(chunk: Chunk) -> None:
            under_way.append((chunk, pool.submit(helper.work, chunk, dict(self._summed()))))

        for chunk in islice(chunks, _AHEAD * self._count):
            submit(chunk)
        while under_way:
            chunk, future = under_way.popleft()
            answer = future.result()
            if (another := next(chunks, None)) is not None:
                submit(another)
            yield from self._found(chunk, answer)

    def _found(self, chunk: Chunk, answer: Answer) -> Iterator[Found]:
        if any(isinstance(outcome, Open | Described) for outcome in answer.outcomes):
            # What the lines are depends on those before them.
            yield from zip((line for line in self._read(chunk) if line.text != b""), answer.singly(), strict=True)
            return
        before = self._before
        self._before += answer.numbers
        others = iter(answer.others)
        for outcome in answer.outcomes:
            if not isinstance(outcome, int):
                line = next(others)
                yield line._replace(number=line.number + before), outcome

        def lines() -> list[Line]:
            found = (line for line in _numbered(chunk, self._rules.longest, before) if line.text != b"")
            return [line for line, outcome in zip(found, answer.outcomes, strict=True) if isinstance(outcome, int)]

        yield Line(0, None, chunk.end), Batch(answer, lines)

    def _start(self) -> ProcessPoolExecutor:
        forking.begin()
        return ProcessPoolExecutor(
            self._count,
            mp_context=multiprocessing.get_context("forkserver"),
            initializer=helper.begin,
            initargs=(self._rules, self._pack),
        )


def _numbered(chunk: Chunk, longest: int, before: int) -> Iterator[Line]:
    """The lines of a chunk, blank ones too; `before` comes before the number that they have in it."""
    lines = chunk.read(longest)
    return (line._replace(number=line.number + before) for line in lines) if before and chunk.counts else lines
