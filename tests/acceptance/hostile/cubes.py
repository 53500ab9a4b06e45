"""NetCDF, HDF5 and GRIB that lead elsewhere, or claim what no memory holds."""

# ruff: noqa: E501 - a case a line

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np

from acceptance.hostile.cases import CUBE, Case, Places


def cases(places: Places) -> dict[str, Case]:
    """By name."""
    canary = places.canary
    makers: dict[str, tuple[Callable[[h5py.File], object], str | None]] = {
        "external-link": (lambda file: file.__setitem__("v", h5py.ExternalLink(str(canary), "/")), CUBE),
        "external-link-deep": (lambda file: file.create_group("a/b/c").__setitem__("v", h5py.ExternalLink("/etc/passwd", "/")), CUBE),
        "external-data": (lambda file: file.create_dataset("v", (9,), "u1", external=[(str(canary), 0, 9)]), CUBE),
        "virtual": (lambda file: _virtual(file, canary), CUBE),
        "soft-loop": (lambda file: file.__setitem__("v", h5py.SoftLink("/v")), CUBE),
        "group-ring": (lambda file: file.create_group("a").__setitem__("b", file["a"]), None),
        "size-absurd": (lambda file: file.create_dataset("v", (2**40, 2**20), "f8", chunks=(512, 512)), ""),
        "contiguous-absurd": (lambda file: file.create_dataset("v", (2**31,), "u1", chunks=(2**20,)), ""),
        "axis-absurd": (lambda file: _axis(file, 2**31), ""),
        "chunk-bomb": (lambda file: file.create_dataset("v", (200 << 20,), "u1", chunks=(200 << 20,), compression="gzip", data=np.zeros(200 << 20, "u1")), ""),
        "many-chunks": (lambda file: file.create_dataset("v", (200_000,), "u1", chunks=(1,)), ""),
        "many-groups": (lambda file: [file.create_group(f"g{number}") for number in range(21_000)], CUBE),
        "deep": (lambda file: file.create_group("/".join("a" * 3000)), CUBE),
        "units-absurd": (_units, ""),
    }  # fmt: skip
    found = {f"hdf5-{name}": _cube(_made(make), code) for name, (make, code) in makers.items()}
    whole = (places.data / "multidim" / "sentinel2_red_band.nc").read_bytes()
    grib = (places.data / "multidim" / "gfs_a.grib2").read_bytes()
    classic = b"CDF\x01" + struct.pack(">IIII", 0, 10, 0xFFFFFFFF, 0xFFFFFFFF)
    stored = {
        "netcdf-dimensions": Case(classic + b"\xff" * 300, None, "cube.nc", "application/x-netcdf"),
        "netcdf-cut": Case(whole[: len(whole) // 2], None if whole[:3] == b"CDF" else CUBE, "cube.nc", "application/x-netcdf"),
        "netcdf-head-only": Case(b"CDF\x02", None, "cube.nc", "application/x-netcdf"),
        "grib-cut": Case(grib[: len(grib) // 3], None, "cube.grib2", "application/wmo-grib2"),
        "grib-length": Case(grib[:8] + b"\x7f" + b"\xff" * 7 + grib[16:2000], None, "cube.grib2", "application/wmo-grib2"),
        "grib-sections": Case(grib[:16] + b"\xff" * 500, None, "cube.grib2", "application/wmo-grib2"),
    }  # fmt: skip
    head = b"\x89HDF\r\n\x1a\n"
    broken = {
        "hdf5-head-only": _cube(head),
        "hdf5-zeros": _cube(head + bytes(2000)),
        "hdf5-ones": _cube(head + b"\xff" * 2000),
        "hdf5-page": _cube(b"<html>"),
        "hdf5-cut": _cube(_made(lambda file: file.create_dataset("v", data=np.arange(9999)))[:1500]),
    }
    return found | stored | broken


def _cube(content: bytes, code: str | None = CUBE) -> Case:
    return Case(content, code, "cube.h5", "application/x-hdf5")


def _made(make: Callable[[h5py.File], object]) -> bytes:
    content = io.BytesIO()
    with h5py.File(content, "w") as file:
        make(file)
    return content.getvalue()


def _virtual(file: h5py.File, canary: Path) -> None:
    layout = h5py.VirtualLayout((9,), "u1")
    layout[:] = h5py.VirtualSource(str(canary), "v", (9,))
    file.create_virtual_dataset("v", layout)


def _axis(file: h5py.File, size: int) -> None:
    """A coordinate that nobody can hold, in a file of a few kilobytes."""
    axis = file.create_dataset("x", (size,), "f8", chunks=(2**16,))
    axis.make_scale("x")
    values = file.create_dataset("v", (size,), "u1", chunks=(2**16,))
    values.dims[0].attach_scale(axis)


def _units(file: h5py.File) -> None:
    time = file.create_dataset("time", data=np.array([1e300, -1e300, np.nan]))
    time.attrs["units"] = "seconds since 0000-00-00 99:99:99"
    time.attrs["calendar"] = "none"
    time.make_scale("time")
    values = file.create_dataset("v", data=np.arange(3))
    values.dims[0].attach_scale(time)
