"""Owns: what the prefix of a tiler URL names (api.md 6.1), as one interface: `Target`.

A target says which assets may be named and which items lie where; it reads documents, never pixels. The item is here;
a collection's mosaic and a registered search are further classes with the same interface.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol
from urllib.parse import unquote

import orjson

from graticule.catalog import Catalog
from graticule.errors import InternalError, InvalidParameter, Unavailable
from graticule.stac.documents import JsonObject
from graticule.storage import AssetStore, ManagedHrefs
from graticule.tiler.jobs import Bounds, Layer, Source
from graticule.tiler.media import reader_of
from graticule.tiler.parameters import MosaicLimits
from graticule.tiler.process import Read
from graticule.tiler.remote import FOLDER, Part

WORLD: Final[Bounds] = (-180.0, -90.0, 180.0, 90.0)


class Target(Protocol):
    """Whose pixels are meant."""

    #: For people, in TileJSON and WMTS.
    title: str
    #: Are the pixels of several items merged?
    is_mosaic: bool

    async def keys(self) -> tuple[str, ...]:
        """Keys of the assets that a request may name, in the items' order."""
        ...

    async def bounds(self) -> Bounds:
        """Where the data lies, degrees; west is greater than east where it crosses the antimeridian."""
        ...

    async def layers(
        self, assets: Sequence[str], around: Bounds | None = None, limits: MosaicLimits | None = None
    ) -> tuple[Layer, ...]:
        """The items to read, the topmost first, with the files of these assets.

        Args:
            assets: keys; an item that lacks one is given without it.
            around: degrees; items that do not touch this may be left out. None: all.
            limits: of a mosaic.
        """
        ...


class Files:
    """Finds the file of an asset, and reads it for render processes where it is none of this host."""

    def __init__(self, store: AssetStore, hrefs: ManagedHrefs) -> None:
        """Take the storage and how its hrefs are written."""
        self._store = store
        self._hrefs = hrefs
        #: Reads parts of files by `Source.path`, as `process.Read`; None where they are local.
        self.read: Read | None = None if store.is_local else self._read

    def readable(self, item: JsonObject) -> dict[str, str]:
        """The assets of an item that can be read as pixels: key → reader. Only what this catalog stores can."""
        return {key: reader for key, asset in _assets(item).items() if (reader := self._reader(asset)) is not None}

    def source(self, item: JsonObject, key: str) -> Source | None:
        """The file of one asset; None where the item has none that can be read.

        Raises:
            InvalidParameter: the asset lies elsewhere; the tiler opens no foreign address.
        """
        asset = _assets(item).get(key)
        if asset is None:
            return None
        name = self._hrefs.locate(str(asset.get("href", "")), ())
        if name is None:
            raise InvalidParameter(
                f"The asset {key[:80]!r} of item {str(item.get('id'))[:80]!r} is not stored in this catalog, and the"
                " tiler opens no other address: ingest the item, then its assets are.",
                target="assets",
            )
        reader = self._reader(asset)
        path = self._store.path(*name)
        if reader is None:
            return None
        return Source(f"{FOLDER}/{name.container}/{name.key}" if path is None else str(path), reader)

    async def _read(self, path: str, start: int, end: int) -> Part:
        container, _, key = path.removeprefix(f"{FOLDER}/").partition("/")
        try:
            return Part(*await self._store.part(container, key, start, end))
        except InternalError as exc:
            raise Unavailable(f"{exc.message} Try again in a while.") from None

    def _reader(self, asset: Mapping[str, Any]) -> str | None:
        name = self._hrefs.locate(str(asset.get("href", "")), ())
        if name is None:
            return None
        media_type, roles = asset.get("type"), asset.get("roles")
        return reader_of(
            media_type if isinstance(media_type, str) else None,
            unquote(name.key),
            tuple(role for role in roles if isinstance(role, str)) if isinstance(roles, list) else (),
        )


class ItemTarget:
    """One item."""

    is_mosaic = False

    def __init__(self, item: JsonObject, files: Files) -> None:
        """Take the item's document; `open` finds it."""
        self.item = item
        self.title = str(item.get("id"))
        self._files = files

    @classmethod
    async def open(cls, catalog: Catalog, files: Files, collection_id: str, item_id: str) -> ItemTarget:
        """Find an item.

        Raises:
            NotFound: there is none.
        """
        return cls(orjson.loads(await catalog.item(collection_id, item_id)), files)

    async def keys(self) -> tuple[str, ...]:
        """As `Target.keys`."""
        return asset_keys(self.item, self._files)

    def readable(self) -> tuple[str, ...]:
        """Keys of the assets whose pixels can be read."""
        return tuple(self._files.readable(self.item))

    async def bounds(self) -> Bounds:
        """As `Target.bounds`."""
        return item_bounds(self.item)

    async def layers(
        self, assets: Sequence[str], around: Bounds | None = None, limits: MosaicLimits | None = None
    ) -> tuple[Layer, ...]:
        """As `Target.layers`: the item itself, wherever it lies."""
        del around, limits
        return (layer_of(self.item, assets, self._files),)


def asset_keys(item: JsonObject, files: Files) -> tuple[str, ...]:
    """Keys of an item's assets that a request may name."""
    # One that lies elsewhere may be named too: the answer then says why it is not drawn.
    foreign = [key for key, asset in _assets(item).items() if _is_foreign_raster(asset)]
    return tuple(dict.fromkeys((*files.readable(item), *foreign)))


def layer_of(item: JsonObject, assets: Sequence[str], files: Files) -> Layer:
    """An item as a layer, with the files of these assets.

    Raises:
        InvalidParameter: one of them is not stored here.
    """
    sources = ((key, files.source(item, key)) for key in dict.fromkeys(assets))
    return Layer(
        collection=str(item.get("collection")),
        item=str(item.get("id")),
        sources=tuple((key, source) for key, source in sources if source is not None),
    )


def item_bounds(item: JsonObject) -> Bounds:
    """An item's ``bbox`` in two dimensions, degrees; the world where it has none."""
    box = item.get("bbox")
    if not isinstance(box, list) or len(box) not in {4, 6}:
        return WORLD
    half = len(box) // 2
    west, south, east, north = (float(value) for value in (box[0], box[1], box[half], box[half + 1]))
    return west, south, east, north


def _assets(item: JsonObject) -> Mapping[str, Mapping[str, Any]]:
    assets = item.get("assets")
    return assets if isinstance(assets, dict) else {}


def _is_foreign_raster(asset: Mapping[str, Any]) -> bool:
    media_type = asset.get("type")
    return isinstance(media_type, str) and media_type.startswith("image/tiff")
