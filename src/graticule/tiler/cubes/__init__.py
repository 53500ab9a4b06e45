"""Owns: slices of data cubes (NetCDF, HDF5, Zarr, and manifests that refer into them), inside a render process.

Refuses: any file but the one it is handed; HDF5 that names other files; more cells than a limit. xarray, h5py and zarr
are imported here and nowhere else in the tiler, by the first cube of a process.

Entry point: ``reader.open_cube``. Order of imports: `stores`, `classic` below `opening`; `axes` below `slicing`;
`reader` above all.
"""
