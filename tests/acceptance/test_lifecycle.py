"""`graticule serve` and `worker` as processes: started, doubled, stopped, killed, started again."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
import requests

from acceptance.documents import collection, item
from acceptance.rasters import small_geotiff
from acceptance.serving import GRATICULE, Served, free_port
from acceptance.source import Source
from acceptance.storage import settled

pytestmark = pytest.mark.acceptance

LIMIT = 30  #: seconds until something has to have happened


def until(happened: Callable[[], object], what: str) -> None:
    end = time.monotonic() + LIMIT
    while not happened():
        assert time.monotonic() < end, f"never: {what}"
        time.sleep(0.02)


def run(served: Served, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A command that is expected to end by itself."""
    return subprocess.run(
        [*GRATICULE, *arguments],
        env=served.environment(),
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )


def family(served: Served) -> list[psutil.Process]:
    """All processes below the supervisor."""
    assert served.process is not None
    return psutil.Process(served.process.pid).children(recursive=True)


def child(served: Served, word: str) -> psutil.Process:
    """The supervisor's child with this word on its command line, once it is there."""
    assert served.process is not None
    supervisor = psutil.Process(served.process.pid)

    def find() -> list[psutil.Process]:
        found = []
        for process in supervisor.children():
            try:
                if word in process.cmdline():
                    found.append(process)
            except psutil.NoSuchProcess:
                continue
        return found

    until(find, f"a child {word}")
    return find()[0]


def start_working(served: Served, source: Source) -> requests.Response:
    """Post an item whose asset does not come yet, wait until it is asked for; with a conversion that has been, too."""
    client = served.client()
    assert client.post(f"{served.url}/stac/collections", json=collection("c")).status_code == 202
    url = f"{served.url}/stac/collections/c/items"
    first = client.post(url, json=item("first", {"image": source.href("a.tif")}))
    assert served.finished(client, first)["status"] == "Succeeded"
    source.gates["slow.tif"] = threading.Event()
    asked = len(source.requests)
    accepted = client.post(url, json=item("slow", {"image": source.href("slow.tif")}))
    until(lambda: len(source.requests) > asked, "a request for the slow asset")
    return accepted


def is_gone(process: psutil.Process) -> bool:
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_a_token_may_be_issued_before_the_first_start_which_tells_where_it_listens(tmp_path: Path) -> None:
    served = Served(tmp_path)
    client = served.client("reader")
    with served:
        assert client.get(f"{served.url}/stac").status_code == 200
        health = requests.get(f"{served.url}/healthz", timeout=10)
        assert (health.status_code, health.json()["status"]) == (200, "ok")
        until(lambda: f"Graticule is ready at {served.url}\n" in served.log_text(), "the notice of where it listens")
        until(lambda: f"graticule token --data-dir {served.data_dir}" in served.log_text(), "how to get a token")
        assert json.loads((served.data_dir / "serve.json").read_text("utf-8"))["url"] == served.url
        assert served.data_dir.stat().st_mode & 0o777 == 0o700
        assert served.process is not None
        served.process.send_signal(signal.SIGINT)  # Ctrl-C
        assert served.process.wait(LIMIT) == 0


def test_a_second_serve_on_a_data_folder_names_the_first(tmp_path: Path) -> None:
    with Served(tmp_path) as served:
        assert served.process is not None
        second = run(served, "serve", "--data-dir", str(served.data_dir), "--port", str(free_port()))
        assert second.returncode == 2
        for words in (str(served.data_dir), str(served.process.pid), served.url, "--data-dir"):
            assert words in second.stderr
        assert "Traceback" not in second.stderr
        taken = run(served, "serve", "--data-dir", str(tmp_path / "other"), "--port", str(served.port))
        assert taken.returncode == 2
        for words in (f"Port {served.port}", "--port"):
            assert words in taken.stderr
        assert served.is_healthy()


