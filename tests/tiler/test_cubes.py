"""Slices of cubes, inside a process: hostile files, odd axes and calendars."""

from __future__ import annotations

import base64
import json
import pickle
import shutil
import zipfile
from pathlib import Path
from typing import Any

import h5py
import morecantile
import numpy as np
import pytest
import rasterio
import xarray as xr
import zarr
from rasterio.crs import CRS

from graticule.errors import AssetUnreadable, InvalidParameter, RenderLimitExceeded
from graticule.tiler.cubes import reader, stores
from graticule.tiler.cubes.reader import CubeReader, open_cube
from graticule.tiler.datacube import CubeSelection

pytestmark = pytest.mark.filterwarnings("ignore")

WEB = morecantile.tms.get("WebMercatorQuad")
DEGREES = CRS.from_epsg(4326)


def opened(path: Path, **chosen: Any) -> CubeReader:
    return open_cube(path, WEB, CubeSelection(**chosen))


def value(path: Path, lon: float, lat: float, **chosen: Any) -> Any:
    point = opened(path, **chosen).point(lon, lat, coord_crs=DEGREES, indexes=None, nodata=None)
    return point.array.tolist()


def grid(lon: Any, lat: Any, **more: Any) -> xr.Dataset:
    values = np.arange(len(lat) * len(lon), dtype="float32").reshape(len(lat), len(lon))
    coords = {"lat": ("lat", lat, {"units": "degrees_north"}), "lon": ("lon", lon, {"units": "degrees_east"})}
    return xr.Dataset({"v": (("lat", "lon"), values)}, coords=coords | more)


def written(dataset: xr.Dataset, path: Path, **options: Any) -> Path:
    dataset.to_netcdf(path, engine="h5netcdf", **options)
    return path


# --- files that name others


def secret(folder: Path) -> Path:
    path = folder / "secret.h5"
    with h5py.File(path, "w") as file:
        file["v"] = np.full((4, 4), 42.0)
    return path


def test_a_link_into_another_file_is_refused(tmp_path: Path) -> None:
    secret(tmp_path)
    path = written(grid(np.arange(4.0), np.arange(4.0)), tmp_path / "linked.h5")
    with h5py.File(path, "a") as file:
        file["more"] = h5py.ExternalLink("secret.h5", "/v")
    with pytest.raises(AssetUnreadable, match="link into another file"):
        opened(path)


def test_a_virtual_dataset_is_refused(tmp_path: Path) -> None:
    layout = h5py.VirtualLayout(shape=(4, 4), dtype="f8")
    layout[:] = h5py.VirtualSource(str(secret(tmp_path)), "v", shape=(4, 4))
    with h5py.File(tmp_path / "virtual.h5", "w") as file:
        file.create_virtual_dataset("v", layout)
    with pytest.raises(AssetUnreadable, match="virtual"):
        opened(tmp_path / "virtual.h5")


def test_values_in_another_file_are_refused(tmp_path: Path) -> None:
    (tmp_path / "raw").write_bytes(bytes(128))
    with h5py.File(tmp_path / "external.h5", "w") as file:
        file.create_dataset("v", (4, 4), "f8", external=[(str(tmp_path / "raw"), 0, 128)])
    with pytest.raises(AssetUnreadable, match="another file"):
        opened(tmp_path / "external.h5")


def test_a_ring_of_links_ends(tmp_path: Path) -> None:
    path = written(grid(np.arange(4.0), np.arange(4.0)), tmp_path / "ring.h5")
    with h5py.File(path, "a") as file:
        file.create_group("deeper")["up"] = file["/"]
    assert value(path, 1.0, 2.0) == [9.0]


