"""Limits as clients meet them: long URLs, many corners, slow searches, hanging up; and the extent of a collection."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from starlette.requests import ClientDisconnect, Request
from starlette.types import Message

from api.asgi import Client
from api.conftest import COLLECTION
from graticule.api.patience import while_connected
from graticule.api.routing import MAX_URL_BYTES
from graticule.app import create_app
from graticule.ingestion.refreshing import Refreshing
from graticule.services import open_services
from graticule.settings import Settings


async def test_a_very_long_url_is_refused_with_its_remedy(admin: Client) -> None:
    answer = await admin.get("/stac/search?ids=" + "a" * MAX_URL_BYTES)
    assert (answer.status, answer.error["code"]) == (414, "UriTooLong")
    assert "POST /stac/search" in answer.error["message"]
    assert (await admin.get("/stac/search?ids=" + "a" * (MAX_URL_BYTES - 100))).status == 200


async def test_a_next_link_may_be_longer_than_what_it_follows(admin: Client) -> None:
    for name in ("x", "y"):
        assert (await admin.post("/stac/collections/naip/items", item(name))).status == 202
    ids = ",".join(["x", "y", "," * (MAX_URL_BYTES - 100)])
    first = (await admin.get(f"/stac/search?limit=1&ids={ids}")).json()
    following = next(link["href"] for link in first["links"] if link["rel"] == "next")
    assert len(following) > MAX_URL_BYTES
    second = await admin.get(following)
    assert [feature["id"] for page in (first, second.json()) for feature in page["features"]] == ["y", "x"]


@pytest.mark.parametrize(("corners", "status"), [(9_999, 200), (10_001, 400)])
async def test_a_shape_may_have_so_many_positions(admin: Client, corners: int, status: int) -> None:
    line = {"type": "LineString", "coordinates": [[0, n % 90] for n in range(corners)]}
    shape = {"type": "GeometryCollection", "geometries": [line]}
    answer = await admin.post("/stac/search", {"intersects": shape})
    assert answer.status == status
    if status == 400:
        assert answer.error["target"] == "intersects"
        assert "10001 positions; at most 10000" in answer.error["message"]


async def test_a_search_that_takes_too_long_is_refused_with_its_remedy(settings: Settings) -> None:
    async with open_services(settings.model_copy(update={"search_timeout": 1e-9})) as services:
        from datetime import timedelta  # noqa: PLC0415

        from graticule.access import Role  # noqa: PLC0415

        client = Client(create_app(services), services.issuer.issue(Role.ADMINISTRATOR, timedelta(hours=1)))
        await client.post("/stac/collections", COLLECTION)
        await client.post("/stac/collections/naip/items", item("x"))
        answer = await client.get("/stac/search")
    assert (answer.status, answer.error["code"]) == (400, "SearchTimedOut")
    assert "GRATICULE_SEARCH_TIMEOUT" in answer.error["message"]


def item(item_id: str, west: float = 5, **properties: Any) -> dict[str, Any]:
    return {
        "type": "Feature", "stac_version": "1.0.0", "id": item_id, "collection": "naip", "links": [], "assets": {},
        "geometry": {"type": "Point", "coordinates": [west, 5]}, "bbox": [west, 5, west, 5],
        "properties": {"datetime": "2021-06-01T00:00:00Z", **properties},
    }  # fmt: skip


# --- hanging up ------------------------------------------------------------------------------------------------------


def request_that(messages: list[Message]) -> Request:
    async def receive() -> Message:
        if not messages:
            await asyncio.Event().wait()
        return messages.pop(0)

    return Request({"type": "http", "method": "GET", "headers": []}, receive)


async def test_work_is_cancelled_when_the_client_hangs_up() -> None:
    ended = asyncio.Event()

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    leaving: list[Message] = [{"type": "http.request", "body": b""}, {"type": "http.disconnect"}]
    with pytest.raises(ClientDisconnect):
        await while_connected(request_that(leaving), work())
    async with asyncio.timeout(10):
        await ended.wait()


async def test_work_goes_on_while_the_client_waits() -> None:
    async def work() -> int:
        await asyncio.sleep(0.4)  # longer than nobody looks
        return 5

    assert await while_connected(request_that([{"type": "http.request", "body": b""}]), work()) == 5


async def test_what_goes_wrong_is_told() -> None:
    async def work() -> None:
        raise LookupError

    with pytest.raises(LookupError):
        await while_connected(request_that([]), work())


# --- extents ---------------------------------------------------------------------------------------------------------


async def test_a_collection_shows_the_extent_of_its_items_and_keeps_its_owners(admin: Client) -> None:
    url = "/stac/collections/naip"
    for name, west in (("x", 5), ("y", 7)):
        await admin.post(f"{url}/items", item(name, west, gsd=west))
    shown = (await admin.get(url)).json()
    assert shown["extent"]["spatial"]["bbox"] == [[5, 5, 7, 5]]
    assert shown["extent"]["temporal"]["interval"] == [["2021-06-01T00:00:00Z", None]]
    assert shown["summaries"] == {"gsd": [5, 7]}
    listed = (await admin.get("/stac/collections")).json()["collections"]
    assert listed == [shown]
    changed = await admin.put(url, {**shown, "title": "new"})
    assert (changed.status, changed.json()["title"], changed.json()["extent"]) == (200, "new", shown["extent"])
    for name in ("x", "y"):
        await admin.delete(f"{url}/items/{name}")
    emptied = (await admin.get(url)).json()
    assert emptied["extent"] == COLLECTION["extent"]
    assert "summaries" not in emptied


async def test_a_worker_makes_the_extent_exact_again(admin: Client, services: Any) -> None:
    url = "/stac/collections/naip"
    for west in (5, 7, 9):
        await admin.post(f"{url}/items", item(f"{west}", west))
    await admin.delete(f"{url}/items/9")
    await admin.delete(f"{url}/items/5")
    jobs = services.database.read_now(
        lambda tx: tx.all("SELECT args FROM procrastinate_jobs WHERE task_name = 'refresh_collection'")
    )
    assert len(jobs) == 1

    class Owner:
        def still_ours(self, _tx: Any) -> None:
            pass

    await Refreshing(services.database, services.engine).refresh(Owner(), "naip")  # type: ignore[arg-type]
    assert (await admin.get(url)).json()["extent"]["spatial"]["bbox"] == [[7, 5, 7, 5]]
