"""The ASGI application: middleware and routes around the parts of a catalog.

The order of the layers, outermost first:

1. the path under which a proxy serves the catalog, where it was left on;
2. cross-origin headers, so that browser applications may call and read blobs' pixels;
3. routes, each of which identifies, authorises, checks the api-version and then handles (`api.routing`);
4. the error envelope for what no route takes.
"""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import Response

from graticule.api import ENDPOINTS, openapi_endpoint
from graticule.api.errors import envelope
from graticule.api.links import RootPath
from graticule.api.routing import Table, routes
from graticule.services import Services


def create_app(services: Services) -> Starlette:
    """The application of one catalog."""
    endpoints = (*ENDPOINTS, openapi_endpoint())
    names = frozenset(endpoint.path.split("/")[1] for endpoint in endpoints) - {""}
    app = Starlette(
        middleware=[
            Middleware(RootPath, settings=services.settings, names=names),
            Middleware(
                CORSMiddleware,
                allow_origins=["*"],
                allow_methods=["*"],
                allow_headers=["*"],
                expose_headers=["*", "location", "operation-location", "Retry-After", "Content-Range", "ETag"],
                max_age=86400,
            ),
        ],
        exception_handlers={HTTPException: _no_route},
    )
    app.router = Table(routes(endpoints))
    app.state.services = services
    return app


async def _no_route(request: Request, exc: Exception) -> Response:
    status = exc.status_code if isinstance(exc, HTTPException) else 500
    headers = exc.headers if isinstance(exc, HTTPException) else None
    if status == 404:
        message = f"There is nothing at {request.url.path}."
    elif status == 405:
        message = f"{request.method} is not possible at {request.url.path}."
    else:
        message = "The request cannot be served."
    return envelope(status, None, message, headers=headers)
