"""Owns: the names of containers and keys.

Names are built from what users wrote and have to be legal everywhere: file systems, Azure Blob, S3, URLs. A text that
is harmless stays as it is; any other is made harmless and gets a hash of the original, so that different texts always
have different names.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import unicodedata
from typing import Final

#: Longest name of a path segment made from user text, without extension, characters (all ASCII).
_SEGMENT: Final = 150
_HASH: Final = 16

_HARMLESS: Final = re.compile(r"^[A-Za-z0-9_+,()-][A-Za-z0-9_+,().-]*\Z")
_HARMFUL: Final = re.compile(r"[^A-Za-z0-9_+,().-]+")
#: What a changed name ends with; a text that ends so by itself is changed too, else it could be another's name.
_HASHED: Final = re.compile(rf"-[0-9a-f]{{{_HASH}}}\Z")
_PATH_EXTENSION: Final = re.compile(r"[^/]\.([A-Za-z0-9]{1,8})\Z")

_CONTAINER: Final = re.compile(r"^[a-z0-9](?:[a-z0-9]|-(?!-)){1,61}[a-z0-9]\Z")
_KEY_SEGMENT: Final = re.compile(r"^(?!\.{1,2}\Z)[A-Za-z0-9_+,().-]{1,255}\Z")

#: Extensions by media type, without parameters.
EXTENSIONS: Final = {
    "application/geo+json": ".geojson",
    "application/geopackage+sqlite3": ".gpkg",
    "application/gzip": ".gz",
    "application/json": ".json",
    "application/netcdf": ".nc",
    "application/pdf": ".pdf",
    "application/schema+json": ".json",
    "application/vnd.apache.parquet": ".parquet",
    "application/vnd.google-earth.kml+xml": ".kml",
    "application/vnd.laszip": ".laz",
    "application/vnd.laszip+copc": ".copc.laz",
    "application/vnd.las": ".las",
    "application/vnd.pmtiles": ".pmtiles",
    "application/vnd+zarr": ".zarr",
    "application/wmo-grib2": ".grib2",
    "application/x-grib2": ".grib2",
    "application/x-hdf": ".h5",
    "application/x-hdf5": ".h5",
    "application/x-netcdf": ".nc",
    "application/x-parquet": ".parquet",
    "application/x-tar": ".tar",
    "application/xml": ".xml",
    "application/zip": ".zip",
    "image/geotiff": ".tif",
    "image/gif": ".gif",
    "image/jp2": ".jp2",
    "image/jpeg": ".jpg",
    "image/jpg": ".jpg",
    "image/png": ".png",
    "image/svg+xml": ".svg",
    "image/tiff": ".tif",
    "image/vnd.stac.geotiff": ".tif",
    "image/webp": ".webp",
    "text/css": ".css",
    "text/csv": ".csv",
    "text/html": ".html",
    "text/markdown": ".md",
    "text/plain": ".txt",
    "text/xml": ".xml",
}


def container_name(collection_id: str) -> str:
    """A new name for a collection's container: never the same twice, legal for Azure (3 to 63 of a-z, 0-9, -)."""
    plain = unicodedata.normalize("NFKD", collection_id).encode("ascii", "ignore").decode().lower()
    slug = re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:50].strip("-")
    return f"{slug or 'collection'}-{secrets.token_hex(4)}"


def item_asset_key(operation_id: str, item_id: str, asset_key: str, extension: str) -> str:
    """The key of an item's asset: ``{12 hex of (operation, item)}/{item id}/{asset key}{extension}``."""
    return f"{_distinct(operation_id, item_id)}/{segment(item_id)}/{_file_name(asset_key, extension)}"


def collection_asset_key(operation_id: str, asset_key: str, file_name: str) -> str:
    """The key of a collection's own asset: ``collection-assets/{asset key}/{12 hex}/{file name}``.

    The operation (or any text made for this one upload) keeps a replacement from overwriting what it replaces.
    """
    return f"collection-assets/{segment(asset_key)}/{_distinct(operation_id, asset_key)}/{segment(file_name)}"


def extension_for(media_type: str | None, href: str) -> str:
    """The extension of a file, dot included: from the media type, else from the path of where it lay, else none."""
    if media_type is not None:
        known = EXTENSIONS.get(media_type.partition(";")[0].strip().lower())
        if known is not None:
            return known
    path = re.split(r"[?#]", href, maxsplit=1)[0]
    found = _PATH_EXTENSION.search(re.sub(r"^[^/]*//[^/]*", "", path))
    return f".{found[1].lower()}" if found else ""


def segment(text: str) -> str:
    """A path segment for a text; different texts have different segments, whatever is in them."""
    return _segment(text, harmless=True)


def is_container(text: str) -> bool:
    """Could this be the name of a container?"""
    return _CONTAINER.match(text) is not None


def is_key(text: str) -> bool:
    """Could this be a key: segments of harmless characters, none of them `.` or `..`?"""
    return len(text) <= 1000 and all(_KEY_SEGMENT.match(part) for part in text.split("/"))


def _file_name(asset_key: str, extension: str) -> str:
    # The name has to be taken apart again in one way only. Without an extension, nothing in it may look like one; with
    # one, it ends at the last dot, except for the one extension with two.
    ambiguous = "." in asset_key if not extension else asset_key.lower().endswith(".copc")
    return _segment(asset_key, harmless=not ambiguous) + extension


def _segment(text: str, *, harmless: bool) -> str:
    if (
        harmless
        and len(text) <= _SEGMENT
        and _HARMLESS.match(text)
        and not text.endswith(".")  # Azure and Windows drop it
        and not _HASHED.search(text)
    ):
        return text
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:_HASH]
    plain = unicodedata.normalize("NFKD", text)
    plain = "".join(character for character in plain if not unicodedata.combining(character))
    readable = _HARMFUL.sub("_", plain).replace(".", "_")[: _SEGMENT - _HASH - 1]
    return f"{readable or '_'}-{digest}"


def _distinct(*parts: str) -> str:
    # Lengths keep ("a", "bc") and ("ab", "c") apart.
    joined = "".join(f"{len(part)}:{part}" for part in parts)
    return hashlib.sha256(joined.encode("utf-8", "surrogatepass")).hexdigest()[:12]
