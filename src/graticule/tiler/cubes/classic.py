"""NetCDF classic files (versions 1, 2 and 5) as references, so that they are read as Zarr arrays, as all others are.

The header alone is parsed, by "The NetCDF Classic Format Specification" (Unidata) and, for version 5, PnetCDF's CDF-5.
Values lie in the file as they are in memory, big-endian. Names and texts that are not UTF-8 are read as Latin-1.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from graticule.tiler.cubes.stores import Reference, UnreadableStore
from graticule.tiler.remote import StoredPath

_MOST_HEADER: Final = 32 << 20
_MOST_ELEMENTS: Final = 200_000
_MOST_REFS: Final = 1_000_000
#: Of a chunk, where an array can be divided.
_CHUNK_BYTES: Final = 16 << 20
_DIMENSIONS, _VARIABLES, _ATTRIBUTES, _CHAR = 0x0A, 0x0B, 0x0C, 2
_TYPES: Final = {
    1: ">i1", _CHAR: "|S1", 3: ">i2", 4: ">i4", 5: ">f4", 6: ">f8", 7: ">u1", 8: ">u2", 9: ">u4", 10: ">i8", 11: ">u8",
}  # fmt: skip


@dataclass(frozen=True)
class _Variable:
    name: str
    dims: tuple[int, ...]
    attributes: dict[str, Any]
    type: int
    begin: int


class _Header:
    """The header, read from front to back."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 4
        self._version = data[3]
        self.records = self._count()
        self.dimensions = [(self._name(), self._count()) for _ in self._list(_DIMENSIONS)]
        self.attributes = self._attributes()
        self.variables = [self._variable() for _ in self._list(_VARIABLES)]

    def _take(self, size: int) -> bytes:
        part = self._data[self._at : self._at + size]
        if len(part) < size:
            raise UnreadableStore("its NetCDF header is cut off")
        self._at += -(-size // 4) * 4
        return part

    def _number(self, form: str) -> int:
        return int(struct.unpack(form, self._take(struct.calcsize(form)))[0])

    def _count(self) -> int:
        return self._number(">Q" if self._version == 5 else ">I")

    def _list(self, tag: int) -> Iterator[int]:
        found, length = self._number(">I"), self._count()
        if (found, length) != (0, 0) and found != tag:
            raise UnreadableStore("its NetCDF header is damaged")
        if length > _MOST_ELEMENTS:
            raise UnreadableStore(f"its NetCDF header has a list of {length} elements")
        return iter(range(length))

    def _name(self) -> str:
        return _text(self._take(self._count()))

    def _attributes(self) -> dict[str, Any]:
        return dict(self._attribute() for _ in self._list(_ATTRIBUTES))

    def _attribute(self) -> tuple[str, Any]:
        name, kind, length = self._name(), self._number(">I"), self._count()
        if kind not in _TYPES:
            raise UnreadableStore("its NetCDF header is damaged")
        data = self._take(length * np.dtype(_TYPES[kind]).itemsize)
        if kind == _CHAR:
            return name, _text(data)
        values = np.frombuffer(data, dtype=_TYPES[kind]).tolist()
        return name, values[0] if len(values) == 1 else values

    def _variable(self) -> _Variable:
        name = self._name()
        dims = tuple(self._count() for _ in range(min(self._count(), 1024)))
        attributes, kind = self._attributes(), self._number(">I")
        self._count()  # vsize: what it says follows from the shape
        begin = self._number(">I" if self._version == 1 else ">Q")
        if kind not in _TYPES or any(dim >= len(self.dimensions) for dim in dims):
            raise UnreadableStore("its NetCDF header is damaged")
        return _Variable(name, dims, attributes, kind, begin)


def references(path: StoredPath) -> dict[str, Reference]:
    """What a Zarr store of this file's variables would hold; text variables are left out, but for scalars.

    Raises:
        UnreadableStore: the header is damaged, or there are too many chunks.
    """
    with path.open("rb") as file:
        header = _Header(file.read(_MOST_HEADER))
    record_dims = {place for place, (_, length) in enumerate(header.dimensions) if length == 0}
    sizes = [length for _, length in header.dimensions]
    per_record = [
        _bytes(variable, [sizes[dim] for dim in variable.dims[1:]])
        for variable in header.variables
        if variable.dims[:1] and variable.dims[0] in record_dims
    ]
    # Each is padded to four bytes, unless it is the only one (specification, "Note on padding").
    record = per_record[0] if len(per_record) == 1 else sum(-(-size // 4) * 4 for size in per_record)
    records = header.records
    if records in {0xFFFFFFFF, 0xFFFFFFFFFFFFFFFF}:  # streaming: as many as the file holds
        first = min((v.begin for v in header.variables if v.dims[:1] and v.dims[0] in record_dims), default=0)
        records = (path.stat().st_size - first) // record if record else 0
    sizes = [records if length == 0 else length for length in sizes]
    found: dict[str, Reference] = {
        ".zgroup": b'{"zarr_format":2}',
        ".zattrs": json.dumps(header.attributes).encode(),
    }
    for variable in header.variables:
        shape = [sizes[dim] for dim in variable.dims]
        if (variable.type == _CHAR and shape) or "/" in variable.name or variable.name.startswith("."):
            continue
        is_record = bool(variable.dims) and variable.dims[0] in record_dims
        names = [header.dimensions[dim][0] for dim in variable.dims]
        found |= _array(path.name, variable, shape, names, record if is_record else None)
        if len(found) > _MOST_REFS:
            raise UnreadableStore(f"it has more than {_MOST_REFS} chunks")
    return found


def _array(
    file: str, variable: _Variable, shape: list[int], dims: list[str], record: int | None
) -> dict[str, Reference]:
    """One array; ``record``: bytes from one record to the next, where it has records."""
    itemsize = np.dtype(_TYPES[variable.type]).itemsize
    row = _bytes(variable, shape[1:])
    rows = 1 if record is not None or not shape else _divisor(shape[0], max(1, _CHUNK_BYTES // max(row, 1)))
    chunks = [rows, *shape[1:]] if shape else []
    attributes = {**variable.attributes, "_ARRAY_DIMENSIONS": dims}
    zarray = {
        "zarr_format": 2,
        "shape": shape,
        "chunks": [max(side, 1) for side in chunks],
        "dtype": ">i1" if variable.type == _CHAR else _TYPES[variable.type],
        "compressor": None,
        "filters": None,
        "order": "C",
        "fill_value": _fill(attributes.pop("_FillValue", None)),
    }
    zarray["dtype"] = str(zarray["dtype"]).replace(">", "|") if itemsize == 1 else zarray["dtype"]
    made: dict[str, Reference] = {
        f"{variable.name}/.zarray": json.dumps(zarray).encode(),
        f"{variable.name}/.zattrs": json.dumps(attributes).encode(),
    }
    step = record if record is not None else rows * row
    number = shape[0] // rows if shape else 1
    if number > _MOST_REFS:
        raise UnreadableStore(f"{variable.name[:80]!r} has {number} chunks")
    for place in range(number):
        name = ".".join([str(place), *("0" for _ in shape[1:])])
        made[f"{variable.name}/{name}"] = (file, variable.begin + place * step, rows * row)
    return made


def _bytes(variable: _Variable, shape: list[int]) -> int:
    size = np.dtype(_TYPES[variable.type]).itemsize
    for side in shape:
        size *= side
    return size


def _divisor(number: int, most: int) -> int:
    """The largest divisor that is not larger than this: Zarr's chunks are whole."""
    return max((part for part in range(1, min(most, number) + 1) if number % part == 0), default=1)


def _fill(value: Any) -> Any:
    if isinstance(value, float) and not np.isfinite(value):
        return "NaN" if np.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value if isinstance(value, int | float) else None


def _text(data: bytes) -> str:
    try:
        return data.decode("utf-8").rstrip("\0")
    except UnicodeDecodeError:
        return data.decode("latin-1").rstrip("\0")