def test_a_port_of_another_program_is_told(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = str(other.getsockname()[1])
        ended = run(Served(tmp_path), "serve", "--data-dir", str(tmp_path), "--port", port)
    assert ended.returncode == 2
    assert f"Port {port} is taken" in ended.stderr


def test_a_stop_ends_all_processes_and_unfinished_work_goes_on_after_the_next_start(tmp_path: Path) -> None:
    with Source({"a.tif": small_geotiff(), "slow.tif": small_geotiff()}) as source:
        served = Served(tmp_path, env={"GRATICULE_FETCH_ALLOW": source.host})
        with served:
            accepted = start_working(served, source)
            processes = family(served)
            assert len(processes) > 2  # API, worker, conversion
            assert served.process is not None
            served.process.send_signal(signal.SIGTERM)
            # The stop is promised within 4 s; processes are given a second more to go, on a busy machine.
            assert served.process.wait(5) == 0
            assert [process for process in processes if not is_gone(process)] == []
            served.process = None
            source.gates["slow.tif"].set()
            served.start()
            assert served.finished(served.client(), accepted)["status"] == "Succeeded"
            assert len(settled(served.data_dir).live) == 2


def test_children_die_with_a_killed_supervisor(tmp_path: Path) -> None:
    with (
        Source({"a.tif": small_geotiff(), "slow.tif": small_geotiff()}) as source,
        Served(tmp_path, env={"GRATICULE_FETCH_ALLOW": source.host}) as served,
    ):
        accepted = start_working(served, source)
        processes = family(served)
        assert len(processes) > 2
        served.kill()
        until(lambda: all(is_gone(process) for process in processes), "the end of all children")
        source.gates["slow.tif"].set()
        served.start()
        assert served.finished(served.client(), accepted)["status"] == "Succeeded"
        assert len(settled(served.data_dir).live) == 2


def test_killed_children_are_started_again(tmp_path: Path) -> None:
    with (
        Source({"a.tif": small_geotiff(), "slow.tif": small_geotiff()}) as source,
        Served(tmp_path, env={"GRATICULE_FETCH_ALLOW": source.host}) as served,
    ):
        accepted = start_working(served, source)
        client = served.client()
        worker = child(served, "worker")
        below = worker.children(recursive=True)
        worker.kill()
        until(lambda: all(is_gone(process) for process in below), "the end of the conversions of a dead worker")
        source.gates["slow.tif"].set()
        assert served.finished(client, accepted)["status"] == "Succeeded"
        api = child(served, "_api")
        api.kill()
        until(lambda: is_gone(api), "the end of the API process")
        until(served.is_healthy, "an API that answers again")
        assert client.get(f"{served.url}/stac/collections/c/items/slow").status_code == 200
        for words in ("The worker ended (signal 9); starting it again", "The API ended (signal 9)"):
            assert words in served.log_text()


def test_an_item_whose_worker_dies_three_times_is_set_aside_and_the_next_one_goes_on(tmp_path: Path) -> None:
    with (
        Source({"a.tif": small_geotiff(), "slow.tif": small_geotiff()}) as source,
        Served(tmp_path, env={"GRATICULE_FETCH_ALLOW": source.host}) as served,
    ):
        accepted = start_working(served, source)
        for _ in range(2):
            asked = len(source.requests)
            child(served, "worker").kill()
            until(lambda asked=asked: len(source.requests) > asked, "the next attempt")  # type: ignore[misc]
        child(served, "worker").kill()
        client = served.client()
        operation = served.finished(client, accepted)
        assert (operation["status"], operation["error"]["code"]) == ("Failed", "InternalError")
        assert "'slow' is set aside" in operation["error"]["message"]
        again = client.post(
            f"{served.url}/stac/collections/c/items", json=item("next", {"image": source.href("a.tif")})
        )
        assert served.finished(client, again)["status"] == "Succeeded"
        source.gates["slow.tif"].set()
        assert len(settled(served.data_dir).live) == 2


def test_a_separate_worker_does_the_work_of_a_serve_without_one(tmp_path: Path) -> None:
    with (
        Source({"a.tif": small_geotiff()}) as source,
        Served(tmp_path, "--no-worker", env={"GRATICULE_FETCH_ALLOW": source.host}) as served,
    ):
        client = served.client()
        assert client.post(f"{served.url}/stac/collections", json=collection("c")).status_code == 202
        url = f"{served.url}/stac/collections/c/items"
        accepted = client.post(url, json=item("one", {"image": source.href("a.tif")}))
        assert client.get(accepted.headers["location"]).json()["status"] == "Pending"
        assert not any("worker" in process.cmdline() for process in family(served))
        worker = subprocess.Popen(
            [*GRATICULE, "worker", "--data-dir", str(served.data_dir)],
            env=served.environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        try:
            assert served.finished(client, accepted)["status"] == "Succeeded"
            worker.terminate()
            output, _ = worker.communicate(timeout=LIMIT)
            assert worker.returncode == 0, output
            assert str(served.data_dir) in output
        finally:
            worker.kill()
            worker.wait()


def test_https_is_reached_with_the_bundle_that_env_names(tmp_path: Path) -> None:
    with Served(tmp_path, tls=True) as served:
        exports = dict(
            line.removeprefix("export ").split("=", 1)
            for line in served.command("env").splitlines()
            if line.startswith("export ")
        )
        bundle = exports["REQUESTS_CA_BUNDLE"].strip("'\"")
        with requests.Session() as session:
            session.trust_env = False
            session.verify = bundle
            session.headers["Authorization"] = f"Bearer {served.token('reader')}"
            landing = session.get(f"{served.url}/stac").json()
            assert all(link["href"].startswith("https://127.0.0.1:") for link in landing["links"])
            session.verify = True
            with pytest.raises(requests.exceptions.SSLError):
                session.get(f"{served.url}/stac")


def test_several_api_processes_share_a_port_and_what_they_know(tmp_path: Path) -> None:
    with Served(tmp_path, "--no-worker", env={"GRATICULE_API_PROCESSES": "2"}) as served:
        apis = [process for process in family(served) if "_api" in process.cmdline()]
        assert len(apis) == 2
        ports = {served.port}

        def both_listen() -> bool:
            return all(
                {one.laddr.port for one in process.net_connections("tcp") if one.status == "LISTEN"} >= ports
                for process in apis
            )

        until(both_listen, "two processes that listen")
        token = served.token()
        headers = {"Authorization": f"Bearer {token}"}
        made = requests.post(f"{served.url}/stac/collections", json=collection("c"), headers=headers, timeout=10)
        assert made.status_code == 202
        for _ in range(20):  # each on a connection of its own, so both answer some
            assert requests.get(f"{served.url}/stac/collections/c", headers=headers, timeout=10).status_code == 200
