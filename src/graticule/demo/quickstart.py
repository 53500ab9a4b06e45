"""The published quickstart, played over HTTP as a client would: the same calls, in the same order and shape.

A Collection is read from a public catalog and made anew in ours, configured for display; four Items get a SAS token on
every href and are posted; their operation is polled at ``location``; then they are listed, searched and downloaded
through a signed URL, and at the end deleted. Each step checks what it is answered, and the first that does not hold
ends the play.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import quote, urlencode

import aiohttp
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from yarl import URL

from graticule.demo.documents import COLLECTION_ID, JsonObject
from graticule.demo.scenes import CLASSES
from graticule.errors import GraticuleError

#: The Items that the quickstart takes.
ITEM_IDS = ("23M-2023", "23L-2023", "24M-2023", "24L-2023")
#: The Collection that it makes of them.
TARGET_ID = "mpc-quickstart"
API_VERSION = "2025-04-30-preview"
#: How long the signed URL that is shown stays good, minutes.
SIGNED_MINUTES = 60

_TIFF_HEADERS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_GOING_ON = {"Pending", "Running"}


class QuickstartFailed(GraticuleError):
    """A step of the quickstart did not work."""

    code = "QuickstartFailed"


class SourceUnreachable(GraticuleError):
    """The open Planetary Computer cannot be reached."""

    code = "SourceUnreachable"


@dataclass(frozen=True)
class Ingested:
    """What became of one Item."""

    item_id: str
    assets: int
    #: What the catalog had to fetch, and what it holds now.
    bytes_in: int
    bytes_out: int
    #: From the post to its publication.
    seconds: float


@dataclass(frozen=True)
class Outcome:
    """What a play shows at its end."""

    items: tuple[Ingested, ...]
    #: Opens without any other credential; None when the data was deleted again.
    signed_url: str | None


class Quickstart:
    """One play against one catalog."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        console: Console,
        *,
        catalog_url: str,
        source_url: str,
        token: str,
    ) -> None:
        """Both URLs without a slash at the end; ``token`` is a bearer token of an administrator."""
        self._session = session
        self._console = console
        self._catalog = catalog_url
        self._source = source_url
        self._headers = {"Authorization": f"Bearer {token}"}
        self._collection: JsonObject = {}
        self._thumbnail = b""
        self._items: JsonObject = {}
        self._operation: JsonObject = {}
        self._stored: list[JsonObject] = []
        self._signed_url = ""

    async def play(self, *, clean_up: bool) -> Outcome:
        """Play all steps; with ``clean_up`` the last two too, which delete an Item and the Collection.

        Raises:
            QuickstartFailed: a step did not work; the message names it.
        """
        steps: list[tuple[str, Callable[[], Awaitable[str]]]] = [
            ("Read the collection at the source", self._read_source),
            ("Create the collection", self._create_collection),
            ("Add a render option", self._add_render_option),
            ("Add a mosaic", self._add_mosaic),
            ("Set the tile settings", self._set_tiles),
            ("Upload the thumbnail", self._upload_thumbnail),
            ("Find four items, sign their hrefs", self._find_items),
            ("Post the items", self._post_items),
            ("Wait for the operation", self._wait_for_items),
            ("List the items", self._list_items),
            ("Search for them", self._search),
            ("Download through a signed URL", self._download),
        ]
        total = len(steps) + (2 if clean_up else 0)
        for number, (name, step) in enumerate(steps, start=1):
            await self._run(number, total, name, step)
        items = await self._measure()
        if not clean_up:
            return Outcome(items, self._signed_url)
        await self._run(total - 1, total, "Delete an item", self._delete_item)
        await self._run(total, total, "Delete the collection", self._delete_collection)
        return Outcome(items, None)

    async def _run(self, number: int, total: int, name: str, step: Callable[[], Awaitable[str]]) -> None:
        try:
            result = await step()
        except QuickstartFailed as exc:
            raise QuickstartFailed(f"Step {number} ({name}): {exc.message}") from exc
        except (aiohttp.ClientError, TimeoutError, EOFError) as exc:
            raise QuickstartFailed(f"Step {number} ({name}): {type(exc).__name__} instead of an answer.") from exc
        except (KeyError, TypeError, ValueError, IndexError) as exc:
            raise QuickstartFailed(f"Step {number} ({name}): the answer lacks what it should have ({exc!r}).") from exc
        self._console.print(
            f"[bold]{number:2}/{total}[/bold]  {name:<36}[green]{escape(result)}[/green]", soft_wrap=True
        )

    # --- the collection

    async def _read_source(self) -> str:
        collection = await self._json("GET", f"{self._source}/api/stac/v1/collections/{COLLECTION_ID}")
        thumbnail = collection["assets"]["thumbnail"]["href"]
        self._thumbnail = await self._bytes(thumbnail)
        collection.pop("assets")
        collection["id"] = TARGET_ID
        collection["title"] += " (Quickstart)"
        self._collection = collection
        return f"{COLLECTION_ID}, thumbnail {_size(len(self._thumbnail))}"

    async def _create_collection(self) -> str:
        await self._json("POST", self._stac("collections"), expect=202, json=self._collection)
        read = await self._json("GET", self._stac("collections", TARGET_ID))
        _expect(read["id"] == TARGET_ID, "the collection that is read back has another id")
        return TARGET_ID

    async def _add_render_option(self) -> str:
        colours = {code: (*colour, 255 if code else 0) for code, (_, colour) in CLASSES.items()}
        colormap = urlencode({"colormap": json.dumps(colours)})
        option = {
            "id": "default",
            "name": "Default",
            "description": "Land cover in the colours of its classes",
            "type": "raster-tile",
            "options": f"assets=data&exitwhenfull=False&skipcovered=False&{colormap}",
            "minZoom": 6,
        }
        await self._json("POST", self._configuration("render-options"), expect=201, json=option)
        return "default"

    async def _add_mosaic(self) -> str:
        mosaic = {"id": "most-recent", "name": "Most recent", "description": "The newest of each place", "cql": []}
        await self._json("POST", self._configuration("mosaics"), expect=201, json=mosaic)
        return "most-recent"

    async def _set_tiles(self) -> str:
        await self._json("PUT", self._configuration("tile-settings"), json={"minZoom": 6, "maxItemsPerTile": 35})
        return "from zoom 6"

    async def _upload_thumbnail(self) -> str:
        form = aiohttp.FormData()
        form.add_field("file", self._thumbnail, filename="thumbnail.png", content_type="image/png")
        asset = {"key": "thumbnail", "href": "", "type": "image/png", "roles": ["thumbnail"], "title": "Thumbnail"}
        form.add_field("data", json.dumps(asset))
        await self._json("POST", self._stac("collections", TARGET_ID, "assets"), expect=201, data=form)
        stored = await self._bytes(self._stac("collections", TARGET_ID, "thumbnail"), headers=self._headers)
        _expect(stored == self._thumbnail, "the thumbnail that is read back is not the one that was sent")
        return _size(len(stored))

    # --- the items

    async def _find_items(self) -> str:
        found = await self._json(
            "GET",
            f"{self._source}/api/stac/v1/search",
            params={"collections": COLLECTION_ID, "ids": ",".join(ITEM_IDS)},
        )
        _expect(len(found["features"]) == len(ITEM_IDS), f"the source has {len(found['features'])} of the four items")
        token = (await self._json("GET", f"{self._source}/api/sas/v1/token/{COLLECTION_ID}"))["token"]
        for item in found["features"]:
            item["collection"] = TARGET_ID
            for asset in item["assets"].values():
                asset["href"] = f"{asset['href']}?{token}"
        self._items = found
        announced = sum(asset.get("file:size", 0) for item in found["features"] for asset in item["assets"].values())
        return f"{len(ITEM_IDS)} items, {_size(announced)}"

    async def _post_items(self) -> str:
        async with self._request("POST", self._stac("collections", TARGET_ID, "items"), json=self._items) as response:
            await _check(response, 202)
            self._operation = {**await response.json(), "location": response.headers["location"]}
        return f"202, operation {self._operation['id']}"

    async def _wait_for_items(self) -> str:
        columns = (SpinnerColumn(), TextColumn("       {task.description:<34}"), BarColumn(), MofNCompleteColumn())
        quiet = not self._console.is_terminal
        with Progress(*columns, TimeElapsedColumn(), console=self._console, transient=True, disable=quiet) as progress:
            bar = progress.add_task("items in the catalog", total=len(self._items["features"]))

            def show(operation: JsonObject) -> None:
                progress.update(bar, completed=operation.get("totalSuccessfulItems", 0))

            operation = await self._poll(self._operation["location"], show)
        self._operation |= operation
        seconds = _moment(operation["finishTime"]) - _moment(operation["creationTime"])
        return f"{operation['status']} after {seconds.total_seconds():.1f} s"

    async def _list_items(self) -> str:
        listed = await self._json("GET", self._stac("collections", TARGET_ID, "items"))
        _expect(
            sorted(item["id"] for item in listed["features"]) == sorted(ITEM_IDS), "the list has not the four items"
        )
        self._stored = listed["features"]
        return f"{len(self._stored)} items"

    async def _search(self) -> str:
        # `collection`, in the singular, is how the published quickstart writes it.
        found = await self._json("GET", self._stac("search"), params={"collection": TARGET_ID})
        _expect(len(found["features"]) == len(ITEM_IDS), f"the search found {len(found['features'])} items")
        return f"{len(found['features'])} items"

    async def _download(self) -> str:
        # The last of the four came as a striped GeoTIFF from the demo's own source.
        asset = next(item for item in self._stored if item["id"] == ITEM_IDS[-1])["assets"]["data"]
        async with self._session.get(_exact(asset["href"])) as response:
            _expect(response.status in {403, 409}, f"an unsigned href answers {response.status}")
        sign = {"href": asset["href"], "duration": str(SIGNED_MINUTES)}
        signed = (await self._json("GET", f"{self._catalog}/sas/sign", params=sign))["href"]
        async with self._session.get(_exact(signed)) as response:  # no bearer token: the signature is enough
            await _check(response, 200)
            start = await response.content.readexactly(4)
            received = len(start) + sum([len(chunk) async for chunk in response.content.iter_chunked(1 << 20)])
        _expect(start in _TIFF_HEADERS, "what the signed URL gives is no TIFF")
        _expect(received == response.content_length, "the download is shorter than announced")
        _expect("cloud-optimized" in asset["type"], "the stored asset is not called cloud-optimized")
        self._signed_url = signed
        return f"{_size(received)}, TIFF"

    # --- the end

    async def _delete_item(self) -> str:
        url = self._stac("collections", TARGET_ID, "items", ITEM_IDS[0])
        await self._delete(url)
        return ITEM_IDS[0]

    async def _delete_collection(self) -> str:
        await self._delete(self._stac("collections", TARGET_ID))
        return TARGET_ID

    async def _delete(self, url: str) -> None:
        async with self._request("DELETE", url) as response:
            await _check(response, 202)
            location = response.headers["location"]
        await self._poll(location)
        async with self._request("GET", url) as response:
            _expect(response.status == 404, f"it answers {response.status} after it was deleted")

    # --- figures

    async def _measure(self) -> tuple[Ingested, ...]:
        """Sizes by HEAD at both ends, and when each Item was published."""
        try:
            token = (await self._json("GET", f"{self._catalog}/sas/token/{TARGET_ID}"))["token"]
            sent = {item["id"]: item for item in self._items["features"]}
            begun = _moment(self._operation["creationTime"])
            measured = []
            for item in sorted(self._stored, key=lambda stored: ITEM_IDS.index(stored["id"])):
                assets = item["assets"].values()
                managed = [await self._length(f"{asset['href']}?{token}") for asset in assets]
                fetched = [await self._length(asset["href"]) for asset in sent[item["id"]]["assets"].values()]
                published = _moment(item.get("_msft:ts") or self._operation["finishTime"])
                seconds = max(0.0, (published - begun).total_seconds())
                measured.append(Ingested(item["id"], len(assets), sum(fetched), sum(managed), seconds))
        except (aiohttp.ClientError, TimeoutError, KeyError, ValueError) as exc:
            raise QuickstartFailed(f"The sizes of the assets cannot be read ({type(exc).__name__}).") from exc
        return tuple(measured)

    async def _length(self, href: str) -> int:
        """By HEAD; a service that knows no HEAD is read instead."""
        async with self._session.head(_exact(href), allow_redirects=True) as response:
            if response.status == 200 and response.content_length is not None:
                return response.content_length
        return len(await self._bytes(href))

    # --- inside

    def _stac(self, *path: str) -> str:
        return "/".join((self._catalog, "stac", *(quote(part, safe="") for part in path)))

    def _configuration(self, kind: str) -> str:
        return self._stac("collections", TARGET_ID, "configurations", kind)

    def _request(self, method: str, url: str, **options: Any) -> Any:
        """A request to either side: the catalog's get its token and api-version, the source's get neither."""
        if url.startswith(f"{self._catalog}/"):
            options["headers"] = self._headers
            options["params"] = {"api-version": API_VERSION, **options.get("params", {})}
        return self._session.request(method, url, **options)

    async def _json(self, method: str, url: str, *, expect: int = 200, **options: Any) -> JsonObject:
        async with self._request(method, url, **options) as response:
            await _check(response, expect)
            answer = await response.json(content_type=None)
        _expect(isinstance(answer, dict), "the answer is no JSON object")
        return dict(answer)

    async def _bytes(self, url: str, *, headers: dict[str, str] | None = None) -> bytes:
        async with self._session.get(_exact(url), headers=headers) as response:
            await _check(response, 200)
            return bytes(await response.read())

    async def _poll(self, location: str, show: Callable[[JsonObject], None] = lambda _operation: None) -> JsonObject:
        """Read ``location`` as it was given until the operation has ended.

        Raises:
            QuickstartFailed: it ended otherwise than ``Succeeded``.
        """
        while True:
            async with self._session.get(_exact(location), headers=self._headers) as response:
                await _check(response, 200)
                operation: JsonObject = await response.json()
                pause = min(float(response.headers.get("Retry-After", 1)), 2.0)
            show(operation)
            if operation["status"] not in _GOING_ON:
                break
            await asyncio.sleep(pause)
        _expect(operation["status"] == "Succeeded", f"the operation ended {_ending(operation)}")
        return operation


