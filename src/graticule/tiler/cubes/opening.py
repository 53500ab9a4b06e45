"""A file as xarray's datasets, one for each of its groups, opened lazily: no value is read before a slice of it is."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, Final

# Read when the libraries load. A file's filters must be ours: no plugin is looked for, wherever it may lie.
os.environ["HDF5_PLUGIN_PRELOAD"] = "::"
os.environ["HDF5_USE_FILE_LOCKING"] = "FALSE"  # stored files are never written again

import h5py
import numcodecs.registry
import numpy as np
import xarray as xr
import zarr

from graticule import hdf5
from graticule.errors import AssetUnreadable
from graticule.tiler.cubes import classic
from graticule.tiler.cubes.stores import FrozenStore, ReferenceStore, UnreadableStore, ZippedStore
from graticule.tiler.remote import RemotePath, StoredPath

#: What a Zarr array may name to decode its chunks. The others: ``pickle`` runs what a file says, and what packages that
#: happen to be installed add is not known here.
CODECS: Final = frozenset(
    {
        "adler32", "astype", "bitround", "blosc", "bz2", "crc32", "crc32c", "delta", "fill_hdf_strings",
        "fixedscaleoffset", "fletcher32", "gzip", "jenkins_lookup3", "json2", "lz4", "lzma", "packbits", "quantize",
        "shuffle", "vlen-array", "vlen-bytes", "vlen-utf8", "zlib", "zstd",
    }
)  # fmt: skip
for _known in (numcodecs.registry.codec_registry, numcodecs.registry.entries):
    for _name in set(_known) - CODECS:
        del _known[_name]

zarr.config.set({"async.concurrency": 4, "threading.max_workers": 2})

_HDF5: Final = b"\x89HDF\r\n\x1a\n"
#: Where the superblock may start besides 0 (HDF5 File Format Specification 3.0, II.A): a user block lies before it.
_SUPERBLOCKS: Final = (0, 512, 1024, 2048, 4096)
#: Variables of all groups.
_MOST_VARIABLES: Final = 5000
#: What a library raises over a file that is damaged; h5py and zarr raise much, and xarray passes it on.
BROKEN: Final = (
    OSError,
    ValueError,
    KeyError,
    TypeError,
    RuntimeError,
    IndexError,
    AttributeError,
    NotImplementedError,
)


class Cube:
    """An open file. Its datasets stay open with it."""

    def __init__(self, path: StoredPath) -> None:
        """Open a file, and find out which variables can be drawn.

        Raises:
            AssetUnreadable: it is of no format that is read here, damaged, or refers to other files.
        """
        self.path = path
        self._datasets: dict[str, xr.Dataset] = {}
        try:
            self._open: dict[str, Any] = _opener(path)
            self.variables = self._variables()
        except (hdf5.ForeignReference, UnreadableStore) as exc:
            raise AssetUnreadable(f"its file is not read: {exc}.") from exc
        except BROKEN as exc:
            raise AssetUnreadable(f"its file cannot be read ({type(exc).__name__}: {str(exc)[:200]}).") from exc

    def dataset(self, group: str) -> xr.Dataset:
        """The dataset of a group, ``""`` for the root; times decoded where they can be."""
        found = self._datasets.get(group)
        if found is None:
            options = {**self._open, "group": group or None, "decode_coords": "all", "cache": False, "chunks": None}
            try:
                found = xr.open_dataset(**options)
            except (ValueError, OverflowError):  # units that are no time's
                found = xr.open_dataset(**options, decode_times=False)
            self._datasets[group] = found
        return found

    def array(self, name: str) -> xr.DataArray:
        """A variable by its name in `variables`."""
        group, name = self.variables[name]
        return self.dataset(group)[name]

    def close(self) -> None:
        """Close the datasets."""
        for dataset in self._datasets.values():
            dataset.close()

    def _variables(self) -> Mapping[str, tuple[str, str]]:
        """What can be drawn: ``name`` or ``group/name``, to group and name. Two dimensions or more, and numbers."""
        found: dict[str, tuple[str, str]] = {}
        for group in self._open.pop("groups"):
            dataset = self.dataset(group)
            for name, array in dataset.data_vars.items():
                if array.ndim >= 2 and array.dtype.kind in "iufb" and not str(name).endswith(("_bnds", "_bounds")):
                    found[f"{group}/{name}" if group else str(name)] = (group, str(name))
            if len(found) > _MOST_VARIABLES:
                raise UnreadableStore(f"it has more than {_MOST_VARIABLES} variables")
        return dict(sorted(found.items()))


def _opener(path: StoredPath) -> dict[str, Any]:
    """How xarray is asked to open a file, by what its first bytes are; and its ``groups``."""
    with path.open("rb") as file:
        head = file.read(4096 + 8)
    if head[:3] == b"CDF" and head[3:4] in b"\x01\x02\x05":
        return _zarr(ReferenceStore(path.parent, classic.references(path)))
    if any(head[at : at + 8] == _HDF5 for at in _SUPERBLOCKS):
        source = path.open("rb") if isinstance(path, RemotePath) else str(path)
        with h5py.File(source, "r") as opened:
            groups = hdf5.check_contained(opened)
        return {"filename_or_obj": source, "engine": "h5netcdf", "phony_dims": "access", "groups": groups}
    if head[:4] == b"PK\x03\x04":
        return _zarr(ZippedStore(path))
    if head.lstrip()[:1] == b"{":
        return _zarr(ReferenceStore.of_manifest(path))
    raise UnreadableStore("it is neither NetCDF, HDF5, a zipped Zarr store nor a manifest of references")


def _zarr(store: FrozenStore) -> dict[str, Any]:
    root = zarr.open_group(store, mode="r")
    groups = [""] if any(True for _ in root.array_keys()) else []
    groups += [name for name, member in root.members(max_depth=8) if isinstance(member, zarr.Group)]
    return {"filename_or_obj": store, "engine": "zarr", "consolidated": False, "groups": tuple(groups)}


def is_numeric(array: xr.DataArray) -> bool:
    """Can its values be put on an axis?"""
    return bool(np.issubdtype(array.dtype, np.number))
