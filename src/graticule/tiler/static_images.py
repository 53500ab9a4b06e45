"""Owns: pictures that are asked for once and drawn by their id: what was asked is kept, pixels are not (api.md 6.5)."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import parse_qsl

import orjson

from graticule.database import Connection, Database
from graticule.errors import InvalidRequestBody, NotFound
from graticule.stac.cql2 import parse_filter
from graticule.stac.datetimes import now_us
from graticule.stac.documents import JsonObject
from graticule.stac.search import parse_search
from graticule.tiler.jobs import Bounds

_ID: Final = re.compile(r"[0-9a-f]{32}")
_MAX_SIDE: Final = 4096
_MAX_ZOOM: Final = 24
#: Half the world's side in web mercator, metres.
_HALF_WORLD: Final = math.pi * 6378137.0
_TILE_SIZE: Final = 256
#: Where the square of web mercator ends, degrees.
_MAX_LATITUDE: Final = 85.0511287


@dataclass(frozen=True, slots=True)
class StaticImage:
    """A picture: which items, how they are drawn, where and how large."""

    id: str
    collection: str
    search: JsonObject  #: members of a search that choose the items
    pairs: tuple[tuple[str, str], ...]  #: render parameters
    columns: int
    rows: int
    zoom: float | None
    geometry: JsonObject | None

    def box(self, extent: Bounds) -> Bounds:
        """Where it lies in EPSG:3857, in the shape that columns and rows give it.

        It is the least such box around the geometry; with a zoom and no geometry, the middle of `extent` (degrees) at
        that zoom; with neither all of `extent`.
        """
        west, south, east, north = extent if self.geometry is None else _bounds(self.geometry)
        left, bottom = _projected(west, south)
        right, top = _projected(east + 360.0 if east < west else east, north)
        across, down = (left + right) / 2, (bottom + top) / 2
        if self.geometry is None and self.zoom is not None:
            resolution = 2 * _HALF_WORLD / _TILE_SIZE / 2**self.zoom
        else:
            # At least a pixel of zoom 24, where the geometry is a point.
            least = 2 * _HALF_WORLD / _TILE_SIZE / 2**_MAX_ZOOM
            zoomed = least if self.zoom is None else 2 * _HALF_WORLD / _TILE_SIZE / 2**self.zoom
            sides = (right - left) / self.columns, (top - bottom) / self.rows
            resolution = max(*sides, least) if max(sides) > 0 else zoomed
        half = self.columns * resolution / 2, self.rows * resolution / 2
        return across - half[0], down - half[1], across + half[0], down + half[1]


class StaticImages:
    """The static images of a catalog."""

    def __init__(self, database: Database) -> None:
        """Take the database."""
        self._database = database

    async def add(self, collection_id: str, body: Mapping[str, Any]) -> StaticImage:
        """Keep what is asked for; the same again is the same picture.

        Raises:
            InvalidRequestBody, InvalidParameter: name the member that cannot be used.
        """
        document = {name: body[name] for name in _MEMBERS if body.get(name) is not None}
        digest = hashlib.sha256(orjson.dumps([collection_id, document], option=orjson.OPT_SORT_KEYS)).hexdigest()[:32]
        image = _read(digest, collection_id, document)
        row = {"id": digest, "collection": collection_id, "doc": orjson.dumps(document), "now": now_us()}
        await self._database.write(lambda tx: tx.execute(_KEEP, row))
        return image

    async def get(self, collection_id: str, image_id: str) -> StaticImage:
        """A picture that was asked for.

        Raises:
            NotFound: there is none of this id in the collection.
        """
        doc = None
        if _ID.fullmatch(image_id):
            key = {"id": image_id, "collection": collection_id}
            doc = await self._database.read(lambda tx: tx.value(_GET, key))
        if doc is None:
            message = f"There is no static image {image_id[:40]!r} in collection '{collection_id}': ask for it by POST."
            raise NotFound(message, target="id")
        return _read(image_id, collection_id, orjson.loads(doc))


def forget_images(tx: Connection, collection_id: str) -> None:
    """Remove those of a collection."""
    tx.execute("DELETE FROM static_images WHERE collection_id = :collection", {"collection": collection_id})


# --- inside ----------------------------------------------------------------------------------------------------------

_MEMBERS: Final = ("cql", "zoom", "geometry", "render_params", "cols", "rows")
_KEEP: Final = """
    INSERT INTO static_images(id, collection_id, doc, created) VALUES (:id, :collection, :doc, :now)
    ON CONFLICT (id) DO NOTHING"""
_GET: Final = "SELECT doc FROM static_images WHERE id = :id AND collection_id = :collection"


def _read(image_id: str, collection_id: str, document: JsonObject) -> StaticImage:
    cql, text = document.get("cql"), document.get("render_params")
    if not isinstance(cql, dict):
        raise InvalidRequestBody("cql: give a CQL2-JSON expression; {} is every item.", target="cql")
    if not isinstance(text, str):
        raise InvalidRequestBody("render_params: give a query of render parameters.", target="render_params")
    pairs = tuple(parse_qsl(text.lstrip("?&"), keep_blank_values=True))
    zoom = document.get("zoom")
    if zoom is not None and (isinstance(zoom, bool) or not isinstance(zoom, int | float) or not 0 <= zoom <= _MAX_ZOOM):
        raise InvalidRequestBody(f"zoom: give 0 to {_MAX_ZOOM}.", target="zoom")
    geometry = document.get("geometry")
    if geometry is not None:
        parse_search({"intersects": geometry})  # says what is wrong with it
    return StaticImage(
        image_id,
        collection_id,
        _search(collection_id, cql),
        pairs,
        _side(document, "cols"),
        _side(document, "rows"),
        zoom,
        geometry,
    )


def _search(collection_id: str, cql: JsonObject) -> JsonObject:
    """``cql`` is an expression, or a search body that holds one beside its order, as the field's clients send it."""
    if not cql:
        return {"collections": [collection_id]}
    if "op" in cql:
        given = {"filter": cql, "filter-lang": "cql2-json"}
    else:
        given = {name: cql[name] for name in ("filter", "filter-lang", "sortby", "datetime", "query") if name in cql}
        if not given:
            raise InvalidRequestBody("cql: it has neither op nor filter: give a CQL2-JSON expression.", target="cql")
    parse_filter(given)
    return {**given, "collections": [collection_id]}


def _side(document: JsonObject, name: str) -> int:
    value = document.get(name)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= _MAX_SIDE:
        raise InvalidRequestBody(f"{name}: give the pixels of the picture, 1 to {_MAX_SIDE}.", target=name)
    return value


def _bounds(geometry: JsonObject) -> Bounds:
    from graticule.stac.geometry import read_geometry  # noqa: PLC0415 - only where there is one

    parts = read_geometry(geometry).parts
    return (
        min(part.west for part in parts),
        min(part.south for part in parts),
        max(part.east for part in parts),
        max(part.north for part in parts),
    )


def _projected(longitude: float, latitude: float) -> tuple[float, float]:
    """Degrees in EPSG:3857, metres."""
    latitude = min(max(latitude, -_MAX_LATITUDE), _MAX_LATITUDE)
    y = math.log(math.tan(math.pi / 4 + math.radians(latitude) / 2)) * 6378137.0
    return math.radians(longitude) * 6378137.0, y
