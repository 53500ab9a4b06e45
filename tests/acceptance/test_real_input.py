"""Real rasters, as they lie in archives, through the whole service: posted, copied, converted, signed, read."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
import rasterio
import requests
from rasterio.io import MemoryFile
from rio_cogeo.cogeo import cog_validate

from acceptance.documents import COG, collection, item, items
from acceptance.serving import Served
from acceptance.source import Source
from acceptance.storage import settled

pytestmark = [
    pytest.mark.acceptance,
    pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning"),
]

LANDSAT = "raster/landsat"
TYPES = {
    ".tif": COG,
    ".jp2": "image/jp2",
    ".jpg": "image/jpeg",
    ".png": "image/png",
    ".txt": "text/plain",
    ".xml": "application/xml",
}
#: What lies where, and has to be converted, whatever its parts look like.
ALWAYS_CONVERTED = ("raster/striped/", "raster/jpeg2000/", "raster/worldfile/", "raster/landcover/annual_crops/")
#: What these are sent as, without a word on their content, and what they are kept as.
UNSAID = ("prj", "jgw", "pgw", "msk", "ovr")


@dataclass(frozen=True)
class Sent:
    """An item, and the local file behind each of its assets."""

    document: dict[str, Any]
    files: dict[str, Path]

    @property
    def id(self) -> str:
        return str(self.document["id"])

    @property
    def collection(self) -> str:
        return str(self.document["collection"])


@dataclass
class Played:
    """A catalog after all of it was posted."""

    served: Served
    source: Source
    client: requests.Session
    sent: list[Sent]
    operations: dict[str, dict[str, Any]] = field(default_factory=dict)  #: by collection

    def read(self, sent: Sent, **query: str) -> dict[str, Any]:
        url = f"{self.served.url}/stac/collections/{sent.collection}/items/{sent.id}"
        answer = self.client.get(url, params=query)
        assert answer.status_code == 200, answer.text
        document: dict[str, Any] = answer.json()
        return document


class Archive:
    """The test data as a source, and items over it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.files: dict[str, bytes] = {}

    def publish(self, path: str, content: bytes | None = None) -> str:
        """Have the source serve a file; answers its path there."""
        self.files[path] = (self.root / path).read_bytes() if content is None else content
        return path

    def real_item(self, source: Source, path: str, collection_id: str, where: dict[str, str]) -> Sent:
        """A published item; assets get the files named by asset key, and others are dropped."""
        document = json.loads((self.root / path).read_bytes())
        document["collection"] = collection_id
        document["assets"] = {key: asset for key, asset in document["assets"].items() if key in where}
        assert document["assets"].keys() == where.keys()
        for key, asset in document["assets"].items():
            asset["href"] = source.href(self.publish(where[key]))
        return Sent(document, {key: self.root / file for key, file in where.items()})

    def landsat(self, source: Source, path: str, collection_id: str) -> Sent:
        """A scene folder with the item that lies in it, brought to STAC 1.0; files that are not here are dropped."""
        folder = (self.root / path).parent
        named = json.loads((self.root / path).read_bytes())["assets"]
        here = {key: folder / asset["href"].rsplit("/", 1)[-1] for key, asset in named.items()}
        where = {key: str(file.relative_to(self.root)) for key, file in here.items() if file.is_file()}
        sent = self.real_item(source, path, collection_id, where)
        properties = sent.document["properties"]
        sent.document.update(stac_version="1.0.0", stac_extensions=[])
        properties["datetime"] += "T00:00:00Z"
        return sent

    def made_item(self, source: Source, item_id: str, collection_id: str, files: list[str], **members: Any) -> Sent:
        """An item over files of which nobody has made one."""
        assets: dict[str, dict[str, Any]] = {}
        here: dict[str, Path] = {}
        for place, file in enumerate(files):
            path = self.root / file
            key = "image" if place == 0 else path.suffix[1:]
            assets[key] = {"href": source.href(self.publish(file))}
            if path.suffix in TYPES:
                assets[key]["type"] = TYPES[path.suffix]
            if place == 0:
                assets[key]["roles"] = ["data"]
            here[key] = path
        document = item(item_id, assets, collection=collection_id, **members)
        return Sent(document, here)


