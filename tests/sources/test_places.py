"""Hrefs of other schemes: what they mean, and where they are."""

from __future__ import annotations

from typing import Any

import pytest

from graticule.errors import InvalidAssetHref
from graticule.sources import Href, join, parse_place
from graticule.sources.places import FileHref, ObjectHref


@pytest.mark.parametrize(
    ("href", "place"),
    [
        ("s3://bucket/folder/a.tif", ObjectHref("s3", "bucket", "folder/a.tif")),
        ("S3://bucket/a%20b.tif", ObjectHref("s3", "bucket", "a b.tif")),
        ("s3://my.bucket/ü~+.tif", ObjectHref("s3", "my.bucket", "ü~+.tif")),
        ("gs://bucket_1/a", ObjectHref("gs", "bucket_1", "a")),
        ("az://container/a", ObjectHref("az", "container", "a")),
        ("file:///data/a%20b.tif", FileHref("/data/a b.tif")),
        ("file://localhost/data/a", FileHref("/data/a")),
    ],
)
def test_an_object_or_file_is_named(href: str, place: Any) -> None:
    assert parse_place(href) == place


@pytest.mark.parametrize(
    "href",
    [
        "az://account.blob.core.windows.net/container/a%20b.tif",
        "abfss://container@account.dfs.core.windows.net/a%20b.tif",
        "abfs://container@account.blob.core.windows.net/a b.tif",
        "https://account.blob.core.windows.net/container/a%20b.tif",
    ],
)
def test_an_azure_account_can_be_named_in_several_ways(href: str) -> None:
    place = parse_place(href)
    assert isinstance(place, Href)
    assert str(place) == "https://account.blob.core.windows.net/container/a%20b.tif"


@pytest.mark.parametrize(
    "href",
    [
        None,
        "s3://bucket",
        "s3://bucket/",
        "s3:///a",
        "s3:a",
        "s3://Bucket/a",
        "s3://b..c/a",
        "s3://bucket:80/a",
        "s3://key:secret@bucket/a",
        "s3://127.0.0.1:80/a",
        "s3://[::1]/a",
        "s3://bucket/../a",
        "s3://bucket/%2e%2e/a",
        "s3://bucket/x/%2E%2e%2Fa",
        "s3://bucket//a",
        "s3://bucket/a?versionId=1",
        "s3://bucket/a#b",
        "s3://bucket/a%0d%0ab",
        "s3://bucket/a\nb",
        "s3://bucket/" + "a" * 1025,
        "gs://bucket/./a",
        "az://container/..",
        "az://container@account.dfs.core.windows.net/a",
        "abfss://account.dfs.core.windows.net/a",
        "abfss://container@evil.test/a",
        "abfss://container@account.dfs.core.windows.net",
        "file://host/data/a",
        "file://169.254.169.254/a",
        "file:/data/a",
        "file:data/a",
        "file:///data/../etc/passwd",
        "file:///data/%2e%2e/etc/passwd",
        "file:///data//etc/passwd",
        "file:////etc/passwd",
        "file:///",
        "file:///data/a%00.tif",
        "/data/a",
        "/vsis3/bucket/a",
        "/vsicurl/http://127.0.0.1/",
        "s3a://bucket/a",
        "wasbs://c@a.blob.core.windows.net/a",
        "ftp://host/a",
        "gopher://127.0.0.1/a",
        "zip+https://host/a",
        "data:,x",
    ],
)
def test_what_is_no_href_is_refused(href: Any) -> None:
    with pytest.raises(InvalidAssetHref) as caught:
        parse_place(href)
    assert "secret" not in caught.value.message


@pytest.mark.parametrize(
    ("base", "href", "joined"),
    [
        ("s3://bucket/a/catalog.json", "./b/c.json", "s3://bucket/a/b/c.json"),
        ("s3://bucket/a/catalog.json", "../c.json", "s3://bucket/c.json"),
        ("gs://bucket/a/catalog.json", "../../../c.json", "gs://bucket/c.json"),
        ("az://container/catalog.json", "/c.json", "az://container/c.json"),
        ("file:///data/a/catalog.json", "../c.json", "file:///data/c.json"),
        ("https://host/a/catalog.json?sig=x", "b.json", "https://host/a/b.json"),
    ],
)
def test_relative_links_stay_in_their_store(base: str, href: str, joined: str) -> None:
    assert join(base, href) == joined