def manifest(path: Path, refs: dict[str, Any], **more: Any) -> Path:
    zarray = {
        "zarr_format": 2, "shape": [2, 2], "chunks": [2, 2], "dtype": "|u1", "compressor": None, "filters": None,
        "order": "C", "fill_value": None,
    }  # fmt: skip
    axis = {**zarray, "shape": [2], "chunks": [2]}
    path.write_text(
        json.dumps(
            {
                "version": 1,
                "refs": {
                    ".zgroup": '{"zarr_format":2}',
                    "v/.zarray": json.dumps(zarray),
                    "v/.zattrs": '{"_ARRAY_DIMENSIONS":["lat","lon"]}',
                    "lat/.zarray": json.dumps(axis),
                    "lat/.zattrs": '{"_ARRAY_DIMENSIONS":["lat"]}',
                    "lat/0": "base64:AAE=",
                    "lon/.zarray": json.dumps(axis),
                    "lon/.zattrs": '{"_ARRAY_DIMENSIONS":["lon"]}',
                    "lon/0": "base64:AAE=",
                    **refs,
                },
                **more,
            }
        )
    )
    return path


@pytest.mark.parametrize(
    "name",
    [
        "/etc/passwd", "file:///etc/passwd", "http://127.0.0.1/secret.h5", "../secret.h5", "gone.bin", "{{w}}", "..",
        "",
    ],
)  # fmt: skip
def test_a_manifest_reaches_no_other_file(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "item"
    folder.mkdir()
    secret(tmp_path)
    path = manifest(folder / "m.json", {"v/0.0": [name, 0, 4]}, templates={"w": "/etc/passwd"})
    with pytest.raises(AssetUnreadable, match="something else than a file beside"):
        opened(path)


def test_a_manifest_reaches_the_file_beside_it(tmp_path: Path) -> None:
    (tmp_path / "data.bin").write_bytes(b"xx\x01\x02\x03\x04")
    path = manifest(tmp_path / "m.json", {"v/0.0": ["{{u}}", 2, 4]}, templates={"u": "data.bin"})
    assert value(path, 1.0, 0.0) == [2]


@pytest.mark.parametrize("document", [{"version": 1, "refs": {}, "gen": [{"key": "a"}]}, {"refs": 3}, {}])
def test_other_forms_of_manifests_are_refused(tmp_path: Path, document: Any) -> None:
    (tmp_path / "m.json").write_text(json.dumps(document))
    with pytest.raises(AssetUnreadable):
        opened(tmp_path / "m.json")


class _Trap:
    """Unpickled, it touches a file."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (Path.touch, (Path(self.path),))


@pytest.mark.parametrize("place", ["filters", "compressor"])
def test_a_file_runs_no_code(tmp_path: Path, place: str) -> None:
    sprung = tmp_path / "sprung"
    codec = {"id": "pickle", "protocol": 2}
    zarray = {
        "zarr_format": 2, "shape": [2, 2], "chunks": [2, 2], "dtype": "|u1", "order": "C", "fill_value": None,
        "compressor": None, "filters": None, place: [codec] if place == "filters" else codec,
    }  # fmt: skip
    chunk = "base64:" + base64.b64encode(pickle.dumps(_Trap(str(sprung)))).decode()
    path = manifest(tmp_path / "m.json", {"v/.zarray": json.dumps(zarray), "v/0.0": chunk})
    with pytest.raises(AssetUnreadable):
        value(path, 1.0, 0.0)
    assert not sprung.exists()


# --- files that are too much


def test_a_huge_chunk_is_not_decoded(tmp_path: Path) -> None:
    store = tmp_path / "store"
    root = zarr.open_group(store, mode="w", zarr_format=2)
    root.create_array("v", shape=(200_000, 200_000), chunks=(200_000, 200_000), dtype="u1", dimension_names=None)
    root["v"].attrs["_ARRAY_DIMENSIONS"] = ["lat", "lon"]
    for name in ("lat", "lon"):
        root.create_array(name, data=np.linspace(0, 50, 200_000))
        root[name].attrs["_ARRAY_DIMENSIONS"] = [name]
    archive = shutil.make_archive(str(tmp_path / "bomb"), "zip", store)
    with pytest.raises(RenderLimitExceeded, match="chunks of 38146 MiB"):
        opened(Path(archive))


def test_a_large_array_is_read_around_the_area(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "WHOLE_CELLS", 10_000)
    monkeypatch.setattr(reader, "MOST_CELLS", 100_000)
    path = tmp_path / "large.nc"
    side = 6_000
    with h5py.File(path, "w") as file:  # chunks that were not written are the fill value
        array = file.create_dataset("v", (side, side), "f4", chunks=(500, 500), fillvalue=7.0)
        array[3_000:3_010, 3_000:3_010] = 3.0
        for name, values in (("lat", np.linspace(60, -60, side)), ("lon", np.linspace(-60, 60, side))):
            file[name] = values
            file[name].make_scale(name)
        array.dims[0].attach_scale(file["lat"])
        array.dims[1].attach_scale(file["lon"])
    place = np.linspace(-60, 60, side)[3_005]
    assert value(path, float(place), float(-place)) == [3.0]
    assert value(path, 10.0, 10.0) == [7.0]
    assert opened(path).preview(max_size=64).array.shape == (1, 64, 64)


def test_a_member_that_is_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stores, "_MOST_BYTES", 1 << 20)
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(".zgroup", '{"zarr_format":2}')
        for name in ("lat", "lon"):
            archive.writestr(f"{name}/.zattrs", json.dumps({"_ARRAY_DIMENSIONS": [name]}))
        with archive.open("v/0.0", "w", force_zip64=True) as member:
            for _ in range(3):
                member.write(bytes(1 << 20))
        for name, shape in (("v", [2, 2]), ("lat", [2]), ("lon", [2])):
            zarray = {
                "zarr_format": 2, "shape": shape, "chunks": shape, "dtype": "|u1", "compressor": None, "filters": None,
                "order": "C", "fill_value": None,
            }  # fmt: skip
            archive.writestr(f"{name}/.zarray", json.dumps(zarray))
        archive.writestr("v/.zattrs", '{"_ARRAY_DIMENSIONS":["lat","lon"]}')
        archive.writestr("lat/0", bytes([0, 1]))
        archive.writestr("lon/0", bytes([0, 1]))
    with pytest.raises(AssetUnreadable, match="larger than 1 MiB"):
        value(tmp_path / "bomb.zip", 0.0, 0.0)


@pytest.mark.parametrize(
    "content", [b"", b"\x89HDF\r\n\x1a\n" + bytes(100), b"PK\x03\x04" + bytes(100), b"{", b"GIF89a"]
)
def test_what_is_no_cube(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "odd").write_bytes(content)
    with pytest.raises(AssetUnreadable):
        opened(tmp_path / "odd")


# --- axes


def test_longitudes_to_360_are_wrapped(tmp_path: Path) -> None:
    path = written(grid(np.arange(0, 360, 1.0), np.arange(10.0)), tmp_path / "round.nc")
    assert opened(path).bounds == (-180.5, -0.5, 179.5, 9.5)
    assert value(path, -1.0, 0.0) == [359.0]
    assert value(path, 1.0, 2.0) == [721.0]


def test_a_region_across_180_is_in_two_parts(tmp_path: Path) -> None:
    path = written(grid(np.arange(150, 211, 1.0), np.arange(10.0)), tmp_path / "pacific.nc")
    assert value(path, 160.0, 0.0) == [10.0]
    assert value(path, -170.0, 1.0) == [61.0 + 40.0]
    assert value(path, 0.0, 1.0) == [None]


def test_a_region_beyond_180_is_moved(tmp_path: Path) -> None:
    path = written(grid(np.arange(230, 301, 1.0), np.arange(10.0)), tmp_path / "america.nc")
    assert opened(path).bounds == (-130.5, -0.5, -59.5, 9.5)
    assert value(path, -100.0, 9.0) == [71.0 * 9 + 30]


def test_latitudes_of_any_order_and_dimensions_too(tmp_path: Path) -> None:
    rising, falling = np.arange(10.0), np.arange(10.0)[::-1]
    for name, lat in (("rising", rising), ("falling", falling)):
        dataset = grid(np.arange(5.0), lat)
        expected = dataset.v.sel(lat=7.0, lon=3.0).item()
        for turned in (dataset, dataset.transpose("lon", "lat")):
            path = written(turned, tmp_path / f"{name}-{turned.v.dims[0]}.nc")
            assert value(path, 3.0, 7.0) == [expected]


def test_an_uneven_axis_is_refused(tmp_path: Path) -> None:
    path = written(grid(np.array([0.0, 1.0, 5.0]), np.arange(4.0)), tmp_path / "uneven.nc")
    with pytest.raises(AssetUnreadable, match="'lon' is not evenly spaced"):
        opened(path)


def test_axes_in_two_dimensions_are_refused(tmp_path: Path) -> None:
    lon, lat = np.meshgrid(np.arange(4.0), np.arange(3.0))
    coords = {"longitude": (("j", "i"), lon), "latitude": (("j", "i"), lat)}
    path = written(xr.Dataset({"v": (("j", "i"), lon)}, coords=coords), tmp_path / "curved.nc")
    with pytest.raises(AssetUnreadable, match="one dimension each"):
        opened(path)


def test_cells_that_lie_nowhere_known(tmp_path: Path) -> None:
    path = written(grid(np.arange(4.0), np.arange(3.0)).drop_attrs().rename(lat="y", lon="x"), tmp_path / "nowhere.nc")
    with pytest.raises(InvalidParameter, match="give it with crs="):
        opened(path)
    assert value(path, 1.0, 0.0, crs="EPSG:4326") == [1.0]


def test_a_grid_mapping_is_understood(tmp_path: Path) -> None:
    dataset = xr.Dataset(
        {"v": (("y", "x"), np.arange(12.0).reshape(3, 4), {"grid_mapping": "polar"})},
        coords={"y": [3000.0, 2000.0, 1000.0], "x": [0.0, 1000.0, 2000.0, 3000.0], "polar": 0},
    )
    dataset.polar.attrs = {
        "grid_mapping_name": "polar_stereographic",
        "latitude_of_projection_origin": 90.0,
        "straight_vertical_longitude_from_pole": -45.0,
        "standard_parallel": 70.0,
        "false_easting": 0.0,
        "false_northing": 0.0,
    }
    found = opened(written(dataset, tmp_path / "polar.nc"))
    assert found.crs.to_dict()["proj"] == "stere"
    assert found.bounds == (-500, 500, 3500, 3500)


# --- times


@pytest.mark.parametrize("calendar", ["noleap", "360_day", "standard", "julian"])
def test_calendars(tmp_path: Path, calendar: str) -> None:
    times = xr.date_range("2000-02-27", periods=4, freq="D", calendar=calendar, use_cftime=True)
    base = grid(np.arange(4.0), np.arange(3.0))
    dataset = xr.concat([base + 100 * step for step in range(4)], dim=xr.Variable("time", times))
    path = written(dataset, tmp_path / f"{calendar}.nc")
    third = str(times[2])[:10]
    assert value(path, 1.0, 0.0, datetime=third) == [201.0]
    assert value(path, 1.0, 0.0, sel=(("time", f"{third}T10:00:00Z"),), sel_method="nearest") == [201.0]
    if calendar == "noleap":
        with pytest.raises(InvalidParameter, match="noleap"):
            opened(path, datetime="2000-02-29")


def test_unsorted_steps_are_found(tmp_path: Path) -> None:
    base = grid(np.arange(4.0), np.arange(3.0))
    times = np.array(["2020-01-03", "2020-01-01", "2020-01-02"], dtype="datetime64[ns]")
    dataset = xr.concat([base + 100 * step for step in range(3)], dim=xr.Variable("time", times))
    path = written(dataset, tmp_path / "unsorted.nc")
    assert value(path, 0.0, 0.0, datetime="2020-01-02T00:00:00Z") == [200.0]
    assert value(path, 0.0, 0.0, sel=(("time", "2020-01-02T12:00:00Z"),), sel_method="linear") == [100.0]


def test_units_that_are_no_time(tmp_path: Path) -> None:
    path = written(grid(np.arange(4.0), np.arange(3.0)), tmp_path / "odd.nc")
    with h5py.File(path, "a") as file:
        file["month"] = 3.0
        file["month"].attrs["units"] = "months since the flood"
    assert value(path, 1.0, 0.0) == [1.0]


def test_groups(tmp_path: Path) -> None:
    path = tmp_path / "groups.nc"
    grid(np.arange(4.0), np.arange(3.0)).to_netcdf(path, engine="h5netcdf", group="Grid")
    (grid(np.arange(4.0), np.arange(3.0)) + 50).rename(v="w").to_netcdf(
        path, engine="h5netcdf", group="Other", mode="a"
    )
    assert value(path, 1.0, 0.0, subdataset_name="/Grid/v") == [1.0]
    assert value(path, 1.0, 0.0, subdataset_name="w") == [51.0]
    with pytest.raises(InvalidParameter, match="Grid/v, Other/w"):
        opened(path, subdataset_name="x")


def test_slices_that_are_kept_have_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "_KEPT_BYTES", 60)
    kept = reader._Kept()
    monkeypatch.setattr(reader, "_KEPT", kept)
    path = written(grid(np.arange(4.0), np.arange(3.0)), tmp_path / "kept.nc")
    for crs in (None, "EPSG:4326", "OGC:CRS84"):
        assert value(path, 1.0, 0.0, crs=crs) == [1.0]
    assert len(kept._slices) == 1


# --- NetCDF classic


@pytest.mark.parametrize("form", ["NETCDF3_CLASSIC", "NETCDF3_64BIT_OFFSET", "NETCDF3_64BIT_DATA"])
@pytest.mark.parametrize("is_alone", [True, False])
def test_netcdf_classic(tmp_path: Path, form: Any, is_alone: bool) -> None:
    netcdf4 = pytest.importorskip("netCDF4")
    path = tmp_path / "classic.nc"
    with netcdf4.Dataset(path, "w", format=form) as file:
        for name, size in (("time", None), ("lat", 3), ("lon", 5)):
            file.createDimension(name, size)
        for name, units in (("lat", "degrees_north"), ("lon", "degrees_east")):
            file.createVariable(name, "f8", (name,))[:] = np.arange(len(file.dimensions[name]))
            file[name].units = units
        file.createVariable("fixed", "i2", ("lat", "lon"), fill_value=-1)[:] = np.arange(15).reshape(3, 5)
        file["fixed"][1, 1] = np.ma.masked
        file["fixed"].scale_factor = 0.5
        moving = file.createVariable("moving", "i2", ("time", "lat", "lon"))
        moving[:] = np.arange(60).reshape(4, 3, 5)
        if not is_alone:  # records of several variables are padded
            file.createVariable("time", "f8", ("time",))[:] = np.arange(4)
            file["time"].units = "days since 2020-01-01"
    with xr.open_dataset(path, engine="netcdf4") as expected:
        assert value(path, 3.0, 2.0, subdataset_name="fixed") == [expected.fixed.sel(lat=2, lon=3).item()]
        assert value(path, 1.0, 1.0, subdataset_name="fixed") == [None]
        steps = expected.moving.isel(lat=1, lon=4).values.tolist()
    assert value(path, 4.0, 1.0, subdataset_name="moving") == steps
    if not is_alone:
        assert value(path, 4.0, 1.0, subdataset_name="moving", datetime="2020-01-03") == [steps[2]]


def test_names_that_are_not_utf8(test_data: Path) -> None:
    path = test_data / "multidim" / "sentinel2_blue_band.nc"
    found = opened(path)
    assert found.crs.to_epsg() == 32719
    with rasterio.open(path) as dataset:  # GDAL's own reader of the format
        np.testing.assert_array_equal(found.preview(max_size=None).array.data, dataset.read())


@pytest.mark.parametrize("length", [5, 40, 200])
def test_a_header_that_is_cut_off(test_data: Path, tmp_path: Path, length: int) -> None:
    whole = (test_data / "multidim" / "sentinel2_blue_band.nc").read_bytes()
    (tmp_path / "cut.nc").write_bytes(whole[:length])
    with pytest.raises(AssetUnreadable, match="cut off"):
        opened(tmp_path / "cut.nc")
