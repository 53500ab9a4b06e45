"""What a render process is told, as plain frozen values: everything an answer depends on, and nothing else.

Keys of stored files are never used twice, so a `Job` names its bytes exactly: two equal jobs have equal answers, and
the digest of a job is its answer's ETag.
"""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, Literal

from graticule import __version__
from graticule.tiler.parameters import RenderParameters
from graticule.tiler.selection import Selection

Bounds = tuple[float, float, float, float]  #: west, south, east, north (or left, bottom, right, top)

#: What a render process can do: see `verbs`.
Verb = Literal["image", "info", "statistics", "asset_statistics", "point", "zooms"]

#: Changes when the same job has another answer than before.
_REVISION: Final = 1


@dataclass(frozen=True, slots=True)
class Source:
    """A file to read."""

    path: (
        str  #: absolute, in the local folder of managed assets; of an object in a bucket its name below `remote.FOLDER`
    )
    reader: str = "raster"  #: which of `reading.READERS` opens it


@dataclass(frozen=True, slots=True)
class Layer:
    """An item, as far as pixels go."""

    collection: str
    item: str
    sources: tuple[tuple[str, Source], ...]  #: asset key and file, only of assets that the request reads
    #: Where the item lies, degrees; of a mosaic, whose layers are read only where those above leave something to show.
    bounds: Bounds | None = None

    def source(self, asset: str) -> Source | None:
        """The file of an asset; None where this item lacks it."""
        return dict(self.sources).get(asset)


@dataclass(frozen=True, slots=True)
class Tile:
    """A tile of a tile matrix set."""

    tile_matrix_set: str
    z: int
    x: int
    y: int


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle, in ``coord_crs``."""

    bounds: Bounds


@dataclass(frozen=True, slots=True)
class Shape:
    """A GeoJSON geometry, in ``coord_crs``."""

    geometry: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Point:
    """A position, in ``coord_crs``."""

    x: float
    y: float


#: None: all of it, as a preview.
Area = Tile | Box | Shape | Point | None


@dataclass(frozen=True, slots=True)
class Job:
    """One piece of work for a render process."""

    verb: Verb
    layers: tuple[Layer, ...]  #: the topmost first
    selection: Selection
    parameters: RenderParameters
    area: Area = None
    is_mosaic: bool = False  #: are layers merged by `pixel_selection`, and may some fail to cover the area?
    max_pixels: int = 1 << 24  #: pixels times bands that may be read or written

    @property
    def etag(self) -> str:
        """A strong entity tag of the answer, with quotes."""
        # The repr of frozen dataclasses of plain values is the same in every process.
        return '"' + hashlib.sha256(f"{__version__}/{_REVISION}/{self!r}".encode()).hexdigest()[:32] + '"'


def pack(job: Job) -> bytes:
    """A job as a message to a render process."""
    place = (job.verb, job.layers, job.area, job.is_mosaic, job.max_pixels)
    # What an algorithm is told may hold lists, and 1 and true, which are equal and mean different things.
    packed = _packed_how.__wrapped__ if job.parameters.algorithm_params else _packed_how
    return pickle.dumps((packed(job.selection, job.parameters), place), pickle.HIGHEST_PROTOCOL)


def unpack(message: bytes) -> Job:
    """The job that `pack` packed. Only of messages that our own process wrote."""
    how, (verb, layers, area, is_mosaic, max_pixels) = pickle.loads(message)  # noqa: S301
    selection, parameters = _unpacked_how(how)
    return Job(verb, layers, selection, parameters, area, is_mosaic, max_pixels)


# What is drawn how is the same for all tiles of a layer, and most of a message.


@lru_cache(maxsize=256)
def _packed_how(selection: Selection, parameters: RenderParameters) -> bytes:
    return pickle.dumps((selection, parameters), pickle.HIGHEST_PROTOCOL)


@lru_cache(maxsize=256)
def _unpacked_how(packed: bytes) -> tuple[Selection, RenderParameters]:
    selection, parameters = pickle.loads(packed)  # noqa: S301
    return selection, parameters
