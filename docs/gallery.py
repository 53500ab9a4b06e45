# ruff: noqa: E501 - options are one text each, as they are used
"""Draws the pictures of ``docs/reference/gallery.md`` with the tiler, from rasters that it makes up on the spot.

Run it after a change of how pixels become pictures, and look at what comes out; with ``--check`` it writes nothing and
fails when a picture is another than before (``tests/docs/test_gallery.py``).
"""

from __future__ import annotations

import math
import sys
import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray
from rasterio.io import MemoryFile
from rasterio.warp import transform

from graticule.demo import scenes
from graticule.demo.scenes import Landscape, make_scenes
from graticule.tiler import Box, Layer, Shape, Source, legends, parse_parameters, select
from graticule.tiler.jobs import Area, Job
from graticule.tiler.options import read_options
from graticule.tiler.reading import Datasets
from graticule.tiler.verbs import run

FOLDER = Path(__file__).resolve().parent / "reference"
PICTURES = FOLDER / "gallery"
SIDE = 512  #: pixels of the made-up landscape
UTM = "EPSG:32723"
SIZE = 256  #: pixels of a picture
#: How far a picture may lie from the one that is kept, as a mean over its values of 0 to 255: encoders differ a little.
TOLERANCE = 4.0

#: Land cover class -> reflectance in blue, green, red and near infrared, times 10,000.
REFLECTANCE = {
    scenes.NODATA: (0, 0, 0, 0),
    scenes.WATER: (620, 520, 330, 180),
    scenes.TREES: (260, 430, 300, 3100),
    scenes.FLOODED: (480, 620, 520, 1500),
    scenes.CROPS: (520, 900, 760, 4100),
    scenes.BUILT: (1250, 1350, 1500, 1900),
    scenes.BARE: (1100, 1500, 1900, 2500),
    scenes.SNOW: (7800, 7700, 7600, 7000),
    scenes.RANGELAND: (620, 930, 1080, 2400),
}


@dataclass(frozen=True)
class Picture:
    """One picture of the page."""

    name: str  #: of its file
    title: str
    options: str  #: as a render option has them
    item: str = "scene"
    crop: str = ""  #: "box" is the middle of the item; "feature" a hexagon in it


COVER = "assets=cover&colormap_name=io-lulc-9-class"
PAGES: dict[str, tuple[Picture, ...]] = {
    "Bands": (
        Picture("natural", "Natural colour: three bands of one asset", "assets=image&asset_bidx=image|3,2,1&rescale=0,1900"),
        Picture("infrared", "Near infrared as red", "assets=image&asset_bidx=image|4,3,2&rescale=0,4500&rescale=0,2200&rescale=0,2000"),
        Picture(
            "formula",
            "A colour formula",
            "assets=image&asset_bidx=image|3,2,1&rescale=0,6000&color_formula=gamma RGB 1.8, saturation 1.4, sigmoidal RGB 6 0.4",
        ),
        Picture("grey", "One band, grey", "assets=image&asset_bidx=image|4&rescale=0,5000"),
    ),
    "Expressions and colour maps": (
        Picture(
            "ndvi",
            "Vegetation index",
            "expression=(image_b4-image_b3)/(image_b4+image_b3)&rescale=-0.3,0.9&colormap_name=rdylgn",
        ),
        Picture("ndwi", "Water index", "expression=(image_b2-image_b4)/(image_b2+image_b4)&rescale=-0.8,0.6&colormap_name=rdbu"),
        Picture("ramp", "A ramp over one band", "assets=image&asset_bidx=image|4&rescale=0,5000&colormap_name=magma"),
        Picture(
            "intervals",
            "Colours of intervals, by value",
            'expression=(image_b4-image_b3)/(image_b4+image_b3)&colormap=[[[-1,0],"#2b6cb0"],[[0,0.45],"#e2c58f"],[[0.45,0.7],"#9ac26b"],[[0.7,1],"#1d6b35"]]',
        ),
    ),
    "Classes": (
        Picture("palette", "The file's own palette", "assets=cover"),
        Picture("classes", "The colour map of a data set", COVER),
        Picture("two-classes", "Two classes by value, the rest transparent", 'assets=cover&colormap={"1":"#3a8dd1","7":[186,52,42,255]}'),
        Picture("mosaic", "Four scenes of two projections as one", COVER, item="mosaic"),
    ),
    "Heights": (
        Picture("heights", "Heights as colours", "assets=dem&rescale=780,1020&colormap_name=terrain"),
        Picture("hillshade", "Hillshade", "assets=dem&algorithm=hillshade&buffer=3"),
        Picture("contours", "Contours", 'assets=dem&algorithm=contours&algorithm_params={"increment":40,"thickness":4,"minz":780,"maxz":1020}'),
        Picture("slope", "Slope", "assets=dem&algorithm=slope&buffer=3&rescale=0,60&colormap_name=inferno"),
    ),
    "Cuts and kernels": (
        Picture("feature", "What lies within a feature", "assets=image&asset_bidx=image|3,2,1&rescale=0,1900", crop="feature"),
        Picture("nearest", "Enlarged, nearest", "assets=dem&rescale=780,1020&colormap_name=viridis", crop="box"),
        Picture("bilinear", "Enlarged, bilinear", "assets=dem&rescale=780,1020&colormap_name=viridis&resampling=bilinear&reproject=bilinear", crop="box"),
        Picture("cubic", "Enlarged, cubic", "assets=dem&rescale=780,1020&colormap_name=viridis&resampling=cubic&reproject=cubic", crop="box"),
    ),
}  # fmt: skip
LEGENDS = ("viridis", "rdylgn", "terrain", "io-lulc-9-class", "mtbs-severity", "twilight")


