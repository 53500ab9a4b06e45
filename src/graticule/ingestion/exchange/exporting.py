"""Writing collections and items to files, a page at a time.

Every page is one state of the catalog. An item that is not touched meanwhile is written exactly once; one that is
added, replaced or removed while the export runs may be in it or not.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import IO, Final

import orjson

from graticule.catalog import Catalog, CollectionRecord, ItemPage
from graticule.errors import Conflict
from graticule.ingestion.exchange.files import COLLECTION_FILE, ITEMS_FILE, PartialFile, folder_name, write_whole
from graticule.stac.search import Search
from graticule.storage import ManagedHrefs

#: Items that one read takes.
PAGE: Final = 200
#: After how many pages it is noted how far the export is.
PAGES_PER_NOTE: Final = 20
_EVERYTHING: Final = Search()


class Exporter:
    """Writes documents as they are stored, with managed hrefs under a base URL and without the server's own links."""

    def __init__(
        self,
        *,
        catalog: Catalog,
        hrefs: ManagedHrefs,
        base: str,
        select: Search = _EVERYTHING,
        on_items: Callable[[str, int], None] = lambda _collection, _count: None,
    ) -> None:
        """Take the parts, the base URL without trailing slash, which items, and who is told of every page written."""
        self._catalog = catalog
        self._select = select
        self._hrefs = hrefs
        self._base = base
        self._on_items = on_items

    @property
    def signature(self) -> str:
        """The options on which contents depend: an interrupted export goes on only with the same ones."""
        return self._base if self._select == _EVERYTHING else f"{self._base} {self._select!r}"

    async def to_folder(
        self, folder: Path, collections: Sequence[CollectionRecord], *, overwrite: bool = False, resume: bool = False
    ) -> None:
        """A folder per collection.

        Args:
            folder: made if missing.
            collections: which.
            overwrite: replace what an earlier export has left there.
            resume: keep collections that are complete, and go on with the one that is not.

        Raises:
            Conflict: there is an earlier export, and neither is asked for.
            NotFound: a collection was deleted while it was written.
        """
        places = [(record, folder / folder_name(record.id)) for record in collections]
        complete = [is_complete(place / ITEMS_FILE, overwrite=overwrite, resume=resume) for _, place in places]
        for (record, place), is_there in zip(places, complete, strict=True):
            place.mkdir(parents=True, exist_ok=True)
            items = place / ITEMS_FILE
            if is_there:
                await self.tell_complete([record])
                continue
            write_whole(place / COLLECTION_FILE, orjson.dumps(orjson.loads(self.public(record.doc)), option=_PRETTY))
            with PartialFile(items, resume=resume, base=self.signature) as file:
                count, token = file.mark or (0, None)
                self._on_items(record.id, count)
                async for page, number in self._pages(record.id, token):
                    file.write(self._lines(page))
                    count += len(page.items)
                    if number % PAGES_PER_NOTE == 0 and page.next_token is not None:
                        file.note([count, page.next_token])
                file.finish()

    async def to_file(
        self, path: Path, collections: Sequence[CollectionRecord], *, overwrite: bool = False, resume: bool = False
    ) -> None:
        """One file: every Collection on a line, with its Items on the lines that follow. Arguments as `to_folder`."""
        if is_complete(path, overwrite=overwrite, resume=resume):
            await self.tell_complete(collections)
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        with PartialFile(path, resume=resume, base=self.signature) as file:
            current, count, token = file.mark or (None, 0, None)
            names = [record.id for record in collections]
            if current is not None and current not in names:
                raise Conflict(f"Collection '{current}', at which {path} was interrupted, is gone: use --overwrite.")
            first = names.index(current) if current is not None else 0
            for name in names[:first]:
                self._on_items(name, await self._count(name))
            for record in collections[first:]:
                if record.id != current:
                    file.write(self.public(record.doc) + b"\n")
                    count, token = 0, None
                self._on_items(record.id, count)
                async for page, number in self._pages(record.id, token):
                    file.write(self._lines(page))
                    count += len(page.items)
                    if number % PAGES_PER_NOTE == 0 and page.next_token is not None:
                        file.note([record.id, count, page.next_token])
            file.finish()

    async def to_stream(self, stream: IO[bytes], collections: Sequence[CollectionRecord]) -> None:
        """As `to_file`, into an open stream."""
        for record in collections:
            stream.write(self.public(record.doc) + b"\n")
            async for page, _ in self._pages(record.id, None):
                stream.write(self._lines(page))
        stream.flush()

    async def pages(self, collection_id: str) -> AsyncIterator[list[bytes]]:
        """The documents of a collection's items, page by page."""
        async for page, _ in self._pages(collection_id, None):
            yield [self.public(item) for item in page.items]

    async def tell_complete(self, collections: Sequence[CollectionRecord]) -> None:
        """Tell of collections that an earlier export has written."""
        for record in collections:
            self._on_items(record.id, await self._count(record.id))

    async def _count(self, collection_id: str) -> int:
        """Items of an earlier export: about as many as there are now; 0 where only some were asked for."""
        return await self._catalog.item_count(collection_id) if self._select == _EVERYTHING else 0

    async def _pages(self, collection_id: str, token: str | None) -> AsyncIterator[tuple[ItemPage, int]]:
        """Pages from a token on, each with its number from 1."""
        number = 0
        while True:
            number += 1
            search = replace(self._select, collections=(collection_id,), limit=PAGE, token=token)
            page = await self._catalog.search(search)
            yield page, number
            self._on_items(collection_id, len(page.items))
            token = page.next_token
            if token is None:
                break
        # A collection that was deleted in between looks as if it had ended.
        await self._catalog.collection(collection_id)

    def _lines(self, page: ItemPage) -> bytes:
        return b"".join(self.public(item) + b"\n" for item in page.items)

    def public(self, document: bytes) -> bytes:
        """A stored document as it leaves: hrefs of managed assets are URLs."""
        return self._hrefs.unfold(document, self._base)


_PRETTY: Final = orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE


def is_complete(path: Path, *, overwrite: bool, resume: bool) -> bool:
    """Is there nothing left to do for this file? Raises Conflict where it exists and nobody has said what to do."""
    if path.exists() and not overwrite and not resume:
        raise Conflict(f"{path} exists: name another place, or use --overwrite.", target=str(path))
    return path.exists() and resume
