"""Data cubes through HTTP: what the catalog answers is what xarray says of the same file."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
import rasterio
import xarray as xr
import zarr

from acceptance.source import Source
from tiler.cubes import cube_item, cubed
from tiler.served import COLLECTION, Tiled, array

pytestmark = [pytest.mark.acceptance, pytest.mark.filterwarnings("ignore")]

FILES = {
    "tmmx": "gridmet_tmmx_20190121.nc",
    "basin": "basin_mask.nc",
    "modis": "MODIS_ARRAY.nc",
    "subs": "two-subs.h5",
    "era5": "era5-2mt-2019-03-uk.grib",
    "gfs": "gfs_a.grib2",
}


def hourly(path: Path) -> Path:
    """Two variables by hour, level, latitude (rising) and longitude (0 to 360); one is packed."""
    rng = np.random.default_rng(7)
    values = rng.uniform(200, 320, (6, 3, 19, 36)).astype("float32")
    values[:, :, 4, 5] = np.nan
    dims = ("time", "level", "lat", "lon")
    dataset = xr.Dataset(
        {"t": (dims, values), "q": (dims, values / 1000)},
        coords={
            "time": np.datetime64("2024-05-01", "ns") + np.arange(6) * np.timedelta64(3600, "s"),
            "level": ("level", [1000.0, 850.0, 500.0], {"units": "hPa"}),
            "lat": ("lat", np.arange(-90, 91, 10.0), {"units": "degrees_north"}),
            "lon": ("lon", np.arange(5, 360, 10.0), {"units": "degrees_east"}),
        },
    )
    packed = {"dtype": "int16", "scale_factor": 0.01, "add_offset": 250.0, "_FillValue": -32768, "zlib": True}
    dataset.to_netcdf(path, engine="h5netcdf", encoding={"t": packed})
    return path


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return hourly(tmp_path_factory.mktemp("made") / "hourly.nc")


@pytest.fixture(scope="module")
def running(made: Path, test_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Tiled, Source]]:
    files = {item: test_data / "multidim" / name for item, name in FILES.items()} | {"hourly": made}
    store = tmp_path_factory.mktemp("zip") / "store.zip"
    source = xr.open_dataset(made, engine="h5netcdf").load()
    for each in source.variables.values():
        each.encoding.clear()
    with zarr.storage.ZipStore(store, mode="w") as zipped:
        source.to_zarr(zipped, zarr_format=3, consolidated=False)
    with cubed(tmp_path_factory.mktemp("cubes"), files | {"zarr": store}) as served:
        yield served


@pytest.fixture(scope="module")
def catalog(running: tuple[Tiled, Source]) -> Tiled:
    return running[0]


def value(catalog: Tiled, item: str, lon: float, lat: float, **query: Any) -> Any:
    answer = catalog.get(item, f"point/{lon},{lat}", **({"assets": "data"} | query))
    assert answer.status_code == 200, answer.text
    return answer.json()["values"]


@pytest.mark.parametrize("asset", ["data", "data-kerchunk"])
def test_points_are_xarrays(catalog: Tiled, test_data: Path, asset: str) -> None:
    with xr.open_dataset(test_data / "multidim" / FILES["tmmx"], engine="h5netcdf") as dataset:
        for lon, lat in ((-110.0, 40.0), (-95.51, 33.3), (-123.0, 47.01)):
            expected = dataset.air_temperature.sel(lon=lon, lat=lat, method="nearest").item()
            query = {"assets": asset, "subdataset_name": "air_temperature", "datetime": "2019-01-21T00:00:00Z"}
            found = value(catalog, "tmmx", lon, lat, **query)
            assert found == [pytest.approx(expected)] if np.isfinite(expected) else found == [None]


@pytest.mark.parametrize(("item", "asset"), [("hourly", "data"), ("hourly", "data-kerchunk"), ("zarr", "data")])
def test_a_window_is_xarrays(catalog: Tiled, made: Path, item: str, asset: str) -> None:
    query = {"assets": asset, "subdataset_name": "t", "sel": ["level=850", "time=2024-05-01T04:00:00Z"]}
    found = array(catalog.get(item, "bbox/-180,-85,180,85.npy", **query))
    with xr.open_dataset(made, engine="h5netcdf") as dataset:
        plane = dataset.t.sel(level=850, time="2024-05-01T04:00")
        plane = plane.assign_coords(lon=(plane.lon + 180) % 360 - 180).sortby("lon").sortby("lat", ascending=False)
        expected = plane.values[1:-1]  # rows 80 to -80, whose edges are the box's
    np.testing.assert_allclose(np.where(found[1] > 0, found[0], np.nan), expected, atol=1e-3)
    assert (found[1] <= 0).sum() == 1


@pytest.mark.parametrize(("item", "asset"), [("hourly", "data"), ("hourly", "data-kerchunk"), ("zarr", "data")])
def test_every_cell_is_xarrays(catalog: Tiled, made: Path, item: str, asset: str) -> None:
    with xr.open_dataset(made, engine="h5netcdf") as dataset:
        for time, level, lat, lon in ((0, 1000, -40, 55), (5, 500, 40, 355), (3, 850, 0, 185), (2, 500, 80, 175)):
            moment = f"2024-05-01T{time:02}:00:00Z"
            expected = dataset.t.isel(time=time).sel(level=level, lat=lat, lon=lon).item()
            east = lon - 360 if lon > 180 else lon
            query = {"assets": asset, "subdataset_name": "t", "datetime": moment, "sel": f"level={level}"}
            assert value(catalog, item, east, lat, **query) == [pytest.approx(expected, abs=1e-3)]


def test_a_fill_value_is_missing(catalog: Tiled) -> None:
    query = {"subdataset_name": "t", "sel": ["level=850", "time=2024-05-01T04"]}
    assert value(catalog, "hourly", 55, -50, **query) == [None]


def test_a_moment_between_steps(catalog: Tiled, made: Path) -> None:
    with xr.open_dataset(made, engine="h5netcdf") as dataset:
        steps = dataset.t.sel(level=500, lat=40, lon=45).values
    query = {"subdataset_name": "t", "sel": ["level=500", "time=2024-05-01T02:15:00Z"]}
    assert value(catalog, "hourly", 45, 40, **query, sel_method="nearest") == [pytest.approx(steps[2], abs=1e-3)]
    between = steps[2] * 0.75 + steps[3] * 0.25
    assert value(catalog, "hourly", 45, 40, **query, sel_method="linear") == [pytest.approx(between, abs=1e-3)]
    refused = catalog.get("hourly", "point/45,40", assets="data", **query)
    assert refused.status_code == 400
    assert "sel_method=nearest" in refused.text


def test_steps_as_bands(catalog: Tiled, made: Path) -> None:
    with xr.open_dataset(made, engine="h5netcdf") as dataset:
        steps = dataset.t.sel(level=500, lat=40, lon=45).values
    query = {"subdataset_name": "t", "sel": "level=500"}
    assert value(catalog, "hourly", 45, 40, **query) == [pytest.approx(step, abs=1e-3) for step in steps]
    chosen = value(catalog, "hourly", 45, 40, **query, subdataset_bands="6,1")
    assert chosen == [pytest.approx(steps[5], abs=1e-3), pytest.approx(steps[0], abs=1e-3)]
    interval = value(catalog, "hourly", 45, 40, **query, datetime="2024-05-01T01:00:00Z/2024-05-01T02:00:00Z")
    assert interval == [pytest.approx(steps[1], abs=1e-3), pytest.approx(steps[2], abs=1e-3)]


@pytest.mark.parametrize(
    ("item", "query", "names"),
    [
        ("hourly", {}, ["q, t"]),
        ("hourly", {"subdataset_name": "rain"}, ["rain", "q, t"]),
        ("hourly", {"subdataset_name": "t"}, ["time", "level", "1000, 850, 500", "sel="]),
        ("hourly", {"subdataset_name": "t", "sel": "depth=3"}, ["depth", "time, level"]),
        ("hourly", {"subdataset_name": "t", "sel": ["level=700", "time=2024-05-01T00"]}, ["700", "1000, 850, 500"]),
        ("hourly", {"subdataset_name": "t", "sel": ["level=top", "time=2024-05-01T00"]}, ["top", "no number"]),
        ("hourly", {"subdataset_name": "t", "sel": ["level=500", "time=2024-05-01"]}, ["6 steps", "nearest"]),
        (
            "hourly",
            {"subdataset_name": "t", "sel": ["level=500"], "datetime": "2031-01-01"},
            ["2031-01-01", "2024-05-01"],
        ),
        ("hourly", {"subdataset_name": "t", "sel": ["level=500"], "datetime": "2024-13-01"}, ["2024-13-01", "no date"]),
        ("hourly", {"subdataset_name": "t", "sel": "level=500", "sel_method": "cubic"}, ["nearest, linear, bilinear"]),
        ("hourly", {"subdataset_name": "t", "sel": "level=500", "sel_method": "magic"}, ["magic", "nearest"]),
        ("hourly", {"subdataset_name": "t", "sel": "level=500", "subdataset_bands": 7}, ["band 7", "6"]),
        ("subs", {"subdataset_name": "data"}, ["crs"]),
        ("modis", {"crs": "EPSG:0"}, ["crs"]),
        ("era5", {}, ["744 messages", "subdataset_bands"]),
        ("era5", {"subdataset_bands": 745}, ["745", "744"]),
    ],
)
def test_what_is_not_there_is_named(catalog: Tiled, item: str, query: dict[str, Any], names: list[str]) -> None:
    answer = catalog.get(item, "preview.npy", assets="data", **query)
    assert answer.status_code == 400, answer.text
    message = answer.json()["error"]["message"] if "error" in answer.json() else answer.text
    for name in names:
        assert name in message


@pytest.mark.parametrize("crs", [None, "+proj=sinu +R=6371007.181 +units=m", "ESRI:54008"])
def test_a_reference_system_may_be_given(catalog: Tiled, test_data: Path, crs: str | None) -> None:
    path = test_data / "multidim" / FILES["modis"]
    found = array(catalog.get("modis", "preview.npy", assets="data", crs=crs))
    with xr.open_dataset(path, engine="h5netcdf") as dataset:
        expected = dataset["__xarray_dataarray_variable__"].values
    np.testing.assert_array_equal(found[0][found[1] > 0], expected[np.isfinite(expected)])


def test_messages_of_grib(catalog: Tiled, test_data: Path) -> None:
    with rasterio.Env(GRIB_NORMALIZE_UNITS="NO"), rasterio.open(test_data / "multidim" / FILES["era5"]) as dataset:
        for message in (1, 400):
            expected = next(dataset.sample([(-3.0, 54.0)], indexes=message))[0]
            assert value(catalog, "era5", -3.0, 54.0, subdataset_bands=message) == [pytest.approx(expected)]
            assert 250 < expected < 310  # Kelvin, as the file has it
    assert catalog.get("gfs", "tiles/WebMercatorQuad/1/0/0.png", assets="data", subdataset_bands=1, rescale="-20,60").ok


@pytest.mark.parametrize("item", ["hourly", "zarr"])
def test_every_verb(catalog: Tiled, item: str) -> None:
    query = {"assets": "data", "subdataset_name": "t", "sel": ["level=500", "time=2024-05-01T00"]}
    statistics = catalog.get(item, "statistics", **query).json()
    assert list(statistics) == ["data_b1"]
    assert 200 < statistics["data_b1"]["mean"] < 320
    info = catalog.get(item, "info", **query).json()["data"]
    assert (info["count"], info["width"], info["height"]) == (1, 36, 19)
    assert info["subdatasets"] == ["q", "t"]
    for path in (
        "tiles/WebMercatorQuad/0/0/0.png",
        "tiles/WebMercatorQuad/2/1/1@2x.png",
        "preview.png",
        "bbox/0,0,90,60.png",
    ):
        answer = catalog.get(item, path, **query, rescale="200,320", colormap_name="viridis")
        assert (answer.status_code, answer.headers["content-type"]) == (200, "image/png"), answer.text
    assert catalog.get(item, "WebMercatorQuad/tilejson.json", **query).json()["tiles"]
    square = {"type": "Polygon", "coordinates": [[[0, 0], [60, 0], [60, 50], [0, 0]]]}
    feature = {"type": "Feature", "properties": {}, "geometry": square}
    assert catalog.post(item, "feature.png", feature, **query, rescale="200,320").status_code == 200


def test_info_needs_no_choice(catalog: Tiled) -> None:
    assert catalog.get("hourly", "info").json()["data"]["subdatasets"] == ["q", "t"]


def test_the_manifest_is_an_asset(catalog: Tiled, made: Path) -> None:
    url = f"{catalog.served.url}/stac/collections/{COLLECTION}/items/hourly"
    assets = catalog.client.get(url).json()["assets"]
    assert assets["data"]["msft:datacube_converted"] is True
    assert assets["data"]["cube:dimensions"]["time"] == {
        "type": "temporal",
        "extent": ["2024-05-01T00:00:00Z", "2024-05-01T05:00:00Z"],
        "step": "PT1H",
    }
    assert assets["data"]["cube:variables"]["t"]["dimensions"] == ["time", "level", "lat", "lon"]
    assert assets["data-kerchunk"]["type"] == "application/json"
    assert catalog.file("hourly", "data").read_bytes() == made.read_bytes()
    manifest = json.loads(catalog.file("hourly", "data-kerchunk").read_bytes())
    # Readers elsewhere put the file's address in the place of its name.
    manifest["templates"]["u"] = str(catalog.file("hourly", "data"))
    references = fsspec.filesystem("reference", fo=manifest, asynchronous=True)
    store = zarr.storage.FsspecStore(references, read_only=True)
    with xr.open_zarr(store, consolidated=False, chunks=None) as found, xr.open_dataset(made) as expected:
        xr.testing.assert_equal(found, expected)


def test_no_manifest_without_the_roles(running: tuple[Tiled, Source]) -> None:
    catalog, source = running
    client = catalog.served.client()
    document = cube_item("plain", source.href("hourly.nc"), ".nc", roles=("metadata",))
    url = f"{catalog.served.url}/stac/collections/{COLLECTION}/items"
    assert catalog.served.finished(client, client.post(url, json=document))["status"] == "Succeeded"
    assets = client.get(f"{url}/plain").json()["assets"]
    assert list(assets) == ["data"]
    assert "msft:datacube_converted" not in assets["data"]


def test_a_damaged_cube_fails_with_a_remedy(running: tuple[Tiled, Source], made: Path) -> None:
    catalog, source = running
    source.files["half.nc"] = made.read_bytes()[:3000]
    source.files["page.nc"] = b"<html>not found</html>"
    client = catalog.served.client()
    url = f"{catalog.served.url}/stac/collections/{COLLECTION}/items"
    for name in ("half", "page"):
        operation = catalog.served.finished(
            client, client.post(url, json=cube_item(name, source.href(f"{name}.nc"), ".nc"))
        )
        assert operation["status"] == "Failed"
        assert "without the roles data and visual" in json.dumps(operation)


def test_a_replaced_cube_has_a_manifest_of_its_own(running: tuple[Tiled, Source], test_data: Path) -> None:
    catalog, source = running
    client = catalog.served.client()
    items = f"{catalog.served.url}/stac/collections/{COLLECTION}/items"
    document = cube_item("changing", source.href("hourly.nc"), ".nc")
    assert catalog.served.finished(client, client.post(items, json=document))["status"] == "Succeeded"
    held = client.get(f"{items}/changing").json()
    held["assets"]["data"]["href"] = source.href("tmmx.nc")
    operation = catalog.served.finished(client, client.put(f"{items}/changing", json=held))
    assert operation["status"] == "Succeeded", operation
    with xr.open_dataset(test_data / "multidim" / FILES["tmmx"], engine="h5netcdf") as dataset:
        expected = dataset.air_temperature.sel(lon=-110, lat=40, method="nearest").item()
    for asset in ("data", "data-kerchunk"):
        assert value(catalog, "changing", -110, 40, assets=asset) == [pytest.approx(expected)]
    changed = client.get(f"{items}/changing").json()["assets"]
    assert changed["data"]["cube:variables"].keys() == {"air_temperature", "day", "crs"} - set(
        changed["data"]["cube:dimensions"]
    )


def folder_of(source: Source, name: str, folder: Path) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            source.files[f"{name}/{path.relative_to(folder).as_posix()}"] = path.read_bytes()


def test_a_zarr_store_in_a_folder(running: tuple[Tiled, Source], test_data: Path) -> None:
    catalog, source = running
    folder = test_data / "multidim" / "gridmet_tmmx.zarr"
    folder_of(source, "tmmx.zarr", folder)
    client = catalog.served.client()
    items = f"{catalog.served.url}/stac/collections/{COLLECTION}/items"
    document = cube_item("store", source.href("tmmx.zarr/"), ".zarr")
    assert catalog.served.finished(client, client.post(items, json=document))["status"] == "Succeeded"
    with xr.open_zarr(folder, chunks=None) as dataset:
        for lon, lat in ((-110.0, 40.0), (-105.2, 44.9)):
            expected = dataset.air_temperature.sel(lon=lon, lat=lat, method="nearest").item()
            query = {"subdataset_name": "air_temperature", "sel": "day=2019-01-21", "sel_method": "nearest"}
            assert value(catalog, "store", lon, lat, **query) == [pytest.approx(expected)]
    zipped = zarr.storage.ZipStore(catalog.file("store", "data"), mode="r")
    with zipped, xr.open_zarr(zipped, chunks=None) as found, xr.open_zarr(folder, chunks=None) as expected:
        xr.testing.assert_equal(found, expected)


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_zarr_of_both_versions_in_a_folder(
    running: tuple[Tiled, Source], made: Path, tmp_path: Path, zarr_format: Any
) -> None:
    catalog, source = running
    with xr.open_dataset(made, engine="h5netcdf") as dataset:
        held = dataset.load()
    for each in held.variables.values():
        each.encoding.clear()
    encoding = {"t": {"chunks": (1, 1, 10, 20)}}
    held.to_zarr(tmp_path / "z", zarr_format=zarr_format, consolidated=True, encoding=encoding)
    folder_of(source, f"v{zarr_format}.zarr", tmp_path / "z")
    client = catalog.served.client()
    items = f"{catalog.served.url}/stac/collections/{COLLECTION}/items"
    item = f"v{zarr_format}"
    document = cube_item(item, source.href(f"{item}.zarr"), ".zarr")
    assert catalog.served.finished(client, client.post(items, json=document))["status"] == "Succeeded"
    expected = held.t.isel(time=3).sel(level=850, lat=-80, lon=185).item()
    query = {"subdataset_name": "t", "datetime": "2024-05-01T03:00:00Z", "sel": "level=850"}
    assert value(catalog, item, -175, -80, **query) == [pytest.approx(expected, abs=1e-3)]


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ({}, "consolidate"),
        ({"zarr.json": {"zarr_format": 3, "node_type": "group"}}, "consolidate"),
        ({".zmetadata": {"metadata": {"../../secret/.zarray": {}}}}, "cannot be"),
        ({".zmetadata": {"metadata": {"v/.zarray": {"shape": [9], "chunks": [0]}}}}, "cannot be read"),
        ({".zmetadata": {"metadata": {"v/.zarray": {"shape": [10**9], "chunks": [1]}}}}, "rechunk"),
    ],
)
def test_a_zarr_store_that_cannot_be_kept(running: tuple[Tiled, Source], files: dict[str, Any], says: str) -> None:
    catalog, source = running
    for name in [name for name in source.files if name.startswith("odd.zarr/")]:
        del source.files[name]
    source.files |= {f"odd.zarr/{name}": json.dumps(document).encode() for name, document in files.items()}
    client = catalog.served.client()
    items = f"{catalog.served.url}/stac/collections/{COLLECTION}/items"
    operation = catalog.served.finished(
        client, client.post(items, json=cube_item("odd", source.href("odd.zarr"), ".zarr"))
    )
    assert operation["status"] == "Failed"
    assert says in json.dumps(operation)
