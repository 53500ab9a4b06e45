"""The guard against a canary: listeners on loopback that nothing refused may ever connect to."""

# ruff: noqa: ARG001, PLR0917, RUF001 - fixtures are arguments; look-alike digits are the point

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from yarl import URL

from graticule.errors import SourceConnectionFailed, SourceError, SourceForbidden, SourceTimeout
from graticule.settings import load_settings
from graticule.sources import Fetcher, Guard, parse_href
from graticule.sources.door import Door
from graticule.sources.guard import is_public

OpenFetcher = Callable[..., Awaitable[Fetcher]]


@dataclass
class Canary:
    port: int
    connections: int = 0


@pytest.fixture
async def canary() -> AsyncIterator[Canary]:
    """Listens on several loopback addresses, on one port, and counts."""
    canary = Canary(0)

    async def count(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        canary.connections += 1
        writer.transport.abort()

    servers = []
    for host in ("127.0.0.1", "127.0.0.2", "::1"):
        try:
            server = await asyncio.start_server(count, host, canary.port)
        except OSError:  # no IPv6 here
            continue
        canary.port = server.sockets[0].getsockname()[1]
        servers.append(server)
    yield canary
    for server in servers:
        server.close()
        await server.wait_closed()


HOSTS = [
    # loopback, plainly and in the forms that inet_aton, browsers and other clients accept
    "127.0.0.1",
    "127.0.0.2",
    "127.255.255.254",
    "127.0.0.1.",
    "2130706433",
    "2130706433.",
    "017700000001",
    "0x7f000001",
    "0x7F.0.0.1",
    "0X7F000001",
    "0177.0.0.1",
    "0x7f.1",
    "127.1",
    "127.0.1",
    "127.000.000.001",
    "0127.0.0.1",
    "00000000177.0.0.1",
    "%31%32%37.0.0.1",
    "127%2e0%2e0%2e1",
    "１２７.0.0.1",
    "①②⑦.⓪.⓪.①",
    "127。0。0。1",
    "localhost",
    "LOCALHOST",
    "localhost.",
    "localhost..",
    "ⓛocalhost",
    "sub.localhost",
    "0.0.0.0",
    "0",
    "0.0.0.0.",
    "[::1]",
    "[0:0:0:0:0:0:0:1]",
    "[::]",
    "[0000:0000:0000:0000:0000:0000:0000:0001]",
    "[::127.0.0.1]",
    "[::7f00:1]",
    "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]",
    "[0:0:0:0:0:ffff:127.0.0.1]",
    "[::ffff:0:127.0.0.1]",
    "[64:ff9b::127.0.0.1]",
    "[64:ff9b::7f00:1]",
    "[64:ff9b:1::7f00:1]",
    "[2002:7f00:1::]",
    "[2002:7f00:0001::1]",
    "[2001:0:7f00:1::]",
    "[2001::80ff:fffe]",
    "[2606:4700::5efe:7f00:1]",
    "[2606:4700::200:5efe:7f00:1]",
    "[::1%25lo]",
    "[::1%lo]",
    "[fe80::1%25lo]",
    # private, link-local, shared, reserved, documentation, multicast
    "10.0.0.1",
    "172.16.0.1",
    "172.31.255.255",
    "192.168.1.1",
    "100.64.0.1",
    "169.254.1.1",
    "192.0.0.1",
    "192.0.2.1",
    "198.18.0.1",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "239.255.255.255",
    "240.0.0.1",
    "255.255.255.255",
    "[fc00::1]",
    "[fd12:3456::1]",
    "[fe80::1]",
    "[fec0::1]",
    "[ff02::1]",
    "[2001:db8::1]",
    "[3fff::1]",
    "[100::1]",
    "[5f00::1]",
    # metadata services of the clouds
    "169.254.169.254",
    "2852039166",
    "0xa9fea9fe",
    "[::ffff:169.254.169.254]",
    "[64:ff9b::a9fe:a9fe]",
    "[fd00:ec2::254]",
    "[fd20:ce::254]",
    "168.63.129.16",
    "[::ffff:168.63.129.16]",
    "100.100.100.200",
    "192.0.0.192",
    "169.254.170.2",
    # names that lead inside
    "loopback.example",
    "loopback6.example",
    "mapped.example",
    "private.example",
    "metadata.example",
    "several.example",
    "metadata.google.internal",
]

NAMES = {
    "loopback6.example": ["::1"],
    "mapped.example": ["::ffff:127.0.0.1"],
    "private.example": ["10.0.0.7"],
    "metadata.example": ["169.254.169.254"],
    "several.example": ["127.0.0.2", "10.0.0.1", "::1", "fe80::1"],
    "metadata.google.internal": ["169.254.169.254"],
}


async def lookup(host: str) -> Sequence[str]:
    """Every other name leads to loopback, as a hostile name server would have it."""
    return NAMES.get(host.rstrip(".").lower(), ["127.0.0.1"])


@pytest.mark.parametrize("scheme", ["https", "http"])
async def test_no_spelling_of_an_inner_address_is_connected_to(
    scheme: str, open_fetcher: OpenFetcher, canary: Canary, tmp_path: Path, naps: Any
) -> None:
    fetcher = await open_fetcher(lookup=lookup)
    reached = []
    for host in HOSTS:
        href = f"{scheme}://{host}:{canary.port}/a?sig=SECRET"
        try:
            await fetcher.download(href, tmp_path / "file")
        except SourceError as exc:
            if exc.retriable or exc.code not in {"IngestionResourceForbidden", "InvalidAssetHref"}:
                reached.append(f"{host}: {exc}")
            if "SECRET" in exc.message:
                reached.append(f"{host} tells the signature")
        else:
            reached.append(host)
    assert reached == []
    assert canary.connections == 0
    assert naps.taken == []


@pytest.mark.parametrize(
    "authority",
    [
        "storage.example@127.0.0.1:{port}",
        "storage.example:443@127.0.0.1:{port}",
        "127.0.0.1:{port}\\@storage.example",
        "storage.example\\@127.0.0.1:{port}",
        "storage.example%40127.0.0.1:{port}",
        "127.0.0.1:{port}%23@storage.example",
        "[::1]:{port}@storage.example",
        "storage.example\t@127.0.0.1:{port}",
        "127.0.0.1:{port}\n.storage.example",
        "127.0.0.1:{port} .storage.example",
        "127.0.0.1:{port}:443",
        "[::1]127.0.0.1:{port}",
        "[storage.example]:{port}",
    ],
)
async def test_no_trick_with_the_authority_reaches_inside(
    authority: str, open_fetcher: OpenFetcher, canary: Canary, tmp_path: Path
) -> None:
    fetcher = await open_fetcher("storage.example", lookup=lookup)
    with pytest.raises(SourceError) as caught:
        await fetcher.download(f"https://{authority.format(port=canary.port)}/a", tmp_path / "file")
    assert not caught.value.retriable
    assert canary.connections == 0


@pytest.mark.parametrize(
    "location",
    [
        "http://127.0.0.2:{port}/",
        "https://127.0.0.2:{port}/",
        "//127.0.0.2:{port}/",
        "http://[::1]:{port}/",
        "http://[::ffff:127.0.0.2]:{port}/",
        "http://2130706434:{port}/",
        "http://0x7f000002:{port}/",
        "http://localhost:{port}/",
        "https://inner.example:{port}/",
        "http://127.0.0.1@127.0.0.2:{port}/",
        "http://169.254.169.254/latest/meta-data/",
        "\\\\127.0.0.2:{port}/",
    ],
)
async def test_no_redirect_leads_inside(
    location: str, open_fetcher: OpenFetcher, source: Any, answers: Any, canary: Canary, tmp_path: Path
) -> None:
    fetcher = await open_fetcher(f"127.0.0.1:{source.port}", lookup=lookup)
    href = source.says(answers.redirect(location.format(port=canary.port)), answers.whole(status=404))
    with pytest.raises(SourceError) as caught:
        await fetcher.download(href, tmp_path / "file")
    assert not caught.value.retriable
    assert canary.connections == 0


async def test_a_name_that_changes_its_answer_is_judged_at_each_connection(
    open_fetcher: OpenFetcher, make_source: Any, answers: Any, tmp_path: Path
) -> None:
    """DNS rebinding: the first answer may be reached, the second may not."""
    source = await make_source("127.0.0.1")
    inner = await make_source("127.0.0.2", source.port)
    given = iter([["127.0.0.1"], ["127.0.0.2"]])

    async def rebinding(host: str) -> Sequence[str]:
        return next(given)

    fetcher = await open_fetcher("127.0.0.1/32", lookup=rebinding)
    source.says(answers.broken(b"0123456789", 4))
    with pytest.raises(SourceForbidden) as caught:
        await fetcher.download(f"http://turncoat.example:{source.port}/a", tmp_path / "file")
    assert "turncoat.example" in caught.value.message
    assert "127.0.0" not in caught.value.message
    assert inner.connections == 0


async def test_only_the_admitted_addresses_of_a_name_are_used(tmp_path: Path) -> None:
    async def mixed(host: str) -> Sequence[str]:
        return ["10.0.0.1", "8.8.8.8", "::1", "2606:4700::1111"]

    door = Door(Guard(load_settings(data_dir=tmp_path)), mixed)
    with door.fetching(parse_href("https://mixed.example/")):
        assert [entry["host"] for entry in await door.resolve("mixed.example", 443)] == ["8.8.8.8", "2606:4700::1111"]
    await door.close()


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "127.0.0.2", "2130706433", "127.1", "0x7f000001", "0177.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "a.b"],
)
async def test_the_socket_is_the_choke_point_whatever_the_url_said(host: str, canary: Canary, tmp_path: Path) -> None:
    """Behind the reader of hrefs: aiohttp is given the URL itself, and the system looks names up."""

    async def system(name: str) -> Sequence[str]:
        try:
            return [str(answer[4][0]) for answer in socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)]
        except OSError:
            return ["127.0.0.1"]

    door = Door(Guard(load_settings(data_dir=tmp_path)), system)
    connector = aiohttp.TCPConnector(resolver=door, socket_factory=door.make_socket, use_dns_cache=False)
    async with aiohttp.ClientSession(connector=connector) as session:
        with (
            door.fetching(parse_href("https://storage.example/")),
            pytest.raises((SourceForbidden, aiohttp.InvalidURL)),
        ):
            await session.get(URL(f"http://{host}:{canary.port}/", encoded=True))
    assert canary.connections == 0


