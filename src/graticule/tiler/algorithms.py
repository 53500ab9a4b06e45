"""Owns: what ``algorithm`` does to pixels, inside a render process (api.md 5.2).

Terrain: hillshade, slope, contours, terrarium, terrainrgb (of one band of heights). Bands: normalizedIndex (of two),
min, max, median, mean, std, var (over all). Values: cast, ceil, floor.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from rio_tiler.colormap import apply_cmap, cmap
from rio_tiler.models import ImageData
from rio_tiler.utils import linear_rescale

from graticule.errors import InvalidParameter

Array = np.ma.MaskedArray


@dataclass(frozen=True, slots=True)
class _Range:
    """A number that an algorithm takes."""

    default: float
    least: float
    most: float


@dataclass(frozen=True, slots=True)
class Algorithm:
    """A function of an image's array, and what it needs."""

    apply: Callable[[ImageData, Mapping[str, float]], Array]
    parameters: Mapping[str, _Range]
    bands: int | None = None  #: how many it takes; None: any


def apply_algorithm(image: ImageData, name: str, given: Mapping[str, Any], *, buffer: float) -> ImageData:
    """The image that an algorithm makes; pixels that were read as a buffer around it are cut off.

    Raises:
        InvalidParameter: the parameters, or the number of bands, do not suit it.
    """
    algorithm = ALGORITHMS[name]
    if algorithm.bands is not None and image.count != algorithm.bands:
        message = f"algorithm: {name} works on {algorithm.bands} bands, not {image.count}: choose with asset_bidx."
        raise InvalidParameter(message, target="algorithm")
    with np.errstate(all="ignore"):
        array = algorithm.apply(image, _checked(name, algorithm, given))
    bounds = image.bounds
    edge = math.ceil(buffer)
    if name in NEIGHBOURS and edge and bounds is not None:
        across, down = (bounds[2] - bounds[0]) / image.width, (bounds[3] - bounds[1]) / image.height
        array = array[:, edge:-edge, edge:-edge]
        bounds = (
            *(bounds[0] + edge * across, bounds[1] + edge * down),
            *(bounds[2] - edge * across, bounds[3] - edge * down),
        )
    made = ImageData(array, bounds=bounds, crs=image.crs)
    same = made.count == image.count
    made.band_names = list(image.band_names) if same else [f"{name}_b{at + 1}" for at in range(made.count)]
    return made


def _checked(name: str, algorithm: Algorithm, given: Mapping[str, Any]) -> dict[str, float]:
    values = {parameter: limits.default for parameter, limits in algorithm.parameters.items()}
    for parameter, value in given.items():
        limits = algorithm.parameters.get(parameter)
        if limits is None:
            if parameter == "buffer":
                continue  # others cut it off; here the request's own buffer is
            known = ", ".join(algorithm.parameters) or "none"
            message = f"algorithm_params: {name} has no {parameter[:40]!r}; it takes {known}."
            raise InvalidParameter(message, target="algorithm_params")
        if isinstance(value, bool) or not isinstance(value, int | float) or not limits.least <= value <= limits.most:
            message = f"algorithm_params: {parameter} is a number within {limits.least:g} and {limits.most:g}."
            raise InvalidParameter(message, target="algorithm_params")
        values[parameter] = value
    return values


# --- terrain ---------------------------------------------------------------------------------------------------------


def _hillshade(image: ImageData, values: Mapping[str, float]) -> Array:
    down, across = np.gradient(image.array.data[0].astype("float64") * values["z_exaggeration"])
    steepness = np.pi / 2 - np.arctan(np.hypot(across, down))
    aspect = np.arctan2(-down, across)
    azimuth, altitude = np.radians(360.0 - values["azimuth"]), np.radians(values["angle_altitude"])
    light = np.sin(altitude) * np.sin(steepness)
    light += np.cos(altitude) * np.cos(steepness) * np.cos(azimuth - aspect)
    return _like(image, np.clip(255 * (light + 1) / 2, 0, 255).astype("uint8"))


def _slope(image: ImageData, _values: Mapping[str, float]) -> Array:
    """Degrees; heights are in the unit of the picture's reference system."""
    transform = image.transform
    down, across = np.gradient(image.array.data[0].astype("float64"), abs(transform.e), abs(transform.a))
    return _like(image, np.degrees(np.arctan(np.hypot(across, down))).astype("float32"))


def _contours(image: ImageData, values: Mapping[str, float]) -> Array:
    heights = image.array.data
    shades = linear_rescale(heights, (values["minz"], values["maxz"]), (1, 255)).astype("uint8")
    colors, _ = apply_cmap(shades, cmap.get("terrain"))
    lines = heights % values["increment"] < values["thickness"]
    return _like(image, np.where(lines, 0, colors).astype("uint8"))


