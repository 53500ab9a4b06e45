"""Whose pixels a path means (api.md 6.1): its parameters say which kind of target, and which one."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Final

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
    """The items that a path names, of which a query may choose some. Raises NotFound."""
    return await call.services.tiler.collection(call.path["collectionId"], call.lists("ids", "bbox", "sortby"))


def prefix_of(call: Call) -> tuple[str, ...]:
    """The segments of the path up to the target, for links that stay in the family of paths that was called."""
    path = call.request.url.path.removeprefix(call.request.scope.get("root_path", ""))
    root = ("data",) if path.startswith("/data/collections/") else ("data", "mosaic")
    item = ("items", call.path["itemId"]) if "itemId" in call.path else ()
    return (*root, "collections", call.path["collectionId"], *item)


#: By the path parameter that tells the kind; the first that a path has decides.
_OPENERS: Final[Mapping[str, Callable[[Call], Awaitable[Target]]]] = {
    "itemId": item_of,
    "collectionId": mosaic_of,
}
