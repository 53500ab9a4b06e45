"""``/identity``: what the built-in issuer publishes, and the managed-identity endpoint for clients on this machine.

All three are public: the first two hold nothing secret, the third has a secret of its own.
"""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from graticule.errors import Forbidden, InvalidParameter, RequestError, Unauthorized

#: Keys change when the data folder does; verifiers may keep them a little.
_PUBLISHED = {"Cache-Control": "public, max-age=300"}

_STATUSES: dict[type[RequestError], int] = {Unauthorized: 401, Forbidden: 403, InvalidParameter: 400}


def identity_routes() -> list[Route]:
    """The routes; they find their parts in ``request.app.state.services``."""
    return [
        Route("/identity/.well-known/openid-configuration", discovery, methods=["GET"]),
        Route("/identity/keys", keys, methods=["GET"]),
        Route("/identity/token", token, methods=["GET"]),
    ]


async def discovery(request: Request) -> Response:
    """Where the issuer's keys are."""
    services = request.app.state.services
    base_url = services.settings.public_url or str(request.base_url).rstrip("/")
    return JSONResponse(services.issuer.discovery(base_url), headers=_PUBLISHED)


async def keys(request: Request) -> Response:
    """The issuer's public keys."""
    return JSONResponse(request.app.state.services.issuer.jwks(), headers=_PUBLISHED)


async def token(request: Request) -> Response:
    """A token for a client on this machine, in the protocol of App Service."""
    query = request.query_params
    # Behind a proxy on this machine every caller looks local; such a request says that it was forwarded.
    forwarded = "forwarded" in request.headers or "x-forwarded-for" in request.headers
    try:
        answer = request.app.state.services.managed_identity.token(
            peer=request.client.host if request.client is not None and not forwarded else None,
            header=request.headers.get("x-identity-header"),
            resource=query.get("resource"),
            api_version=query.get("api-version"),
            client_id=query.get("client_id"),
        )
    except RequestError as exc:
        return _refused(exc)
    return JSONResponse(answer, headers={"Cache-Control": "no-store"})


def _refused(exc: RequestError) -> Response:
    """The envelope of this API, with the two members beside it that clients of the protocol read."""
    status = next((status for kind, status in _STATUSES.items() if isinstance(exc, kind)), 400)
    content: dict[str, Any] = {
        "error": {"code": exc.code, "message": exc.message, "target": exc.target},
        "statusCode": status,
        "message": exc.message,
    }
    return JSONResponse(content, status, headers={"x-ms-error-code": exc.code, "Cache-Control": "no-store"})
