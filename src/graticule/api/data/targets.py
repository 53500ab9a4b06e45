"""Whose pixels a path means (api.md 6.1): its parameters say which kind of target, and which one."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from starlette.requests import Request

from graticule.api.routing import Call
from graticule.tiler import Target
from graticule.tiler.searches import SearchTarget
from graticule.tiler.targets import ItemTarget


async def target_of(call: Call) -> Target:
    """The target that a path names. Raises NotFound."""
    name = next(name for name in _OPENERS if name in call.path)
    return await _OPENERS[name](call)


async def item_of(call: Call) -> ItemTarget:
    """The item that a path names. Raises NotFound."""
    return await call.services.tiler.item(call.path["collectionId"], call.path["itemId"])


async def mosaic_of(call: Call) -> SearchTarget:
    """The items that a path names: a registered search, or a collection, of which a query may choose some.

    Raises:
        NotFound: there is no such search, collection, or mosaic of it.
    """
    if "searchId" in call.path:
        return await call.services.tiler.search(call.path["searchId"])
    filters = call.lists("ids", "bbox", "sortby")
    return await call.services.tiler.collection(call.path["collectionId"], filters, call.query.get("mosaic") or None)


def prefix_of(call: Call) -> tuple[str, ...]:
    """The segments of the path up to the target, for links that stay in the family of paths that was called."""
    return path_prefix(call.request)


def path_prefix(request: Request) -> tuple[str, ...]:
    """As `prefix_of`."""
    path, given = request.url.path.removeprefix(request.scope.get("root_path", "")), request.path_params
    if "searchId" in given:
        is_stable = path.startswith("/data/mosaic/searches/")
        return ("data", "mosaic", *(("searches",) if is_stable else ()), given["searchId"])
    root = ("data",) if path.startswith("/data/collections/") else ("data", "mosaic")
    item = ("items", given["itemId"]) if "itemId" in given else ()
    return (*root, "collections", given["collectionId"], *item)


#: By the path parameter that tells the kind; the first that a path has decides.
_OPENERS: Final[Mapping[str, Callable[[Call], Awaitable[Target]]]] = {
    "itemId": item_of,
    "searchId": mosaic_of,
    "collectionId": mosaic_of,
}
