"""What a helper process does: prepare the lines of a chunk, so that the loading process has only to write them."""

from __future__ import annotations

import gc
import os
import signal
import threading
from collections.abc import Iterator, Mapping, Sequence
from multiprocessing import connection, parent_process
from typing import Any, Final, NamedTuple

from graticule.catalog import PreparedItem
from graticule.catalog.searchable import Searchable
from graticule.catalog.wholes import DEFAULT_KEYS, Kind, Share
from graticule.ingestion.exchange.files import Chunk, Line
from graticule.ingestion.exchange.preparing import Outcome, Ready, Rules, prepare_lines

#: A helper looks for what Python's counting of references has left after so many chunks.
_CHUNKS_PER_COLLECTION: Final = 40

#: By the ids of collections, the properties that they sum up, as far as that is known.
Summed = Mapping[str, Mapping[str, Kind]]


class Answer(NamedTuple):
    """What becomes of the lines of a chunk."""

    #: Of every line, as `unpacked` takes it.
    outcomes: Sequence[Any]
    #: The lines that hold no item to write, without their texts.
    others: Sequence[Line]
    #: What must be added to the numbers of the lines that follow.
    numbers: int


class Helper:
    """The state of a helper process."""

    def __init__(self, rules: Rules, *, pack: bool) -> None:
        """`pack`: documents are stored packed."""
        self._rules = rules
        self._pack = pack
        self._chunks_done = 0

    def work(self, chunk: Chunk, summed: Summed) -> Answer:
        """Prepare this chunk."""
        self._chunks_done += 1
        if self._chunks_done % _CHUNKS_PER_COLLECTION == 0:
            gc.collect()
        # What is one object is sent once, and most items of a chunk have the same values to count.
        once: dict[Any, Any] = {}
        outcomes: list[Any] = []
        others: list[Line] = []
        numbers = 0

        def lines() -> Iterator[Line]:
            nonlocal numbers
            for line in chunk.read(self._rules.longest):
                numbers = line.number
                yield line

        # One line after the other: thousands of them, and their documents, would push each other out of the caches.
        for line, outcome in prepare_lines(self._rules, lines(), lambda name: summed.get(name, DEFAULT_KEYS)):
            if isinstance(outcome, Ready):
                outcome.prepared.let_go(pack=self._pack)
                outcomes.append(_packed(outcome, once))
            else:
                outcomes.append(outcome)
                others.append(line._replace(text=None))
        return Answer(outcomes, others, numbers if chunk.counts else 0)


# --- the process

_helper: Helper | None = None


def begin(rules: Rules, pack: bool) -> None:
    """The first thing that a helper process does."""
    global _helper  # noqa: PLW0603 - a process has one loader
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl+C goes to every process of the terminal; the loader's counts
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _helper = Helper(rules, pack=pack)
    # JSON makes no cycles, and looking for them in thousands of fresh objects costs more than reading them.
    gc.freeze()
    gc.disable()


def say_hello() -> None:
    """The first work of a helper that has started."""


def work(chunk: Chunk, summed: Summed) -> Answer:
    """See `Helper.work`."""
    assert _helper is not None
    return _helper.work(chunk, summed)


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)


# --- on the way: plain tuples, which are pickled several times faster than the dataclasses


def _packed(outcome: Ready, once: dict[Any, Any]) -> Any:
    """An item as it is sent; `once` holds what several share."""
    prepared = outcome.prepared
    share = prepared.share
    if share is not None:
        counted = once.setdefault(share.counted, share.counted)
        share = (share.keys, share.stored, counted, share.ranged)  # type: ignore[assignment]
    return (outcome.collection_id, outcome.added, tuple(prepared.columns), prepared.body, prepared.text, share)


def unpacked(answer: Any) -> Outcome | None:
    """An outcome as it was before it was sent."""
    if type(answer) is not tuple:
        outcome: Outcome | None = answer
        return outcome
    collection_id, added, columns, body, text, share = answer
    share = None if share is None else Share._make(share)
    return Ready(collection_id, PreparedItem(Searchable._make(columns), body, text, share), added)