def test_a_socket_for_a_name_is_never_made(tmp_path: Path) -> None:
    door = Door(Guard(load_settings(data_dir=tmp_path)))
    with door.fetching(parse_href("https://storage.example/")), pytest.raises(SourceForbidden):
        door.make_socket((socket.AF_INET, socket.SOCK_STREAM, 6, "", ("localhost", 443)))


# --- what an operator allows -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("entry", "href", "address", "admitted"),
    [
        ("10.0.0.0/8", "http://inner.example/a", "10.1.2.3", True),
        ("10.0.0.0/8", "https://inner.example/a", "10.1.2.3", True),
        ("10.0.0.0/8", "https://inner.example/a", "::ffff:10.1.2.3", True),
        ("10.0.0.0/8", "https://inner.example/a", "192.168.0.1", False),
        ("10.0.0.0/8", "http://outer.example/a", "8.8.8.8", False),
        ("10.0.0.5", "http://10.0.0.5:99/a", "10.0.0.5", True),
        ("fd00::/8", "http://inner.example/a", "fd00::1", True),
        ("inner.example", "http://inner.example/a", "10.1.2.3", True),
        ("inner.example", "http://INNER.example.:8080/a", "10.1.2.3", True),
        ("Inner.Example", "https://inner.example/a", "127.0.0.1", True),
        ("inner.example", "https://deep.inner.example/a", "10.1.2.3", False),
        ("inner.example", "https://inner.example.evil.example/a", "10.1.2.3", False),
        ("inner.example:8080", "http://inner.example:8080/a", "10.1.2.3", True),
        ("inner.example:8080", "http://inner.example/a", "10.1.2.3", False),
        ("inner.example:443", "https://inner.example/a", "10.1.2.3", True),
        ("127.0.0.1:9000", "http://127.0.0.1:9000/a", "127.0.0.1", True),
        ("127.0.0.1:9000", "http://127.0.0.1:9001/a", "127.0.0.1", False),
        ("127.0.0.1:9000", "http://localhost:9000/a", "127.0.0.1", False),
        ("[::1]:9000", "http://[0::1]:9000/a", "::1", True),
        ("[::1]", "http://[::1]/a", "::1", True),
        ("bücher.example", "http://bücher.example/a", "10.0.0.1", True),
        ("other.example", "https://storage.example/a", "8.8.8.8", True),
        ("other.example", "http://storage.example/a", "8.8.8.8", False),
        ("other.example", "https://storage.example/a", "64:ff9b::8.8.8.8", True),
    ],
)
def test_an_entry_opens_what_it_names(entry: str, href: str, address: str, admitted: bool, tmp_path: Path) -> None:
    guard = Guard(load_settings(data_dir=tmp_path, fetch_allow=(entry,)))
    assert guard.admits(parse_href(href), ipaddress.ip_address(address)) is admitted


