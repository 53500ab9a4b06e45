"""How clients spell a source, and what is none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from graticule.errors import InvalidRequestBody
from graticule.settings import load_settings
from graticule.sources.guard import Guard
from graticule.sources.hrefs import parse_href
from graticule.sources.kinds import read_definition as read
from graticule.sources.models import Definition, is_plain, origin_of
from graticule.stac.datetimes import parse_instant

CONTAINER = "https://account.blob.core.windows.net/container"
TOKEN = "sv=2024-11-04&st=2026-01-01T00:00:00Z&se=2099-01-01T00:00:00Z&sr=c&sp=rl&sig=hunter22%3D"


def read_definition(document: dict[str, Any], guard: Guard, **values: Any) -> Definition:
    values = {f"secret{name.removeprefix('token')}": value for name, value in values.items()}
    return read(document, guard, load_settings(), **values)


@pytest.fixture
def guard(tmp_path: Path) -> Guard:
    return Guard(load_settings(data_dir=tmp_path, fetch_allow=("allowed.test:8080",)))


def sas(url: Any = CONTAINER, token: Any = TOKEN, **members: Any) -> dict[str, Any]:
    return {"kind": "SasToken", "connectionInfo": {"containerUrl": url, "sasToken": token}} | members


@pytest.mark.parametrize(
    "document",
    [
        sas(),
        sas(id="its-own"),
        sas(token=f"?{TOKEN}"),
        sas(token=f" {TOKEN}\n"),
        sas(url=f"{CONTAINER}/"),
        sas(url="HTTPS://Account.Blob.Core.Windows.NET:443/container"),
        {"Kind": "sastoken", "ConnectionInfo": {"ContainerUrl": CONTAINER, "SasToken": TOKEN}},
        {"sourceType": "SASTOKEN", "connectioninfo": {"containerUri": CONTAINER, "sastoken": TOKEN}},
    ],
)
def test_a_token_source_is_understood_however_it_is_spelled(document: dict[str, Any], guard: Guard) -> None:
    definition = read_definition(document, guard)
    assert (definition.kind, definition.container_url, definition.secret) == ("SasToken", CONTAINER, TOKEN)
    assert definition.expires == parse_instant("2099-01-01T00:00:00Z")
    assert definition.faults(0) == []
    assert "hunter22" not in repr(definition)


def test_a_managed_identity_is_understood(guard: Guard) -> None:
    info = {"containerUrl": CONTAINER, "objectId": "00000000-0000-0000-0000-000000000001"}
    definition = read_definition({"Kind": "blobManagedIdentity", "connectionInfo": info}, guard)
    assert (definition.kind, definition.object_id) == ("BlobManagedIdentity", info["objectId"])
    assert (definition.secret, definition.expires) == (None, None)


@pytest.mark.parametrize(
    ("document", "target"),
    [
        ({}, "kind"),
        (sas(kind="Ftp"), "kind"),
        (sas(kind=7), "kind"),
        (sas(connectionInfo=None), "connectionInfo"),
        (sas(url=None), "connectionInfo.containerUrl"),
        (sas(url="container"), "connectionInfo.containerUrl"),
        (sas(url="http://account.blob.core.windows.net/container"), "connectionInfo.containerUrl"),
        (sas(url="https://127.0.0.1/container"), "connectionInfo.containerUrl"),
        (sas(url="https://user:hunter22@host.test/container"), "connectionInfo.containerUrl"),  # leak-ok: made up
        (sas(url="https://account.blob.core.windows.net"), "connectionInfo.containerUrl"),
        (sas(url="https://account.blob.core.windows.net/"), "connectionInfo.containerUrl"),
        (sas(url=f"{CONTAINER}/folder"), "connectionInfo.containerUrl"),
        (sas(url=f"{CONTAINER}?{TOKEN}"), "connectionInfo.containerUrl"),
        (sas(url=f"{CONTAINER}#x"), "connectionInfo.containerUrl"),
        (sas(url="https://host.test/a/../b"), "connectionInfo.containerUrl"),
        (sas(url="https://host.test/a//b"), "connectionInfo.containerUrl"),
        (sas(token=None), "connectionInfo.sasToken"),
        (sas(token="?"), "connectionInfo.sasToken"),
        (sas(token="sv=1&se=2099-01-01"), "connectionInfo.sasToken"),
        (sas(token="sig=hunter22 x"), "connectionInfo.sasToken"),
        (sas(token="sig=hunter22\r\nHost:x"), "connectionInfo.sasToken"),
        (sas(token="sig=hunter22#x"), "connectionInfo.sasToken"),
        (sas(token="ss=b&srt=co&sig=hunter22"), "connectionInfo.sasToken"),
        (sas(token="se=soon&sig=hunter22"), "connectionInfo.sasToken"),
        (sas(token="sig=hunter22" + "x" * 5000), "connectionInfo.sasToken"),
        ({"kind": "BlobManagedIdentity", "connectionInfo": {"containerUrl": CONTAINER}}, "connectionInfo.objectId"),
    ],
)
def test_what_is_no_source_is_refused_with_the_part_that_is_wrong(
    document: dict[str, Any], target: str, guard: Guard
) -> None:
    with pytest.raises(InvalidRequestBody) as caught:
        read_definition(document, guard)
    assert caught.value.target == target
    assert "hunter22" not in caught.value.message


def test_plain_http_is_for_hosts_that_the_operator_allows(guard: Guard) -> None:
    assert read_definition(sas(url="http://allowed.test:8080/c"), guard).container_url == "http://allowed.test:8080/c"


@pytest.mark.parametrize(
    ("expiry", "moment"),
    [
        ("2026-05-01", "2026-05-01T00:00:00Z"),
        ("2026-05-01T10:30Z", "2026-05-01T10:30:00Z"),
        ("2026-05-01T10%3A30%3A15Z", "2026-05-01T10:30:15Z"),
        ("2026-05-01T10:30:15.1234567Z", "2026-05-01T10:30:15.123456Z"),
    ],
)
def test_the_expiry_is_read_in_every_form_that_azure_takes(expiry: str, moment: str, guard: Guard) -> None:
    assert read_definition(sas(token=f"se={expiry}&sig=x"), guard).expires == parse_instant(moment)


def test_a_token_of_a_stored_access_policy_states_neither_expiry_nor_permissions(guard: Guard) -> None:
    definition = read_definition(sas(token="sv=2024-11-04&sr=c&si=policy&sig=x"), guard)
    assert (definition.expires, definition.permissions, definition.faults(0)) == (None, None, [])


@pytest.mark.parametrize(
    ("token", "words"), [("se=2020-01-01&sig=x", "expired"), ("sp=l&sig=x", "reading"), ("sp=r&sig=x", "listing")]
)
def test_what_a_token_lacks_is_told_without_asking_anybody(token: str, words: str, guard: Guard) -> None:
    (fault,) = read_definition(sas(token=token), guard).faults(parse_instant("2026-01-01T00:00:00Z"))
    assert words in fault


@pytest.mark.parametrize("path", ["/c/../d", "/c/%2e%2e/d", "/c/%252E./d", "/c/./d", "/c/..", "/c/..\\d", "/c/..%2fd"])
def test_a_path_with_dot_segments_is_not_plain(path: str) -> None:
    assert not is_plain(path)


def test_an_origin_always_has_its_port() -> None:
    assert origin_of(parse_href("https://[2001:db9::1]/c")) == "https://[2001:db9::1]:443"
    assert origin_of(parse_href("https://h.test/c"), short=True) == "https://h.test"
