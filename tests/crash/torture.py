"""A catalog under fire: what is posted, what was acknowledged, and a checker of what is left.

The checker reads the database and the asset folder themselves, not the API: nothing acknowledged may be lost, nothing
may be there twice or in half, and after the sweep no byte may lie in storage that no item names.
"""

from __future__ import annotations

import hashlib
import io
import json
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import requests
from rasterio.io import MemoryFile
from rasterio.transform import from_origin

from acceptance.reading import rows
from acceptance.serving import Served
from acceptance.source import Source

TERMINAL = {"Succeeded", "Failed", "Canceled"}
#: Seconds; generous, because it only matters where something is broken.
SETTLE_LIMIT = 120


def raster(seed: int, *, driver: str, size: int = 128) -> bytes:
    """A small land-cover-like raster: ``COG`` is stored as it is, ``GTiff`` (striped) has to be converted."""
    values = np.random.default_rng(seed).integers(0, 12, (size, size), dtype="uint8")
    profile = {
        "driver": driver,
        "width": size,
        "height": size,
        "count": 1,
        "dtype": "uint8",
        "crs": "EPSG:32633",
        "transform": from_origin(500_000 + seed * 1000, 5_000_000, 10, 10),
        "nodata": 0,
    }
    with MemoryFile() as memory:
        with rasterio.open(memory.name, "w", **profile) as dataset:
            dataset.write(values, 1)
        return bytes(io.BytesIO(memory.read()).getvalue())


def collection(collection_id: str) -> dict[str, Any]:
    """A minimal Collection."""
    return {
        "type": "Collection",
        "stac_version": "1.0.0",
        "id": collection_id,
        "description": "Under fire",
        "license": "CC0-1.0",
        "links": [],
        "extent": {"spatial": {"bbox": [[-180, -90, 180, 90]]}, "temporal": {"interval": [[None, None]]}},
    }


def item(collection_id: str, item_id: str, assets: dict[str, str]) -> dict[str, Any]:
    """A minimal Item with TIFF assets at these hrefs."""
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "id": item_id,
        "collection": collection_id,
        "geometry": {"type": "Point", "coordinates": [15.0, 45.0]},
        "bbox": [15.0, 45.0, 15.0, 45.0],
        "properties": {"datetime": "2024-05-01T00:00:00Z"},
        "links": [],
        "assets": {
            key: {"href": href, "type": "image/tiff; application=geotiff", "roles": ["data"]}
            for key, href in assets.items()
        },
    }


