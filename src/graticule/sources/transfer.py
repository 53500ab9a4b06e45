"""Owns: one download in the making: the file, its digests, and what is needed to go on after a broken connection."""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from email.message import Message
from pathlib import Path
from typing import IO, Final

from aiohttp import ClientResponse

from graticule.errors import (
    AssetTooLarge,
    EmptyAsset,
    InternalIntermittentError,
    SourceConnectionFailed,
    SourceRefused,
)
from graticule.sources.encodings import DecodesTooLarge, Undecodable, decode, is_meant_as_it_is
from graticule.sources.hrefs import Href

#: Bytes received so far, and the size that the source announced, if it did.
OnProgress = Callable[[int, int | None], None]

#: Bytes gathered before they are digested and written, in threads; as many come meanwhile.
_BLOCK: Final = 1 << 21
#: A whole file of this size is written at once, bytes.
_SMALL: Final = 1 << 16
_CONTENT_RANGE: Final = re.compile(r"^bytes (\d+)-(\d+)/(\d+|\*)\Z")


@dataclass(frozen=True, slots=True)
class Download:
    """A file that came whole."""

    #: Size of the file, bytes.
    bytes: int
    #: Of its bytes, hex.
    sha256: str
    #: As the source states it, checked; hex. None where it states none.
    md5: str | None
    #: Media type with parameters, as the source states it.
    content_type: str | None
    #: The source's ETag, quotes and weakness mark included.
    etag: str | None
    #: The file name of Content-Disposition: its last segment only.
    name: str | None
    #: Set where the file holds compressed bytes: it is one by its name. Other bodies that a source compressed although
    #: identity was asked for are decoded.
    content_encoding: str | None


@dataclass(frozen=True, slots=True)
class _Head:
    """What the head of the answer said about the representation."""

    total: int | None = None
    etag: str | None = None
    #: Can a part of it be asked for, and be told from a part of another one?
    resumable: bool = False
    md5: str | None = None
    content_type: str | None = None
    name: str | None = None
    encoding: str | None = None

    @classmethod
    def of(cls, response: ClientResponse) -> _Head:
        headers = response.headers
        etag = headers.get("ETag")
        encoding = headers.get("Content-Encoding", "").strip().lower()
        return cls(
            total=response.content_length,
            etag=etag,
            resumable=bool(etag and etag.startswith('"'))
            and headers.get("Accept-Ranges", "").strip().lower() == "bytes",
            md5=_stated_md5(headers.get("Content-MD5")),
            content_type=headers.get("Content-Type"),
            name=_file_name(headers.get("Content-Disposition")),
            encoding=encoding if encoding not in ("", "identity") else None,
        )


