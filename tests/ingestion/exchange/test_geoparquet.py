"""stac-geoparquet: nothing is lost on the way through a table, others read ours, and we read theirs."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import geopandas
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import rustac
import stac_geoparquet.arrow
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from graticule.errors import InvalidParameter, SettingsError
from graticule.ingestion.exchange import find_files, geoparquet
from graticule.ingestion.exchange.columns import PATCH
from graticule.ingestion.exchange.geoparquet import ParquetSource, write_geoparquet
from ingestion.exchange.documents import collection, item, write
from ingestion.exchange.odd import ODD

LONGEST = 10_000_000


def table(folder: Path, documents: Sequence[Any]) -> Path:
    """A file of stac-geoparquet of ours."""
    path = folder / "items.parquet"
    write_geoparquet(write(folder / "lines.ndjson", documents), path)
    return path


def canonical(document: Any) -> str:
    return json.dumps(document, sort_keys=True)


def read(path: Path) -> list[Any]:
    """What is loaded of a file, without the file's own metadata."""
    return [json.loads(line.text or b"null") for line in ParquetSource(path).lines(LONGEST) if line.number]


def assert_kept(folder: Path, items: Sequence[Any]) -> None:
    assert list(map(canonical, read(table(folder, items)))) == list(map(canonical, items))


@pytest.mark.parametrize("name", ODD)
def test_an_odd_item_comes_back_as_it_was(name: str, tmp_path: Path) -> None:
    assert_kept(tmp_path, ODD[name])


def test_odd_items_come_back_from_one_table(tmp_path: Path) -> None:
    assert_kept(tmp_path, [one for items in ODD.values() for one in items])


def test_real_items_come_back_as_they_were(tmp_path: Path, test_data: Path) -> None:
    files = sorted((test_data / "stac" / "items").rglob("*.ndjson"))
    assert len(files) > 30
    for file in files:
        assert_kept(tmp_path, [json.loads(line) for line in file.read_bytes().splitlines()[:60]])


SCALARS = (
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False)
)
JSON = st.recursive(
    SCALARS | st.sampled_from(["", "a", "2020-01-01", "2020-01-01T00:00:00Z", "0", "null", "é\u0000😀"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "b", ""]), inner, max_size=3),
    max_leaves=6,
)
PROPERTIES = st.dictionaries(st.sampled_from(["x", "y", "created", "id", "proj:geometry", "geometry"]), JSON)


@settings(
    max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], deadline=None
)
@given(st.lists(PROPERTIES, min_size=1, max_size=4))
def test_any_properties_come_back_as_they_were(tmp_path: Path, properties: list[dict[str, Any]]) -> None:
    assert_kept(tmp_path, [item(0, properties=one) for one in properties])


def test_documents_whose_keys_are_data_make_no_columns_without_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("graticule.ingestion.exchange.columns._PLACES", 60)
    items = [item(number, assets={f"file-{number}": {"href": "https://x.test/"}}) for number in range(200)]
    assert_kept(tmp_path, items)
    assets = pq.read_schema(tmp_path / "items.parquet").field("assets").type
    assert 0 < assets.num_fields < 60


def test_a_plain_item_needs_no_patch(tmp_path: Path) -> None:
    plain = item(0, bbox=[0.0, 0.0, 1.5, 1.0], geometry={"type": "Point", "coordinates": [0.5, 1.0]}, properties={
        "datetime": "2020-01-01T00:00:00.25Z", "gsd": 10.5, "eo:bands": [{"name": "r"}]
    })  # fmt: skip
    assert pq.read_table(table(tmp_path, [plain])).column(PATCH).to_pylist() == [None]


