"""An item's document as the catalog keeps it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from graticule.errors import StacValidationFailed
from graticule.ingestion.conversion.models import COG_MEDIA_TYPE
from graticule.ingestion.describing import compare, compare_files, facts_by_asset, fill_in
from graticule.ingestion.manifests import add_manifests
from graticule.ingestion.remarks import Remark
from graticule.settings import Strictness
from graticule.stac.datetimes import now_us, rfc3339
from graticule.stac.documents import Item, new_etag
from graticule.stac.links import stored_form
from graticule.workflows.asset_entries import StoredAsset

#: Mistakes that a message names.
_MOST_NAMED = 3


def described(
    item: Item,
    collection_id: str,
    stored: Mapping[str, tuple[str, StoredAsset]],
    *,
    strictness: Strictness,
    fills_in: bool,
) -> tuple[Item, list[Remark]]:
    """As `item_document`, once the item was held against its rasters; and what is to be told of it.

    Args:
        item: with its assets as they were sent.
        collection_id: of its collection.
        stored: asset key → stored href and asset.
        strictness: what becomes of an item that describes its rasters wrongly.
        fills_in: are members added that it lacks?

    Raises:
        StacValidationFailed: it describes them wrongly, and `strictness` is ``fail``.
    """
    facts = facts_by_asset(stored)
    remarks = [] if strictness == "off" else compare(item, facts)
    if remarks and strictness == "fail":
        told = "; ".join(str(remark) for remark in remarks[:_MOST_NAMED])
        raise StacValidationFailed(
            f"Item '{item['id']}' does not describe its rasters as they are. {told}. Correct the members, or leave them"
            " out.",
            target=remarks[0].path,
        )
    if strictness != "off":
        remarks += compare_files(item, stored)
    return item_document(fill_in(item, stored, facts) if fills_in else item, collection_id, stored), remarks


def item_document(item: Item, collection_id: str, hrefs: Mapping[str, tuple[str, StoredAsset]]) -> Item:
    """The item as it is published: managed hrefs (asset key → stored href and asset), media types, server members.

    ``_msft:ts`` and ``_msft:etag`` are the ones of api.md 2.6.
    """
    document: dict[str, Any] = {**item, "collection": collection_id}
    document.setdefault("stac_version", "1.0.0")
    assets: dict[str, Any] = {}
    for key, asset in item.get("assets", {}).items():
        href, stored = hrefs[key]
        assets[key] = {**asset, "href": href}
        if stored.outcome == "converted":
            assets[key]["type"] = COG_MEDIA_TYPE
        elif "type" not in asset and stored.media_type is not None:
            assets[key]["type"] = stored.media_type
    document["assets"] = assets
    add_manifests(document, hrefs)
    for key, (href, stored) in hrefs.items():
        if key not in assets:  # the source file of a converted asset, kept beside it (api.md 3.2)
            kind = {} if stored.media_type is None else {"type": stored.media_type}
            assets[key] = {"href": href, **kind, "roles": ["source"]}
    document["_msft:ts"] = rfc3339(now_us())
    document["_msft:etag"] = new_etag()
    return stored_form(document)  # type: ignore[return-value]  # an Item with members of the server's own
