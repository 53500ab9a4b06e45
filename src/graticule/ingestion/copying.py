"""One asset's way into managed storage: fetch, convert where that applies, store.

Each stored asset is written into the journal at once, so that a worker that takes an item over goes on after the last
asset that was safe. Every error leaves here with the item and the asset named in its message.
"""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Coroutine, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import orjson

from graticule import crashpoints
from graticule.database import Connection, Database
from graticule.errors import (
    CanceledOperation,
    CogTransformationError,
    ConversionCrashed,
    IngestionError,
    InvalidAssetHref,
    NotFound,
)
from graticule.ingestion.collection_rules import CollectionRules
from graticule.ingestion.conversion import (
    ConversionRequest,
    Outcome,
    RasterFacts,
    ReferenceRequest,
    SidecarKind,
    georeference_of,
    has_classes,
    sidecars_of,
    wants_conversion,
)
from graticule.ingestion.conversion.models import COG_MEDIA_TYPE
from graticule.ingestion.conversion.pool import ConversionPool
from graticule.ingestion.manifests import MEDIA_TYPE, manifest_key, wants_manifest
from graticule.ingestion.zarr_stores import fetch_store, is_store
from graticule.settings import Settings
from graticule.sources import Download, Fetcher, redact
from graticule.stac.documents import Asset, Item
from graticule.storage import AssetStore, ManagedHrefs, StoredBlob, layout, ledger
from graticule.workflows import Attempt, asset_entries, item_entries, journal
from graticule.workflows.asset_entries import StoredAsset
from graticule.workflows.journal import Operation

log = logging.getLogger(__name__)

T = TypeVar("T")

#: An item whose own conversion dies this often is set aside (design: poison).
MAX_CRASHES = 3

_GONE = "the href names an asset of this catalog that does not exist (any more): name the source of its bytes."

#: What was written here, and not fetched.
_MADE = frozenset({Outcome.CONVERTED, Outcome.REFERENCED})

_AFTER_FETCH = crashpoints.crash_point("ingestion.fetch.after")
_AFTER_CONVERT = crashpoints.crash_point("ingestion.convert.after")
_AFTER_PLAN = crashpoints.crash_point("ingestion.plan.after")
_AFTER_STORE = crashpoints.crash_point("ingestion.store.after")


@dataclass(frozen=True)
class ItemWork:
    """An item in a worker's hands."""

    attempt: Attempt
    operation: Operation
    seq: int
    collection_id: str
    container: str
    item: Item
    folder: Path  #: for its files, until they are stored
    rules: CollectionRules = field(default_factory=CollectionRules)  #: of its collection
    kept: Collection[str] = ()  #: keys of assets that are in managed storage already, and stay as they are
    keep_originals: bool = False  #: the source file of a converted asset is stored beside it

    @property
    def item_id(self) -> str:
        """The item's id."""
        return self.item["id"]


@dataclass
class _Files:
    """The downloads of one item, each begun once and awaited by whoever needs the file."""

    tasks: dict[str, asyncio.Task[Download]] = field(default_factory=dict)


