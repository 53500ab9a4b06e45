"""Owns: pixels of layers, inside a render process: files opened once and kept, bands read and put together.

rio-tiler reads; what comes out of `LayerReader` is its `ImageData`, named by asset and band. `READERS` is where another
kind of file joins in, and `LayerReader.image` is where a faster way to the same pixels does.
"""

from __future__ import annotations

import contextlib
from collections import OrderedDict
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, Final, Protocol, cast

import numexpr
import numpy as np
import rasterio
import rasterio.features
from morecantile import TileMatrixSet
from rasterio._err import CPLE_BaseError  # rasterio.errors does not name it
from rasterio.crs import CRS
from rasterio.errors import CRSError, RasterioError, RasterioIOError
from rasterio.io import DatasetReader
from rasterio.warp import transform_bounds
from rio_tiler.errors import PointOutsideBounds, TileOutsideBounds
from rio_tiler.io.rasterio import Reader
from rio_tiler.models import ImageData, Info, PointData

from graticule.errors import AssetUnreadable, InvalidParameter, OutsideData, RenderLimitExceeded
from graticule.tiler import nearest
from graticule.tiler.algorithms import NEIGHBOURS, TERRAIN_BUFFER
from graticule.tiler.blocks import Blocks, Raster
from graticule.tiler.expressions import Expression
from graticule.tiler.grib import DRIVERS as GRIB
from graticule.tiler.grib import MessageReader
from graticule.tiler.grids import check_tile, grid
from graticule.tiler.jobs import Area, Box, Layer, Point, Shape, Source, Tile
from graticule.tiler.parameters import RenderParameters
from graticule.tiler.remote import RemoteFiles, RemotePath, StoredPath
from graticule.tiler.selection import BandRead, Selection

#: Formats that are opened; a file whose content is another one is not (GDAL decides by content, not by name).
DRIVERS: Final = ("GTiff", "JPEG", "PNG", "JP2OpenJPEG")
#: Formats of tiles that are looked at: these may be read in a way that is exact to a fraction of a pixel of the file.
PICTURES: Final = frozenset({None, "png", "pngraw", "jpeg", "jpg", "webp"})
#: Files that are kept open; each overview that is read is one too.
_OPEN_FILES: Final = 256
_BLOCKS_BYTES: Final = 64 << 20
_TILE_SIZE: Final = 256
GONE: Final = "The asset's file is gone: the item was changed meanwhile."


def environment(cache_bytes: int) -> rasterio.Env:
    """GDAL's settings for the whole life of a render process."""
    return rasterio.Env(
        GDAL_CACHEMAX=cache_bytes,
        # What lies beside a file is another asset: it must not change what this one means.
        GDAL_DISABLE_READDIR_ON_OPEN="EMPTY_DIR",
        GDAL_PAM_ENABLED="NO",
        GDAL_MAX_DATASET_POOL_SIZE=64,
        GDAL_NUM_THREADS="1",
        PROJ_NETWORK="OFF",
        # Values in the unit that the file has: not Celsius for Kelvin. No index file beside a GRIB is looked for.
        GRIB_NORMALIZE_UNITS="NO",
        GRIB_USE_IDX="NO",
    )