def main() -> int:
    """Write the page and its pictures; with ``--check`` compare them."""
    warnings.simplefilter("ignore")  # files this small have no overviews
    with tempfile.TemporaryDirectory() as folder:
        files = draw(Path(folder))
    if "--check" in sys.argv:
        problems = list(differences(files))
        for problem in problems:
            print(problem)
        return 1 if problems else 0
    PICTURES.mkdir(exist_ok=True)
    for path in PICTURES.iterdir():
        path.unlink()
    for name, content in files.items():
        (FOLDER / name).write_bytes(content)
    return 0


def draw(folder: Path) -> dict[str, bytes]:
    """The page and its pictures: path below `FOLDER` → content."""
    items = make_items(folder)
    datasets = Datasets(str(folder))
    files = {
        f"gallery/{picture.name}.webp": render(picture, items[picture.item], datasets)
        for pictures in PAGES.values()
        for picture in pictures
    }
    files |= {f"gallery/legend-{name}.png": legends.picture(name) for name in LEGENDS}
    return {"gallery.md": page().encode()} | files


def differences(files: dict[str, bytes]) -> list[str]:
    """What is not as it is kept, a line each."""
    kept = {path.relative_to(FOLDER).as_posix() for path in PICTURES.iterdir()} | {"gallery.md"}
    problems = [f"{name}: kept, but not drawn any more" for name in kept - set(files)]
    for name, content in files.items():
        path = FOLDER / name
        if not path.exists():
            problems.append(f"{name}: not there; run docs/gallery.py")
        elif name.endswith(".md"):
            if path.read_bytes() != content:
                problems.append(f"{name}: not what docs/gallery.py writes; run it")
        else:
            found, expected = pixels(content), pixels(path.read_bytes())
            if found.shape != expected.shape or np.abs(found - expected).mean() > TOLERANCE:
                problems.append(f"{name}: drawn otherwise than it is kept; look at it, and run docs/gallery.py")
    return problems


def pixels(picture: bytes) -> NDArray[np.float64]:
    """Values of a picture; what is transparent has no colour."""
    with MemoryFile(picture) as memory, memory.open() as dataset:
        bands = dataset.read().astype(float)
    if len(bands) == 4:
        bands[:3] *= bands[3] > 0
    return np.asarray(bands)


