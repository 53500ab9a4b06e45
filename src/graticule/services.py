"""Every part of a catalog, opened once from its settings and closed together.

The API and the worker are the same parts in two processes; the worker has those that touch sources and pixels besides.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

from graticule.access import (
    Identity,
    Issuer,
    ManagedIdentity,
    TemplateSigner,
    Tokens,
    open_identity,
    open_issuer,
    open_managed_identity,
    open_tokens,
)
from graticule.catalog import Catalog
from graticule.configuration import Configuration, Indexing, forget_collection
from graticule.core import open_core
from graticule.database import Connection, Database
from graticule.errors import InternalIntermittentError
from graticule.ingestion.backfilling import WordBackfill
from graticule.ingestion.bulk import BulkIngestion, forget_ingestions
from graticule.ingestion.bulk.jobs import TASKS as BULK_TASKS
from graticule.ingestion.collection_assets import CollectionAssets
from graticule.ingestion.refreshing import Refreshing
from graticule.ingestion.service import Ingestion
from graticule.ingestion.updating import Updater
from graticule.sealing import Sealer, open_sealer
from graticule.settings import Settings
from graticule.sources import Sources
from graticule.storage import AssetStore, ManagedHrefs
from graticule.tiler import Tiler, check_options
from graticule.tiler.static_images import forget_images
from graticule.workflows import Engine

log = logging.getLogger(__name__)


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
    templates: TemplateSigner
    ingestion: Ingestion
    bulk: BulkIngestion
    updater: Updater
    collection_assets: CollectionAssets
    configuration: Configuration
    indexing: Indexing
    sources: Sources
    tiler: Tiler

    def forget_collection(self, tx: Connection, collection_id: str) -> None:
        """Clear what other rooms keep for a collection that is being deleted."""
        forget_collection(tx, collection_id)
        forget_images(tx, collection_id)
        forget_ingestions(tx, collection_id)


@asynccontextmanager
async def open_services(settings: Settings) -> AsyncIterator[Services]:
    """Open a catalog; work can be handed over, and is run by who opens `open_work` too.

    Raises:
        SettingsError: a folder, key or database cannot be used; the message says which and what to do.
        Unavailable: the database server does not answer at the moment.
    """
    async with AsyncExitStack() as stack:
        core = stack.enter_context(open_core(settings))
        sealer = open_sealer(settings)
        database, engine, catalog, hrefs = core.database, core.engine, core.catalog, core.hrefs
        indexing = Indexing(database=database, catalog=catalog, engine=engine)
        issuer = open_issuer(database, sealer, settings)
        store = await _open_store(settings)
        updater = Updater(settings=settings, catalog=catalog, hrefs=hrefs)
        engine.declare(*BULK_TASKS)
        tiler = await stack.enter_async_context(
            Tiler(settings=settings, database=database, catalog=catalog, assets=store, hrefs=hrefs)
        )
        tokens = open_tokens(database, sealer, settings)
        yield Services(
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
            tokens=tokens,
            templates=TemplateSigner(tokens, settings),
            ingestion=Ingestion(
                settings=settings,
                database=database,
                catalog=catalog,
                engine=engine,
                sealer=sealer,
                hrefs=hrefs,
                updater=updater,
            ),
            bulk=BulkIngestion(settings=settings, database=database, catalog=catalog, engine=engine, sealer=sealer),
            updater=updater,
            collection_assets=CollectionAssets(
                database=database,
                catalog=catalog,
                engine=engine,
                store=store,
                hrefs=hrefs,
                folder=settings.uploads_dir,
            ),
            configuration=Configuration(
                database=database,
                catalog=catalog,
                indexing=indexing,
                check_options=check_options,
                strict=settings.strict_queryables,
            ),
            indexing=indexing,
            sources=Sources(settings=settings, database=database, sealer=sealer),
            tiler=tiler,
        )


async def _open_store(settings: Settings) -> AssetStore:
    """The managed assets. A bucket that cannot be used ends the start; one that does not answer may come back."""
    store = AssetStore.open(settings)
    try:
        await store.check()
    except InternalIntermittentError as exc:
        log.warning("%s", exc.message, extra={"action": "storage_unavailable"})
    return store


@asynccontextmanager
async def open_work(services: Services) -> AsyncIterator[None]:
    """Open what running the work takes besides, the door to sources and conversion, and tell the engine its tasks."""
    # Imported here, because an API process needs none of it: it starts faster and stays smaller.
    from graticule.ingestion.bulk.documents import Documents  # noqa: PLC0415
    from graticule.ingestion.bulk.running import BulkWork  # noqa: PLC0415
    from graticule.ingestion.conversion.pool import ConversionPool  # noqa: PLC0415
    from graticule.ingestion.copying import Copier  # noqa: PLC0415
    from graticule.ingestion.workflows import Workflows  # noqa: PLC0415
    from graticule.sources.fetcher import Fetcher  # noqa: PLC0415

    settings = services.settings
    async with (
        Fetcher(settings, credentials=services.sources.credential, locate=services.sources.locate) as fetcher,
        ConversionPool(settings, settings.staging_dir) as pool,
    ):
        copier = Copier(
            settings=settings,
            database=services.database,
            store=services.store,
            hrefs=services.hrefs,
            fetcher=fetcher,
            pool=pool,
        )
        parts: dict[str, Any] = {
            "settings": settings,
            "database": services.database,
            "catalog": services.catalog,
            "engine": services.engine,
            "sealer": services.sealer,
            "store": services.store,
            "copier": copier,
            "updater": services.updater,
            "forget_collection": services.forget_collection,
        }
        Workflows(**parts).register()
        documents = Documents(services.settings, services.database, services.sealer, fetcher, services.hrefs)
        BulkWork(**parts, fetcher=fetcher, documents=documents).register()
        services.indexing.register()
        await Refreshing(services.database, services.engine).register()
        await WordBackfill(services.database, services.engine).register()
        yield
