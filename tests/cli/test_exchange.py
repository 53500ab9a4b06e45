"""`graticule load` and `graticule export` as a shell runs them: alone, beside a server, killed in the middle."""

from __future__ import annotations

import json
import os
import pty
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from acceptance.serving import GRATICULE, Served
from graticule.database import SqliteDatabase
from ingestion.exchange.documents import collection, item, lines, write

if TYPE_CHECKING:
    from cli.conftest import Run

#: Of the large file. Its items have about 2 kB.
MANY = 20_000
SOME = 5_000


def big_item(number: int) -> dict[str, Any]:
    return item(number, **{"x:rest": "y" * 1600})


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    def documents() -> Iterator[dict[str, Any]]:
        yield collection()
        for number in range(MANY):
            yield big_item(number)

    return write(tmp_path_factory.mktemp("large") / "large.ndjson", documents())


@pytest.fixture(scope="module")
def medium(large: Path) -> Path:
    """The beginning of the large file."""
    path = large.with_name("medium.ndjson")
    with large.open("rb") as file:
        path.write_bytes(b"".join(file.readline() for _ in range(SOME + 1)))
    return path


def events(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_a_round_trip_on_the_command_line(run: Run, tmp_path: Path) -> None:
    source = write(tmp_path / "in.ndjson", [collection(), *map(item, range(300)), collection("d")])
    first, second = tmp_path / "first", tmp_path / "second"

    loaded = run("load", source, "--data-dir", first)
    assert (loaded.returncode, loaded.stdout) == (0, "")
    assert loaded.stderr == "300 items loaded, 2 collections written\n"
    exported = run("export", tmp_path / "out", "--data-dir", first)
    assert exported.returncode == 0
    assert exported.stderr == f"300 items of 2 collections written to {tmp_path / 'out'}\n"

    assert run("load", tmp_path / "out", "--data-dir", second).returncode == 0
    assert run("export", tmp_path / "again.ndjson", "--data-dir", second).returncode == 0
    streamed = run("export", "-", "--data-dir", first)
    assert sorted(streamed.stdout.encode().splitlines()) == lines(tmp_path / "again.ndjson")
    only = run("export", "-", "--collection", "d", "--data-dir", first)
    assert [json.loads(line)["id"] for line in only.stdout.splitlines()] == ["d"]


def test_refused_lines_are_told_and_give_exit_code_1(run: Run, tmp_path: Path) -> None:
    source = write(tmp_path / "in.ndjson", [collection(), item(1), "{", item(2, bbox=None)])
    result = run("load", source, "--data-dir", tmp_path / "c")
    assert result.returncode == 1
    first, second, last = result.stderr.splitlines()
    assert first.startswith(f"{source}:3: InvalidInputData: The line is no JSON")
    assert second.startswith(f"{source}:4: StacValidationFailed: Item 'item-000002' needs a 'bbox'")
    assert last == "1 items loaded, 1 collections written, 2 refused"

    result = run("load", source, "--data-dir", tmp_path / "d", "--json")
    assert (result.returncode, result.stderr) == (1, "")
    told = events(result.stdout)
    refused = [event for event in told if event["event"] == "refused"]
    assert [(event["line"], event["id"], event["code"]) for event in refused] == [
        (3, None, "InvalidInputData"),
        (4, "item-000002", "StacValidationFailed"),
    ]
    assert told[-1]["event"] == "done"
    assert (told[-1]["loaded"], told[-1]["refused"]) == (1, 2)
    assert any(event["event"] == "progress" for event in told)


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        (("load", "missing.ndjson"), "missing.ndjson"),
        (("load", "items.ndjson"), "--create"),
        (("load", "items.ndjson", "--on-conflict", "perhaps"), "--on-conflict"),
        (("export", "out", "--collection", "nothing"), "nothing"),
        (("export", "out", "--resume", "--overwrite"), "--resume"),
        (("export", "items.ndjson"), "--overwrite"),
        (("export", "out", "--data-dir", "elsewhere"), "elsewhere"),
    ],
    ids=str,
)
def test_what_cannot_be_done_is_one_line_on_stderr(
    run: Run, tmp_path: Path, arguments: tuple[str, ...], names: str
) -> None:
    write(tmp_path / "items.ndjson", [item(1)])
    more = {"GRATICULE_DATA_DIR": str(tmp_path / "catalog")}
    (tmp_path / "catalog").mkdir(mode=0o700)
    SqliteDatabase(tmp_path / "catalog" / "graticule.db").close()
    files = {"items.ndjson", "missing.ndjson", "out", "elsewhere"}
    result = run(*(tmp_path / text if text in files else text for text in arguments), more=more)
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1
    assert names in result.stderr


