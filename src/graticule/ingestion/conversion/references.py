"""Owns the manifest of references of a NetCDF or HDF5 file: where each of its chunks lies, as a Zarr store (Kerchunk).

Runs in the child only. Form: Kerchunk reference specification, version 1. Chunks are references into one file, by a
template (``{{u}}``) that has the file's name; readers elsewhere replace it by an address. The member ``cube`` has what
the asset gains: ``cube:dimensions`` and ``cube:variables`` (STAC datacube extension 2.2).
"""

from __future__ import annotations

import itertools
import math
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import cftime
import h5py
import kerchunk.hdf
import numpy as np
import orjson
import xarray as xr

from graticule import hdf5
from graticule.errors import CubeRefused, EmptyAsset
from graticule.ingestion.conversion.models import Outcome

#: Chunks that are smaller than this stand in the manifest themselves, bytes.
_INLINE: Final = 500
_MOST_BYTES: Final = 128 << 20
_MOST_REFS: Final = 1_000_000
_HDF5: Final = b"\x89HDF\r\n\x1a\n"
_SUPERBLOCKS: Final = (0, 512, 1024, 2048, 4096)
_REMEDY: Final = "repair the file, or ingest it without the roles data and visual: then it is stored as it is"
#: What kerchunk raises over what it cannot refer to, and xarray over metadata that contradict themselves.
_UNUSABLE: Final = (RuntimeError, ValueError, TypeError, KeyError, NotImplementedError, AttributeError, OSError)
_X: Final = frozenset({"longitude", "projection_x_coordinate", "grid_longitude"})
_Y: Final = frozenset({"latitude", "projection_y_coordinate", "grid_latitude"})


def refer(folder: Path, file_name: str) -> tuple[Outcome, str]:
    """Write ``result.json`` for ``source`` in ``folder``; if there is none to write, say why.

    Raises:
        EmptyAsset: the file has no bytes.
        CubeRefused: it is neither NetCDF nor HDF5, damaged, or refers to other files.
    """
    source = folder / "source"
    head = _head(source)
    if head[:3] == b"CDF":
        return Outcome.UNTOUCHED, "NetCDF classic has no chunks to refer to"
    if not any(head[at : at + 8] == _HDF5 for at in _SUPERBLOCKS):
        raise CubeRefused(f"its content is neither NetCDF nor HDF5: correct the asset's type, or {_REMEDY}")
    try:
        with h5py.File(source, "r") as file:
            hdf5.check_contained(file)
            plain = _without_fill(file)
    except hdf5.ForeignReference as exc:
        raise CubeRefused(f"the HDF5 file is refused: {exc}. Write it in one piece, or {_REMEDY}") from exc
    except (OSError, RuntimeError, ValueError) as exc:
        raise CubeRefused(f"the HDF5 file is damaged ({str(exc)[:200]}): {_REMEDY}") from exc
    try:
        manifest = _manifest(source, file_name, plain)
        manifest["cube"] = _facts(source)
    except _UNUSABLE as exc:
        return Outcome.UNTOUCHED, f"{type(exc).__name__}: {str(exc)[:200]}"
    text = orjson.dumps(manifest)
    if len(text) > _MOST_BYTES or len(manifest["refs"]) > _MOST_REFS:
        return Outcome.UNTOUCHED, f"it has {len(manifest['refs'])} chunks"
    (folder / "result.json").write_bytes(text)
    return Outcome.REFERENCED, ""


def _head(source: Path) -> bytes:
    with source.open("rb") as file:
        head = file.read(_SUPERBLOCKS[-1] + len(_HDF5))
    if not head:
        raise EmptyAsset("the file has no bytes")
    return head


def _manifest(source: Path, file_name: str, plain: frozenset[str]) -> dict[str, Any]:
    with source.open("rb") as file:
        made = kerchunk.hdf.SingleHdf5ToZarr(
            file, "{{u}}", spec=1, inline_threshold=_INLINE, error="raise", vlen_encode="embed"
        ).translate()
    refs: dict[str, Any] = made["refs"]
    for path in plain:
        _forget_fill(refs, path)
    return {"version": 1, "templates": {"u": file_name}, "refs": refs}


def _without_fill(file: h5py.File) -> frozenset[str]:
    """Arrays that have no CF fill value: HDF5's own (0, mostly) is then a value like any other."""
    found: set[str] = set()

    def look(name: str, each: Any) -> None:
        if isinstance(each, h5py.Dataset) and "_FillValue" not in each.attrs:
            found.add(name)

    file.visititems(look)
    return frozenset(found)


