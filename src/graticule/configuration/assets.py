"""Which assets the items of a collection have, and how many bands each, from what documents say of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

import orjson

from graticule.catalog import Catalog
from graticule.stac.documents import JsonObject
from graticule.stac.search import parse_search

#: Newest items that are looked at: enough to meet every make of them in most collections.
_SAMPLE: Final = 50
#: Where documents list bands: the raster and eo extensions of STAC 1.0, and the common field of 1.1.
_BANDS: Final = ("bands", "raster:bands", "eo:bands")


async def known_assets(catalog: Catalog, collection_id: str) -> dict[str, int | None]:
    """Asset key → number of bands, None where no document says; of `item_assets` and a sample of items.

    Raises:
        NotFound: there is no such collection.
    """
    record = await catalog.collection(collection_id)
    declared = orjson.loads(record.doc).get("item_assets")
    page = await catalog.search(parse_search({"collections": [collection_id], "limit": _SAMPLE}))
    found: dict[str, int | None] = {}
    for assets in (declared, *(orjson.loads(item).get("assets") for item in page.items)):
        for key, count in _counted(assets):
            found[key] = max((found.get(key) or 0, count or 0)) or None
    return found


def _counted(assets: Any) -> Iterable[tuple[str, int | None]]:
    if not isinstance(assets, Mapping):
        return
    for key, asset in assets.items():
        if isinstance(asset, Mapping):
            yield key, _band_count(dict(asset))


def _band_count(asset: JsonObject) -> int | None:
    lists = [asset[name] for name in _BANDS if isinstance(asset.get(name), list)]
    return max((len(bands) for bands in lists), default=0) or None
