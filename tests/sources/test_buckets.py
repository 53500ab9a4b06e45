"""Buckets of S3 and Google: read with signed requests, by whichever spelling of an href, and signed for nobody else."""

# ruff: noqa: ARG001 - fixtures are arguments

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, parse_qsl, quote, unquote, urlencode, urlsplit

import pytest
import requests
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from graticule.database import SqliteDatabase
from graticule.errors import (
    InvalidAssetHref,
    InvalidRequestBody,
    SourceAuthenticationFailed,
    SourceForbidden,
    SourceNotFound,
)
from graticule.sealing import Sealer
from graticule.settings import load_settings
from graticule.sources import Fetcher, Sources, parse_href, parse_place
from graticule.sources.opening import Opened
from graticule.sources.places import ObjectHref

SECRET = "canary-s3-secret"
KEYS = {"accessKeyId": "AKIACANARY", "secretAccessKey": SECRET}

OpenSources = Callable[..., Awaitable[tuple[Sources, Fetcher]]]


@pytest.fixture
async def open_sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[OpenSources]:
    """Sources that are not tried when they are written, unless a test asks for that, and their client."""
    # Whatever the service's own environment holds, signatures for sources are made with the sources' keys alone.
    monkeypatch.setenv("AWS_SESSION_TOKEN", "somebody-elses")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    async with contextlib.AsyncExitStack() as stack:

        async def make(*, tried: bool = False, **values: Any) -> tuple[Sources, Fetcher]:
            settings = load_settings(data_dir=tmp_path, fetch_allow=("127.0.0.0/8",), fetch_tries=1, **values)
            database = stack.enter_context(contextlib.closing(SqliteDatabase(tmp_path / "graticule.db")))
            sealer = Sealer(b"k" * 32)
            sources = Sources(settings=settings, database=database, sealer=sealer, probe=None if tried else no_probe)
            client = Fetcher(settings, credentials=sources.credential, locate=sources.locate)
            return sources, await stack.enter_async_context(client)

        yield make


async def no_probe(_opened: Opened) -> None:
    """All is well."""


def s3(url: str, **info: Any) -> dict[str, Any]:
    return {"kind": "S3", "connectionInfo": {"containerUrl": url, **({} if "machineRole" in info else KEYS), **info}}


def check_signature(url: str, method: str, secret: str = SECRET) -> None:
    """Signature version 4 in a query (AWS, "Authenticating Requests: Using Query Parameters"), worked out again."""
    parts = urlsplit(url)
    given = dict(parse_qsl(parts.query, keep_blank_values=True))
    signature = given.pop("X-Amz-Signature")
    scope = given["X-Amz-Credential"].split("/", 1)[1]
    query = urlencode(sorted(given.items()), quote_via=quote, safe="~")
    path = quote(unquote(parts.path), safe="/~")
    request = "\n".join([method, path, query, f"host:{parts.netloc}\n", "host", "UNSIGNED-PAYLOAD"])
    text = "\n".join(["AWS4-HMAC-SHA256", given["X-Amz-Date"], scope, hashlib.sha256(request.encode()).hexdigest()])
    key = f"AWS4{secret}".encode()
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    assert hmac.new(key, text.encode(), "sha256").hexdigest() == signature


async def test_a_private_bucket_is_read_from_a_real_service(
    open_sources: OpenSources, moto: Any, tmp_path: Path
) -> None:
    bucket = moto.new_bucket().url.removeprefix("s3://")
    await asyncio.to_thread(requests.put, f"{moto.url}/{bucket}/folder/a%20~%2B(1).tif", data=b"pixels", timeout=10)
    sources, fetcher = await open_sources(tried=True)
    made = await sources.create(s3(f"s3://{bucket}", endpoint=moto.url, region="eu-west-1"))
    assert (made.container_url, made.warning) == (f"{moto.url}/{bucket}", None)
    assert made.details == {"region": "eu-west-1"}
    for href in (
        f"s3://{bucket}/folder/a%20~%2B(1).tif",
        f"s3://{bucket}/folder/a ~+(1).tif",
        f"{moto.url}/{bucket}/folder/a%20~+(1).tif",
        f"{moto.url}/{bucket}/folder/a%20~%2B%281%29.tif",
    ):
        assert (await fetcher.download(href, tmp_path / "file")).bytes == 6
        assert (await fetcher.measure(href)).bytes == 6
    with pytest.raises(SourceNotFound):
        await fetcher.download(f"s3://{bucket}/none.tif", tmp_path / "file")
    missing = await sources.create(s3("s3://there-is-none", endpoint=moto.url))
    assert "answered 404 NoSuchBucket" in (missing.warning or "")


