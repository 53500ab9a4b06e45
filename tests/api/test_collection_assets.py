"""Collection assets and thumbnails over HTTP (api.md 2.3)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from api.asgi import BASE, Answer, Client
from graticule.ingestion.uploads import incoming_file
from graticule.services import Services
from graticule.storage import ledger

ASSETS = "/stac/collections/naip/assets"
THUMBNAIL = "/stac/collections/naip/thumbnail"
PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 8
VERSION = "?api-version=2026-04-15"
BOUNDARY = "5a657a9608420ad9beea42dc8c3ce1e3"
DATA: dict[str, Any] = {
    "key": "thumbnail",
    "type": "image/png",
    "roles": ["thumbnail"],
    "title": "Thumbnail",
    "description": "A picture",
}


def file_part(content: bytes = PNG, *, name: str | None = "thumb.png", media_type: str | None = "image/png") -> bytes:
    head = b'Content-Disposition: form-data; name="file"'
    head += f'; filename="{name}"'.encode() if name is not None else b""
    head += f"\r\nContent-Type: {media_type}".encode() if media_type is not None else b""
    return head + b"\r\n\r\n" + content


def data_part(data: Any, *, name: str | None = None) -> bytes:
    head = b'Content-Disposition: form-data; name="data"' + (f'; filename="{name}"'.encode() if name else b"")
    return head + b"\r\n\r\n" + (data if isinstance(data, bytes) else json.dumps(data).encode())


def form(*parts: bytes, close: bool = True) -> bytes:
    body = b"".join(b"--" + BOUNDARY.encode() + b"\r\n" + part + b"\r\n" for part in parts)
    return body + (b"--" + BOUNDARY.encode() + b"--\r\n" if close else b"")


async def upload(client: Client, body: bytes, *, key: str | None = None, pieces: int | None = None) -> Answer:
    """Send a form as the SDK does; `pieces` cuts it into chunks of so many bytes."""
    headers = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
    sent = [body[start : start + pieces] for start in range(0, len(body), pieces)] if pieces else body
    url = ASSETS if key is None else f"{ASSETS}/{key}"
    return await client.send("POST" if key is None else "PUT", url + VERSION, sent, headers=headers)


def stored_files(services: Services) -> Iterator[Path]:
    return (path for path in services.settings.assets_dir.rglob("*") if path.is_file())


def blobs(services: Services) -> list[tuple[str, str]]:
    return services.database.read_now(
        lambda tx: [(row[0], row[1]) for row in tx.all("SELECT asset_key, state FROM blobs ORDER BY created, key")]
    )


# --- adding


async def test_an_asset_is_added_as_the_sdk_sends_it(admin: Client) -> None:
    answer = await upload(admin, form(file_part(), data_part(DATA)))
    assert answer.status == 201
    collection = answer.json()
    asset = dict(collection["assets"]["thumbnail"])
    href = asset.pop("href")
    assert asset == {name: value for name, value in DATA.items() if name != "key"}
    path = urlsplit(href).path.split("/")
    assert href.startswith(f"{BASE}/blobs/naip-")
    assert path[3:5] == ["collection-assets", "thumbnail"]
    assert path[-1] == "thumb.png"
    assert {link["rel"] for link in collection["links"]} >= {"self", "items", "license"}
    assert (await admin.get(f"/stac/collections/naip{VERSION}")).json() == collection


async def test_the_bytes_can_be_read_by_signed_url_and_by_none_other(admin: Client, reader: Client) -> None:
    await upload(admin, form(file_part(), data_part(DATA)))
    signed = (await reader.get("/stac/collections/naip?sign=true")).json()["assets"]["thumbnail"]["href"]
    answer = await reader.get(signed)
    assert (answer.status, answer.body, answer.headers["content-type"]) == (200, PNG, "image/png")
    assert (await reader.get(signed.split("?")[0])).status == 409


async def test_the_tutorials_description_is_enough(admin: Client) -> None:
    sent = {"key": "thumbnail", "href": "", "type": "image/png", "roles": ["test_asset"], "title": "test_asset"}
    asset = (await upload(admin, form(data_part(sent), file_part()))).json()["assets"]["thumbnail"]
    assert asset["href"].startswith(BASE)
    assert "description" not in asset


@pytest.mark.parametrize("pieces", [1, 7, 1000])
async def test_a_form_may_arrive_in_any_pieces(admin: Client, services: Services, pieces: int) -> None:
    answer = await upload(admin, form(file_part(), data_part(DATA)), pieces=pieces)
    assert answer.status == 201
    assert [path.read_bytes() for path in stored_files(services)] == [PNG]


@pytest.mark.parametrize(
    ("part", "media_type", "ending"),
    [
        (file_part(name=None, media_type="application/octet-stream"), None, "/thumbnail"),
        (file_part(name="map.jpg", media_type="application/octet-stream"), "image/jpeg", "/map.jpg"),
        (file_part(name="C:/maps\\b ü.PNG", media_type=None), "image/png", ".png"),
    ],
    ids=["no file name", "no media type", "a name that is no key"],
)
async def test_a_file_needs_neither_name_nor_media_type(
    admin: Client, part: bytes, media_type: str | None, ending: str
) -> None:
    asset = (await upload(admin, form(part, data_part({"key": "thumbnail"})))).json()["assets"]["thumbnail"]
    assert asset.get("type") == media_type
    assert asset["href"].endswith(ending)
    assert "maps" not in asset["href"]
    picture = await admin.get(THUMBNAIL)
    assert picture.body == PNG
    assert picture.headers["content-type"] == (media_type or "application/octet-stream")


async def test_a_description_sent_as_a_file_is_read_all_the_same(admin: Client) -> None:
    assert (await upload(admin, form(file_part(), data_part(DATA, name="data.json")))).status == 201


async def test_members_that_nobody_knows_are_kept(admin: Client) -> None:
    sent = {**DATA, "proj:epsg": 4326, "file:size": None}
    asset = (await upload(admin, form(file_part(), data_part(sent)))).json()["assets"]["thumbnail"]
    assert asset["proj:epsg"] == 4326
    assert "file:size" not in asset


async def test_a_key_that_exists_is_a_conflict_and_changes_nothing(admin: Client, services: Services) -> None:
    before = (await upload(admin, form(file_part(), data_part(DATA)))).json()
    again = await upload(admin, form(file_part(b"other"), data_part(DATA)))
    assert (again.status, again.error["code"]) == (409, "Conflict")
    assert (await admin.get(f"/stac/collections/naip{VERSION}")).json() == before
    assert blobs(services) == [("thumbnail", "live")]


async def test_of_two_uploads_under_one_key_one_wins(admin: Client, services: Services) -> None:
    bodies = [form(file_part(content), data_part(DATA)) for content in (b"first", b"second")]
    answers = await asyncio.gather(*(upload(admin, body) for body in bodies))
    assert sorted(answer.status for answer in answers) == [201, 409]
    winner = b"first" if answers[0].status == 201 else b"second"
    assert (await admin.get(THUMBNAIL)).body == winner
    assert sorted(blobs(services)) in ([("thumbnail", "dead"), ("thumbnail", "live")], [("thumbnail", "live")])


async def test_foreign_assets_of_a_collection_stay_beside_managed_ones(admin: Client) -> None:
    foreign = {"href": "https://example.com/items.parquet?x=1", "type": "application/x-parquet"}
    document = (await admin.get("/stac/collections/naip")).json()
    await admin.put("/stac/collections/naip", {**document, "assets": {"geoparquet-items": foreign}})
    assets = (await upload(admin, form(file_part(), data_part(DATA)))).json()["assets"]
    assert assets["geoparquet-items"] == foreign
    assert list(assets) == ["geoparquet-items", "thumbnail"]


async def test_a_collection_read_changed_and_put_back_keeps_its_assets(admin: Client) -> None:
    document = (await upload(admin, form(file_part(), data_part(DATA)))).json()
    signed = (await admin.get("/stac/collections/naip?sign=true")).json()
    for sent in (document, signed):
        put = await admin.put("/stac/collections/naip", {**sent, "title": "NAIP"})
        assert put.json()["assets"] == document["assets"]
        assert (await admin.get(THUMBNAIL)).body == PNG


# --- replacing, removing


async def test_replacing_switches_href_and_bytes_and_buries_the_old_ones(admin: Client, services: Services) -> None:
    before = (await upload(admin, form(file_part(), data_part(DATA)))).json()["assets"]["thumbnail"]
    description = {"type": "image/jpeg", "roles": ["thumbnail", "overview"]}
    body = form(file_part(b"\xff\xd8\xff", name="thumb.jpg", media_type="image/jpeg"), data_part(description))
    answer = await upload(admin, body, key="thumbnail")
    assert answer.status == 200
    after = answer.json()["assets"]["thumbnail"]
    assert after["href"] != before["href"]
    assert {name: value for name, value in after.items() if name != "href"} == description
    picture = await admin.get(THUMBNAIL)
    assert (picture.body, picture.headers["content-type"]) == (b"\xff\xd8\xff", "image/jpeg")
    assert blobs(services) == [("thumbnail", "dead"), ("thumbnail", "live")]


async def test_an_item_blob_that_a_collection_shows_is_not_buried_with_the_asset(
    admin: Client, services: Services
) -> None:
    document = (await admin.get("/stac/collections/naip")).json()

    def add_item_blob(tx: Any) -> str:
        container = ledger.open_container(tx, "naip")
        names = {"container": container, "key": "0123456789ab/scene/preview.png"}
        rest = {"collection_id": "naip", "item_id": "scene", "operation_id": "op", "asset_key": "preview"}
        ledger.plan(tx, **names, **rest, media_type="image/png")
        ledger.stored(tx, **names, size=1, sha256="0" * 64, etag=None)
        ledger.publish(tx, "op", "scene")
        return services.hrefs.public(**names, base=BASE)

    href = services.database.write_now(add_item_blob)
    await admin.put("/stac/collections/naip", {**document, "assets": {"thumbnail": {"href": href}}})
    assert (await admin.delete(f"{ASSETS}/thumbnail")).status == 200
    assert blobs(services) == [("preview", "live")]


async def test_removing_answers_the_collection_without_the_asset(admin: Client, services: Services) -> None:
    await upload(admin, form(file_part(), data_part(DATA)))
    answer = await admin.delete(f"{ASSETS}/thumbnail?api-version=2026-04-15")
    assert answer.status == 200
    assert answer.json()["id"] == "naip"
    assert "assets" not in answer.json()
    assert blobs(services) == [("thumbnail", "dead")]
    assert (await admin.get(THUMBNAIL)).status == 404
    assert (await upload(admin, form(file_part(), data_part(DATA)))).status == 201


async def test_an_unknown_key_is_not_found(admin: Client) -> None:
    for answer in (
        await admin.delete(f"{ASSETS}/no-such"),
        await upload(admin, form(file_part(), data_part(DATA)), key="no-such"),
    ):
        assert answer.status == 404
        assert "no-such" in answer.error["message"]


async def test_a_description_may_not_name_another_key_than_the_url(admin: Client) -> None:
    await upload(admin, form(file_part(), data_part(DATA)))
    answer = await upload(admin, form(file_part(), data_part({**DATA, "key": "other"})), key="thumbnail")
    assert (answer.status, answer.error["target"]) == (400, "data.key")


# --- the thumbnail


async def test_a_collection_without_a_thumbnail_has_none(reader: Client, admin: Client) -> None:
    assert (await reader.get(THUMBNAIL)).status == 404
    await upload(admin, form(file_part(), data_part({**DATA, "key": "other"})))
    assert (await reader.get(THUMBNAIL)).status == 404


async def test_a_thumbnail_is_a_picture_and_asked_for_again_costs_nothing(admin: Client, reader: Client) -> None:
    await upload(admin, form(file_part(), data_part(DATA)))
    answer = await reader.get(THUMBNAIL)
    assert (answer.status, answer.body, answer.headers["content-type"]) == (200, PNG, "image/png")
    assert answer.headers["cache-control"] == "private, no-cache"
    again = await reader.send("GET", THUMBNAIL, headers={"If-None-Match": answer.headers["etag"]})
    assert (again.status, again.body) == (304, b"")
    head = await reader.send("HEAD", THUMBNAIL)
    assert (head.status, head.headers["content-length"], head.body) == (200, str(len(PNG)), b"")


async def test_a_thumbnail_elsewhere_is_pointed_to(admin: Client, reader: Client) -> None:
    document = (await admin.get("/stac/collections/naip")).json()
    for href, status in (("https://example.com/naip.png?v=2", 302), ("./naip.png", 404), ("javascript:x", 404)):
        await admin.put("/stac/collections/naip", {**document, "assets": {"thumbnail": {"href": href}}})
        answer = await reader.get(THUMBNAIL)
        assert answer.status == status
        assert status != 302 or answer.headers["location"] == href


async def test_a_media_type_that_no_header_can_carry_does_not_break_the_answer(admin: Client) -> None:
    await upload(admin, form(file_part(), data_part({**DATA, "type": "image/png\r\nx-evil: 1"})))
    answer = await admin.get(THUMBNAIL)
    assert (answer.status, answer.headers["content-type"]) == (200, "application/octet-stream")


# --- bad forms


@pytest.mark.parametrize(
    ("body", "target"),
    [
        (form(data_part(DATA)), "file"),
        (form(file_part()), "data"),
        (form(file_part(), data_part(b"{key: thumbnail}")), "data"),
        (form(file_part(), data_part([DATA])), "data"),
        (form(file_part(), file_part(), data_part(DATA)), "file"),
        (form(file_part(b""), data_part(DATA)), "file"),
        (form(file_part(), data_part({"title": "no key"})), "data.key"),
        (form(file_part(), data_part({**DATA, "key": "a/b"})), "data.key"),
        (form(file_part(), data_part({**DATA, "key": 7})), "data.key"),
        (form(file_part(), data_part({**DATA, "key": "k" * 256})), "data.key"),
        (form(file_part(), data_part({**DATA, "roles": "thumbnail"})), "data.roles"),
        (form(file_part(), data_part({**DATA, "title": 1})), "data.title"),
        (form(file_part(), data_part(DATA), close=False), None),
        (form(file_part(), data_part(b" " * 1_000_001)), None),
        (form(*[data_part(DATA)] * 21), None),
        (b"not a form", None),
        (b"", None),
    ],
)
async def test_a_bad_form_is_refused_and_leaves_nothing(
    admin: Client, services: Services, body: bytes, target: str | None
) -> None:
    answer = await upload(admin, body)
    assert (answer.status, answer.error["code"]) == (400, "InvalidRequestBody")
    assert answer.error.get("target") == target
    assert list(stored_files(services)) == []
    assert list(services.settings.uploads_dir.iterdir()) == []
    assert [state for _, state in blobs(services)] == []


@pytest.mark.parametrize("content_type", ["application/json", "multipart/form-data", "multipart/form-data; boundary="])
async def test_another_content_type_is_refused(admin: Client, content_type: str) -> None:
    headers = {"Content-Type": content_type}
    answer = await admin.send("POST", ASSETS, form(file_part(), data_part(DATA)), headers=headers)
    assert (answer.status, answer.error["target"]) == (400, "Content-Type")


async def test_a_form_over_the_limit_is_too_large(admin: Client, services: Services) -> None:
    body = form(file_part(bytes(services.settings.max_body_bytes)), data_part(DATA))
    answer = await upload(admin, body, pieces=100_000)
    assert (answer.status, answer.error["code"]) == (413, "RequestBodyTooLarge")
    assert list(stored_files(services)) == []
    assert list(services.settings.uploads_dir.iterdir()) == []


async def test_a_large_file_goes_through_the_disk_unharmed(admin: Client, services: Services) -> None:
    content = bytes(range(256)) * 9000
    assert (await upload(admin, form(file_part(content), data_part(DATA)), pieces=65536)).status == 201
    assert (await admin.get(THUMBNAIL)).body == content
    assert list(services.settings.uploads_dir.iterdir()) == []


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
async def test_only_administrators_change_assets(reader: Client, stranger: Client, method: str) -> None:
    url = ASSETS if method == "POST" else f"{ASSETS}/thumbnail"
    assert (await stranger.send(method, url)).status == 401
    assert (await reader.send(method, url)).status == 403


async def test_an_unknown_collection_is_not_found_before_the_form_is_read(admin: Client) -> None:
    for method, url in (("POST", "assets"), ("PUT", "assets/a"), ("DELETE", "assets/a"), ("GET", "thumbnail")):
        answer = await admin.send(method, f"/stac/collections/no-such/{url}", b"not a form")
        assert answer.status == 404


# --- crashes


async def test_what_a_killed_process_left_is_given_up(services: Services, admin: Client) -> None:
    folder = services.settings.uploads_dir
    folder.mkdir()
    dead = folder / "dead-upload"
    dead.write_bytes(PNG)

    def plan(tx: Any) -> None:
        container = ledger.open_container(tx, "naip")
        names = {"collection_id": "naip", "operation_id": dead.name, "asset_key": "thumbnail"}
        ledger.plan(tx, container=container, key="collection-assets/x", item_id=None, media_type=None, **names)

    services.database.write_now(plan)
    with incoming_file(folder) as (alive, _):
        await services.collection_assets.recover()
        assert alive.exists(), "a running upload is left alone"
    assert blobs(services) == [("thumbnail", "dead")]
    assert not dead.exists()
    assert (await upload(admin, form(file_part(), data_part(DATA)))).status == 201


async def test_a_failing_storage_leaves_no_announced_blob(
    services: Services, admin: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: Any) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(services.store, "put_file", fail)
    assert (await upload(admin, form(file_part(), data_part(DATA)))).status == 500
    assert blobs(services) == [("thumbnail", "dead")]
    assert list(services.settings.uploads_dir.iterdir()) == []


# --- replacing the collection


async def test_a_collection_replaced_without_assets_keeps_them_and_with_none_gives_them_up(
    admin: Client, services: Services
) -> None:
    await upload(admin, form(file_part(), data_part(DATA)))
    url = "/stac/collections/naip"
    document = (await admin.get(url)).json()
    silent = {name: value for name, value in document.items() if name != "assets"} | {"title": "Another title"}

    kept = await admin.put(url, silent)
    assert (kept.status, kept.json()["title"]) == (200, "Another title")
    assert kept.json()["assets"]["thumbnail"]["href"] == document["assets"]["thumbnail"]["href"]
    assert (await admin.get(THUMBNAIL)).body == PNG

    emptied = await admin.put(url, silent | {"assets": {}})
    assert emptied.json()["assets"] == {}
    assert (await admin.get(THUMBNAIL)).status == 404
    assert blobs(services) == [("thumbnail", "dead")]