def test_the_metadata_are_those_of_geoparquet_and_stac_geoparquet(tmp_path: Path) -> None:
    described = collection(n=1.0, nothing=None)
    point = item(1, geometry={"type": "Point", "coordinates": [1.0, 2.0, 3.0]}, bbox=[170.0, 0.0, -170.0, 50.5])
    path = table(tmp_path, [described, item(0), point])
    stored = pq.read_schema(path).metadata
    metadata = {name: json.loads(stored[name.encode()]) for name in ("geo", "stac-geoparquet")}
    assert canonical(metadata["stac-geoparquet"]) == canonical({"version": "1.0.0", "collections": {"c": described}})
    geo = metadata["geo"]
    assert (geo["version"], geo["primary_column"]) == ("1.1.0", "geometry")
    column = geo["columns"]["geometry"]
    assert column["encoding"] == "WKB"
    assert column["geometry_types"] == ["Point Z", "Polygon"]
    assert column["crs"]["id"] == {"authority": "OGC", "code": "CRS84"}
    assert column["covering"]["bbox"]["xmax"] == ["bbox", "xmax"]
    assert column["bbox"] == [-180.0, -70.0, 180.0, 50.5]
    schema = pq.read_schema(path)
    assert schema.field("datetime").type == pa.timestamp("us", tz="UTC")
    assert [schema.field("bbox").type.field(number).name for number in range(4)] == ["xmin", "ymin", "xmax", "ymax"]


def test_a_table_has_many_row_groups_of_bounded_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(geoparquet, "_BATCH", 10)
    monkeypatch.setattr(geoparquet, "_GROUP_ROWS", 40)
    items = [item(number) for number in range(105)]
    assert_kept(tmp_path, items)
    file = pq.ParquetFile(tmp_path / "items.parquet")
    assert [file.metadata.row_group(number).num_rows for number in range(file.num_row_groups)] == [40, 40, 25]
    offsets = [line.offset for line in ParquetSource(tmp_path / "items.parquet").lines(LONGEST)]
    assert offsets == sorted(offsets)
    assert offsets[-1] == (tmp_path / "items.parquet").stat().st_size


def test_a_collection_without_items_is_a_table_too(tmp_path: Path) -> None:
    path = table(tmp_path, [collection()])
    assert [json.loads(line.text or b"") for line in ParquetSource(path).lines(LONGEST)] == [collection()]


def test_a_row_longer_than_allowed_is_told_by_its_number(tmp_path: Path) -> None:
    path = table(tmp_path, [item(0), item(1, x="y" * 5_000), item(2)])
    assert [(line.number, line.text is None) for line in ParquetSource(path).lines(2_000)] == [
        (1, False),
        (2, True),
        (3, False),
    ]


def test_columns_that_were_changed_by_others_are_what_is_loaded(tmp_path: Path) -> None:
    path = table(tmp_path, [item(0, "c", x=1), item(1)])
    rows = pq.read_table(path)
    index = rows.schema.get_field_index("gsd")
    pq.write_table(rows.set_column(index, "gsd", pa.array([1.5, 2.5])), path)
    first, second = read(path)
    assert (first["properties"]["gsd"], second["properties"]["gsd"], first["x"]) == (1.5, 2.5, 1)


# --- the others


def real_items(test_data: Path) -> list[Any]:
    lines = (test_data / "stac" / "items" / "pc" / "naip.ndjson").read_bytes().splitlines()
    return [json.loads(line) for line in lines[:40]]


async def test_other_libraries_read_our_tables(tmp_path: Path, test_data: Path) -> None:
    items = real_items(test_data)
    path = table(tmp_path, [collection("naip"), *items])
    theirs = list(stac_geoparquet.arrow.stac_table_to_items(pq.read_table(path)))
    by_rustac = (await rustac.read(str(path)))["features"]
    for found in (theirs, by_rustac):
        assert [one["id"] for one in found] == [one["id"] for one in items]
        assert [one["assets"]["image"]["href"] for one in found] == [one["assets"]["image"]["href"] for one in items]
        assert [one["geometry"] for one in found] == [one["geometry"] for one in items]
    frame = geopandas.read_parquet(path, columns=["id", "geometry", "naip:year"])
    assert frame.crs.to_authority() == ("OGC", "CRS84")
    west, south, east, north = items[0]["bbox"]
    near = geopandas.read_parquet(path, bbox=(west, south, east, north))
    assert items[0]["id"] in set(near["id"])
    assert len(near) < len(frame)


def test_tables_of_stac_geoparquet_are_read(tmp_path: Path, test_data: Path) -> None:
    items = real_items(test_data)
    path = tmp_path / "theirs.parquet"
    described = {"naip": collection("naip")}
    stac_geoparquet.arrow.to_parquet(
        stac_geoparquet.arrow.parse_stac_items_to_arrow(items), path, collections=described
    )
    first, *rows = ParquetSource(path).lines(LONGEST)
    assert (first.number, json.loads(first.text or b"")) == (0, collection("naip"))
    assert [canonical(json.loads(row.text or b"")) for row in rows] == [canonical(one) for one in items]


