"""Owns: pixels for readers: tiles, crops, previews, points and statistics of items and mosaics.

Refuses: to open anything but managed files, by their path and with named formats; to read a pixel in the process
that answers requests (rasterio and rio-tiler are imported by render processes only).

A request becomes `RenderParameters`, a `Target` (whose pixels), a `Selection` (which bands) and an `Area` (where); the
`Tiler` makes a `Job` of them, which is all that a render process is told, and whose digest is the answer's ETag.
Entry points: `Tiler`, `parse_parameters`, `targets`; inside a render process `verbs.run`.
"""

from graticule.tiler import grids
from graticule.tiler.jobs import Area, Box, Job, Layer, Point, Shape, Source, Tile
from graticule.tiler.options import check_options
from graticule.tiler.parameters import RenderParameters, parse_parameters
from graticule.tiler.process import Answer
from graticule.tiler.selection import Selection, select
from graticule.tiler.service import Tiler
from graticule.tiler.targets import ItemTarget, Target

__all__ = [
    "Answer",
    "Area",
    "Box",
    "ItemTarget",
    "Job",
    "Layer",
    "Point",
    "RenderParameters",
    "Selection",
    "Shape",
    "Source",
    "Target",
    "Tile",
    "Tiler",
    "check_options",
    "grids",
    "parse_parameters",
    "select",
]