class Copier:
    """Brings the assets of items in."""

    def __init__(
        self,
        *,
        settings: Settings,
        database: Database,
        store: AssetStore,
        hrefs: ManagedHrefs,
        fetcher: Fetcher,
        pool: ConversionPool,
    ) -> None:
        """Take the parts this work needs."""
        self._settings = settings
        self._database = database
        self._store = store
        self._hrefs = hrefs
        self._fetcher = fetcher
        self._pool = pool

    async def copy_assets(self, work: ItemWork) -> dict[str, tuple[str, StoredAsset]]:
        """Bring every asset that is not kept into managed storage: asset key → (stored href, what was stored).

        The first asset that fails ends the others.

        Raises:
            IngestionError: with item and asset named.
        """
        assets = work.item.get("assets", {})
        stored = await self._database.read(lambda tx: asset_entries.stored(tx, work.operation.pk, work.seq))
        slots = asyncio.Semaphore(self._settings.fetch_concurrency)
        missing = [key for key in assets if key not in stored and key not in work.kept]
        async with _downloads() as files:
            for number, (key, asset) in enumerate(assets.items()):
                if key in missing or self._is_sidecar(key, missing, assets):
                    path = work.folder / f"a{number}"
                    is_read = self._is_sidecar(key, missing, assets) or wants_manifest(asset)
                    files.tasks[key] = asyncio.create_task(self._fetch(asset, path, slots, is_read=is_read))
            results: list[list[StoredAsset]] = await _all([self._bring(work, key, files) for key in missing])
        stored |= {asset.asset_key: asset for each in results for asset in each}
        if work.keep_originals:  # source files are entries of their own
            stored |= await self._database.read(lambda tx: asset_entries.stored(tx, work.operation.pk, work.seq))
        stored = {key: await self._with_cube(asset) for key, asset in stored.items()}
        return {key: (self._hrefs.stored(asset.container, asset.key), asset) for key, asset in stored.items()}

    def _is_sidecar(self, key: str, missing: Iterable[str], assets: Mapping[str, Asset]) -> bool:
        return any(key in sidecars_of(other, assets).values() for other in missing if other != key)

    async def _fetch(self, asset: Asset, path: Path, slots: asyncio.Semaphore, *, is_read: bool) -> Download:
        href = asset["href"]
        async with slots:
            if (blob := self._hrefs.locate(href, ())) is not None:
                download = await self._fetch_managed(blob.container, blob.key, path if is_read else None)
            elif is_store(asset):
                download = await fetch_store(self._fetcher, href, path, max_bytes=self._settings.max_asset_bytes)
            else:
                download = await self._fetcher.download(href, path, max_bytes=self._settings.max_asset_bytes)
        crashpoints.reach(_AFTER_FETCH)
        return download

    async def _fetch_managed(self, container: str, key: str, path: Path | None) -> Download:
        """An asset of this catalog, sent in another item: storage copies it; its bytes come here if they are read."""
        blob = await self._database.read(lambda tx: ledger.find(tx, container, key))
        if blob is None or blob.size is None or blob.sha256 is None:
            raise InvalidAssetHref(_GONE)
        if path is not None:
            try:
                chunks = await self._store.open_range(container, key, 0, blob.size)
            except NotFound:  # deleted a moment ago
                raise InvalidAssetHref(_GONE) from None
            with path.open("wb") as file:
                async for chunk in chunks:
                    file.write(chunk)
        return Download(
            bytes=blob.size,
            sha256=blob.sha256,
            md5=None,
            content_type=blob.media_type,
            etag=blob.etag,
            name=None,
            content_encoding=None,
        )

    async def _bring(self, work: ItemWork, key: str, files: _Files) -> list[StoredAsset]:
        """Fetch, convert and store one asset, with the manifest that belongs to it."""
        asset = work.item["assets"][key]
        begun = time.monotonic()
        try:
            download = await files.tasks[key]
            path, outcome, facts = await self._convert(work, key, asset, files)
            if work.keep_originals and outcome is Outcome.CONVERTED:
                # Before the converted one: once that is journaled, nobody comes back for this.
                original = original_key(key)
                await self._keep(work, original, asset, download, self._path(work, key), Outcome.UNTOUCHED, begun)
            manifest = await self._refer(work, key, asset, download)
            # The manifest first: when the asset itself is safe, nothing of it is missing.
            made = [] if manifest is None else [await self._keep_manifest(work, key, asset, download, manifest, begun)]
            return [*made, await self._keep(work, key, asset, download, path, outcome, begun, facts)]
        except IngestionError as exc:
            named = _named(exc, work.item_id, key)
            if not isinstance(exc, CanceledOperation):
                await self._database.write(partial(_note_failure, work=work, key=key, error=named))
            raise named from exc

    async def _convert(
        self, work: ItemWork, key: str, asset: Asset, files: _Files
    ) -> tuple[Path, Outcome, RasterFacts | None]:
        """The file to store, what became of it, and what it is if it was opened."""
        path = self._path(work, key)
        assets = work.item["assets"]
        if self._hrefs.locate(asset["href"], ()) is not None:
            return path, Outcome.COPIED, None  # it was looked at when it came in first
        if is_store(asset):
            return path, Outcome.PACKED, None
        if not wants_conversion(key, asset, asset["href"]):
            return path, Outcome.UNTOUCHED, None
        sidecars: dict[SidecarKind, Path] = {}
        for kind, other in sidecars_of(key, assets).items():
            try:
                await files.tasks[other]
            except IngestionError as exc:
                raise _named(exc, work.item_id, other) from exc
            sidecars[kind] = self._path(work, other)
        request = ConversionRequest(
            source=path,
            output=path.with_name(f"{path.name}.cog.tif"),
            name=key,
            media_type=asset.get("type"),
            roles=tuple(asset.get("roles") or ()),
            sidecars=sidecars,
            georeference=georeference_of(work.item, key),
            has_classes=has_classes(asset),
            profile=work.rules.profile,
        )
        result = await self._patiently(work, partial(self._pool.convert, request))
        crashpoints.reach(_AFTER_CONVERT)
        return result.path, result.outcome, result.facts

    async def _refer(self, work: ItemWork, key: str, asset: Asset, download: Download) -> Path | None:
        """The manifest of references of a data cube; None where it has none, or the item brings its own."""
        own = work.item["assets"].get(manifest_key(key))
        if not wants_manifest(asset) or (own is not None and self._hrefs.locate(own["href"], ()) is None):
            return None
        path = self._path(work, key)
        name = self._name(work, key, asset, _media_type(asset, download, Outcome.UNTOUCHED), Outcome.UNTOUCHED)
        request = ReferenceRequest(
            source=path, output=path.with_name(f"{path.name}.json"), name=key, file_name=name.rpartition("/")[2]
        )
        made = await self._patiently(work, partial(self._pool.refer, request))
        crashpoints.reach(_AFTER_CONVERT)
        return request.output if made else None

    async def _keep_manifest(
        self, work: ItemWork, key: str, asset: Asset, download: Download, path: Path, begun: float
    ) -> StoredAsset:
        described: Asset = {"href": asset["href"], "type": MEDIA_TYPE}
        return await self._keep(work, manifest_key(key), described, download, path, Outcome.REFERENCED, begun)

    async def _with_cube(self, stored: StoredAsset) -> StoredAsset:
        """A manifest with what it says of its cube: read from storage, for another worker may have made it."""
        if stored.outcome != Outcome.REFERENCED:
            return stored
        chunks = await self._store.open_range(stored.container, stored.key, 0, stored.bytes_out)
        text = b"".join([bytes(chunk) async for chunk in chunks])
        cube = (await asyncio.to_thread(orjson.loads, text)).get("cube")
        return replace(stored, cube=cube if isinstance(cube, dict) else None)

    async def _patiently(self, work: ItemWork, convert: Callable[[], Awaitable[T]]) -> T:
        """Convert again after a crash of the conversion process, until the item counts as poison."""
        while True:
            try:
                return await convert()
            except ConversionCrashed as exc:

                def count(tx: Connection) -> int:
                    work.attempt.still_ours(tx)
                    return item_entries.count_crash(tx, work.operation.pk, work.seq)

                crashes = await self._database.write(count)
                log.warning(
                    "conversion crashed",
                    extra={"action": "conversion_crashed", "operation": work.operation.id, "crashes": crashes},
                )
                if crashes >= MAX_CRASHES:
                    raise CogTransformationError(
                        f"the conversion process died {crashes} times over this file, so the item is set aside:"
                        " check the file with GDAL, or supply a COG."
                    ) from exc

    async def _keep(
        self,
        work: ItemWork,
        key: str,
        asset: Asset,
        download: Download,
        path: Path,
        outcome: Outcome,
        begun: float,
        facts: RasterFacts | None = None,
    ) -> StoredAsset:
        media_type = _media_type(asset, download, outcome)
        name = self._name(work, key, asset, media_type, outcome)

        def plan(tx: Connection) -> None:
            work.attempt.still_ours(tx)
            journal.check_not_canceled(journal.get(tx, work.operation.id))
            ledger.plan(
                tx,
                container=work.container,
                key=name,
                collection_id=work.collection_id,
                item_id=work.item_id,
                operation_id=work.operation.id,
                asset_key=key,
                media_type=media_type,
            )

        await self._database.write(plan)
        crashpoints.reach(_AFTER_PLAN)
        blob = await self._put(work.container, name, asset["href"], download, path, outcome, media_type)
        crashpoints.reach(_AFTER_STORE)
        stored = StoredAsset(
            asset_key=key,
            outcome=outcome.value,
            container=work.container,
            key=name,
            media_type=media_type,
            bytes_in=download.bytes,
            bytes_out=blob.size,
            sha256=blob.sha256,
            source=redact(asset["href"]),
            milliseconds=round((time.monotonic() - begun) * 1000),
            facts=None if facts is None else asdict(facts),
        )

        def note(tx: Connection) -> None:
            work.attempt.still_ours(tx)
            ledger.stored(tx, work.container, name, size=blob.size, sha256=blob.sha256, etag=blob.etag)
            asset_entries.write_stored(tx, work.operation.pk, work.seq, stored)

        await self._database.write(note)
        return stored

    async def _put(
        self,
        container: str,
        name: str,
        href: str,
        download: Download,
        path: Path,
        outcome: Outcome,
        media_type: str | None,
    ) -> StoredBlob:
        """Into storage, from the file, or from where storage can take it itself."""
        if outcome is Outcome.COPIED and (other := self._hrefs.locate(href, ())) is not None:
            try:
                return await self._store.copy(other, container, name, download.bytes, download.sha256, media_type)
            except NotFound:  # deleted a moment ago
                raise InvalidAssetHref(_GONE) from None
        if outcome in _MADE:
            return await self._store.put_file(container, name, path, media_type, None)
        is_as_sent = outcome is not Outcome.PACKED and self._store.may_fetch(href)
        origin = await self._fetcher.address(href) if is_as_sent else None
        return await self._store.put_file(container, name, path, media_type, download.sha256, origin=origin)

    @staticmethod
    def _name(work: ItemWork, key: str, asset: Asset, media_type: str | None, outcome: Outcome) -> str:
        made = {Outcome.CONVERTED: ".tif", Outcome.PACKED: ".zip"}
        ending = made.get(outcome) or layout.extension_for(media_type, asset["href"])
        return layout.item_asset_key(work.operation.id, work.item_id, key, ending)

    @staticmethod
    def _path(work: ItemWork, key: str) -> Path:
        return work.folder / f"a{list(work.item['assets']).index(key)}"


