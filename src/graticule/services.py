"""Every part of a catalog, opened once from its settings and closed together.

The API and the worker are the same parts in two processes; the worker has those that touch sources and pixels besides.
"""

from __future__ import annotations

import os
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from graticule.access import (
    Identity,
    Issuer,
    ManagedIdentity,
    Tokens,
    open_identity,
    open_issuer,
    open_managed_identity,
    open_tokens,
)
from graticule.catalog import Catalog, SqlCatalog
from graticule.database import Connection, Database
from graticule.ingestion.conversion.pool import ConversionPool
from graticule.ingestion.copying import Copier
from graticule.ingestion.service import Ingestion
from graticule.ingestion.workflows import Workflows
from graticule.sealing import Sealer, open_sealer
from graticule.settings import Settings
from graticule.sources import Fetcher
from graticule.storage import AssetStore, ManagedHrefs
from graticule.workflows import Engine


@dataclass(frozen=True)
class Services:
    """The parts of one catalog."""

    settings: Settings
    sealer: Sealer
    database: Database
    engine: Engine
    catalog: Catalog
    store: AssetStore
    hrefs: ManagedHrefs
    issuer: Issuer
    identity: Identity
    managed_identity: ManagedIdentity
    tokens: Tokens
    ingestion: Ingestion

    def forget_collection(self, tx: Connection, collection_id: str) -> None:
        """Clear what other rooms keep for a collection that is being deleted."""


@asynccontextmanager
async def open_services(settings: Settings, *, works: bool) -> AsyncIterator[Services]:
    """Open a catalog.

    Args:
        settings: its settings.
        works: open what a worker needs besides: the door to sources, and conversion.

    Raises:
        SettingsError: a folder or key cannot be used; the message says which and what to do.
    """
    async with AsyncExitStack() as stack:
        sealer = open_sealer(settings)
        database = Database(settings.database_path)
        stack.callback(database.close)
        engine = Engine(database, worker_name=f"{socket.gethostname()}-{os.getpid()}")
        catalog = SqlCatalog(database)
        issuer = open_issuer(database, sealer, settings)
        hrefs = ManagedHrefs(issuer.catalog_id.replace("-", ""))
        store = AssetStore.local(settings.assets_dir)
        copier = None
        if works:
            fetcher = await stack.enter_async_context(Fetcher(settings))
            pool = await stack.enter_async_context(ConversionPool(settings, settings.staging_dir))
            copier = Copier(settings=settings, database=database, store=store, hrefs=hrefs, fetcher=fetcher, pool=pool)
        services = Services(
            settings=settings,
            sealer=sealer,
            database=database,
            engine=engine,
            catalog=catalog,
            store=store,
            hrefs=hrefs,
            issuer=issuer,
            identity=open_identity(issuer, settings),
            managed_identity=open_managed_identity(database, sealer, settings, issuer),
            tokens=open_tokens(database, sealer, settings),
            ingestion=Ingestion(
                settings=settings, database=database, catalog=catalog, engine=engine, sealer=sealer, hrefs=hrefs
            ),
        )
        Workflows(
            settings=settings,
            database=database,
            catalog=catalog,
            engine=engine,
            sealer=sealer,
            store=store,
            copier=copier,
            forget_collection=services.forget_collection,
        ).register()
        yield services
