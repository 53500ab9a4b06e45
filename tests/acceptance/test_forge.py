"""Files without STAC become items of a running catalog: by one command, and by way of a static catalog."""

from __future__ import annotations

import json
import subprocess
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from acceptance.documents import COG
from acceptance.rasters import small_geotiff
from acceptance.serving import GRATICULE, Served
from acceptance.source import Source

pytestmark = pytest.mark.acceptance

SCENE = "LC08_L2SP_005009_20150710_20200908_02_T2"


def test_forged_files_are_ingested_and_drawn(test_data: Path, tmp_path: Path) -> None:
    naip = tmp_path / "naip"
    with Source({}, token=None) as source, Served(tmp_path, env={"GRATICULE_FETCH_ALLOW": source.host}) as served:
        client = served.client("reader")

        # One command; the server was told nothing of where the files are.
        folder = str(test_data / "raster/landsat" / SCENE)
        events = served.command("forge", folder, "-c", "landsat", "--post", "--checksum", "--json").splitlines()
        told = {event["event"]: event for event in map(json.loads, events)}
        assert told["collection"]["created"]
        assert told["posted"] == {"event": "posted", "succeeded": 1, "failed": 0, "skipped": 0}
        assert told["done"]["items"] == 1
        collection = client.get(f"{served.url}/stac/collections/landsat").json()
        assert collection["summaries"]["platform"] == ["landsat-8"]
        item = client.get(f"{served.url}/stac/collections/landsat/items/{SCENE}").json()
        assert item["properties"]["eo:cloud_cover"] == 54.65
        assert (len(item["assets"]), item["assets"]["SR_B4"]["type"]) == (19, COG)
        assert {asset["href"].partition("/blobs/")[0] for asset in item["assets"].values()} == {served.url}
        path = f"{served.url}/data/collections/landsat/items/{SCENE}/preview.png"
        picture = client.get(path, params={"assets": "SR_B4", "rescale": "7000,30000"})
        assert picture.status_code == 200, picture.text
        assert np.asarray(Image.open(BytesIO(picture.content)))[..., 0].std() > 10

        # A world file, of which no CRS is known but by the user; what is there is passed over, or fails and is told.
        worldfile = tmp_path / "worldfile"
        worldfile.mkdir()
        for name in ("bahamas_l7.jpg", "bahamas_l7.jgw"):
            (worldfile / name).write_bytes((test_data / "raster/worldfile" / name).read_bytes())
        given = ("-c", "wf", "--crs", "EPSG:32618", "--datetime", "2001", "--post", "--json")
        served.command("forge", str(worldfile), *given)
        made = client.get(f"{served.url}/stac/collections/wf/items/bahamas_l7").json()["assets"]["data"]
        assert made["type"] == COG  # converted, with the transform and the CRS
        assert "file:size" not in made or made["file:size"] != (worldfile / "bahamas_l7.jpg").stat().st_size
        again = served.command("forge", str(worldfile), *given, "--skip-existing").splitlines()
        assert '"skipped": 1' in again[-2]
        (worldfile / "broken.tif").write_bytes(small_geotiff()[:900])
        failed = subprocess.run(
            [*GRATICULE, "forge", str(worldfile), *given, "--data-dir", str(served.data_dir)],
            env=served.environment(), capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert failed.returncode == 1
        lines = {(event["event"], event.get("item")): event for event in map(json.loads, failed.stdout.splitlines())}
        assert "cut off" in lines["refused", "broken"]["message"]
        assert lines["failed", "bahamas_l7"]["code"] == "ItemAlreadyExistsInCollection"

        # The static catalog, from any web server, through bulk ingestion.
        served.command("forge", str(test_data / "raster/naip"), "-c", "naip", "--copy", "--output", str(naip))
        source.files |= {path.relative_to(naip).as_posix(): path.read_bytes() for path in naip.rglob("*.*")}
        document = json.loads((naip / "collection.json").read_text()) | {"links": []}
        assert served.client().post(f"{served.url}/stac/collections", json=document).status_code == 202
        run = served.command("ingest", f"{source.url}/collection.json", "-c", "naip", "--json").splitlines()
        assert json.loads(run[-1])["succeeded"] == 3
        found = client.get(f"{served.url}/stac/search", params={"collections": "naip"}).json()["features"]
        assert {each["properties"]["datetime"][:4] for each in found} == {"2011", "2020", "2022"}
        assert list((served.data_dir / "offers").iterdir()) == []
