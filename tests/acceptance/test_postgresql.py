"""A catalog whose database is on a PostgreSQL server: one host, several, and without the server for a while."""

from __future__ import annotations

import re
import secrets
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import psutil
import pytest
import requests

import postgres_server
from acceptance.documents import collection, item, items
from acceptance.rasters import small_geotiff
from acceptance.reading import rows
from acceptance.serving import GRATICULE, Served
from acceptance.source import Source
from acceptance.storage import settled
from postgres_server import PostgresServer

pytestmark = pytest.mark.acceptance

LIMIT = 30  #: seconds until something has to have happened
TAKEN_OVER = 60  #: seconds until another host must have the job of a worker that is silent
PASSWORD = "sesame-open-0815"


def until(happened: Callable[[], object], what: str, limit: float = LIMIT) -> None:
    end = time.monotonic() + limit
    while not happened():
        assert time.monotonic() < end, f"never: {what}"
        time.sleep(0.02)


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    """A server of this module's own, which may go away."""
    programs = postgres_server.programs()
    if programs is None:
        pytest.skip("no PostgreSQL server: install one, or name its folder of programs with GRATICULE_TEST_POSTGRES")
    with postgres_server.running(programs) as server:
        yield server


@pytest.fixture
def settings(server: PostgresServer) -> Iterator[dict[str, str]]:
    with server.emptied_database("template1") as url:
        yield {
            "GRATICULE_DATABASE_URL": url.replace("tests@", f"tests:{PASSWORD}@"),
            "GRATICULE_SECRET_KEY": secrets.token_hex(32),
        }


@pytest.fixture
def source() -> Iterator[Source]:
    with Source({"a.tif": small_geotiff(), "slow.tif": small_geotiff()}) as source:
        yield source


@contextmanager
def worker(served: Served, data_dir: Path, **env: str) -> Iterator[subprocess.Popen[bytes]]:
    """A worker on a data folder of its own, as on another host; only the assets are shared."""
    data_dir.mkdir(parents=True, exist_ok=True)
    (data_dir / "assets").symlink_to(served.data_dir / "assets")
    with (data_dir / "worker.log").open("wb") as log:
        process = subprocess.Popen(
            [*GRATICULE, "worker", "--data-dir", str(data_dir)],
            env=served.environment() | env,
            stdout=log,
            stderr=log,
        )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGCONT)
        process.kill()
        process.wait()


def test_items_are_ingested_read_changed_and_deleted_and_the_password_is_told_nowhere(
    tmp_path: Path, settings: dict[str, str], source: Source
) -> None:
    with Served(tmp_path, env=settings | {"GRATICULE_FETCH_ALLOW": source.host}) as served:
        client = served.client()
        stac = f"{served.url}/stac"
        assert client.post(f"{stac}/collections", json=collection("c")).status_code == 202
        bodies = [item("one", {"image": source.href("a.tif")}), item("two", {"image": source.href("gone.tif")})]
        operation = served.finished(client, client.post(f"{stac}/collections/c/items", json=items(*bodies)))
        assert operation["status"] == "Failed"
        assert [operation["additionalInformation"][name] for name in ("TotalSuccessfulItems", "TotalFailedItems")] == [
            "1",
            "1",
        ]
        stored = client.get(f"{stac}/collections/c/items/one", params={"sign": "true"}).json()
        assert requests.get(stored["assets"]["image"]["href"], timeout=10).content[:2] in {b"II", b"MM"}
        patch = {"properties": {"note": "changed"}}
        assert client.patch(f"{stac}/collections/c/items/one", json=patch).status_code == 202
        found = client.post(f"{stac}/search", json={"filter": "note='changed'", "filter-lang": "cql2-text"}).json()
        assert [feature["id"] for feature in found["features"]] == ["one"]
        assert settled(served.data_dir, served.database_url).of("one")
        served.finished(client, client.delete(f"{stac}/collections/c/items/one"))
        assert client.get(f"{stac}/collections/c/items/one").status_code == 404
        assert settled(served.data_dir, served.database_url).files == {}

        assert not (served.data_dir / "graticule.db").exists()
        told = [served.log_text(), served.command("env"), served.command("env", "--settings")]
        processes = psutil.Process(served.process.pid if served.process else 0).children(recursive=True)
        told += [" ".join(process.cmdline()) for process in processes]
        told += [path.read_text(errors="replace") for path in served.data_dir.rglob("*") if path.is_file()]
        assert "database     PostgreSQL, test_" in told[0]
        assert "GRATICULE_DATABASE_URL=****" in told[2]
        assert not [text for text in told if PASSWORD in text]


