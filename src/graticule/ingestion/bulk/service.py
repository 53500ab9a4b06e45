"""What clients may ask of bulk ingestion: definitions, runs, dry runs, and a run of what failed before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from graticule.catalog import Catalog
from graticule.database import Connection, Database
from graticule.errors import Conflict, NotFound, TooManyRequests
from graticule.ingestion.bulk import store
from graticule.ingestion.bulk.jobs import defer_walk
from graticule.ingestion.bulk.models import BULK, Definition, Ingestion, Plan, Run, patched, read_definition
from graticule.sealing import Sealer
from graticule.settings import Settings
from graticule.sources import Guard
from graticule.workflows import Engine, asset_entries, item_entries, journal
from graticule.workflows.asset_entries import AssetEntry
from graticule.workflows.item_entries import ItemEntry
from graticule.workflows.journal import Operation


class BulkIngestion:
    """Keeps definitions and starts runs; workers do the rest."""

    def __init__(
        self, *, settings: Settings, database: Database, catalog: Catalog, engine: Engine, sealer: Sealer
    ) -> None:
        """Take the parts this needs."""
        self._settings = settings
        self._database = database
        self._catalog = catalog
        self._engine = engine
        self._sealer = sealer
        self._guard = Guard(settings)

    # --- definitions

    async def create(self, collection_id: str, document: Mapping[str, Any]) -> Ingestion:
        """Keep a definition; nothing is read before a run.

        Raises:
            NotFound: there is no such collection.
            InvalidRequestBody: the document is no ingestion.
        """

        def create(tx: Connection) -> Ingestion:
            self._check_collection(tx, collection_id)
            definition = read_definition(document, self._guard)
            return store.add_ingestion(tx, collection_id, definition, self._seal(definition))

        return await self._database.write(create)

    async def get(self, collection_id: str, ingestion_id: str) -> Ingestion:
        """One definition. Raises NotFound."""
        return await self._database.read(partial(self._get, collection_id=collection_id, ingestion_id=ingestion_id))

    async def listing(self, collection_id: str, *, top: int, skip: int) -> list[Ingestion]:
        """Definitions of a collection, newest first. Raises NotFound: there is no such collection."""

        def listing(tx: Connection) -> list[Ingestion]:
            self._check_collection(tx, collection_id)
            return store.ingestions(tx, collection_id, top=top, skip=skip)

        return await self._database.read(listing)

    async def update(self, collection_id: str, ingestion_id: str, patch: Mapping[str, Any]) -> Ingestion:
        """Merge a patch (RFC 7396) into a definition; runs keep the options that they were made with.

        Raises:
            NotFound: there is no such collection or ingestion.
            InvalidRequestBody: the patch leaves no ingestion.
        """

        def update(tx: Connection) -> Ingestion:
            current = self._get(tx, collection_id, ingestion_id)
            definition = patched(self._definition(current), patch, self._guard)
            store.update_ingestion(tx, current.pk, definition, self._seal(definition))
            return self._get(tx, collection_id, ingestion_id)

        return await self._database.write(update)

    async def delete(self, collection_id: str, ingestion_id: str) -> Operation:
        """Forget a definition and its runs, within the request; the runs' operations stay.

        Raises:
            NotFound: there is no such collection or ingestion.
            Conflict: a run has not ended.
        """

        def delete(tx: Connection) -> Operation:
            current = self._get(tx, collection_id, ingestion_id)
            if store.unfinished_runs(tx, current):
                raise Conflict(
                    f"Ingestion '{ingestion_id}' has a run that has not ended: cancel its operation, or wait for it."
                )
            information = {"IngestionId": ingestion_id}
            operation = journal.create(tx, "DeleteIngestion", collection_id, information=information)
            store.remove_ingestion(tx, current.pk)
            journal.succeed(tx, operation)
            return journal.get(tx, operation.id)

        return await self._database.write(delete)

    # --- runs

    async def start(self, collection_id: str, ingestion_id: str, *, dry: bool = False) -> Run:
        """Start a run with the options as they are now. A dry one only finds out what a run would do.

        Raises:
            NotFound: there is no such collection or ingestion.
            TooManyRequests: too many runs wait or go on already.
        """

        def start(tx: Connection) -> Run:
            ingestion = self._get(tx, collection_id, ingestion_id)
            self._check_room(tx)
            run = store.add_run(tx, ingestion, dry=dry)
            defer_walk(self._engine, tx, run.pk, run.turn)
            return run

        return await self._database.write(start)

    async def rerun(self, operation_id: str) -> Run:
        """Start a run of the items that failed in another one; its options are those of that run.

        Raises:
            NotFound: there is no such operation.
            Conflict: it is no run, has not ended, had no failure, or what failed is forgotten.
            TooManyRequests: too many runs wait or go on already.
        """

        def rerun(tx: Connection) -> Run:
            operation = journal.get(tx, operation_id)
            parent = store.run(tx, operation.pk)
            self._check_failures(tx, operation, parent)
            assert parent is not None
            self._check_room(tx)
            ingestion = self._get(tx, operation.collection_id or "", parent.ingestion_id)
            frozen = Ingestion(
                pk=ingestion.pk,
                id=ingestion.id,
                collection_id=ingestion.collection_id,
                import_type=parent.import_type,
                display_name=ingestion.display_name,
                url=parent.url,
                source=parent.source,
                skip_existing=parent.skip_existing,
                keep_originals=parent.keep_originals,
                created=ingestion.created,
            )
            run = store.add_run(tx, frozen, dry=parent.dry, parent=operation.id)
            defer_walk(self._engine, tx, run.pk, run.turn)
            return run

        return await self._database.write(rerun)

    async def run(self, collection_id: str, ingestion_id: str, run_id: str) -> Run:
        """One run. Raises NotFound."""

        def run(tx: Connection) -> Run:
            return store.run_of(tx, self._get(tx, collection_id, ingestion_id), run_id)

        return await self._database.read(run)

    async def runs(self, collection_id: str, ingestion_id: str, *, top: int, skip: int) -> list[Run]:
        """Runs of an ingestion, newest first. Raises NotFound."""

        def runs(tx: Connection) -> list[Run]:
            return store.runs(tx, self._get(tx, collection_id, ingestion_id), top=top, skip=skip)

        return await self._database.read(runs)

    async def plan(self, run: Run) -> Plan:
        """What a dry run found so far."""
        return await self._database.read(partial(store.plan_of, pk=run.pk))

    # --- what became of each item

    async def report(
        self, operation_id: str, *, state: str | None, after: int, limit: int
    ) -> list[tuple[ItemEntry, Sequence[AssetEntry]]]:
        """Items of any operation in the order they were sent, with their assets. Raises NotFound."""

        def report(tx: Connection) -> list[tuple[ItemEntry, Sequence[AssetEntry]]]:
            operation = journal.get(tx, operation_id)
            entries = item_entries.listing(tx, operation.pk, state=state, limit=limit, after=after)
            if not entries:
                return []
            assets = asset_entries.between(tx, operation.pk, entries[0].seq, entries[-1].seq)
            return [(entry, assets.get(entry.seq, [])) for entry in entries]

        return await self._database.read(report)

    # --- inside

    def _check_collection(self, tx: Connection, collection_id: str) -> None:
        record = self._catalog.collection_in(tx, collection_id)
        if record is None or record.deleting:
            raise NotFound(f"Collection '{collection_id}' does not exist.", target="collectionId")

    def _get(self, tx: Connection, collection_id: str, ingestion_id: str) -> Ingestion:
        self._check_collection(tx, collection_id)
        return store.ingestion(tx, collection_id, ingestion_id)

    def _check_room(self, tx: Connection) -> None:
        waiting = store.unfinished_runs(tx)
        if waiting >= self._settings.max_waiting_runs:
            raise TooManyRequests(
                f"{waiting} runs wait or go on already (GRATICULE_MAX_WAITING_RUNS): try again when one has ended."
            )

    @staticmethod
    def _check_failures(tx: Connection, operation: Operation, parent: Run | None) -> None:
        name = f"Operation '{operation.id}'"
        if parent is None:
            raise Conflict(f"{name} is no bulk run of an ingestion that is still there: send its items again.")
        if not operation.is_terminal:
            raise Conflict(f"{name} has not ended: wait for it, or cancel it.")
        if not store.failed_after(tx, operation.pk, 0, 1):
            raise Conflict(
                f"{name} has no failed item"
                + (" whose detail is still kept: start a run with skipExistingItems." if operation.failed else ".")
            )

    def _definition(self, ingestion: Ingestion) -> Definition:
        return Definition(
            import_type=ingestion.import_type,
            url=self._sealer.open(ingestion.source, BULK).decode(),
            display_name=ingestion.display_name,
            skip_existing=ingestion.skip_existing,
            keep_originals=ingestion.keep_originals,
        )

    def _seal(self, definition: Definition) -> bytes:
        return self._sealer.seal(definition.url.encode(), BULK)
