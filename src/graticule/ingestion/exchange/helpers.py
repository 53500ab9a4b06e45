"""Helper processes that prepare lines while this one writes; their answers come in the order of the lines.

Python runs one thread at a time, and preparing an item takes as long as writing it. A small load does without: a
process takes longer to start than a thousand items to prepare.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from itertools import chain, islice
from multiprocessing import connection
from typing import Any, Final, Self

from graticule.catalog import PreparedItem
from graticule.catalog.searchable import Searchable
from graticule.catalog.wholes import Share
from graticule.ingestion.exchange.files import Line
from graticule.ingestion.exchange.preparing import Keys, Outcome, Ready, Rules, prepare_lines

#: Lines and bytes that are handed over at a time.
_CHUNK: Final = 100
_CHUNK_BYTES: Final = 1_000_000
#: Chunks that are prepared here before helpers are started.
_ALONE: Final = 10
#: And at most so many more while the helpers start, which takes about a second.
_MEANWHILE: Final = 100
#: Chunks per helper that are under way.
_AHEAD: Final = 3
_MOST_HELPERS: Final = 4
#: A helper looks for what Python's counting of references has left after so many chunks.
_CHUNKS_PER_COLLECTION: Final = 200


def helpers_of_this_machine() -> int:
    """One processor is left to this process and to the database."""
    return min(len(os.sched_getaffinity(0)) - 1, _MOST_HELPERS)


class Helpers:
    """Prepares lines, in other processes where that pays. A context manager."""

    def __init__(self, rules: Rules, count: int | None = None, *, keys: Keys | None = None) -> None:
        """`count`: how many processes; None: as many as this machine has use for. `keys` may grow at any time."""
        self._rules = rules
        self._keys = {} if keys is None else keys
        self._count = helpers_of_this_machine() if count is None else count
        self._pool: ProcessPoolExecutor | None = None
        self._done_alone = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)

    def prepare(self, lines: Iterable[Line]) -> Generator[tuple[Line, Outcome | None]]:
        """Each line with what becomes of it; None for one that is longer than allowed.

        Raises:
            BrokenProcessPool: a helper was ended from outside.
        """
        chunks = _chunks(lines)
        while self._count <= 0 or self._done_alone < _ALONE:
            if (chunk := next(chunks, None)) is None:
                return
            yield from self._alone(chunk)
        if (first := next(chunks, None)) is None:
            return
        chunks = chain([first], chunks)
        if self._pool is None:
            self._pool = self._start()
        started = self._pool.submit(_say_hello)
        for chunk in islice(chunks, _MEANWHILE):
            yield from self._alone(chunk)
            if started.done():
                break
        yield from self._helped(self._pool, chunks)

    def _alone(self, chunk: list[Line]) -> Iterator[tuple[Line, Outcome | None]]:
        self._done_alone += 1
        yield from zip(chunk, _outcomes(self._rules, chunk), strict=True)

    def _helped(
        self, pool: ProcessPoolExecutor, chunks: Iterator[list[Line]]
    ) -> Iterator[tuple[Line, Outcome | None]]:
        under_way: deque[tuple[list[Line], Future[list[Any]]]] = deque()
        for chunk in islice(chunks, _AHEAD * self._count):
            under_way.append((chunk, self._submit(pool, chunk)))
        while under_way:
            chunk, future = under_way.popleft()
            answers = iter(future.result())
            if (another := next(chunks, None)) is not None:
                under_way.append((another, self._submit(pool, another)))
            for line in chunk:
                yield line, None if line.text is None else _unpacked(next(answers))

    def _submit(self, pool: ProcessPoolExecutor, chunk: list[Line]) -> Future[list[Any]]:
        return pool.submit(_work, _texts(chunk), dict(self._keys))

    def _start(self) -> ProcessPoolExecutor:
        return ProcessPoolExecutor(
            self._count,
            # Not forked: this process has threads, and a database open.
            mp_context=multiprocessing.get_context("spawn"),
            initializer=_begin,
            initargs=(self._rules,),
        )


def _chunks(lines: Iterable[Line]) -> Iterator[list[Line]]:
    chunk: list[Line] = []
    size = 0
    for line in lines:
        chunk.append(line)
        size += len(line.text or b"")
        if len(chunk) >= _CHUNK or size >= _CHUNK_BYTES:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


def _texts(chunk: Iterable[Line]) -> list[bytes]:
    return [line.text for line in chunk if line.text is not None]


def _outcomes(rules: Rules, chunk: list[Line]) -> Iterator[Outcome | None]:
    outcomes = prepare_lines(rules, _texts(chunk))
    for line in chunk:
        yield None if line.text is None else next(outcomes)


# --- in a helper


_rules: Rules | None = None
_chunks_done = 0


def _begin(rules: Rules) -> None:
    global _rules  # noqa: PLW0603 - a process has one loader
    _rules = rules
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl+C goes to every process of the terminal; the loader's counts
    threading.Thread(target=_end_with_parent, daemon=True).start()
    # JSON makes no cycles, and looking for them in thousands of fresh objects costs more than reading them.
    gc.freeze()
    gc.disable()


def _say_hello() -> None:
    """The first work of a helper that has started."""


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)


def _work(texts: list[bytes], keys: Keys) -> list[Any]:
    global _chunks_done  # noqa: PLW0603 - a process has one loader
    _chunks_done += 1
    if _chunks_done % _CHUNKS_PER_COLLECTION == 0:
        gc.collect()
    assert _rules is not None
    # What is one object is sent once, and most items of a chunk have the same values to count.
    once: dict[Any, Any] = {}
    return [_packed(outcome, once) for outcome in prepare_lines(_rules, texts, keys)]


# --- on the way: plain tuples, which are pickled several times faster than the dataclasses


def _packed(outcome: Outcome, once: dict[Any, Any]) -> Any:
    if not isinstance(outcome, Ready):
        return outcome
    prepared = outcome.prepared
    share = prepared.share
    if share is not None:
        counted = once.setdefault(share.counted, share.counted)
        share = (share.keys, share.stored, counted, share.ranged)
    return (outcome.collection_id, outcome.added, tuple(prepared.columns), prepared.doc, prepared.text, share)


def _unpacked(answer: Any) -> Outcome:
    if type(answer) is not tuple:
        outcome: Outcome = answer
        return outcome
    collection_id, added, columns, doc, text, share = answer
    share = None if share is None else Share._make(share)
    return Ready(collection_id, PreparedItem(Searchable._make(columns), doc, text, share), added)