@pytest.mark.parametrize("key", ["a.tif", "a%20b.tif", "a~b.tif", "a+b.tif", "a%2Bb.tif", "%C3%BC/(1)'!*.tif", "a=b&c"])
async def test_requests_are_signed_with_the_keys_of_the_source_alone(
    key: str, open_sources: OpenSources, source: Any, answers: Any, tmp_path: Path
) -> None:
    sources, fetcher = await open_sources()
    await sources.create(s3("s3://bucket/folder", endpoint=source.base, region="eu-central-1"))
    source.says(answers.whole(), answers.whole(b""))
    for method in ("GET", "HEAD"):
        call = fetcher.download(f"{source.base}/bucket/folder/{key}", tmp_path / "file") if method == "GET" else None
        await (call or fetcher.measure(f"s3://bucket/folder/{key}"))
        url = f"{source.base}{source.requests[-1].path_query}"
        assert source.requests[-1].line.startswith(method)
        check_signature(url, method)
        query = parse_qs(urlsplit(url).query)
        assert query["X-Amz-Credential"][0].startswith("AKIACANARY/")
        assert "/eu-central-1/s3/" in query["X-Amz-Credential"][0]
        assert "somebody-elses" not in url


async def test_a_session_token_is_sent_along(open_sources: OpenSources, source: Any, tmp_path: Path) -> None:
    sources, fetcher = await open_sources()
    await sources.create(s3("s3://bucket", endpoint=source.base, sessionToken="session"))
    await fetcher.download("s3://bucket/a.tif", tmp_path / "file")
    assert "X-Amz-Security-Token=session" in source.requests[0].path_query


async def test_what_lies_elsewhere_is_not_signed(
    open_sources: OpenSources, source: Any, make_source: Any, answers: Any, tmp_path: Path
) -> None:
    other = await make_source()
    sources, fetcher = await open_sources()
    await sources.create(s3("s3://bucket/folder", endpoint=source.base))
    source.says(answers.redirect(f"{other.base}/bucket/folder/b.tif"))
    await fetcher.download("s3://bucket/folder/a.tif", tmp_path / "file")
    source.says(answers.whole())
    for path in ("bucket/folders/a", "bucket2/folder/a", "bucket/a", "bucket/folder/a?versionId=1"):
        await fetcher.download(f"{source.base}/{path}", tmp_path / "file")
    asked = [request.path_query for request in (*other.requests, *source.requests[1:])]
    assert len(asked) == 5
    assert not any("X-Amz" in path for path in asked)
    with pytest.raises(InvalidAssetHref, match="cannot be signed"):
        await fetcher.download(f"{source.base}/bucket/folder//a.tif", tmp_path / "file")


async def test_hrefs_of_amazon_are_one_whatever_their_host(open_sources: OpenSources) -> None:
    sources, _ = await open_sources()
    made = await sources.create(s3("https://my-bucket.s3.eu-west-1.amazonaws.com/folder"))
    assert made.container_url == "https://s3.eu-west-1.amazonaws.com/my-bucket/folder"
    for href in (
        "https://my-bucket.s3.eu-west-1.amazonaws.com/folder/a%20b.tif",
        "https://my-bucket.s3-eu-west-1.amazonaws.com/folder/a%20b.tif",
        "https://my-bucket.s3.amazonaws.com/folder/a%20b.tif",
        "https://s3.eu-west-1.amazonaws.com/my-bucket/folder/a%20b.tif",
    ):
        opened = await sources.credential(parse_href(href))
        assert opened is not None
        assert str(opened.href) == "https://s3.eu-west-1.amazonaws.com/my-bucket/folder/a%20b.tif"
        check_signature(f"https://{opened.href.authority}{opened.href.path_query}", "GET")
    for href in (
        "https://my-bucket.s3.eu-west-1.amazonaws.com/other/a.tif",
        "https://my-bucket.s3.eu-west-1.amazonaws.com.evil.test/folder/a.tif",
        "https://other.s3.eu-west-1.amazonaws.com/folder/a.tif",
        "http://my-bucket.s3.eu-west-1.amazonaws.com/folder/a.tif",
    ):
        assert await sources.credential(parse_href(href)) is None


async def test_objects_without_a_source_are_at_their_stores_public_address(open_sources: OpenSources) -> None:
    sources, _ = await open_sources()
    for href, url in (
        ("s3://bucket/a b.tif", "https://bucket.s3.amazonaws.com/a%20b.tif"),
        ("s3://my.bucket/a.tif", "https://s3.amazonaws.com/my.bucket/a.tif"),
        ("gs://bucket/a.tif", "https://storage.googleapis.com/bucket/a.tif"),
    ):
        place = parse_place(href)
        assert isinstance(place, ObjectHref)
        assert str(await sources.locate(place)) == url
    with pytest.raises(InvalidAssetHref, match="no account"):
        await sources.locate(ObjectHref("az", "container", "a"))


