"""Owns: the HTTP interface, as a table of endpoints. Refuses: to decide anything but who may call, and the wire form.

Entry points: `ENDPOINTS`, from which routes, the OpenAPI document and the access test are made.
"""

from __future__ import annotations

import orjson
from starlette.responses import Response

from graticule.api import (
    assets,
    bulk,
    collection_assets,
    configuration,
    data,
    discovery,
    health,
    identity,
    ingestion,
    reports,
    sas,
    sources,
    stac,
)
from graticule.api.openapi import OPENAPI
from graticule.api.openapi import openapi as described
from graticule.api.routing import Call, Endpoint

#: Everything that is served. Those without a role are public: health, issuer discovery and keys, the managed-identity
#: endpoint (which has a secret header of its own), OpenAPI, and blobs by signature.
ENDPOINTS: tuple[Endpoint, ...] = (
    *health.ENDPOINTS,
    *identity.ENDPOINTS,
    *discovery.ENDPOINTS,
    *stac.ENDPOINTS,
    *collection_assets.ENDPOINTS,
    *configuration.ENDPOINTS,
    *ingestion.ENDPOINTS,
    *reports.ENDPOINTS,
    *bulk.ENDPOINTS,
    *sources.ENDPOINTS,
    *sas.ENDPOINTS,
    *assets.ENDPOINTS,
    *data.ENDPOINTS,
)


def openapi_endpoint() -> Endpoint:
    """The description of all the others."""
    document = described(ENDPOINTS)

    async def openapi(call: Call) -> Response:
        """``GET /openapi.json``, under the media type of the link ``service-desc`` to whoever asks for that."""
        kind = OPENAPI if "vnd.oai.openapi" in call.request.headers.get("accept", "") else "application/json"
        body = orjson.dumps({**document, "servers": [{"url": call.links.base}]})
        return Response(body, media_type=kind, headers={"Vary": "Accept"})

    return Endpoint("GET", "/openapi.json", openapi, None, "This description")


__all__ = ["ENDPOINTS", "Endpoint", "openapi_endpoint"]