def test_what_was_exported_from_one_catalog_is_loaded_into_another(tmp_path: Path, settings: dict[str, str]) -> None:
    with Served(tmp_path / "server", env=settings) as served:
        client = served.client()
        assert client.post(f"{served.url}/stac/collections", json=collection("c")).status_code == 202
        sent = items(*(item(f"i{n}") for n in range(20)))
        served.finished(client, client.post(f"{served.url}/stac/collections/c/items", json=sent))
        served.command("export", str(tmp_path / "out"))
        embedded = Served(tmp_path / "file")
        embedded.command("load", str(tmp_path / "out"))
        assert embedded.command("export", "-").splitlines()[1:] == served.command("export", "-").splitlines()[1:]
        client.delete(f"{served.url}/stac/collections/c")
        until(lambda: client.post(f"{served.url}/stac/collections", json=collection("c")).status_code == 202, "an end")
        served.command("load", str(tmp_path / "out"), "--on-conflict", "replace")
        listed = client.get(f"{served.url}/stac/collections/c/items", params={"limit": 100}).json()
        assert len(listed["features"]) == 20


def test_work_goes_on_after_the_server_was_away_and_requests_are_told_to_come_again(
    tmp_path: Path, settings: dict[str, str], source: Source, server: PostgresServer
) -> None:
    with Served(tmp_path, env=settings | {"GRATICULE_FETCH_ALLOW": source.host}) as served:
        client = served.client()
        url = f"{served.url}/stac/collections/c/items"
        assert client.post(f"{served.url}/stac/collections", json=collection("c")).status_code == 202
        source.gates["slow.tif"] = threading.Event()
        accepted = client.post(url, json=item("slow", {"image": source.href("slow.tif")}))
        until(lambda: source.requests, "a request for the slow asset")
        server.crash()
        try:
            for answer in (client.get(f"{url}/slow"), client.post(url, json=item("next")), client.get(accepted.url)):
                assert answer.status_code == 503
                assert answer.headers["Retry-After"] == "5"
                assert answer.json()["error"]["code"] == "ServiceUnavailable"
            assert not served.is_healthy()
            # A command that comes at this moment says so, and may be tried again.
            token = subprocess.run(
                [*GRATICULE, "token", "--data-dir", str(served.data_dir)],
                env=served.environment(),
                capture_output=True,
                text=True,
                check=False,
            )
            assert token.returncode == 1
            assert "GRATICULE_DATABASE_URL" in token.stderr
            assert PASSWORD not in token.stderr
            assert "Traceback" not in token.stderr
        finally:
            server.start()
        source.gates["slow.tif"].set()
        assert served.finished(client, accepted)["status"] == "Succeeded"
        assert served.finished(client, client.post(url, json=item("next")))["status"] == "Succeeded"
        stored = settled(served.data_dir, served.database_url)
        assert len(stored.of("slow")) == 1
        assert PASSWORD not in served.log_text()