def original_key(key: str) -> str:
    """The key of the asset that is the source file of a converted one (api.md 3.2)."""
    return f"{key}-original"


@asynccontextmanager
async def staging_folder(folder: Path) -> AsyncIterator[None]:
    """A folder for one attempt at an item; gone when it ends."""
    os.makedirs(folder)  # noqa: PTH103 - as quick as the way to a thread
    try:
        yield
    finally:
        shutil.rmtree(
            folder, ignore_errors=True
        )  # at once, also when cancelled; what is left is wiped at the next start


@asynccontextmanager
async def _downloads() -> AsyncIterator[_Files]:
    files = _Files()
    try:
        yield files
    finally:
        for task in files.tasks.values():
            task.cancel()
        await asyncio.gather(*files.tasks.values(), return_exceptions=True)


async def _all(work: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """Run coroutines side by side; the first error ends the rest and is raised as it is."""
    tasks = [asyncio.create_task(each) for each in work]
    try:
        return list(await asyncio.gather(*tasks))
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _note_failure(tx: Connection, *, work: ItemWork, key: str, error: IngestionError) -> None:
    work.attempt.still_ours(tx)
    source = redact(work.item["assets"][key]["href"])
    asset_entries.write_failed(tx, work.operation.pk, work.seq, key, source, error)


def _media_type(asset: Asset, download: Download, outcome: Outcome) -> str | None:
    if outcome is Outcome.CONVERTED:
        return COG_MEDIA_TYPE
    declared = asset.get("type")
    if declared:
        return declared
    answered = (download.content_type or "").partition(";")[0].strip()
    return answered if answered not in {"", "application/octet-stream", "binary/octet-stream"} else None


def _named(error: IngestionError, item_id: str, asset_key: str) -> IngestionError:
    """The error with item and asset in front; one that is about a sidecar of the asset names that already."""
    subject = f"Item '{item_id}', asset '"
    if error.message.startswith(subject):
        return error
    return type(error)(
        f"{subject}{asset_key}': " + error.message.removeprefix(f"asset '{asset_key}': "), target=error.target
    )
