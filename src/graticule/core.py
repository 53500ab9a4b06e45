"""What no command on a catalog can do without: its database and what is in it. Open long before all services are.

The engine of jobs is imported when there is a first job to hand over: a load or an export mostly has none.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from graticule.access.store import catalog_id
from graticule.catalog import Catalog, SqlCatalog
from graticule.database import Connection, Database, open_database
from graticule.sealing import prepare_data_dir
from graticule.settings import Settings
from graticule.storage import ManagedHrefs

if TYPE_CHECKING:
    from graticule.workflows import Engine


@dataclass(frozen=True)
class Core:
    """The parts that depend on none of the others."""

    settings: Settings
    database: Database

    @cached_property
    def engine(self) -> Engine:
        """The jobs."""
        from graticule.ingestion.service import TASKS  # noqa: PLC0415 - see the module
        from graticule.workflows import Engine, Timing  # noqa: PLC0415

        lost_after = self.settings.worker_lost_after
        engine = Engine(
            self.database,
            worker_name=f"{socket.gethostname()}-{os.getpid()}",
            timing=Timing(heartbeat=lost_after / 3, stalled=lost_after),
        )
        engine.declare(*TASKS)
        return engine

    @cached_property
    def catalog(self) -> Catalog:
        """The collections and items."""
        return SqlCatalog(
            self.database,
            strict_queryables=self.settings.strict_queryables,
            search_timeout=self.settings.search_timeout,
            page_bytes=self.settings.max_page_bytes,
            on_stale=self._refresh_soon,
        )

    @cached_property
    def hrefs(self) -> ManagedHrefs:
        """The names of managed assets."""
        return ManagedHrefs(catalog_id(self.database).replace("-", ""))

    def sweep_soon(self, tx: Connection) -> None:
        """Have a worker remove the bytes of everything that was buried."""
        from graticule.ingestion.burying import defer_sweep  # noqa: PLC0415 - see the module

        defer_sweep(self.engine, tx)

    def _refresh_soon(self, tx: Connection, collection_id: str) -> None:
        from graticule.ingestion.refreshing import defer_refresh  # noqa: PLC0415 - see the module

        defer_refresh(self.engine, tx, collection_id)


@contextmanager
def open_core(settings: Settings) -> Iterator[Core]:
    """Open a catalog as far as every command needs it.

    Raises:
        SettingsError: the data folder or the database cannot be used; the message says which and what to do.
        Unavailable: the database server does not answer at the moment.
    """
    prepare_data_dir(settings.data_dir)
    database = open_database(settings)
    try:
        yield Core(settings, database)
    finally:
        database.close()
