"""What of an item is searched: its id, time, footprint and declared queryables, taken out of the document."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import orjson

from graticule.catalog.cells import NOWHERE, Box, box_of, cell_of
from graticule.catalog.wholes import Kind, Summing, Sums
from graticule.database import plain
from graticule.errors import StacValidationFailed
from graticule.stac.datetimes import parse_instant
from graticule.stac.documents import Item
from graticule.stac.free_text import fields_of, folded
from graticule.stac.geometry import read_geometry

_NO_BOX: Final = (None, None, None, None)


class Searchable(NamedTuple):
    """The searched columns of an item, in the order in which they are written."""

    cell: int
    #: Begin and end, microseconds since 1970 UTC.
    t: int
    te: int
    id: str
    #: Its box; four times None without a geometry.
    x0: int | None
    y0: int | None
    x1: int | None
    y1: int | None
    cloud: float | None
    platform: str | None
    wkb: bytes | None

    @property
    def box(self) -> Box | None:
        """Its bounds."""
        return None if self.wkb is None else Box(*self[4:8])  # type: ignore[arg-type]  # all four are there, or none


class PreparedItem:
    """An item with all the work done that needs no database."""

    __slots__ = ("_item", "body", "columns", "text")

    def __init__(self, columns: Searchable, body: bytes, text: str, item: Item | None = None) -> None:
        """Take the parts.

        Args:
            columns: what is searched.
            body: its JSON, as it is or packed (`graticule.database.packing`).
            text: its words as they are searched, `free_text.folded`.
            item: what it was made from, where that is at hand.
        """
        self.columns = columns
        self.body = body
        self.text = text
        self._item = item

    @property
    def doc(self) -> bytes:
        """Its JSON."""
        return plain(self.body)

    @property
    def item(self) -> Item:
        """What it was made from; read again from the JSON where another process has prepared it."""
        if self._item is None:
            self._item = orjson.loads(self.doc)
        return self._item


class PreparedItems:
    """Items of one collection, column by column: this way many are sent and written with the least work for each."""

    __slots__ = ("_singly", "bodies", "columns", "prepared_sums", "texts")

    def __init__(
        self,
        columns: Sequence[tuple[Any, ...]],
        bodies: Sequence[bytes],
        texts: Sequence[str],
        *,
        sums: Sums | None = None,
        singly: Sequence[PreparedItem] | None = None,
    ) -> None:
        """Take the parts, as of `PreparedItem`.

        Args:
            columns: of every item, `Searchable` or a plain tuple of the same.
            bodies: the documents.
            texts: the words.
            sums: what they add to the whole of their collection, where that was worked out already.
            singly: the same ones.
        """
        self.columns = columns
        self.bodies = bodies
        self.texts = texts
        self.prepared_sums = sums
        self._singly = singly

    @classmethod
    def of(cls, items: Sequence[PreparedItem]) -> PreparedItems:
        """These."""
        columns, bodies, texts = zip(*[(one.columns, one.body, one.text) for one in items], strict=True)
        return cls(columns, bodies, texts, singly=items)

    @classmethod
    def joined(cls, parts: Sequence[PreparedItems]) -> PreparedItems:
        """Those of several batches."""
        if len(parts) == 1:
            return parts[0]
        sums = [part.prepared_sums for part in parts if part.prepared_sums is not None]
        return cls(
            [one for part in parts for one in part.columns],
            [one for part in parts for one in part.bodies],
            [one for part in parts for one in part.texts],
            sums=Sums.joined(sums) if len(sums) == len(parts) else None,
        )

    def __len__(self) -> int:
        """How many there are."""
        return len(self.columns)

    def singly(self) -> Sequence[PreparedItem]:
        """One by one."""
        if self._singly is None:
            rows = zip(self.columns, self.bodies, self.texts, strict=True)
            self._singly = [PreparedItem(Searchable._make(columns), body, text) for columns, body, text in rows]
        return self._singly

    def sums(self, keys: Mapping[str, Kind]) -> Sums:
        """What they add to the whole of a collection that sums up these properties."""
        if self.prepared_sums is None or self.prepared_sums.keys != keys:
            summing = Summing(keys)
            for one in self.singly():
                summing.add(one.columns, one.item["properties"])
            self.prepared_sums = summing.sums()
        return self.prepared_sums


def prepare_item(item: Item) -> PreparedItem:
    """Prepare an item for `Catalog.put_items`, outside the transaction: that is a third of the work of writing it.

    Raises:
        StacValidationFailed: as `check_searchable`.
    """
    columns = searchable(item)
    return PreparedItem(columns, orjson.dumps(item), folded(fields_of(item["properties"])), item)


def check_searchable(item: Item) -> None:
    """Refuse an item that the catalog could not search. Cheap: call it before assets are fetched.

    Raises:
        StacValidationFailed: a sentence that names the item and the member.
    """
    searchable(item)


def searchable(item: Item) -> Searchable:
    """The searched columns of an item; raises as `check_searchable`."""
    item_id: Any = item.get("id")
    if not isinstance(item_id, str) or not item_id or "\0" in item_id:
        raise StacValidationFailed("The item has no id: 'id' must be a text.")
    properties: Any = item.get("properties")
    if not isinstance(properties, Mapping):
        raise StacValidationFailed(f"Item '{item_id}' has no properties: 'properties' must be an object.")
    begin, end = _interval(item_id, properties)
    cloud: Any = properties.get("eo:cloud_cover")
    platform: Any = properties.get("platform")
    box, wkb, cell = _footprint(item_id, item)
    x0, y0, x1, y1 = box or _NO_BOX
    return Searchable(
        cell,
        begin,
        end,
        item_id,
        x0,
        y0,
        x1,
        y1,
        float(cloud) if type(cloud) in (int, float) and -1e300 < cloud < 1e300 else None,
        platform if isinstance(platform, str) and "\0" not in platform else None,
        wkb,
    )


def _footprint(item_id: str, item: Item) -> tuple[Box | None, bytes | None, int]:
    if "geometry" not in item:
        raise StacValidationFailed(f"Item '{item_id}' has no geometry: write null if it has none.")
    geometry = item["geometry"]
    if geometry is None:  # STAC Item specification: allowed, and found by searches that name no place
        return None, None, NOWHERE
    try:
        shape = read_geometry(geometry)
    except ValueError as exc:
        raise StacValidationFailed(f"Item '{item_id}': the geometry {exc}.") from exc
    box = box_of(shape.parts)
    return box, shape.wkb, cell_of(box)


def _interval(item_id: str, properties: Mapping[str, Any]) -> tuple[int, int]:
    """Begin and end: ``datetime`` (or ``start_datetime`` where that is null) to ``end_datetime``."""
    nominal = _instant(item_id, properties, "datetime")
    start = _instant(item_id, properties, "start_datetime")
    end = _instant(item_id, properties, "end_datetime")
    if nominal is None and (start is None or end is None):
        # STAC common metadata, date and time range: null is allowed only beside both of these.
        raise StacValidationFailed(
            f"Item '{item_id}' has no datetime: give 'datetime', or null with 'start_datetime' and 'end_datetime'."
        )
    if start is not None and end is not None and end < start:
        raise StacValidationFailed(f"Item '{item_id}': end_datetime is before start_datetime.")
    begin = nominal if nominal is not None else start
    assert begin is not None
    return begin, begin if end is None else max(begin, end)


def _instant(item_id: str, properties: Mapping[str, Any], name: str) -> int | None:
    value = properties.get(name)
    if value is None:
        return None
    if not isinstance(value, str):
        raise StacValidationFailed(f"Item '{item_id}': {name} must be an RFC 3339 text.")
    try:
        return parse_instant(value, allow_space=True)
    except ValueError as exc:
        raise StacValidationFailed(f"Item '{item_id}': {name} '{value[:60]}' {exc}.") from exc
