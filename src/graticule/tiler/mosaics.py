"""Owns: pixels of several layers, merged by a rule (``pixel_selection``), inside a render process."""

from __future__ import annotations

import time
from typing import Final

import numpy as np
from rio_tiler.models import ImageData
from rio_tiler.mosaic.methods import PixelSelectionMethod
from rio_tiler.mosaic.methods.defaults import FirstMethod
from rio_tiler.utils import resize_array

from graticule.errors import OutsideData
from graticule.tiler.jobs import Job, Point
from graticule.tiler.reading import Datasets, LayerReader

_POINT: Final = Point


class _First(FirstMethod):
    """The topmost value of each pixel: as rio-tiler's, without a copy of the whole for each layer."""

    def feed(self, array: np.ma.MaskedArray | None) -> None:
        """Fill what is missing so far."""
        if array is None or self.mosaic is None:
            self.mosaic = array
            return
        missing, mask = np.ma.getmaskarray(self.mosaic), np.ma.getmaskarray(array)
        np.copyto(self.mosaic.data, array.data, where=missing & ~mask)
        self.mosaic.mask = missing & mask


def read_image(job: Job, datasets: Datasets) -> tuple[ImageData, tuple[str, ...]]:
    """Pixels of a job's area, and the ids of the items that they come from.

    Raises:
        OutsideData: no layer reaches there.
    """
    if not job.is_mosaic:
        return _layer(job, 0, datasets), (job.layers[0].item,)
    chosen = job.parameters.pixel_selection
    method = _First() if chosen == "first" else PixelSelectionMethod[chosen].value()
    method.exit_when_filled = job.parameters.mosaic.exitwhenfull
    first: ImageData | None = None
    used: list[str] = []
    until = time.monotonic() + job.parameters.mosaic.time_limit
    for at, layer in enumerate(job.layers):
        if used and time.monotonic() > until:
            break
        try:
            image = _layer(job, at, datasets)
        except OutsideData:
            continue
        if first is None:
            first = image
            method.cutline_mask = image.cutline_mask
            method.width, method.height, method.count = image.width, image.height, image.count
        if image.count != first.count:
            continue  # of another make than the topmost: its bands mean something else
        method.feed(_fitted(image, first))
        used.append(layer.item)
        if method.is_done and method.data is not None:
            break
    if first is None or method.data is None:
        raise OutsideData("No item reaches there.")
    merged = ImageData(method.data, bounds=first.bounds, crs=first.crs, cutline_mask=first.cutline_mask)
    merged.band_names = first.band_names if merged.count == first.count else [f"b{n + 1}" for n in range(merged.count)]
    return merged, tuple(used)


def _layer(job: Job, at: int, datasets: Datasets) -> ImageData:
    reader = LayerReader(job.layers[at], job.selection, job.parameters, datasets, job.max_pixels)
    return reader.point(job.area) if isinstance(job.area, _POINT) else reader.image(job.area)


def _fitted(image: ImageData, first: ImageData) -> np.ma.MaskedArray:
    if (image.width, image.height) == (first.width, first.height):
        return image.array
    height, width = first.height, first.width
    mask = resize_array(np.ma.getmaskarray(image.array).astype("uint8"), height, width).astype(bool)
    return np.ma.MaskedArray(resize_array(image.array.data, height, width), mask=mask)
