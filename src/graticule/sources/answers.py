"""Owns: what a source's refusal means: status, Azure's and S3's error codes → an error with its documented code."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

from graticule.errors import (
    PublicAccessRestricted,
    SourceAuthenticationFailed,
    SourceError,
    SourceFailed,
    SourceForbidden,
    SourceNotFound,
    SourceRefused,
)
from graticule.sources.hrefs import Href

#: As much of an error's body is read, bytes.
BODY_LIMIT: Final = 8192

_CODE: Final = re.compile(r"<(?:\w+:)?Code>\s*([A-Za-z0-9_.]{1,64})\s*</(?:\w+:)?Code>")
_CODE_HEADER: Final = re.compile(r"^[A-Za-z0-9_.]{1,64}\Z")

#: Azure Blob and S3 codes of a 403 (or, on S3, 400) that mean: the credentials, not the permissions, are wrong.
_BAD_CREDENTIALS: Final = frozenset(
    {
        "AuthenticationFailed",
        "AuthorizationSourceIPMismatch",
        "ExpiredToken",
        "InvalidAccessKeyId",
        "InvalidAuthenticationInfo",
        "InvalidToken",
        "NoAuthenticationInformation",
        "RequestExpired",
        "SignatureDoesNotMatch",
        "TokenRefreshRequired",
    }
)
#: The same, where there is no code or only AccessDenied.
_BAD_SIGNATURE: Final = re.compile(
    r"expired|signature (?:fields|did not match|does not match|not valid|is invalid)", re.IGNORECASE
)
#: An anonymous request to a storage that allows none.
_NOT_PUBLIC: Final = frozenset({"PublicAccessNotPermitted"})
_PASSING: Final = frozenset({408, 425, 429})
_FINAL: Final = frozenset({501, 505, 508, 510, 511})


def refusal(href: Href, status: int, headers: Mapping[str, str], body: bytes, *, anonymous: bool) -> SourceError:
    """The error for an answer that is not the asset; `anonymous`: it was asked for without any credential."""
    text = body.decode("utf-8", "replace")
    code = _error_code(headers, text)
    said = f"{href} answered {status}{f' {code}' if code else ''}"
    # A private container of Azure answers anonymous requests for what is there with 404 ResourceNotFound, or with 409.
    if code in _NOT_PUBLIC or (anonymous and (status == 409 or (status == 404 and code == "ResourceNotFound"))):
        return PublicAccessRestricted(
            f"{said}: the storage allows no anonymous access. Sign the URL, or register an ingestion source for it."
        )
    if status == 401 or (
        status in (400, 403) and (code in _BAD_CREDENTIALS or (status == 403 and _BAD_SIGNATURE.search(text)))
    ):
        return SourceAuthenticationFailed(
            f"{said}: it does not accept the signature or token. Renew the SAS token, or its ingestion source's secret."
        )
    if status == 403:
        return SourceForbidden(f"{said}: it denies access. Grant read access, or use a signed URL.")
    if status in (404, 410):
        hint = " (a private container may say so to unsigned requests)" if "x-ms-request-id" in headers else ""
        return SourceNotFound(f"{said}: there is nothing at this URL{hint}. Correct the URL.")
    if status in _PASSING or (status >= 500 and status not in _FINAL):
        return SourceFailed(f"{said}.", retry_after=_retry_after(headers.get("Retry-After")))
    return SourceRefused(f"{said}, which is no file: check the URL.")


def _error_code(headers: Mapping[str, str], text: str) -> str | None:
    header = headers.get("x-ms-error-code", "")
    if _CODE_HEADER.match(header):
        return header
    found = _CODE.search(text)
    return found[1] if found else None


def _retry_after(header: str | None) -> float | None:
    """Seconds, from either form of RFC 9110 section 10.2.3."""
    if not header:
        return None
    if header.strip().isascii() and header.strip().isdigit():
        return float(header[:10])
    try:
        when = parsedate_to_datetime(header)
    except ValueError:
        return None
    if when.tzinfo is None:
        when = when.replace(tzinfo=UTC)
    return max(0.0, (when - datetime.now(UTC)).total_seconds())
