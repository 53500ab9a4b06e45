"""Owns: the guarded client: href → bytes in a file. Local files, where they are open to it, are copied by `local`.

One try is: open (connect, send, read the head of the answer, follow redirects by hand), then read the body. Faults
that may pass are tried again, from where the file broke off if the source can do that. A source that sends nothing is
given up within 50 s, however many tries are left; one that sends something has its time, as long as it is not so
little that the place of others would be held for nothing (``GRATICULE_FETCH_SLOWEST``).
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import aiohttp
import certifi
from aiohttp import ClientResponse
from yarl import URL

from graticule.errors import (
    InvalidAssetHref,
    SourceError,
    SourceRefused,
    SourceTimeout,
)
from graticule.settings import Settings
from graticule.sources import local
from graticule.sources.answers import BODY_LIMIT, refusal
from graticule.sources.door import Door, Lookup
from graticule.sources.faults import mapped
from graticule.sources.guard import Guard
from graticule.sources.hrefs import Href
from graticule.sources.opening import Method, Opened
from graticule.sources.patience import Pace, Patience, delay_after
from graticule.sources.places import FileHref, ObjectHref, parse_place
from graticule.sources.transfer import Download, OnProgress, Transfer

MAX_REDIRECTS: Final = 5
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_READ: Final = 1 << 18

#: How an href of a registered source is asked for, or None: as it is. Raises SourceError.
Credentials = Callable[[Href, Method], Awaitable[Opened | None]]
#: Where an href of another scheme than http(s) is. Raises SourceError.
Locate = Callable[[ObjectHref | FileHref], Awaitable[Href | FileHref]]


class Fetcher:
    """Opens what users' URLs point at. Use as an async context manager; one for a process is enough."""

    def __init__(
        self,
        settings: Settings,
        *,
        credentials: Credentials | None = None,
        locate: Locate | None = None,
        lookup: Lookup | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        clock: Callable[[], float] | None = None,
    ) -> None:
        """Take what opens and finds registered sources; and another name look-up, way to wait and clock, for tests."""
        self._settings = settings
        self._credentials = credentials
        self._locate = locate
        self._door = Door(Guard(settings), lookup)
        self._sleep = sleep
        self._clock = clock
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        """Open the client."""
        idle = self._settings.fetch_idle_timeout
        connect = self._settings.fetch_connect_timeout
        connector = aiohttp.TCPConnector(
            resolver=self._door,
            socket_factory=self._door.make_socket,
            use_dns_cache=False,  # a name is judged by what it resolves to now
            ssl=_tls(),
            limit=0,  # callers bound what they do at a time; waiting here would count as a slow connection
        )
        self._session = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,  # no proxies and no .netrc from the environment
            auto_decompress=False,
            timeout=aiohttp.ClientTimeout(total=None, connect=connect, sock_connect=connect, sock_read=idle),
            read_bufsize=_READ,
            headers={"User-Agent": "graticule", "Accept": "*/*", "Accept-Encoding": "identity"},
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close every connection."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def download(
        self, href: str, path: Path, *, max_bytes: int | None = None, on_progress: OnProgress | None = None
    ) -> Download:
        """Bring what an href points at into a file, byte for byte. The file exists afterwards only if all is well.

        Args:
            href: absolute http(s) URL, sent as it is; or one of the schemes of `places`.
            path: the file to write, in a folder of the caller; an existing one is replaced.
            max_bytes: default `Settings.max_asset_bytes`.
            on_progress: called with the bytes so far and the announced size.

        Raises:
            SourceError: one of its leaves; the message begins with the URL, without its query.
            InternalIntermittentError: the file cannot be written.
        """
        target = await self._place(href)
        limit = self._settings.max_asset_bytes if max_bytes is None else max_bytes
        if isinstance(target, FileHref):
            return await local.copy(target, path, self._settings, max_bytes=limit, on_progress=on_progress)
        transfer = Transfer(target, path, limit, on_progress)
        try:
            return await self._with_retries(transfer)
        except BaseException:
            transfer.discard()
            raise

    async def address(self, href: str) -> str | None:
        """The URL by which the source is asked, with the credential of a registered source in its query.

        For a storage service that fetches a source itself; it may stand in no log and no answer. None: a URL alone
        does not open it.

        Raises:
            SourceError: as `download`, of the credential.
        """
        target = await self._place(href)
        if isinstance(target, FileHref):
            return None
        opened = None if self._credentials is None else await self._credentials(target, "GET")
        if opened is not None and opened.headers:
            return None
        asked = target if opened is None else opened.href
        return f"{asked.scheme}://{asked.authority}{asked.path_query}"

    async def probe(self, opened: Opened) -> None:
        """Ask once whether what was opened answers 200; nothing of the answer is kept.

        Raises:
            SourceError: it does not; the message begins with the URL, without its query.
        """

        async def once(href: Href, _method: Method) -> Opened | None:
            return opened if href is opened.href else None

        patience = Patience(asyncio.get_running_loop().time)
        with mapped(opened.href):
            async with self._open(opened.href, {}, patience, credentials=once) as (final, response):
                if response.status != 200:
                    raise await self._refusal(final, response)

    async def measure(self, href: str) -> Measure:
        """Ask how large what an href points at is, without bringing it: HEAD, else the head of a GET.

        Raises:
            SourceError: the source refuses it; the message begins with the URL, without its query.
        """
        target = await self._place(href)
        if isinstance(target, FileHref):
            return Measure(await asyncio.to_thread(local.size_of, target, self._settings), None)
        patience = Patience(asyncio.get_running_loop().time)
        with mapped(target):
            async with self._open(target, {}, patience, method="HEAD") as (final, response):
                if response.status == 200:
                    return _measure(response)
            # Some signatures are for GET alone, some servers know no HEAD, and it says nothing of why not.
            async with self._open(target, {}, patience) as (final, response):
                if response.status != 200:
                    raise await self._refusal(final, response)
                return _measure(response)

    async def _with_retries(self, transfer: Transfer) -> Download:
        patience = Patience(self._clock or asyncio.get_running_loop().time)
        while True:
            try:
                return await self._try(transfer, patience)
            except SourceError as exc:
                if not exc.retriable:
                    raise
                transfer.tries += 1
                delay = delay_after(transfer.tries, exc)
                if transfer.tries >= self._settings.fetch_tries or not patience.allows(delay):
                    often = f" Tried {transfer.tries} times." if transfer.tries > 1 else ""
                    raise type(exc)(f"{exc.message}{often} Check the source, or try again later.") from None
            await self._sleep(delay)

    async def _try(self, transfer: Transfer, patience: Patience) -> Download:
        try:
            with mapped(transfer.href, transfer):
                async with self._open(transfer.href, transfer.range_headers(), patience) as (href, response):
                    if response.status not in (200, 203, 204, 206, 416):
                        raise await self._refusal(href, response)
                    transfer.begin(response)
                    await self._body(transfer, response, patience)
                return await transfer.finish()
        finally:
            await transfer.settle()

    async def _body(self, transfer: Transfer, response: ClientResponse, patience: Patience) -> None:
        idle = self._settings.fetch_idle_timeout
        pace = Pace(self._settings, asyncio.get_running_loop().time)
        while True:
            async with asyncio.timeout(min(idle, patience.left)):
                chunk = await response.content.read(_READ)
            if not chunk:
                return
            patience.renew()
            await transfer.append(chunk)
            if pace.is_too_slow(len(chunk)):
                raise SourceTimeout(
                    f"{transfer.broken_off().message} It is too slow: less than"
                    f" {self._settings.fetch_slowest} bytes a second (GRATICULE_FETCH_SLOWEST)."
                )

    async def _place(self, href: str) -> Href | FileHref:
        place = parse_place(href)
        if isinstance(place, Href):
            return place
        if self._locate is None:
            raise InvalidAssetHref(f"{place} has a scheme that is not read here: use an absolute http(s) URL.")
        return await self._locate(place)

    @contextlib.asynccontextmanager
    async def _open(
        self,
        href: Href,
        headers: dict[str, str],
        patience: Patience,
        method: Method = "GET",
        credentials: Credentials | None = None,
    ) -> AsyncIterator[tuple[Href, ClientResponse]]:
        """The head of the answer behind at most five redirects, each through the door.

        The credential of a registered source goes to that source: a redirect to another origin ends it for good.
        """
        credentials = credentials or self._credentials
        origin: tuple[str, str, int] | None = href.origin
        opening = self._settings.fetch_connect_timeout + self._settings.fetch_idle_timeout
        response: ClientResponse | None = None
        try:
            async with asyncio.timeout(min(opening, patience.left)):
                for _ in range(MAX_REDIRECTS + 1):
                    origin = origin if origin == href.origin else None
                    secret: Mapping[str, str] = {}
                    if origin is not None and credentials and (opened := await credentials(href, method)):
                        href, secret, origin = opened.href, opened.headers, opened.href.origin
                    response = await self._ask(href, {**headers, **secret}, method)
                    if response.status not in _REDIRECTS:
                        break
                    response.close()
                    href = _redirect(href, response)
                else:
                    raise SourceRefused(f"{href} redirects more than {MAX_REDIRECTS} times: use the final URL.")
            assert response is not None
            yield href, response
        finally:
            if response is not None:
                response.close()  # the connection, unless the body was read to its end: then it is back in the pool

    async def _ask(self, href: Href, headers: dict[str, str], method: str) -> ClientResponse:
        if self._session is None:
            raise RuntimeError("the fetcher is not open: use `async with`")
        with self._door.fetching(href):
            return await self._session.request(method, _request_url(href), headers=headers, allow_redirects=False)

    async def _refusal(self, href: Href, response: ClientResponse) -> SourceError:
        anonymous = "?" not in href.path_query and "Authorization" not in response.request_info.headers
        body = await self._error_body(response)
        return refusal(href, response.status, response.headers, body, anonymous=anonymous)

    async def _error_body(self, response: ClientResponse) -> bytes:
        """The beginning of an error's text; a broken one does not hide the status."""
        body = b""
        with contextlib.suppress(aiohttp.ClientError, OSError):
            async with asyncio.timeout(self._settings.fetch_idle_timeout / 2):
                while len(body) < BODY_LIMIT and (chunk := await response.content.read(BODY_LIMIT)):
                    body += chunk
        return body[:BODY_LIMIT]