async def read_collection(session: aiohttp.ClientSession, source_url: str) -> None:
    """Is the source there?

    Raises:
        SourceUnreachable: it is not, or has not the quickstart's Collection.
    """
    url = f"{source_url}/api/stac/v1/collections/{COLLECTION_ID}"
    remedy = "check the connection, or leave out --live to play from the demo's own source"
    try:
        async with session.get(url, timeout=aiohttp.ClientTimeout(total=15)) as response:
            if response.status != 200:
                raise SourceUnreachable(f"{source_url} answers {response.status}: {remedy}.")
    except (aiohttp.ClientError, TimeoutError) as exc:
        raise SourceUnreachable(f"{source_url} cannot be reached ({type(exc).__name__}): {remedy}.") from exc


def _exact(url: str) -> URL:
    """The URL byte for byte: a second ``?`` and escapes stay as they are."""
    return URL(url, encoded=True)


def _expect(claim: bool, otherwise: str) -> None:
    if not claim:
        raise QuickstartFailed(f"{otherwise}.")


async def _check(response: aiohttp.ClientResponse, expected: int) -> None:
    """The status must be the declared one. The message shows the path alone: queries may hold signatures."""
    if response.status == expected:
        return
    text = await response.text()
    try:
        error = json.loads(text)["error"]
        reason = f"{error['code']}: {error['message']}"
    except (ValueError, KeyError, TypeError):
        reason = text[:200].strip() or "no reason given"
    raise QuickstartFailed(
        f"{response.method} {response.url.path} answers {response.status} instead of {expected} ({reason})."
    )


def _ending(operation: JsonObject) -> str:
    history: Sequence[JsonObject] = operation.get("statusHistory", [])
    reasons = [f"{entry['errorCode']}: {entry.get('errorMessage', '')}" for entry in history if entry.get("errorCode")]
    return f"{operation['status']} ({'; '.join(reasons) or 'no reason given'})"


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _size(count: int) -> str:
    return f"{count / 1_000_000:.1f} MB" if count >= 100_000 else f"{count / 1000:.1f} kB"
