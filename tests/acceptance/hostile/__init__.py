"""Files that were made to hurt: each as the assets of one item, with what is to become of it.

`documents` name other files or addresses in the ways of GDAL's formats, `tiffs` lie about their structure, `pictures`
are JPEG, PNG and JPEG 2000, `damaged` are real rasters cut off and altered, `sidecars` lie beside a sound raster, and
`cubes` are NetCDF, HDF5 and GRIB.
"""

from __future__ import annotations

from acceptance.hostile import cubes, damaged, documents, pictures, sidecars, tiffs
from acceptance.hostile.cases import Case, Places

__all__ = ["Case", "Places", "cases"]


def cases(places: Places) -> dict[str, Case]:
    """All of them by name; `places` are what they try to reach."""
    found: dict[str, Case] = {}
    for part in (documents, tiffs, pictures, damaged, sidecars, cubes):
        for name, case in part.cases(places).items():
            assert name not in found
            found[name] = case
    return found
