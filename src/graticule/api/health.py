"""Is it there, and what does it speak: ``/healthz`` and ``/openapi.json``, both public."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from starlette.responses import Response

from graticule import __version__
from graticule.api.routing import Call, Endpoint, json_response


async def healthz(call: Call) -> Response:
    """``GET /healthz``: 200 once requests can be served."""
    await call.services.database.read(lambda tx: tx.value("SELECT 1"))
    return json_response({"status": "ok", "version": __version__})


def openapi(endpoints: Iterable[Endpoint]) -> dict[str, Any]:
    """An OpenAPI 3.0 document made of the endpoint table: what is listed there is what is served."""
    paths: dict[str, dict[str, Any]] = {}
    for endpoint in endpoints:
        path = re.sub(r"\{(\w+):\w+\}", r"{\1}", endpoint.path)
        names = re.findall(r"\{(\w+)\}", path)
        parameters = [_parameter(name, "path") for name in names] + [
            _parameter(name, "query") for name in (*endpoint.query, "api-version")
        ]
        operation: dict[str, Any] = {
            "summary": endpoint.summary,
            "operationId": (endpoint.operation or endpoint.handler.__name__) + ("" if path != "/stac/" else "_slash"),
            "parameters": parameters,
            "responses": {
                str(endpoint.status): {"description": "Success"},
                "default": {"description": "The error envelope", "content": _ERROR_CONTENT},
            },
        }
        if endpoint.role is None:
            operation["security"] = []
        else:
            operation["x-role"] = endpoint.role.value
        if endpoint.handler.__doc__:
            operation["description"] = endpoint.handler.__doc__
        if endpoint.method in {"POST", "PUT", "PATCH"}:
            kinds = ("application/json", *(("application/merge-patch+json",) if endpoint.method == "PATCH" else ()))
            operation["requestBody"] = {"content": {kind: {"schema": {}} for kind in kinds}}
        paths.setdefault(path, {})[endpoint.method.lower()] = operation
    return {
        "openapi": "3.0.3",
        "info": {"title": "Graticule GeoCatalog", "version": __version__},
        "paths": paths,
        "components": {
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}},
            "schemas": {"Error": _ERROR_SCHEMA},
        },
        "security": [{"bearer": []}],
    }


def _parameter(name: str, where: str) -> dict[str, Any]:
    return {"name": name, "in": where, "required": where == "path", "schema": {"type": "string"}}


_ERROR_CONTENT = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
_ERROR_SCHEMA = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["code", "message"],
            "properties": {
                "code": {"type": "string"},
                "message": {"type": "string"},
                "target": {"type": "string"},
            },
        }
    },
}

ENDPOINTS = (Endpoint("GET", "/healthz", healthz, None, "Is the catalog ready?"),)
