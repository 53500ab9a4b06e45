"""Writing collections and items to files, a page at a time.

Every page is one state of the catalog. An item that is not touched meanwhile is written exactly once; one that is
added, replaced or removed while the export runs may be in it or not.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
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


class Exporter:
    """Writes documents as they are stored, with managed hrefs under a base URL and without the server's own links."""

    def __init__(
        self,
        *,
        catalog: Catalog,
        hrefs: ManagedHrefs,
        base: str,
        on_items: Callable[[str, int], None] = lambda _collection, _count: None,
    ) -> None:
        """Take the parts, the base URL without trailing slash, and who is told of every page written."""
        self._catalog = catalog
        self._hrefs = hrefs
        self._base = base
        self._on_items = on_items

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
        complete = [_is_complete(place / ITEMS_FILE, overwrite=overwrite, resume=resume) for _, place in places]
        for (record, place), is_complete in zip(places, complete, strict=True):
            place.mkdir(parents=True, exist_ok=True)
            items = place / ITEMS_FILE
            if is_complete:
                self._on_items(record.id, await self._catalog.item_count(record.id))
                continue
            write_whole(place / COLLECTION_FILE, orjson.dumps(orjson.loads(self._public(record.doc)), option=_PRETTY))
            with PartialFile(items, resume=resume, base=self._base) as file:
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
        if _is_complete(path, overwrite=overwrite, resume=resume):
            for record in collections:
                self._on_items(record.id, await self._catalog.item_count(record.id))
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        with PartialFile(path, resume=resume, base=self._base) as file:
            current, count, token = file.mark or (None, 0, None)
            names = [record.id for record in collections]
            if current is not None and current not in names:
                raise Conflict(f"Collection '{current}', at which {path} was interrupted, is gone: use --overwrite.")
            first = names.index(current) if current is not None else 0
            for name in names[:first]:
                self._on_items(name, await self._catalog.item_count(name))
            for record in collections[first:]:
                if record.id != current:
                    file.write(self._public(record.doc) + b"\n")
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
            stream.write(self._public(record.doc) + b"\n")
            async for page, _ in self._pages(record.id, None):
                stream.write(self._lines(page))
        stream.flush()

    async def _pages(self, collection_id: str, token: str | None) -> AsyncIterator[tuple[ItemPage, int]]:
        """Pages from a token on, each with its number from 1."""
        number = 0
        while True:
            number += 1
            page = await self._catalog.search(Search(collections=(collection_id,), limit=PAGE, token=token))
            yield page, number
            self._on_items(collection_id, len(page.items))
            token = page.next_token
            if token is None:
                break
        # A collection that was deleted in between looks as if it had ended.
        await self._catalog.collection(collection_id)

    def _lines(self, page: ItemPage) -> bytes:
        return b"".join(self._public(item) + b"\n" for item in page.items)

    def _public(self, document: bytes) -> bytes:
        return self._hrefs.unfold(document, self._base)


_PRETTY: Final = orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE


def _is_complete(path: Path, *, overwrite: bool, resume: bool) -> bool:
    """Is there nothing left to do for this file? Raises Conflict where it exists and nobody has said what to do."""
    if path.exists() and not overwrite and not resume:
        raise Conflict(f"{path} exists: name another place, or use --overwrite.", target=str(path))
    return path.exists() and resume