async def test_a_container_of_azure_is_found_by_its_name(open_sources: OpenSources) -> None:
    sources, _ = await open_sources()
    for account in ("one", "two"):
        info = {"containerUrl": f"https://{account}.blob.core.windows.net/{account}", "sasToken": "sp=rl&sig=x"}
        await sources.create({"kind": "SasToken", "connectionInfo": info})
    place = ObjectHref("az", "two", "a b.tif")
    assert str(await sources.locate(place)) == "https://two.blob.core.windows.net/two/a%20b.tif"
    info = {"containerUrl": "https://three.blob.core.windows.net/two", "sasToken": "sp=rl&sig=x"}
    await sources.create({"kind": "SasToken", "connectionInfo": info})
    with pytest.raises(InvalidAssetHref, match="2 hosts"):
        await sources.locate(place)


async def test_the_machines_role_is_the_operators_to_open(
    open_sources: OpenSources, source: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAROLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "role-secret")
    closed, _ = await open_sources()
    with pytest.raises(InvalidRequestBody, match="GRATICULE_MACHINE_IDENTITY"):
        await closed.create(s3("s3://bucket", machineRole=True))
    sources, _ = await open_sources(machine_identity=("aws",))
    for url in (f"{source.base}/bucket", "https://evil.test/bucket", "https://s3.amazonaws.com.evil.test/bucket"):
        with pytest.raises(InvalidRequestBody, match="GRATICULE_MACHINE_IDENTITY_HOSTS"):
            await sources.create(s3(url, machineRole=True))
    made = await sources.create(s3("s3://bucket", region="eu-west-1", machineRole=True))
    assert made.details == {"region": "eu-west-1", "machineRole": True}
    href = parse_href("https://s3.eu-west-1.amazonaws.com/bucket/a.tif")
    opened = await sources.credential(href)
    assert opened is not None
    assert "X-Amz-Credential=AKIAROLE%2F" in opened.href.path_query
    with pytest.raises(SourceForbidden, match="not open"):
        await closed.credential(href)


# --- Google -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048)


def service_account(key: rsa.RSAPrivateKey, **members: Any) -> dict[str, Any]:
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return {
        "type": "service_account",
        "project_id": "project",
        "private_key_id": "id",
        "private_key": private.decode(),
        "client_email": "me@project.iam.gserviceaccount.com",
        "token_uri": "http://127.0.0.1:1/token",
        "gcs_base_url": "http://127.0.0.1:1",
        **members,
    }


def gcs(url: str, **info: Any) -> dict[str, Any]:
    return {"kind": "Gcs", "connectionInfo": {"containerUrl": url, **info}}


async def test_a_bucket_of_google_is_read_with_signed_requests(
    open_sources: OpenSources, source: Any, key: rsa.RSAPrivateKey, tmp_path: Path
) -> None:
    sources, fetcher = await open_sources(tried=True)
    made = await sources.create(gcs("gs://bucket", endpoint=source.base, serviceAccountKey=service_account(key)))
    assert (made.container_url, made.warning) == (f"{source.base}/bucket", None)
    await fetcher.download("gs://bucket/folder/a%20~b.tif", tmp_path / "file")
    url = urlsplit(f"{source.base}{source.requests[-1].path_query}")
    given = dict(parse_qsl(url.query))
    signature = bytes.fromhex(given.pop("X-Goog-Signature"))
    query = urlencode(sorted(given.items()), quote_via=quote, safe="~")
    # An emulator, which this source stands for, checks no signature: it is made for Google's own host.
    request = f"GET\n{url.path}\n{query}\nhost:storage.googleapis.com\n\nhost\nUNSIGNED-PAYLOAD"
    scope = given["X-Goog-Credential"].split("/", 1)[1]
    digest = hashlib.sha256(request.encode()).hexdigest()
    text = "\n".join(["GOOG4-RSA-SHA256", given["X-Goog-Date"], scope, digest])
    key.public_key().verify(signature, text.encode(), padding.PKCS1v15(), hashes.SHA256())
    assert url.path == "/bucket/folder/a%20~b.tif"


async def test_a_key_of_google_leads_to_no_address_of_its_own(
    open_sources: OpenSources, key: rsa.RSAPrivateKey
) -> None:
    sources, _ = await open_sources()
    await sources.create(gcs("gs://bucket", serviceAccountKey=json.dumps(service_account(key))))
    opened = await sources.credential(parse_href("https://storage.googleapis.com/bucket/a.tif"))
    assert opened is not None
    assert str(opened.href) == "https://storage.googleapis.com/bucket/a.tif"
    for kind in ("external_account", "authorized_user", None):
        with pytest.raises(InvalidRequestBody, match="service account"):
            await sources.create(gcs("gs://other", serviceAccountKey=service_account(key, type=kind)))
    await sources.create(gcs("gs://broken", serviceAccountKey=service_account(key, private_key="canary-broken")))
    with pytest.raises(SourceAuthenticationFailed, match="PUT") as caught:
        await sources.credential(parse_href("https://storage.googleapis.com/broken/a.tif"))
    assert "canary" not in caught.value.message


