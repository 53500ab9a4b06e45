"""Items are held against the bundled schemas: what is right passes, and a fault names its member and rule."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from graticule.stac import validation
from graticule.stac.validation import MOST_FAULTS, bundled, core_faults, extension_faults, extensions, keeps_all

EXTENSION = "https://stac-extensions.github.io/{}/schema.json"


def item(version: str = "1.0.0", *names: str, **properties: Any) -> dict[str, Any]:
    return {
        "type": "Feature",
        "stac_version": version,
        "stac_extensions": [EXTENSION.format(name) for name in names],
        "id": "a",
        "geometry": {"type": "Point", "coordinates": [1, 2]},
        "bbox": [1, 2, 1, 2],
        "properties": {"datetime": "2024-05-01T10:00:00Z", **properties},
        "links": [],
        "assets": {"image": {"href": "https://example.com/a.tif", "type": "image/tiff", "roles": ["data"]}},
    }


def real_items(folder: Path) -> Iterator[dict[str, Any]]:
    for path in sorted((folder / "stac").rglob("*")):
        if "invalid" in path.parts or path.suffix not in {".json", ".ndjson", ".geojson"}:
            continue
        for document in documents(path.read_text("utf-8")):
            for entry in document.get("features") or [document] if isinstance(document, dict) else ():
                if entry.get("type") == "Feature" and entry.get("stac_version") in {"1.0.0", "1.1.0"}:
                    yield entry


def documents(text: str) -> list[Any]:
    """One document, or one a line, whatever the file is called."""
    try:
        return [json.loads(text)]
    except json.JSONDecodeError:
        return [json.loads(line) for line in text.splitlines() if line]


def test_the_items_of_public_catalogs_pass(test_data: Path) -> None:
    """All but those without a bbox or without hrefs, which no catalog of STAC 1.0 can have meant."""
    faults = {
        str(fault)
        for document in real_items(test_data)
        for fault in core_faults(document)
        if '"href" is a required' not in str(fault)
    }
    assert faults <= {'the Item: "bbox" is a required property (STAC 1.0.0 item: required)'}


def test_extensions_of_public_catalogs_pass_but_for_names_that_eo_does_not_know(test_data: Path) -> None:
    faults = [fault for document in real_items(test_data) for fault in extension_faults(document)[0]]
    found = {fault.path.rpartition(".")[2] for fault in faults}
    assert found <= {"common_name"}


@pytest.mark.parametrize("version", ["1.0.0", "1.0.1", "1.1.0"])
def test_an_item_is_judged_as_it_would_be_published(version: str) -> None:
    document = item(version)
    document["collection"] = "c"
    del document["links"], document["assets"]
    assert core_faults(document) == []
    del document["stac_version"]
    assert core_faults(document) == []


def change(path: str, value: Any) -> Callable[[dict[str, Any]], None]:
    """Set a member, or take it away for `...`."""

    def apply(document: dict[str, Any]) -> None:
        *parents, last = path.split(".")
        for name in parents:
            document = document[name]
        if value is ...:
            del document[last]
        else:
            document[last] = value

    return apply


@pytest.mark.parametrize("version", ["1.0.0", "1.1.0"])
@pytest.mark.parametrize(
    ("apply", "path", "rule"),
    [
        (change("properties.datetime", ...), "properties", "required"),
        (change("properties.datetime", 7), "properties.datetime", "type"),
        (change("properties.gsd", -3), "properties.gsd", "exclusiveMinimum"),
        (change("properties.instruments", "oli"), "properties.instruments", "type"),
        (change("properties.created", "2024-05-01T10:00:00+02:00"), "properties.created", "pattern"),
        (change("geometry.coordinates", ["1", 2]), "geometry.coordinates.0", "type"),
        (change("geometry", {"type": "Circle"}), "geometry.type", "enum"),
        (change("bbox", [1, 2, 3]), "bbox", "minItems"),
        (change("links", [{"rel": "about"}]), "links.0", "required"),
        (change("assets.image.href", ...), "assets.image", "required"),
        (change("assets.image.title", 3), "assets.image.title", "type"),
        (change("assets.image.roles", "data"), "assets.image.roles", "type"),
        (change("stac_extensions", ["a", "a"]), "stac_extensions", "uniqueItems"),
    ],
)
def test_a_fault_of_the_core_names_its_member_and_rule(
    version: str, apply: Callable[[dict[str, Any]], None], path: str, rule: str
) -> None:
    document = item(version)
    apply(document)
    fault = core_faults(document)[0]
    assert fault.path == path or (path == "geometry.type" and fault.path.startswith("geometry"))
    assert fault.rule.startswith(f"STAC {version} item: ")
    assert fault.rule.endswith(rule) or fault.path.startswith("geometry")


@pytest.mark.parametrize("version", ["1.0.0", "1.1.0"])
@pytest.mark.parametrize(
    ("apply", "message"),
    [
        (change("properties.datetime", None), "null is allowed only beside start_datetime and end_datetime"),
        (change("properties.datetime", "2024"), '"2024" is no date-time in UTC such as 2024-01-31T12:00:00Z'),
        (
            change(
                "geometry", {"type": "GeometryCollection", "geometries": [{"type": "Point", "coordinates": [1, 2]}]}
            ),
            '"GeometryCollection" is none of Point, LineString, Polygon, MultiPoint, MultiLineString and MultiPolygon',
        ),
    ],
)
def test_usual_faults_are_told_with_what_would_be_right(
    version: str, apply: Callable[[dict[str, Any]], None], message: str
) -> None:
    document = item(version)
    apply(document)
    assert message in [fault.message for fault in core_faults(document)]


@pytest.mark.parametrize(
    ("name", "properties", "path", "rule"),
    [
        ("eo/v1.1.0", {"eo:cloud_cover": 101}, "properties.eo:cloud_cover", "eo v1.1.0: maximum"),
        ("eo/v1.0.0", {"eo:cloud_cover": 101}, "properties.eo:cloud_cover", "eo v1.1.0: maximum"),
        ("eo/v2.0.0", {"eo:cloud_cover": 101}, "properties.eo:cloud_cover", "eo v2.0.0: maximum"),
        ("projection/v1.0.0", {"proj:epsg": "32618"}, "properties.proj:epsg", "projection v1.1.0: type"),
        ("projection/v1.1.0", {"proj:shape": [1]}, "properties.proj:shape", "projection v1.1.0: minItems"),
        ("projection/v1.1.0", {"proj:code": "EPSG:1"}, "properties", "projection v1.1.0: additionalProperties"),
        ("projection/v2.0.0", {"proj:code": 32618}, "properties.proj:code", "projection v2.0.0: type"),
        ("view/v1.0.0", {"view:off_nadir": 91}, "properties.view:off_nadir", "view v1.0.0: maximum"),
        ("sat/v1.0.0", {"sat:orbit_state": "up"}, "properties.sat:orbit_state", "sat v1.0.0: enum"),
        ("raster/v2.0.0", {"raster:scale": "x"}, "properties.raster:scale", "raster v2.0.0: type"),
        ("file/v2.1.0", {}, "assets.image.file:size", "file v2.1.0: type"),
    ],
)
def test_a_fault_of_an_extension_names_its_member_and_rule(
    name: str, properties: dict[str, Any], path: str, rule: str
) -> None:
    document = item("1.0.0", name, **properties)
    if name.startswith("file"):
        document["assets"]["image"]["file:size"] = "large"
    faults, unknown = extension_faults(document)
    assert [(fault.path, fault.rule) for fault in faults] == [(path, rule)]
    assert unknown == []


def test_members_of_an_extension_that_is_not_named_are_anybodys() -> None:
    assert extension_faults(item("1.0.0", **{"eo:cloud_cover": "much"})) == ([], [])


def test_what_a_newer_version_came_to_require_is_not_asked_of_an_older_one() -> None:
    landsat = "https://landsat.usgs.gov/stac/landsat-extension/v1.1.{}/schema.json"
    document = {**item(), "stac_extensions": [landsat.format(0)]}
    assert extension_faults(document) == ([], [])
    document["stac_extensions"] = [landsat.format(1)]
    assert any("required" in fault.rule for fault in extension_faults(document)[0])


@pytest.mark.parametrize(
    "url",
    [
        "https://example.com/mine/v1.0.0/schema.json",
        EXTENSION.format("eo/v3.0.0"),
        EXTENSION.format("eo/v1.9.0"),
        "http://169.254.169.254/latest/meta-data",
        "file:///etc/passwd",
        "eo",
        "",
    ],
)
def test_what_is_not_bundled_is_unknown_and_not_fetched(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(validation, "_refuse", asked.append)
    document = {**item(), "stac_extensions": [url]}
    assert extension_faults(document) == ([], [url])
    assert asked == []


def test_every_bundled_extension_can_be_used() -> None:
    """Their references lead to bundled schemas only: compiling one resolves them all."""
    assert len(extensions()) > 20
    for url in extensions():
        assert bundled(url) == url
        extension_faults({**item(), "stac_extensions": [url]})


def test_a_signature_does_not_come_into_a_message() -> None:
    document = item()
    document["assets"]["image"]["roles"] = "https://example.com/a.tif?sig=secret"
    document["assets"]["image"]["title"] = ["https://example.com/a.tif?sig=secret"]
    text = " ".join(map(str, core_faults(document)))
    assert "assets.image" in text
    assert "secret" not in text


def test_a_document_that_is_wrong_throughout_is_told_in_part() -> None:
    document = item()
    document["links"] = [{} for _ in range(1000)]
    assert len(core_faults(document)) == MOST_FAULTS


# --- the quick answer


def test_an_item_that_surely_keeps_all_rules_has_no_fault(test_data: Path) -> None:
    """And most of public catalogs surely do that have none; others name an older version than is bundled."""
    surely, known = 0, 0
    for document in real_items(test_data):
        faults, unknown = extension_faults(document)
        is_right = not (core_faults(document) or faults or unknown)
        known += is_right
        if keeps_all(document):
            surely += 1
            assert is_right
    assert known // 2 < surely <= known


@pytest.mark.parametrize(
    "change",
    [
        lambda one: one["properties"].update(datetime="yesterday"),
        lambda one: one["properties"].update({"eo:cloud_cover": 101}),
        lambda one: one["properties"].update({"eo:nonsense": 1}),
        lambda one: one["assets"]["image"].update({"eo:nonsense": 1}),
        lambda one: one["assets"]["image"].update(href=1),
        lambda one: one["stac_extensions"].append("https://example.com/v1.0.0/schema.json"),
        lambda one: one["stac_extensions"].append(7),
        lambda one: one.update(stac_extensions="eo"),
        lambda one: one.update(stac_version="1.0.1"),
        lambda one: one.update(bbox=[1, 2]),
        lambda one: one.update(links=None),
    ],
)
def test_it_is_not_sure_of_what_breaks_a_rule_or_is_not_known(change: Callable[[dict[str, Any]], Any]) -> None:
    document = item("1.0.0", "eo/v1.1.0", **{"eo:cloud_cover": 5})
    assert keeps_all(document)
    change(document)
    assert not keeps_all(document)


@pytest.mark.parametrize("prefix", ["eo:", "proj:", "classification:"])
def test_members_of_a_prefix_are_told_apart_without_looking_ahead(prefix: str) -> None:
    pattern = re.compile(validation._begins_otherwise(prefix))
    begins = [prefix, f"{prefix}x", f"{prefix}{prefix}", f"{prefix}\n", prefix[:-1] * 2 + ":"]
    others = ["", "x", ":", "\n", "é", f"x{prefix}", f" {prefix}", prefix.upper(), prefix[::-1]]
    others += [prefix[:end] for end in range(len(prefix))] + [prefix[:end] + "\n" for end in range(len(prefix))]
    for text in begins + others:
        assert (pattern.match(text) is None) == text.startswith(prefix), text


def test_no_bundled_schema_looks_ahead() -> None:
    """Else every member of every asset takes three times as long."""
    assert not [url for url in extensions() if "(?!" in json.dumps(validation._documents()[url])]
