"""Assets of a collection itself, its thumbnail among them: uploaded by clients, not fetched (api.md 2.3).

The order that keeps bytes and documents together, wherever the process dies: the ledger's row, the bytes, then one
transaction in which the document names the new blob, the blob becomes live and the one it replaces dies. What
a killed process left behind is given up by `CollectionAssets.recover` when the next one starts.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path, PureWindowsPath
from typing import Final

import orjson

from graticule import crashpoints
from graticule.catalog import Catalog, CollectionRecord
from graticule.database import Connection, Database
from graticule.errors import Conflict, InvalidRequestBody, NotFound
from graticule.ingestion.burying import bury_unnamed, defer_sweep
from graticule.ingestion.uploads import Upload, abandoned
from graticule.ingestion.validation import MAX_ASSET_KEY
from graticule.stac.datetimes import now_us, rfc3339
from graticule.stac.documents import Asset, JsonObject
from graticule.stac.links import stored_form
from graticule.storage import AssetStore, BlobRecord, ManagedHrefs, layout, ledger
from graticule.workflows import Engine

#: The asset key that ``GET …/thumbnail`` answers.
THUMBNAIL: Final = "thumbnail"

_AFTER_PLAN = crashpoints.crash_point("collection_assets.plan.after")
_AFTER_STORE = crashpoints.crash_point("collection_assets.store.after")


class CollectionAssets:
    """Adds, replaces and removes the assets of collections.

    Every method raises `NotFound` where there is no such collection, or it is being deleted.
    """

    def __init__(
        self,
        *,
        database: Database,
        catalog: Catalog,
        engine: Engine,
        store: AssetStore,
        hrefs: ManagedHrefs,
        folder: Path,
    ) -> None:
        """Take the parts this work needs, and the folder of files that clients are sending."""
        self.folder = folder
        self._database = database
        self._catalog = catalog
        self._engine = engine
        self._store = store
        self._hrefs = hrefs

    async def add(self, collection_id: str, data: JsonObject, upload: Upload) -> CollectionRecord:
        """Add an asset under a key of its own; answers the collection as it is now.

        Raises:
            InvalidRequestBody: the description names no key, or has a member of the wrong kind; the file is empty.
            Conflict: the collection has an asset of this key.
        """
        key = check_asset(data, None)

        def admit(assets: JsonObject) -> None:
            if key in assets:
                raise Conflict(
                    f"Collection '{collection_id}' has an asset '{key}': replace it with PUT, or use another key.",
                    target="key",
                )

        return await self._put(collection_id, key, data, upload, admit)

    async def replace(self, collection_id: str, key: str, data: JsonObject, upload: Upload) -> CollectionRecord:
        """Replace an asset: file and description; answers the collection as it is now.

        Raises:
            InvalidRequestBody: the description names another key, or has a member of the wrong kind; the file is empty.
            NotFound: the collection has no asset of this key.
        """
        check_asset(data, key)
        return await self._put(collection_id, key, data, upload, partial(_require_asset, collection_id, key))

    async def remove(self, collection_id: str, key: str) -> CollectionRecord:
        """Remove an asset; answers the collection as it is now.

        Raises:
            NotFound: the collection has no asset of this key.
        """

        def remove(tx: Connection) -> CollectionRecord:
            document = orjson.loads(self._existing(tx, collection_id).doc)
            assets = document.get("assets") or {}
            _require_asset(collection_id, key, assets)
            del assets[key]
            if not assets:
                document.pop("assets", None)
            return self._rewrite(tx, collection_id, document)

        return await self._database.write(remove)

    async def check(self, collection_id: str, key: str | None = None) -> None:
        """Refuse what cannot succeed before a large body is read.

        Raises:
            NotFound: there is no such collection, or no asset of this key in it.
        """
        record = await self._catalog.collection(collection_id)
        if key is not None:
            _require_asset(collection_id, key, orjson.loads(record.doc).get("assets") or {})

    async def thumbnail(self, collection_id: str) -> tuple[BlobRecord | None, str]:
        """The blob of the asset keyed ``thumbnail`` (None: it lies elsewhere), and its href as it is stored.

        Raises:
            NotFound: the collection has none.
        """

        def find(tx: Connection) -> tuple[BlobRecord | None, str]:
            document = orjson.loads(self._existing(tx, collection_id).doc)
            href = (document.get("assets") or {}).get(THUMBNAIL, {}).get("href")
            if not href:
                raise NotFound(f"Collection '{collection_id}' has no asset '{THUMBNAIL}'.", target=THUMBNAIL)
            name = self._hrefs.locate(href, ())
            if name is None:
                return None, href
            blob = ledger.find(tx, *name)
            if blob is None:
                raise NotFound(
                    f"The asset '{THUMBNAIL}' of collection '{collection_id}' has no bytes.", target=THUMBNAIL
                )
            return blob, href

        return await self._database.read(find)

    async def recover(self) -> None:
        """Give up the uploads of processes that were killed, at the start of one."""
        for path in abandoned(self.folder):
            await self._database.write(partial(self._give_up, upload_id=path.name))

    # --- inside

    async def _put(
        self, collection_id: str, key: str, data: JsonObject, upload: Upload, admit: Callable[[JsonObject], None]
    ) -> CollectionRecord:
        if upload.size == 0:
            raise InvalidRequestBody("The file is empty.", target="file")
        media_type = data.get("type") or upload.media_type
        name = layout.collection_asset_key(upload.id, key, _file_name(key, upload, media_type))

        def plan(tx: Connection) -> str:
            record = self._existing(tx, collection_id)
            admit(orjson.loads(record.doc).get("assets") or {})
            ledger.plan(
                tx,
                container=record.container,
                key=name,
                collection_id=collection_id,
                item_id=None,
                operation_id=upload.id,
                asset_key=key,
                media_type=media_type,
            )
            return record.container

        container = await self._database.write(plan)
        crashpoints.reach(_AFTER_PLAN)
        try:
            blob = await self._store.put_file(container, name, upload.path, media_type, upload.sha256)
            crashpoints.reach(_AFTER_STORE)

            def publish(tx: Connection) -> CollectionRecord:
                document = orjson.loads(self._existing(tx, collection_id).doc)
                assets = document.setdefault("assets", {})
                admit(assets)  # once more: another request may have been faster
                ledger.stored(tx, container, name, size=blob.size, sha256=blob.sha256, etag=blob.etag)
                ledger.publish(tx, upload.id, None)
                assets[key] = _asset(data, self._hrefs.stored(container, name), media_type)
                return self._rewrite(tx, collection_id, document)

            return await self._database.write(publish)
        except BaseException:
            await self._database.write(partial(self._give_up, upload_id=upload.id))
            raise

    def _give_up(self, tx: Connection, upload_id: str) -> None:
        ledger.bury_operation(tx, upload_id)
        defer_sweep(self._engine, tx)

    def _existing(self, tx: Connection, collection_id: str) -> CollectionRecord:
        record = self._catalog.collection_in(tx, collection_id)
        if record is None or record.deleting:
            raise NotFound(f"Collection '{collection_id}' does not exist.", target="collectionId")
        return record

    def _rewrite(self, tx: Connection, collection_id: str, document: JsonObject) -> CollectionRecord:
        document["msft:_updated"] = rfc3339(now_us())
        self._catalog.replace_collection(tx, collection_id, orjson.dumps(stored_form(document)))
        record = self._existing(tx, collection_id)
        if bury_unnamed(tx, self._hrefs, record):
            defer_sweep(self._engine, tx)
        return record


def check_asset(data: JsonObject, key: str | None) -> str:
    """The key that a description names; with a `key` it may leave it out, but not say otherwise.

    Raises:
        InvalidRequestBody: no key that can stand in a URL, or a member of the wrong kind; the message names it.
    """
    named = data.get("key") or key
    if not isinstance(named, str) or not named:
        raise InvalidRequestBody("The asset's description has no 'key'.", target="data.key")
    if key is not None and named != key:
        raise InvalidRequestBody(f"The asset's 'key' is '{named[:80]}' but the URL names '{key}'.", target="data.key")
    if len(named) > MAX_ASSET_KEY or "/" in named or not named.isprintable() or named in {".", ".."}:
        raise InvalidRequestBody(
            f"The asset's 'key' must have at most {MAX_ASSET_KEY} characters and stand in one segment of a URL:"
            " use letters, digits and -_.,+()",
            target="data.key",
        )
    for member in ("type", "title", "description"):
        if not isinstance(data.get(member), str | None):
            raise InvalidRequestBody(f"The asset's '{member}' must be text.", target=f"data.{member}")
    roles = data.get("roles")
    if roles is not None and not (isinstance(roles, list) and all(isinstance(role, str) for role in roles)):
        raise InvalidRequestBody("The asset's 'roles' must be a list of texts.", target="data.roles")
    return named


# --- inside ----------------------------------------------------------------------------------------------------------


def _asset(data: JsonObject, href: str, media_type: str | None) -> Asset:
    """The asset object: what the client said of it, with the href and media type of what was stored."""
    said = {name: value for name, value in data.items() if name not in {"key", "href", "type"} and value is not None}
    kind = {} if media_type is None else {"type": media_type}
    return {"href": href, **kind, **said}  # type: ignore[typeddict-item]  # with members of the client's own


def _file_name(key: str, upload: Upload, media_type: str | None) -> str:
    """What the stored file is called: as the client calls it, with its extension even where the name has to change."""
    sent = PureWindowsPath(upload.file_name or "").name  # takes both kinds of slash for one
    if not sent:
        return key + layout.extension_for(media_type, "")
    extension = layout.extension_for(None, sent)
    return layout.segment(sent[: len(sent) - len(extension)]) + extension if extension else sent


def _require_asset(collection_id: str, key: str, assets: JsonObject) -> None:
    if key not in assets:
        raise NotFound(f"Collection '{collection_id}' has no asset '{key}'.", target="assetId")