class Datasets:
    """Files that were opened, the last used kept. Stored files are written once, so an open one is never stale."""

    def __init__(
        self,
        folder: str,
        keep: int = _OPEN_FILES,
        blocks_bytes: int = _BLOCKS_BYTES,
        remote: RemoteFiles | None = None,
    ) -> None:
        """Take the only folder that files may lie in, how many stay open, and how much of them stays decoded.

        `remote`: they are objects of a bucket, and the folder is that of their names.
        """
        self._folder = str(Path(folder))
        self._remote = remote
        self._keep = keep
        self._open: OrderedDict[str, Raster] = OrderedDict()
        #: What is decoded of them.
        self.blocks = Blocks(blocks_bytes)

    def open(self, path: str, drivers: tuple[str, ...] = DRIVERS) -> DatasetReader:
        """A dataset, open; as `raster`."""
        return self.raster(path, drivers).dataset

    def raster(self, path: str, drivers: tuple[str, ...] = DRIVERS) -> Raster:
        """A file, open; it is the cache's to close.

        Raises:
            OutsideData: the file is gone: the item was replaced or deleted meanwhile.
            AssetUnreadable: it is no raster of a format that is read here.
        """
        raster = self._open.get(path)
        if raster is None:
            opened = partial(self._opened, path, drivers)
            raster = Raster(path, opened(), lambda level: opened(overview_level=level))
            self._open[path] = raster
        self._open.move_to_end(path)
        return raster

    def _opened(self, path: str, drivers: tuple[str, ...], **options: Any) -> DatasetReader:
        place = self.check(path)
        name = path if isinstance(place, Path) else place.files.name_for_gdal(path)
        try:
            # Not rasterio.open, which takes one driver only.
            dataset = DatasetReader(name, driver=list(drivers), sharing=False, **options)
        except RasterioIOError as exc:
            raise AssetUnreadable from exc
        while len(self._open) > 1 and sum(raster.files for raster in self._open.values()) >= self._keep:
            oldest = next(other for other in self._open if other != path)
            self._open.pop(oldest).close()
        return dataset

    def check(self, path: str) -> StoredPath:
        """Where a file lies, if it may be opened.

        Raises:
            OutsideData, AssetUnreadable: as `open`.
        """
        # Never a name that GDAL would take for something else than a file: /vsi…, a URL, a connection string.
        if not path.startswith(self._folder + "/") or "/../" in path:
            raise AssetUnreadable
        place = Path(path) if self._remote is None else RemotePath(self._remote, PurePosixPath(path))
        if not place.is_file():
            raise OutsideData(GONE)
        return place


class PixelReader(Protocol):
    """One open file, as rio-tiler's readers have it (``rio_tiler.io.base.BaseReader``, ``rio_tiler.io.Reader``)."""

    bounds: tuple[float, float, float, float]  #: in `crs`
    crs: CRS
    minzoom: int  #: zooms of the reader's tile matrix set that suit the file's resolution
    maxzoom: int

    def info(self) -> Info: ...
    def tile(self, tile_x: int, tile_y: int, tile_z: int, **kwargs: Any) -> ImageData: ...
    def part(self, bbox: tuple[float, float, float, float], **kwargs: Any) -> ImageData: ...
    def preview(self, **kwargs: Any) -> ImageData: ...
    def feature(self, shape: dict[str, Any], **kwargs: Any) -> ImageData: ...
    def point(self, lon: float, lat: float, **kwargs: Any) -> PointData: ...


ReaderMaker = Callable[[Source, TileMatrixSet, RenderParameters, Datasets], PixelReader]


def _raster(source: Source, tms: TileMatrixSet, parameters: RenderParameters, datasets: Datasets) -> PixelReader:
    del parameters
    dataset = datasets.open(source.path)
    if dataset.crs is None and not dataset.gcps[0]:
        raise AssetUnreadable("The asset is a picture without a place: it has no coordinate reference system.")
    return cast(PixelReader, Reader(None, dataset=dataset, tms=tms))


def _messages(source: Source, tms: TileMatrixSet, parameters: RenderParameters, datasets: Datasets) -> PixelReader:
    dataset = datasets.open(source.path, GRIB)
    return cast(PixelReader, MessageReader(dataset, tms, parameters.cube.subdataset_bands))


def _cube(source: Source, tms: TileMatrixSet, parameters: RenderParameters, datasets: Datasets) -> PixelReader:
    from graticule.tiler.cubes.reader import open_cube  # noqa: PLC0415 - xarray loads for a second

    return cast(PixelReader, open_cube(datasets.check(source.path), tms, parameters.cube))


#: What opens a `Source`, by its `reader`: rio-tiler's readers, or others with the same verbs.
READERS: Final[dict[str, ReaderMaker]] = {"raster": _raster, "grib": _messages, "cube": _cube}