def make_items(folder: Path) -> dict[str, tuple[Layer, ...]]:
    """The item of each name as layers: one scene with a picture, land cover and heights; and four scenes."""
    tiles = make_scenes(folder / "scenes", [(tile.id, 2021) for tile in scenes.TILES], side=SIDE)
    landscape = Landscape(42, SIDE)
    size = 2 * landscape.half
    height = landscape._ground[0][: size // 2, : size // 2]  # noqa: SLF001 - the demo keeps heights to itself
    cover = landscape.cover(2021)[: size // 2, : size // 2]
    heights = smooth(900 + 60 * height).astype("float32")
    rng = np.random.default_rng(7)
    table = np.zeros((256, 4))
    for code, values in REFLECTANCE.items():
        table[code] = values
    # Slopes that face the light are brighter, and no two pixels are quite alike.
    light = 1 + 0.25 * np.clip(np.gradient(height, axis=1) * 12, -1, 1) + 0.05 * rng.standard_normal(height.shape)
    bands = np.clip(table[cover].transpose(2, 0, 1) * light, 1, 10_000).astype("uint16")
    made = {"image": folder / "image.tif", "dem": folder / "dem.tif", "cover": folder / "cover.tif"}
    write(made["image"], bands, landscape.transform, nodata=0)
    # Heights are in metres on the ground, so that slopes are what they are.
    left, top = transform("EPSG:4326", UTM, [landscape.transform.c], [landscape.transform.f])
    write(made["dem"], heights[None], Affine(scenes.RESOLUTION, 0, left[0], 0, -scenes.RESOLUTION, top[0]), crs=UTM)
    palette = {code: (*color, 255) for code, (_, color) in scenes.CLASSES.items()}
    write(made["cover"], cover[None], landscape.transform, palette=palette)
    scene = Layer("gallery", "scene", tuple((key, Source(str(path))) for key, path in made.items()))
    four = tuple(Layer("gallery", tile.id, (("cover", Source(str(tile.path))),)) for tile in tiles)
    return {"scene": (scene,), "mosaic": four}


def smooth(field: NDArray[np.float32]) -> NDArray[np.float32]:
    """The mean of seven by seven pixels; the made-up noise is rougher than ground."""
    for axis in (0, 1):
        field = np.mean([np.roll(field, shift, axis) for shift in range(-3, 4)], axis=0)
    return field


def write(
    path: Path,
    bands: NDArray[np.generic],
    placed: Affine,
    *,
    crs: str = "EPSG:4326",
    nodata: float | None = None,
    palette: dict[int, tuple[int, int, int, int]] | None = None,
) -> None:
    """A GeoTIFF."""
    count, height, width = bands.shape
    profile = {
        "driver": "GTiff",
        "dtype": bands.dtype,
        "count": count,
        "height": height,
        "width": width,
        "nodata": nodata,
    }
    with rasterio.open(path, "w", crs=crs, transform=placed, tiled=True, **profile) as dataset:
        dataset.write(bands)
        if palette is not None:
            dataset.write_colormap(1, palette)


def render(picture: Picture, layers: tuple[Layer, ...], datasets: Datasets) -> bytes:
    """One picture, as the tiler answers it."""
    parameters = parse_parameters(
        read_options(picture.options),
        # On the map that tiles are on, where a pixel has a size in metres.
        {"format": "webp", "width": str(SIZE), "height": str(SIZE), "dst_crs": "epsg:3857"},
    )
    selection = select(parameters, [key for key, _ in layers[0].sources])
    is_mosaic = len(layers) > 1
    job = Job("image", layers, selection, parameters, area_of(picture), is_mosaic)
    return run(job, datasets)[1]


def area_of(picture: Picture) -> Area:
    """Where a picture is cut."""
    longitude, latitude = scenes.MEETING_POINT
    step = Landscape(42, SIDE).step
    if picture.item == "mosaic":
        reach = 0.95 * SIDE * step
        return Box((longitude - reach, latitude - reach, longitude + reach, latitude + reach))
    longitude, latitude = longitude - SIDE * step / 2, latitude + SIDE * step / 2
    reach = 0.45 * SIDE * step
    if picture.crop == "feature":
        ring = [
            [
                longitude + reach * math.cos(math.radians(60 * corner)),
                latitude + reach * math.sin(math.radians(60 * corner)),
            ]
            for corner in range(7)
        ]
        return Shape({"type": "Polygon", "coordinates": [ring]})
    if picture.crop == "box":
        reach /= 16
    return Box((longitude - reach, latitude - reach, longitude + reach, latitude + reach))


def page() -> str:
    """The page."""
    lines = [
        "# Gallery",
        "",
        "Pictures that the tiler draws, each under the render parameters that make it: as the `options` of a render option, or as the",
        "query of a tile, a preview or a crop. The ground is made up by the demo; nothing here is a place. `docs/gallery.py` draws the",
        "page, and a test holds the tiler to it.",
        "",
    ]
    for title, pictures in PAGES.items():
        lines += [f"## {title}", ""]
        for first in range(0, len(pictures), 2):
            row = pictures[first : first + 2]
            lines.append("| " + " | ".join(picture.title for picture in row) + " |")
            lines.append("|" + " --- |" * len(row))
            shown = (f"![{picture.title}](gallery/{quote(picture.name)}.webp)" for picture in row)
            lines.append("| " + " | ".join(shown) + " |")
            lines.append("| " + " | ".join("`" + picture.options.replace("|", "\\|") + "`" for picture in row) + " |")
            lines.append("")
    lines += [
        "## Legends",
        "",
        "`GET /data/legend/colormap/{name}` draws a ramp or a map of classes as a strip; `classmap` and `interval` list the colours of",
        "the maps of data sets by value.",
        "",
        "| Colour map | Legend |",
        "| --- | --- |",
        *(f"| `{name}` | ![{name}](gallery/legend-{name}.png) |" for name in LEGENDS),
        "",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