def everything(root: Path, archive: Archive, source: Source) -> list[Sent]:
    """All of the real input."""
    cover, scenes = "raster/landcover", f"{LANDSAT}/LC08_L2SP_005009_20150710_20200908_02_T2"
    worldcover = f"{cover}/ESA_WorldCover_10m_2021_v200_N00E006/ESA_WorldCover_10m_2021_v200_N00E006"
    sent = [
        archive.real_item(
            source,
            "stac/items/stactools/ESA_WorldCover_10m_2021_v200_N00E006.json",
            "esa-worldcover",
            {"map": f"{worldcover}_Map.tif", "input_quality": f"{worldcover}_InputQuality.tif"},
        ),
        archive.landsat(source, f"{scenes}/{Path(scenes).name}_SR_stac.json", "landsat-c2l2-sr"),
        archive.landsat(source, f"{scenes}/{Path(scenes).name}_ST_stac.json", "landsat-c2l2-st"),
    ]
    antarctic = f"{LANDSAT}/LC08_L2SR_099120_20191129_20201016_02_T2"
    sent.append(archive.landsat(source, f"{antarctic}/{Path(antarctic).name}_SR_stac.json", "landsat-c2l2-sr"))
    for path in sorted((root / "stac/items/stactools/usda-cdl").iterdir()):
        tile = path.stem.removeprefix("cropland_2021_")
        where = {"cropland": f"{cover}/cdl/2021_30m_cdls_{tile}.tif"}
        sent.append(archive.real_item(source, str(path.relative_to(root)), "usda-cdl", where))
    singles = [
        [f"{cover}/cdl/2021_30m_cdls.tif"],
        [f"{cover}/above_annual_31band.tif"],
        [f"{cover}/annual_crops/worldcover_sao_tome_2020.tif"],
        [f"{cover}/annual_crops/worldcover_sao_tome_2021.tif"],
        [f"{cover}/cog_cmap.tif"],
        ["raster/striped/RGB.byte.tif"],
        ["raster/striped/nocog_uint16.tif"],
        ["raster/naip/m_3008501_ne_16_1_20110815.tif", "raster/naip/m_3008501_ne_16_1_20110815.txt"],
        ["raster/naip/m_3211605_ne_11_060_20200415.tif"],
        ["raster/naip/m_4112001_sw_10_060_20220716.tif", "raster/naip/m_4112001_sw_10_060_20220716.xml"],
        ["raster/jpeg2000/s2_tci_crop.jp2"],
        ["raster/jpeg2000/landsat_sr_b4_16bit.jp2"],
        ["raster/worldfile/bahamas_l7.jpg", "raster/worldfile/bahamas_l7.jgw", "raster/worldfile/bahamas_l7.prj"],
        [
            "raster/worldfile/landsat_antarctic_16bit.png",
            "raster/worldfile/landsat_antarctic_16bit.pgw",
            "raster/worldfile/landsat_antarctic_16bit.prj",
        ],
        ["raster/plain_image/389225main_sw_1965_1024.jpg"],
        ["raster/odd/RGB2.byte.tif", "raster/odd/RGB2.byte.tif.msk"],
        ["raster/gcps/landsat_gcps.tif"],
        ["raster/sar/cint16_gcps.tif"],
        ["raster/sar/s1_grd_gcps_cog.tif"],
    ]
    # The tiny rotated one lies nowhere: as data it fails, which is another test's business.
    odd = [
        path
        for path in sorted((root / "raster/odd").iterdir())
        if path.suffix == ".tif" and path.name not in {"RGB2.byte.tif", "rotated_tiny.tif"}
    ]
    singles += [[str(path.relative_to(root))] for path in odd]
    return sent + [
        archive.made_item(source, f"{Path(files[0]).parent.name}-{Path(files[0]).stem}", "assorted", files)
        for files in singles
    ]


@pytest.fixture(scope="module")
def played(test_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Played]:
    """Everything posted, as one ItemCollection for each collection, and ended."""
    archive = Archive(test_data)
    with Source(archive.files) as source:
        sent = everything(test_data, archive, source)
        source.files = archive.files
        worldcover = sent[0].document["assets"]
        # As the quickstart posts them: the href has a query already and gets a second `?` with the token.
        for key, media_type, role, content in (
            ("tilejson", "application/json", "tiles", b'{"tilejson": "2.2.0", "tiles": []}'),
            ("rendered_preview", "image/png", "overview", b"\x89PNG\r\n\x1a\n and no more than that"),
        ):
            href = source.href(f"data/v1/item/{key}?collection=esa-worldcover&assets=map%7C1")
            worldcover[key] = {"href": href, "type": media_type, "roles": [role]}
            source.files[f"data/v1/item/{key}"] = content
        folder = tmp_path_factory.mktemp("real")
        for key in ("tilejson", "rendered_preview"):
            (folder / key).write_bytes(source.files[f"data/v1/item/{key}"])
            sent[0].files[key] = folder / key
        with Served(folder, env={"GRATICULE_FETCH_ALLOW": source.host}) as served:
            played = Played(served, source, served.client(), sent)
            accepted = {}
            for collection_id in dict.fromkeys(one.collection for one in sent):
                document = collection(collection_id)
                real = test_data / f"stac/collections/stactools/{collection_id}.json"
                if real.exists():
                    document = json.loads(real.read_bytes())
                assert played.client.post(f"{served.url}/stac/collections", json=document).status_code == 202
                features = [one.document for one in sent if one.collection == collection_id]
                body = items(*features) if len(features) > 1 else features[0]
                accepted[collection_id] = played.client.post(
                    f"{served.url}/stac/collections/{collection_id}/items", json=body
                )
            for collection_id, answer in accepted.items():
                played.operations[collection_id] = served.finished(played.client, answer)
            yield played


