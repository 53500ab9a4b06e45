"""Items as the columns of stac-geoparquet 1.0, and back.

Properties are columns beside the members of the Item, `geometry` is WKB, `bbox` a struct, common times are timestamps.
Columns cannot hold all that JSON can: which of two numbers was an integer, whether a member was null or missing,
values of several types at one place. What a row loses is kept as a patch in `PATCH`; see decision 0018.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any, Final

import numpy as np
import orjson
import pyarrow as pa
import shapely

from graticule.errors import InvalidInputData
from graticule.ingestion.exchange.patches import difference, patched
from graticule.ingestion.exchange.shapes import Budget, Kind, Shape
from graticule.stac.datetimes import parse_instant

#: The column of what the others lose: JSON Patch (RFC 6902), null where they lose nothing.
PATCH: Final = "graticule:patch"
#: Columns that are members of the Item; all others are properties.
MEMBERS: Final = (
    "type", "stac_version", "stac_extensions", "id", "geometry", "bbox", "links", "assets", "collection",
)  # fmt: skip
#: Properties that are timestamps (stac-geoparquet 1.0, "Guidelines").
TIMES: Final = (
    "datetime", "start_datetime", "end_datetime", "created", "updated", "expires", "published", "unpublished",
)  # fmt: skip
#: Written as WKB wherever it is a property or a member of an asset.
_PROJECTED: Final = "proj:geometry"

#: Places that a table has at most; documents with more keep the rest in `PATCH`.
_PLACES: Final = 5_000
_TIME: Final = pa.timestamp("us", tz="UTC")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
#: The years 1 to 9999, which offsets may leave.
_EARLIEST: Final = (datetime.min.replace(tzinfo=UTC) - _EPOCH) // timedelta(microseconds=1)
_LATEST: Final = (datetime.max.replace(tzinfo=UTC) - _EPOCH) // timedelta(microseconds=1)
_CORNERS: Final = ("xmin", "ymin", "xmax", "ymax")
_CORNERS_3D: Final = ("xmin", "ymin", "zmin", "xmax", "ymax", "zmax")

_Convert = Callable[[Any], Any]


class Survey:
    """What the items of a table have between them. Feed it all of them, then ask for `layout`."""

    def __init__(self) -> None:
        """Nothing seen yet; columns that readers expect are there in any case."""
        budget = Budget(_PLACES)
        self._members = {name: Shape(budget) for name in MEMBERS if name not in {"geometry", "bbox"}}
        for name in ("type", "stac_version", "id", "collection"):
            self._members[name].add("")
        self._members["stac_extensions"].add([""])
        self._members["links"].add([{"href": "", "rel": ""}])
        self._properties = Shape(budget)
        #: As GeoParquet has them: "Polygon", "Point Z".
        self.geometry_types: set[str] = set()
        #: West, south, east, north of all; None: no item has a place.
        self.bounds: list[float] | None = None
        self._box_lengths: set[int] = set()

    def add(self, item: dict[str, Any]) -> None:
        """See an item."""
        for name, shape in self._members.items():
            shape.add(item.get(name))
        self._properties.add(item.get("properties"))
        geometry, bbox = item.get("geometry"), _box(item.get("bbox"))
        if isinstance(geometry, dict):
            self.geometry_types.add(f"{geometry.get('type')}{' Z' if _has_height(geometry) else ''}")
        if bbox is not None:
            self._box_lengths.add(len(bbox))
            self._widen([bbox[name] for name in _CORNERS])

    def _widen(self, box: list[float]) -> None:
        west, south, east, north = box
        if west > east:  # over the antimeridian
            west, east = -180.0, 180.0
        bounds = self.bounds or [west, south, east, north]
        self.bounds = [min(bounds[0], west), min(bounds[1], south), max(bounds[2], east), max(bounds[3], north)]

    def layout(self) -> Layout:
        """The columns for what was seen."""
        columns: dict[str, tuple[pa.DataType, _Convert]] = {}
        for name in MEMBERS:
            if name == "geometry":
                columns[name] = (pa.binary(), _as_is)
            elif name == "bbox":
                # Readers cannot do with heights that some rows have: they are columns if all have them.
                corners = _CORNERS_3D if self._box_lengths == {6} else _CORNERS
                columns[name] = (pa.struct([(corner, pa.float64()) for corner in corners]), _box)
            else:
                _place(columns, name, self._members[name])
        columns["datetime"] = (_TIME, _instant)
        for name, shape in self._properties.members.items():
            if name in TIMES:
                columns[name] = (_TIME, _instant)
            elif name not in MEMBERS and name != PATCH:
                _place(columns, name, shape)
        return Layout(columns)


class Layout:
    """The columns of a table, and how items are written into them."""

    def __init__(self, columns: dict[str, tuple[pa.DataType, _Convert]]) -> None:
        """Names, each with its type and what turns a JSON value into one of that type."""
        self._columns = columns
        self.schema = pa.schema([*((name, kind) for name, (kind, _) in columns.items()), (PATCH, pa.string())])

    def batch(self, items: Sequence[dict[str, Any]]) -> pa.RecordBatch:
        """Rows of items; read again, each is the same JSON value."""
        arrays = []
        for name, (kind, convert) in self._columns.items():
            if name == "geometry":
                arrays.append(pa.array(_wkb([item.get(name) for item in items]), kind))
                continue
            places = items if name in MEMBERS else [item.get("properties") or {} for item in items]
            arrays.append(pa.array([_converted(place.get(name), convert) for place in places], kind))
        rows = pa.RecordBatch.from_arrays([*arrays, pa.nulls(len(items), pa.string())], schema=self.schema)
        patches = [difference(read, item) for read, item in zip(documents(rows), items, strict=True)]
        texts = [orjson.dumps(patch).decode() if patch else None for patch in patches]
        return pa.RecordBatch.from_arrays([*arrays, pa.array(texts, pa.string())], schema=self.schema)


def documents(batch: pa.RecordBatch) -> list[dict[str, Any]]:
    """Items of rows, whoever has written them. Null is taken for missing, but for the geometry and `datetime`.

    Raises:
        InvalidInputData: a column is none of stac-geoparquet's, or a patch does not fit its row.
    """
    columns = {name: _values(name, batch.column(name)) for name in batch.schema.names if name != PATCH}
    members = [name for name in MEMBERS if name in columns and name != "geometry"]
    properties = [name for name in columns if name not in MEMBERS]
    geometries = columns.get("geometry", [None] * batch.num_rows)
    found = []
    for row in range(batch.num_rows):
        item: dict[str, Any] = {"type": "Feature", "links": [], "assets": {}, "geometry": geometries[row]}
        item.update((name, value) for name in members if (value := columns[name][row]) is not None)
        item["properties"] = {"datetime": None}
        item["properties"].update((name, value) for name in properties if (value := columns[name][row]) is not None)
        found.append(item)
    if PATCH in batch.schema.names:
        for row, text in enumerate(batch.column(PATCH).to_pylist()):
            if text is not None:
                found[row] = _repaired(found[row], text)
    return found


def _repaired(item: dict[str, Any], text: str) -> dict[str, Any]:
    try:
        return dict(patched(item, orjson.loads(text)))
    except (ValueError, TypeError) as exc:
        raise InvalidInputData(f"Item '{item.get('id')}': column '{PATCH}': {exc}.") from exc


# --- from JSON


def _place(columns: dict[str, tuple[pa.DataType, _Convert]], name: str, shape: Shape) -> None:
    made = _geometry_type(shape) if name == _PROJECTED else _type(shape)
    if made is not None:
        columns[name] = made


def _type(shape: Shape) -> tuple[pa.DataType, _Convert] | None:
    """The type of values of a shape and their conversion; None where a column would hold nothing."""
    simple = _SIMPLE.get(shape.kinds)
    if simple is not None:
        return simple
    if shape.kinds == Kind.NOTHING:
        return None
    if shape.kinds == Kind.LIST and shape.elements is not None:
        element, convert = _type(shape.elements) or (pa.string(), _nothing)
        return pa.list_(element), lambda value: [_converted(one, convert) for one in value]
    if shape.kinds == Kind.OBJECT:
        columns: dict[str, tuple[pa.DataType, _Convert]] = {}
        for name, member in shape.members.items():
            _place(columns, name, member)
        fields = [(name, kind) for name, (kind, _) in columns.items()]
        return (pa.struct(fields), _object(columns)) if fields else None
    return pa.string(), _text


def _geometry_type(shape: Shape) -> tuple[pa.DataType, _Convert] | None:
    if shape.kinds == Kind.OBJECT:
        return pa.binary(), lambda value: _wkb([value])[0]
    return _type(shape)


def _object(columns: dict[str, tuple[pa.DataType, _Convert]]) -> _Convert:
    def convert(value: dict[str, Any]) -> dict[str, Any]:
        return {name: _converted(one, columns[name][1]) for name, one in value.items() if name in columns}

    return convert


def _converted(value: Any, convert: _Convert) -> Any:
    return None if value is None else convert(value)


def _as_is(value: Any) -> Any:
    return value


def _nothing(_: Any) -> None:
    """Of what a column has no room for, such as an empty object."""


def _text(value: Any) -> str:
    """Of values of several types: texts as they are, others as JSON."""
    return value if isinstance(value, str) else orjson.dumps(value).decode()


def _number(value: float) -> float:
    return float(value)


_SIMPLE: Final[dict[int, tuple[pa.DataType, _Convert]]] = {
    Kind.BOOLEAN: (pa.bool_(), _as_is),
    Kind.INTEGER: (pa.int64(), _as_is),
    Kind.NUMBER: (pa.float64(), _number),
    Kind.INTEGER | Kind.NUMBER: (pa.float64(), _number),
    Kind.TEXT: (pa.string(), _as_is),
}


def _instant(value: Any) -> int | None:
    try:
        us = parse_instant(value) if isinstance(value, str) else None
    except ValueError:
        return None
    return us if us is not None and _EARLIEST <= us <= _LATEST else None


def _box(value: Any) -> dict[str, float] | None:
    if not isinstance(value, list) or len(value) not in {4, 6} or not all(_is_number(one) for one in value):
        return None
    return dict(zip(_CORNERS if len(value) == 4 else _CORNERS_3D, map(float, value), strict=True))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _wkb(geometries: Sequence[Any]) -> list[bytes | None]:
    """ISO WKB; None where there is none, or one that no library reads."""
    texts = [orjson.dumps(one).decode() if isinstance(one, dict) else None for one in geometries]
    made = shapely.to_wkb(shapely.from_geojson(np.array(texts, dtype=object), on_invalid="ignore"), flavor="iso")
    return list(made)


def _has_height(geometry: dict[str, Any]) -> bool:
    geometries = geometry.get("geometries")
    if isinstance(geometries, list) and geometries:
        return isinstance(geometries[0], dict) and _has_height(geometries[0])
    place = geometry.get("coordinates")
    while isinstance(place, list) and place and isinstance(place[0], list):
        place = place[0]
    return isinstance(place, list) and len(place) > 2


# --- to JSON


def _values(name: str, column: pa.Array) -> list[Any]:
    kind = column.type
    if pa.types.is_timestamp(kind):
        # To microseconds, the resolution of the catalog; without a zone it is UTC.
        moments = column.cast(pa.timestamp("us", tz=kind.tz), safe=False).cast(pa.int64()).to_pylist()
        return [None if us is None else _moment(us) for us in moments]
    is_binary = pa.types.is_binary(kind) or pa.types.is_large_binary(kind)
    if name == "geometry" and not (is_binary or pa.types.is_null(kind)):
        raise InvalidInputData(f"Column '{name}' is {kind}: only geometries in WKB can be read.")
    if name == "geometry" or (name == _PROJECTED and is_binary):
        return _geojson(name, column.to_pylist())
    values = [_clean(value, name) for value in column.to_pylist()]
    if name == "bbox" and pa.types.is_struct(kind):
        return [None if value is None else _corners(value) for value in values]
    return values


def _moment(us: int) -> str:
    try:
        text = (_EPOCH + timedelta(microseconds=us)).isoformat()
    except OverflowError as exc:
        raise InvalidInputData(f"A time is {us} microseconds from 1970: outside the years 1 to 9999.") from exc
    return text.replace("+00:00", "").rstrip("0").removesuffix(".") + "Z" if "." in text else text[:-6] + "Z"


def _corners(box: dict[str, float]) -> list[float] | None:
    names = _CORNERS_3D if "zmin" in box and "zmax" in box else _CORNERS
    return [box[name] for name in names] if all(name in box for name in names) else None


def _geojson(name: str, wkb: Iterable[bytes | None]) -> list[Any]:
    try:
        shapes = shapely.from_wkb(np.array([*wkb, None], dtype=object))[:-1]
    except (shapely.errors.GEOSException, TypeError) as exc:
        raise InvalidInputData(f"Column '{name}' is no WKB: {exc}.") from exc
    texts = shapely.to_geojson(shapes)
    return [None if text is None else orjson.loads(text) for text in texts]


def _clean(value: Any, name: str) -> Any:
    """A value of a column as JSON has it; not a number and infinity are null, of which JSON has none."""
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: kept for key, one in value.items() if (kept := _clean(one, key)) is not None}
    if isinstance(value, list):
        if value and all(isinstance(one, tuple) for one in value):  # a map
            return {str(key): kept for key, one in value if (kept := _clean(one, str(key))) is not None}
        return [_clean(one, name) for one in value]
    return _clean_rare(value, name)


def _clean_rare(value: Any, name: str) -> Any:
    if isinstance(value, bytes) and name == _PROJECTED:
        return _geojson(name, [value])[0]
    if isinstance(value, datetime):
        moment = value.replace(tzinfo=value.tzinfo or UTC) - _EPOCH
        return _moment(moment // timedelta(microseconds=1))
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    raise InvalidInputData(f"Column '{name}' holds {type(value).__name__}, which JSON cannot have.")
