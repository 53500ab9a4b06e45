"""Buckets through the whole service: Azure Blob to Azure Blob and to S3, S3 to a local folder; a real scene folder, a
static catalog.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections.abc import Callable, Mapping
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
import rasterio
import requests
import xarray as xr
from rasterio.io import MemoryFile
from rio_tiler.constants import WGS84_CRS
from rio_tiler.io import Reader

from acceptance.documents import COG, collection, item
from acceptance.reading import rows
from acceptance.serving import Served
from bucket_servers import ACCOUNT_KEY, Azurite, Bucket, Moto, container_sas
from graticule.settings import load_settings
from graticule.storage import AssetStore
from ingestion.bulk_source import catalog
from tiler.cubes import cube_item

pytestmark = [
    pytest.mark.acceptance,
    pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning"),
]

SCENE = "LC08_L2SR_099120_20191129_20201016_02_T2"
LIMIT = 60

#: Name, contents and media type of an object.
Upload = Callable[[str, bytes, str], None]


def objects(bucket: Bucket, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, int]:
    """What lies in a bucket: name → size."""
    with monkeypatch.context() as patched:
        for name, value in bucket.settings().items():
            patched.setenv(name, value)
        store = AssetStore.open(load_settings(data_dir=tmp_path / "unused"))

        async def listed() -> dict[str, int]:
            return {f"{container}/{key}": size async for container, key, size in store.list_all()}

        return asyncio.run(listed())


def scene_item(test_data: Path, container_url: str, upload: Upload) -> tuple[dict[str, Any], dict[str, Path]]:
    """A real scene folder's own item over its uploaded files; files that are not here are dropped."""
    folder = test_data / "raster" / "landsat" / SCENE
    document = json.loads((folder / f"{SCENE}_SR_stac.json").read_bytes())
    document.update(stac_version="1.0.0", stac_extensions=[], collection="landsat")
    document["properties"]["datetime"] += "T00:00:00Z"
    named = {key: folder / asset["href"].rsplit("/", 1)[-1] for key, asset in document["assets"].items()}
    files = {key: path for key, path in named.items() if path.is_file()}
    document["assets"] = {key: document["assets"][key] for key in files}
    for key, path in files.items():
        upload(f"{SCENE}/{path.name}", path.read_bytes(), document["assets"][key].get("type", "image/tiff"))
        document["assets"][key]["href"] = f"{container_url}/{SCENE}/{path.name}"
    return document, files


def register(client: requests.Session, served: Served, azurite: Azurite, container: str) -> None:
    """Register a container of Azurite with a token to read and list it."""
    info = {"containerUrl": f"{azurite.url}/{container}", "sasToken": container_sas(container)}
    made = client.post(f"{served.url}/inma/ingestion-sources", json={"kind": "SasToken", "connectionInfo": info})
    assert made.status_code == 201, made.text
    assert "warning" not in made.json()["connectionInfo"], made.text


def pixels(answer: requests.Response) -> np.ndarray[Any, Any]:
    assert answer.status_code == 200, answer.text
    values: np.ndarray[Any, Any] = np.load(BytesIO(answer.content))
    return values


def same_pixels(content: bytes, path: Path) -> bool:
    with MemoryFile(content) as memory, memory.open() as stored, rasterio.open(path) as sent:
        return bool((stored.read() == sent.read()).all()) and stored.transform == sent.transform


def publish_catalog(upload: Upload, test_data: Path) -> None:
    """A Catalog of three items in a folder below it, each over the same raster."""
    raster = (test_data / "raster" / "sentinel2" / "B01.tif").read_bytes()
    upload("catalog.json", catalog(("child", "./scenes/collection.json")), "application/json")
    names = [f"scene-{number}" for number in range(3)]
    links = [("item", f"./{name}.json") for name in names]
    upload("scenes/collection.json", catalog(*links, type="Collection"), "application/json")
    for name in names:
        document = item(name, {"image": "./B01.tif"})
        upload(f"scenes/{name}.json", json.dumps(document).encode(), "application/geo+json")
    upload("scenes/B01.tif", raster, COG)


def walked(client: requests.Session, served: Served, url: str) -> dict[str, Any]:
    """The operation of a run over a static catalog, into the collection "walked", when it has ended."""
    inma = f"{served.url}/inma/collections/walked/ingestions"
    ingestion = client.post(inma, json={"importType": "StaticCatalog", "sourceCatalogUrl": url}).json()
    run = client.post(f"{inma}/{ingestion['id']}/runs").json()
    until = time.monotonic() + LIMIT
    while True:
        operation = client.get(f"{inma}/{ingestion['id']}/runs/{run['id']}").json()["operation"]
        if operation["status"] not in {"Pending", "Running"}:
            found: dict[str, Any] = operation
            return found
        assert time.monotonic() < until
        time.sleep(0.2)


