"""Which api-version a request gets."""

from __future__ import annotations

import pytest

from graticule.api.versions import PREVIEW, STABLE, api_version
from graticule.errors import UnsupportedApiVersion


@pytest.mark.parametrize(
    ("values", "expected"), [([], STABLE), ([STABLE], STABLE), ([PREVIEW], PREVIEW), ([STABLE, PREVIEW], PREVIEW)]
)
def test_the_version_asked_for(values: list[str], expected: str) -> None:
    assert api_version(values) == expected


@pytest.mark.parametrize("value", ["", "2024-01-31-preview", "x" * 10_000])
def test_others_are_refused_with_those_that_are_served(value: str) -> None:
    with pytest.raises(UnsupportedApiVersion) as caught:
        api_version([STABLE, value])
    assert STABLE in caught.value.message
    assert PREVIEW in caught.value.message
    assert len(caught.value.message) < 300
