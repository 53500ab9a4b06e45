"""The URLs of answers: behind proxies, with and without api-version, for whatever ids."""

from __future__ import annotations

import pytest
from starlette.requests import Request

from graticule.api.links import Links, base_url
from graticule.settings import Settings

PROXY = "10.1.2.3"
TRUSTING = {"trusted_proxies": "10.0.0.0/8"}
FORWARDED = {"x-forwarded-proto": "https", "x-forwarded-host": "geo.example.com"}


def base(headers: dict[str, str], *, client: str | None = PROXY, root_path: str = "", **settings: str) -> str:
    request = Request(
        {
            "type": "http",
            "method": "GET",
            "scheme": "http",
            "path": "/stac",
            "query_string": b"",
            "root_path": root_path,
            "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
            "client": None if client is None else (client, 1234),
            "server": ("127.0.0.1", 8080),
        }
    )
    return base_url(request, Settings(**settings))  # type: ignore[arg-type] # as the environment gives them


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, "http://inside:8080"),
        (FORWARDED, "https://geo.example.com"),
        ({"x-forwarded-proto": "HTTPS"}, "https://inside:8080"),
        ({"x-forwarded-proto": "gopher"}, "http://inside:8080"),
        ({**FORWARDED, "x-forwarded-port": "8443"}, "https://geo.example.com:8443"),
        ({**FORWARDED, "x-forwarded-port": "443"}, "https://geo.example.com"),
        ({**FORWARDED, "x-forwarded-port": "1e3"}, "https://geo.example.com"),
        ({**FORWARDED, "x-forwarded-host": "geo.example.com, inner"}, "https://geo.example.com"),
        ({**FORWARDED, "x-forwarded-prefix": "/geo/"}, "https://geo.example.com/geo"),
        ({**FORWARDED, "x-forwarded-prefix": "geo"}, "https://geo.example.com/geo"),
        ({**FORWARDED, "x-forwarded-prefix": "/"}, "https://geo.example.com"),
        ({**FORWARDED, "x-forwarded-host": "[2001:db8::1]"}, "https://[2001:db8::1]"),
        ({**FORWARDED, "x-forwarded-host": "evil.com/path?"}, "https://localhost"),
        ({"forwarded": "for=1.2.3.4;host=geo.example.com;proto=https"}, "https://geo.example.com"),
        ({"forwarded": 'Host="geo.example.com:8443"; PROTO=https, host=inner'}, "https://geo.example.com:8443"),
        ({"forwarded": "for=1.2.3.4"}, "http://inside:8080"),
        ({"forwarded": ";=;host"}, "http://inside:8080"),
        ({**FORWARDED, "forwarded": "host=other.example.com;proto=http"}, "https://geo.example.com"),
    ],
)
def test_a_trusted_proxy_is_believed(headers: dict[str, str], expected: str) -> None:
    assert base({"host": "inside:8080", **headers}, **TRUSTING) == expected


@pytest.mark.parametrize("client", ["192.0.2.1", None, "not-an-address"])
def test_anybody_else_is_not(client: str | None) -> None:
    assert base({"host": "inside", **FORWARDED}, client=client, **TRUSTING) == "http://inside"


def test_without_the_setting_no_proxy_is_trusted() -> None:
    assert base({"host": "inside", **FORWARDED}) == "http://inside"


def test_a_proxy_seen_by_a_dual_stack_socket_is_the_same_proxy() -> None:
    assert base({"host": "inside", **FORWARDED}, client=f"::ffff:{PROXY}", **TRUSTING) == "https://geo.example.com"


def test_a_public_url_wins_over_every_header() -> None:
    url = "https://public.example.com/geo"
    assert base({"host": "inside", **FORWARDED}, public_url=url + "/", **TRUSTING) == url


@pytest.mark.parametrize("host", ["", "a b", "a/b", "a@b", "a\u00e9b", "x:y"])
def test_what_could_not_be_a_host_is_not_echoed(host: str) -> None:
    assert base({"host": host}) == "http://localhost"


def test_a_root_path_is_part_of_the_base() -> None:
    assert base({"host": "inside"}, root_path="/geo") == "http://inside/geo"
    assert base({"host": "inside"}, root_path="/geo/") == "http://inside/geo"


@pytest.mark.parametrize(
    ("identity", "segment"),
    [("a b", "a%20b"), ("a+b", "a%2Bb"), ("100%", "100%25"), ("a?b#c", "a%3Fb%23c"), ("ünï", "%C3%BCn%C3%AF")],
)
def test_ids_are_one_segment(identity: str, segment: str) -> None:
    links = Links("https://x.test", "v", explicit=False)
    assert links.to("stac", "collections", identity, "items") == f"https://x.test/stac/collections/{segment}/items"


def test_the_version_is_carried_where_it_is_due() -> None:
    silent, explicit = Links("https://x.test", "v1", explicit=False), Links("https://x.test", "v1", explicit=True)
    assert silent.to("stac") == "https://x.test/stac"
    assert explicit.to("stac") == "https://x.test/stac?api-version=v1"
    assert silent.versioned("stac", limit=5, token=None) == "https://x.test/stac?limit=5&api-version=v1"


def test_any_name_may_be_a_query_parameter() -> None:
    links = Links("https://x.test", "v1", explicit=False)
    assert links.versioned("stac", self="1", segments="2").startswith("https://x.test/stac?self=1&segments=2")
