"""A real pgstac as neighbour: in, out, again, and what either side cannot take."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from graticule.errors import GraticuleError, InvalidParameter, SettingsError, Unavailable
from graticule.ingestion.exchange import PgstacServer, PgstacSource
from graticule.ingestion.exchange import pgstac as reading
from graticule.ingestion.exchange.pgstac_writing import PgstacWriter, Written
from ingestion.exchange.documents import collection, item, lines, write
from ingestion.exchange.odd import ODD

ROOT = Path(__file__).resolve().parents[3]


def put(dsn: str, documents: Sequence[Any], *, overwrite: bool = False) -> Written:
    """Write a collection `c` and items."""
    written = Written()
    with PgstacWriter.opened(PgstacServer(dsn), overwrite=overwrite) as writer:
        for document in documents:
            if document["type"] == "Collection":
                written.add(writer.put_collection(document["id"], json.dumps(document).encode()))
        items = [json.dumps(document).encode() for document in documents if document["type"] == "Feature"]
        written.add(writer.put_items("c", items))
    return written


def read(dsn: str, only: str | None = None) -> list[Any]:
    return [json.loads(line.text or b"null") for line in PgstacSource(PgstacServer(dsn), only).lines(10_000_000)]


def ids(refused: Written) -> list[tuple[str, str]]:
    return sorted((one.id, one.code) for one in refused.refused)


def test_documents_come_back_as_they_were(pgstac: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "_PAGE", 7)
    described = collection(item_assets={"b1": {"roles": ["data"], "type": "image/tiff"}})
    items = [item(number) | {"x:y": {"z": [1, 2.5]}} for number in range(20)]
    assert put(pgstac, [described, *items]) == Written(collections=1, items=20)
    first, *rest = read(pgstac)
    assert first == described
    assert rest == items
    assert [type(one["properties"]["gsd"]) for one in rest] == [float] * 20


def test_written_again_everything_is_unchanged(pgstac: str) -> None:
    odd = [
        {**one, "id": f"odd-{number}"}
        for number, one in enumerate(one for items in ODD.values() for one in items)
        if one["geometry"] is not None and "\\u0000" not in json.dumps(one)
    ]
    documents = [collection(), *odd]
    written = put(pgstac, documents)
    assert (written.items, written.refused) == (len(odd), [])
    assert put(pgstac, documents) == Written(unchanged=len(odd) + 1)
    back = read(pgstac)
    assert put(pgstac, back) == Written(unchanged=len(odd) + 1)
    assert {one["id"] for one in back} == {"c", *(one["id"] for one in odd)}


def test_items_that_other_programs_have_written_are_unchanged_too(pgstac: str) -> None:
    put(pgstac, [collection()])
    with psycopg.connect(pgstac, autocommit=True) as raw:
        raw.execute("SET search_path TO pgstac, public")
        raw.execute("SELECT pgstac.create_items(%s::jsonb)", [json.dumps([item(1), item(2)])])
    assert put(pgstac, [item(1), item(2), item(3)]) == Written(items=1, unchanged=2)


def test_other_contents_are_refused_or_replaced(pgstac: str) -> None:
    put(pgstac, [collection(), item(1), item(2)])
    changed = [collection(title="t"), item(1, properties={"datetime": "2024-05-05T00:00:00Z"}), item(2), item(3)]
    refused = put(pgstac, changed)
    assert ids(refused) == [("c", "Conflict"), ("item-000001", "ItemAlreadyExists")]
    assert (refused.items, refused.unchanged, refused.replaced) == (1, 1, 0)
    replaced = put(pgstac, changed, overwrite=True)
    assert (replaced.collections, replaced.replaced, replaced.unchanged, replaced.refused) == (1, 1, 2, [])
    assert [one["properties"]["datetime"][:4] for one in read(pgstac)[1:]] == ["2024", "2020", "2020"]


def test_what_pgstac_cannot_take_is_named_and_the_rest_is_written(pgstac: str) -> None:
    bad = [
        item(3, geometry=None),
        item(11, properties={"datetime": "2020-01-01T00:00:00Z", "x": "\0"}),
        item(17, properties={"datetime": None}),
    ]
    numbers = {one["id"] for one in bad}
    good = [one for one in map(item, range(20)) if one["id"] not in numbers]
    written = put(pgstac, [collection(), *good[:7], *bad, *good[7:]])
    assert ids(written) == [(identity, "InvalidInputData") for identity in sorted(numbers)]
    assert "not-null" in next(one.message for one in written.refused if one.id == "item-000003")
    assert [one["id"] for one in read(pgstac)[1:]] == [one["id"] for one in good]
    again = put(pgstac, [collection(), *good, *bad])
    assert (again.items, again.unchanged, len(again.refused)) == (0, 18, 3)


def test_one_collection_alone_is_read(pgstac: str) -> None:
    put(pgstac, [collection("a"), collection("b"), collection(), item(1)])
    assert [one["id"] for one in read(pgstac, "a")] == ["a"]
    assert [one["id"] for one in read(pgstac)] == ["a", "b", "c", "item-000001"]
    with pytest.raises(GraticuleError, match="has no collection 'z'"):
        read(pgstac, "z")


def test_one_id_in_two_partitions_is_read_twice(pgstac: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "_PAGE", 1)
    put(pgstac, [collection()])
    with psycopg.connect(pgstac, autocommit=True) as raw:
        raw.execute("SET search_path TO pgstac, public")
        raw.execute("UPDATE collections SET partition_trunc = 'year' WHERE id = 'c'")
        for year in (2019, 2021):
            one = item(1, properties={"datetime": f"{year}-01-01T00:00:00Z"})
            raw.execute(
                "SELECT pgstac.create_items(%s::jsonb)", [json.dumps([one, item(2)] if year == 2019 else [one])]
            )
    assert [one["id"] for one in read(pgstac)[1:]] == ["item-000001", "item-000001", "item-000002"]


@pytest.mark.parametrize(
    "dsn",
    [
        "postgresql://u:secret@127.0.0.1/x?unknown=1",
        "postgresql://u:secret@127.0.0.1:1/x",
        "secret",
        "host=127.0.0.1 port=1 user=u password=secret",
    ],
)
def test_no_message_has_the_password(dsn: str) -> None:
    with pytest.raises(InvalidParameter) as refused:
        read(dsn)
    assert "secret" not in refused.value.message
    assert "secret" not in repr(PgstacServer(dsn))
    assert refused.value.message.count("\n") == 0


def test_a_database_without_pgstac_is_told(postgres: Any) -> None:
    with postgres.database() as dsn, pytest.raises(InvalidParameter, match="pypgstac migrate"):
        read(dsn)


def test_without_pypgstac_the_command_that_installs_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(SettingsError, match=r"pip install 'graticule\[pgstac\]'"):
        put("postgresql://127.0.0.1:1/x", [])


def test_a_pypgstac_of_another_version_is_told(pgstac: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pypgstac.__version__", "0.8.1")
    with pytest.raises(SettingsError, match=r"pip install 'pypgstac\[psycopg\]==0\.10\.0'"):
        put(pgstac, [])


def test_a_lost_connection_may_be_tried_again(pgstac: str) -> None:
    def lose() -> None:
        with PgstacWriter.opened(PgstacServer(pgstac), overwrite=False) as writer:
            assert writer.put_collection("c", json.dumps(collection()).encode()).collections == 1
            with psycopg.connect(pgstac, autocommit=True) as raw:
                others = "datname = current_database() AND pid <> pg_backend_pid()"
                raw.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {others}".encode())
            writer.put_items("c", [json.dumps(item(1)).encode()])

    with pytest.raises(Unavailable, match="Run the same command again"):
        lose()


# --- the commands


def graticule(folder: Path, *arguments: str | Path) -> tuple[int, str, str]:
    done = subprocess.run(command(*arguments), env=environment(folder), capture_output=True, text=True, check=False)
    return done.returncode, done.stdout, done.stderr


def command(*arguments: str | Path) -> list[str]:
    return [sys.executable, "-m", "graticule", *map(str, arguments)]


def environment(folder: Path) -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT / "src"), "GRATICULE_DATA_DIR": str(folder)}


def test_a_catalog_moves_to_a_pgstac_and_back(pgstac: str, tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    written = write(tmp_path / "in.ndjson", [collection(), *map(item, range(300)), collection("d")])
    assert graticule(first, "load", written)[0] == 0
    dsn = make_conninfo(pgstac, password="secret")
    code, _, told = graticule(first, "export", "--to-pgstac", dsn)
    assert (code, told.split(" to ")[0]) == (0, "300 items written, 2 collections written")
    assert "secret" not in told

    code, out, _ = graticule(first, "export", "--to-pgstac", dsn, "--json")
    assert "secret" not in out
    done = json.loads(out.splitlines()[-1])
    assert (code, done["event"], done["unchanged"], done["items"]) == (0, "done", 302, 0)

    assert graticule(second, "load", "--from-pgstac", dsn)[2] == "300 items loaded, 2 collections written\n"
    assert graticule(second, "load", "--from-pgstac", dsn)[2] == "0 items loaded, 302 unchanged\n"
    for folder, name in ((first, "a.ndjson"), (second, "b.ndjson")):
        assert graticule(folder, "export", tmp_path / name)[0] == 0
    one, other = (sorted(map(canonical, lines(tmp_path / name))) for name in ("a.ndjson", "b.ndjson"))
    assert one == other


def canonical(line: bytes) -> str:
    return json.dumps(json.loads(line), sort_keys=True)


def test_refused_items_are_named_and_give_exit_code_1(pgstac: str, tmp_path: Path) -> None:
    written = write(tmp_path / "in.ndjson", [collection(), item(1), {**item(2, geometry=None), "bbox": None}])
    documents = [json.loads(line) for line in written.read_bytes().splitlines()]
    del documents[2]["bbox"]
    assert graticule(tmp_path / "c", "load", write(written, documents))[0] == 0
    code, _, told = graticule(tmp_path / "c", "export", "--to-pgstac", pgstac)
    first, last = told.splitlines()
    assert code == 1
    assert first.startswith("c/item-000002: InvalidInputData: ")
    assert last.startswith("1 items written, 1 collections written, 1 refused to pgstac at ")

    with psycopg.connect(pgstac, autocommit=True) as raw:
        raw.execute("UPDATE pgstac.items SET content = content - 'links' || '{\"links\": 5}' WHERE id = 'item-000001'")
    code, _, told = graticule(tmp_path / "d", "load", "--from-pgstac", pgstac)
    assert code == 1
    assert ":2: InvalidInputData: Item 'item-000001'" in told


@pytest.mark.crash
def test_killed_in_the_middle_both_ways_complete_when_run_again(pgstac: str, tmp_path: Path) -> None:
    folder = tmp_path / "c"
    source = write(tmp_path / "in.ndjson", [collection(), *map(item, range(3_000))])
    assert graticule(folder, "load", source)[0] == 0
    for arguments, at in (
        (("export", "--to-pgstac", pgstac), folder),
        (("load", "--from-pgstac", pgstac), tmp_path / "d"),
    ):
        with subprocess.Popen(command(*arguments, "--json"), env=environment(at), stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            for line in process.stdout:
                event = json.loads(line)
                if event.get("items", 0) + event.get("loaded", 0) > 0:
                    process.send_signal(signal.SIGKILL)
                    break
        assert process.wait() == -signal.SIGKILL
        code, out, _ = graticule(at, *arguments, "--json")
        done = json.loads(out.splitlines()[-1])
        written = done.get("items", 0) + done.get("loaded", 0)
        assert (code, written + done["unchanged"]) == (0, 3_001)
        assert 0 < done["unchanged"] < 3_001
    with psycopg.connect(pgstac) as raw:
        assert raw.execute("SELECT count(*), count(DISTINCT id) FROM pgstac.items").fetchone() == (3_000, 3_000)
