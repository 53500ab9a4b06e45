"""Forms with a file: parsed as they arrive, the file straight to disk (RFC 7578).

Parts are told apart by name alone: clients send the file before the text that describes it, the text without a content
type, and the file without a file name.
"""

from __future__ import annotations

import asyncio
import hashlib
import mimetypes
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, BinaryIO, Final

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from graticule.api.routing import Call, read_json
from graticule.errors import InvalidRequestBody
from graticule.ingestion.uploads import Upload, incoming_file
from graticule.stac.documents import JsonObject

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

#: Text parts are descriptions.
MAX_TEXT_BYTES: Final = 1_000_000
MAX_PARTS: Final = 20
#: Of a part's file that wait in memory for the disk.
_BUFFER: Final = 1 << 20


@dataclass
class _Form:
    """What has been parsed so far."""

    file_part: str
    texts: dict[str, bytearray] = field(default_factory=dict)
    file_name: str | None = None
    media_type: str | None = None
    has_file: bool = False
    is_complete: bool = False
    waiting: list[bytes] = field(default_factory=list)  #: of the file, for the disk
    size: int = 0
    digest: hashlib._Hash = field(default_factory=hashlib.sha256)

    _headers: dict[bytes, bytes] = field(default_factory=dict)
    _header: tuple[bytes, bytes] = (b"", b"")
    _text: bytearray | None = None  #: the part at hand; None: it is the file
    _parts: int = 0

    def callbacks(self) -> MultipartCallbacks:
        """What the parser calls."""
        return {
            "on_part_begin": self._begin_part,
            "on_header_field": lambda data, start, end: self._add_to_header(data[start:end], b""),
            "on_header_value": lambda data, start, end: self._add_to_header(b"", data[start:end]),
            "on_header_end": self._end_header,
            "on_headers_finished": self._open_part,
            "on_part_data": self._add_data,
            "on_end": self._end,
        }

    def _begin_part(self) -> None:
        self._parts += 1
        if self._parts > MAX_PARTS:
            raise InvalidRequestBody(f"The form has more than {MAX_PARTS} parts.")
        self._headers = {}

    def _add_to_header(self, name: bytes, value: bytes) -> None:
        self._header = (self._header[0] + name, self._header[1] + value)

    def _end_header(self) -> None:
        self._headers[self._header[0].strip().lower()] = self._header[1].strip()
        self._header = (b"", b"")

    def _open_part(self) -> None:
        _, options = parse_options_header(self._headers.get(b"content-disposition"))
        name = _text(options.get(b"name", b""))
        if name == self.file_part:
            if self.has_file:
                raise InvalidRequestBody(f"The form has two parts '{name}'.", target=name)
            self.has_file = True
            self._text = None
            self.file_name = _text(options.get(b"filename", b"")) or None
            self.media_type = _media_type(_text(self._headers.get(b"content-type", b"")), self.file_name)
        else:
            self._text = self.texts[name] = bytearray()

    def _add_data(self, data: bytes, start: int, end: int) -> None:
        if self._text is None:
            self.waiting.append(data[start:end])
            self.size += end - start
            return
        self._text += data[start:end]
        if len(self._text) > MAX_TEXT_BYTES:
            raise InvalidRequestBody(f"A text part of the form is larger than {MAX_TEXT_BYTES} bytes.")

    def _end(self) -> None:
        self.is_complete = True


@asynccontextmanager
async def receive_upload(call: Call, *, file_part: str, json_part: str) -> AsyncIterator[tuple[JsonObject, Upload]]:
    """The JSON object and the file of a form; the file is there until the end of the block.

    Raises:
        InvalidRequestBody: it is no form, or lacks one of the two parts.
        BodyTooLarge: it is larger than ``max_body_bytes``.
    """
    with incoming_file(call.services.collection_assets.folder) as (path, file):
        form = await _parse(call, file, file_part)
        if not form.has_file:
            raise InvalidRequestBody(f"The form has no part '{file_part}'.", target=file_part)
        document = _json_object(form, json_part)
        yield document, Upload(path, form.size, form.digest.hexdigest(), form.file_name, form.media_type)


async def _parse(call: Call, file: BinaryIO, file_part: str) -> _Form:
    form = _Form(file_part)
    try:
        parser = MultipartParser(_boundary(call), form.callbacks())
        async for chunk in call.chunks():
            parser.write(chunk)
            if sum(map(len, form.waiting)) >= _BUFFER:
                await _flush(form, file)
        await _flush(form, file)
        file.flush()
    except FormParserError as exc:
        raise InvalidRequestBody(f"The form is not well-formed: {exc}.") from exc
    if not form.is_complete:
        raise InvalidRequestBody("The form ends before its closing boundary.")
    return form


async def _flush(form: _Form, file: BinaryIO) -> None:
    data = b"".join(form.waiting)
    form.waiting.clear()

    def write() -> None:
        form.digest.update(data)
        file.write(data)

    await asyncio.to_thread(write)


def _boundary(call: Call) -> bytes:
    kind, options = parse_options_header(call.request.headers.get("content-type"))
    boundary = options.get(b"boundary", b"")
    if kind != b"multipart/form-data" or not boundary:
        raise InvalidRequestBody("The body must be multipart/form-data with a boundary.", target="Content-Type")
    return boundary


def _json_object(form: _Form, name: str) -> JsonObject:
    if name not in form.texts:
        raise InvalidRequestBody(f"The form has no part '{name}'.", target=name)
    document = read_json(form.texts[name], f"The part '{name}' of the form", target=name)
    if not isinstance(document, dict):
        raise InvalidRequestBody(f"The part '{name}' of the form must be a JSON object.", target=name)
    return document


def _media_type(declared: str, file_name: str | None) -> str | None:
    if declared and declared.lower() != "application/octet-stream":  # what clients say that do not know
        return declared
    return mimetypes.guess_type(file_name)[0] if file_name else None


def _text(raw: bytes) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.decode("latin-1")