async def test_an_allowed_host_is_fetched_from_over_plain_http(
    open_fetcher: OpenFetcher, source: Any, tmp_path: Path
) -> None:
    fetcher = await open_fetcher(f"inner.example:{source.port}", lookup=lookup)
    assert (await fetcher.download(f"http://inner.example:{source.port}/a", tmp_path / "file")).bytes == 6


@pytest.mark.parametrize("href", ["https://inner.example:8443/a?sig=SECRET", "http://inner.example:8443/a?sig=SECRET"])
async def test_a_refusal_names_host_and_setting_but_no_address(
    href: str, open_fetcher: OpenFetcher, tmp_path: Path
) -> None:
    fetcher = await open_fetcher(lookup=lookup)
    with pytest.raises(SourceForbidden) as caught:
        await fetcher.download(href, tmp_path / "file")
    assert "inner.example:8443" in caught.value.message
    assert "GRATICULE_FETCH_ALLOW" in caught.value.message
    assert "127.0.0.1" not in caught.value.message
    assert "SECRET" not in caught.value.message


async def test_plain_http_is_refused_before_the_name_is_looked_up(open_fetcher: OpenFetcher, tmp_path: Path) -> None:
    asked = []

    async def recording(host: str) -> Sequence[str]:
        asked.append(host)
        return ["8.8.8.8"]

    fetcher = await open_fetcher("other.example", lookup=recording)
    with pytest.raises(SourceForbidden):
        await fetcher.download("http://storage.example/a", tmp_path / "file")
    assert asked == []


@pytest.mark.parametrize("address", ["8.8.8.8", "20.60.1.1", "168.63.129.17", "2606:4700::1111", "::ffff:8.8.8.8"])
def test_addresses_of_the_open_internet_are_public(address: str) -> None:
    assert is_public(ipaddress.ip_address(address))


async def test_the_client_takes_no_other_faults_for_a_refusal(
    open_fetcher: OpenFetcher, source: Any, answers: Any, tmp_path: Path
) -> None:
    fetcher = await open_fetcher("127.0.0.0/8", fetch_tries=1)
    with pytest.raises((SourceConnectionFailed, SourceTimeout)):
        await fetcher.download(source.says(answers.resets), tmp_path / "file")
