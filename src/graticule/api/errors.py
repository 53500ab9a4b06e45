"""The error envelope, and which HTTP status each refused request gets (api.md 1.3).

Every failure has the body ``{"error": {"code", "message", "target"?}}`` and the header ``x-ms-error-code``.
"""

from __future__ import annotations

from collections.abc import Mapping

import orjson
from starlette.responses import Response

from graticule import errors

#: The first class in an error's own line of ancestors that stands here decides.
STATUSES: Mapping[type[errors.GraticuleError], int] = {
    errors.InvalidParameter: 400,
    errors.InvalidRequestBody: 400,
    errors.UnsupportedApiVersion: 400,
    errors.Unauthorized: 401,
    errors.Forbidden: 403,
    errors.NotFound: 404,
    errors.Conflict: 409,
    errors.PreconditionFailed: 412,
    errors.BodyTooLarge: 413,
    errors.PostItemCollectionSizeExceeded: 413,
    errors.UrlTooLong: 414,
    errors.RangeNotSatisfiable: 416,
    errors.TooManyRequests: 429,
    errors.Unavailable: 503,
    errors.RequestError: 400,
    errors.ValidityError: 400,
    errors.CollectionDoesNotExist: 404,
    errors.InternalIntermittentError: 503,
    errors.GraticuleError: 500,
}

_LONGEST_MESSAGE = 2000
_CODES_OF_STATUSES = {404: "NotFound", 405: "MethodNotAllowed", 413: "RequestBodyTooLarge"}


def status_of(error: errors.GraticuleError) -> int:
    """The HTTP status of an error."""
    return next(STATUSES[cls] for cls in type(error).__mro__ if cls in STATUSES)


def error_response(error: errors.GraticuleError) -> Response:
    """The envelope for an error of ours."""
    status = status_of(error)
    headers: dict[str, str] = {}
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    if status in {429, 503}:
        headers["Retry-After"] = "5"
    # What went wrong inside is for the log, not for a client.
    message = error.message
    if isinstance(error, errors.InternalIntermittentError):
        message = errors.InternalIntermittentError().message
    elif status == 500:
        message = errors.InternalError().message
    return envelope(status, error.code, message, target=error.target, headers=headers)


def envelope(
    status: int, code: str | None, message: str, *, target: str | None = None, headers: Mapping[str, str] | None = None
) -> Response:
    """The envelope for any failure."""
    code = code or _CODES_OF_STATUSES.get(status, "BadRequest" if status < 500 else "InternalError")
    # Messages quote what was sent, which may be of any length.
    body: dict[str, object] = {"code": code, "message": message[:_LONGEST_MESSAGE]}
    if target is not None:
        body["target"] = target[:_LONGEST_MESSAGE]
    return Response(
        orjson.dumps({"error": body}),
        status_code=status,
        media_type="application/json",
        headers={**(headers or {}), "x-ms-error-code": code},
    )
