"""Every link of every document, behind every kind of proxy: it begins with what the client calls the catalog, and
whoever follows it through the same proxy gets there.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from urllib.parse import quote, urlsplit

import pytest

from api.asgi import Answer, Client
from api.conftest import COLLECTION
from graticule.access import Role
from graticule.app import create_app
from graticule.services import Services, open_services
from graticule.settings import Settings

#: What the proxy uses to call the catalog.
INSIDE = "inside:8080"
#: Clients of the tests come from here.
TRUSTED = {"trusted_proxies": ("127.0.0.0/8",)}
HTTPS = {"x-forwarded-proto": "https", "x-forwarded-host": "geo.example.com"}


@dataclass(frozen=True)
class Deployment:
    """A proxy, and how the catalog was told of it."""

    #: What clients call the catalog.
    base: str
    headers: dict[str, str] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    #: Does the proxy take the path of the base off?
    strips: bool = True
    #: Set when the headers are not to be believed: what is to be seen instead.
    seen: str | None = None


DEPLOYMENTS = {
    "no proxy": Deployment("http://catalog.test", {"host": "catalog.test"}),
    "no proxy, port": Deployment("http://catalog.test:8080", {"host": "catalog.test:8080"}),
    "public URL": Deployment("https://geo.example.com", settings={"public_url": "https://geo.example.com"}),
    "public URL with path": Deployment("https://x.test/a/geo", settings={"public_url": "https://x.test/a/geo"}),
    "public URL with path left on": Deployment(
        "https://x.test/a/geo", settings={"public_url": "https://x.test/a/geo/"}, strips=False
    ),
    "public URL with an odd path left on": Deployment(
        "https://x.test/a%20b", settings={"public_url": "https://x.test/a%20b"}, strips=False
    ),
    "public URL named as a route": Deployment("https://x.test/stac", settings={"public_url": "https://x.test/stac"}),
    "public URL named as a route left on": Deployment(
        "https://x.test/stac", settings={"public_url": "https://x.test/stac"}, strips=False
    ),
    "public URL against headers": Deployment(
        "https://x.test/geo", HTTPS, {"public_url": "https://x.test/geo", **TRUSTED}
    ),
    "https ends at the proxy": Deployment("https://geo.example.com", HTTPS, TRUSTED),
    "https on another port": Deployment("https://geo.example.com:8443", {**HTTPS, "x-forwarded-port": "8443"}, TRUSTED),
    "path taken off": Deployment("https://geo.example.com/geo", {**HTTPS, "x-forwarded-prefix": "/geo"}, TRUSTED),
    "path left on": Deployment(
        "https://geo.example.com/geo", {**HTTPS, "x-forwarded-prefix": "/geo"}, TRUSTED, strips=False
    ),
    "Forwarded": Deployment(
        "https://geo.example.com", {"forwarded": 'for="[::1]";host=geo.example.com;proto=https'}, TRUSTED
    ),
    "headers of a stranger": Deployment(
        "http://evil.test", {**HTTPS, "forwarded": "host=evil.test"}, seen=f"http://{INSIDE}"
    ),
    "prefix of a stranger": Deployment("http://evil.test", {"x-forwarded-prefix": "/evil"}, seen=f"http://{INSIDE}"),
    "headers of another than the proxy": Deployment(
        "http://evil.test", HTTPS, {"trusted_proxies": ("10.0.0.0/8",)}, seen=f"http://{INSIDE}"
    ),
}


class Outside:
    """A client outside, who knows only the base and the links that answers give."""

    def __init__(self, deployment: Deployment, inner: Client) -> None:
        self.base = deployment.seen or deployment.base
        self._deployment = deployment
        self._inner = inner

    async def send(self, method: str, url: str, document: Any = None) -> Answer:
        """Through the proxy."""
        assert (url + "/").startswith(self.base + "/"), url
        kept = "" if self._deployment.strips else urlsplit(self.base).path
        rest = kept + url[len(self.base) :]
        body = b"" if document is None else json.dumps(document).encode()
        return await self._inner.send(method, rest or "/", body, headers={"host": INSIDE, **self._deployment.headers})

    async def get(self, url: str) -> Answer:
        return await self.send("GET", url)


@pytest.fixture(params=DEPLOYMENTS)
def deployment(request: pytest.FixtureRequest) -> Deployment:
    return DEPLOYMENTS[request.param]


@pytest.fixture
async def behind(settings: Settings, deployment: Deployment) -> AsyncIterator[Services]:
    async with open_services(settings.model_copy(update={"public_url": None, **_checked(deployment)})) as services:
        yield services


def _checked(deployment: Deployment) -> dict[str, Any]:
    settings = Settings(**deployment.settings)
    return {"public_url": settings.public_url, "trusted_proxies": settings.trusted_proxies}


@pytest.fixture
async def outside(behind: Services, deployment: Deployment) -> Outside:
    """An administrator outside, a collection and three items."""
    token = behind.issuer.issue(Role.ADMINISTRATOR, timedelta(hours=1))
    outside = Outside(deployment, Client(create_app(behind), token))
    assert (await outside.send("POST", outside.base + "/stac/collections", COLLECTION)).status == 202
    items = [
        {
            "type": "Feature", "stac_version": "1.0.0", "id": f"item {n}", "collection": "naip", "links": [],
            "geometry": {"type": "Point", "coordinates": [-100, 40]}, "bbox": [-100, 40, -100, 40],
            "properties": {"datetime": f"2020-01-0{n}T00:00:00Z"}, "assets": {},
        }
        for n in (1, 2, 3)
    ]  # fmt: skip
    posted = await outside.send(
        "POST", outside.base + "/stac/collections/naip/items", {"type": "FeatureCollection", "features": items}
    )
    assert posted.status == 202
    return outside


def urls(document: Any) -> Iterator[tuple[str, dict[str, Any] | None]]:
    """Every URL in a document that is the catalog's, with the link object that has it."""
    if isinstance(document, dict):
        for name, value in document.items():
            if isinstance(value, str) and name in {"href", "$id", "jwks_uri", "nextLink", "url"}:
                yield value, document if name == "href" else None
            else:
                yield from urls(value)
    elif isinstance(document, list):
        for value in document:
            yield from urls(value)