class LayerReader:
    """The bands that a request selects, of one layer."""

    def __init__(
        self, layer: Layer, selection: Selection, parameters: RenderParameters, datasets: Datasets, max_pixels: int
    ) -> None:
        """Take what to read; nothing is opened yet."""
        self._layer = layer
        self._selection = selection
        self._parameters = parameters
        self._datasets = datasets
        self._max_pixels = max_pixels
        self._tms = grid(parameters.tile_matrix_set)

    def image(self, area: Area) -> ImageData:
        """Pixels of an area: of all of it (None), a tile, a box or a shape. Bands bear their names.

        Raises:
            OutsideData: the layer does not reach there.
            InvalidParameter: a band that is not there, or an unknown reference system.
            AssetUnreadable: a file is damaged.
        """
        return self._together(
            [self._read_quickly(read, area) or self._read(read, area) for read in self._selection.reads]
        )

    def part(self, tile: Tile, part: nearest.Part) -> ImageData | None:
        """Some pixels of a tile, as `image` has them in the whole; None where it takes the whole to know.

        Raises:
            OutsideData, InvalidParameter, AssetUnreadable: as `image`.
        """
        images = []
        for read in self._selection.reads:
            found = self._read_quickly(read, tile, part)
            if found is None:
                return None
            images.append(found)
        return self._together(images)

    def point(self, point: Point) -> ImageData:
        """The pixel at a point, as an image of one pixel."""
        return self._together([self._read_point(read, point) for read in self._selection.reads])

    @contextlib.contextmanager
    def open(self, asset: str) -> Iterator[PixelReader]:
        """A reader of one asset. Errors of the libraries inside become ours."""
        source = self._layer.source(asset)
        if source is None:
            raise OutsideData(f"The item {self._layer.item!r} has no asset {asset!r} that can be read.")
        with _guarded(asset):
            yield READERS[source.reader](source, self._tms, self._parameters, self._datasets)

    def palette(self) -> dict[int, tuple[int, int, int, int]] | None:
        """The colours that the file itself gives the values of the one band that is read."""
        selection = self._selection
        if len(selection.reads) != 1 or selection.expression or selection.reads[0].expression:
            return None
        if selection.reads[0].indexes not in {None, (1,)}:
            return None
        source = self._layer.source(selection.reads[0].asset)
        if source is not None and source.reader == "raster":
            with _guarded(selection.reads[0].asset):
                return self._datasets.raster(source.path).palette
        with self.open(selection.reads[0].asset) as reader:
            if getattr(getattr(reader, "dataset", None), "count", 0) != 1:
                return None
            return getattr(reader, "colormap", None) or None

    # --- inside

    def _together(self, images: list[ImageData]) -> ImageData:
        """The bands of several reads as one image, or what the expression makes of them."""
        image = images[0] if len(images) == 1 else ImageData.create_from_list(images)
        image.band_names = [name for each in images for name in each.band_names]
        if self._selection.expression is not None:
            image = evaluate(image, self._selection.expression, self._selection.places)
        return image

    def _read_quickly(self, read: BandRead, area: Area, part: nearest.Part | None = None) -> ImageData | None:
        """A tile for a picture, or a part of it, by nearest neighbour; None for what rio-tiler is to do."""
        parameters, source = self._parameters, self._layer.source(read.asset)
        if (
            not isinstance(area, Tile)
            or source is None
            or source.reader != "raster"
            or parameters.format not in PICTURES
            or not parameters.resampling == parameters.reproject == "nearest"
            or parameters.algorithm is not None
            or parameters.unscale
            or parameters.padding
            or parameters.buffer
        ):
            return None
        check_tile(area.tile_matrix_set, area.z, area.x, area.y)
        with _guarded(read.asset):
            raster = self._datasets.raster(source.path)
            is_scaled = parameters.rescale or parameters.colormap or self._selection.expression
            if raster.dtype != np.uint8 and not is_scaled:
                return None  # values are scaled by the file's statistics, which rio-tiler looks up
            self._check_bands(raster, read)
            size = _TILE_SIZE * parameters.scale
            image = nearest.read(raster, self._datasets.blocks, area, size, read.indexes, parameters.nodata, part)
            return None if image is None else self._named(image, read)

    def _read(self, read: BandRead, area: Area) -> ImageData:
        parameters = self._parameters
        with self.open(read.asset) as reader:
            bands = self._check_bands(reader, read)
            kwargs: dict[str, Any] = {
                "indexes": read.indexes,
                "nodata": parameters.nodata,
                "unscale": parameters.unscale,
                "resampling_method": parameters.resampling,
                "reproject_method": parameters.reproject,
            }
            if isinstance(area, Tile):
                image = self._tile(reader, area, kwargs)
            elif isinstance(area, Box):
                image = self._part(reader, area, bands, kwargs)
            elif isinstance(area, Shape):
                image = self._feature(reader, area, bands, kwargs)
            else:
                image = self._preview(reader, kwargs)
            return self._named(image, read)

    def _tile(self, reader: PixelReader, tile: Tile, kwargs: dict[str, Any]) -> ImageData:
        check_tile(tile.tile_matrix_set, tile.z, tile.x, tile.y)
        size = _TILE_SIZE * self._parameters.scale
        buffer, padding = read_buffer(self._parameters) or None, self._parameters.padding
        return reader.tile(tile.x, tile.y, tile.z, tilesize=size, buffer=buffer, padding=padding, **kwargs)

    def _part(self, reader: PixelReader, box: Box, bands: int, kwargs: dict[str, Any]) -> ImageData:
        coord_crs = crs_of(self._parameters.coord_crs, "coord_crs")
        self._check_touches(reader, box.bounds, coord_crs)
        dst_crs = crs_of(self._parameters.dst_crs, "dst_crs") if self._parameters.dst_crs else None
        image = reader.part(box.bounds, dst_crs=dst_crs, bounds_crs=coord_crs, **self._size(), **kwargs)
        self._check_size(image, bands)
        return image

    def _feature(self, reader: PixelReader, shape: Shape, bands: int, kwargs: dict[str, Any]) -> ImageData:
        coord_crs = crs_of(self._parameters.coord_crs, "coord_crs")
        geometry = dict(shape.geometry)
        self._check_touches(reader, rasterio.features.bounds(geometry), coord_crs)
        dst_crs = crs_of(self._parameters.dst_crs, "dst_crs") if self._parameters.dst_crs else None
        image = reader.feature(geometry, dst_crs=dst_crs, shape_crs=coord_crs, **self._size(), **kwargs)
        self._check_size(image, bands)
        return image

    def _preview(self, reader: PixelReader, kwargs: dict[str, Any]) -> ImageData:
        if self._parameters.dst_crs:
            kwargs = {**kwargs, "dst_crs": crs_of(self._parameters.dst_crs, "dst_crs")}
        return reader.preview(**self._size(), **kwargs)

    def _size(self) -> dict[str, int | None]:
        """``max_size`` counts unless a width or height is given."""
        width, height = self._parameters.width, self._parameters.height
        return {"max_size": None if width or height else self._parameters.max_size, "width": width, "height": height}

    def _read_point(self, read: BandRead, point: Point) -> ImageData:
        parameters = self._parameters
        with self.open(read.asset) as reader:
            self._check_bands(reader, read)
            found = reader.point(
                point.x,
                point.y,
                coord_crs=crs_of(parameters.coord_crs, "coord_crs"),
                indexes=read.indexes,
                nodata=parameters.nodata,
                unscale=parameters.unscale,
                resampling_method=parameters.resampling,
                reproject_method=parameters.reproject,
                interpolate=parameters.resampling != "nearest",
            )
            image = ImageData(found.array.reshape(-1, 1, 1))
            image.band_names = found.band_names
            return self._named(image, read)

    def _named(self, image: ImageData, read: BandRead) -> ImageData:
        """Bands by the names that answers use: ``asset_b1``, or ``asset`` where it is one band."""
        if read.expression is not None:
            assert read.indexes is not None
            places = tuple(read.indexes.index(operand.band) for operand in read.expression.operands)
            image = evaluate(image, read.expression, places)
            image.band_names = [f"{read.asset}_{name}" for name in image.band_names]
        elif self._selection.asset_as_band and self._selection.expression is None:
            if image.count != 1:
                message = f"asset_as_band: {read.asset!r} has {image.count} bands: choose one with asset_bidx."
                raise InvalidParameter(message, target="asset_as_band")
            image.band_names = [read.asset]
        else:
            image.band_names = [f"{read.asset}_{name}" for name in image.band_names]
        return image

    def _check_bands(self, reader: PixelReader | Raster, read: BandRead) -> int:
        """How many bands are read."""
        self._check_values(reader)
        count = getattr(getattr(reader, "dataset", None), "count", None)
        if read.indexes is None:
            return count or 1
        if count is not None:
            for index in read.indexes:
                if index > count:
                    message = f"The asset {read.asset!r} has no band {index}: it has {count}."
                    raise InvalidParameter(message, target="asset_bidx")
        return len(read.indexes)

    def _check_values(self, reader: PixelReader | Raster) -> None:
        """Can these values be shown, and be what ``nodata`` says?"""
        for dtype in dict.fromkeys(getattr(getattr(reader, "dataset", None), "dtypes", ())):
            if dtype.startswith("complex"):
                raise AssetUnreadable("Its values are complex numbers, which have no colour.")
            nodata = self._parameters.nodata
            if nodata is None or not np.issubdtype(dtype, np.integer):
                continue
            limits = np.iinfo(dtype)
            if not (np.isfinite(nodata) and limits.min <= nodata <= limits.max and float(nodata).is_integer()):
                message = f"nodata: {nodata:g} cannot be a value of {dtype}, which this asset has."
                raise InvalidParameter(message, target="nodata")

    def _check_touches(self, reader: PixelReader, bounds: tuple[float, ...], crs: CRS) -> None:
        left, bottom, right, top = bounds
        if reader.crs != crs:
            left, bottom, right, top = transform_bounds(crs, reader.crs, *bounds, densify_pts=21)
        west, south, east, north = reader.bounds
        south, north = min(south, north), max(south, north)
        if right <= west or left >= east or top <= south or bottom >= north:
            raise OutsideData("The area lies outside the data.")

    def _check_size(self, image: ImageData, bands: int) -> None:
        if image.width * image.height > self._max_pixels:
            raise RenderLimitExceeded(f"{image.width} x {image.height} pixels of {bands} bands are too many.")


