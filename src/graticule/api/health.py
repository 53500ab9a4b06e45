"""Is it there: ``/healthz``, public."""

from __future__ import annotations

from starlette.responses import Response

from graticule import __version__
from graticule.api.routing import Call, Endpoint, json_response


async def healthz(call: Call) -> Response:
    """``GET /healthz``: 200 once requests can be served."""
    await call.services.database.read(lambda tx: tx.value("SELECT 1"))
    return json_response({"status": "ok", "version": __version__})


ENDPOINTS = (Endpoint("GET", "/healthz", healthz, None, "Is the catalog ready?"),)