def test_the_successor_of_a_killed_worker_goes_on_without_waiting_for_a_heartbeat(
    tmp_path: Path, settings: dict[str, str], source: Source
) -> None:
    source.gates["slow.tif"] = threading.Event()
    with Served(tmp_path, env=settings | {"GRATICULE_FETCH_ALLOW": source.host}) as served:
        client = served.client()
        assert client.post(f"{served.url}/stac/collections", json=collection("c")).status_code == 202
        body = item("slow", {"image": source.href("slow.tif")})
        accepted = client.post(f"{served.url}/stac/collections/c/items", json=body)
        for deaths in range(3):
            until(lambda deaths=deaths: len(source.requests) > deaths, "the next attempt")  # type: ignore[misc]
            # Nobody was lost: the job was freed by who knew that its worker is dead, not for a silent heartbeat.
            losses = partial(rows, served.data_dir, "SELECT losses FROM procrastinate_jobs", served.database_url)
            until(lambda losses=losses: losses() == [(0,)], "one job, the sweep being done")  # type: ignore[misc]
            assert served.process is not None
            children = psutil.Process(served.process.pid).children()
            next(process for process in children if "worker" in process.cmdline()).kill()
        operation = served.finished(client, accepted)
        assert "'slow' is set aside" in operation["error"]["message"]


def test_two_hosts_serve_one_catalog(tmp_path: Path, settings: dict[str, str], source: Source) -> None:
    env = settings | {"GRATICULE_FETCH_ALLOW": source.host}
    with Served(tmp_path, "--no-worker", env=env) as first, Served(tmp_path, env=env) as second:
        assert first.data_dir == second.data_dir
        client = first.client()
        assert client.post(f"{first.url}/stac/collections", json=collection("c")).status_code == 202
        accepted = client.post(
            f"{first.url}/stac/collections/c/items", json=item("one", {"image": source.href("a.tif")})
        )
        assert first.finished(client, accepted)["status"] == "Succeeded"
        # What one host signed and minted, the other knows.
        stored = client.get(f"{second.url}/stac/collections/c/items/one", params={"sign": "true"}).json()
        href = stored["assets"]["image"]["href"]
        assert requests.get(href.replace(second.url, first.url), timeout=10).status_code == 200


def test_another_host_takes_over_from_workers_that_are_silent_and_one_that_wakes_late_changes_nothing(
    tmp_path: Path, settings: dict[str, str], source: Source
) -> None:
    source.files["dead.tif"] = small_geotiff()
    for name in ("slow.tif", "dead.tif"):
        source.gates[name] = threading.Event()
    env = settings | {"GRATICULE_FETCH_ALLOW": source.host, "GRATICULE_WORKER_LOST_AFTER": "6"}
    with Served(tmp_path / "api", "--no-worker", env=env) as served, worker(served, tmp_path / "one") as frozen:
        client = served.client()
        url = f"{served.url}/stac/collections/c/items"
        assert client.post(f"{served.url}/stac/collections", json=collection("c")).status_code == 202
        slow = client.post(url, json=item("slow", {"image": source.href("slow.tif")}))
        until(lambda: len(source.requests) == 1, "a request of the first worker")
        frozen.send_signal(signal.SIGSTOP)
        with worker(served, tmp_path / "two") as killed:
            dead = client.post(url, json=item("dead", {"image": source.href("dead.tif")}))
            # The first one may have been stopped while it wrote: then the server has to end its transaction first.
            until(lambda: len(source.requests) == 2, "a request of the second worker", TAKEN_OVER)
            killed.kill()
            killed.wait()
        with worker(served, tmp_path / "three") as third:
            until(lambda: len(source.requests) == 4, "requests of the third worker", TAKEN_OVER)
            for gate in source.gates.values():
                gate.set()
            assert [served.finished(client, each)["status"] for each in (slow, dead)] == ["Succeeded"] * 2
            before = client.get(f"{url}/slow").text
            frozen.send_signal(signal.SIGCONT)
            log = tmp_path / "one" / "worker.log"
            until(lambda: "taken for dead" in log.read_text(), "the notice of the first worker")
            # It lives, and works again: it alone, for the third one ends.
            third.terminate()
            assert third.wait(LIMIT) == 0
            last = client.post(url, json=item("last", {"image": source.href("a.tif")}))
            assert served.finished(client, last)["status"] == "Succeeded"
            assert client.get(f"{url}/slow").text == before
            counts = dict(rows(served.data_dir, "SELECT item_id, count(*) FROM blobs GROUP BY 1", served.database_url))
            assert counts == {"slow": 1, "dead": 1, "last": 1}
            assert len(settled(served.data_dir, served.database_url).live) == 3