class Transfer:
    """The state of a download between its tries."""

    def __init__(self, href: Href, path: Path, max_bytes: int, on_progress: OnProgress | None) -> None:
        """Open the file; what was in it is gone."""
        self.href = href
        #: Bytes received that count.
        self.received = 0
        #: Tries that failed.
        self.tries = 0
        self._path = path
        self._max_bytes = max_bytes
        self._on_progress = on_progress
        #: What came since the last block was handed to `_writing`, and how much that is.
        self._pending: list[bytes] = []
        self._gathered = 0
        #: The block before, which threads digest and write while the next one comes.
        self._writing: asyncio.Future[tuple[None, None]] | None = None
        self._head = _Head()
        self._sha256 = hashlib.sha256()
        self._md5 = hashlib.md5(usedforsecurity=False)
        self._file: IO[bytes] = _open(path)

    def range_headers(self) -> dict[str, str]:
        """What asks for the rest (RFC 9110 section 13.1.5: only with a strong validator), or nothing."""
        if self.received and self._head.resumable and self._head.etag:
            return {"Range": f"bytes={self.received}-", "If-Range": self._head.etag}
        return {}

    def begin(self, response: ClientResponse) -> None:
        """Take in the head of an answer: go on where the last one broke off, or start over.

        Raises:
            AssetTooLarge: it announces more than may come.
            SourceConnectionFailed: it is another part than the one asked for; the next try asks for the whole.
            SourceRefused: it is a part, or about one, and the whole was asked for.
        """
        asked = bool(self.range_headers())
        if response.status == 206:
            if asked and self._continues(response):
                return
            if not asked:
                raise SourceRefused(f"{self.href} answered 206, a part of the file, where all of it was asked for.")
        if response.status == 416 and not asked:
            raise SourceRefused(f"{self.href} answered 416 about a part of the file, where all of it was asked for.")
        if response.status in (206, 416):
            self._start_over()
            raise SourceConnectionFailed(f"{self.href} changed while it was being read.")
        self._start_over()
        self._head = _Head.of(response)
        if self._head.total is not None and self._head.total > self._max_bytes:
            raise self._too_large()

    async def append(self, chunk: bytes) -> None:
        """Take bytes.

        Raises:
            AssetTooLarge: more came than may.
        """
        self.received += len(chunk)
        if self.received > self._max_bytes:
            raise self._too_large()
        self._pending.append(chunk)
        self._gathered += len(chunk)
        if self._gathered >= _BLOCK:
            await self._hand_over()
        if self._on_progress is not None:
            self._on_progress(self.received, self._head.total)

    async def finish(self) -> Download:
        """The file is complete: check it and say what it is.

        Raises:
            EmptyAsset: no bytes came.
            SourceConnectionFailed: too few came, or others than the source's own checksum is for.
            SourceRefused: they are compressed, and are not what the source says that they are.
            AssetTooLarge: they are compressed, and hold more than may come.
        """
        if self.received <= _SMALL:  # nothing was handed over, and two threads would cost more than they do
            self._digest(self._pending)
            self._write(self._pending)
        else:
            await self._hand_over()
            await self._written()
        head = self._head
        if head.total is not None and self.received != head.total:
            raise self.broken_off()
        if self.received == 0:
            raise EmptyAsset(f"{self.href} has no bytes: check the file and its URL.")
        if head.md5 is not None and self._md5.hexdigest() != head.md5:
            self._start_over()
            raise SourceConnectionFailed(f"{self.href} sent bytes that do not fit the Content-MD5 it stated.")
        self._file.close()
        size, sha256, encoding = self.received, self._sha256.hexdigest(), head.encoding
        if encoding is not None and not is_meant_as_it_is(self.href.path):
            (size, sha256), encoding = await self._decoded(encoding), None
        return Download(
            bytes=size,
            sha256=sha256,
            md5=head.md5,
            content_type=head.content_type,
            etag=head.etag,
            name=head.name,
            content_encoding=encoding,
        )

    async def _decoded(self, encoding: str) -> tuple[int, str]:
        try:
            return await asyncio.to_thread(decode, self._path, encoding, self._max_bytes)
        except Undecodable as exc:
            raise SourceRefused(
                f"{self.href} is sent compressed (Content-Encoding {encoding[:40]!r}), {exc}: have the source keep it"
                " uncompressed, or correct its Content-Encoding."
            ) from None
        except DecodesTooLarge:
            raise self._too_large() from None
        except OSError as exc:
            raise _disk_fault(exc) from exc

    def discard(self) -> None:
        """Close and remove the file."""
        with contextlib.suppress(OSError):  # closing writes what is buffered, and the disk may be full
            self._file.close()
        self._path.unlink(missing_ok=True)

    def broken_off(self) -> SourceConnectionFailed:
        """The error of a body that ended early."""
        of = "" if self._head.total is None else f" of {self._head.total}"
        return SourceConnectionFailed(f"{self.href} broke off after {self.received}{of} bytes.")

    def _start_over(self) -> None:
        self.received = 0
        self._pending, self._gathered = [], 0
        self._head = _Head()
        self._sha256 = hashlib.sha256()
        self._md5 = hashlib.md5(usedforsecurity=False)
        try:
            if self._file.tell():
                self._file.seek(0)
                self._file.truncate()
        except OSError as exc:
            raise _disk_fault(exc) from exc

    def _continues(self, response: ClientResponse) -> bool:
        """Is this the part that was asked for, of the same representation?"""
        part = _CONTENT_RANGE.match(response.headers.get("Content-Range", ""))
        return (
            part is not None
            and response.headers.get("ETag") in (None, self._head.etag)
            and int(part[1]) == self.received
            and (part[3] == "*" or self._head.total in (None, int(part[3])))
        )

    async def settle(self) -> None:
        """Wait for the threads; call it when a try has ended, before what comes next touches the file."""
        if self._writing is not None:
            await asyncio.gather(self._writing, return_exceptions=True)

    async def _hand_over(self) -> None:
        """Have threads digest and write what was gathered, once the block before is done."""
        await self._written()
        block, self._pending, self._gathered = self._pending, [], 0
        both = asyncio.to_thread(self._digest, block), asyncio.to_thread(self._write, block)
        self._writing = asyncio.gather(*both)

    async def _written(self) -> None:
        writing, self._writing = self._writing, None
        if writing is None:
            return
        try:
            await asyncio.shield(writing)
        except asyncio.CancelledError:
            # The file is closed next, so threads have to be out of it; what they may raise is nobody's business now.
            await asyncio.gather(writing, return_exceptions=True)
            raise

    def _digest(self, block: list[bytes]) -> None:
        for chunk in block:
            self._sha256.update(chunk)
            if self._head.md5 is not None:
                self._md5.update(chunk)

    def _write(self, block: list[bytes]) -> None:
        try:
            self._file.writelines(block)
            self._file.flush()
        except OSError as exc:
            raise _disk_fault(exc) from exc

    def _too_large(self) -> AssetTooLarge:
        return AssetTooLarge(
            f"{self.href} is larger than the {self._max_bytes} bytes that an asset may have: an operator may raise "
            "GRATICULE_MAX_ASSET_BYTES."
        )


def _open(path: Path) -> IO[bytes]:
    try:
        return path.open("wb")
    except OSError as exc:
        raise _disk_fault(exc) from exc


def _disk_fault(exc: OSError) -> InternalIntermittentError:
    return InternalIntermittentError(f"The staging folder cannot be written: {exc.strerror}.")


def _stated_md5(header: str | None) -> str | None:
    try:
        digest = base64.b64decode(header or "", validate=True)
    except binascii.Error:
        return None
    return digest.hex() if len(digest) == 16 else None


def _file_name(header: str | None) -> str | None:
    if not header:
        return None
    message = Message()
    message["Content-Disposition"] = re.sub(r"[\r\n]+", " ", header)
    name = message.get_filename()
    return (re.split(r"[/\\]", name)[-1] or None) if name else None
