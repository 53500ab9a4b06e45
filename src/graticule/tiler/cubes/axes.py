"""Where the cells of a cube lie: its X and Y axis (CF conventions 1.11, chapters 4, 5), reference system and grid.

A grid is brought into the order of rasters: north up, west left, longitudes within -180 and 180.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyproj
import xarray as xr
from affine import Affine
from numpy.typing import NDArray
from pyproj.exceptions import CRSError as PyprojError
from rasterio.crs import CRS
from rasterio.errors import CRSError

from graticule.errors import AssetUnreadable, InvalidParameter

_STANDARD_NAMES: Final = {
    "longitude": "x", "projection_x_coordinate": "x", "grid_longitude": "x",
    "latitude": "y", "projection_y_coordinate": "y", "grid_latitude": "y",
}  # fmt: skip
_EAST: Final = frozenset({"degrees_east", "degree_east", "degree_e", "degrees_e", "degreee", "degreese"})
_NORTH: Final = frozenset({"degrees_north", "degree_north", "degree_n", "degrees_n", "degreen", "degreesn"})
_NAMES: Final = {
    **dict.fromkeys(("x", "lon", "longitude", "long", "easting", "xc", "rlon"), "x"),
    **dict.fromkeys(("y", "lat", "latitude", "northing", "yc", "rlat"), "y"),
}
#: How far a coordinate may lie from where an even spacing has it, in cells.
_UNEVEN: Final = 0.1
#: Cells of a side that a grid across the antimeridian is filled up to.
_MOST_FILLED: Final = 100_000


@dataclass(frozen=True)
class Grid:
    """A north-up grid, and which cells of the array its rows and columns are."""

    x_dim: str
    y_dim: str
    crs: CRS
    transform: Affine
    rows: NDArray[np.int64]  #: of the array, from the north
    columns: NDArray[np.int64]  #: of the array, from the west; -1: the array has none there

    @property
    def shape(self) -> tuple[int, int]:
        return len(self.rows), len(self.columns)

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """Left, bottom, right, top."""
        height, width = self.shape
        left, top = self.transform.c, self.transform.f
        return left, top + height * self.transform.e, left + width * self.transform.a, top


def spatial_dims(array: xr.DataArray) -> tuple[str, str]:
    """The dimensions that run along X and Y.

    Raises:
        AssetUnreadable: there are none.
    """
    found: dict[str, str] = {}
    for dim in array.dims:
        role = _role(str(dim), array.coords.get(dim))
        if role is not None:
            found.setdefault(role, str(dim))
    if len(found) < 2:
        raise AssetUnreadable(
            f"{array.name!r} has no X and Y axis among its dimensions {_listed(array.dims)}: longitude and latitude (or"
            " projected x and y) must be coordinates with one dimension each."
        )
    return found["x"], found["y"]


def grid_of(array: xr.DataArray, crs: str | None) -> Grid:
    """Where an array lies.

    Args:
        array: with `spatial_dims`.
        crs: what the request says; it wins.

    Raises:
        AssetUnreadable: its axes are no even grid.
        InvalidParameter: nothing says which reference system they are in, or ``crs`` is none.
    """
    x_dim, y_dim = spatial_dims(array)
    system = _requested(crs) if crs is not None else _crs_of(array, x_dim, y_dim)
    x, y = _axis(array, x_dim), _axis(array, y_dim)
    columns = np.arange(len(x))
    if x[-1] < x[0]:
        x, columns = x[::-1], columns[::-1]
    rows = np.arange(len(y))
    if y[-1] > y[0]:
        y, rows = y[::-1], rows[::-1]
    x_step, y_step = _step(x, x_dim, y), -_step(y[::-1], y_dim, x)
    if system.is_geographic and x[-1] > 180.0 + x_step / 100:
        x, columns = _wrapped(x, columns, x_step)
    transform = Affine(x_step, 0, x[0] - x_step / 2, 0, y_step, y[0] - y_step / 2)
    return Grid(x_dim, y_dim, system, transform, rows, columns)


def _role(dim: str, coordinate: xr.DataArray | None) -> str | None:
    attributes: dict[str, Any] = dict(coordinate.attrs) if coordinate is not None else {}
    axis, units = str(attributes.get("axis", "")).upper(), str(attributes.get("units", "")).lower()
    if axis in {"X", "Y"}:
        return axis.lower()
    if axis in {"Z", "T"}:
        return None
    named = _STANDARD_NAMES.get(str(attributes.get("standard_name", "")).lower())
    if named is not None:
        return named
    if units in _EAST or units in _NORTH:
        return "x" if units in _EAST else "y"
    return _NAMES.get(dim.lower())


def coordinate_values(coordinate: xr.DataArray) -> NDArray[Any]:
    """Values of a coordinate; none of them is missing (CF 2.5.1).

    Zarr 2 gives every array a fill value, 0 mostly, which is masked in data: in a coordinate it is a value.
    """
    values = np.atleast_1d(coordinate.values)
    fill = coordinate.encoding.get("_FillValue")
    if values.dtype.kind != "f" or fill is None or not np.isnan(values).any():
        return values
    scale, offset = coordinate.encoding.get("scale_factor", 1.0), coordinate.encoding.get("add_offset", 0.0)
    return np.where(np.isnan(values), float(fill) * scale + offset, values)


def _axis(array: xr.DataArray, dim: str) -> NDArray[np.float64]:
    coordinate = array.coords.get(dim)
    if coordinate is None or coordinate.ndim != 1 or coordinate.dtype.kind not in "iuf":
        message = f"the dimension {dim!r} of {array.name!r} has no coordinate that says where its cells lie."
        raise AssetUnreadable(message)
    values = coordinate_values(coordinate).astype("float64")
    if not np.isfinite(values).all():
        raise AssetUnreadable(f"the coordinate {dim!r} of {array.name!r} has missing values.")
    return values


def _step(values: NDArray[np.float64], dim: str, other: NDArray[np.float64]) -> float:
    """The even spacing of an axis that rises; of a single cell, that of the other axis."""
    if len(values) == 1:
        return abs(float(other[-1] - other[0])) / (len(other) - 1) if len(other) > 1 else 1.0
    step = float(values[-1] - values[0]) / (len(values) - 1)
    even = values[0] + step * np.arange(len(values))
    if step <= 0 or float(np.abs(values - even).max()) > _UNEVEN * step:
        raise AssetUnreadable(
            f"the coordinate {dim!r} is not evenly spaced, so it is no grid that can be drawn: resample the data first."
        )
    return step


def _wrapped(
    x: NDArray[np.float64], columns: NDArray[np.int64], step: float
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Longitudes beyond 180 (0 to 360, mostly) as they are written on maps."""
    if x[0] - step / 2 >= 180.0 - step / 100:
        return x - 360.0, columns
    around = round(360.0 / step)
    if abs(around * step - 360.0) > step / 2 or around > _MOST_FILLED:
        message = f"longitudes of {x[0]:g} to {x[-1]:g} cross 180 with a spacing that does not divide 360 degrees."
        raise AssetUnreadable(message)
    # Columns beyond a whole round (a cyclic point) repeat the first ones.
    x, columns = x[:around], columns[:around]
    beyond = x >= 180.0 - step / 100
    first = x[beyond][0] - 360.0 if beyond.any() else x[0]
    places = np.round((np.where(beyond, x - 360.0, x) - first) / step).astype(np.int64) % around
    filled = np.full(around, -1, dtype=np.int64)
    filled[places] = columns
    return first + step * np.arange(around), filled