@dataclass(frozen=True, slots=True)
class Measure:
    """What a source says of a file that was not brought."""

    #: None: it does not say.
    bytes: int | None
    content_type: str | None


def _measure(response: ClientResponse) -> Measure:
    length = response.headers.get("Content-Length", "")
    return Measure(int(length) if length.isdecimal() else None, response.headers.get("Content-Type"))


def _redirect(href: Href, response: ClientResponse) -> Href:
    location = response.headers.get("Location")
    if not location:
        raise SourceRefused(f"{href} answered {response.status} without saying where to: use the final URL.")
    try:
        return href.follow(location)
    except InvalidAssetHref as exc:
        raise SourceRefused(f"{href} redirects to something that cannot be followed. {exc.message}") from None


def _request_url(href: Href) -> URL:
    """A URL object that puts path and query on the request line as they are.

    Given apart, yarl would drop the `?` of an empty query; handed over as an encoded path, nothing is looked at.
    """
    return URL.build(scheme=href.scheme, host=href.host, port=href.port, path=href.path_query, encoded=True)


def _tls() -> ssl.SSLContext:
    """Authorities of the system (an operator's own by SSL_CERT_FILE or SSL_CERT_DIR) and of certifi."""
    context = ssl.create_default_context()
    context.load_verify_locations(certifi.where())
    return context
