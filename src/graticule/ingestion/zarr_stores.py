"""Zarr stores as assets: a folder of many small files is fetched, and kept as one zip file.

Over HTTP a folder cannot be listed, so the store's metadata say which files there are: all of them in one place, by
``.zmetadata`` (Zarr 2) or ``zarr.json`` with ``consolidated_metadata`` (Zarr 3), or by an array that is the whole
store. A chunk that is not there is the fill value (Zarr 3 specification, "Chunk grids"). The zip file holds the files
as they are, uncompressed and in the order of the metadata, so that equal stores make equal files.
"""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import math
import re
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import orjson

from graticule.errors import AssetTooLarge, InvalidAssetHref, SourceNotFound
from graticule.sources import Download, Fetcher, redact
from graticule.stac.documents import Asset

_MEDIA_TYPES: Final = frozenset({"application/vnd+zarr", "application/vnd.zarr", "application/x-zarr"})
#: Files of one store.
MOST_FILES: Final = 100_000
_MOST_METADATA: Final = 64 << 20
_AT_ONCE: Final = 16
#: Where the metadata of a whole store may stand, the first that is there.
_METADATA: Final = (".zmetadata", "zarr.json", ".zarray")
_SEGMENT: Final = re.compile(r"(?!\.{1,2}\Z)[^/\\?#%\x00-\x1f]{1,255}\Z")


def is_store(asset: Asset) -> bool:
    """Is this asset a folder in the form of Zarr, as far as its description says? A zipped one is a file."""
    media_type = asset.get("type")
    plain_type = media_type.split(";", 1)[0].strip().lower() if isinstance(media_type, str) else ""
    return plain_type in _MEDIA_TYPES and not _path(asset["href"]).lower().endswith(".zip")


async def fetch_store(fetcher: Fetcher, href: str, path: Path, *, max_bytes: int) -> Download:
    """Bring a store into one zip file.

    Args:
        fetcher: the guarded client.
        href: of the folder; its query is sent with every file.
        path: the file to write.
        max_bytes: of all files together.

    Raises:
        SourceError: a file cannot be fetched; InvalidAssetHref: there is no store, or none whose files are known;
            AssetTooLarge: it is more than `max_bytes`, or of too many files.
    """
    store = _Source(fetcher, href, path.with_name(f"{path.name}.parts"), max_bytes)
    await asyncio.to_thread(store.folder.mkdir)
    name, metadata = await store.metadata()
    keys = list(itertools.islice(_keys(href, name, metadata), MOST_FILES + 1))
    if len(keys) > MOST_FILES:
        raise AssetTooLarge(
            f"{redact(href)} is a Zarr store of more than {MOST_FILES} files: rechunk it, or use shards."
        )
    with zipfile.ZipFile(path, "w") as archive:
        for at in range(0, len(keys), _AT_ONCE):
            some = keys[at : at + _AT_ONCE]
            found = await asyncio.gather(*(store.file(key) for key in some))
            await asyncio.to_thread(_add, archive, zip(some, found, strict=True))
    return await asyncio.to_thread(_described, path)


class _Source:
    """The files of a store at its source."""

    def __init__(self, fetcher: Fetcher, href: str, folder: Path, max_bytes: int) -> None:
        self.folder = folder
        self._fetcher = fetcher
        self._href = href
        self._left = max_bytes
        self._numbers = itertools.count()

    async def metadata(self) -> tuple[str, Mapping[str, Any]]:
        for name in _METADATA:
            path = await self.file(name, most=_MOST_METADATA)
            if path is None:
                continue
            try:
                document = orjson.loads(await asyncio.to_thread(path.read_bytes))
            except orjson.JSONDecodeError:
                document = None
            if not isinstance(document, dict):
                raise InvalidAssetHref(f"{redact(self._href)}: the {name} of this Zarr store is no JSON object.")
            return name, document
        raise InvalidAssetHref(
            f"{redact(self._href)} is no Zarr store whose files are known: there is neither .zmetadata nor zarr.json."
            " A folder cannot be listed here: consolidate the store's metadata (zarr.consolidate_metadata), or zip it."
        )

    async def file(self, key: str, most: int | None = None) -> Path | None:
        """One file; None where there is none."""
        path = self.folder / str(next(self._numbers))
        base, mark, query = self._href.partition("?")
        address = f"{base.rstrip('/')}/{quote(key)}{mark}{query}"
        try:
            download = await self._fetcher.download(
                address, path, max_bytes=max(1, min(self._left, most or self._left))
            )
        except SourceNotFound:
            return None
        self._left -= download.bytes
        if self._left < 0:
            raise AssetTooLarge(f"{redact(self._href)}: the files of this Zarr store are too large together.")
        return path