def _requested(text: str) -> CRS:
    try:
        return CRS.from_string(text[:2000])
    except (CRSError, ValueError) as exc:
        message = f"crs: {text[:80]!r} is no coordinate reference system that is known here."
        raise InvalidParameter(message, target="crs") from exc


def _crs_of(array: xr.DataArray, x_dim: str, y_dim: str) -> CRS:
    """Of the grid mapping (CF 5.6); else geographic where the axes say that they are degrees."""
    mapping = array.encoding.get("grid_mapping") or array.attrs.get("grid_mapping")
    names = [str(mapping).split(":", 1)[0]] if mapping else ["spatial_ref", "crs"]
    for name in names:
        if name in array.coords:
            found = _of_mapping(dict(array.coords[name].attrs))
            if found is not None:
                return found
    own = array.attrs.get("crs")  # as xarray's rasterio reader wrote it once
    if isinstance(own, str) and own:
        try:
            return CRS.from_string(own)
        except CRSError:
            pass
    units = [str(array.coords[dim].attrs.get("units", "")).lower() for dim in (x_dim, y_dim) if dim in array.coords]
    kinds = [str(array.coords[dim].attrs.get("standard_name", "")) for dim in (x_dim, y_dim) if dim in array.coords]
    is_named = x_dim.lower() in {"lon", "longitude"} and y_dim.lower() in {"lat", "latitude"}
    if (set(units) & _EAST and set(units) & _NORTH) or kinds == ["longitude", "latitude"] or is_named:
        return CRS.from_epsg(4326)
    raise InvalidParameter(
        f"Nothing in the file says which coordinate reference system {array.name!r} is in: give it with crs=EPSG:….",
        target="crs",
    )


def _of_mapping(attributes: dict[str, Any]) -> CRS | None:
    for name in ("crs_wkt", "spatial_ref"):
        text = attributes.get(name)
        if isinstance(text, str) and text:
            try:
                return CRS.from_wkt(text)
            except CRSError:
                continue
    if "grid_mapping_name" not in attributes:
        return None
    plain = {name: value.tolist() if hasattr(value, "tolist") else value for name, value in attributes.items()}
    try:
        return CRS.from_wkt(pyproj.CRS.from_cf(plain).to_wkt())
    except (PyprojError, CRSError, KeyError, ValueError, TypeError):
        return None


def _listed(names: Any) -> str:
    return ", ".join(str(name) for name in names) or "none"
