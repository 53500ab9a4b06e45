"""An item's document as the catalog keeps it."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any

from graticule.ingestion.conversion.models import COG_MEDIA_TYPE
from graticule.ingestion.manifests import add_manifests
from graticule.stac.datetimes import now_us, rfc3339
from graticule.stac.documents import Item
from graticule.stac.links import stored_form
from graticule.workflows.journal import StoredAsset


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
    document["_msft:etag"] = str(uuid.uuid4())
    return stored_form(document)  # type: ignore[return-value]  # an Item with members of the server's own