class Client:
    """Posts to a server that may die at any time, and remembers what it acknowledged."""

    def __init__(self, served: Served) -> None:
        """Get a token; it outlives restarts."""
        self.served = served
        self.session = served.client()
        #: Operation ids that were answered with 202: promises.
        self.promised: dict[str, str] = {}
        #: (collection, item) that were sent, acknowledged or not.
        self.attempted: set[tuple[str, str]] = set()
        #: (collection, item) → the revision that the last acknowledged update gave it, and the operation that does so.
        self.updated: dict[tuple[str, str], tuple[int, str]] = {}
        #: (collection, asset key) of acknowledged uploads → the checksum of their bytes.
        self.uploaded: dict[tuple[str, str], str] = {}

    def send(self, method: str, path: str, body: Any = None, *, tries: int = 40) -> dict[str, Any] | None:
        """The operation of a 202; None for a refusal. A request that the server died under is sent again."""
        answer = self._answered(method, path, tries=tries, json=body)
        if answer.status_code in {404, 409}:  # done already by a request whose answer was lost
            return None
        assert answer.status_code == 202, answer.text
        operation: dict[str, Any] = answer.json()
        self.promised[operation["id"]] = f"{method} {path}"
        return operation

    def declare(self, collection_id: str, name: str) -> None:
        """Have a property indexed."""
        queryable = {"name": name, "definition": {}, "create_index": True}
        answer = self._answered("POST", f"collections/{collection_id}/queryables", json=[queryable])
        assert answer.status_code in {201, 409}, answer.text  # 409: done already

    def upload(self, method: str, collection_id: str, key: str, content: bytes = b"") -> None:
        """Add (POST), replace (PUT) or remove (DELETE) an asset of a collection."""
        path = f"collections/{collection_id}/assets" + ("" if method == "POST" else f"/{key}")
        form = {"file": (f"{key}.png", content, "image/png"), "data": (None, f'{{"key": "{key}"}}')}
        answer = self._answered(method, path, files=None if method == "DELETE" else form)
        # The request whose answer was lost may have been done: it exists already, or is gone already.
        assert answer.status_code in {"POST": {201, 409}, "PUT": {200}, "DELETE": {200, 404}}[method], answer.text
        if method == "DELETE":
            self.uploaded.pop((collection_id, key), None)
        else:
            self.uploaded[collection_id, key] = hashlib.sha256(content).hexdigest()

    def ingest(self, collection_id: str, url: str, item_ids: Sequence[str]) -> None:
        """Define a bulk ingestion of a static catalog that has these items, and run it."""
        self.attempted |= {(collection_id, item_id) for item_id in item_ids}
        path = f"collections/{collection_id}/ingestions"
        # A run whose answer was lost goes on beside the one that is asked for again.
        definition = {"importType": "StaticCatalog", "sourceCatalogUrl": url, "skipExistingItems": True}
        ingestion = self._answered("POST", path, root="inma", json=definition)
        assert ingestion.status_code == 201, ingestion.text
        run = self._answered("POST", f"{path}/{ingestion.json()['id']}/runs", root="inma")
        assert run.status_code == 201, run.text
        self.promised[run.json()["id"]] = f"run of {path}"

    def _answered(
        self, method: str, path: str, *, tries: int = 40, root: str = "stac", **sent: Any
    ) -> requests.Response:
        """The first answer that is no refusal for now."""
        for _ in range(tries):
            try:
                answer = self.session.request(method, f"{self.served.url}/{root}/{path}", timeout=30, **sent)
            except requests.RequestException:
                self._wait_until_healthy()
                continue
            if answer.status_code not in {429, 503}:
                return answer
            assert answer.headers["Retry-After"]
            time.sleep(0.25)
        raise AssertionError(f"{method} {path}: never answered\n{self.served.log_text()[-4000:]}")

    def post_items(self, collection_id: str, items: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
        """Post an ItemCollection."""
        self.attempted |= {(collection_id, entry["id"]) for entry in items}
        body = {"type": "FeatureCollection", "features": list(items)}
        return self.send("POST", f"collections/{collection_id}/items", body)

    def update(self, method: str, collection_id: str, item_id: str, revision: int, change: dict[str, Any]) -> None:
        """Replace (PUT) or patch (PATCH) an item, whose properties then have this revision."""
        change = {**change, "properties": {**change.get("properties", {}), "revision": revision}}
        operation = self.send(method, f"collections/{collection_id}/items/{item_id}", change)
        assert operation is not None
        self.updated[collection_id, item_id] = (revision, operation["id"])

    def settle(self) -> dict[str, dict[str, Any]]:
        """Wait until every promised operation has ended; answers them by id."""
        until = time.monotonic() + SETTLE_LIMIT
        ended: dict[str, dict[str, Any]] = {}
        while len(ended) < len(self.promised):
            for operation_id in self.promised.keys() - ended.keys():
                try:
                    answer = self.session.get(f"{self.served.url}/inma/operations/{operation_id}", timeout=30)
                except requests.RequestException:
                    self._wait_until_healthy()
                    break
                if answer.status_code == 503:  # the database is away
                    break
                assert answer.status_code == 200, f"{self.promised[operation_id]} was promised: {answer.text}"
                operation = answer.json()
                if operation["status"] in TERMINAL:
                    ended[operation_id] = operation
            assert time.monotonic() < until, f"not settled\n{self.served.log_text()[-6000:]}"
            time.sleep(0.05)
        return ended

    def _wait_until_healthy(self) -> None:
        until = time.monotonic() + SETTLE_LIMIT
        while not self.served.is_healthy():
            assert time.monotonic() < until, f"does not come back\n{self.served.log_text()[-4000:]}"
            time.sleep(0.05)


def check(client: Client, sources: Source) -> dict[str, int]:
    """Compare what was acknowledged with catalog and storage; answers counts, all of which must be 0."""
    ended = client.settle()
    data_dir = client.served.data_dir
    ask = partial(rows, data_dir, url=client.served.database_url)
    _wait_for_sweep(ask)
    present = [
        (collection_id, item_id, json.loads(document))
        for collection_id, item_id, document in ask(
            "SELECT c.id, i.id, b.doc FROM items i JOIN collections c ON c.coll=i.coll JOIN documents b ON b.pk=i.pk"
        )
    ]
    collections = [(row[0], json.loads(row[1])) for row in ask("SELECT id, doc FROM collections WHERE deleting=0")]
    live = {
        (container, key): (size, checksum)
        for container, key, size, checksum in ask("SELECT container, key, size, sha256 FROM blobs WHERE state='live'")
    }
    staged = ask("SELECT count(*) FROM blobs WHERE state='staged'")[0][0]
    # What failed in a run is kept for another one.
    sealed = ask(
        "SELECT count(*) FROM submissions s JOIN operation_items i ON i.operation=s.operation AND i.seq=s.seq WHERE NOT"
        " (i.state='failed' AND EXISTS (SELECT 1 FROM ingestion_runs r WHERE r.operation=s.operation))"
    )[0][0]
    walks = ask("SELECT (SELECT count(*) FROM run_links) + (SELECT count(*) FROM run_chunks)")[0][0]
    succeeded = set(
        ask(
            "SELECT o.collection_id, i.item_id FROM operation_items i JOIN operations o ON o.pk=i.operation"
            " WHERE i.state='succeeded'"
        )
    )
    deleted = {row[0] for row in ask("SELECT collection_id FROM operations WHERE type='DeleteCollection'")}
    assert all(operation["status"] in TERMINAL for operation in ended.values())
    names = [(collection_id, item_id) for collection_id, item_id, _ in present]
    removed = {tuple(path.split("/")[1:4:2]) for path in _deletions(client)}
    expected = {name for name in succeeded if name[0] not in deleted and name not in removed}
    stored = {
        (path.relative_to(data_dir / "assets").parts[0], "/".join(path.relative_to(data_dir / "assets").parts[1:]))
        for path in (data_dir / "assets").rglob("*")
        if path.is_file()
    }
    documents = [document for _, _, document in present] + [document for _, document in collections]
    named, halves = _named_blobs(documents, live, data_dir, sources)
    properties = {(collection_id, item_id): document["properties"] for collection_id, item_id, document in present}
    updates = {
        name: revision
        for name, (revision, operation) in client.updated.items()
        if name in expected and ended[operation]["status"] == "Succeeded"
    }
    uploads = {
        (collection_id, key): live.get(_blob_name(asset), (0, ""))[1]
        for collection_id, document in collections
        for key, asset in document.get("assets", {}).items()
    }
    return {
        "lost uploads": sum(uploads.get(name) != checksum for name, checksum in client.uploaded.items()),
        "failed updates": sum(_failed_wrongly(ended[operation]) for _, operation in client.updated.values()),
        "lost updates": sum(properties.get(name, {}).get("revision") != rev for name, rev in updates.items()),
        "lost": len(expected - set(names)),
        "duplicate": len(names) - len(set(names)),
        "unasked": len(set(names) - client.attempted),
        "reappeared": len(set(names) - expected),
        "half visible": halves,
        "orphaned files": len(stored - live.keys()),
        "missing files": len(live.keys() - stored),
        "unnamed blobs": len(live.keys() - named),
        "staged": staged,
        "unfinished documents": sealed,
        "unfinished walks": walks,
    }


def _failed_wrongly(operation: dict[str, Any]) -> bool:
    """An update that was alone in hand at three deaths of its worker is set aside, as it should."""
    if operation["status"] == "Succeeded":
        return False
    return "is set aside" not in operation.get("error", {}).get("message", "")


def _deletions(client: Client) -> list[str]:
    return [
        what.removeprefix("DELETE ")
        for what in client.promised.values()
        if what.startswith("DELETE ") and "/items/" in what
    ]


def _named_blobs(
    documents: Sequence[dict[str, Any]],
    live: dict[tuple[str, str], tuple[int, str]],
    data_dir: Path,
    sources: Source,
) -> tuple[set[tuple[str, str]], int]:
    """The blobs that documents name, and how many are not whole: bytes differ from the ledger or a COG's source."""
    originals = {hashlib.sha256(content).hexdigest() for content in sources.files.values()}
    named: set[tuple[str, str]] = set()
    halves = 0
    for document in documents:
        for key, asset in document.get("assets", {}).items():
            container, blob = _blob_name(asset)
            named.add((container, blob))
            path = data_dir / "assets" / container / blob
            content = path.read_bytes() if path.exists() else b""
            checksum = hashlib.sha256(content).hexdigest()
            whole = live.get((container, blob)) == (len(content), checksum)
            halves += not whole or (key.startswith("cog") and checksum not in originals)
    return named, halves


def _blob_name(asset: dict[str, Any]) -> tuple[str, str]:
    """Container and key of a managed href in its stored form."""
    container, _, blob = asset["href"].split("/", 1)[1].partition("/")
    return container, blob


def _wait_for_sweep(ask: Callable[[str], list[tuple[Any, ...]]]) -> None:
    until = time.monotonic() + SETTLE_LIMIT
    while True:
        waiting = ask(
            "SELECT (SELECT count(*) FROM blobs WHERE state='dead' AND swept IS NULL)"
            # A look at extents waits for more removals to come; it touches none of what is checked.
            " + (SELECT count(*) FROM procrastinate_jobs WHERE NOT (task_name='refresh_collection' AND status='todo'))"
            " + (SELECT count(*) FROM containers c JOIN blobs b USING(container) WHERE c.dropped IS NOT NULL"
            "    AND b.state<>'dead')"
        )[0][0]
        if not waiting:
            return
        assert time.monotonic() < until, f"{waiting} dead blobs or jobs are left"
        time.sleep(0.1)
