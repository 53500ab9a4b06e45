"""Writing collections and items of the catalog into a pgstac database."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from graticule.catalog import CollectionRecord
from graticule.ingestion.exchange.exporting import Exporter
from graticule.ingestion.exchange.pgstac import PgstacServer
from graticule.ingestion.exchange.pgstac_writing import NotTaken, PgstacWriter, Written


class PgstacExporter:
    """Sends what an `Exporter` reads to a pgstac. Done again after an interruption, it passes over what is there."""

    def __init__(
        self,
        exporter: Exporter,
        server: PgstacServer,
        *,
        overwrite: bool = False,
        on_progress: Callable[[str, Written], None] = lambda _collection, _written: None,
        on_refusal: Callable[[NotTaken], None] = lambda _: None,
    ) -> None:
        """Take what reads, and where to write.

        Args:
            exporter: reads the catalog.
            server: written to.
            overwrite: replace documents that are there with other contents; else they are refused.
            on_progress: is told of every page: the collection, and all that was written so far.
            on_refusal: is told of every document that pgstac has not taken.
        """
        self._exporter = exporter
        self._server = server
        self._overwrite = overwrite
        self._on_progress = on_progress
        self._on_refusal = on_refusal

    async def export(self, collections: Sequence[CollectionRecord]) -> Written:
        """Write the collections; answers what became of their documents. Raises as `PgstacWriter.opened`."""
        written = Written()
        with PgstacWriter.opened(self._server, overwrite=self._overwrite) as writer:
            for record in collections:
                await self._export(writer, record, written)
        return written

    async def _export(self, writer: PgstacWriter, record: CollectionRecord, total: Written) -> None:
        def count(part: Written) -> None:
            for refused in part.refused:
                self._on_refusal(refused)
            total.add(part)
            self._on_progress(record.id, total)

        part = await asyncio.to_thread(writer.put_collection, record.id, self._exporter.public(record.doc))
        count(part)
        if part.refused:
            return
        async for page in self._exporter.pages(record.id):
            count(await asyncio.to_thread(writer.put_items, record.id, page))