def _terrarium(image: ImageData, values: Mapping[str, float]) -> Array:
    heights = np.clip(_filled(image, values) + 32768.0, 0.0, 65535.99)
    return _like(image, np.stack([heights // 256, heights % 256, (heights * 256) % 256]).astype("uint8"))


def _terrainrgb(image: ImageData, values: Mapping[str, float]) -> Array:
    steps = np.round((_filled(image, values) - values["baseval"]) / values["interval"])
    steps = np.clip(steps, 0, 256**3 - 1).astype("uint32")
    return _like(image, np.stack([steps >> 16, (steps >> 8) & 255, steps & 255]).astype("uint8"))


def _filled(image: ImageData, values: Mapping[str, float]) -> Any:
    heights = image.array.data[0].astype("float64")
    return np.where(np.ma.getmaskarray(image.array)[0], values["nodata_height"], heights)


# --- bands and values ------------------------------------------------------------------------------------------------


def _normalized_index(image: ImageData, _values: Mapping[str, float]) -> Array:
    first, second = image.array.data.astype("float32")
    total = first + second
    index = np.where(total != 0, (second - first) / np.where(total != 0, total, 1), 0)
    return _like(image, index.astype("float32"))


def _over_bands(reduce: Callable[..., Any]) -> Algorithm:
    def apply(image: ImageData, _values: Mapping[str, float]) -> Array:
        found = reduce(image.array, axis=0)
        return np.ma.MaskedArray(found.data[None], mask=np.ma.getmaskarray(found)[None])

    return Algorithm(apply, {})


def _by_value(function: Callable[..., Any]) -> Algorithm:
    def apply(image: ImageData, _values: Mapping[str, float]) -> Array:
        return np.ma.MaskedArray(function(image.array.data), mask=np.ma.getmaskarray(image.array))

    return Algorithm(apply, {})


def _cast(image: ImageData, values: Mapping[str, float]) -> Array:
    data = np.nan_to_num(np.clip(image.array.data, values["out_min"], values["out_max"]))
    return np.ma.MaskedArray(data.astype("uint8"), mask=np.ma.getmaskarray(image.array))


def _like(image: ImageData, data: Any) -> Array:
    """As many bands as the data has, masked where any band of the image is."""
    data = data if data.ndim == 3 else data[None]
    mask = np.logical_or.reduce(np.ma.getmaskarray(image.array))
    return np.ma.MaskedArray(data, mask=np.broadcast_to(mask, data.shape).copy())


_HEIGHT: Final = _Range(0, -100_000, 100_000)
ALGORITHMS: Final[Mapping[str, Algorithm]] = {
    "hillshade": Algorithm(
        _hillshade,
        {
            "azimuth": _Range(45, 0, 360),
            "angle_altitude": _Range(45, -90, 90),
            "z_exaggeration": _Range(1, 1e-6, 1e6),
        },
        bands=1,
    ),
    "slope": Algorithm(_slope, {}, bands=1),
    "contours": Algorithm(
        _contours,
        {
            "increment": _Range(35, 0.001, 100_000),
            "thickness": _Range(1, 0, 100_000),
            "minz": _Range(-12_000, -99_999, 99_999),
            "maxz": _Range(8000, -99_999, 99_999),
        },
        bands=1,
    ),
    "terrarium": Algorithm(_terrarium, {"nodata_height": _HEIGHT}, bands=1),
    "terrainrgb": Algorithm(
        _terrainrgb,
        {
            "interval": _Range(0.1, 1e-6, 1000),
            "baseval": _Range(-10_000, -100_000, 99_999),
            "nodata_height": _HEIGHT,
        },
        bands=1,
    ),
    "normalizedIndex": Algorithm(_normalized_index, {}, bands=2),
    "cast": Algorithm(_cast, {"out_min": _Range(0, 0, 255), "out_max": _Range(255, 0, 255)}),
    "ceil": _by_value(np.ceil),
    "floor": _by_value(np.floor),
    "min": _over_bands(np.ma.min),
    "max": _over_bands(np.ma.max),
    "median": _over_bands(np.ma.median),
    "mean": _over_bands(np.ma.mean),
    "std": _over_bands(np.ma.std),
    "var": _over_bands(np.ma.var),
}
#: Those that look at a pixel's neighbours: a buffer that was read for them is cut off again.
NEIGHBOURS: Final = frozenset({"hillshade", "slope"})
#: What is read around a tile for these where the request names no buffer, pixels.
TERRAIN_BUFFER: Final = 2.0
