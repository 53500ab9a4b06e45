"""Owns: which files of a folder are rasters, what completes them from beside, and what is not ours to describe."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

from graticule.errors import NotForged

RASTERS: Final = {
    ".tif": "image/tiff; application=geotiff",
    ".tiff": "image/tiff; application=geotiff",
    ".gtiff": "image/tiff; application=geotiff",
    ".jp2": "image/jp2",
    ".j2k": "image/jp2",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".png": "image/png",
}
#: What GDAL reads beside a raster.
SIDECARS: Final = {
    **dict.fromkeys((".tfw", ".tifw", ".tiffw", ".jgw", ".jpgw", ".jpegw", ".pgw", ".pngw"), "text/plain"),
    **dict.fromkeys((".j2w", ".jp2w", ".wld", ".prj"), "text/plain"),
    **dict.fromkeys((".ovr", ".msk"), "image/tiff"),
    ".aux.xml": "application/xml",
}
METADATA: Final = {
    ".json": "application/json",
    ".geojson": "application/geo+json",
    ".xml": "application/xml",
    ".txt": "text/plain",
    ".met": "text/plain",
    ".imd": "text/plain",
    ".rpb": "text/plain",
    ".csv": "text/csv",
    ".html": "text/html",
    ".pdf": "application/pdf",
}


class Kind(StrEnum):
    """What a file is, by its name."""

    RASTER = "raster"
    SIDECAR = "sidecar"
    METADATA = "metadata"
    OTHER = "other"


@dataclass(frozen=True)
class Found:
    """A file."""

    path: Path  #: absolute
    place: str  #: below the folder that was named, with slashes; of a file that was named, its name
    kind: Kind
    media_type: str | None

    @property
    def name(self) -> str:
        """Its name, with the extension."""
        return self.path.name

    @property
    def stem(self) -> str:
        """Its name without extension (``a`` of ``a.tif``)."""
        return self.path.stem

    @property
    def folder(self) -> Path:
        """Where it lies."""
        return self.path.parent


def find_files(named: Iterable[Path], *, besides: Path | None = None) -> list[Found]:
    """Every file that was named or lies below a folder that was, each once, by name; hidden ones are left out.

    Args:
        named: files and folders.
        besides: a folder that is not searched: where the outcome goes, which may be below one of them.

    Raises:
        NotForged: one of them does not exist, or is a URL.
    """
    found: dict[Path, Found] = {}
    for path in named:
        if path.parts[:1] and path.parts[0].endswith(":"):
            raise NotForged(
                f"{path.parts[0]}//… is a URL, and forge reads files: download them, and say where they are served with"
                " --asset-base URL."
            )
        if not path.exists():
            raise NotForged(f"{path} does not exist: name files, or folders of files.")
        root = path.absolute()
        for file in _below(root, besides) if root.is_dir() else (root,):
            place = file.relative_to(root).as_posix() if root.is_dir() else file.name
            found.setdefault(file, _found(file, place))
    return list(found.values())


def _below(folder: Path, besides: Path | None) -> Iterator[Path]:
    """Files in a stable order; links to folders are not followed, for they may lead round in a circle."""
    for parent, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith(".") and Path(parent, name) != besides)
        yield from (Path(parent, name) for name in sorted(names) if not name.startswith("."))


def _found(path: Path, place: str) -> Found:
    name = path.name.lower()
    for kind, endings in ((Kind.SIDECAR, SIDECARS), (Kind.RASTER, RASTERS), (Kind.METADATA, METADATA)):
        for ending, media_type in endings.items():
            if name.endswith(ending):
                return Found(path, place, kind, media_type)
    return Found(path, place, Kind.OTHER, None)
