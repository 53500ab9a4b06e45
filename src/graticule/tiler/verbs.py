"""What a render process can do: one function per verb, from a job to a header of plain JSON and a body.

| verb | header | body |
| --- | --- | --- |
| image | media_type, items, width, height, bounds, crs | the picture |
| info | assets: key → TilerInfo | |
| statistics | statistics: band → BandStatistics | |
| asset_statistics | statistics: asset → band → BandStatistics | |
| point | values, band_names, items | |
| zooms | minzoom, maxzoom | |
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np
from rio_tiler.models import ImageData

from graticule.tiler.jobs import Job, Shape, Verb
from graticule.tiler.mosaics import read_image
from graticule.tiler.parameters import StatisticsOptions
from graticule.tiler.reading import Datasets, LayerReader, crs_of
from graticule.tiler.rendering import render, treat
from graticule.tiler.selection import Selection

Result = tuple[dict[str, Any], bytes]


def run(job: Job, datasets: Datasets) -> Result:
    """Do a job. Raises the errors of this catalog only, unless we have a bug."""
    return _VERBS[job.verb](job, datasets)


def _image(job: Job, datasets: Datasets) -> Result:
    image, items = read_image(job, datasets)
    image = treat(image, job)
    body, media_type = render(image, job.parameters, lambda: _reader(job, 0, datasets).palette())
    header: dict[str, Any] = {"media_type": media_type, "items": items, "width": image.width, "height": image.height}
    if image.bounds is not None:
        header["bounds"] = list(image.bounds)
    if image.crs is not None:
        header["crs"] = image.crs.to_string()
    return header, body


def _info(job: Job, datasets: Datasets) -> Result:
    reader = _reader(job, 0, datasets)
    found: dict[str, Any] = {}
    for asset in job.selection.assets:
        with reader.open(asset) as opened:
            document = opened.info().model_dump(mode="json", exclude_none=True)
            found[asset] = {**document, "minzoom": opened.minzoom, "maxzoom": opened.maxzoom}
    return {"assets": found}, b""


def _statistics(job: Job, datasets: Datasets) -> Result:
    image, items = read_image(job, datasets)
    image = treat(image, job)
    return {"statistics": _counted(image, job), "items": items}, b""


def _asset_statistics(job: Job, datasets: Datasets) -> Result:
    found = {}
    for read in job.selection.reads:
        reader = LayerReader(job.layers[0], Selection((read,)), job.parameters, datasets, job.max_pixels)
        image = reader.image(job.area)
        image.band_names = [name.removeprefix(f"{read.asset}_") for name in image.band_names]
        found[read.asset] = _counted(image, job)
    return {"statistics": found}, b""


def _point(job: Job, datasets: Datasets) -> Result:
    image, items = read_image(job, datasets)
    values = image.array[:, 0, 0].tolist()  # None where the pixel is masked
    return {"values": values, "band_names": image.band_names, "items": items}, b""


def _zooms(job: Job, datasets: Datasets) -> Result:
    zooms = []
    for at, layer in enumerate(job.layers):
        reader = _reader(job, at, datasets)
        for asset in job.selection.assets:
            if layer.source(asset) is not None:
                with reader.open(asset) as opened:
                    zooms.append((opened.minzoom, opened.maxzoom))
    return {"minzoom": min(low for low, _ in zooms), "maxzoom": max(high for _, high in zooms)}, b""


_VERBS: Final[dict[Verb, Callable[[Job, Datasets], Result]]] = {
    "image": _image,
    "info": _info,
    "statistics": _statistics,
    "asset_statistics": _asset_statistics,
    "point": _point,
    "zooms": _zooms,
}


def _reader(job: Job, at: int, datasets: Datasets) -> LayerReader:
    return LayerReader(job.layers[at], job.selection, job.parameters, datasets, job.max_pixels)


def _counted(image: ImageData, job: Job) -> dict[str, Any]:
    """Statistics of each band. Pixels that a shape only touches count by the part that lies inside."""
    options = job.parameters.statistics
    coverage = None
    if isinstance(job.area, Shape):
        shape_crs = crs_of(job.parameters.coord_crs, "coord_crs")
        coverage = image.get_coverage_array(dict(job.area.geometry), shape_crs=shape_crs)
    found = image.statistics(
        categorical=options.categorical,
        categories=list(options.categories) or None,
        percentiles=list(options.percentiles),  # type: ignore[arg-type]  # they may lie between whole numbers
        hist_options=_histogram(options),
        coverage=coverage,
    )
    return {name: statistics.model_dump(exclude={"description"}) for name, statistics in found.items()}


def _histogram(options: StatisticsOptions) -> dict[str, Any]:
    if options.categorical:
        return {}
    bins = options.bins if isinstance(options.bins, int) else np.array(options.bins)
    return {"bins": bins} | ({"range": options.range} if options.range else {})
