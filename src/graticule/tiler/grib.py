"""Messages of a GRIB file, inside a render process: GDAL counts them as bands, as ``subdataset_bands`` does.

Values are in the unit of the file (WMO Manual on Codes, FM 92): GDAL is told not to make Celsius of Kelvin.
"""

from __future__ import annotations

from typing import Any, Final

from morecantile import TileMatrixSet
from rasterio.io import DatasetReader
from rio_tiler.io.rasterio import Reader
from rio_tiler.models import ImageData, PointData

from graticule.errors import InvalidParameter

#: GDAL's driver.
DRIVERS: Final = ("GRIB",)


class MessageReader:
    """rio-tiler's reader, where a message must be chosen if there are several."""

    def __init__(self, dataset: DatasetReader, tms: TileMatrixSet, chosen: tuple[int, ...]) -> None:
        """Take an open file, and ``subdataset_bands``: messages, from 1.

        Raises:
            InvalidParameter: there is no such message.
        """
        for band in chosen:
            if band > dataset.count:
                message = f"subdataset_bands: there is no message {band}: the file has {dataset.count}."
                raise InvalidParameter(message, target="subdataset_bands")
        self._reader = Reader(None, dataset=dataset, tms=tms)
        self._chosen = chosen
        self.dataset = dataset
        self.bounds = self._reader.bounds
        self.crs = self._reader.crs

    @property
    def minzoom(self) -> int:
        """As rio-tiler's `Reader.minzoom`."""
        return int(self._reader.minzoom)

    @property
    def maxzoom(self) -> int:
        """As rio-tiler's `Reader.maxzoom`."""
        return int(self._reader.maxzoom)

    def info(self) -> Any:
        """As rio-tiler's `Reader.info`: all messages."""
        return self._reader.info()

    def tile(self, tile_x: int, tile_y: int, tile_z: int, **kwargs: Any) -> ImageData:
        """As rio-tiler's `Reader.tile`."""
        return self._reader.tile(tile_x, tile_y, tile_z, **self._with(kwargs))

    def part(self, bbox: tuple[float, float, float, float], **kwargs: Any) -> ImageData:
        """As rio-tiler's `Reader.part`."""
        return self._reader.part(bbox, **self._with(kwargs))

    def feature(self, shape: dict[str, Any], **kwargs: Any) -> ImageData:
        """As rio-tiler's `Reader.feature`."""
        return self._reader.feature(shape, **self._with(kwargs))

    def preview(self, **kwargs: Any) -> ImageData:
        """As rio-tiler's `Reader.preview`."""
        return self._reader.preview(**self._with(kwargs))

    def point(self, lon: float, lat: float, **kwargs: Any) -> PointData:
        """As rio-tiler's `Reader.point`."""
        return self._reader.point(lon, lat, **self._with(kwargs))

    def _with(self, kwargs: dict[str, Any]) -> dict[str, Any]:
        """The messages that are read: by ``asset_bidx``, else by ``subdataset_bands``, else the only one."""
        indexes = kwargs.get("indexes") or self._chosen or ((1,) if self.dataset.count == 1 else None)
        if indexes is None:
            message = (
                f"The file has {self.dataset.count} messages: choose with subdataset_bands; info tells what they are."
            )
            raise InvalidParameter(message, target="subdataset_bands")
        return {**kwargs, "indexes": tuple(indexes)}