def test_a_worker_that_is_suspended_while_it_writes_holds_the_others_up_for_a_while_only(
    tmp_path: Path, settings: dict[str, str], source: Source
) -> None:
    """It holds the writers' lock then, until the server ends its transaction."""
    env = settings | {"GRATICULE_FETCH_ALLOW": source.host}
    stop = {"GRATICULE_CRASH_POINT": "database.commit.before:8", "GRATICULE_CRASH_SIGNAL": "STOP"}
    stop["GRATICULE_CRASH_LOG"] = str(tmp_path / "stops")  # once and no more
    with (
        Served(tmp_path / "api", "--no-worker", env=env) as served,
        worker(served, tmp_path / "one", **stop) as frozen,
        ThreadPoolExecutor() as pool,
    ):
        client = served.client()
        url = f"{served.url}/stac/collections"
        assert client.post(url, json=collection("c")).status_code == 202

        def post(name: str) -> requests.Response:
            body = item(name, {"image": source.href("a.tif")})
            return requests.post(f"{url}/c/items", json=body, headers=dict(client.headers), timeout=60)

        posts = [pool.submit(post, f"i{number}") for number in range(6)]
        until(lambda: psutil.Process(frozen.pid).status() == psutil.STATUS_STOPPED, "a worker that stands still")
        holders = rows(
            served.data_dir,
            "SELECT count(*) FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid"
            " WHERE l.locktype = 'advisory' AND l.granted AND a.state = 'idle in transaction'",
            served.database_url,
        )
        assert holders == [(1,)], "it does not hold the lock"
        posts.append(pool.submit(post, "held-up"))
        assert client.get(f"{url}/c/items", timeout=5).status_code == 200, "readers do not wait"
        assert not posts[-1].done()
        answers = [one.result() for one in posts]
        assert {answer.status_code for answer in answers} == {202}
        with worker(served, tmp_path / "two"):
            assert served.finished(client, answers[-1])["status"] == "Succeeded"
            frozen.send_signal(signal.SIGCONT)
            ended = [served.finished(client, answer)["status"] for answer in answers]
        assert ended == ["Succeeded"] * len(answers)
        assert len(settled(served.data_dir, served.database_url).live) == len(answers)


@pytest.mark.parametrize(
    ("settings_of", "code", "words"),
    [
        ({"GRATICULE_SECRET_KEY": ""}, 2, "GRATICULE_SECRET_KEY"),
        ({"GRATICULE_DATABASE_URL": f"mysql://user:{PASSWORD}@host/name"}, 2, "postgresql://"),
        ({"GRATICULE_DATABASE_URL": f"postgresql://user:{PASSWORD}@[::1/name"}, 2, "GRATICULE_DATABASE_URL"),
        ({"GRATICULE_DATABASE_URL": f"postgresql://user:{PASSWORD}@127.0.0.1:1/name"}, 1, "GRATICULE_DATABASE_URL"),
        ({"nobody": "tests"}, 2, "does not exist"),
    ],
)
def test_a_database_that_cannot_be_used_is_told_in_one_line(
    tmp_path: Path, settings: dict[str, str], settings_of: dict[str, str], code: int, words: str
) -> None:
    env = settings | settings_of
    if env.pop("nobody", None):
        env["GRATICULE_DATABASE_URL"] = re.sub(r"/test_\d+", "/not_there", env["GRATICULE_DATABASE_URL"])
    env = {name: value for name, value in env.items() if value}
    ended = subprocess.run(
        [*GRATICULE, "token", "--data-dir", str(tmp_path / "catalog")],
        env=Served(tmp_path, env=env).environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == code, ended.stderr
    assert words in ended.stderr
    assert ended.stderr.count("\n") == 1
    assert PASSWORD not in ended.stderr
