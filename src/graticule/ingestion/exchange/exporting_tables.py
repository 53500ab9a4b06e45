"""Writing collections and items to files of stac-geoparquet.

The items go to a file of JSON lines first, which can be gone on with after an interruption, and from there into the
table: so the catalog is read once, and both passes over the items see the same ones.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Sequence
from glob import escape
from pathlib import Path
from typing import Final

from graticule.catalog import CollectionRecord
from graticule.ingestion.exchange.exporting import Exporter, is_complete
from graticule.ingestion.exchange.files import folder_name
from graticule.ingestion.exchange.geoparquet import SUFFIX, require_pyarrow, write_geoparquet

TABLE_FILE: Final = f"items{SUFFIX}"


class TableExporter:
    """As `Exporter`, whose options it has, into tables."""

    def __init__(self, exporter: Exporter, *, on_rows: Callable[[int], None] = lambda _: None) -> None:
        """Take what reads the catalog, and who is told of rows written. Raises SettingsError without pyarrow."""
        require_pyarrow()
        self._exporter = exporter
        self._on_rows = on_rows

    async def to_folder(
        self, folder: Path, collections: Sequence[CollectionRecord], *, overwrite: bool = False, resume: bool = False
    ) -> None:
        """``items.parquet`` in a folder per collection. Arguments and errors as `Exporter.to_folder`."""
        places = [(record, folder / folder_name(record.id) / TABLE_FILE) for record in collections]
        for _, path in places:
            is_complete(path, overwrite=overwrite, resume=resume)
        for record, path in places:
            await self.to_file(path, [record], overwrite=overwrite, resume=resume)

    async def to_file(
        self, path: Path, collections: Sequence[CollectionRecord], *, overwrite: bool = False, resume: bool = False
    ) -> None:
        """One table, with the Collections in its metadata. Arguments and errors as `Exporter.to_file`."""
        if is_complete(path, overwrite=overwrite, resume=resume):
            await self._exporter.tell_complete(collections)
            return
        what = "\n".join([self._exporter.signature, *(record.id for record in collections)])
        prefix = f"{path.name}.items-"
        lines = path.with_name(prefix + hashlib.sha256(what.encode()).hexdigest()[:12])
        # Lines that are complete and of the same options are what an interruption of the second half has left.
        await self._exporter.to_file(lines, collections, overwrite=not resume, resume=resume)
        await asyncio.to_thread(write_geoparquet, lines, path, self._on_rows)
        for left in path.parent.glob(f"{escape(prefix)}*"):
            left.unlink(missing_ok=True)