def test_standard_input_is_loaded(environment: dict[str, str], tmp_path: Path) -> None:
    text = "\n".join(map(json.dumps, [collection(), item(1)]))
    done = subprocess.run(
        [*GRATICULE, "load", "-", "--data-dir", tmp_path / "c"],
        input=text,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "1 items loaded, 1 collections written\n")


@pytest.mark.acceptance
def test_beside_a_running_server_items_are_there_at_once_and_writes_go_on(medium: Path, tmp_path: Path) -> None:
    with Served(tmp_path) as served:
        client = served.client()
        created = client.post(f"{served.url}/stac/collections", json=collection("posted"))
        served.finished(client, created)
        statuses: list[str] = []
        stop = threading.Event()

        def post() -> None:
            number = 0
            while not stop.is_set():
                posted = client.post(
                    f"{served.url}/stac/collections/posted/items", json=item(number, "posted", assets={})
                )
                statuses.append(served.finished(client, posted)["status"])
                number += 1

        thread = threading.Thread(target=post)
        thread.start()
        try:
            served.command("load", str(medium))
        finally:
            stop.set()
            thread.join()
        assert set(statuses) == {"Succeeded"}

        reader = served.client("reader")
        found = reader.get(f"{served.url}/stac/collections/c/items/item-{SOME - 1:06}").json()
        assert found["assets"]["b1"]["href"] == item(SOME - 1)["assets"]["b1"]["href"]
        served.command("export", str(tmp_path / "out.ndjson"), "--collection", "c")
        assert len(lines(tmp_path / "out.ndjson")) == SOME + 1


@pytest.mark.acceptance
def test_hrefs_of_managed_assets_leave_under_the_servers_url_and_come_back(tmp_path: Path) -> None:
    with Served(tmp_path) as served:
        client = served.client()
        served.finished(client, client.post(f"{served.url}/stac/collections", json=collection()))
        posted = client.post(
            f"{served.url}/stac/collections/c/assets",
            data={"data": json.dumps({"key": "thumbnail", "type": "image/png"})},
            files={"file": ("t.png", b"\x89PNG\r\n\x1a\n", "image/png")},
        )
        assert posted.status_code < 300, posted.text
        out = tmp_path / "out"
        served.command("export", str(out))
        exported = json.loads((out / "c" / "collection.json").read_text())
        href = exported["assets"]["thumbnail"]["href"]
        assert href.startswith(f"{served.url}/blobs/")
        exported["title"] = "changed"
        (out / "c" / "collection.json").write_text(json.dumps(exported))
        served.command("load", str(out), "--on-conflict", "replace")
        document = client.get(f"{served.url}/stac/collections/c").json()
        assert (document["title"], document["assets"]["thumbnail"]["href"]) == ("changed", href)
        thumbnail = client.get(f"{served.url}/stac/collections/c/thumbnail")
        assert thumbnail.status_code == 200, thumbnail.text


def items_in(folder: Path) -> int:
    """How many items the catalog of a folder has; none where there is no catalog yet."""
    try:
        with closing(sqlite3.connect(f"file:{folder}/graticule.db?mode=ro", uri=True)) as raw:
            return int(raw.execute("SELECT count(*) FROM items").fetchone()[0])
    except sqlite3.OperationalError:
        return 0


