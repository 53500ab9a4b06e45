from __future__ import annotations

from datetime import timedelta

import pytest
import typer

from graticule.cli.options import duration


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ("90s", timedelta(seconds=90)),
        ("30m", timedelta(minutes=30)),
        ("12h", timedelta(hours=12)),
        ("7d", timedelta(days=7)),
        (" 365d ", timedelta(days=365)),
    ],
)
def test_durations_are_a_number_and_a_unit(text: str, meaning: timedelta) -> None:
    assert duration(text, "--expires-in") == meaning


@pytest.mark.parametrize("text", ["", "12", "h", "1.5h", "-1h", "12 h", "1w", "0s", "366d", "99999999999d", "１h"])  # noqa: RUF001 - a wide digit
def test_other_texts_are_refused(text: str) -> None:
    with pytest.raises(typer.BadParameter):
        duration(text, "--expires-in")