async def test_tables_of_rustac_are_read(tmp_path: Path, test_data: Path) -> None:
    items = real_items(test_data)
    await rustac.write(str(tmp_path / "theirs.parquet"), items)
    migrated = [{**one, "stac_version": "1.1.0"} for one in items]  # which rustac does with everything
    assert list(map(canonical, read(tmp_path / "theirs.parquet"))) == list(map(canonical, migrated))


@pytest.mark.parametrize(("name", "count"), [("1000-sentinel-2-items.parquet", 1000), ("aster-l1t-subset.parquet", 5)])
def test_published_tables_are_read(name: str, count: int, test_data: Path) -> None:
    found = read(test_data / "stac" / "items" / "parquet" / name)
    assert len(found) == count
    for one in found:
        assert one["geometry"]["type"] == "Polygon"
        assert len(one["bbox"]) == 4
        assert one["properties"]["datetime"].endswith("Z")
        assert one["assets"]
        assert "null" not in json.dumps(one["assets"])


def test_other_types_become_json(tmp_path: Path) -> None:
    columns = {
        "id": ["a"],
        "geometry": pa.array([None], pa.binary()),
        "bbox": pa.array([[0.0, 1.0, 2.0, 3.0]]),
        "datetime": pa.array([datetime(2020, 1, 1)], pa.timestamp("ns")),  # noqa: DTZ001 - without a zone it is UTC
        "day": [date(2020, 1, 2)],
        "when": pa.array([{"t": datetime(2020, 1, 3, 4, 5, 6, tzinfo=UTC)}]),
        "price": [Decimal("1.5")],
        "number": pa.array([float("nan")]),
        "map": pa.array([[("k", 1)]], pa.map_(pa.string(), pa.int64())),
    }
    pq.write_table(pa.table(columns), tmp_path / "t.parquet")
    (found,) = read(tmp_path / "t.parquet")
    assert (found["bbox"], found["geometry"]) == ([0.0, 1.0, 2.0, 3.0], None)
    assert found["properties"] == {
        "datetime": "2020-01-01T00:00:00Z",
        "day": "2020-01-02",
        "when": {"t": "2020-01-03T04:05:06Z"},
        "price": 1.5,
        "map": {"k": 1},
    }


@pytest.mark.parametrize(
    ("columns", "says"),
    [
        ({"id": ["a"]}, "no column geometry"),
        ({"id": ["a"], "geometry": ["POINT (1 2)"]}, "only geometries in WKB"),
        ({"id": ["a"], "geometry": [b"\x00"]}, "no WKB"),
        ({"id": ["a"], "geometry": pa.array([None], pa.binary()), "x": [b"\x00"]}, "'x' holds bytes"),
        ({"id": ["a"], "geometry": pa.array([None], pa.binary()), PATCH: ['[{"op":"x"}]']}, "patch does not fit"),
        ({"id": ["a"], "geometry": pa.array([None], pa.binary()), PATCH: ["{"]}, PATCH),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_no_stac_geoparquet_is_refused(columns: dict[str, Any], says: str, tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table(columns), path)
    with pytest.raises(InvalidParameter, match=says) as refused:
        read(path)
    assert str(path) in refused.value.message


@pytest.mark.parametrize("content", [b"", b"PAR1", b"x" * 1000])
def test_what_is_no_parquet_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    path.write_bytes(content)
    with pytest.raises(InvalidParameter, match="cannot be read as stac-geoparquet"):
        read(path)


def test_without_pyarrow_the_command_that_installs_it_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(SettingsError, match=r"pip install 'graticule\[geoparquet\]'"):
        read(tmp_path / "t.parquet")


def test_tables_of_a_folder_are_found_at_any_depth(tmp_path: Path) -> None:
    for name in ("a.parquet", "year=2020/b.parquet", "c/items.ndjson", "_temporary/d.parquet", ".e.parquet"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    found = [str(file.path.relative_to(tmp_path)) for file in find_files(tmp_path) if file.path is not None]
    assert found == ["c/items.ndjson", "a.parquet", "year=2020/b.parquet"]
