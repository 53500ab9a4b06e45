"""Owns: from pixels to a picture, inside a render process: algorithm, rescale, colour formula, colour map, encoding."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, Final

import numpy as np
from rio_tiler.colormap import cmap
from rio_tiler.errors import InvalidFormat
from rio_tiler.models import ImageData

from graticule.errors import InvalidParameter
from graticule.tiler.algorithms import apply_algorithm
from graticule.tiler.encoding import encode, encode_classes, rescaled, table
from graticule.tiler.jobs import Job, Tile
from graticule.tiler.names import MEDIA_TYPES
from graticule.tiler.parameters import Colormap, RenderParameters
from graticule.tiler.reading import PICTURES, read_buffer

#: GDAL's driver of each format, and how it is asked to write.
_DRIVERS: Final[dict[str, tuple[str, dict[str, Any]]]] = {
    "png": ("PNG", {"ZLEVEL": 1}),
    "pngraw": ("PNG", {"ZLEVEL": 1}),
    "jpeg": ("JPEG", {"QUALITY": 85}),
    "jpg": ("JPEG", {"QUALITY": 85}),
    "webp": ("WEBP", {"QUALITY": 75}),
    "jp2": ("JP2OpenJPEG", {}),
    "tif": ("GTiff", {"compress": "deflate"}),
    "npy": ("NPY", {}),
}
#: Formats that show a picture: one band (grey) or three (red, green, blue), and a mask.
_PICTURES: Final = frozenset({"png", "pngraw", "jpeg", "jpg", "webp", "jp2"})

Palette = Callable[[], dict[int, tuple[int, int, int, int]] | None]


def treat(image: ImageData, job: Job) -> ImageData:
    """Apply the algorithm, where one is asked for."""
    parameters = job.parameters
    if parameters.algorithm is None:
        return image
    buffer = read_buffer(parameters) if isinstance(job.area, Tile) else 0.0
    return apply_algorithm(image, parameters.algorithm, dict(parameters.algorithm_params), buffer=buffer)


def render(image: ImageData, parameters: RenderParameters, palette: Palette) -> tuple[bytes, str]:
    """A picture and its media type.

    Args:
        image: its array is changed.
        parameters: how it is shown.
        palette: asks for the colours that the file itself has; used where the request chooses none.

    Raises:
        InvalidParameter: bands, colours and format do not go together.
    """
    colormap = _colors(parameters.colormap) if parameters.colormap else None
    if colormap is None and _is_plain(parameters) and image.count == 1 and image.array.dtype in ("uint8", "uint16"):
        colormap = palette()
    if parameters.rescale:
        if len(parameters.rescale) not in {1, image.count}:
            message = f"rescale: {len(parameters.rescale)} pairs for {image.count} bands: give one, or one for each."
            raise InvalidParameter(message, target="rescale")
        scaled = rescaled(image.array, parameters.rescale) if image.alpha_mask is None else None
        if scaled is None:
            image.rescale(parameters.rescale)
        else:
            image.array = scaled
    if parameters.color_formula:
        _color_formula(image, parameters.color_formula)
    if colormap is not None and image.count != 1:
        message = f"A colour map colours one band, not {image.count}: choose one with asset_bidx or expression."
        raise InvalidParameter(message, target="colormap")
    name = parameters.format or ("jpeg" if not parameters.return_mask or _is_full(image, colormap) else "png")
    if name in _PICTURES and colormap is None and image.count not in {1, 3}:
        message = f"A {name} shows one band or three, not {image.count}: choose with asset_bidx, or take tif or npy."
        raise InvalidParameter(message, target="asset_bidx")
    body = _quickly(image, colormap, name, is_masked=parameters.return_mask)
    if body is not None:
        return body, MEDIA_TYPES[name]
    driver, options = _DRIVERS[name]
    try:
        body = image.render(add_mask=parameters.return_mask, img_format=driver, colormap=colormap, **options)
    except InvalidFormat as exc:
        raise InvalidParameter(f"These bands cannot be written as {name}: {exc}.", target="format") from exc
    return body, MEDIA_TYPES[name]


def _quickly(image: ImageData, colormap: Any, name: str, *, is_masked: bool) -> bytes | None:
    """The picture by one of the fast encoders; None where GDAL is to write it."""
    if name not in PICTURES or image.alpha_mask is not None:
        return None
    values = image.array.data
    # A pixel shows where any of its bands has a value.
    valid = ~np.logical_and.reduce(np.ma.getmaskarray(image.array)) if is_masked else None
    if colormap is None:
        return encode(values, valid, name)
    colors = _table(colormap, values.dtype)
    return None if colors is None else encode_classes(values[0], valid, colors, name)


def _table(colormap: Any, dtype: np.dtype[Any]) -> Any:
    """The colour of each value, remembered: many tiles share few colour maps."""
    pairs = (
        tuple(colormap.items())
        if isinstance(colormap, dict)
        else tuple((tuple(key), tuple(color)) for key, color in colormap)
    )
    return _remembered_table(pairs, isinstance(colormap, dict), dtype)


@lru_cache(maxsize=64)
def _remembered_table(pairs: tuple[Any, ...], is_discrete: bool, dtype: np.dtype[Any]) -> Any:
    return table(dict(pairs) if is_discrete else list(pairs), dtype)


def _is_plain(parameters: RenderParameters) -> bool:
    """Are values shown as they are, so that the file's own colours fit them?"""
    return not (parameters.rescale or parameters.color_formula or parameters.algorithm or parameters.unscale) and (
        parameters.format not in {"tif", "npy"}
    )


def _is_full(image: ImageData, colormap: Any) -> bool:
    if np.ma.getmaskarray(image.array).any() or image.alpha_mask is not None:
        return False
    colors = [color for _, color in colormap] if isinstance(colormap, Sequence) else (colormap or {}).values()
    return all(color[3] == 255 for color in colors) and not _leaves_out(colormap)


def _leaves_out(colormap: Any) -> bool:
    """May values be without a colour? Those become transparent."""
    return colormap is not None and (isinstance(colormap, Sequence) or len(colormap) != 256)


@lru_cache(maxsize=64)
def _colors(colormap: Colormap) -> Any:
    """As rio-tiler takes it."""
    if colormap.name is not None:
        return cmap.get(colormap.name)
    if colormap.classes is not None:
        return {int(value) if value.is_integer() else value: color for value, color in colormap.classes}
    return list(colormap.intervals or ())


def _color_formula(image: ImageData, formula: str) -> None:
    if image.array.dtype != np.uint8:
        message = "A colour formula works on values of 0 to 255: give rescale too."
        raise InvalidParameter(message, target="color_formula")
    try:
        image.apply_color_formula(formula)
    except (ValueError, KeyError, IndexError, TypeError) as exc:
        message = f"color_formula: {formula[:80]!r} cannot be used here: {str(exc)[:200]}."
        raise InvalidParameter(message, target="color_formula") from exc
