"""Changing an item: what a replacement or a merge patch makes of it, and which of its bytes stay.

A change is worked out against the item as the transaction sees it, once when it begins and again when it is published:
what others published in between is either kept (merge patch) or replaced (PUT), and never half of each. An asset whose
href names a blob of this very item stays in place; every other asset is fetched.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Self

import orjson

from graticule.catalog import Catalog, OnConflict, check_searchable, prepare_item
from graticule.database import Connection
from graticule.errors import (
    InvalidAssetHref,
    InvalidInputData,
    NoRecordsToPatch,
    NoRecordsToUpdate,
    PatchValidation,
)
from graticule.ingestion.collection_rules import CollectionRules
from graticule.ingestion.describing import OF_THE_FILE
from graticule.ingestion.manifests import made_here
from graticule.ingestion.publishing import described
from graticule.ingestion.remarks import Remark
from graticule.ingestion.validation import check_contents, check_shape
from graticule.settings import Settings
from graticule.stac.documents import Item, JsonObject
from graticule.storage import ManagedHrefs, ledger
from graticule.workflows.asset_entries import StoredAsset

#: Members that a catalog sets when it first takes an item; a replacement without them does not take them away.
_LASTING: Final = ("msft:_created",)
#: Asset key → (stored href, what was stored).
Stored = Mapping[str, tuple[str, StoredAsset]]


@dataclass(frozen=True, slots=True)
class Change:
    """What a client asked for: hrefs of this catalog folded into their stored form."""

    collection_id: str
    item_id: str
    #: Is the body a merge patch (RFC 7396), or the whole item?
    is_patch: bool
    body: JsonObject

    @classmethod
    def replacement(cls, collection_id: str, item_id: str, document: Any) -> Self:
        """Of a PUT.

        Raises:
            InvalidInputData: the document is no Item, or of another id or collection.
        """
        item = check_shape(document, collection_id)
        if item["id"] != item_id:
            raise InvalidInputData(f"The Item's id is '{item['id']}' but the URL names '{item_id}'.", target="id")
        return cls(collection_id, item_id, is_patch=False, body=document)

    @classmethod
    def patch(cls, collection_id: str, item_id: str, document: Any) -> Self:
        """Of a PATCH.

        Raises:
            PatchValidation: the document is no merge patch, or would change what identifies the item.
        """
        if not isinstance(document, dict):
            raise PatchValidation(
                "The body must be a JSON object, a merge patch (RFC 7396): a JSON Patch is not taken."
            )
        fixed = {"type": "Feature", "id": item_id, "collection": collection_id}
        for name, value in fixed.items():
            if name in document and document[name] != value:
                raise PatchValidation(
                    f"A patch of this item cannot make its '{name}' other than '{value}'.", target=name
                )
        for key, asset in _patched_assets(document).items():
            if not isinstance(asset.get("href", ""), str):
                message = f"The href of asset '{key[:80]}' must be text: a null for the asset itself removes it."
                raise PatchValidation(message, target=f"assets.{key}.href")
        return cls(collection_id, item_id, is_patch=True, body=document)

    @classmethod
    def read(cls, text: bytes) -> Self:
        """As `bytes` wrote it."""
        return cls(**orjson.loads(text))

    def __bytes__(self) -> bytes:
        """For the journal."""
        names = ("collection_id", "item_id", "is_patch", "body")
        return orjson.dumps({name: getattr(self, name) for name in names})

    @property
    def assets(self) -> dict[str, JsonObject]:
        """The assets that the body names, with or without an href."""
        return _patched_assets(self.body)


@dataclass(frozen=True, slots=True)
class Draft:
    """The item as a change would leave it, before its new assets are there."""

    item: Item
    #: Asset key → what stays in place; the other assets have to be fetched.
    kept: Stored
    #: The assets as they are now.
    current: Mapping[str, JsonObject]
    #: What is to be told of it.
    remarks: Sequence[Remark] = ()

    @property
    def is_complete(self) -> bool:
        """Is there nothing to fetch?"""
        return self.kept.keys() >= self.item.get("assets", {}).keys()


class Updater:
    """Works changes out and publishes them."""

    def __init__(self, *, settings: Settings, catalog: Catalog, hrefs: ManagedHrefs) -> None:
        """Take the parts this work needs."""
        self._settings = settings
        self._catalog = catalog
        self._hrefs = hrefs

    def draft(self, tx: Connection, change: Change) -> Draft:
        """What the change makes of the item as it is now.

        Raises:
            NoRecordsToUpdate, NoRecordsToPatch: there is no such item.
            PatchValidation: what the patch leaves is no Item.
            ValidityError: it is none that the catalog takes.
        """
        current = self._catalog.item_in(tx, change.collection_id, change.item_id)
        if current is None:
            missing = NoRecordsToPatch if change.is_patch else NoRecordsToUpdate
            raise missing(f"Item '{change.item_id}' does not exist in collection '{change.collection_id}'.")
        before = orjson.loads(current)
        item = _changed(change, before)
        remarks = check_contents(item, self._settings)
        check_searchable(item)
        kept = {
            key: stored
            for key, asset in item.get("assets", {}).items()
            if (stored := self._in_place(tx, change, key, asset["href"])) is not None
        }
        return Draft(item, kept, before.get("assets") or {}, remarks)

    def publish(
        self, tx: Connection, change: Change, draft: Draft, operation_id: str, fetched: Stored
    ) -> tuple[int, list[Remark]]:
        """Let readers see the changed item, and bury what it names no more.

        Answers how many blobs that were, and what is to be told of the item.

        Args:
            tx: the transaction that the draft was made in.
            change: what was asked for.
            draft: the item, as `draft` worked it out.
            operation_id: whose staged blobs go live.
            fetched: assets that were brought in for this change.

        Raises:
            InvalidAssetHref: an asset that was to stay has been replaced or deleted meanwhile. Nothing is written.
            StacValidationFailed: new rasters are not as the item says, and that is not allowed. Nothing is written.
        """
        keys = draft.item.get("assets", {}).keys()
        # A manifest made for a new file takes the place of the one that the item had.
        made = made_here(fetched)
        hrefs = {**fetched, **{key: stored for key, stored in draft.kept.items() if key not in made}}
        for key in keys - hrefs.keys():
            raise InvalidAssetHref(
                f"Item '{change.item_id}', asset '{key}': its file was replaced or deleted by another request while"
                " this one was at work: read the item again, and repeat the change."
            )
        record = self._catalog.collection_in(tx, change.collection_id)
        rules = CollectionRules() if record is None else CollectionRules.of(record.doc)
        fills_in = self._settings.fill_in if rules.fills_in is None else rules.fills_in
        document, remarks = described(
            _without_the_old_files(draft, fetched) if fills_in else draft.item,
            change.collection_id,
            hrefs,
            strictness=self._settings.validate_rasters,
            fills_in=fills_in,
        )
        self._catalog.put_items(tx, change.collection_id, [prepare_item(document)], on_conflict=OnConflict.REPLACE)
        ledger.publish(tx, operation_id, change.item_id)
        named = {(hrefs[key][1].container, hrefs[key][1].key) for key in {*keys, *made}}
        return ledger.bury_item(tx, change.collection_id, change.item_id, keep=named), [*draft.remarks, *remarks]

    def _in_place(self, tx: Connection, change: Change, key: str, href: str) -> tuple[str, StoredAsset] | None:
        """The blob that an href names, if it is one of this item's own."""
        name = self._hrefs.locate(href, ())
        blob = None if name is None else ledger.find(tx, *name)
        if blob is None or (blob.collection_id, blob.item_id) != (change.collection_id, change.item_id):
            return None
        stored = StoredAsset(
            asset_key=key,
            outcome="kept",
            container=blob.container,
            key=blob.key,
            media_type=blob.media_type,
            bytes_in=0,
            bytes_out=blob.size or 0,
            sha256=blob.sha256 or "",
        )
        return self._hrefs.stored(blob.container, blob.key), stored


