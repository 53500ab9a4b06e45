"""`graticule load` and `graticule export` of tables, as a shell runs them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ingestion.exchange.documents import collection, item, lines, write
from ingestion.exchange.odd import ODD

if TYPE_CHECKING:
    from cli.conftest import Run


def canonical(path: Path) -> list[str]:
    return sorted(json.dumps(json.loads(line), sort_keys=True) for line in lines(path))


def test_a_round_trip_through_tables_keeps_every_value(run: Run, tmp_path: Path) -> None:
    odder = {"GRATICULE_VALIDATE_CORE": "off"}  # also what the schema does not let through
    odd: list[dict[str, Any]] = [
        {**one, "id": f"odd-{number}"} for number, one in enumerate(one for items in ODD.values() for one in items)
    ]
    source = write(tmp_path / "in.ndjson", [collection(), *odd, collection("d"), *(item(n, "d") for n in range(30))])
    first, second = tmp_path / "first", tmp_path / "second"
    loaded = run("load", source, "--data-dir", first, more=odder)
    assert (loaded.returncode, loaded.stderr) == (0, f"{len(odd) + 30} items loaded, 2 collections written\n")

    exported = run("export", tmp_path / "out", "--format", "geoparquet", "--data-dir", first, "--json")
    done = json.loads(exported.stdout.splitlines()[-1])
    assert (exported.returncode, done["event"], done["items"]) == (0, "done", len(odd) + 30)

    again = run("load", tmp_path / "out", "--data-dir", second, more=odder)
    assert (again.returncode, again.stderr) == (0, loaded.stderr)
    unchanged = run("load", tmp_path / "out", "--data-dir", second, more=odder)
    assert unchanged.stderr == f"0 items loaded, {len(odd) + 32} unchanged\n"
    for folder, name in ((first, "a.ndjson"), (second, "b.ndjson")):
        assert run("export", tmp_path / name, "--data-dir", folder).returncode == 0
    assert canonical(tmp_path / "a.ndjson") == canonical(tmp_path / "b.ndjson")


def test_refused_rows_are_told_by_number_and_give_exit_code_1(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    columns = {"id": ["a", None], "geometry": pa.array([None, None], pa.binary()), "datetime": [None, None]}
    pq.write_table(pa.table(columns), path)
    result = run("load", path, "--collection", "c", "--create", "--data-dir", tmp_path / "c")
    assert result.returncode == 1
    first, second, last = result.stderr.splitlines()
    assert first.startswith(f"{path}:1: ")
    assert second.startswith(f"{path}:2: ")
    assert last == "0 items loaded, 2 refused"


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        (("load",), "--from-pgstac"),
        (("load", "x.parquet", "--from-pgstac", "postgresql:///x"), "--from-pgstac"),
        (("load", "x.parquet"), "x.parquet does not exist"),
        (("export",), "--to-pgstac"),
        (("export", "x.ndjson", "--format", "geoparquet"), "another format"),
        (("export", "x.parquet", "--format", "ndjson"), "another format"),
        (("export", "-", "--format", "geoparquet"), "stdout"),
        (("export", "x.parquet", "--bbox", "1,2"), "bbox"),
        (("export", "x.parquet", "--datetime", "yesterday"), "datetime"),
        (("export", "x.parquet", "--filter", "a ="), "filter"),
    ],
    ids=str,
)
def test_what_cannot_be_done_is_one_line_on_stderr(
    run: Run, tmp_path: Path, arguments: tuple[str, ...], names: str
) -> None:
    result = run(*arguments, more={"GRATICULE_DATA_DIR": str(tmp_path / "catalog")})
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1
    assert names in result.stderr