def _forget_fill(refs: dict[str, Any], path: str) -> None:
    """Zarr's readers take ``fill_value`` as CF's, so it stays only where chunks are left out."""
    text = refs.get(f"{path}/.zarray")
    if not isinstance(text, str):
        return
    array = orjson.loads(text)
    expected = math.prod(
        -(-size // chunk) for size, chunk in zip(array["shape"], array["chunks"], strict=True) if chunk
    )
    written = sum(
        1 for key in refs if key.startswith(f"{path}/") and key.rpartition("/")[2].replace(".", "").isdecimal()
    )
    if written == expected:
        refs[f"{path}/.zarray"] = orjson.dumps({**array, "fill_value": None}).decode()


# --- what STAC says of it --------------------------------------------------------------------------------------------


def _facts(source: Path) -> dict[str, Any]:
    """``cube:dimensions`` and ``cube:variables`` of the root group."""
    options: dict[str, Any] = {"engine": "h5netcdf", "phony_dims": "access", "decode_coords": "all", "cache": False}
    try:
        dataset = xr.open_dataset(source, **options)
    except (ValueError, OverflowError):  # units that are no time's
        dataset = xr.open_dataset(source, decode_times=False, **options)
    with dataset:
        return {
            "cube:dimensions": {str(dim): _dimension(dataset, str(dim)) for dim in dataset.dims},
            "cube:variables": {
                str(name): _variable(array, "data" if name in dataset.data_vars else "auxiliary")
                for name, array in dataset.variables.items()
                if name not in dataset.dims
            },
        }


def _variable(array: xr.Variable, kind: str) -> dict[str, Any]:
    described = {"description": array.attrs.get("long_name"), "unit": array.attrs.get("units")}
    return {
        "dimensions": [str(dim) for dim in array.dims],
        "type": kind,
        **{name: value for name, value in described.items() if isinstance(value, str) and value},
    }


def _dimension(dataset: xr.Dataset, dim: str) -> dict[str, Any]:
    if dim not in dataset.coords or dataset.coords[dim].ndim != 1 or not dataset.sizes[dim]:
        return {"type": "count", "extent": [0, dataset.sizes[dim] - 1], "step": 1}
    array = dataset.coords[dim]
    values = array.values
    if array.dtype.kind == "M" or isinstance(values[0], cftime.datetime):
        return _temporal(values)
    if array.dtype.kind not in "iuf":
        return {"type": "nominal", "values": [_text(value) for value in values[:1000]]}
    numbers = values.astype("float64")
    finite = numbers[np.isfinite(numbers)]
    found: dict[str, Any] = {"type": "other"}
    axis = _axis_of(array)
    if axis is not None:
        found = {"type": "spatial", "axis": axis}
    if isinstance(array.attrs.get("units"), str):
        found["unit"] = array.attrs["units"]
    if finite.size:
        found["extent"] = [float(finite.min()), float(finite.max())]
        steps = np.diff(numbers)
        found["step"] = float(steps.mean()) if steps.size and np.allclose(steps, steps.mean(), rtol=1e-3) else None
    return found


def _axis_of(array: xr.DataArray) -> str | None:
    attributes = {name: str(value).lower() for name, value in array.attrs.items() if isinstance(value, str)}
    axis, standard, units = (attributes.get(name, "") for name in ("axis", "standard_name", "units"))
    name = str(array.name).lower()
    if axis in {"x", "y", "z"}:
        return axis
    if standard in _X or units.startswith(("degrees_east", "degree_east")) or name in {"x", "lon", "longitude"}:
        return "x"
    if standard in _Y or units.startswith(("degrees_north", "degree_north")) or name in {"y", "lat", "latitude"}:
        return "y"
    return None


def _temporal(values: Any) -> dict[str, Any]:
    steps = {_seconds(after - before) for before, after in itertools.pairwise(values)}
    step = steps.pop() if len(steps) == 1 else None
    return {
        "type": "temporal",
        "extent": [_moment(min(values)), _moment(max(values))],
        "step": _duration(step) if step else None,
    }


def _seconds(difference: Any) -> float:
    if isinstance(difference, timedelta):
        return difference.total_seconds()
    return float(difference / np.timedelta64(1, "ms")) / 1000


def _duration(seconds: float) -> str:
    """ISO 8601."""
    if seconds % 86_400 == 0:
        return f"P{seconds / 86_400:.0f}D"
    if seconds % 3600 == 0:
        return f"PT{seconds / 3600:.0f}H"
    return f"PT{seconds:g}S"


def _moment(value: Any) -> str:
    text = value.isoformat() if isinstance(value, cftime.datetime) else str(np.datetime_as_string(value, unit="s"))
    return f"{text}Z"


def _text(value: Any) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)
