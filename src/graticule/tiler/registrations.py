"""Owns: registered searches: kept under a digest of what they ask, so that the same search has the same id for ever.

Uses are counted in memory and written down now and then: drawing a tile writes nothing.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import re
from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson

from graticule.database import Connection, Database
from graticule.errors import InvalidParameter, InvalidRequestBody, NotFound
from graticule.stac.bbox import BBox, parse_bbox
from graticule.stac.datetimes import now_us
from graticule.stac.documents import JsonObject
from graticule.stac.search import Search, parse_search

logger = logging.getLogger(__name__)

#: What a search consists of (models.md RegisterMosaic); clients write some of them in two ways (api.md 6.4).
MEMBERS: Final = ("collections", "ids", "bbox", "intersects", "query", "filter", "filter-lang", "datetime", "sortby")
_ALIASES: Final = {"filter_lang": "filter-lang", "datetime_property": "datetime", "collection": "collections"}
#: Those whose order means nothing.
_SETS: Final = ("collections", "ids")

_DEFAULT_METADATA: Final[JsonObject] = {"type": "mosaic"}
_METADATA_TYPES: Final = ("mosaic", "search")
_LONGEST_METADATA: Final = 100_000
_ID: Final = re.compile(r"[0-9a-f]{32}")
#: Registered searches that are kept in memory: they never change.
_KEPT: Final = 512
#: Seconds between writing down uses.
_FLUSH_SECONDS: Final = 5.0


@dataclass(frozen=True, slots=True)
class Registration:
    """A search that was registered."""

    id: str
    document: JsonObject  #: in its one form
    metadata: JsonObject
    search: Search

    @property
    def bounds(self) -> BBox | None:
        """What the metadata says of where it lies, degrees."""
        return _bounds(self.metadata)


@dataclass(frozen=True, slots=True)
class Usage:
    """How a registered search was used."""

    count: int
    last_us: int  #: µs since 1970; the registration counts


class Registrations:
    """The registered searches of a catalog. One event loop."""

    def __init__(self, database: Database, *, clock: Callable[[], int] = now_us) -> None:
        """Take the database; `clock` answers microseconds since 1970 UTC."""
        self._database = database
        self._clock = clock
        self._known: OrderedDict[str, Registration] = OrderedDict()
        self._uses: Counter[str] = Counter()
        self._last: dict[str, int] = {}
        self._flushing: asyncio.Task[None] | None = None

    async def register(self, body: Mapping[str, Any]) -> Registration:
        """Keep a search; the same one again changes nothing.

        Raises:
            InvalidParameter, InvalidRequestBody: name the member that cannot be used.
        """
        made = read_registration(body)
        row = {
            "id": made.id,
            "search": orjson.dumps(made.document),
            "metadata": orjson.dumps(made.metadata),
            "now": self._clock(),
        }
        if not await self._database.read(lambda tx: tx.value(_EXISTS, row)):
            await self._database.write(lambda tx: tx.execute(_KEEP, row))
        self._remember(made)
        return made

    async def get(self, search_id: str) -> Registration:
        """A registered search.

        Raises:
            NotFound: nobody registered it.
        """
        known = self._known.get(search_id)
        if known is not None:
            self._known.move_to_end(search_id)
            return known
        row = None
        if _ID.fullmatch(search_id):
            row = await self._database.read(lambda tx: tx.one(_READ, {"id": search_id}))
        if row is None:
            message = f"There is no registered search {search_id[:40]!r}: POST it to /data/mosaic/register."
            raise NotFound(message, target="searchId")
        document = orjson.loads(row["search"])
        found = Registration(search_id, document, orjson.loads(row["metadata"]), parse_search(document))
        self._remember(found)
        return found

    async def usage(self, search_id: str) -> Usage:
        """How often it was used, and when last; what other processes counted arrives within seconds.

        Raises:
            NotFound: nobody registered it.
        """
        await self.flush()
        row = await self._database.read(lambda tx: tx.one(_USAGE, {"id": search_id}))
        if row is None:
            raise NotFound(f"There is no registered search {search_id[:40]!r}.", target="searchId")
        return Usage(row["usecount"], row["lastused"])

    def count(self, search_id: str) -> None:
        """It was used just now."""
        self._uses[search_id] += 1
        self._last[search_id] = self._clock()
        if self._flushing is None or self._flushing.done():
            self._flushing = asyncio.create_task(self._flush_later())

    async def flush(self) -> None:
        """Write down the uses that were counted."""
        uses, self._uses = self._uses, Counter()
        last, self._last = self._last, {}
        if not uses:
            return
        rows = [{"id": search_id, "n": n, "last": last[search_id]} for search_id, n in uses.items()]
        await self._database.write(lambda tx: _write_uses(tx, rows))

    async def close(self) -> None:
        """Write down what is left."""
        if self._flushing is not None:
            self._flushing.cancel()
            await asyncio.gather(self._flushing, return_exceptions=True)
        await self.flush()

    async def _flush_later(self) -> None:
        await asyncio.sleep(_FLUSH_SECONDS)
        try:
            await self.flush()
        except Exception as exc:  # noqa: BLE001 - the database is away: a count is lost, drawing goes on
            logger.warning("uses of searches were not counted: %s", type(exc).__name__, extra={"action": "uses_lost"})

    def _remember(self, registration: Registration) -> None:
        self._known[registration.id] = registration
        while len(self._known) > _KEPT:
            self._known.popitem(last=False)


def read_registration(body: Mapping[str, Any]) -> Registration:
    """A search as clients send it (models.md RegisterMosaic).

    Raises:
        InvalidParameter, InvalidRequestBody: name the member that cannot be used.
    """
    given = {name: value for name, value in body.items() if name in MEMBERS and value is not None}
    for alias, name in _ALIASES.items():
        if body.get(alias) is not None:
            given.setdefault(name, body[alias])
    document = _canonical(given, parse_search(given))
    metadata = _metadata(body.get("metadata"))
    # What is registered for is part of it, or one caller would change the name and the zooms of another's.
    named = [document] if metadata == _DEFAULT_METADATA else [document, metadata]
    digest = hashlib.sha256(orjson.dumps(named, option=orjson.OPT_SORT_KEYS)).hexdigest()[:32]
    return Registration(digest, document, metadata, parse_search(document))


# --- inside ----------------------------------------------------------------------------------------------------------

_EXISTS: Final = "SELECT 1 FROM registered_searches WHERE id = :id"
_KEEP: Final = """
    INSERT INTO registered_searches(id, search, metadata, created, lastused)
    VALUES (:id, :search, :metadata, :now, :now)
    ON CONFLICT (id) DO NOTHING"""
_READ: Final = "SELECT search, metadata FROM registered_searches WHERE id = :id"
_USAGE: Final = "SELECT usecount, lastused FROM registered_searches WHERE id = :id"
_COUNT: Final = """
    UPDATE registered_searches SET usecount = usecount + :n,
      lastused = CASE WHEN lastused < :last THEN :last ELSE lastused END
    WHERE id = :id"""


def _write_uses(tx: Connection, rows: list[dict[str, Any]]) -> None:
    for row in rows:
        tx.execute(_COUNT, row)


def _canonical(given: Mapping[str, Any], search: Search) -> JsonObject:
    """The one form of all ways to write a search: without what says nothing, names of a set in order."""
    document: JsonObject = {}
    for name in MEMBERS:
        value = given.get(name)
        if value is None or value in ([], {}, ""):
            continue
        document[name] = _plain(value)
    for name in _SETS:
        names = getattr(search, name)
        document.pop(name, None)
        if names:
            document[name] = sorted(names)
    if search.bbox is not None:
        box = search.bbox
        document["bbox"] = _plain([box.west, box.south, box.east, box.north])
    if "filter" not in document:
        document.pop("filter-lang", None)
    else:
        document["filter-lang"] = _language(document)
    if search.sortby:
        document["sortby"] = [
            {"field": ".".join(key.path), "direction": "desc" if key.descending else "asc"} for key in search.sortby
        ]
    return document


def _language(document: JsonObject) -> str:
    default = "cql2-text" if isinstance(document["filter"], str) else "cql2-json"
    return str(document.get("filter-lang") or default).lower()


def _plain(value: Any) -> Any:
    """The same JSON with 1.0 as 1, as some clients write whole numbers."""
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return int(value)
    if isinstance(value, dict):
        return {name: _plain(member) for name, member in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(member) for member in value]
    return value


def _metadata(value: Any) -> JsonObject:
    if value is None:
        return dict(_DEFAULT_METADATA)
    if not isinstance(value, dict) or len(orjson.dumps(value)) > _LONGEST_METADATA:
        raise InvalidRequestBody("metadata is no JSON object, or too large.", target="metadata")
    metadata = {**_DEFAULT_METADATA, **{name: member for name, member in value.items() if member is not None}}
    kind = metadata["type"]
    if not isinstance(kind, str) or kind.lower() not in _METADATA_TYPES:
        raise InvalidRequestBody("metadata.type is neither mosaic nor search.", target="metadata.type")
    metadata["type"] = kind.lower()
    for name in ("minzoom", "maxzoom"):
        zoom = metadata.get(name)
        if zoom is not None and (not isinstance(zoom, int) or isinstance(zoom, bool) or not 0 <= zoom <= 30):
            raise InvalidRequestBody(f"metadata.{name} is no zoom: give 0 to 30.", target=f"metadata.{name}")
    if not isinstance(metadata.get("name", ""), str):
        raise InvalidRequestBody("metadata.name is no text.", target="metadata.name")
    try:
        _bounds(metadata)
    except InvalidParameter as exc:
        raise InvalidRequestBody(f"metadata.bounds: {exc.message}", target="metadata.bounds") from None
    return metadata


def _bounds(metadata: Mapping[str, Any]) -> BBox | None:
    """``bounds`` of the metadata: a text ``w,s,e,n``, or numbers."""
    given = metadata.get("bounds")
    if given in (None, "", []):
        return None
    return parse_bbox(given.strip("[]() ") if isinstance(given, str) else given)
