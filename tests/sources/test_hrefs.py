from __future__ import annotations

import pytest

from graticule.errors import InvalidAssetHref
from graticule.sources import parse_href, redact


@pytest.mark.parametrize(
    ("href", "says"),
    [
        ("scene.tif", "relative"),
        ("./scene.tif?sig=SECRET", "relative"),
        ("/scene.tif", "relative"),
        ("//host/scene.tif?sig=SECRET", "relative"),
        ("", "empty"),
        ("s3://bucket/key", "scheme 's3'"),
        ("file:///etc/passwd", "scheme 'file'"),
        ("/vsicurl/https://host/a", "relative"),
        ("data:text/plain,SECRET", "scheme 'data'"),
        ("https:/host/a", "no host"),
        ("https:host/a", "no host"),
        ("https:///a", "no host"),
        ("https://?sig=SECRET", "no host"),
        ("https://:443/a", "no host"),
        ("https://host:0/a", "port"),
        ("https://host:65536/a", "port"),
        ("https://host:https/a", "port"),
        ("https://host:-1/a", "port"),
        ("https://host:٤٤٣/a", "port"),
        ("https://user:SECRET@host/a", "user name"),
        ("https://SECRET@host/a", "user name"),
        ("https://user:SEC/RET@host/a", "port"),
        ("https://ho st/a", "white space"),
        ("https://host/a b?sig=SECRET", "white space"),
        (" https://host/a", "white space"),
        ("https://host/a\n", "white space"),
        ("https://host/a\r\nX-Header: 1", "white space"),
        ("https://host/\x00", "white space"),
        ("https://host/a\N{LINE SEPARATOR}b", "white space"),
        ("https://[::1/a", "malformed IPv6"),
        ("https://[::1]x/a", "malformed IPv6"),
        ("https://[v1.x]/a", "malformed IPv6"),
        ("https://[fe80::1%25eth0]/a", "zone"),
        ("https://host\\@evil.example/a", "user name"),
        ("https://host\\evil.example/a", "no domain name"),
        ("https://a..b/a", "no domain name"),
        ("https://%6c%6fcalhost/a", "no domain name"),
        ("https://\N{PILE OF POO}\ud800.example/", "no domain name"),
        ("https://host/\ud800", "no Unicode"),
        ("https://host/" + "a" * 20_000, "longer"),
        ("https://2130706433/", "IPv4"),
        ("https://0x7f000001/", "IPv4"),
        ("https://0177.0.0.1/", "IPv4"),
        ("https://127.1/", "IPv4"),
        ("https://1.2.3.256/", "IPv4"),
        ("https://1.2.3.4.5/", "IPv4"),
        ("https://a.0x1/", "IPv4"),
        (None, "not a string"),
        (7, "not a string"),
    ],
)
def test_a_malformed_href_is_refused_with_what_is_wrong(href: object, says: str) -> None:
    with pytest.raises(InvalidAssetHref) as caught:
        parse_href(href)
    assert says in caught.value.message
    assert "SECRET" not in caught.value.message.replace("\N{HORIZONTAL ELLIPSIS}", "")
    assert "RET@" not in caught.value.message
    assert caught.value.message.isprintable()


@pytest.mark.parametrize(
    ("href", "scheme", "host", "port", "path_query"),
    [
        ("https://Host.Example/a?b?c#d?e", "https", "host.example", 443, "/a?b?c"),
        ("HTTP://host:8080", "http", "host", 8080, "/"),
        ("https://host?x=1", "https", "host", 443, "/?x=1"),
        ("https://host:/a", "https", "host", 443, "/a"),
        ("https://host./a", "https", "host.", 443, "/a"),
        ("https://[2606:4700:0:0:0::1111]:8443/a", "https", "2606:4700::1111", 8443, "/a"),
        ("https://8.8.8.8./a", "https", "8.8.8.8", 443, "/a"),
        ("https://bücher.example/ü", "https", "xn--bcher-kva.example", 443, "/%C3%BC"),
        ("https://my_bucket.s3.example/a@2x.png", "https", "my_bucket.s3.example", 443, "/a@2x.png"),
        ("https://host/?", "https", "host", 443, "/?"),
    ],
)
def test_an_href_is_taken_apart(href: str, scheme: str, host: str, port: int, path_query: str) -> None:
    read = parse_href(href)
    assert (read.scheme, read.host, read.port, read.path_query) == (scheme, host, port, path_query)


def test_fullwidth_digits_are_read_as_the_address_they_become() -> None:
    assert parse_href("https://\uff11\uff12\uff17.0.0.1/").host == "127.0.0.1"


@pytest.mark.parametrize(
    ("href", "shown"),
    [
        ("https://host/a?sig=1", "https://host/a"),
        ("https://host/a#t", "https://host/a"),
        ("https://u:p@host:80/a@2x.png", "https://host:80/a@2x.png"),
        ("https://u:p/q@host/a", "https://u:\N{HORIZONTAL ELLIPSIS}"),
        ("https://u:1/q@host/a", "https://u:1/q@host/a"),
        ("//u:p@host/a?sig=1", "//host/a"),
        ("a/b?sig=1", "a/b"),
        ("data:text/plain,hello", "data:\N{HORIZONTAL ELLIPSIS}"),
        ("https://host/a\x1b[1m", "https://host/a\N{REPLACEMENT CHARACTER}[1m"),
    ],
)
def test_redaction_takes_queries_and_passwords_away(href: str, shown: str) -> None:
    assert redact(href) == shown


def test_a_read_href_shows_no_query_anywhere() -> None:
    href = parse_href("https://host/a?sig=SECRET")
    assert str(href) == "https://host/a"
    assert "SECRET" not in repr(href)
