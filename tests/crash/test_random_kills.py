"""kill -9 at random: worker, API, the whole service and its database server, while items are ingested."""

from __future__ import annotations

import contextlib
import logging
import os
import random
import threading
import time
from pathlib import Path

import psutil
import psycopg
import pytest

from acceptance.serving import Served
from acceptance.source import Source
from crash.conftest import Place, in_each
from crash.torture import Client, check, collection, item, raster
from postgres_server import PostgresServer

KILLS = int(os.environ.get("GRATICULE_TEST_KILLS", "30"))
ITEMS = 200
BATCH = 10


class Killer(threading.Thread):
    """Kills one of the service's processes every now and then, until it has done so often enough."""

    def __init__(self, served: Served, server: PostgresServer | None, kills: int, seed: int) -> None:
        super().__init__(daemon=True)
        self.server = server
        self.served = served
        self.left = kills
        #: Of thirty 15 are of workers, 5 each of the API, the service and the server (without one: of workers).
        six = ["worker", "worker", "worker", "_api", "service", "worker" if server is None else "server"]
        self.plan = (six * (kills // len(six) + 1))[:kills]
        random.Random(seed).shuffle(self.plan)
        self.random = random.Random(seed)
        self.killed: dict[str, int] = {"worker": 0, "_api": 0, "service": 0, "server": 0}
        self.failure: BaseException | None = None

    def run(self) -> None:
        try:
            while self.left:
                time.sleep(self.random.uniform(0.05, 0.8))
                self._kill(self.plan[-self.left])
        except (AssertionError, OSError, psutil.Error, psycopg.Error) as exc:
            self.failure = exc

    def _kill(self, what: str) -> None:
        if what == "server":
            assert self.server is not None
            self.server.crash()
            time.sleep(self.random.uniform(0, 1.5))
            self.server.start()
        elif what == "service":
            self.served.kill()
            self.served.start()
        else:
            process = self.served.process
            assert process is not None
            children = psutil.Process(process.pid).children()
            victims = [child for child in children if what in child.cmdline()]
            if not victims:  # it is just being started again
                return
            with contextlib.suppress(psutil.NoSuchProcess):
                victims[0].kill()
        self.killed[what] += 1
        self.left -= 1


@pytest.mark.crash
def test_nothing_promised_is_lost_under_random_kills(tmp_path: Path, places: list[Place]) -> None:
    in_each(places, lambda place: _run(tmp_path / place.kind, place))


def _run(folder: Path, place: Place) -> None:
    seed = int(os.environ.get("GRATICULE_TEST_SEED", "7"))
    files = {f"cog{n}.tif": raster(n, driver="COG") for n in range(8)} | {
        "striped.tif": raster(9, driver="GTiff", size=640)
    }
    with Source(files) as source, Served(folder, env=place.env | {"GRATICULE_FETCH_ALLOW": source.host}) as served:
        client = Client(served)
        client.send("POST", "collections", collection("kept"))
        killer = Killer(served, place.server, KILLS, seed)
        killer.start()
        posted = 0
        while killer.is_alive() or posted < ITEMS:
            assets = [
                {"cog": source.href(f"cog{n % 8}.tif")}
                | ({"striped": source.href("striped.tif")} if n % 5 == 0 else {})
                for n in range(posted, posted + BATCH)
            ]
            client.post_items("kept", [item("kept", f"i{posted + n}", entry) for n, entry in enumerate(assets)])
            posted += BATCH
            while killer.is_alive() and posted >= ITEMS * (1 - killer.left / KILLS) + BATCH:
                time.sleep(0.05)  # the posts last as long as the kills
        killer.join()
        assert killer.failure is None, killer.failure
        result = check(client, source)
        assert not any(result.values()), f"seed {seed}: {result}\n{served.log_text()[-6000:]}"
        ended = client.settle()
    logging.getLogger(__name__).warning(
        "%s: %d items, %d promises kept; killed: %s; found: %s", place.kind, posted, len(ended), killer.killed, result
    )
