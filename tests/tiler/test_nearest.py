"""Tiles by nearest neighbour, straight from decoded blocks, against rio-tiler: within what its warp allows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import morecantile
import numpy as np
import pytest
import rasterio
from rasterio.transform import from_origin
from rio_cogeo.cogeo import cog_translate
from rio_cogeo.profiles import cog_profiles
from rio_tiler.errors import TileOutsideBounds
from rio_tiler.io import Reader
from rio_tiler.models import ImageData

from graticule.errors import OutsideData
from graticule.tiler import nearest
from graticule.tiler.jobs import Job, Layer, Source, Tile
from graticule.tiler.parameters import parse_parameters
from graticule.tiler.reading import Datasets, LayerReader, environment
from graticule.tiler.selection import select

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

WEB = morecantile.tms.get("WebMercatorQuad")
SIDE = 1536
#: Name → reference system, west, north, resolution, bands, dtype, nodata, mask of its own.
MADE: Mapping[str, tuple[str, float, float, float, int, str, float | None, bool]] = {
    "rgb": ("EPSG:32631", 500_000, 5_000_000, 10, 3, "uint8", None, False),
    "south": ("EPSG:32723", 300_000, 7_400_000, 10, 3, "uint8", None, False),
    "cover": ("EPSG:4326", 3, 45, 0.0001, 1, "uint8", None, False),
    "bands": ("EPSG:32631", 500_000, 5_000_000, 10, 4, "uint16", 0, False),
    "heights": ("EPSG:2056", 2_600_000, 1_200_000, 5, 1, "float32", float("nan"), False),
    "mercator": ("EPSG:3857", 300_000, 5_600_000, 10, 3, "uint8", None, False),
    "masked": ("EPSG:32631", 500_000, 5_000_000, 10, 3, "uint8", None, True),
}
#: Share of pixels that may be a neighbour: rio-tiler's warp is right to an eighth of a pixel of what it reads.
MAY_DIFFER = 0.10
MASK_MAY_DIFFER = 0.004
#: Where the file is in the tiles' own system, rio-tiler does not warp, and rounds windows that reach over its edge.
MERCATOR_EDGES_MAY_DIFFER = 0.25
MERCATOR_MASK_MAY_DIFFER = 0.02


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("cogs")
    for name in MADE:
        _make(made / f"{name}.tif", *MADE[name])
    return made


@pytest.fixture
def datasets(folder: Path) -> Iterator[Datasets]:
    with environment(32 << 20):
        yield Datasets(str(folder))


def _make(
    path: Path, crs: str, west: float, north: float, resolution: float,
    bands: int, dtype: str, nodata: float | None, is_masked: bool,
) -> None:  # fmt: skip
    rows, columns = np.mgrid[0:SIDE, 0:SIDE]
    values = np.stack([np.sin(columns / (9 + band)) + np.cos(rows / (11 + band)) + 2 for band in range(bands)]) * 60
    values = values.astype(dtype) + np.array(1, dtype)
    if nodata is not None:
        values[:, rows + columns < SIDE // 2] = nodata
    transform = from_origin(west, north, resolution, resolution)
    profile = {"driver": "GTiff", "crs": crs, "width": SIDE, "height": SIDE, "count": bands, "dtype": dtype}
    with rasterio.MemoryFile() as memory:
        with memory.open(**profile, transform=transform, nodata=nodata) as target:
            target.write(values)
            if is_masked:
                target.write_mask((rows - SIDE / 2) ** 2 + (columns - SIDE / 2) ** 2 < (SIDE * 0.45) ** 2)
        cog = {**cog_profiles.get("deflate"), "blockxsize": 256, "blockysize": 256}  # type: ignore[no-untyped-call]
        with memory.open() as source:
            cog_translate(source, path, cog, nodata=nodata, add_mask=is_masked, in_memory=True, quiet=True)


def _tiles(reader: Reader, zoom: int) -> list[morecantile.Tile]:
    """In the middle and at two corners."""
    west, south, east, north = reader.get_geographic_bounds("EPSG:4326")
    places = ((west, south), ((west + east) / 2, (south + north) / 2), (east, north))
    return list(dict.fromkeys(WEB.tile(*place, zoom) for place in places))


def _read(datasets: Datasets, path: Path, tile: morecantile.Tile, **more: Any) -> ImageData | None:
    raster = datasets.raster(str(path))
    where = Tile("WebMercatorQuad", tile.z, tile.x, tile.y)
    return nearest.read(raster, datasets.blocks, where, 256, more.get("indexes"), more.get("nodata"))


@pytest.mark.parametrize("name", MADE)
@pytest.mark.parametrize("deeper", [-5, -3, -2, -1, 0, 1, 2])
def test_tiles_are_rio_tilers(folder: Path, datasets: Datasets, name: str, deeper: int) -> None:
    path = folder / f"{name}.tif"
    compared = 0
    with Reader(str(path)) as reader:
        for tile in _tiles(reader, reader.maxzoom + deeper):
            try:
                expected = reader.tile(*tile)
            except TileOutsideBounds:
                with pytest.raises(TileOutsideBounds):
                    _read(datasets, path, tile)
                continue
            found = _read(datasets, path, tile)
            assert found is not None, f"{name} {tile}: not read"
            if name != "mercator":
                _alike(found, expected)
            elif expected.array.mask.any():
                _alike(found, expected, MERCATOR_MASK_MAY_DIFFER, MERCATOR_EDGES_MAY_DIFFER)
            else:
                _alike(found, expected, 0, 0)
            assert found.bounds == pytest.approx(expected.bounds)
            assert found.band_names == expected.band_names
            compared += 1
    assert compared


@pytest.mark.parametrize("name", MADE)
@pytest.mark.parametrize("deeper", [-5, -3, -1, 0, 1])
def test_a_part_of_a_tile_is_what_the_whole_has_there(folder: Path, datasets: Datasets, name: str, deeper: int) -> None:
    path = folder / f"{name}.tif"
    raster = datasets.raster(str(path))
    with Reader(str(path)) as reader:
        tiles = _tiles(reader, reader.maxzoom + deeper)
    compared = 0
    for tile in tiles:
        try:
            whole = _read(datasets, path, tile)
        except TileOutsideBounds:
            continue
        assert whole is not None
        where = Tile("WebMercatorQuad", tile.z, tile.x, tile.y)
        for part in (nearest.Part(0, 0, 256, 256), nearest.Part(31, 100, 64, 3), nearest.Part(200, 0, 56, 129)):
            shown = whole.array[:, *part.window]
            try:
                found = nearest.read(raster, datasets.blocks, where, 256, None, None, part)
            except TileOutsideBounds:
                assert np.ma.getmaskarray(shown).all()
                continue
            assert found is not None
            np.testing.assert_array_equal(np.ma.getmaskarray(found.array), np.ma.getmaskarray(shown))
            np.testing.assert_array_equal(found.array.data, shown.data)
            left, _, right, top = WEB.xy_bounds(tile)
            size = (right - left) / 256
            assert found.bounds == pytest.approx(
                (
                    left + part.column * size,
                    top - (part.row + part.height) * size,
                    left + (part.column + part.width) * size,
                    top - part.row * size,
                )
            )
            compared += 1
    assert compared


def _alike(
    found: ImageData, expected: ImageData, mask_may_differ: float = MASK_MAY_DIFFER, may_differ: float = MAY_DIFFER
) -> None:
    assert found.array.shape == expected.array.shape
    assert found.array.dtype == expected.array.dtype
    mask, other = np.ma.getmaskarray(found.array), np.ma.getmaskarray(expected.array)
    assert (mask != other).mean() <= mask_may_differ
    shown = ~mask & ~other
    different = (found.array.data != expected.array.data)[shown]
    if different.size:
        assert different.mean() <= may_differ
    # What lies under the mask is drawn too where a picture has no alpha.
    hidden = mask & other
    np.testing.assert_array_equal(found.array.data[hidden], expected.array.data[hidden])


def test_a_position_is_right_to_a_fraction_of_a_pixel(tmp_path: Path) -> None:
    """A file whose values are the numbers of its columns: what is drawn tells where it was read."""
    path = tmp_path / "columns.tif"
    values = np.broadcast_to(np.arange(SIDE, dtype="uint16"), (1, SIDE, SIDE))
    profile = {"driver": "GTiff", "width": SIDE, "height": SIDE, "count": 1, "dtype": "uint16", "crs": "EPSG:32631"}
    transform = from_origin(500_000, 5_000_000, 10, 10)
    with rasterio.open(path, "w", **profile, transform=transform, tiled=True, blockxsize=256, blockysize=256) as target:
        target.write(values)
    with environment(8 << 20):
        datasets = Datasets(str(tmp_path))
        with Reader(str(path)) as reader:
            tile = _tiles(reader, reader.maxzoom)[1]
        found = _read(datasets, path, tile)
    assert found is not None
    left, bottom, right, top = WEB.xy_bounds(tile)
    across = left + (np.arange(256) + 0.5) * (right - left) / 256
    down = top - (np.arange(256) + 0.5) * (top - bottom) / 256
    xs, ys = np.meshgrid(across, down)
    east, _ = rasterio.warp.transform("EPSG:3857", "EPSG:32631", xs.ravel(), ys.ravel())
    exact = (np.array(east).reshape(256, 256) - 500_000) / 10
    assert np.abs(found.array.data[0] + 0.5 - exact).max() < 0.5 + 0.07


def test_bands_and_nodata_of_the_request_are_used(folder: Path, datasets: Datasets) -> None:
    path = folder / "bands.tif"
    with Reader(str(path)) as reader:
        tile = _tiles(reader, reader.maxzoom)[1]
        expected = reader.tile(*tile)
        value = int(np.bincount(expected.array.compressed()).argmax())
        other = _read(datasets, path, tile, nodata=value)
        assert other is not None
        _alike(other, reader.tile(*tile, nodata=value), 0.02)  # the mask is as noisy as the values are
    # Against all bands: of some, GDAL reads an overview in two steps, and four in ten pixels are a neighbour.
    found = _read(datasets, path, tile, indexes=(3, 1))
    assert found is not None
    assert found.band_names == ["b3", "b1"]
    expected.array = expected.array[[2, 0]]
    expected.band_names = ["b3", "b1"]
    _alike(found, expected)


def test_blocks_outlive_jobs_up_to_a_limit(folder: Path, datasets: Datasets) -> None:
    path = folder / "rgb.tif"
    with Reader(str(path)) as reader:
        tiles = [tile for zoom in (reader.maxzoom, reader.maxzoom - 1) for tile in _tiles(reader, zoom)]
    first = [_read(datasets, path, tile) for tile in tiles]
    size = datasets.blocks.size_bytes
    assert size > 0
    again = [_read(datasets, path, tile) for tile in tiles]
    assert datasets.blocks.size_bytes == size
    narrow = Datasets(str(folder), blocks_bytes=600_000)
    for tile, one, two in zip(tiles, first, again, strict=True):
        three = _read(narrow, path, tile)
        assert narrow.blocks.size_bytes <= 600_000
        for other in (two, three):
            assert one is not None
            assert other is not None
            np.testing.assert_array_equal(one.array.data, other.array.data)


def test_what_is_drawn_of_a_tile_may_be_changed(folder: Path, datasets: Datasets) -> None:
    """A picture is rescaled and merged in place: what is kept for the next one must not change."""
    path = folder / "cover.tif"
    with Reader(str(path)) as reader:
        tile = _tiles(reader, reader.maxzoom + 2)[1]
    first = _read(datasets, path, tile)
    assert first is not None
    kept = first.array.data.copy()
    first.array.data[:] = 0
    again = _read(datasets, path, tile)
    assert again is not None
    np.testing.assert_array_equal(again.array.data, kept)


@pytest.mark.parametrize(
    ("query", "is_quick"),
    [
        ({"format": "png"}, True),
        ({"format": "webp"}, True),
        ({}, True),
        ({"format": "npy"}, False),
        ({"format": "tif"}, False),
        ({"resampling": "bilinear"}, False),
        ({"reproject": "cubic"}, False),
        ({"unscale": "true"}, False),
        ({"buffer": "2"}, False),
        ({"padding": "2"}, False),
        ({"algorithm": "ceil"}, False),
    ],
)
def test_only_pictures_by_nearest_neighbour_are_read_this_way(
    folder: Path, datasets: Datasets, query: dict[str, str], is_quick: bool
) -> None:
    path = folder / "rgb.tif"
    with Reader(str(path)) as reader:
        tile = _tiles(reader, reader.maxzoom)[1]
    parameters = parse_parameters([("assets", "image"), *query.items()])
    layer = Layer("c", "i", (("image", Source(str(path))),))
    reader_of_layer = LayerReader(layer, select(parameters, ["image"]), parameters, datasets, 1 << 24)
    assert reader_of_layer.image(Tile("WebMercatorQuad", tile.z, tile.x, tile.y)) is not None
    assert (datasets.blocks.size_bytes > 0) is is_quick


def test_files_of_another_make_are_left_to_rio_tiler(tmp_path: Path) -> None:
    values = np.arange(300 * 300, dtype="uint16").reshape(1, 300, 300)
    turned = (
        rasterio.Affine.translation(500_000, 5_000_000) * rasterio.Affine.rotation(20) * rasterio.Affine.scale(10, -10)
    )
    upside_down = rasterio.Affine(10, 0, 500_000, 0, 10, 4_990_000)
    across = rasterio.Affine(0.01, 0, 179, 0, -0.01, 45)
    profile = {"driver": "GTiff", "width": 300, "height": 300, "count": 1, "dtype": "uint16"}
    with environment(8 << 20):
        datasets = Datasets(str(tmp_path))
        for name, crs, transform in (
            ("turned", "EPSG:32631", turned),
            ("upside", "EPSG:32631", upside_down),
            ("across", "EPSG:4326", across),
        ):
            path = tmp_path / f"{name}.tif"
            with rasterio.open(path, "w", **profile, crs=crs, transform=transform) as target:
                target.write(values)
            with Reader(str(path)) as reader:
                west, south, east, north = reader.get_geographic_bounds("EPSG:4326")
                tile = WEB.tile((west + east) / 2, (south + north) / 2, 9)
            assert _read(datasets, path, tile) is None, name


def test_a_layer_that_does_not_reach_a_tile_says_so(folder: Path, datasets: Datasets) -> None:
    parameters = parse_parameters([("assets", "image")])
    layer = Layer("c", "i", (("image", Source(str(folder / "rgb.tif"))),))
    reader = LayerReader(layer, select(parameters, ["image"]), parameters, datasets, 1 << 24)
    with pytest.raises(OutsideData):
        reader.image(Tile("WebMercatorQuad", 12, 5, 5))


def test_few_files_stay_open(folder: Path) -> None:
    with environment(8 << 20):
        datasets = Datasets(str(folder), keep=3)
        for name in ("rgb", "cover", "south", "rgb"):
            path = folder / f"{name}.tif"
            with Reader(str(path)) as reader:
                for zoom in (reader.maxzoom, reader.maxzoom - 1, reader.maxzoom - 2):
                    assert _read(datasets, path, _tiles(reader, zoom)[1]) is not None
        raster = datasets.raster(str(folder / "rgb.tif"))
        assert raster.files <= 4  # the file and the overviews that were read; others had to go
        assert not raster.dataset.closed


def test_mosaics_merge_as_rio_tilers_first(folder: Path, datasets: Datasets) -> None:
    from rio_tiler.mosaic.methods.defaults import FirstMethod  # noqa: PLC0415

    from graticule.tiler.mosaics import read_image  # noqa: PLC0415

    names = ("masked", "rgb")
    parameters = parse_parameters([("assets", "image")])
    layers = tuple(Layer("c", name, (("image", Source(str(folder / f"{name}.tif"))),)) for name in names)
    with Reader(str(folder / "rgb.tif")) as reader:
        tile = _tiles(reader, reader.maxzoom - 2)[1]
    area = Tile("WebMercatorQuad", tile.z, tile.x, tile.y)
    job = Job("image", layers, select(parameters, ["image"]), parameters, area, is_mosaic=True)
    image, used = read_image(job, datasets)
    method = FirstMethod()
    for name in names:
        part = _read(datasets, folder / f"{name}.tif", tile)
        assert part is not None
        method.feed(part.array)
    expected: Any = method.data
    assert used == names
    np.testing.assert_array_equal(np.ma.getmaskarray(image.array), np.ma.getmaskarray(expected))
    np.testing.assert_array_equal(image.array.filled(0), expected.filled(0))


@pytest.mark.parametrize("file_format", ["png", "npy"])
def test_of_a_tile_of_half_the_world_only_the_pixels_of_the_item_are_warped(
    folder: Path, datasets: Datasets, monkeypatch: pytest.MonkeyPatch, file_format: str
) -> None:
    """rio-tiler would warp all of it at the resolution of the file: half a minute, and gigabytes."""
    from graticule.tiler.mosaics import read_image  # noqa: PLC0415

    monkeypatch.delattr(LayerReader, "_tile")
    path = folder / "wide.tif"  # 500 km, 3 pixels of the world
    profile = {"driver": "GTiff", "width": 1000, "height": 1000, "count": 1, "dtype": "uint8", "crs": "EPSG:32633"}
    with rasterio.open(path, "w", transform=from_origin(300_000, 5_500_000, 500, 500), **profile) as dataset:
        dataset.write(np.full((1, 1000, 1000), 7, "uint8"))
    more = [("buffer", "1.5")] if file_format == "npy" else []
    parameters = parse_parameters([("assets", "image"), ("format", file_format), *more])
    size = 256 + 3 * len(more)
    layer = Layer("c", "i", (("image", Source(str(path))),))
    with Reader(str(path)) as reader:
        west, south, east, north = reader.get_geographic_bounds(WEB.rasterio_geographic_crs)
    elsewhere = Tile("WebMercatorQuad", 1, 0, 0)
    with pytest.raises(OutsideData, match="1/0/0"):
        read_image(Job("image", (layer,), select(parameters, ["image"]), parameters, elsewhere), datasets)
    for zoom in (0, 1):
        tile = WEB.tile((west + east) / 2, (south + north) / 2, zoom)
        area = Tile("WebMercatorQuad", tile.z, tile.x, tile.y)
        image, used = read_image(Job("image", (layer,), select(parameters, ["image"]), parameters, area), datasets)
        assert used == ("i",)
        assert (image.width, image.height) == (size, size)
        assert image.bounds is not None
        left, bottom, right, top = image.bounds
        x, y = WEB.xy((west + east) / 2, (south + north) / 2)
        rows, columns = np.nonzero(~np.ma.getmaskarray(image.array)[0])
        assert 1 <= len(rows) <= 500
        assert (image.array.data[0][rows, columns] == 7).all()
        assert abs(columns.mean() - (x - left) / (right - left) * size) <= 1.5
        assert abs(rows.mean() - (top - y) / (top - bottom) * size) <= 1.5
