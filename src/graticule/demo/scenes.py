"""The demo's pixels: land cover of a made-up landscape, written as GeoTIFFs.

One landscape lies around the point where four supercells of the Sentinel-2 grid meet (42 degrees west, 8 degrees
south; two UTM zones). It is drawn once, on a geographic grid, from a seed; each tile is a window of it in its own UTM
zone, so that neighbouring tiles fit together and the pixels outside a tile's share are nodata, as in real products of
this kind. The class codes are those of the annual land cover series that the published quickstart reads, so its colour
map fits. Nothing here shows a real place.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import rasterio.shutil
from numpy.typing import NDArray
from rasterio.crs import CRS
from rasterio.enums import Resampling
from rasterio.errors import NotGeoreferencedWarning
from rasterio.io import MemoryFile
from rasterio.transform import Affine
from rasterio.warp import reproject, transform_bounds

#: Where the four tiles meet, degrees.
MEETING_POINT = (-42.0, -8.0)
#: Ground size of a pixel, metres.
RESOLUTION = 10.0
#: How far a tile reaches over the border into its neighbours, pixels.
OVERLAP = 32
#: A degree of latitude, metres; near the equator it serves for longitude as well.
_DEGREE = 111_320.0

NODATA, WATER, TREES, FLOODED, CROPS, BUILT, BARE, SNOW, RANGELAND = 0, 1, 2, 4, 5, 7, 8, 9, 11

#: Class code -> (name, colour).
CLASSES: dict[int, tuple[str, tuple[int, int, int]]] = {
    NODATA: ("No data", (0, 0, 0)),
    WATER: ("Water", (58, 141, 209)),
    TREES: ("Trees", (44, 112, 66)),
    FLOODED: ("Flooded vegetation", (112, 148, 190)),
    CROPS: ("Crops", (226, 166, 66)),
    BUILT: ("Built area", (186, 52, 42)),
    BARE: ("Bare ground", (166, 156, 146)),
    SNOW: ("Snow and ice", (214, 240, 250)),
    RANGELAND: ("Rangeland", (222, 216, 172)),
}

Classes = NDArray[np.uint8]
Field = NDArray[np.float32]


@dataclass(frozen=True)
class Tile:
    """A supercell of the grid, of which the demo fills the corner at the meeting point."""

    id: str
    epsg: int
    #: On which side of the meeting point it lies.
    east: bool
    north: bool


#: The four tiles that the quickstart asks for.
TILES = (
    Tile("23M", 32723, east=False, north=True),
    Tile("23L", 32723, east=False, north=False),
    Tile("24M", 32724, east=True, north=True),
    Tile("24L", 32724, east=True, north=False),
)

#: The tile that is written as a plain striped GeoTIFF, so that an ingestion has something to convert.
STRIPED = "24L"


@dataclass(frozen=True)
class Scene:
    """One tile in one year, on disk."""

    tile: Tile
    year: int
    path: Path
    preview: Path
    #: West, south, east, north of the tile's share, degrees.
    bbox: tuple[float, float, float, float]
    #: Rows, columns.
    shape: tuple[int, int]
    transform: Affine

    @property
    def id(self) -> str:
        """The Item's id."""
        return f"{self.tile.id}-{self.year}"

    @property
    def is_striped(self) -> bool:
        """Is the file no COG?"""
        return self.tile.id == STRIPED

    @property
    def size_bytes(self) -> int:
        """Of the GeoTIFF."""
        return self.path.stat().st_size


def make_scenes(
    folder: Path, wanted: Sequence[tuple[str, int]], *, seed: int = 42, side: int = 2048
) -> tuple[Scene, ...]:
    """Write the wanted scenes, each a (tile id, year), with a preview beside every one.

    Args:
        folder: where the files go; made if missing.
        wanted: which scenes.
        seed: the same seed gives the same bytes.
        side: pixels of a tile's share in each direction; the file is a little larger, its UTM grid being turned.
    """
    folder.mkdir(parents=True, exist_ok=True)
    landscape = Landscape(seed, side)
    tiles = {tile.id: tile for tile in TILES}
    scenes = []
    covers: dict[int, Classes] = {}
    for tile_id, year in wanted:
        if year not in covers:
            covers[year] = landscape.cover(year)
        scenes.append(_write_scene(folder, landscape, covers[year], tiles[tile_id], year))
    return tuple(scenes)


