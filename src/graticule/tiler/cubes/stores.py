"""Zarr stores that read one managed file: a zipped store, or the file that a Kerchunk manifest refers into.

A manifest (Kerchunk reference specification, version 1) names its files by URL. Here a name is taken only if it is that
of a file beside the manifest; nothing in it is ever opened as a URL, and its ``gen`` and templates are not evaluated,
but for the one template that our own manifests have.
"""

from __future__ import annotations

import base64
import zipfile
from abc import abstractmethod
from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Any, Final

import orjson
from zarr.abc.store import (
    ByteRequest,
    OffsetByteRequest,
    RangeByteRequest,
    Store,
    SuffixByteRequest,
)
from zarr.core.buffer import Buffer, BufferPrototype

from graticule.tiler.remote import RemotePath, StoredPath

#: Bytes of one value: of a chunk as it is stored.
_MOST_BYTES: Final = 512 << 20
_MOST_KEYS: Final = 1_000_000
_MOST_MANIFEST: Final = 256 << 20
#: How our manifests name their file; readers elsewhere replace it by an address (``template_overrides``).
TEMPLATE: Final = "u"


#: A value, or where it lies: name of a file, offset (None: all of it) and length.
Reference = bytes | tuple[str, int | None, int]


class UnreadableStore(ValueError):
    """The file is no store of this kind, or one that refers elsewhere."""


class FrozenStore(Store):
    """A store that is only read, and whose keys are known."""

    supports_writes = supports_deletes = False
    supports_listing = True

    def __init__(self, keys: Iterable[str]) -> None:
        """Take all keys."""
        super().__init__(read_only=True)
        self._keys = frozenset(keys)

    @abstractmethod
    def _read(self, key: str) -> bytes: ...

    def __eq__(self, other: object) -> bool:
        return self is other

    def __hash__(self) -> int:
        return id(self)

    async def get(self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None) -> Buffer | None:
        """As `Store.get`."""
        if key not in self._keys:
            return None
        return prototype.buffer.from_bytes(_part(self._read(key), byte_range))

    async def get_partial_values(
        self, prototype: BufferPrototype, key_ranges: Iterable[tuple[str, ByteRequest | None]]
    ) -> list[Buffer | None]:
        """As `Store.get_partial_values`."""
        return [await self.get(key, prototype, part) for key, part in key_ranges]

    async def exists(self, key: str) -> bool:
        """As `Store.exists`."""
        return key in self._keys

    async def set(self, key: str, value: Buffer) -> None:
        """Never."""
        raise NotImplementedError

    async def delete(self, key: str) -> None:
        """Never."""
        raise NotImplementedError

    async def list(self) -> AsyncIterator[str]:
        """As `Store.list`."""
        for key in self._keys:
            yield key

    async def list_prefix(self, prefix: str) -> AsyncIterator[str]:
        """As `Store.list_prefix`."""
        for key in self._keys:
            if key.startswith(prefix):
                yield key

    async def list_dir(self, prefix: str) -> AsyncIterator[str]:
        """As `Store.list_dir`."""
        start = f"{prefix.rstrip('/')}/" if prefix else ""
        for name in {key[len(start) :].split("/", 1)[0] for key in self._keys if key.startswith(start)}:
            yield name


class ReferenceStore(FrozenStore):
    """What references describe."""

    def __init__(self, folder: StoredPath, refs: Mapping[str, Reference]) -> None:
        """Take references by key; their files are names in a folder."""
        self._folder = folder
        self._refs = refs
        super().__init__(refs)

    @classmethod
    def of_manifest(cls, manifest: StoredPath) -> ReferenceStore:
        """Read a manifest.

        Raises:
            UnreadableStore: it is none, or it names anything but a file beside it.
        """
        return cls(manifest.parent, _references(manifest))

    def _read(self, key: str) -> bytes:
        value = self._refs[key]
        if isinstance(value, bytes):
            return value
        name, offset, length = value
        path = self._folder / name
        if offset is None:
            offset, length = 0, path.stat().st_size
        if length > _MOST_BYTES:
            raise UnreadableStore(f"the chunk {key[:80]!r} is larger than {_MOST_BYTES >> 20} MiB")
        with path.open("rb") as file:
            file.seek(offset)
            return file.read(length)