DOCUMENTS = (
    "/stac",
    "/stac/",
    "/stac?api-version=2025-04-30-preview",
    "/stac/conformance",
    "/stac/collections",
    "/stac/collections/naip",
    "/stac/collections/naip/items?limit=1",
    "/stac/collections/naip/items/item%202",
    "/stac/search?limit=1&filter=id%20%3C%3E%20%27a%26b%27",
    "/stac/queryables",
    "/stac/collections/naip/queryables",
    "/inma/operations?$top=1",
    "/openapi.json",
    "/identity/.well-known/openid-configuration",
)
#: Documents that hold no URL of the catalog.
WITHOUT = {"/stac/conformance"}


async def test_every_link_leads_back_through_the_proxy(outside: Outside) -> None:
    followed: set[str] = set()
    for path in DOCUMENTS:
        answer = await outside.get(outside.base + path)
        assert answer.status == 200, (path, answer.body)
        found = [(url, link) for url, link in urls(answer.json()) if "example.com/license" not in url]
        assert bool(found) == (path not in WITHOUT), path
        for url, link in found:
            assert (url + "/").startswith(outside.base + "/"), (path, url)
            if url in followed or url == outside.base:
                continue
            followed.add(url)
            method = (link or {}).get("method", "GET")
            if (link or {}).get("rel") == "aggregate":  # asks what for
                url += ("&" if "?" in url else "?") + "aggregations=total_count"  # noqa: PLW2901
            assert (await outside.send(method, url, {} if method == "POST" else None)).status == 200, (path, url)
    kinds = ("/stac/", "/openapi.json", "/identity/keys", "token=", "/queryables", "$skip=1", "%24skip=1")
    assert all(any(kind in url for url in followed) for kind in kinds[:5])
    assert any(kind in url for url in followed for kind in kinds[5:])


async def test_next_links_of_a_posted_search_lead_on(outside: Outside) -> None:
    url, body, ids = outside.base + "/stac/search?sign=false", {"limit": 1, "collections": ["naip"]}, []
    while True:
        answer = await outside.send("POST", url, body)
        assert answer.status == 200
        page = answer.json()
        ids += [feature["id"] for feature in page["features"]]
        following = [link for link in page["links"] if link["rel"] == "next"]
        if not following:
            break
        url, body = following[0]["href"], following[0]["body"]
    assert ids == ["item 3", "item 2", "item 1"]


async def test_headers_name_what_can_be_called(outside: Outside) -> None:
    deleted = await outside.send("DELETE", outside.base + "/stac/collections/naip/items/item%201")
    for name in ("location", "operation-location"):
        assert (await outside.get(deleted.headers[name])).json()["type"] == "DeleteItem"
    source = {"kind": "SasToken", "connectionInfo": {"containerUrl": "https://example.com/c", "sasToken": "sv=1&sig=x"}}
    created = await outside.send("POST", outside.base + "/inma/ingestion-sources", source)
    assert created.status == 201, created.body
    assert (await outside.get(created.headers["location"])).status == 200
    home = await outside.get(outside.base + "/")
    if home.status != 200:  # where the path of the base is "/stac", its root is the landing page
        assert (home.status, home.headers["location"]) == (307, outside.base + "/stac")


async def test_the_bare_base_leads_to_the_landing_page(outside: Outside) -> None:
    answer = await outside.get(outside.base)
    if answer.status == 307:
        answer = await outside.get(answer.headers["location"])
    assert answer.json()["type"] == "Catalog"


async def test_hrefs_of_managed_assets_are_under_the_base(outside: Outside, behind: Services) -> None:
    container = behind.database.read_now(lambda tx: tx.value("SELECT container FROM collections"))
    href = f"{outside.base}/blobs/{container}/k"
    signed = await outside.get(f"{outside.base}/sas/sign?href={quote(href)}")
    assert signed.json()["href"].startswith(f"{href}?")
