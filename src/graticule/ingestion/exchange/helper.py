"""What a helper process does: prepare the lines of a chunk, so that the loading process has only to write them."""

from __future__ import annotations

import gc
import os
import signal
import threading
from collections.abc import Iterator, Mapping, Sequence
from multiprocessing import connection, parent_process
from typing import Any, Final, NamedTuple

from graticule.catalog import PreparedItems
from graticule.catalog.wholes import DEFAULT_KEYS, Kind, Summing
from graticule.database import packed
from graticule.ingestion.exchange.files import Chunk, Line
from graticule.ingestion.exchange.preparing import Outcome, Ready, Rules, prepare_lines

#: A helper looks for what Python's counting of references has left after so many chunks.
_CHUNKS_PER_COLLECTION: Final = 40

#: By the ids of collections, the properties that they sum up, as far as that is known.
Summed = Mapping[str, Mapping[str, Kind]]


class Group(NamedTuple):
    """The items of a chunk that go into one collection, in the order of their lines."""

    collection_id: str
    items: PreparedItems
    #: Server members that the file does not have, item by item.
    added: Sequence[tuple[str, ...]]

    def ready(self) -> Iterator[Ready]:
        """One by one."""
        for one, added in zip(self.items.singly(), self.added, strict=True):
            yield Ready(self.collection_id, one, added)


class Answer(NamedTuple):
    """What becomes of the lines of a chunk."""

    #: Of every line that is not blank: which group its item is in, or what else becomes of it.
    outcomes: Sequence[int | Outcome | None]
    groups: Sequence[Group]
    #: The lines that hold no item to write, without their texts.
    others: Sequence[Line]
    #: What must be added to the numbers of the lines that follow.
    numbers: int

    def singly(self) -> Iterator[Outcome | None]:
        """What becomes of every line, items one by one too."""
        ready = [group.ready() for group in self.groups]
        return (next(ready[outcome]) if isinstance(outcome, int) else outcome for outcome in self.outcomes)


class _Gathered:
    """Gathers a `Group`."""

    def __init__(self, place: int, collection_id: str, keys: Mapping[str, Kind]) -> None:
        self.place = place
        self._collection_id = collection_id
        self._columns: list[tuple[Any, ...]] = []
        self._bodies: list[bytes] = []
        self._texts: list[str] = []
        self._added: list[tuple[str, ...]] = []
        self._summing = Summing(keys)

    def add(self, ready: Ready, *, pack: bool) -> None:
        one = ready.prepared
        self._summing.add(one.columns, one.item["properties"])
        self._columns.append(tuple(one.columns))  # plain ones are pickled several times faster
        self._bodies.append(packed(one.body) if pack else one.body)
        self._texts.append(one.text)
        self._added.append(ready.added)

    def group(self) -> Group:
        items = PreparedItems(self._columns, self._bodies, self._texts, sums=self._summing.sums())
        return Group(self._collection_id, items, self._added)


class Helper:
    """The state of a helper process."""

    def __init__(self, rules: Rules, *, pack: bool) -> None:
        """`pack`: documents are stored packed."""
        self._rules = rules
        self._pack = pack
        self._chunks_done = 0

    def work(self, chunk: Chunk, summed: Summed) -> Answer:
        """Prepare this chunk. What `summed` says may be out of date: the catalog looks."""
        self._chunks_done += 1
        if self._chunks_done % _CHUNKS_PER_COLLECTION == 0:
            gc.collect()
        groups: dict[str, _Gathered] = {}
        outcomes: list[int | Outcome | None] = []
        others: list[Line] = []
        numbers = 0

        def lines() -> Iterator[Line]:
            nonlocal numbers
            for line in chunk.read(self._rules.longest):
                numbers = line.number
                yield line

        # One line after the other: thousands of them, and their documents, would push each other out of the caches.
        for line, outcome in prepare_lines(self._rules, lines()):
            if isinstance(outcome, Ready):
                name = outcome.collection_id
                group = groups.get(name)
                if group is None:
                    group = groups[name] = _Gathered(len(groups), name, summed.get(name, DEFAULT_KEYS))
                group.add(outcome, pack=self._pack)
                outcomes.append(group.place)
            else:
                outcomes.append(outcome)
                others.append(line._replace(text=None))
        found = [group.group() for group in groups.values()]
        return Answer(outcomes, found, others, numbers if chunk.counts else 0)


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
