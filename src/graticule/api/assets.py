"""Managed assets by signed URL: enough of Azure Blob's GET and HEAD for GDAL, browsers and Azure readers.

Without a signature 409 ``PublicAccessNotPermitted``, with one that does not fit 403 ``AuthenticationFailed``, both
before it is said whether the blob exists. Ranges, validators and headers: RFC 9110 sections 13 and 14, and Azure
Blob's Get Blob.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime, parsedate_to_datetime

from starlette.responses import Response, StreamingResponse

from graticule.api.errors import error_response
from graticule.api.routing import Call, Endpoint
from graticule.errors import NotFound, PreconditionFailed, RangeNotSatisfiable
from graticule.storage import ledger

_RANGE = re.compile(r"^bytes=([0-9]{0,18})-([0-9]{0,18})$")


@dataclass(frozen=True)
class _Blob:
    """What is said of a blob."""

    size: int
    etag: str
    modified: datetime
    media_type: str


@dataclass(frozen=True)
class _Span:
    start: int
    end: int  #: exclusive

    @property
    def size(self) -> int:
        return self.end - self.start


async def read_blob(call: Call) -> Response:
    """``GET`` and ``HEAD /blobs/{container}/{key}``."""
    container, key = call.path["container"], call.path["key"]
    query = call.request.scope.get("query_string", b"").decode("latin-1")
    await call.services.tokens.verify(container, key, query)
    # Keys are written once: what a URL names never changes. Private, because the URL is the permission.
    return await send_blob(call, container, key, cache_control="private, max-age=3600")


async def send_blob(call: Call, container: str, key: str, *, cache_control: str) -> Response:
    """The bytes of a blob, or a range of them, to a caller who may read it; 416 where the range lies outside.

    Raises:
        NotFound: there is no such blob.
        PreconditionFailed: it is not the one that the caller means.
    """
    blob = await _find(call, container, key)
    headers = {**_headers(blob), "Cache-Control": cache_control}
    _check_preconditions(call, blob)
    if _not_modified(call, blob):
        return Response(status_code=304, headers=headers)
    try:
        span = _span(call, blob)
    except RangeNotSatisfiable as exc:
        refused = error_response(exc)
        refused.headers["Content-Range"] = f"bytes */{blob.size}"  # RFC 9110 section 15.5.17
        return refused
    status = 200
    if span is None:
        span = _Span(0, blob.size)
    else:
        status = 206
        headers["Content-Range"] = f"bytes {span.start}-{span.end - 1}/{blob.size}"
    headers["Content-Length"] = str(span.size)
    if call.request.method == "HEAD" or span.size == 0:
        return Response(status_code=status, headers=headers, media_type=blob.media_type)
    body = await call.services.store.open_range(container, key, span.start, span.end)
    return StreamingResponse(body, status_code=status, headers=headers, media_type=blob.media_type)


async def _find(call: Call, container: str, key: str) -> _Blob:
    record = await call.services.database.read(lambda tx: ledger.find(tx, container, key))
    if record is None or record.size is None or record.sha256 is None:
        raise NotFound("The specified blob does not exist.", target="blob")
    return _Blob(
        size=record.size,
        etag=f'"{record.sha256[:32]}"',
        modified=datetime.fromtimestamp(record.created // 1_000_000, UTC),
        media_type=_header_value(record.media_type) or "application/octet-stream",
    )


def _header_value(media_type: str | None) -> str | None:
    """None where what a client declared cannot stand in a header."""
    return media_type if media_type and media_type.isascii() and media_type.isprintable() else None


def _headers(blob: _Blob) -> dict[str, str]:
    return {
        "ETag": blob.etag,
        "Last-Modified": format_datetime(blob.modified, usegmt=True),
        "Accept-Ranges": "bytes",
        "x-ms-blob-type": "BlockBlob",
        "x-ms-version": "2024-11-04",
        # User files are data, never pages of this site.
        "Content-Security-Policy": "sandbox; default-src 'none'",
        "X-Content-Type-Options": "nosniff",
    }


def _check_preconditions(call: Call, blob: _Blob) -> None:
    """``If-Match``, else ``If-Unmodified-Since`` (RFC 9110 13.2.2): how SDKs make sure that pieces are of one blob."""
    headers = call.request.headers
    if (tags := headers.get("if-match")) is not None:
        if tags.strip() != "*" and blob.etag not in {tag.strip() for tag in tags.split(",")}:
            raise PreconditionFailed
    elif (since := headers.get("if-unmodified-since")) is not None:
        try:
            changed = blob.modified > parsedate_to_datetime(since)
        except (ValueError, TypeError):  # not a date: the header is ignored
            return
        if changed:
            raise PreconditionFailed


def _not_modified(call: Call, blob: _Blob) -> bool:
    headers = call.request.headers
    if (tags := headers.get("if-none-match")) is not None:
        return tags.strip() == "*" or blob.etag in {tag.strip().removeprefix("W/") for tag in tags.split(",")}
    if (since := headers.get("if-modified-since")) is not None:
        try:
            return blob.modified <= parsedate_to_datetime(since)
        except (ValueError, TypeError):  # not a date: the header is ignored (RFC 9110 section 13.1.3)
            return False
    return False


def _span(call: Call, blob: _Blob) -> _Span | None:
    """The one range that is asked for; several, or malformed ones, are answered with everything."""
    headers = call.request.headers
    asked = headers.get("x-ms-range") or headers.get("range")
    match = _RANGE.match(asked.strip()) if asked else None
    if match is None or match[1] == match[2] == "":
        return None
    condition = headers.get("if-range")
    if condition is not None and condition.strip() not in {blob.etag, format_datetime(blob.modified, usegmt=True)}:
        return None
    if match[1] == "":
        start, end = max(0, blob.size - int(match[2])), blob.size
    else:
        start = int(match[1])
        end = min(int(match[2]) + 1, blob.size) if match[2] else blob.size
        if match[2] and int(match[2]) < start:
            return None
    if start >= blob.size or start >= end:
        raise RangeNotSatisfiable(f"The range {asked} lies outside the blob's {blob.size} bytes.")
    return _Span(start, end)


ENDPOINTS = (Endpoint("GET", "/blobs/{container}/{key:path}", read_blob, None, "Read a managed asset by signed URL"),)
