"""What a helper process does: prepare a chunk of lines, and write its items when it is their turn.

It writes only what is simple: new items of collections that are there, where nobody has to be told of anything. All
else goes back to the loader, prepared, which then decides as it would have done alone.
"""

from __future__ import annotations

import gc
import os
import signal
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from multiprocessing import connection, parent_process
from typing import Any, Final, NamedTuple

import orjson

from graticule.catalog import PreparedItem, SqlCatalog
from graticule.catalog.searchable import Searchable
from graticule.catalog.wholes import DEFAULT_KEYS, Kind, Share, keys_of
from graticule.database import Connection, Database, database_errors, open_database
from graticule.errors import IngestionError, RequestError, SettingsError, Unavailable
from graticule.ingestion.exchange.files import Chunk, Line
from graticule.ingestion.exchange.preparing import Described, Open, Outcome, Ready, Rules, prepare_lines
from graticule.ingestion.exchange.turns import Turns

#: A helper looks for what Python's counting of references has left after so many chunks.
_CHUNKS_PER_COLLECTION: Final = 40


class Done(NamedTuple):
    """The items of a chunk are written."""

    loaded: int
    #: The lines that hold none, without their texts.
    others: Sequence[tuple[Line, Outcome | None]]
    #: What must be added to the numbers of the lines that follow.
    numbers: int


class _NotForUs(Exception):
    """Somebody has to be told."""


class Helper:
    """The state of a helper process."""

    def __init__(self, rules: Rules, turns: Turns | None) -> None:
        """Without `turns` it only prepares."""
        self._rules = rules
        self._turns = turns
        self._database: Database | None = None
        self._catalog: SqlCatalog | None = None
        self._keys: dict[str, Mapping[str, Kind]] = {}
        #: Collections with indexes of declared queryables, for which documents are read as they are written.
        self._indexed: set[str] = set()
        self._chunks_done = 0
        if turns is not None:
            self._open()

    def work(self, number: int, chunk: Chunk, *, write: bool) -> Done | list[Any]:
        """Prepare this chunk, and write it if asked to; else its packed outcomes."""
        self._chunks_done += 1
        if self._chunks_done % _CHUNKS_PER_COLLECTION == 0:
            gc.collect()
        lines, numbers = chunk.read(self._rules.longest)
        outcomes = []
        for outcome in prepare_lines(self._rules, (line.text for line in lines), self._keys_of):
            if isinstance(outcome, Ready) and outcome.collection_id not in self._indexed:
                outcome.prepared.let_go()
            outcomes.append(outcome)
        if write and self._catalog is not None and self._write(number, outcomes):
            found = zip(lines, outcomes, strict=True)
            others = [(line._replace(text=None), one) for line, one in found if not isinstance(one, Ready)]
            return Done(len(outcomes) - len(others), others, numbers)
        # What is one object is sent once, and most items of a chunk have the same values to count.
        once: dict[Any, Any] = {}
        return [packed(outcome, once) for outcome in outcomes]

    def _open(self) -> None:
        try:
            database = open_database(self._rules.settings, readers=1)
        except (SettingsError, Unavailable):
            return  # then the loader writes; what is wrong, it meets itself
        database.begin_bulk()
        self._database, self._catalog = database, SqlCatalog(database, on_stale=_leave)

    def _keys_of(self, collection_id: str) -> Mapping[str, Kind]:
        """What a collection sums up; a guess, where that is not known or changes."""
        keys = self._keys.get(collection_id)
        if keys is None and self._database is not None and (catalog := self._catalog) is not None:
            with suppress(*database_errors()):  # the writer meets it too
                record, has_indexes = self._database.read_now(
                    lambda tx: (catalog.collection_in(tx, collection_id), catalog.has_indexes(tx, collection_id))
                )
                if record is not None:
                    keys = self._keys[collection_id] = keys_of(orjson.loads(record.doc))
                    self._indexed.update([collection_id] if has_indexes else [])
        return DEFAULT_KEYS if keys is None else keys

    def _write(self, number: int, outcomes: Sequence[Outcome | None]) -> bool:
        """Add the items; False: the loader has to look at this chunk."""
        items: dict[str, list[PreparedItem]] = {}
        for outcome in outcomes:
            if isinstance(outcome, Ready):
                items.setdefault(outcome.collection_id, []).append(outcome.prepared)
            elif isinstance(outcome, Open | Described):
                return False
        assert self._turns is not None
        if not self._turns.wait(number):
            return False
        if items and not self._add(items):
            return False
        self._turns.give(number + 1)
        return True

    def _add(self, items: Mapping[str, Sequence[PreparedItem]]) -> bool:
        assert self._database is not None
        catalog = self._catalog
        assert catalog is not None

        def add(tx: Connection) -> None:
            catalog.add_new_items(tx, items)

        try:
            self._database.write_now(add)
        except database_errors(IngestionError, RequestError, _NotForUs):
            # Ids are taken, a collection is missing or has summaries to be refreshed, the disk is full: the loader
            # tries again and meets it itself.
            return False
        return True


def _leave(_tx: Connection, _collection_id: str) -> None:
    raise _NotForUs


# --- the process

_helper: Helper | None = None


def begin(rules: Rules, turns: Turns | None) -> None:
    """The first thing that a helper process does."""
    global _helper  # noqa: PLW0603 - a process has one loader
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl+C goes to every process of the terminal; the loader's counts
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _helper = Helper(rules, turns)
    # JSON makes no cycles, and looking for them in thousands of fresh objects costs more than reading them.
    gc.freeze()
    gc.disable()


def say_hello() -> None:
    """The first work of a helper that has started."""


def work(number: int, chunk: Chunk, write: bool) -> Done | list[Any]:
    """See `Helper.work`."""
    assert _helper is not None
    return _helper.work(number, chunk, write=write)


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)


# --- on the way: plain tuples, which are pickled several times faster than the dataclasses


def packed(outcome: Outcome | None, once: dict[Any, Any]) -> Any:
    """An outcome as it is sent; `once` holds what several share."""
    if not isinstance(outcome, Ready):
        return outcome
    prepared = outcome.prepared
    share = prepared.share
    if share is not None:
        counted = once.setdefault(share.counted, share.counted)
        share = (share.keys, share.stored, counted, share.ranged)  # type: ignore[assignment]
    return (outcome.collection_id, outcome.added, tuple(prepared.columns), prepared.doc, prepared.text, share)


def unpacked(answer: Any) -> Outcome | None:
    """An outcome as it was before it was sent."""
    if type(answer) is not tuple:
        outcome: Outcome | None = answer
        return outcome
    collection_id, added, columns, doc, text, share = answer
    share = None if share is None else Share._make(share)
    return Ready(collection_id, PreparedItem(Searchable._make(columns), doc, text, share), added)