class ZippedStore(FrozenStore):
    """A Zarr store in a zip file, at its root or in the one folder that it has."""

    def __init__(self, path: StoredPath) -> None:
        """Read the directory of a zip file.

        Raises:
            UnreadableStore: it is none, or has no Zarr store in it.
        """
        try:
            self._zip = zipfile.ZipFile(path.open("rb") if isinstance(path, RemotePath) else path)
        except (zipfile.BadZipFile, OSError, NotImplementedError) as exc:
            raise UnreadableStore("it is no zip file") from exc
        names = [info.filename for info in self._zip.infolist() if not info.is_dir()]
        if len(names) > _MOST_KEYS:
            raise UnreadableStore(f"it has more than {_MOST_KEYS} members")
        roots = [name.rpartition("/")[0] for name in names if name.rpartition("/")[2] in _ROOTS]
        if not roots:
            raise UnreadableStore("there is no .zgroup, .zarray or zarr.json in it")
        root = min(roots, key=lambda name: (name.count("/") + bool(name), name))
        self._prefix = f"{root}/" if root else ""
        super().__init__(name.removeprefix(self._prefix) for name in names if name.startswith(self._prefix))

    def _read(self, key: str) -> bytes:
        info = self._zip.getinfo(self._prefix + key)
        if info.file_size > _MOST_BYTES:
            raise UnreadableStore(f"{key[:80]!r} is larger than {_MOST_BYTES >> 20} MiB")
        with self._zip.open(info) as file:
            return file.read(info.file_size)


_ROOTS: Final = frozenset({".zgroup", ".zarray", ".zmetadata", "zarr.json"})


def _part(value: bytes, byte_range: ByteRequest | None) -> bytes:
    if isinstance(byte_range, RangeByteRequest):
        return value[byte_range.start : byte_range.end]
    if isinstance(byte_range, OffsetByteRequest):
        return value[byte_range.offset :]
    if isinstance(byte_range, SuffixByteRequest):
        return value[-byte_range.suffix :] if byte_range.suffix else b""
    return value


def _references(manifest: StoredPath) -> dict[str, Reference]:
    if manifest.stat().st_size > _MOST_MANIFEST:
        raise UnreadableStore(f"the manifest is larger than {_MOST_MANIFEST >> 20} MiB")
    try:
        document = orjson.loads(manifest.read_bytes())
    except orjson.JSONDecodeError as exc:
        raise UnreadableStore("the manifest is not JSON") from exc
    if not isinstance(document, dict):
        raise UnreadableStore("the manifest is no JSON object")
    refs = document.get("refs", document)
    templates = document.get("templates")
    own = templates.get(TEMPLATE) if isinstance(templates, dict) else None
    if not isinstance(refs, dict) or document.get("gen") or len(refs) > _MOST_KEYS:
        raise UnreadableStore("the manifest is not of a form that is read here: plain refs, without gen")
    beside = _Beside(manifest.parent)
    return {key: _reference(key, value, own, beside) for key, value in refs.items()}


class _Beside:
    """The files of a folder, each looked for once."""

    def __init__(self, folder: StoredPath) -> None:
        self._folder = folder
        self._known: dict[str, bool] = {}

    def __contains__(self, name: str) -> bool:
        if name not in self._known:
            is_plain = name not in {"", ".", ".."} and "/" not in name and "\0" not in name
            self._known[name] = is_plain and (self._folder / name).is_file()
        return self._known[name]


def _reference(key: str, value: Any, own: Any, beside: _Beside) -> Reference:
    if isinstance(value, str):
        return base64.b64decode(value[7:]) if value.startswith("base64:") else value.encode()
    if isinstance(value, dict):
        return orjson.dumps(value)
    if not isinstance(value, list) or len(value) not in {1, 3} or not isinstance(value[0], str):
        raise UnreadableStore(f"the reference {key[:80]!r} has no known form")
    name = own if value[0] == "{{" + TEMPLATE + "}}" else value[0]
    if name not in beside:
        raise UnreadableStore(f"the reference {key[:80]!r} is to something else than a file beside the manifest")
    if len(value) == 1:
        return name, None, 0
    offset, length = value[1:]
    if not (isinstance(offset, int) and isinstance(length, int)) or offset < 0 or length < 0:
        raise UnreadableStore(f"the reference {key[:80]!r} has no offset and length")
    return name, offset, length
