"""`is_sound` says yes only where the checks that name faults find none."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any, Final

import pytest

from graticule.ingestion.validation import check_contents, check_shape, is_sound
from graticule.settings import Settings
from ingestion.exchange.documents import item

_ABSENT: Final = object()
#: Values that members may have by mistake.
_VALUES: Final[tuple[Any, ...]] = (
    _ABSENT,
    None,
    "",
    "text",
    5,
    True,
    [],
    ["x"],
    [5],
    [None],
    {},
    {"": {}},
    {"a": 5},
    [1, 2, 3, True],
)
_PATHS: Final = (
    ("type",), ("id",), ("stac_version",), ("stac_extensions",), ("collection",), ("geometry",), ("bbox",), ("links",),
    ("assets",), ("properties",), ("properties", "datetime"), ("geometry", "type"), ("geometry", "coordinates"),
    ("assets", "a"), ("assets", "a", "href"), ("assets", "a", "type"), ("assets", "a", "roles"), ("links", 0),
)  # fmt: skip


def good() -> dict[str, Any]:
    asset = {"href": "https://example.org/a.tif", "type": "image/tiff", "roles": ["data"]}
    link = {"rel": "license", "href": "https://example.org/"}
    return {**item(1, "c"), "stac_version": "1.0.0", "stac_extensions": [], "assets": {"a": asset}, "links": [link]}


def changed(path: tuple[Any, ...], value: Any) -> dict[str, Any]:
    document = copy.deepcopy(good())
    place: Any = document
    for step in path[:-1]:
        place = place[step]
    if value is _ABSENT:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    return document


def settings(tmp_path: Path, **given: Any) -> Settings:
    return Settings(data_dir=tmp_path, **given)


@pytest.mark.parametrize("version", ["1.0.0", "1.1.0"])
def test_an_item_that_is_right_is_sound(tmp_path: Path, version: str) -> None:
    assert is_sound(changed(("stac_version",), version), "c", settings(tmp_path))


@pytest.mark.parametrize("path", _PATHS, ids=lambda path: ".".join(map(str, path)))
def test_what_is_sound_passes_every_check(tmp_path: Path, path: tuple[Any, ...]) -> None:
    limits = settings(tmp_path)
    for value in _VALUES:
        document = changed(path, value)
        if is_sound(copy.deepcopy(document), "c", limits):
            check_contents(check_shape(document, "c"), limits)


@pytest.mark.parametrize("identity", ["", ".", "..", "a/b", "a\\b", "a\nb", "x" * 150])
def test_an_id_that_no_url_can_carry_is_not_sound(tmp_path: Path, identity: str) -> None:
    assert not is_sound(changed(("id",), identity), "c", settings(tmp_path))


def test_limits_of_assets_count(tmp_path: Path) -> None:
    assert not is_sound(changed(("assets",), {"x" * 256: {"href": "a"}}), "c", settings(tmp_path))
    many = {f"a{number}": {"href": "a"} for number in range(3)}
    assert not is_sound(changed(("assets",), many), "c", settings(tmp_path, max_item_assets=2))


def test_an_item_of_another_collection_is_not_sound(tmp_path: Path) -> None:
    assert not is_sound(good(), "d", settings(tmp_path))
