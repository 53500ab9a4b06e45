"""Input that no client should send gets a 4xx with a sentence, never a 500; what fails in passing gets a 503."""

from __future__ import annotations

import gzip
import json
import logging
from collections.abc import Callable
from typing import Any

import pytest
from starlette.types import ASGIApp, Message

from api.asgi import BASE, Client
from api.conftest import COLLECTION
from graticule.access import Role
from graticule.api.routing import Call, Endpoint, routes
from graticule.errors import Conflict
from graticule.services import Services

DEEP = json.loads("[" * 252 + "]" * 252)


def item(item_id: str, **members: Any) -> dict[str, Any]:
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "id": item_id,
        "geometry": None,
        "properties": {"datetime": "2020-01-01T00:00:00Z"},
        "links": [],
        "assets": {},
    } | members


@pytest.mark.parametrize(
    "url",
    [
        "/inma/operations?$top=" + "9" * 5000,
        "/inma/operations?$skip=" + "9" * 5000,
        "/inma/operations?$top=0",
        "/inma/operations?$top=%D9%A3",
        "/inma/operations?$skip=-1",
        "/inma/operations?status=nonsense",
        "/stac/search?limit=" + "9" * 5000 + "x",
        "/stac/search?sign=perhaps",
        "/stac/search?sign=true&duration=" + "9" * 5000,
        "/stac?api-version=yesterday",
    ],
)
async def test_a_bad_parameter_is_a_400(admin: Client, url: str) -> None:
    answer = await admin.get(url)
    assert (answer.status, bool(answer.error["message"])) == (400, True)


@pytest.mark.parametrize("identity", ["%FF", "a%00b", "%F0%9F%92%A9", "..", "x" * 5000])
async def test_an_id_that_no_collection_can_have_is_a_404(admin: Client, identity: str) -> None:
    assert (await admin.get(f"/stac/collections/{identity}")).status == 404
    assert (await admin.delete(f"/stac/collections/{identity}")).status == 404


async def test_documents_that_could_not_be_written_again_are_refused(admin: Client) -> None:
    collection = await admin.post("/stac/collections", COLLECTION | {"id": "deep", "x": DEEP})
    posted = await admin.post("/stac/collections/naip/items", item("deep", x=DEEP))
    searched = await admin.post("/stac/search", {"x": DEEP})
    assert [answer.status for answer in (collection, posted, searched)] == [400] * 3
    assert "nested too deeply" in collection.error["message"]


async def test_an_operation_that_failed_at_once_is_answered_as_it_began(admin: Client) -> None:
    """A client that polls finds the failure there; azure-core would overlook one in the first answer."""
    answer = await admin.delete("/stac/collections/naip/items/ghost")
    begun, ended = answer.json(), (await admin.get(f"/inma/operations/{answer.json()['id']}")).json()
    assert answer.status == 202
    assert (begun["status"], [entry["status"] for entry in begun["statusHistory"]]) == ("Pending", ["Pending"])
    assert not begun.keys() & {"error", "startTime", "finishTime"}
    assert (ended["status"], ended["error"]["code"]) == ("Failed", "NoRecordsToDelete")
    assert ended["statusHistory"][0] == begun["statusHistory"][0]


async def test_a_compressed_body_is_refused_by_name(admin: Client) -> None:
    answer = await admin.send("POST", "/stac/search", gzip.compress(b"{}"), headers={"content-encoding": "gzip"})
    assert (answer.status, answer.error["target"]) == (400, "Content-Encoding")
    assert "'gzip'" in answer.error["message"]


@pytest.mark.parametrize("assets", [[], 0, "", "x", [1]])
async def test_assets_of_a_collection_are_an_object(admin: Client, assets: Any) -> None:
    assert (await admin.post("/stac/collections", COLLECTION | {"id": "x", "assets": assets})).status == 400


@pytest.mark.parametrize(
    "member",
    [
        {"stac_version": "0.9.0"}, {"stac_version": 5}, {"stac_extensions": [5]}, {"summaries": []},
        {"keywords": "x"}, {"providers": [{}]}, {"links": [{"rel": "about"}]}, {"links": [{"href": "x"}]},
        {"extent": {"spatial": {"bbox": [[0, 0, 1, 1]]}, "temporal": {"interval": [["soon", None]]}}},
    ],
)  # fmt: skip
async def test_a_collection_that_would_spoil_the_list_for_clients_is_refused(
    admin: Client, member: dict[str, Any]
) -> None:
    """pystac-client reads all collections of a list, and fails at one that it cannot read."""
    answer = await admin.post("/stac/collections", COLLECTION | {"id": "x"} | member)
    assert (answer.status, answer.error["code"]) in {(400, "InvalidInputData"), (400, "StacValidationFailed")}
    assert next(iter(member)) in answer.error["message"] + answer.error.get("target", "")


@pytest.mark.parametrize("name", ["summaries", "stac_extensions", "keywords", "providers"])
async def test_a_member_of_a_collection_may_be_null(admin: Client, name: str) -> None:
    assert (await admin.post("/stac/collections", COLLECTION | {"id": "x", name: None})).status == 202


async def test_null_assets_of_a_collection_are_none(admin: Client) -> None:
    assert (await admin.post("/stac/collections", COLLECTION | {"id": "x", "assets": None})).status == 202
    assert "assets" not in (await admin.get("/stac/collections/x")).json()


