"""The walk of a run: from its source to rows of items, in short turns that a killed worker's successor goes on with."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import orjson

from graticule import crashpoints
from graticule.database import Connection, Database
from graticule.errors import (
    AssetTooLarge,
    GraticuleError,
    ImportFileValidationFailed,
    IngestionError,
    InternalError,
    InternalIntermittentError,
    InvalidGeoparquet,
    InvalidStacCatalog,
)
from graticule.ingestion.bulk import store
from graticule.ingestion.bulk.jobs import WALK, cancel_some, defer_walk, hand_out
from graticule.ingestion.bulk.models import BULK, ImportType, Run
from graticule.ingestion.bulk.reading import MAX_DEPTH, Met, links_of, url_hash
from graticule.ingestion.bulk.store import Document, Found
from graticule.ingestion.exchange import ParquetSource
from graticule.sealing import Sealer
from graticule.settings import Settings
from graticule.sources import Fetcher, redact
from graticule.workflows import Attempt, Engine, item_entries, journal

log = logging.getLogger(__name__)

#: How long a job works before others get its place, seconds.
TURN_SECONDS: Final = 2.0
#: Links, rows or items that one transaction writes down.
SLICE: Final = 200
#: Rows of a table that are read at once.
_ROWS: Final = 1000
#: Rows of a table that wait, sealed, at most; the walk pauses until there are fewer.
_AHEAD: Final = 4000
_PAUSE: Final = 0.5
#: Rows of the walk that one transaction forgets when it has ended.
_FORGET: Final = 2000

_SLICE = crashpoints.crash_point("bulk.walk.slice")
_DOCUMENT = crashpoints.crash_point("bulk.walk.document")
_CLOSE = crashpoints.crash_point("bulk.walk.close")
_CLOSED = crashpoints.crash_point("bulk.walk.closed")


@dataclass(frozen=True)
class Walking:
    """The task and the parts it needs."""

    settings: Settings
    database: Database
    engine: Engine
    sealer: Sealer
    fetcher: Fetcher

    def register(self) -> None:
        """Tell the engine."""
        self.engine.task(WALK, on_give_up=self.give_up)(self.walk)

    async def walk(self, attempt: Attempt, operation: int, turn: int) -> None:
        """Walk on for a while."""
        until = time.monotonic() + TURN_SECONDS
        run = await self.database.write(partial(self._begin, attempt=attempt, pk=operation, turn=turn))
        if run is None:
            return
        if not run.operation.open:  # killed after the end of the walk: what it met is not forgotten yet
            await self._end(attempt, run, None)
            return
        try:
            again = await self._walk(attempt, run, until)
        except InternalIntermittentError:
            raise  # a full disk may have room in a moment: the engine tries again
        except IngestionError as exc:  # of the source itself: without it there is no run
            await self._end(attempt, run, exc)
            return
        if again:
            await self.database.write(partial(self._again, attempt=attempt, run=run))
        else:
            await self._end(attempt, run, None)

    async def give_up(self, attempt: Attempt, ids: Mapping[str, Any], error: Exception) -> None:
        """The engine has tried often enough: what was found goes on, and the run fails for what was not."""
        run = await self.database.read(partial(store.run, pk=ids["operation"]))
        if run is not None and run.turn == ids["turn"]:
            last = error if isinstance(error, IngestionError) else InternalError()
            await self._end(attempt, run, last)

    # --- one turn

    def _begin(self, tx: Connection, *, attempt: Attempt, pk: int, turn: int) -> Run | None:
        attempt.still_ours(tx)
        run = store.run(tx, pk)
        if run is None or run.turn != turn:
            return None
        if not run.operation.open:
            return run
        journal.start(tx, run.operation)
        if run.import_type is ImportType.STATIC_CATALOG and run.parent is None:
            store.note_link(tx, pk, url_hash(self._url(run)), sealed=run.source)
        return run

    async def _walk(self, attempt: Attempt, run: Run, until: float) -> bool:
        """Is there more to do, after another turn?"""
        if run.parent is not None and not await self._copy_failed(attempt, run, run.parent, until):
            return True
        if run.import_type is ImportType.STAC_GEOPARQUET:
            return False if run.parent is not None else await self._read_table(attempt, run, until)
        while time.monotonic() < until:
            document, canceled = await self.database.read(lambda tx: self._next(tx, run))
            if document is None or canceled:
                return False
            await self._read_document(attempt, run, document, until)
        return True

    @staticmethod
    def _next(tx: Connection, run: Run) -> tuple[Document | None, bool]:
        return store.document_to_read(tx, run.pk), journal.get(tx, run.operation.id).status == "Canceling"

    def _again(self, tx: Connection, *, attempt: Attempt, run: Run) -> None:
        attempt.still_ours(tx)
        defer_walk(self.engine, tx, run.pk, store.next_turn(tx, run.pk))

    async def _end(self, attempt: Attempt, run: Run, error: IngestionError | None) -> None:
        """Nothing more will be found: the run ends with its last item, or now."""

        def cancel(tx: Connection) -> bool:
            attempt.still_ours(tx)
            if journal.get(tx, run.operation.id).status != "Canceling":
                return True
            return cancel_some(tx, run.pk, SLICE)

        def forget(tx: Connection) -> int:
            attempt.still_ours(tx)
            return store.forget_links(tx, run.pk, _FORGET)

        def close(tx: Connection) -> None:
            attempt.still_ours(tx)
            current = store.run(tx, run.pk)
            if current is None or not current.operation.open:
                return
            if error is not None and current.added == 0 and current.operation.status != "Canceling":
                tx.execute("UPDATE operations SET open=0, total=0 WHERE pk=:pk", {"pk": run.pk})
                journal.fail(tx, current.operation, error)
                return
            if error is not None:
                self._refuse(tx, current, error, current.url)
            item_entries.close(tx, run.pk)
            hand_out(self.engine, tx, run.pk, self.settings.bulk_lanes)

        while not await self.database.write(cancel):
            pass
        crashpoints.reach(_CLOSE)
        await self.database.write(close)
        crashpoints.reach(_CLOSED)
        while await self.database.write(forget):
            pass
        self._table(run).unlink(missing_ok=True)

    # --- a static catalog

    async def _read_document(self, attempt: Attempt, run: Run, document: Document, until: float) -> None:
        """Follow the links of a Catalog or Collection; what breaks off is begun again and meets what it met before."""
        url = self.sealer.open(document.sealed, BULK).decode()
        path = self._folder / f"{run.pk}-{document.hash.hex()}.json"
        try:
            if document.depth > MAX_DEPTH:
                raise InvalidStacCatalog(f"{redact(url)} lies more than {MAX_DEPTH} catalogs deep.")
            links = await self._links(url, path)
        except IngestionError as exc:
            if isinstance(exc, InternalIntermittentError) or (document.depth == 0 and run.parent is None):
                raise
            await self.database.write(
                partial(self._lose, attempt=attempt, run=run, document=document, url=url, error=exc)
            )
            return
        for begin in range(0, len(links), SLICE):
            part = links[begin : begin + SLICE]
            if not await self.database.write(
                partial(self._note, attempt=attempt, run=run, part=part, depth=document.depth + 1)
            ):
                return
            crashpoints.reach(_SLICE)
            if time.monotonic() > until:
                return
        await self.database.write(partial(self._done, attempt=attempt, run=run, document=document))
        crashpoints.reach(_DOCUMENT)
        path.unlink(missing_ok=True)

    async def _links(self, url: str, path: Path) -> list[Met]:
        """From the source, or from the file where a turn that ended within this document left it."""
        await asyncio.to_thread(self._folder.mkdir, parents=True, exist_ok=True)
        if not await asyncio.to_thread(path.exists):
            limit = self.settings.max_catalog_bytes
            partly = path.with_suffix(".part")
            try:
                await self.fetcher.download(url, partly, max_bytes=limit)
            except AssetTooLarge as exc:
                raise ImportFileValidationFailed(
                    f"{redact(url)} is larger than {limit} bytes (GRATICULE_MAX_CATALOG_BYTES)."
                ) from exc
            partly.replace(path)
        return await asyncio.to_thread(lambda: links_of(path.read_bytes(), url))

    def _note(self, tx: Connection, *, attempt: Attempt, run: Run, part: Sequence[Met], depth: int) -> bool:
        """Write down what was met for the first time; False: the run was cancelled."""
        attempt.still_ours(tx)
        if journal.get(tx, run.operation.id).status == "Canceling":
            return False
        found = []
        for met in part:
            if met.error is not None:
                # Told of once, however often this document is begun again.
                if store.note_link(tx, run.pk, url_hash(f"{met.url} {met.error.message}")):
                    self._refuse(tx, run, met.error, met.url)
            elif met.is_item:
                if store.note_link(tx, run.pk, met.hash):
                    found.append(Found(self._sealed({"href": met.url}), redact(met.url)))
            else:
                store.note_link(tx, run.pk, met.hash, depth=depth, sealed=self.sealer.seal(met.url.encode(), BULK))
        if found:
            store.add_found(tx, run, found)
        hand_out(self.engine, tx, run.pk, self.settings.bulk_lanes)
        return True

    @staticmethod
    def _done(tx: Connection, *, attempt: Attempt, run: Run, document: Document) -> None:
        attempt.still_ours(tx)
        store.document_was_read(tx, run.pk, document.hash)

    def _lose(
        self, tx: Connection, *, attempt: Attempt, run: Run, document: Document, url: str, error: IngestionError
    ) -> None:
        """A document below the first one cannot be read: it is an entry of its own among the failed items."""
        self._done(tx, attempt=attempt, run=run, document=document)
        sealed = self._sealed({"document": url, "depth": document.depth})
        self._refuse(tx, run, error, redact(url), sealed=sealed)

    def _refuse(
        self, tx: Connection, run: Run, error: GraticuleError, source: str, *, sealed: bytes | None = None
    ) -> None:
        """An entry that failed before it was an item; with what another run needs to try it again."""
        entry = Found(sealed or self._sealed({}), redact(source))
        first = store.add_found(tx, run, [entry])
        item_entries.end(tx, run.pk, first, error, keep_failed=sealed is not None)

    # --- a table

    async def _read_table(self, attempt: Attempt, run: Run, until: float) -> bool:
        path = self._table(run)
        await asyncio.to_thread(self._folder.mkdir, parents=True, exist_ok=True)
        if not await asyncio.to_thread(path.exists):
            partly = path.with_suffix(".part")
            await self.fetcher.download(self._url(run), partly)
            partly.replace(path)
        while True:
            current = await self.database.read(lambda tx: store.run(tx, run.pk))
            if current is None or current.operation.status == "Canceling":
                return False
            waiting = current.added - current.operation.succeeded - current.operation.failed
            if waiting > _AHEAD:
                await asyncio.sleep(_PAUSE)  # not for long: then others get this place
                return True
            source = ParquetSource(path)
            total, rows = await asyncio.to_thread(source.rows_from, current.position, _ROWS)
            if current.position == 0 and any(b"{" not in row for row in rows[:1]):
                raise InvalidGeoparquet("The file has no rows that are Items.")
            if not rows:
                return False
            for begin in range(0, len(rows), SLICE):
                part = rows[begin : begin + SLICE]
                position = current.position + begin
                await self.database.write(
                    partial(self._add_rows, attempt=attempt, run=run, part=part, position=position, total=total)
                )
                crashpoints.reach(_SLICE)
            if time.monotonic() > until:
                return True

    def _add_rows(
        self, tx: Connection, *, attempt: Attempt, run: Run, part: Sequence[bytes], position: int, total: int
    ) -> None:
        attempt.still_ours(tx)
        if position == 0:
            store.grow(tx, run.pk, total)  # how many there are is known at once
        found = [Found(self.sealer.seal(b'{"item":' + row + b"}", BULK), None) for row in part]
        store.add_found(tx, run, found, counted=False)
        store.move(tx, run.pk, position + len(part))
        hand_out(self.engine, tx, run.pk, self.settings.bulk_lanes)

    # --- what failed in another run

    async def _copy_failed(self, attempt: Attempt, run: Run, parent: str, until: float) -> bool:
        """Take over the failed items of the parent; True when all are."""
        while time.monotonic() < until:
            if await self.database.write(partial(self._copy_slice, attempt=attempt, run=run, parent=parent)):
                return True
        return False

    def _copy_slice(self, tx: Connection, *, attempt: Attempt, run: Run, parent: str) -> bool:
        attempt.still_ours(tx)
        current = store.run(tx, run.pk)
        if current is None or current.operation.status == "Canceling":
            return True
        failed = store.failed_after(tx, journal.get(tx, parent).pk, current.position, SLICE)
        if not failed:
            return True
        found = []
        for _seq, source, sealed in failed:
            envelope = orjson.loads(self.sealer.open(sealed, BULK))
            if "document" in envelope:
                url = envelope["document"]
                link = self.sealer.seal(url.encode(), BULK)
                store.note_link(tx, run.pk, url_hash(url), depth=envelope["depth"], sealed=link)
            else:
                found.append(Found(sealed, source))
        store.add_found(tx, current, found)
        store.move(tx, run.pk, failed[-1][0] + 1)
        hand_out(self.engine, tx, run.pk, self.settings.bulk_lanes)
        return False

    # --- inside

    @property
    def _folder(self) -> Path:
        return self.settings.staging_dir / "walks"

    def _table(self, run: Run) -> Path:
        return self._folder / f"{run.pk}.parquet"

    def _url(self, run: Run) -> str:
        return self.sealer.open(run.source, BULK).decode()

    def _sealed(self, envelope: Mapping[str, Any]) -> bytes:
        return self.sealer.seal(orjson.dumps(envelope), BULK)