@pytest.fixture
def allowed(azurite: Azurite) -> dict[str, str]:
    return {"GRATICULE_FETCH_ALLOW": urlsplit(azurite.url).netloc}


def test_a_real_scene_goes_from_azure_to_azure(
    azurite: Azurite, allowed: Mapping[str, str], test_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, managed = azurite.new_container(), azurite.new_container("/managed/assets")
    container = source.url.removeprefix("az://")
    document, files = scene_item(test_data, f"{azurite.url}/{container}", partial(azurite.upload, container))
    with Served(tmp_path, env={**managed.settings(), **allowed}) as served:
        client = served.client()
        assert client.post(f"{served.url}/stac/collections", json=collection("landsat")).status_code == 202
        items = f"{served.url}/stac/collections/landsat/items"
        refused = served.finished(client, client.post(items, json=document))
        assert refused["status"] == "Failed", "the container is private"
        register(client, served, azurite, container)
        operation = served.finished(client, client.post(items, json=document))
        assert operation["status"] == "Succeeded", operation

        # Every byte lies in the container, and none on this host.
        ledger = rows(served.data_dir, "SELECT container || '/' || key, size, sha256 FROM blobs WHERE state = 'live'")
        assert objects(managed, monkeypatch, tmp_path) == {name: size for name, size, _ in ledger}
        assert len(ledger) == len(files)
        assert not [path for path in (served.data_dir / "assets").rglob("*") if path.is_file()]
        # What is stored as it was sent was copied by the service itself: it refused none.
        assert "remote_copy_refused" not in served.log_text()

        # Signed URLs are ours, whole, in ranges and by HEAD.
        signed = client.get(f"{items}/{document['id']}", params={"sign": "true"}).json()["assets"]
        checksums = {sha256 for _, _, sha256 in ledger}
        for key, path in files.items():
            href = signed[key]["href"]
            assert href.startswith(f"{served.url}/blobs/")
            whole = requests.get(href, timeout=30)
            assert (whole.status_code, hashlib.sha256(whole.content).hexdigest() in checksums) == (200, True)
            assert whole.content == path.read_bytes() or same_pixels(whole.content, path)
            part = requests.get(href, headers={"Range": "bytes=10-99"}, timeout=30)
            assert (part.status_code, part.content) == (206, whole.content[10:100])
            tail = requests.get(href, headers={"Range": "bytes=-7"}, timeout=30)
            assert (tail.status_code, tail.content) == (206, whole.content[-7:])
            head = requests.head(href, timeout=30)
            assert (head.status_code, int(head.headers["Content-Length"])) == (200, len(whole.content))
        assert requests.get(href.partition("?")[0], timeout=30).status_code == 409
        with rasterio.open(f"/vsicurl/{signed['SR_B2.TIF']['href']}") as opened:
            assert opened.count == 1

        # Pixels are read from there.
        prefix = f"{served.url}/data/mosaic/collections/landsat/items/{document['id']}"
        asked: dict[str, Any] = {"assets": "SR_B2.TIF", "format": "npy", "max_size": 4096}
        found = pixels(client.get(f"{prefix}/preview", params=asked))
        with rasterio.open(files["SR_B2.TIF"]) as dataset:
            assert (found[0] == dataset.read(1)).all()
        with Reader(str(files["SR_B2.TIF"])) as reader:
            west, south, east, north = reader.get_geographic_bounds(WGS84_CRS)
            place = reader.tms.tile((west + east) / 2, (south + north) / 2, reader.maxzoom)
            direct = reader.tile(place.x, place.y, place.z)
            value = reader.point((west + east) / 2, (south + north) / 2).array.tolist()
        tile = f"{prefix}/tiles/WebMercatorQuad/{place.z}/{place.x}/{place.y}"
        found = pixels(client.get(f"{tile}.npy", params={"assets": "SR_B2.TIF"}))
        assert (found[0] == direct.array.data[0]).all()
        quick = client.get(f"{tile}.png", params={"assets": "SR_B2.TIF", "rescale": "0,30000"})
        assert quick.status_code == 200, quick.text
        point = client.get(f"{prefix}/point/{(west + east) / 2},{(south + north) / 2}", params={"assets": "SR_B2.TIF"})
        assert point.json()["values"] == value

        # An item over assets of this catalog has copies of its own.
        stored = client.get(f"{items}/{document['id']}").json()["assets"]
        again = item("again", {"image": {"href": stored["SR_B3.TIF"]["href"], "type": COG, "roles": ["data"]}})
        assert served.finished(client, client.post(items, json=again))["status"] == "Succeeded"
        assert served.finished(client, client.delete(f"{items}/{document['id']}"))["status"] == "Succeeded"
        until = time.monotonic() + LIMIT
        while len(left := objects(managed, monkeypatch, tmp_path)) > 1:
            assert time.monotonic() < until, f"not swept: {left}"
            time.sleep(0.2)
        assert "/again/" in next(iter(left))
        signed = client.get(f"{items}/again", params={"sign": "true"}).json()["assets"]
        assert requests.get(signed["image"]["href"], timeout=30).status_code == 200
        assert client.get(f"{prefix}/preview", params=asked).status_code == 404

        log = served.log_text()
    kept = b"".join(path.read_bytes() for path in served.data_dir.rglob("*") if path.is_file())
    for secret in (ACCOUNT_KEY, container_sas(container).rpartition("sig=")[2]):
        assert secret not in log
        assert secret.encode() not in kept


def test_cubes_and_a_static_catalog_go_from_azure_to_s3(
    azurite: Azurite,
    moto: Moto,
    allowed: Mapping[str, str],
    test_data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    source, managed = azurite.new_container(), moto.new_bucket("/graticule")
    container = source.url.removeprefix("az://")
    base = f"{azurite.url}/{container}"
    publish_catalog(partial(azurite.upload, container), test_data)
    cubes = {"tmmx": "gridmet_tmmx_20190121.nc", "basin": "basin_mask.nc", "era5": "era5-2mt-2019-03-uk.grib"}
    for name in cubes.values():
        azurite.upload(container, name, (test_data / "multidim" / name).read_bytes(), "application/octet-stream")
    with Served(tmp_path, env={**managed.settings(), **allowed}) as served:
        client = served.client()
        for collection_id in ("walked", "cubes"):
            made = client.post(f"{served.url}/stac/collections", json=collection(collection_id))
            assert made.status_code == 202
        register(client, served, azurite, container)

        operation = walked(client, served, f"{base}/catalog.json")
        assert (operation["status"], operation["totalSuccessfulItems"]) == ("Succeeded", 3), operation

        items = f"{served.url}/stac/collections/cubes/items"
        for name, file in cubes.items():
            document = cube_item(name, f"{base}/{file}", Path(file).suffix)
            done = served.finished(client, client.post(items, json=document))
            assert done["status"] == "Succeeded", done

        form: Any = {"file": ("legend.png", b"\x89PNG made up", "image/png"), "data": (None, '{"key": "legend"}')}
        added = client.post(f"{served.url}/stac/collections/cubes/assets", files=form)
        assert added.status_code == 201, added.text

        ledger = rows(served.data_dir, "SELECT container || '/' || key, size FROM blobs WHERE state = 'live'")
        assert objects(managed, monkeypatch, tmp_path) == dict(ledger)
        assert sum("/collection-assets/" in name for name, _ in ledger) == 1

        mosaic = f"{served.url}/data/mosaic/collections"
        with rasterio.open(test_data / "raster" / "sentinel2" / "B01.tif") as dataset:
            expected = dataset.read(1)
        found = pixels(
            client.get(
                f"{mosaic}/walked/items/scene-0/preview",
                params={"assets": "image", "format": "npy", "max_size": "4096"},
            )
        )
        assert (found[0] == expected).all()
        # A classic file, an HDF5 file, the manifest beside it, and a GRIB file answer what they do from a folder.
        with xr.open_dataset(test_data / "multidim" / cubes["tmmx"], engine="h5netcdf") as dataset:
            warmth = dataset["air_temperature"].isel(lon=500, lat=300)
            lon, lat, kelvin = float(warmth.lon), float(warmth.lat), float(warmth)
        for asset in ("data", "data-kerchunk"):
            answer = client.get(
                f"{mosaic}/cubes/items/tmmx/point/{lon},{lat}",
                params={"assets": asset, "subdataset_name": "air_temperature"},
            )
            assert answer.status_code == 200, answer.text
            assert answer.json()["values"] == [pytest.approx(kelvin, rel=1e-6)]
        for name, query in (("basin", {}), ("era5", {"subdataset_bands": "1"})):
            answer = client.get(f"{mosaic}/cubes/items/{name}/info", params={"assets": "data", **query})
            assert answer.status_code == 200, (name, answer.text)
        log = served.log_text()
    assert "render_" not in log, "no render process died or complained"


def test_a_real_scene_and_a_static_catalog_go_from_s3_to_a_local_folder(
    moto: Moto, test_data: Path, tmp_path: Path
) -> None:
    bucket = moto.new_bucket().url.removeprefix("s3://")
    upload = partial(moto.upload, bucket)
    document, files = scene_item(test_data, f"s3://{bucket}", upload)
    publish_catalog(upload, test_data)
    keys = {"accessKeyId": "AKIACANARY", "secretAccessKey": "canary-of-a-key", "endpoint": moto.url}
    with Served(tmp_path, env={"GRATICULE_FETCH_ALLOW": urlsplit(moto.url).netloc}) as served:
        client = served.client()
        for collection_id in ("landsat", "walked"):
            made = client.post(f"{served.url}/stac/collections", json=collection(collection_id))
            assert made.status_code == 202, made.text
        source = {"kind": "S3", "connectionInfo": {"containerUrl": f"s3://{bucket}", **keys}}
        registered = client.post(f"{served.url}/inma/ingestion-sources", json=source)
        assert registered.status_code == 201, registered.text
        assert "warning" not in registered.json()["connectionInfo"], registered.text

        items = f"{served.url}/stac/collections/landsat/items"
        operation = served.finished(client, client.post(items, json=document))
        assert operation["status"] == "Succeeded", operation
        signed = client.get(f"{items}/{document['id']}", params={"sign": "true"}).json()["assets"]
        assert signed.keys() >= files.keys()
        for key, path in files.items():
            stored = requests.get(signed[key]["href"], timeout=30)
            assert stored.status_code == 200, key
            assert stored.content == path.read_bytes() or same_pixels(stored.content, path), key

        operation = walked(client, served, f"s3://{bucket}/catalog.json")
        assert (operation["status"], operation["totalSuccessfulItems"]) == ("Succeeded", 3), operation
        found = client.get(f"{served.url}/stac/collections/walked/items").json()["features"]
        assert {one["id"] for one in found} == {"scene-0", "scene-1", "scene-2"}
        assert all(one["assets"]["image"]["href"].startswith(f"{served.url}/blobs/") for one in found)
        with rasterio.open(test_data / "raster" / "sentinel2" / "B01.tif") as dataset:
            expected = dataset.read(1)
        asked = {"assets": "image", "format": "npy", "max_size": "4096"}
        prefix = f"{served.url}/data/mosaic/collections/walked/items/scene-1"
        assert (pixels(client.get(f"{prefix}/preview", params=asked))[0] == expected).all()

        # All of it lies in the folder, as the ledger has it.
        ledger = rows(served.data_dir, "SELECT container || '/' || key, size FROM blobs WHERE state = 'live'")
        there = served.data_dir / "assets"
        assert {name: (there / name).stat().st_size for name, _ in ledger} == dict(ledger)
        log = served.log_text()
    assert "canary-of-a-key" not in log


def test_a_bucket_that_cannot_be_used_is_told_at_the_start(azurite: Azurite, tmp_path: Path) -> None:
    there = azurite.new_container()
    gone = Bucket("az://not-there", there.env)
    other = {**there.settings(), "AZURE_STORAGE_ACCOUNT_KEY": "b3RoZXI="}
    for number, (env, said) in enumerate(((gone.settings(), "ContainerNotFound"), (other, "403 Forbidden"))):
        served = Served(tmp_path / str(number), env=env)
        try:
            with pytest.raises(AssertionError, match="ended with"):
                served.start()
        finally:
            served.kill()
        assert said in served.log_text()
        assert "GRATICULE_STORAGE_URL" in served.log_text()
        assert "b3RoZXI" not in served.log_text()


@pytest.mark.parametrize("point", ["storage.put.before:2", "storage.put.after:2"])
def test_nothing_is_lost_or_left_when_a_worker_dies_at_an_upload(
    azurite: Azurite, allowed: Mapping[str, str], test_data: Path, tmp_path: Path, point: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    source, managed = azurite.new_container(), azurite.new_container()
    container = source.url.removeprefix("az://")
    document, files = scene_item(test_data, f"{azurite.url}/{container}", partial(azurite.upload, container))
    killed = tmp_path / "killed"
    crash = {"GRATICULE_CRASH_POINT": point, "GRATICULE_CRASH_LOG": str(killed)}
    with Served(tmp_path, env={**managed.settings(), **allowed, **crash}) as served:
        client = served.client()
        assert client.post(f"{served.url}/stac/collections", json=collection("landsat")).status_code == 202
        register(client, served, azurite, container)
        items = f"{served.url}/stac/collections/landsat/items"
        operation = served.finished(client, client.post(items, json=document))
        assert operation["status"] == "Succeeded", operation
        assert killed.read_text().startswith(point.partition(":")[0])
        ledger = rows(served.data_dir, "SELECT container || '/' || key, size FROM blobs WHERE state = 'live'")
        assert len(ledger) == len(files)
        assert objects(managed, monkeypatch, tmp_path) == dict(ledger)