@pytest.mark.parametrize(
    "members",
    [
        {"id": "x" * 100_000},
        {"id": "bad/" * 30},
        {"type": ["x" * 100_000]},
        {"type": "x" * 100_000},
        {"collection": "x" * 100_000},
        {"collection": {"x": "y" * 100_000}},
        {"id": "x" * 100_000, "properties": None},
    ],
)
async def test_a_message_does_not_repeat_what_was_sent(admin: Client, members: dict[str, Any]) -> None:
    single = await admin.post("/stac/collections/naip/items", item("a") | members)
    assert single.status == 400
    assert len(single.body) < 1000
    batch = {"type": "FeatureCollection", "features": [item("a") | members] * 20}
    posted = await admin.post("/stac/collections/naip/items", batch)
    many = await admin.get(f"/inma/operations/{posted.json()['id']}")
    assert many.json()["status"] == "Failed"
    assert len(many.body) < 10_000


@pytest.mark.parametrize("name", ["self", "segments", "token", "query"])
async def test_any_query_parameter_may_stand_in_a_paged_search(admin: Client, name: str) -> None:
    batch = {"type": "FeatureCollection", "features": [item(f"i{number}") for number in range(3)]}
    await admin.post("/stac/collections/naip/items", batch)
    extra = "" if name == "token" else f"&{name}=" + ("" if name == "query" else "1")
    answer = await admin.get(f"/stac/search?limit=2{extra}")
    assert answer.status == 200
    (following,) = [link["href"] for link in answer.json()["links"] if link["rel"] == "next"]
    rest = await admin.get(following.removeprefix(BASE))
    assert len(rest.json()["features"]) == 1


async def test_a_list_parameter_may_come_several_times(admin: Client) -> None:
    batch = {"type": "FeatureCollection", "features": [item(name) for name in "abcd"]}
    await admin.post("/stac/collections/naip/items", batch)

    async def found(query: str) -> list[str]:
        answer = await admin.get(f"/stac/search?{query}")
        return sorted(feature["id"] for feature in answer.json()["features"])

    assert await found("ids=a&ids=b,c") == ["a", "b", "c"]
    assert await found("collections=none&collections=naip&ids=d") == ["d"]
    page = await admin.get("/stac/search?limit=1&ids=a&ids=b")
    (following,) = [link["href"] for link in page.json()["links"] if link["rel"] == "next"]
    assert len((await admin.get(following.removeprefix(BASE))).json()["features"]) == 1


# --- failures of our own ---------------------------------------------------------------------------------------------


@pytest.fixture
def failing(services: Services) -> Callable[[Exception], Client]:
    """A client of an application whose only endpoint fails."""
    from starlette.applications import Starlette  # noqa: PLC0415

    def make(error: Exception) -> Client:
        async def fail(_call: Call) -> Any:
            raise error

        app = Starlette(routes=routes([Endpoint("GET", "/fail", fail, None, "Fails")]))
        app.state.services = services
        return Client(app)

    return make


async def test_a_bug_is_a_500_and_its_text_stays_out_of_answer_and_log(
    failing: Callable[[Exception], Client], caplog: pytest.LogCaptureFixture
) -> None:
    answer = await failing(ValueError("https://x.test/a?sig=hunter22")).get("/fail")
    assert (answer.status, answer.error["code"]) == (500, "InternalError")
    assert "hunter22" not in answer.body.decode() + caplog.text
    assert answer.headers["x-ms-request-id"] in answer.error["message"]
    assert "in fail" in caplog.text


async def test_a_full_disk_is_a_503_that_says_so_and_one_line_of_log(
    failing: Callable[[Exception], Client], caplog: pytest.LogCaptureFixture
) -> None:
    answer = await failing(OSError(28, "No space left on device", "/secret/place")).get("/fail")
    assert (answer.status, answer.error["code"]) == (503, "ServiceUnavailable")
    assert "the disk is full" in answer.error["message"]
    assert "secret" not in answer.error["message"] + caplog.text
    assert int(answer.headers["retry-after"]) > 0
    assert [record.getMessage() for record in caplog.records] == ["GET /fail: the disk is full"]


async def test_a_refusal_is_not_logged(
    failing: Callable[[Exception], Client], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    assert (await failing(Conflict()).get("/fail")).status == 409
    assert caplog.text == ""


async def test_a_client_that_goes_away_is_no_crash(
    app: ASGIApp, services: Services, caplog: pytest.LogCaptureFixture
) -> None:
    from datetime import timedelta  # noqa: PLC0415

    token = services.issuer.issue(Role.ADMINISTRATOR, timedelta(minutes=5))
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "scheme": "http",
        "path": "/stac/collections",
        "raw_path": b"/stac/collections",
        "query_string": b"",
        "root_path": "",
        "headers": [(b"authorization", f"Bearer {token}".encode())],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80),
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
    }
    await app(scope, receive, send)
    assert sent[0]["status"] == 400
    assert caplog.text == ""


async def test_a_search_is_a_question_of_bounded_size(reader: Client, admin: Client) -> None:
    assert (await reader.post("/stac/search", {"x": "y" * 1_100_000})).status == 413
    assert (await admin.post("/stac/collections", COLLECTION | {"id": "large", "x": "y" * 1_100_000})).status == 202


@pytest.mark.parametrize("body", [{"limit": "x" * 900_000}, {"datetime": "x/" * 400_000}, {"sign": "x" * 900_000}])
async def test_a_refusal_of_a_search_is_short(reader: Client, body: dict[str, Any]) -> None:
    answer = await reader.post("/stac/search", body)
    assert answer.status == 400
    assert len(answer.body) < 5000
