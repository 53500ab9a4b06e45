from __future__ import annotations

import pytest

from graticule.errors import InvalidParameter
from graticule.stac.datetimes import TimeInterval, parse_datetime, parse_instant

DAY = 86_400_000_000
MIDNIGHT = 1_609_459_200_000_000  # 2021-01-01T00:00:00Z


@pytest.mark.parametrize(
    ("text", "microseconds"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("1969-12-31T23:59:59.5Z", -500_000),
        ("2021-01-01t00:00:00z", MIDNIGHT),
        ("2021-01-01T02:00:00+02:00", MIDNIGHT),
        ("2020-12-31T18:30:00-05:30", MIDNIGHT),
        ("2021-01-01T00:00:00.123456789Z", MIDNIGHT + 123_456),
        ("2020-12-31T23:59:60Z", MIDNIGHT),
        ("0001-01-01T00:00:00+23:59", -62_135_683_140_000_000),
        ("9999-12-31T23:59:59.999999-23:59", 253_402_387_139_999_999),
    ],
)
def test_an_instant_is_microseconds_in_utc(text: str, microseconds: int) -> None:
    assert parse_instant(text) == microseconds


@pytest.mark.parametrize(
    "text",
    [
        "2021-01-01",
        "2021-01-01T00:00:00",
        "2021-01-01 00:00:00Z",
        "2021-13-01T00:00:00Z",
        "2021-02-29T00:00:00Z",
        "2021-01-01T24:00:00Z",
        "2021-01-01T00:00:61Z",
        "2021-01-01T00:00:00,5Z",
        "2021-01-01T00:00:00.Z",
        "2021-01-01T00:00:00+24:00",
        "2021-01-01T00:00:00 01:00",
        "0000-01-01T00:00:00Z",
        "٢٠٢١-01-01T00:00:00Z",
        "2021-01-01T00:00:00Z\n",
    ],
)
def test_other_texts_are_no_instants(text: str) -> None:
    with pytest.raises(ValueError, match=r"^(is|has) "):
        parse_instant(text)


def test_a_blank_for_the_t_is_taken_where_it_is_allowed() -> None:
    assert parse_instant("2021-01-01 00:00:00+00:00", allow_space=True) == MIDNIGHT


@pytest.mark.parametrize(
    ("value", "interval"),
    [
        ("2021-01-01T00:00:00Z", (MIDNIGHT, MIDNIGHT)),
        ("2021-01-01T00:00:00Z/..", (MIDNIGHT, None)),
        ("2021-01-01T00:00:00Z/", (MIDNIGHT, None)),
        ("../2021-01-01T00:00:00Z", (None, MIDNIGHT)),
        ("/2021-01-01T00:00:00Z", (None, MIDNIGHT)),
        ("2021-01-01T00:00:00Z/2021-01-01T01:00:00+01:00", (MIDNIGHT, MIDNIGHT)),
    ],
)
def test_the_parameter_is_an_instant_or_an_interval(value: str, interval: tuple[int | None, int | None]) -> None:
    assert parse_datetime(value) == TimeInterval(*interval)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("", "not a text"),
        (None, "not a text"),
        (20210101, "not a text"),
        ("/", "open on both sides"),
        ("../..", "open on both sides"),
        ("..", "'..' is not an RFC 3339"),
        ("2021", "'2021' is not an RFC 3339"),
        ("2021-01-01T00:00:00Z/yesterday", "'yesterday' is not an RFC 3339"),
        ("2021-01-01", "write 2021-01-01T00:00:00Z"),
        ("2021-01-01/2021-01-02", "no time of day"),
        ("2021-02-30T00:00:00Z", "no such day"),
        ("2021-01-02T00:00:00Z/2021-01-01T00:00:00Z", "ends before it starts"),
        ("2021-01-01/2021-01-02/2021-01-03", "more than two parts"),
        ("2021-01-01T00:00:00 01:00", "%2B"),
    ],
)
def test_other_values_are_refused_with_the_reason(value: object, reason: str) -> None:
    with pytest.raises(InvalidParameter) as refused:
        parse_datetime(value)
    assert reason in refused.value.message
    assert refused.value.message.startswith("datetime: ")
    assert refused.value.target == "datetime"
