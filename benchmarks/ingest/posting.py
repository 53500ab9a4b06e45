"""Items per second by the API, from the first post until all of them can be read.

Bodies are encoded before the clock runs. A server that answers 202 is asked for the last item of each connection and
for a sample until they are there; at the end every item is counted, by pages.
"""

from __future__ import annotations

import asyncio
import random
import time
from dataclasses import dataclass
from typing import Any, Final

import orjson
import requests
import uvloop

from benchmarks.items import collection, item, scene
from benchmarks.search.load import Connection, Protocol, Request, Root

#: Seconds until an item that was accepted has to be there.
_PATIENCE: Final = 120.0
_SAMPLE: Final = 20


@dataclass(frozen=True)
class Posted:
    """What one round measured."""

    items: int
    #: Seconds until all were accepted, and until all could be read.
    accepted: float
    visible: float
    #: Posts that were refused.
    failed: int
    #: Items that were not there at the end, though nothing was refused.
    missing: int

    @property
    def rate(self) -> float:
        """Items per second to visible; none where something failed."""
        return 0.0 if self.failed else self.items / self.visible


def post(
    root: Root, name: str, items: int, *, batch: int, connections: int, asset: dict[str, Any] | None = None
) -> Posted:
    """Post so many items to a new collection, in bodies of `batch`, over so many connections; then remove it."""
    with requests.Session() as session:
        session.headers.update(dict(root.headers))
        session.post(f"{root.url}/collections", json={**collection("bench-optical-10m"), "id": name}).raise_for_status()
        documents = [_document(number, name, asset) for number in range(items)]
        bodies: list[dict[str, Any]] = documents
        if batch > 1:
            bodies = [
                {"type": "FeatureCollection", "features": documents[start : start + batch]}
                for start in range(0, items, batch)
            ]
        payloads = [root.encode(Request(f"/collections/{name}/items", body)) for body in bodies]
        begun = time.perf_counter()
        statuses = uvloop.run(_send(root, payloads, connections))
        accepted = time.perf_counter() - begun
        failed = sum(not 200 <= status < 300 for status in statuses)
        if not failed and 202 in statuses:
            chosen = random.Random(1).sample(documents, min(_SAMPLE, items))  # noqa: S311 - a sample, no secret
            last = documents[-min(items, batch * connections) :: batch]
            _await(root, name, [document["id"] for document in (*last, documents[-1], *chosen)])
        visible = time.perf_counter() - begun
        there = _count(session, root, name)
        session.delete(f"{root.url}/collections/{name}")
        return Posted(items, accepted, visible, failed, 0 if failed else items - there)


def _document(number: int, name: str, asset: dict[str, Any] | None) -> dict[str, Any]:
    """A scene of about 2 kB: its metadata without the list of files, or with the one that is given."""
    return {**item(scene(number)), "collection": name, "assets": {} if asset is None else {"image": asset}}


async def _send(root: Root, payloads: list[bytes], connections: int) -> list[int]:
    loop = asyncio.get_running_loop()
    left = iter(payloads)
    statuses: list[int] = []

    async def worker() -> None:
        transport, protocol = await loop.create_connection(Protocol, *root.address)
        for payload in left:
            protocol.waiting = loop.create_future()
            transport.write(payload)
            try:
                statuses.append(int((await protocol.waiting)[9:12]))
            except ConnectionError:
                statuses.append(0)
                transport, protocol = await loop.create_connection(Protocol, *root.address)
        transport.close()

    await asyncio.gather(*(worker() for _ in range(connections)))
    return statuses


def _await(root: Root, name: str, ids: list[str]) -> None:
    until = time.monotonic() + _PATIENCE
    connection = Connection(root)
    for item_id in ids:
        asked = root.encode(Request(f"/collections/{name}/items/{item_id}"))
        while connection.send(asked)[9:12] != b"200":
            if time.monotonic() > until:
                return  # the count tells it
            time.sleep(0.01)
    connection.close()


def _count(session: requests.Session, root: Root, name: str) -> int:
    """Every item that the collection's pages list."""
    found, url = 0, f"{root.url}/collections/{name}/items?limit=200"
    while url:
        page = orjson.loads(session.get(url).content)
        found += len(page["features"])
        url = next((link["href"] for link in page["links"] if link["rel"] == "next"), "")
    return found
