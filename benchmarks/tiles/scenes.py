"""The COGs that are drawn, made on the spot and always the same, and the STAC items that name them.

Waves with noise upon them: photographs compress about as badly. `single` are four kinds of file, each an item of its
own; `grid` are scenes that overlap each other, of three dates, each with an edge without data.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.transform import from_origin
from rasterio.warp import transform_bounds
from rio_cogeo.cogeo import cog_translate
from rio_cogeo.profiles import cog_profiles

SINGLE: Final = "bench-single"
GRID: Final = "bench-grid"
_COG: Final = "image/tiff; application=geotiff; profile=cloud-optimized"
_DATES: Final = 3
#: A class and its colour; also in the file, where the peer does not look for it.
_CLASSES: Final = {10 * at: (20 * at, 255 - 20 * at, 5 * at, 255) for at in range(12)}
_THREE: Final = "assets=data&asset_bidx=data%7C1,2,3&rescale=0,9000"
_PEER_THREE: Final = "assets=data%7Cbidx=1,2,3&rescale=0,9000"
_SIDE: Final = 4  # scenes along each side of the grid
_SCENE: Final = 1024  # pixels along each side of its scenes


@dataclass(frozen=True)
class Scene:
    """A file and the item that has it as its only asset, ``data``."""

    collection: str
    id: str
    file: Path
    bounds: tuple[float, float, float, float]  #: degrees
    moment: str
    zoom: int  #: at which a tile has about the pixels of the file
    query: str = "assets=data"  #: how it is drawn
    peer_query: str = ""  #: the same as the peer has it, where that is another way
    may_differ: float = 0.12  #: share of pixels

    def item(self, href: str) -> dict[str, Any]:
        """Its STAC item."""
        west, south, east, north = self.bounds
        ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
        return {
            "type": "Feature", "stac_version": "1.0.0", "stac_extensions": [], "id": self.id, "links": [],
            "collection": self.collection, "bbox": list(self.bounds), "properties": {"datetime": self.moment},
            "geometry": {"type": "Polygon", "coordinates": [ring]},
            "assets": {"data": {"href": href, "type": _COG, "roles": ["data"]}},
        }  # fmt: skip


def collection(name: str) -> dict[str, Any]:
    """A STAC collection."""
    extent = {"spatial": {"bbox": [[-180, -90, 180, 90]]}, "temporal": {"interval": [["2024-01-01T00:00:00Z", None]]}}
    return {
        "type": "Collection", "stac_version": "1.0.0", "id": name, "description": "Made-up scenes.", "links": [],
        "license": "CC0-1.0", "extent": extent,
    }  # fmt: skip


def write(folder: Path, side: int) -> list[Scene]:
    """Make the files that are missing.

    Args:
        folder: for them.
        side: pixels along each side of the single ones.
    """
    folder.mkdir(parents=True, exist_ok=True)
    kinds: list[tuple[str, str, tuple[float, float, float], Any, dict[str, Any], int, str]] = []
    made = folder / f"made-{side}"
    waves = None if made.exists() else _waves(side, 4, 0)

    def values(top: float, dtype: str, bands: int) -> Any:
        return None if waves is None else np.clip(waves[:bands] * top, 1, top).astype(dtype)

    classes = None if waves is None else (np.clip(_waves(side, 1, 0, noise=0), 0, 0.99) * 10).astype("u1") * 10
    kinds.append(("rgb", "EPSG:32631", (500_000, 5_000_000, 10), values(255, "uint8", 3), {}, 13, "assets=data"))
    kinds.append(
        (
            "classes",
            "EPSG:4326",
            (3, 45, 0.0001),
            classes,
            {},
            13,
            f"assets=data&colormap={quote(json.dumps(_CLASSES))}",
        )
    )
    kinds.append(
        ("bands", "EPSG:32631", (700_000, 5_000_000, 10), values(9000, "uint16", 4), {"nodata": 0}, 13, _THREE)
    )
    kinds.append(("mercator", "EPSG:3857", (0, 5_600_000, 10), values(255, "uint8", 3), {}, 14, "assets=data"))
    found = []
    for name, crs, origin, data, profile, zoom, query in kinds:
        file = folder / f"{name}-{side}.tif"
        if data is not None:
            _write(file, data, crs, origin, profile)
        scene = Scene(SINGLE, name, file, _bounds(file), "2024-05-01T10:00:00Z", zoom, query)
        if name == "bands":  # of some bands GDAL reads an overview in two steps: it draws many a neighbouring pixel
            scene = replace(scene, peer_query=_PEER_THREE, may_differ=0.7)
        found.append(scene)
    made.touch()
    return found + _grid(folder)


def _grid(folder: Path) -> list[Scene]:
    step, found = int(_SCENE * 0.9), []
    for number in range(_DATES * _SIDE * _SIDE):
        date, place = divmod(number, _SIDE * _SIDE)
        row, column = divmod(place, _SIDE)
        file = folder / f"grid-{date}-{row}-{column}.tif"
        if not file.exists():
            data = np.clip(_waves(_SCENE, 3, number) * 255, 1, 255).astype("uint8")
            rows, columns = np.mgrid[0:_SCENE, 0:_SCENE]
            data[:, columns + 0.15 * rows < 0.05 * _SCENE] = 0  # a slanted edge without data
            _write(
                file, data, "EPSG:32632", (400_000 + column * step * 10, 5_600_000 - row * step * 10, 10), {"nodata": 0}
            )
        moment = f"2024-06-{1 + date:02}T10:{row:02}:{column:02}Z"
        found.append(Scene(GRID, f"scene-{date}-{row}-{column}", file, _bounds(file), moment, 13))
    return found


def _waves(side: int, bands: int, seed: int, noise: float = 0.03) -> NDArray[Any]:
    generator = np.random.default_rng(seed)
    rows, columns = np.mgrid[0:side, 0:side].astype("float32")
    made = np.empty((bands, side, side), "float32")
    for band in range(bands):
        made[band] = np.sin(columns / (37 + 7 * band)) + np.cos(rows / (53 + 3 * band)) + np.sin((rows + columns) / 211)
        made[band] = made[band] / 7 + 0.5 + noise * generator.standard_normal((side, side), "float32")
    return made


def _write(file: Path, data: NDArray[Any], crs: str, origin: tuple[float, float, float], more: dict[str, Any]) -> None:
    west, north, resolution = origin
    count, height, width = data.shape
    profile = {"driver": "GTiff", "count": count, "height": height, "width": width, "dtype": data.dtype, "crs": crs}
    is_classes = crs == "EPSG:4326"
    with rasterio.MemoryFile() as memory:
        with memory.open(**profile, **more, transform=from_origin(west, north, resolution, resolution)) as target:
            target.write(data)
            if is_classes:
                target.write_colormap(1, _CLASSES)
        cog = {**cog_profiles.get("deflate"), "blockxsize": 512, "blockysize": 512, "predictor": 2}  # type: ignore[no-untyped-call]
        resampling: Any = "nearest" if is_classes else "average"
        with memory.open() as source:
            cog_translate(source, file, cog, in_memory=True, quiet=True, overview_resampling=resampling, **more)


def _bounds(file: Path) -> tuple[float, float, float, float]:
    with rasterio.open(file) as dataset:
        west, south, east, north = transform_bounds(dataset.crs, "EPSG:4326", *dataset.bounds)
    return west, south, east, north
