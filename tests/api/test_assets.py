"""Blobs by signed URL: ranges, validators, and who is turned away."""

from __future__ import annotations

import pytest

from api.asgi import BASE, Answer, Client
from api.test_collection_assets import DATA, PNG, data_part, file_part, form, upload

LATER, EARLIER = "Fri, 01 Jan 2100 00:00:00 GMT", "Sat, 01 Jan 2000 00:00:00 GMT"


@pytest.fixture
async def url(admin: Client) -> str:
    """A signed URL of a blob with the bytes of `PNG`."""
    assert (await upload(admin, form(file_part(), data_part(DATA)))).status == 201
    collection = (await admin.get("/stac/collections/naip?sign=true")).json()
    return str(collection["assets"]["thumbnail"]["href"]).removeprefix(BASE)


async def test_signed_bytes_need_no_token(stranger: Client, url: str) -> None:
    answer = await stranger.get(url)
    assert (answer.status, answer.body, answer.headers["content-type"]) == (200, PNG, "image/png")
    assert answer.headers["cache-control"].startswith("private")


async def test_without_a_signature_it_is_409_and_with_another_one_403(stranger: Client, url: str) -> None:
    bare = url.split("?", 1)[0]
    assert (await stranger.get(bare)).error["code"] == "PublicAccessNotPermitted"
    assert (await stranger.get(url[:-4] + "AAA%3D")).error["code"] == "AuthenticationFailed"


@pytest.mark.parametrize(
    ("asked", "status", "expected"),
    [
        ("bytes=0-3", 206, PNG[:4]),
        ("bytes=4-", 206, PNG[4:]),
        ("bytes=-4", 206, PNG[-4:]),
        ("bytes=0-" + "9" * 15, 206, PNG),
        ("bytes=3-1", 200, PNG),
        ("bytes=0-1,3-4", 200, PNG),
        ("bytes=" + "9" * 5000 + "-", 200, PNG),
        ("bytes=99999-", 416, None),
        ("bytes=-0", 416, None),
    ],
)
async def test_ranges(stranger: Client, url: str, asked: str, status: int, expected: bytes | None) -> None:
    answer = await stranger.get(url, range=asked)
    assert answer.status == status
    if expected is not None:
        assert answer.body == expected


async def test_validators(stranger: Client, url: str) -> None:
    etag = (await stranger.get(url)).headers["etag"]

    async def status(**headers: str) -> int:
        answer: Answer = await stranger.get(url, **{name.replace("_", "-"): value for name, value in headers.items()})
        return answer.status

    assert await status(if_none_match=etag) == 304
    assert await status(if_none_match='"other"') == 200
    assert await status(if_match=etag) == 200
    assert await status(if_match="*") == 200
    assert await status(if_match='"other"') == 412
    assert await status(if_unmodified_since=LATER) == 200
    assert await status(if_unmodified_since=EARLIER) == 412
    assert await status(if_unmodified_since="yesterday") == 200
    assert await status(if_match=etag, if_unmodified_since=EARLIER) == 200


async def test_head_says_the_same_without_the_bytes(stranger: Client, url: str) -> None:
    answer = await stranger.send("HEAD", url)
    assert (answer.status, answer.headers["content-length"]) == (200, str(len(PNG)))