def _keys(href: str, name: str, metadata: Mapping[str, Any]) -> Iterator[str]:
    """Every file of a store, metadata first."""
    yield name
    arrays: dict[str, Mapping[str, Any]] = {}
    if name == ".zmetadata":
        for key, document in _object(metadata.get("metadata")).items():
            if _checked(href, key).rpartition("/")[2] in {".zgroup", ".zattrs", ".zarray"}:
                yield key
            if key.rpartition("/")[2] == ".zarray":
                arrays[key.rpartition("/")[0]] = _object(document)
    elif name == ".zarray":
        yield ".zattrs"
        arrays[""] = metadata
    elif metadata.get("node_type") == "array":
        arrays[""] = metadata
    else:
        inner = _object(metadata.get("consolidated_metadata"))
        if not inner:
            raise InvalidAssetHref(
                f"{redact(href)}: the zarr.json of this store has no consolidated metadata, and a folder cannot be"
                " listed here: consolidate it (zarr.consolidate_metadata), or zip it."
            )
        for key, document in _object(inner.get("metadata")).items():
            yield f"{_checked(href, key)}/zarr.json"
            if _object(document).get("node_type") == "array":
                arrays[key] = _object(document)
    for array, document in arrays.items():
        for chunk in _chunks(href, array, document):
            yield f"{array}/{chunk}" if array else chunk


def _chunks(href: str, array: str, document: Mapping[str, Any]) -> Iterator[str]:
    """The names of an array's chunks, of its shards where it has those."""
    try:
        shape = [int(size) for size in document["shape"]]
        if document.get("zarr_format") == 3:
            sides = [int(side) for side in document["chunk_grid"]["configuration"]["chunk_shape"]]
            encoding = _object(document.get("chunk_key_encoding"))
            is_default = encoding.get("name", "default") == "default"
            separator = _object(encoding.get("configuration")).get("separator", "/" if is_default else ".")
        else:
            sides = [int(side) for side in document["chunks"]]
            is_default, separator = False, document.get("dimension_separator", ".")
    except (KeyError, TypeError, ValueError):
        shape, sides, is_default, separator = [0], [], False, ""
    if len(shape) != len(sides) or min([1, *sides]) < 1 or min([0, *shape]) < 0 or separator not in {".", "/"}:
        raise InvalidAssetHref(f"{redact(href)}: the Zarr array {array[:80]!r} has metadata that cannot be read.")
    counts = [-(-size // side) for size, side in zip(shape, sides, strict=True)]
    if math.prod(counts) > MOST_FILES:
        raise AssetTooLarge(
            f"{redact(href)}: the Zarr array {array[:80]!r} has {math.prod(counts)} chunks: rechunk it."
        )
    for place in itertools.product(*(range(count) for count in counts)):
        name = separator.join(str(number) for number in place)
        if is_default:
            yield f"c{separator}{name}" if place else "c"
        else:
            yield name or "0"


def _checked(href: str, key: str) -> str:
    """A key that names a file of the store, and nothing else."""
    if not all(_SEGMENT.match(part) for part in key.split("/")):
        raise InvalidAssetHref(f"{redact(href)}: the Zarr store has a key that cannot be: {key[:80]!r}.")
    return key


def _object(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _path(href: str) -> str:
    return re.split(r"[?#]", href, maxsplit=1)[0]


def _add(archive: zipfile.ZipFile, files: Iterator[tuple[str, Path | None]]) -> None:
    for key, path in files:
        if path is not None:
            archive.writestr(zipfile.ZipInfo(key), path.read_bytes())
            path.unlink()


def _described(path: Path) -> Download:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return Download(
        bytes=path.stat().st_size,
        sha256=digest,
        md5=None,
        content_type=None,
        etag=None,
        name=None,
        content_encoding=None,
    )
