"""A served catalog with data cubes ingested, and cubes that tests make."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from acceptance.documents import collection
from acceptance.serving import Served
from acceptance.source import Source
from tiler.served import COLLECTION, Tiled

AROUND = (-180.0, -90.0, 180.0, 90.0)
MEDIA_TYPES = {
    ".nc": "application/netcdf",
    ".h5": "application/x-hdf5",
    ".grib": "application/wmo-grib2",
    ".grib2": "application/wmo-grib2",
    ".zip": "application/vnd+zarr",
    ".zarr": "application/vnd+zarr",
}


def cube_item(item_id: str, href: str, ending: str, roles: tuple[str, ...] = ("data",)) -> dict[str, Any]:
    """An item with one asset, ``data``."""
    west, south, east, north = AROUND
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "id": item_id,
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "bbox": list(AROUND),
        "properties": {"datetime": "2024-05-01T00:00:00Z"},
        "links": [],
        "assets": {"data": {"href": href, "type": MEDIA_TYPES[ending], "roles": list(roles)}},
    }


@contextmanager
def cubed(folder: Path, files: Mapping[str, Path]) -> Iterator[tuple[Tiled, Source]]:
    """A running catalog with these cubes ingested: id → local file; and the source that they came from."""
    served_files = {f"{item}{path.suffix}": path.read_bytes() for item, path in files.items()}
    with (
        Source(served_files, token=None) as source,
        Served(folder, env={"GRATICULE_FETCH_ALLOW": source.host}) as served,
    ):
        client = served.client()
        assert client.post(f"{served.url}/stac/collections", json=collection(COLLECTION)).status_code == 202
        for item, path in files.items():
            document = cube_item(item, source.href(f"{item}{path.suffix}"), path.suffix)
            url = f"{served.url}/stac/collections/{COLLECTION}/items"
            operation = served.finished(client, client.post(url, json=document))
            assert operation["status"] == "Succeeded", operation
        yield Tiled(served, served.client("reader")), source