def make_thumbnail(path: Path, scenes: Sequence[Scene], *, size: int = 512) -> None:
    """Paint the scenes side by side, as they lie on the ground, into a PNG."""
    west, south = (min(scene.bbox[axis] for scene in scenes) for axis in (0, 1))
    east, north = (max(scene.bbox[axis] for scene in scenes) for axis in (2, 3))
    step = max(east - west, north - south) / size
    canvas: Classes = np.zeros((size, size), dtype=np.uint8)
    for scene in scenes:
        with rasterio.open(scene.path) as source:
            reproject(
                source.read(1),
                canvas,
                src_transform=source.transform,
                src_crs=source.crs,
                dst_transform=_north_up(west, north, step),
                dst_crs=CRS.from_epsg(4326),
                resampling=Resampling.nearest,
                src_nodata=NODATA,
                init_dest_nodata=False,
            )
    _write_png(path, canvas)


class Landscape:
    """The made-up ground around the meeting point, on a geographic grid of about ten metres."""

    def __init__(self, seed: int, side: int) -> None:
        """Draw what does not change from year to year."""
        self.side = side
        self.step = RESOLUTION / _DEGREE
        # The grid reaches past the tiles' shares; a multiple of 256 keeps the Fourier transform quick.
        self.half = -(-(side + OVERLAP) // 128) * 128
        self._rng_seed = seed

    @property
    def transform(self) -> Affine:
        """Of the geographic grid."""
        west, north = MEETING_POINT[0] - self.half * self.step, MEETING_POINT[1] + self.half * self.step
        return _north_up(west, north, self.step)

    def share(self, tile: Tile) -> tuple[float, float, float, float]:
        """West, south, east, north of what a tile covers, degrees."""
        reach, over = self.side * self.step, OVERLAP * self.step
        lon, lat = MEETING_POINT
        west, east = (lon - over, lon + reach) if tile.east else (lon - reach, lon + over)
        south, north = (lat - over, lat + reach) if tile.north else (lat - reach, lat + over)
        return west, south, east, north

    @cached_property
    def _ground(self) -> tuple[Field, Field, Field, Field]:
        """Height, river distance, moisture and settlement: noise of natural roughness, mean 0 and deviation 1."""
        rng = np.random.default_rng(self._rng_seed)
        size = 2 * self.half
        height = _noise(rng, size, roughness=1.55)
        # These vary slowly: they are drawn coarser, and the height's own detail frays their edges.
        river = np.abs(_enlarge(_noise(rng, size // 2, roughness=1.75), 2) + np.float32(0.01) * height)
        moisture = _enlarge(_noise(rng, size // 4, roughness=1.35), 4) + np.float32(0.35) * height
        settled = _enlarge(_noise(rng, size // 4, roughness=1.35), 4)
        return height, river, moisture, settled

    def cover(self, year: int) -> Classes:
        """The land cover of a year: towns grow, and fields are sown or lie fallow."""
        height, river, moisture, settled = self._ground
        low, shore, hilly, bare, snow = _quantiles(height, (0.05, 0.09, 0.72, 0.965, 0.993))
        cover = np.full(height.shape, RANGELAND, dtype=np.uint8)
        cover[moisture > _quantiles(moisture, (0.56,))[0]] = TREES
        cover[_sown(self._rng_seed, year, height.shape) & (height < hilly) & (np.abs(moisture) < 0.7)] = CROPS
        towns = _quantiles(settled, (0.97 - 0.004 * (year - 2020),))[0]
        cover[(settled > towns) & (height < hilly)] = BUILT
        cover[height > bare] = BARE
        cover[height > snow] = SNOW
        bank, stream = _quantiles(river, (0.022, 0.012))
        cover[(height < shore) | ((river < bank) & (height < hilly))] = FLOODED
        cover[(height < low) | ((river < stream) & (height < bare))] = WATER
        return cover


def _noise(rng: np.random.Generator, size: int, *, roughness: float) -> Field:
    """A square of noise whose amplitude falls with frequency to the power ``roughness``; it repeats at its edges."""
    shape = (size, size // 2 + 1)
    frequency = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None, :]).astype(np.float32)
    frequency[0, 0] = np.inf
    # Nothing wider than a sixth of the square, so that every tile has some of everything.
    amplitude = np.maximum(frequency, np.float32(6 / size)) ** np.float32(-roughness)
    amplitude[0, 0] = 0
    spectrum = np.empty(shape, dtype=np.complex64)
    spectrum.real = rng.standard_normal(shape, dtype=np.float32)
    spectrum.imag = rng.standard_normal(shape, dtype=np.float32)
    spectrum *= amplitude
    field: Field = np.fft.irfft2(spectrum, s=(size, size)).astype(np.float32, copy=False)
    field -= field.mean()
    field /= field.std()
    return field


def _enlarge(field: Field, times: int) -> Field:
    return np.asarray(field.repeat(times, axis=0).repeat(times, axis=1), dtype=np.float32)


def _quantiles(field: Field, shares: tuple[float, ...]) -> list[float]:
    """Of every eighth row and column: the whole field would take a second to sort."""
    return [float(value) for value in np.quantile(field[::8, ::8], shares)]


def _sown(seed: int, year: int, shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Which pixels lie in a sown field: a patchwork of 300 by 200 metres, most of it the same next year."""
    rows, columns = shape[0] // 20 + 1, shape[1] // 30 + 1
    luck = np.random.default_rng((seed, 1)).random((rows, columns))
    fallow = np.random.default_rng((seed, 2, year)).random((rows, columns)) < 0.08
    fields = (luck < 0.55) & ~fallow
    return np.asarray(fields.repeat(20, axis=0).repeat(30, axis=1)[: shape[0], : shape[1]], dtype=np.bool_)


def _write_scene(folder: Path, landscape: Landscape, cover: Classes, tile: Tile, year: int) -> Scene:
    share = landscape.share(tile)
    crs = CRS.from_epsg(tile.epsg)
    transform, shape = _grid(share, crs)
    pixels: Classes = np.zeros(shape, dtype=np.uint8)
    window, window_transform = _cut(landscape, cover, share)
    reproject(
        window,
        pixels,
        src_transform=window_transform,
        src_crs=CRS.from_epsg(4326),
        dst_transform=transform,
        dst_crs=crs,
        resampling=Resampling.nearest,
    )
    path = folder / f"{tile.id}_{year}0101-{year + 1}0101.tif"
    scene = Scene(tile, year, path, path.with_suffix(".png"), share, shape, transform)
    _write_geotiff(path, pixels, crs, transform, cloud_optimized=not scene.is_striped)
    _write_png(scene.preview, pixels[:: max(1, shape[0] // 512), :: max(1, shape[1] // 512)])
    return scene


def _cut(landscape: Landscape, cover: Classes, share: tuple[float, float, float, float]) -> tuple[Classes, Affine]:
    west, south, east, north = share
    inverse = ~landscape.transform
    left, top = (round(value) for value in inverse @ (west, north))
    right, bottom = (round(value) for value in inverse @ (east, south))
    return cover[top:bottom, left:right], landscape.transform @ Affine.translation(left, top)


def _grid(share: tuple[float, float, float, float], crs: CRS) -> tuple[Affine, tuple[int, int]]:
    """The smallest UTM grid on multiples of ten metres around a geographic box."""
    left, bottom, right, top = transform_bounds(CRS.from_epsg(4326), crs, *share)
    left, bottom = (np.floor(value / RESOLUTION) * RESOLUTION for value in (left, bottom))
    right, top = (np.ceil(value / RESOLUTION) * RESOLUTION for value in (right, top))
    shape = (int((top - bottom) / RESOLUTION), int((right - left) / RESOLUTION))
    return _north_up(float(left), float(top), RESOLUTION), shape


def _north_up(left: float, top: float, step: float) -> Affine:
    return Affine(step, 0.0, left, 0.0, -step, top)


def _write_geotiff(path: Path, pixels: Classes, crs: CRS, transform: Affine, *, cloud_optimized: bool) -> None:
    profile: dict[str, Any] = {
        "driver": "GTiff",
        "width": pixels.shape[1],
        "height": pixels.shape[0],
        "count": 1,
        "dtype": "uint8",
        "nodata": NODATA,
        "crs": crs,
        "transform": transform,
    }
    colours = {code: (*colour, 0 if code == NODATA else 255) for code, (_, colour) in CLASSES.items()}
    if not cloud_optimized:
        with rasterio.open(path, "w", **profile, compress="deflate", tiled=False, blockysize=16) as target:
            target.write(pixels, 1)
            target.write_colormap(1, colours)
        return
    with MemoryFile() as memory:
        with memory.open(**profile) as draft:
            draft.write(pixels, 1)
            draft.write_colormap(1, colours)
        # Mode: an overview pixel of classes must be a class that is there.
        with memory.open() as draft:
            rasterio.shutil.copy(
                draft, path, driver="COG", compress="deflate", blocksize=512, overview_resampling="mode"
            )


def _write_png(path: Path, pixels: Classes) -> None:
    colours = np.zeros((256, 3), dtype=np.uint8)
    for code, (_, colour) in CLASSES.items():
        colours[code] = colour
    painted = np.concatenate([colours[pixels], np.where(pixels == NODATA, 0, 255).astype(np.uint8)[..., None]], axis=2)
    # GDAL's PNG driver only copies, so the image is put together in memory first. It has no place on Earth on purpose.
    profile = {"driver": "GTiff", "width": pixels.shape[1], "height": pixels.shape[0], "count": 4, "dtype": "uint8"}
    with warnings.catch_warnings(), MemoryFile() as memory:
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with memory.open(**profile, photometric="rgb", alpha="yes") as draft:
            draft.write(painted.transpose(2, 0, 1))
        with memory.open() as draft:
            rasterio.shutil.copy(draft, path, driver="PNG")