def merge_patch(target: Any, patch: Any) -> Any:
    """RFC 7396 section 2: members of objects are merged, null removes, anything else replaces."""
    if not isinstance(patch, dict):
        return patch
    merged = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = merge_patch(merged.get(name), value)
    return merged


def _changed(change: Change, current: JsonObject) -> Item:
    item = merge_patch(current, change.body) if change.is_patch else {**change.body}
    item |= {name: current[name] for name in _LASTING if name in current}
    if change.is_patch:
        # A merge patch cannot say null. Where an Item must have a member, taking it away is how a client writes that.
        item.setdefault("geometry", None)
        if isinstance(properties := item.get("properties"), dict) and "start_datetime" in properties:
            properties.setdefault("datetime", None)
    try:
        return check_shape(item, change.collection_id)
    except InvalidInputData as exc:  # a replacement was checked when it was sent
        raise PatchValidation(f"The patch does not leave an Item. {exc.message}", target=exc.target) from exc


def _without_the_old_files(draft: Draft, fetched: Stored) -> Item:
    """The item without what an asset says of the file that it had, where a new file has taken its place."""
    assets: dict[str, Any] = {**draft.item.get("assets", {})}
    for key in fetched.keys() & assets.keys() & draft.current.keys():
        old = draft.current[key]
        assets[key] = {
            name: value
            for name, value in assets[key].items()
            if not (name in OF_THE_FILE and name in old and old[name] == value)
        }
    return {**draft.item, "assets": assets}


def _patched_assets(document: JsonObject) -> dict[str, JsonObject]:
    assets = document.get("assets")
    if not isinstance(assets, dict):
        return {}
    return {key: asset for key, asset in assets.items() if isinstance(asset, dict)}