def is_kept(path: Path, root: Path, sent: Sent, key: str) -> bool:
    """Should the bytes in the catalog be those of the source?"""
    asset = sent.document["assets"][key]
    if path.suffix.lower() not in {".tif", ".jp2", ".jpg", ".jpeg", ".png"}:
        return True
    if set(asset.get("roles", ())) & {"metadata", "overview", "tiles", "thumbnail"} or "plain_image" in str(path):
        return True
    if str(path.relative_to(root)).startswith(ALWAYS_CONVERTED) or path.name == "RGB2.byte.tif":
        return False
    if path.suffix == ".jpeg":  # Landsat's thumbnails have no role, and no place on the map either
        return True
    return bool(cog_validate(path, quiet=True)[0])


def test_every_operation_succeeds_and_counts_its_items(played: Played) -> None:
    for collection_id, operation in played.operations.items():
        number = sum(one.collection == collection_id for one in played.sent)
        assert operation["status"] == "Succeeded", operation
        assert (operation["totalItems"], operation["totalSuccessfulItems"]) == (number, number)


def test_every_asset_is_converted_or_kept_as_it_is(played: Played, test_data: Path) -> None:
    plain = requests.Session()
    outcomes = {True: 0, False: 0}
    for sent in played.sent:
        document = played.read(sent, sign="true")
        assert document["assets"].keys() == sent.document["assets"].keys()
        for key, asset in document["assets"].items():
            source = sent.files[key]
            answer = plain.get(asset["href"])
            assert answer.status_code == 200, (sent.id, key, answer.text)
            kept = is_kept(source, test_data, sent, key)
            outcomes[kept] += 1
            assert (hashlib.sha256(answer.content).digest() == hashlib.sha256(source.read_bytes()).digest()) is kept, (
                f"{sent.id} {key} should {'' if kept else 'not '}be the source's bytes"
            )
            if kept:
                assert asset.get("type") == sent.document["assets"][key].get("type")
                assert answer.headers["content-type"].startswith(asset.get("type", "application/octet-stream"))
            else:
                assert asset["type"] == answer.headers["content-type"] == COG
                assert_is_the_same_raster(source, answer.content, f"{sent.id} {key}")
    assert outcomes[False] >= 12
    assert outcomes[True] >= 60


def assert_is_the_same_raster(source: Path, content: bytes, name: str) -> None:
    with MemoryFile(BytesIO(content)) as memory, memory.open() as after, rasterio.open(source) as before:
        assert after.profile["driver"] == "GTiff"
        assert after.crs or after.gcps[1], name
        assert (before.shape, before.dtypes) == (after.shape, after.dtypes), name
        assert np.array_equal(before.read(), after.read(), equal_nan=before.dtypes[0].startswith("float")), name
        assert cog_validate(memory.name, quiet=True)[0], name