def read_buffer(parameters: RenderParameters) -> float:
    """Pixels that are read around a tile: those asked for, or what an algorithm needs to have no edge there."""
    return parameters.buffer or (TERRAIN_BUFFER if parameters.algorithm in NEIGHBOURS else 0.0)


def evaluate(image: ImageData, expression: Expression, places: tuple[int, ...]) -> ImageData:
    """An image whose bands are the expression's outputs; masked where any band of the input is.

    As rio-tiler, what is not a number becomes 0.
    """
    for place in places:
        if place >= image.count:
            message = f"expression: there is no b{place + 1}: {image.count} bands are read."
            raise InvalidParameter(message, target="expression")
    operands = {f"v{at}_": image.array.data[place] for at, place in enumerate(places)}
    try:
        with np.errstate(all="ignore"):
            outputs = [
                np.nan_to_num(numexpr.evaluate(program, local_dict=operands, global_dict={}))
                for program in expression.programs
            ]
    except MemoryError:
        raise
    except Exception as exc:
        raise InvalidParameter(f"expression: it cannot be computed: {str(exc)[:200]}.", target="expression") from exc
    dtype = np.result_type(*outputs) if len(outputs) > 1 else outputs[0].dtype
    if dtype == np.bool_:
        dtype = np.dtype("uint8")
    shape = image.array.shape[1:]
    data = np.stack([np.broadcast_to(output, shape).astype(dtype) for output in outputs])
    mask = np.logical_or.reduce(np.ma.getmaskarray(image.array))
    made = ImageData(
        np.ma.MaskedArray(data, mask=np.broadcast_to(mask, data.shape).copy()),
        bounds=image.bounds,
        crs=image.crs,
        cutline_mask=image.cutline_mask,
    )
    made.band_names = list(expression.outputs)
    return made


def crs_of(text: str, name: str) -> CRS:
    """A coordinate reference system by its code or URI.

    Raises:
        InvalidParameter: there is none of that name.
    """
    try:
        return CRS.from_user_input(text)
    except (CRSError, ValueError) as exc:
        message = f"{name}: {text[:80]!r} is no coordinate reference system that is known here."
        raise InvalidParameter(message, target=name) from exc


@contextlib.contextmanager
def _guarded(asset: str) -> Iterator[None]:
    try:
        yield
    except (TileOutsideBounds, PointOutsideBounds) as exc:
        raise OutsideData(f"{exc}.") from exc
    except CPLE_BaseError as exc:  # what GDAL says of places that a projection does not have
        raise OutsideData("The place lies outside what the data's reference system can express.") from exc
    except AssetUnreadable as exc:
        raise AssetUnreadable(f"Asset {asset!r}: {exc.message}", target="assets") from exc
    except RasterioError as exc:
        message = f"Asset {asset!r}: its file cannot be read there ({str(exc)[:200]})."
        raise AssetUnreadable(message, target="assets") from exc
