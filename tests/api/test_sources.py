"""Ingestion sources over HTTP: statuses, wire names, pages; and no token in any answer."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any

import pytest

from api.asgi import BASE, Client
from graticule.errors import ManagedIdentityInfoNotFound, SourceForbidden
from graticule.services import Services

SOURCES = "/inma/ingestion-sources"
CONTAINER = "https://account.blob.core.windows.net/container"
TOKEN = "sv=2024-11-04&st=2026-01-01T00:00:00Z&se=2099-01-01T00:00:00Z&sr=c&sp=rl&sig=hunter22"


def sas(url: str = CONTAINER, token: str = TOKEN) -> dict[str, Any]:
    return {"kind": "SasToken", "connectionInfo": {"containerUrl": url, "sasToken": token}}


@pytest.fixture(autouse=True)
def nobody_is_asked(services: Services) -> list[str]:
    asked: list[str] = []

    async def probe(opened: Any) -> None:
        asked.append(opened.href.path_query)

    async def no_token(_object_id: str | None, _client_id: str | None) -> str:
        raise ManagedIdentityInfoNotFound("no identity here")

    services.sources.probe = probe
    services.sources.get_token = no_token
    return asked


async def test_a_source_is_made_read_replaced_and_deleted(admin: Client, reader: Client) -> None:
    made = await admin.post(f"{SOURCES}?api-version=2026-04-15", {**sas(), "id": "the-clients-own"})
    document = made.json()
    url = f"{SOURCES}/{document['id']}"
    assert made.status == 201
    assert made.headers["location"] == f"{BASE}{url}?api-version=2026-04-15"
    assert document["id"] != "the-clients-own"
    assert document["kind"] == "SasToken"
    assert document["connectionInfo"] == {"containerUrl": CONTAINER, "expiration": "2099-01-01T00:00:00.000000Z"}
    assert datetime.fromisoformat(document["connectionInfo"]["expiration"].split(".")[0]).year == 2099
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", document["created"])
    assert (await reader.get(url)).json() == document
    renewed = await admin.put(url, sas(token=TOKEN.replace("2099", "2098")))
    assert (renewed.status, renewed.json()["created"]) == (200, document["created"])
    assert renewed.headers["location"].startswith(f"{BASE}{url}")
    assert renewed.json()["connectionInfo"]["expiration"].startswith("2098")
    assert b"hunter22" not in made.body + renewed.body + (await reader.get(url)).body
    assert ((await admin.delete(url)).status, (await admin.delete(url)).status) == (204, 404)
    assert ((await admin.get(url)).status, (await admin.put(url, sas())).status) == (404, 404)


async def test_a_second_source_for_a_container_is_a_conflict_that_names_the_first(admin: Client) -> None:
    made = (await admin.post(SOURCES, sas())).json()
    second = await admin.post(SOURCES, {"Kind": "SasToken", "ConnectionInfo": sas()["connectionInfo"]})
    assert (second.status, second.error["code"]) == (409, "Conflict")
    expected = f"Container url {CONTAINER} already contains a SAS token ingestion source with id {made['id']}."
    assert second.error["message"] == expected


async def test_the_list_has_summaries_only_and_pages(admin: Client) -> None:
    made = [(await admin.post(SOURCES, sas(f"{CONTAINER}{number}"))).json() for number in range(3)]
    seen, url = [], f"{SOURCES}?$top=2&api-version=2026-04-15"
    while url:
        page = (await admin.get(url)).json()
        seen.append(page["value"])
        url = page.get("nextLink", "").removeprefix(BASE)
        assert not url or "api-version=2026-04-15" in url
    summaries = [{name: source[name] for name in ("id", "kind", "created")} for source in made]
    assert seen == [summaries[:2], summaries[2:]]
    assert (await admin.get(f"{SOURCES}?$skip=2")).json() == {"value": summaries[2:]}
    assert (await admin.get(f"{SOURCES}?$top=no")).status == 400


async def test_managed_identities_are_those_that_the_operator_names(admin: Client) -> None:
    assert (await admin.get(f"{SOURCES}/managed-identities")).json() == {"value": []}
    info = {"containerUrl": CONTAINER, "objectId": "00000000-0000-0000-0000-000000000001"}
    made = await admin.post(SOURCES, {"kind": "BlobManagedIdentity", "connectionInfo": info})
    assert (made.status, made.json()["connectionInfo"].pop("warning")) == (201, f"{CONTAINER}: no identity here")
    assert {**made.json()["connectionInfo"], "warning": ""} == {**info, "warning": ""}


async def test_the_connection_test_changes_no_status(admin: Client, services: Services) -> None:
    async def probe(_opened: Any) -> None:
        raise SourceForbidden(f"{CONTAINER} answered 403.")

    services.sources.probe = probe
    made = await admin.post(SOURCES, sas())
    assert (made.status, made.json()["connectionInfo"]["warning"]) == (201, f"{CONTAINER} answered 403.")


@pytest.mark.parametrize("document", [[], {}, {"kind": "SasToken"}, sas(url="container"), sas(token="")])
async def test_what_is_no_source_is_a_bad_request(document: Any, admin: Client) -> None:
    answer = await admin.post(SOURCES, document)
    assert (answer.status, answer.error["code"]) == (400, "InvalidRequestBody")
    assert "hunter22" not in answer.error["message"]
