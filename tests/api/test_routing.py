"""Which route a request gets: as if every one were tried in turn."""

from __future__ import annotations

import pytest
from starlette.routing import Match

from api.asgi import Client
from graticule.api import ENDPOINTS
from graticule.api.routing import Table, routes

PATHS = ["/", "/stac", "/stac/", "/nowhere", "/blobs/container/a/long/key", "/stac/search", "/stac//items", "/healthz"]


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"])
def test_only_routes_that_cannot_match_are_left_out(method: str) -> None:
    table = Table(routes(ENDPOINTS))
    paths = PATHS + [endpoint.path.replace("{", "").replace(":path", "").replace("}", "") for endpoint in ENDPOINTS]
    matched = 0
    for path in paths:
        scope = {"type": "http", "method": method, "path": path}
        found = {
            way: next((route for route in ways if route.matches(scope)[0] is Match.FULL), None)
            for way, ways in (("all", table.routes), ("shown", table.candidates(path)))
        }
        assert found["all"] is found["shown"], path
        matched += found["all"] is not None
    assert matched


async def test_what_has_no_route_or_another_method_is_told_so(admin: Client) -> None:
    assert (await admin.get("/stac/nothing/here")).status == 404
    refused = await admin.delete("/stac/search")
    assert refused.status == 405