@pytest.mark.crash
def test_a_load_killed_at_any_moment_is_done_again_and_goes_on(
    environment: dict[str, str], run: Run, large: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "catalog"
    for delay in (0.0, 0.6, 1.2):
        with subprocess.Popen(
            [*GRATICULE, "load", large, "--data-dir", folder], env=environment, stderr=subprocess.DEVNULL
        ) as process:
            while not items_in(folder) and process.poll() is None:
                time.sleep(0.01)
            time.sleep(delay)
            process.kill()
    loaded = items_in(folder)
    result = run("load", large, "--data-dir", folder, "--json")
    done = events(result.stdout)[-1]
    assert result.returncode == 0
    assert done["loaded"] + done["unchanged"] == MANY + 1  # the Collection is there already
    assert done["unchanged"] >= loaded > 0

    assert run("export", tmp_path / "out.ndjson", "--data-dir", folder).returncode == 0
    ids = [json.loads(line)["id"] for line in lines(tmp_path / "out.ndjson")]
    assert sorted(ids) == ["c", *(f"item-{number:06}" for number in range(MANY))]


@pytest.mark.crash
def test_an_export_killed_in_the_middle_goes_on(
    environment: dict[str, str], run: Run, medium: Path, tmp_path: Path
) -> None:
    folder, out = tmp_path / "catalog", tmp_path / "out.ndjson"
    assert run("load", medium, "--data-dir", folder).returncode == 0
    state = out.with_name(out.name + ".partial.state")
    with subprocess.Popen([*GRATICULE, "export", out, "--data-dir", folder], env=environment) as process:
        while not state.exists():
            assert process.poll() is None
        process.send_signal(signal.SIGKILL)
    assert not out.exists()
    assert run("export", out, "--data-dir", folder, "--resume").returncode == 0
    assert run("export", tmp_path / "whole.ndjson", "--data-dir", folder).returncode == 0
    assert out.read_bytes() == (tmp_path / "whole.ndjson").read_bytes()
    assert len(lines(out)) == SOME + 1


def peaks(environment: dict[str, str], *arguments: str | Path) -> tuple[int, int]:
    """The most memory of its own a command had in the first and in the second half of its time, kB.

    Pages of the mapped database file are the system's.
    """
    found: list[int] = []
    with subprocess.Popen([*GRATICULE, *arguments], env=environment, stderr=subprocess.DEVNULL) as process:
        status = Path(f"/proc/{process.pid}/status")
        while process.poll() is None:
            own = re.search(r"RssAnon:\s+(\d+) kB", status.read_text())
            found.append(int(own[1]) if own else 0)
            time.sleep(0.01)
    assert process.returncode == 0
    half = len(found) // 2
    return max(found[:half]), max(found[half:])


@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
def test_memory_does_not_grow_with_the_file(environment: dict[str, str], large: Path, tmp_path: Path) -> None:
    larger = tmp_path / "larger.ndjson"
    shutil.copyfile(large, larger)
    with larger.open("ab") as file:
        file.writelines(json.dumps(big_item(number)).encode() + b"\n" for number in range(MANY, 6 * MANY))
    assert larger.stat().st_size > 220_000_000
    for command in (("load", larger), ("load", larger), ("export", tmp_path / "again.ndjson")):
        first, second = peaks(environment, *command, "--data-dir", tmp_path / "data")
        assert second < first + 70_000, command  # SQLite keeps up to 64 MB of pages; half of the file is 110 MB


def test_a_terminal_shows_a_bar_and_the_refused_lines(environment: dict[str, str], tmp_path: Path) -> None:
    source = write(tmp_path / "in.ndjson", [collection(), *map(item, range(300)), "{"])
    leader, follower = pty.openpty()
    with subprocess.Popen(
        [*GRATICULE, "load", source, "--data-dir", tmp_path / "c"],
        env=environment | {"TERM": "xterm", "COLUMNS": "200"},
        stdout=subprocess.DEVNULL,
        stderr=follower,
    ) as process:
        os.close(follower)
        shown = b""
        with suppress(OSError):  # how Linux ends a terminal that nobody writes to any more
            while part := os.read(leader, 4096):
                shown += part
    os.close(leader)
    assert process.returncode == 1
    text = shown.decode()
    assert "Loading" in text
    assert "100%" in text
    assert f"{source}:302: InvalidInputData" in text
    assert "300 items loaded, 1 collections written, 1 refused" in text


def test_what_is_interrupted_by_ctrl_c_ends_without_a_traceback(
    environment: dict[str, str], large: Path, tmp_path: Path
) -> None:
    command: list[str | Path] = [*GRATICULE, "load", large, "--data-dir", tmp_path / "c", "--json"]
    with subprocess.Popen(
        command,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A shell's background job has it ignored, and children inherit that.
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509 - no threads here
    ) as process:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["event"] == "progress"
        process.send_signal(signal.SIGINT)
        _, complaint = process.communicate()
    assert process.returncode == 130
    assert "Traceback" not in complaint