# --- how they are spelled ---------------------------------------------------------------------------------------------


BAD_HEADERS: list[Any] = [
    None,
    [],
    {},
    {"Host": "evil.test"},
    {"range": "bytes=0-1"},
    {"Content-Length": "0"},
    {"X Y": "canary"},
    {"X:Y": "canary"},
    {"X-Key": "canary\r\nHost: evil.test"},
    {"X-Key": "canary\u00e9"},
    {"X-Key": ""},
    {"X-Key": 7},
    {f"X-{number}": "x" for number in range(21)},
]


def headers(sent: Any) -> dict[str, Any]:
    return {"kind": "HttpHeaders", "connectionInfo": {"containerUrl": "https://host.test/a", "headers": sent}}


@pytest.mark.parametrize(
    ("document", "target"),
    [
        (s3("s3://bucket", accessKeyId=None), "connectionInfo.accessKeyId"),
        (s3("s3://bucket", secretAccessKey=7), "connectionInfo.secretAccessKey"),
        (s3("s3://bucket", secretAccessKey="canary\n"), "connectionInfo.secretAccessKey"),
        (s3("s3://bucket", region="eu west"), "connectionInfo.region"),
        (s3("s3://bucket", region="evil.test/"), "connectionInfo.region"),
        (s3("s3://"), "connectionInfo.containerUrl"),
        (s3("s3://Bucket"), "connectionInfo.containerUrl"),
        (s3("s3://bucket/.."), "connectionInfo.containerUrl"),
        (s3("gs://bucket"), "connectionInfo.containerUrl"),
        (s3("s3://bucket", endpoint="https://10.0.0.1"), "connectionInfo.containerUrl"),
        (s3("s3://bucket", endpoint="https://minio.test/path"), "connectionInfo.endpoint"),
        (s3("s3://b", endpoint="https://user:canary@minio.test"), "connectionInfo.containerUrl"),  # leak-ok: made up
        (s3("s3://bucket", endpoint="file:///x"), "connectionInfo.containerUrl"),
        (gcs("gs://bucket"), "connectionInfo.serviceAccountKey"),
        (gcs("gs://bucket", serviceAccountKey="canary"), "connectionInfo.serviceAccountKey"),
        (gcs("gs://bucket", serviceAccountKey={}), "connectionInfo.serviceAccountKey"),
        (gcs("gs://bucket", machineRole=True), "connectionInfo.machineRole"),
        *((headers(sent), "connectionInfo.headers") for sent in BAD_HEADERS),
    ],
)
async def test_what_is_no_source_is_refused_with_the_part_that_is_wrong(
    document: dict[str, Any], target: str, open_sources: OpenSources
) -> None:
    sources, _ = await open_sources()
    with pytest.raises(InvalidRequestBody) as caught:
        await sources.create(document)
    assert caught.value.target == target
    assert "canary" not in caught.value.message


async def test_keys_stay_where_they_are_not_sent_again(open_sources: OpenSources, source: Any, tmp_path: Path) -> None:
    sources, fetcher = await open_sources()
    made = await sources.create(s3("s3://bucket", endpoint=source.base))
    bare = {"containerUrl": "s3://bucket", "endpoint": source.base, "region": "eu-west-1"}
    kept = await sources.replace(made.id, {"kind": "S3", "connectionInfo": bare})
    assert kept.details == {"region": "eu-west-1"}
    await fetcher.download("s3://bucket/a.tif", tmp_path / "file")
    check_signature(f"{source.base}{source.requests[-1].path_query}", "GET")
    for other in ({**bare, "containerUrl": "s3://other"}, {**bare, "endpoint": "https://evil.test"}):
        with pytest.raises(InvalidRequestBody):
            await sources.replace(made.id, {"kind": "S3", "connectionInfo": other})
    await sources.replace(made.id, s3("s3://bucket", endpoint=source.base, secretAccessKey="renewed"))
    await fetcher.download("s3://bucket/a.tif", tmp_path / "file")
    check_signature(f"{source.base}{source.requests[-1].path_query}", "GET", "renewed")
    assert SECRET.encode() not in b"".join(file.read_bytes() for file in files(tmp_path))


def files(folder: Path) -> list[Path]:
    return [file for file in folder.iterdir() if file.is_file()]
