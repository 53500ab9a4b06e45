"""Owns: the registered sources of a catalog: kept with their tokens sealed, tried when written, used by the fetcher."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, Final

from graticule.database import Connection, Database
from graticule.errors import ManagedIdentityInfoNotFound, SourceAuthenticationFailed, SourceError
from graticule.sealing import SealBroken, Sealer
from graticule.settings import Settings
from graticule.sources import store
from graticule.sources.guard import Guard
from graticule.sources.hrefs import Href
from graticule.sources.models import MANAGED_IDENTITY, Definition, Source, is_plain, read_definition
from graticule.stac.datetimes import now_us, rfc3339

#: Longest time that a connection test may take, seconds.
TEST_LIMIT: Final = 3.0
#: Asks for an href and raises SourceError unless all is well.
Probe = Callable[[str], Awaitable[None]]

_NO_IDENTITY: Final = (
    "This catalog has no managed identities: nothing can be read through this source. Register a SAS token instead."
)


class Sources:
    """Registers sources, and says what opens an href."""

    def __init__(self, *, settings: Settings, database: Database, sealer: Sealer, probe: Probe | None = None) -> None:
        """Take another way to ask for an href than the guarded client, for tests."""
        self._settings = settings
        self._database = database
        self._sealer = sealer
        self._guard = Guard(settings)
        self.probe: Probe = probe or self._ask

    async def create(self, document: Mapping[str, Any]) -> Source:
        """Register a source.

        Raises:
            InvalidRequestBody: it is none.
            Conflict: its container has one.
        """
        definition = read_definition(document, self._guard)
        await self._database.read(partial(store.check_free, container_url=definition.container_url))
        warning = await self._test(definition)
        sealed = self._seal(definition)
        return await self._database.write(lambda tx: store.add(tx, definition, sealed, warning))

    async def replace(self, source_id: str, document: Mapping[str, Any]) -> Source:
        """Replace a source: this is how a token is renewed. Without a token, the one for the same container stays.

        Raises:
            NotFound: there is none of this id.
            InvalidRequestBody: it is no source.
            Conflict: another source has the container.
        """

        def existing(tx: Connection) -> tuple[Source, bytes | None]:
            return store.get(tx, source_id), store.token(tx, source_id)

        before, sealed = await self._database.read(existing)
        definition = read_definition(document, self._guard, token_needed=sealed is None)
        if definition.kind != MANAGED_IDENTITY and definition.token is None:
            if definition.container_url != before.container_url:
                definition = read_definition(document, self._guard)  # a token is for one container: it is missing
            definition = replace(definition, token=self._open(before, sealed), expires=before.expires)
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

    async def credential(self, href: Href) -> str | None:
        """The query that opens an href, if it has none of its own and lies in the container of a registered source.

        Raises:
            ManagedIdentityInfoNotFound: the source is to be read as a managed identity.
            SourceAuthenticationFailed: the source's token has expired, or cannot be read.
        """
        if "?" in href.path_query or not is_plain(href.path):
            return None
        found = await self._database.read(partial(store.covering, href=href))
        if found is None:
            return None
        source, sealed = found
        if source.kind == MANAGED_IDENTITY:
            raise ManagedIdentityInfoNotFound(
                f"{href} belongs to ingestion source {source.id}, a managed identity, and this catalog has none:"
                " replace the source by one with a SAS token."
            )
        if source.expires is not None and source.expires <= now_us():
            raise SourceAuthenticationFailed(
                f"{href} belongs to ingestion source {source.id}, whose token expired at {rfc3339(source.expires)}:"
                " renew it with PUT."
            )
        return self._open(source, sealed)

    # --- inside

    def _seal(self, definition: Definition) -> bytes | None:
        if definition.token is None:
            return None
        return self._sealer.seal(definition.token.encode(), _purpose(definition.container_url))

    def _open(self, source: Source, sealed: bytes | None) -> str:
        try:
            return self._sealer.open(sealed or b"", _purpose(source.container_url)).decode()
        except SealBroken as exc:
            raise SourceAuthenticationFailed(
                f"The token of ingestion source {source.id} cannot be read (was the catalog's secret key changed?):"
                " send it again with PUT."
            ) from exc

    async def _test(self, definition: Definition) -> str | None:
        """What is wrong with a source, as far as three seconds tell; None where nothing is."""
        if definition.kind == MANAGED_IDENTITY:
            return _NO_IDENTITY
        if faults := definition.faults(now_us()):
            return " ".join(faults)
        listed = f"{definition.container_url}?restype=container&comp=list&maxresults=1&{definition.token}"
        try:
            async with asyncio.timeout(TEST_LIMIT):
                await self.probe(listed)
        except SourceError as exc:
            return exc.message
        except TimeoutError:
            return f"{definition.container_url} did not answer within {TEST_LIMIT:.0f} seconds."
        return None

    async def _ask(self, href: str) -> None:
        # Imported here, because an API process seldom needs the client.
        from graticule.sources.fetcher import Fetcher  # noqa: PLC0415

        async with Fetcher(self._settings) as fetcher:
            await fetcher.probe(href)


def _purpose(container_url: str) -> str:
    """What a token is sealed for: moved to another row, it does not open."""
    return f"ingestion source {container_url}"
