# ruff: noqa: ARG001 - fixtures and answers are arguments

from __future__ import annotations

import asyncio
import base64
import contextlib
import datetime as dt
import gzip
import hashlib
import ipaddress
import socket
import ssl
import zlib
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from graticule import errors
from graticule.sources import Fetcher

OpenFetcher = Callable[..., Awaitable[Fetcher]]
BODY = bytes(range(256)) * 4096
AZURE_403 = (
    b'\xef\xbb\xbf<?xml version="1.0" encoding="utf-8"?><Error><Code>AuthenticationFailed</Code><Message>Server failed '
    b"to authenticate the request.</Message><AuthenticationErrorDetail>Signature not valid in the specified time frame"
    b"</AuthenticationErrorDetail></Error>"
)


def left_in(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


async def test_a_download_is_the_bytes_and_their_checksum(
    fetcher: Fetcher, source: Any, answers: Any, tmp_path: Path
) -> None:
    href = source.says(
        answers.whole(
            BODY, ETag='"1"', Content_Type="image/tiff", Content_Disposition='attachment; filename="../a/scene 1.tif"'
        )
    )
    seen: list[tuple[int, int | None]] = []
    file = tmp_path / "scene.part"
    download = await fetcher.download(href, file, max_bytes=len(BODY), on_progress=lambda *step: seen.append(step))
    assert file.read_bytes() == BODY
    assert (download.bytes, download.sha256) == (len(BODY), hashlib.sha256(BODY).hexdigest())
    assert (download.content_type, download.etag, download.name) == ("image/tiff", '"1"', "scene 1.tif")
    assert download.content_encoding is None
    assert seen[-1] == (len(BODY), len(BODY))


@pytest.mark.parametrize(
    "path_query",
    [
        "/t/tilejson.json?collection=a&item=b?st=1&sig=%2b%2F%3D",
        "/a/%7euser/./b/../c//d?x=%C3%a9&y=+%20&&=;",
        "/%2e%2E/%2fetc;v=1,2?",
        "/?a[]=1&b={z}/{x}|\\^`\"<>'",
        "/a??b?c?",
        "/%zz%?%",
    ],
)
async def test_the_href_is_sent_byte_for_byte(
    path_query: str, fetcher: Fetcher, source: Any, answers: Any, tmp_path: Path
) -> None:
    source.says(answers.whole())
    await fetcher.download(f"{source.base}{path_query}#fragment", tmp_path / "file")
    assert source.requests[0].line == f"GET {path_query} HTTP/1.1"


async def test_characters_beyond_ascii_are_sent_as_escaped_utf8(fetcher: Fetcher, source: Any, tmp_path: Path) -> None:
    await fetcher.download(f"{source.base}/größe?q=\N{SNOWMAN}", tmp_path / "file")
    assert source.requests[0].path_query == "/gr%C3%B6%C3%9Fe?q=%E2%98%83"


async def test_a_request_carries_no_cookies_and_asks_for_plain_bytes(
    fetcher: Fetcher, source: Any, answers: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    href = source.says(answers.whole(Set_Cookie="a=b"))
    await fetcher.download(href, tmp_path / "file")
    await fetcher.download(href, tmp_path / "file")
    assert source.connections == 1  # kept alive
    headers = source.requests[1].headers
    assert headers["accept-encoding"] == "identity"
    assert not {"cookie", "authorization", "referer", "range"} & set(headers)


@pytest.mark.parametrize("encoding", ["gzip", "x-gzip", "deflate"])
async def test_a_body_that_is_compressed_unasked_is_decoded(
    encoding: str, fetcher: Fetcher, source: Any, answers: Any, tmp_path: Path
) -> None:
    body = b"pixels" * 400_000
    sent = zlib.compress(body) if encoding == "deflate" else gzip.compress(body[:600]) + gzip.compress(body[600:])
    href = source.says(answers.whole(sent, Content_Encoding=encoding))
    download = await fetcher.download(href, tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == body
    assert (download.bytes, download.sha256) == (len(body), hashlib.sha256(body).hexdigest())
    assert download.content_encoding is None
    assert left_in(tmp_path) == ["file"]


async def test_a_file_that_is_a_compressed_one_is_kept_as_it_is(
    fetcher: Fetcher, source: Any, answers: Any, tmp_path: Path
) -> None:
    href = source.says(answers.whole(b"\x1f\x8bnot gzip at all", Content_Encoding="gzip"))
    download = await fetcher.download(href.replace("scene.tif", "scene.json.gz"), tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == b"\x1f\x8bnot gzip at all"
    assert download.content_encoding == "gzip"


@pytest.mark.parametrize(
    ("body", "encoding", "error", "words"),
    [
        (b"x", "br", errors.SourceRefused, "'br'"),
        (b"no gzip at all", "gzip", errors.SourceRefused, "damaged"),
        (gzip.compress(b"pixels")[:-3], "gzip", errors.SourceRefused, "before it is whole"),
        (gzip.compress(b"pixels") + b"x", "gzip", errors.SourceRefused, "damaged|whole"),
        (gzip.compress(bytes(5_000_000)), "gzip", errors.AssetTooLarge, "4000000 bytes"),
    ],
)
async def test_a_compressed_body_that_is_wrong_is_refused(
    body: bytes, encoding: str, error: Any, words: str, fetcher: Fetcher, source: Any, answers: Any, tmp_path: Path
) -> None:
    href = source.says(answers.whole(body, Content_Encoding=encoding))
    with pytest.raises(error, match=words):
        await fetcher.download(href, tmp_path / "file", max_bytes=4_000_000)
    assert left_in(tmp_path) == []


# --- what answers mean -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "body", "headers", "error"),
    [
        (404, b"", {}, errors.SourceNotFound),
        (410, b"", {}, errors.SourceNotFound),
        (404, b"<Error><Code>ResourceNotFound</Code></Error>", {"x-ms-request-id": "1"}, errors.SourceNotFound),
        (404, b"", {"x-ms-error-code": "ContainerNotFound"}, errors.SourceNotFound),
        (401, b"", {}, errors.SourceAuthenticationFailed),
        (403, b"", {}, errors.SourceForbidden),
        (403, b"", {"x-ms-error-code": "AuthorizationPermissionMismatch"}, errors.SourceForbidden),
        (403, AZURE_403, {}, errors.SourceAuthenticationFailed),
        (403, b"", {"x-ms-error-code": "AuthenticationFailed"}, errors.SourceAuthenticationFailed),
        (
            403,
            b"<Error><Code>AccessDenied</Code><Message>Request has expired</Message></Error>",
            {},
            errors.SourceAuthenticationFailed,
        ),
        (400, b"<Error><Code>ExpiredToken</Code></Error>", {}, errors.SourceAuthenticationFailed),
        (409, b"", {"x-ms-error-code": "PublicAccessNotPermitted"}, errors.PublicAccessRestricted),
        (409, b"<Error><Code>PublicAccessNotPermitted</Code></Error>", {}, errors.PublicAccessRestricted),
        (409, b"", {}, errors.SourceRefused),
        (400, b"", {}, errors.SourceRefused),
        (300, b"", {}, errors.SourceRefused),
        (304, b"", {}, errors.SourceRefused),
        (302, b"", {}, errors.SourceRefused),
        (206, b"half", {"Content-Range": "bytes 0-3/8"}, errors.SourceRefused),
        (202, b"later", {}, errors.SourceRefused),
        (501, b"", {}, errors.SourceRefused),
        (505, b"", {}, errors.SourceRefused),
        (200, b"", {}, errors.EmptyAsset),
        (204, b"", {}, errors.EmptyAsset),
    ],
)
async def test_a_final_answer_is_asked_for_once(
    status: int,
    body: bytes,
    headers: dict[str, str],
    error: type[errors.SourceError],
    fetcher: Fetcher,
    source: Any,
    answers: Any,
    tmp_path: Path,
) -> None:
    href = source.says(answers.whole(body, status, **headers))
    with pytest.raises(error) as caught:
        await fetcher.download(href, tmp_path / "file")
    assert type(caught.value) is error
    assert len(source.requests) == 1
    assert caught.value.message.startswith(f"{source.base}/folder/scene.tif")
    assert "SECRET" not in caught.value.message
    assert not (tmp_path / "file").exists()


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
async def test_a_passing_answer_is_tried_again(
    status: int, fetcher: Fetcher, source: Any, answers: Any, tmp_path: Path, naps: Any
) -> None:
    href = source.says(answers.whole(b"busy", status), answers.whole(b"busy", status), answers.whole(BODY))
    await fetcher.download(href, tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == BODY
    assert len(naps.taken) == 2
    assert 0.3 < naps.taken[0] <= 0.5 < naps.taken[1] <= 1


async def test_tries_end(open_fetcher: OpenFetcher, source: Any, answers: Any, tmp_path: Path, naps: Any) -> None:
    fetcher = await open_fetcher("127.0.0.1", fetch_tries=3)
    href = source.says(answers.whole(b"", 503))
    with pytest.raises(errors.SourceFailed, match=r"answered 503\. Tried 3 times"):
        await fetcher.download(href, tmp_path / "file")
    assert len(source.requests) == 3
    assert len(naps.taken) == 2


@pytest.mark.parametrize(("header", "low", "high"), [("7", 7, 7), ("600", 20, 20), ("soon", 0, 0.5)])
async def test_retry_after_is_honoured_within_bounds(
    header: str, low: float, high: float, fetcher: Fetcher, source: Any, answers: Any, tmp_path: Path, naps: Any
) -> None:
    href = source.says(answers.whole(b"", 429, Retry_After=header), answers.whole())
    await fetcher.download(href, tmp_path / "file")
    assert low <= naps.taken[0] <= high


async def test_retry_after_may_be_a_date(
    fetcher: Fetcher, source: Any, answers: Any, tmp_path: Path, naps: Any
) -> None:
    later = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=10)
    date = later.strftime("%a, %d %b %Y %H:%M:%S GMT")
    href = source.says(answers.whole(b"", 503, Retry_After=date), answers.whole())
    await fetcher.download(href, tmp_path / "file")
    assert 5 < naps.taken[0] <= 10


async def test_too_large_by_announcement(fetcher: Fetcher, source: Any, answers: Any, tmp_path: Path) -> None:
    href = source.says(answers.whole(BODY))
    with pytest.raises(errors.AssetTooLarge, match="GRATICULE_MAX_ASSET_BYTES"):
        await fetcher.download(href, tmp_path / "file", max_bytes=1000)
    assert not (tmp_path / "file").exists()


async def test_too_large_by_count(fetcher: Fetcher, source: Any, answers: Any, tmp_path: Path) -> None:
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"3e9\r\n" + b"x" * 1001 + b"\r\n0\r\n\r\n"
    href = source.says(answers.raw(chunked))
    with pytest.raises(errors.AssetTooLarge):
        await fetcher.download(href, tmp_path / "file", max_bytes=1000)
    assert len(source.requests) == 1
    assert not (tmp_path / "file").exists()


# --- broken connections ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("body", [BODY, BODY * 6], ids=["before a block was written", "while one is"])
async def test_a_broken_transfer_goes_on_where_it_broke(
    body: bytes, fetcher: Fetcher, source: Any, answers: Any, tmp_path: Path
) -> None:
    strong = {"ETag": '"1"', "Accept-Ranges": "bytes"}
    href = source.says(answers.broken(body, len(body) * 5 // 7, **strong), answers.ranged(body, **strong))
    download = await fetcher.download(href, tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == body
    assert download.sha256 == hashlib.sha256(body).hexdigest()
    assert source.requests[1].headers["if-range"] == '"1"'
    assert int(source.requests[1].headers["range"].removeprefix("bytes=").rstrip("-")) > 0


@pytest.mark.parametrize(
    "headers",
    [{}, {"ETag": 'W/"1"', "Accept-Ranges": "bytes"}, {"ETag": '"1"'}, {"Accept-Ranges": "bytes"}],
    ids=["nothing", "weak ETag", "no ranges", "no ETag"],
)
async def test_without_a_strong_validator_a_broken_transfer_starts_over(
    headers: dict[str, str], fetcher: Fetcher, source: Any, answers: Any, tmp_path: Path
) -> None:
    body = BODY * 6  # some of it is written when it breaks
    href = source.says(answers.broken(body, len(body) * 5 // 7, **headers), answers.ranged(body, **headers))
    download = await fetcher.download(href, tmp_path / "file")
    assert "range" not in source.requests[1].headers
    assert (tmp_path / "file").read_bytes() == body
    assert download.sha256 == hashlib.sha256(body).hexdigest()


async def test_a_source_that_changed_meanwhile_is_read_from_its_beginning(
    fetcher: Fetcher, source: Any, answers: Any, tmp_path: Path
) -> None:
    other = BODY[::-1]
    href = source.says(
        answers.broken(BODY, 700_000, ETag='"1"', Accept_Ranges="bytes"),
        answers.ranged(other, ETag='"2"', Accept_Ranges="bytes"),
    )
    await fetcher.download(href, tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == other


@pytest.mark.parametrize(
    "lie",
    [
        {"status": 206, "Content_Range": "bytes 0-9/1048576"},
        {"status": 206, "Content_Range": "bytes 5-9/7"},
        {"status": 206, "Content_Range": "items 1"},
        {"status": 206},
        {"status": 416},
    ],
)
async def test_a_wrong_part_is_not_pasted_in(
    lie: dict[str, Any], fetcher: Fetcher, source: Any, answers: Any, tmp_path: Path
) -> None:
    strong = {"ETag": '"1"', "Accept-Ranges": "bytes"}
    href = source.says(
        answers.broken(BODY, 700_000, **strong), answers.whole(b"0123456789", **lie), answers.ranged(BODY, **strong)
    )
    await fetcher.download(href, tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == BODY
    assert "range" not in source.requests[2].headers


async def test_a_body_that_is_always_truncated_is_never_accepted(
    fetcher: Fetcher, source: Any, answers: Any, tmp_path: Path
) -> None:
    href = source.says(answers.broken(b"0123456789", 4))
    with pytest.raises(errors.SourceConnectionFailed, match=r"after 4 of 10 bytes\. Tried 5 times"):
        await fetcher.download(href, tmp_path / "file")
    assert not (tmp_path / "file").exists()


async def test_a_truncated_chunked_body_is_never_accepted(
    fetcher: Fetcher, source: Any, answers: Any, tmp_path: Path
) -> None:
    href = source.says(answers.raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n"))
    with pytest.raises(errors.SourceConnectionFailed):
        await fetcher.download(href, tmp_path / "file")


async def test_bytes_that_do_not_fit_their_md5_are_read_again(
    fetcher: Fetcher, source: Any, answers: Any, tmp_path: Path
) -> None:
    md5 = base64.b64encode(hashlib.md5(BODY).digest()).decode()
    href = source.says(answers.whole(BODY[::-1], Content_MD5=md5), answers.whole(BODY, Content_MD5=md5))
    download = await fetcher.download(href, tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == BODY
    assert download.md5 == hashlib.md5(BODY).hexdigest()


async def test_a_reset_connection_is_tried_again(fetcher: Fetcher, source: Any, answers: Any, tmp_path: Path) -> None:
    href = source.says(answers.resets, answers.whole())
    await fetcher.download(href, tmp_path / "file")
    source.says(answers.resets)
    with pytest.raises(errors.SourceConnectionFailed):
        await fetcher.download(href, tmp_path / "file")


async def test_a_refused_connection_fails_as_such(
    fetcher: Fetcher, tmp_path: Path, unused_port: int, naps: Any
) -> None:
    with pytest.raises(errors.SourceConnectionFailed, match="no connection"):
        await fetcher.download(f"http://127.0.0.1:{unused_port}/a?sig=SECRET", tmp_path / "file")
    assert len(naps.taken) == 4


async def test_a_name_without_address_fails_as_such(open_fetcher: OpenFetcher, tmp_path: Path) -> None:
    async def lookup(host: str) -> list[str]:
        raise OSError(-2, "Name or service not known")

    fetcher = await open_fetcher(lookup=lookup)
    with pytest.raises(errors.SourceConnectionFailed, match=r"nowhere\.example does not resolve"):
        await fetcher.download("https://nowhere.example/a", tmp_path / "file")


async def test_a_slow_name_server_counts_as_a_timeout(open_fetcher: OpenFetcher, tmp_path: Path) -> None:
    async def lookup(host: str) -> list[str]:
        await asyncio.sleep(30)
        return []

    fetcher = await open_fetcher(lookup=lookup, fetch_tries=1)
    with pytest.raises(errors.SourceTimeout):
        await fetcher.download("https://slow.example/a", tmp_path / "file")


async def test_silence_is_a_timeout(open_fetcher: OpenFetcher, source: Any, answers: Any, tmp_path: Path) -> None:
    fetcher = await open_fetcher("127.0.0.1", fetch_tries=2, fetch_idle_timeout=0.1)
    href = source.says(answers.hangs)
    with pytest.raises(errors.SourceTimeout, match="Tried 2 times"):
        await fetcher.download(href, tmp_path / "file")


async def test_silence_in_the_middle_is_a_timeout(
    open_fetcher: OpenFetcher, source: Any, answers: Any, tmp_path: Path
) -> None:
    fetcher = await open_fetcher("127.0.0.1", fetch_tries=1, fetch_idle_timeout=0.1)
    href = source.says(answers.raw(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n0123", close=False))
    with pytest.raises(errors.SourceTimeout, match="4 of 10 bytes"):
        await fetcher.download(href, tmp_path / "file")


async def test_headers_that_drip_without_end_are_a_timeout(
    open_fetcher: OpenFetcher, source: Any, tmp_path: Path
) -> None:
    async def dripping_head(request: Any, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n")
        for number in range(200):
            writer.write(b"X-%d: y\r\n" % number)
            await writer.drain()
            await asyncio.sleep(0.05)

    fetcher = await open_fetcher("127.0.0.1", fetch_tries=1, fetch_idle_timeout=0.2, fetch_connect_timeout=0.2)
    href = source.says(dripping_head)
    with pytest.raises(errors.SourceTimeout):
        await fetcher.download(href, tmp_path / "file")


async def test_a_slow_but_moving_download_has_its_time(
    open_fetcher: OpenFetcher, source: Any, answers: Any, tmp_path: Path
) -> None:
    fetcher = await open_fetcher("127.0.0.1", fetch_idle_timeout=0.15, fetch_connect_timeout=0.15)
    href = source.says(answers.drips(b"0123456789", 0.06))
    assert (await fetcher.download(href, tmp_path / "file")).bytes == 10


async def test_a_download_that_only_drips_is_given_up(
    open_fetcher: OpenFetcher, source: Any, answers: Any, tmp_path: Path
) -> None:
    fetcher = await open_fetcher("127.0.0.1", fetch_tries=2, fetch_slowest=1000, fetch_slow_seconds=0.1)
    href = source.says(answers.drips(b"0123456789" * 100, 0.01))
    with pytest.raises(errors.SourceTimeout, match=r"too slow.* Tried 2 times"):
        await fetcher.download(href, tmp_path / "file")


async def test_no_new_try_is_started_after_45_seconds_of_silence(
    open_fetcher: OpenFetcher, source: Any, tmp_path: Path
) -> None:
    now = 0.0

    async def takes_10_seconds(request: Any, writer: asyncio.StreamWriter) -> None:
        nonlocal now
        now += 10  # twice in a try: aiohttp asks once more where a connection closes without an answer
        writer.transport.abort()

    fetcher = await open_fetcher("127.0.0.1", clock=lambda: now)
    href = source.says(takes_10_seconds)
    with pytest.raises(errors.SourceConnectionFailed, match="Tried 3 times"):
        await fetcher.download(href, tmp_path / "file")


async def test_what_is_not_http_fails(open_fetcher: OpenFetcher, source: Any, answers: Any, tmp_path: Path) -> None:
    fetcher = await open_fetcher("127.0.0.1", fetch_tries=1)
    for noise in (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", b"HTTP/1.1 200 OK\r\nX: " + b"y" * 100_000 + b"\r\n\r\n"):
        with pytest.raises(errors.SourceFailed, match="not HTTP"):
            await fetcher.download(source.says(answers.raw(noise)), tmp_path / "file")


async def test_a_cancelled_download_leaves_nothing(fetcher: Fetcher, source: Any, answers: Any, tmp_path: Path) -> None:
    href = source.says(answers.drips(b"0" * 1000, 0.05))
    started = asyncio.Event()
    task = asyncio.create_task(fetcher.download(href, tmp_path / "file", on_progress=lambda *_: started.set()))
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not (tmp_path / "file").exists()


async def test_a_full_disk_is_our_fault_not_the_sources(fetcher: Fetcher, source: Any, tmp_path: Path) -> None:
    with pytest.raises(errors.InternalIntermittentError, match="staging folder"):
        await fetcher.download(f"{source.base}/a", tmp_path / "missing" / "file")
    (tmp_path / "full").symlink_to("/dev/full")
    with pytest.raises(errors.InternalIntermittentError, match="No space left"):
        await fetcher.download(f"{source.base}/a", tmp_path / "full")


# --- redirects -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_followed_and_takes_no_signature_along(
    status: int, fetcher: Fetcher, make_source: Any, source: Any, answers: Any, tmp_path: Path
) -> None:
    other = await make_source()
    href = source.says(answers.redirect(f"{other.base}/b?own=1?2%2f", status))
    await fetcher.download(href, tmp_path / "file")
    assert other.requests[0].path_query == "/b?own=1?2%2f"
    assert (tmp_path / "file").read_bytes() == b"pixels"


@pytest.mark.parametrize(
    ("location", "asked"),
    [
        ("other.tif", "/folder/other.tif"),
        ("/b?x=1", "/b?x=1"),
        ("?x=%2b", "/folder/scene.tif?x=%2b"),
        ("../c/d", "/c/d"),
    ],
)
async def test_a_relative_redirect_stays_at_its_host(
    location: str, asked: str, fetcher: Fetcher, source: Any, answers: Any, tmp_path: Path
) -> None:
    href = source.says(answers.redirect(location), answers.whole())
    await fetcher.download(href, tmp_path / "file")
    assert source.requests[1].path_query == asked


async def test_five_redirects_are_followed_and_no_sixth(
    fetcher: Fetcher, source: Any, answers: Any, tmp_path: Path
) -> None:
    hops = [answers.redirect(f"/{number}") for number in range(5)]
    await fetcher.download(source.says(*hops, answers.whole()), tmp_path / "file")
    source.requests.clear()
    with pytest.raises(errors.SourceRefused, match="redirects more than 5 times"):
        await fetcher.download(source.says(answers.redirect("/round")), tmp_path / "file")
    assert len(source.requests) == 6


@pytest.mark.parametrize("location", ["ftp://x/y", "file:///etc/passwd", "http://user:pw@127.0.0.1/", "http://[::1"])
async def test_a_redirect_elsewhere_is_refused(
    location: str, fetcher: Fetcher, source: Any, answers: Any, tmp_path: Path
) -> None:
    with pytest.raises(errors.SourceRefused) as caught:
        await fetcher.download(source.says(answers.redirect(location)), tmp_path / "file")
    assert "pw" not in caught.value.message


# --- TLS -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A self-signed certificate for 127.0.0.1, with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    file = tmp_path / "certificate.pem"
    file.write_bytes(
        certificate.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return file


@pytest.fixture
async def tls_source(make_source: Any, certificate: Path) -> Any:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    return await make_source(tls=context)


async def test_an_unknown_certificate_is_refused_for_good(
    fetcher: Fetcher, tls_source: Any, tmp_path: Path, naps: Any
) -> None:
    with pytest.raises(errors.SourceCertificateRejected, match="self-signed certificate"):
        await fetcher.download(f"{tls_source.base}/a?sig=SECRET", tmp_path / "file")
    assert naps.taken == []


async def test_an_operators_authority_is_taken_from_ssl_cert_file(
    open_fetcher: OpenFetcher, tls_source: Any, certificate: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    fetcher = await open_fetcher(f"127.0.0.1:{tls_source.port}")
    assert (await fetcher.download(f"{tls_source.base}/a", tmp_path / "file")).bytes == 6


async def test_a_downgrade_to_http_needs_an_entry_of_its_own(
    open_fetcher: OpenFetcher,
    tls_source: Any,
    source: Any,
    answers: Any,
    certificate: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    href = tls_source.says(answers.redirect(f"{source.base}/a"))
    strict = await open_fetcher(f"127.0.0.1:{tls_source.port}")
    with pytest.raises(errors.SourceForbidden, match="plain http"):
        await strict.download(href, tmp_path / "file")
    assert source.connections == 0
    lenient = await open_fetcher(f"127.0.0.1:{tls_source.port}", f"127.0.0.1:{source.port}")
    assert (await lenient.download(href, tmp_path / "file")).bytes == 6


async def test_plain_http_behind_an_https_url_is_a_failed_connection(open_fetcher: OpenFetcher, tmp_path: Path) -> None:
    async def complain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await reader.read()
        writer.close()

    fetcher = await open_fetcher("127.0.0.1", fetch_tries=1)
    server = await asyncio.start_server(complain, "127.0.0.1", 0)
    async with server:
        with pytest.raises(errors.SourceConnectionFailed, match="no TLS connection"):
            await fetcher.download(f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/a", tmp_path / "file")


@pytest.fixture
def unused_port() -> int:
    with contextlib.closing(socket.socket()) as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port
