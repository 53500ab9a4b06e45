"""``/identity``: what the built-in issuer publishes, and the managed-identity endpoint for clients on this machine.

All three are public: the first two hold nothing secret, the third has a secret of its own.
"""

from __future__ import annotations

from typing import Any

from starlette.responses import Response

from graticule.api.routing import Call, Endpoint, json_response
from graticule.errors import Forbidden, InvalidParameter, RequestError, Unauthorized

#: Keys change when the data folder does; verifiers may keep them a little.
_PUBLISHED = {"Cache-Control": "public, max-age=300"}

_STATUSES: dict[type[RequestError], int] = {Unauthorized: 401, Forbidden: 403, InvalidParameter: 400}


async def discovery(call: Call) -> Response:
    """``GET /identity/.well-known/openid-configuration``: where the issuer's keys are."""
    return json_response(call.services.issuer.discovery(call.links.base), headers=_PUBLISHED)


async def keys(call: Call) -> Response:
    """``GET /identity/keys``: the issuer's public keys."""
    return json_response(call.services.issuer.jwks(), headers=_PUBLISHED)


async def token(call: Call) -> Response:
    """``GET /identity/token``: a token for a client on this machine, in the protocol of App Service."""
    request = call.request
    # Behind a proxy on this machine every caller looks local; such a request says that it was forwarded.
    forwarded = "forwarded" in request.headers or "x-forwarded-for" in request.headers
    try:
        answer = call.services.managed_identity.token(
            peer=request.client.host if request.client is not None and not forwarded else None,
            header=request.headers.get("x-identity-header"),
            resource=call.query.get("resource"),
            api_version=call.query.get("api-version"),
            client_id=call.query.get("client_id"),
        )
    except RequestError as exc:
        return _refused(exc)
    return json_response(answer, headers={"Cache-Control": "no-store"})


def _refused(exc: RequestError) -> Response:
    """The envelope of this API, with the two members beside it that clients of the protocol read."""
    status = next((status for kind, status in _STATUSES.items() if isinstance(exc, kind)), 400)
    content: dict[str, Any] = {
        "error": {"code": exc.code, "message": exc.message, "target": exc.target},
        "statusCode": status,
        "message": exc.message,
    }
    return json_response(content, status, headers={"x-ms-error-code": exc.code, "Cache-Control": "no-store"})


ENDPOINTS = (
    Endpoint("GET", "/identity/.well-known/openid-configuration", discovery, None, "Discovery of the built-in issuer"),
    Endpoint("GET", "/identity/keys", keys, None, "Keys of the built-in issuer"),
    Endpoint(
        "GET", "/identity/token", token, None, "Managed identity for clients on this machine", ("resource", "client_id")
    ),
)