def test_rasters_open_through_their_signed_urls(played: Played, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    opened = 0
    for sent in played.sent:
        for key, asset in played.read(sent, sign="true")["assets"].items():
            if not asset.get("type", "").startswith(("image/tiff", "image/vnd.stac.geotiff")):
                continue
            with (
                rasterio.Env(GDAL_DISABLE_READDIR_ON_OPEN="EMPTY_DIR"),
                rasterio.open(f"/vsicurl/{asset['href']}") as far,
                rasterio.open(sent.files[key]) as near,
            ):
                assert far.shape == near.shape
                corner = ((0, min(64, near.height)), (0, min(64, near.width)))
                assert far.read(window=corner).tobytes() == near.read(window=corner).tobytes()
                opened += 1
    assert opened > 50


def test_the_crs_of_a_world_file_image_is_its_prj(played: Played) -> None:
    for name, epsg in (("worldfile-bahamas_l7", 32618), ("worldfile-landsat_antarctic_16bit", 3031)):
        sent = next(one for one in played.sent if one.id == name)
        with rasterio.open(f"/vsicurl/{played.read(sent, sign='true')['assets']['image']['href']}") as dataset:
            assert dataset.crs.to_epsg() == epsg
            assert dataset.transform.a > 1


def test_keys_are_laid_out_by_container_item_and_asset(played: Played) -> None:
    for sent in played.sent:
        for key, asset in played.read(sent)["assets"].items():
            container, scatter, item_id, name = urlsplit(asset["href"]).path.removeprefix("/blobs/").split("/")
            assert re.fullmatch(rf"{sent.collection}-[0-9a-f]{{8}}", container)
            assert re.fullmatch(r"[0-9a-f]{12}", scatter)
            assert item_id == sent.id
            assert name.startswith(key)
            assert "?" not in asset["href"]
            if asset.get("type") == COG:
                assert name == f"{key}.tif"
            elif key in UNSAID:
                assert name == f"{key}.{key}"


def test_hrefs_with_a_query_get_a_second_one_and_arrive_as_they_were_sent(played: Played) -> None:
    asked = [path for path in played.source.requests if path.startswith("/data/v1/")]
    assert sorted(asked) == [
        f"/data/v1/item/{key}?collection=esa-worldcover&assets=map%7C1?{played.source.token}"
        for key in ("rendered_preview", "tilejson")
    ]
    assets = played.read(played.sent[0])["assets"]
    assert assets["tilejson"]["href"].endswith("/tilejson.json")
    assert assets["rendered_preview"]["href"].endswith("/rendered_preview.png")


def test_items_are_found_and_keep_what_was_said_of_them(played: Played) -> None:
    for sent in played.sent:
        found = played.client.get(
            f"{played.served.url}/stac/search",
            params={"collections": sent.collection, "ids": sent.id, "bbox": ",".join(map(str, sent.document["bbox"]))},
        ).json()["features"]
        assert [one["id"] for one in found] == [sent.id]
        assert found[0]["properties"] == sent.document["properties"]
        assert found[0]["geometry"] == sent.document["geometry"]
        assert {link["rel"] for link in found[0]["links"]} == {"collection", "parent", "root", "self"}


def test_nothing_lies_in_storage_but_published_assets(played: Played) -> None:
    stored = settled(played.served.data_dir)
    for sent in played.sent:
        expected = len(sent.files)
        assert len([name for name in stored.of(sent.id) if name.startswith(f"{sent.collection}-")]) == expected


def test_an_item_of_an_old_stac_version_is_told_which_are_taken(played: Played, test_data: Path) -> None:
    scene = "LC08_L2SR_099120_20191129_20201016_02_T2"
    document = json.loads((test_data / f"{LANDSAT}/{scene}/{scene}_SR_stac.json").read_bytes())
    answer = played.client.post(
        f"{played.served.url}/stac/collections/landsat-c2l2-sr/items", json={**document, "id": "old"}
    )
    error = played.served.finished(played.client, answer)["error"]
    assert error["code"] == "StacValidationFailed"
    assert "Item 'old'" in error["message"]
    assert "1.0.0" in error["message"]


# --- damaged files

DAMAGED = ("cog_truncated", "corrupt_jpeg_tiles", "naip_truncated")


def test_damaged_files_fail_by_name_and_leave_nothing_behind(played: Played, test_data: Path) -> None:
    client, served, source = played.client, played.served, played.source
    assert client.post(f"{served.url}/stac/collections", json=collection("damaged")).status_code == 202
    paths = {name: f"raster/corrupt/{name}.tif" for name in DAMAGED}
    source.files |= {path: (test_data / path).read_bytes() for path in paths.values()}
    whole = "raster/naip/m_3211605_ne_11_060_20200415.tif"
    features = [
        # The sound asset is stored before the damaged one is found out.
        item(name, {"sound": source.href(whole), "image": source.href(path)})
        for name, path in paths.items()
    ]
    url = f"{served.url}/stac/collections/damaged/items"
    alone = {feature["id"]: client.post(url, json=feature) for feature in features}
    together = client.post(url, json=items(*features, item("sound", {"image": source.href(whole)})))
    for name, answer in alone.items():
        operation = served.finished(client, answer)
        assert operation["status"] == "Failed"
        error = operation["error"]
        assert error["code"] == "CogTransformationError"
        assert error["message"].startswith(f"Item '{name}', asset 'image': ")
        assert error["message"].count("asset 'image'") == 1
        assert "upload it again" in error["message"]
    operation = served.finished(client, together)
    assert (operation["totalFailedItems"], operation["totalSuccessfulItems"]) == (3, 1)
    assert operation["error"]["code"] == "ErrorsInBatchOperation"
    for name in DAMAGED:
        assert f"Item '{name}', asset 'image'" in operation["error"]["message"]
    assert [one["id"] for one in client.get(url).json()["features"]] == ["sound"]
    stored = settled(served.data_dir)
    assert [name for name in stored.files if name.startswith("damaged-")] == stored.of("sound")
    assert len(stored.of("sound")) == 1
