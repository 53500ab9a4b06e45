"""Owns: the registered sources of a catalog: kept with their secrets sealed, tried when written, and opened."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote

from graticule.database import Connection, Database
from graticule.errors import (
    InvalidAssetHref,
    SourceAuthenticationFailed,
    SourceError,
    SourceForbidden,
    SourceNotFound,
)
from graticule.sealing import SealBroken, Sealer
from graticule.settings import Settings
from graticule.sources import local, store
from graticule.sources.guard import Guard
from graticule.sources.hrefs import Href, parse_href
from graticule.sources.identity import AMAZON, GetToken, Tokens
from graticule.sources.kinds import GOOGLE, kind_named, read_definition
from graticule.sources.models import HTTP_HEADERS, Definition, Source, is_plain
from graticule.sources.places import FileHref, ObjectHref
from graticule.stac.datetimes import now_us, rfc3339

if TYPE_CHECKING:
    from graticule.sources.opening import Method, Opened, Opener

#: Longest time that a connection test may take, seconds.
TEST_LIMIT: Final = 3.0
#: Asks for what was opened and raises SourceError unless all is well.
Probe = Callable[["Opened"], Awaitable[None]]


class Sources:
    """Registers sources, and says what opens an href."""

    def __init__(
        self,
        *,
        settings: Settings,
        database: Database,
        sealer: Sealer,
        probe: Probe | None = None,
        get_token: GetToken | None = None,
    ) -> None:
        """Take another way to ask for an href than the guarded client, and for a token, for tests."""
        self._settings = settings
        self._database = database
        self._sealer = sealer
        self._guard = Guard(settings)
        self.get_token: GetToken = get_token or Tokens(settings).token
        self._opener: Opener | None = None
        self.probe: Probe = probe or self._ask

    async def create(self, document: Mapping[str, Any]) -> Source:
        """Register a source.

        Raises:
            InvalidRequestBody: it is none.
            Conflict: its container has one.
        """
        definition = read_definition(document, self._guard, self._settings)
        await self._database.read(partial(store.check_free, container_url=definition.container_url))
        warning = await self._test(definition)
        sealed = self._seal(definition)
        return await self._database.write(lambda tx: store.add(tx, definition, sealed, warning))

    async def replace(self, source_id: str, document: Mapping[str, Any]) -> Source:
        """Replace a source: this is how a token is renewed. Without a secret, the one for the same container stays.

        Raises:
            NotFound: there is none of this id.
            InvalidRequestBody: it is no source.
            Conflict: another source has the container.
        """

        def existing(tx: Connection) -> tuple[Source, bytes | None]:
            return store.get(tx, source_id), store.token(tx, source_id)

        before, sealed = await self._database.read(existing)
        definition = read_definition(document, self._guard, self._settings, secret_needed=sealed is None)
        if definition.needs_secret and definition.secret is None:
            if (definition.container_url, definition.kind) != (before.container_url, before.kind):
                # A secret is for one container and one kind: it is missing.
                definition = read_definition(document, self._guard, self._settings)
            definition = replace(
                definition,
                secret=self._open(before, sealed),
                expires=before.expires,
                details={**before.details, **definition.details},
            )
        await self._database.read(lambda tx: store.check_free(tx, definition.container_url, but=source_id))
        warning = await self._test(definition)
        fresh = self._seal(definition)
        return await self._database.write(lambda tx: store.replace(tx, source_id, definition, fresh, warning))

    async def delete(self, source_id: str) -> None:
        """Forget a source. Raises NotFound."""
        await self._database.write(partial(store.remove, source_id=source_id))

    async def get(self, source_id: str) -> Source:
        """One source. Raises NotFound."""
        return await self._database.read(partial(store.get, source_id=source_id))

    async def listing(self, *, top: int, skip: int) -> list[Source]:
        """Sources in the order in which they were registered."""
        return await self._database.read(partial(store.listing, top=top, skip=skip))

    async def credential(self, href: Href, method: Method = "GET") -> Opened | None:
        """How an href is asked for that lies in the container of a registered source; None: as it is.

        Raises:
            ManagedIdentityInfoNotFound: the source is read as a managed identity that this machine has not.
            SourceAuthenticationFailed: the source's token has expired, or its secret cannot be used.
        """
        if not is_plain(href.path):
            return None
        found = await self._database.read(partial(store.covering, href=href))
        if found is None and (by_path := _by_path(href)) is not None:
            # One bucket, two addresses: sources have the one with the bucket in its path.
            for url in await self._database.read(partial(store.holding, place=by_path)):
                if AMAZON.match((bucket := parse_href(url)).host):
                    href = replace(bucket, path_query=by_path.path)
                    found = await self._database.read(partial(store.covering, href=href))
                    break
        if found is None:
            return None
        source, sealed = found
        if source.expires is not None and source.expires <= now_us() and "?" not in href.path_query:
            raise SourceAuthenticationFailed(
                f"{href} belongs to ingestion source {source.id}, whose token expired at {rfc3339(source.expires)}:"
                " renew it with PUT."
            )
        return await self._opening.open(self._definition(source, sealed), href, method)

    async def locate(self, place: ObjectHref | FileHref) -> Href | FileHref:
        """Where an href of another scheme is: an object of a source's container, else at its store's public address.

        Raises:
            SourceForbidden: a file in no registered folder.
            InvalidAssetHref: no source, or more than one, has the container.
        """
        if isinstance(place, FileHref):
            if not await self._database.read(partial(store.covers_file, place=place)):
                raise SourceForbidden(
                    f"{place} may not be read: it is in no registered folder. Register its folder as an ingestion"
                    " source of kind LocalFolder."
                )
            return place
        urls = await self._database.read(partial(store.holding, place=place))
        if not urls:
            return _public(place)
        hosts = {parse_href(url).origin for url in urls}
        if len(hosts) > 1:
            raise InvalidAssetHref(
                f"{place} could lie at {len(hosts)} hosts, for several ingestion sources have a container of this name:"
                " use its https address."
            )
        return replace(parse_href(urls[0]), path_query=place.path)

    # --- inside

    @property
    def _opening(self) -> Opener:
        if self._opener is None:
            # Imported when first needed: what signs is large, and an API process seldom opens a source.
            from graticule.sources.opening import Opener  # noqa: PLC0415

            self._opener = Opener(self._settings, self.get_token)
        return self._opener

    def _definition(self, source: Source, sealed: bytes | None) -> Definition:
        """A source as it was written, with its secret opened."""
        return Definition(
            kind_named(source.kind),
            parse_href(source.container_url),
            secret=None if sealed is None else self._open(source, sealed),
            object_id=source.object_id,
            expires=source.expires,
            details=source.details,
        )

    def _seal(self, definition: Definition) -> bytes | None:
        if definition.secret is None:
            return None
        return self._sealer.seal(definition.secret.encode(), _purpose(definition.container_url))

    def _open(self, source: Source, sealed: bytes | None) -> str:
        try:
            return self._sealer.open(sealed or b"", _purpose(source.container_url)).decode()
        except SealBroken as exc:
            raise SourceAuthenticationFailed(
                f"The secret of ingestion source {source.id} cannot be read (was the catalog's secret key changed?):"
                " send it again with PUT."
            ) from exc

    async def _test(self, definition: Definition) -> str | None:
        """What is wrong with a source, as far as three seconds tell; None where nothing is."""
        if faults := definition.faults(now_us()):
            return " ".join(faults)
        try:
            async with asyncio.timeout(TEST_LIMIT):
                if isinstance(definition.container, FileHref):
                    await asyncio.to_thread(_look, definition.container, self._settings)
                else:
                    await self.probe(await self._opening.test(definition))
        except SourceNotFound as exc:
            # An address that headers open may be the beginning of others, and nothing itself.
            return None if definition.kind == HTTP_HEADERS else exc.message
        except SourceError as exc:
            return exc.message
        except TimeoutError:
            return f"{definition.container_url} did not answer within {TEST_LIMIT:.0f} seconds."
        return None

    async def _ask(self, opened: Opened) -> None:
        # Imported here, because an API process seldom needs the client.
        from graticule.sources.fetcher import Fetcher  # noqa: PLC0415

        async with Fetcher(self._settings) as fetcher:
            await fetcher.probe(opened)


def _look(folder: FileHref, settings: Settings) -> None:
    os.close(local.open_file(folder, settings, folder=True))


def _by_path(href: Href) -> ObjectHref | None:
    """An object of Amazon's whose address has the bucket in its host."""
    match = AMAZON.match(href.host) if href.scheme == "https" and "?" not in href.path_query else None
    if match is None or not match["bucket"]:
        return None
    return ObjectHref("s3", match["bucket"], unquote(href.path.removeprefix("/")))


def _public(place: ObjectHref) -> Href:
    """Where a store shows its public objects."""
    if place.scheme == "s3":
        # The name in the host leads to the bucket's region, but a certificate's wildcard stands for no dot.
        if "." in place.bucket or "_" in place.bucket:
            return parse_href(f"https://s3.amazonaws.com{place.path}")
        return parse_href(f"https://{place.bucket}.s3.amazonaws.com{place.path.removeprefix(f'/{place.bucket}')}")
    if place.scheme == "gs":
        return parse_href(f"{GOOGLE}{place.path}")
    raise InvalidAssetHref(
        f"{place} names no account, and no ingestion source has the container: use its https address, or register it."
    )


def _purpose(container_url: str) -> str:
    """What a secret is sealed for: moved to another row, it does not open."""
    return f"ingestion source {container_url}"
