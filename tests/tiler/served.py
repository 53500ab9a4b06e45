"""A served catalog with real rasters ingested, for the tests of a module; and rio-tiler's direct answers."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import requests
from PIL import Image
from rasterio.warp import transform_bounds

from acceptance.documents import COG, collection
from acceptance.serving import Served
from acceptance.source import Source

COLLECTION = "rasters"
ITEM_PREFIX = "data/mosaic/collections"


@dataclass
class Tiled:
    """A catalog to ask for pixels."""

    served: Served
    client: requests.Session

    def get(self, item: str, path: str, **query: Any) -> requests.Response:
        """``GET`` below an item's stable prefix; lists become repeated parameters."""
        return self.client.get(f"{self.url(item)}/{path}", params=query)

    def mosaic(self, path: str, **query: Any) -> requests.Response:
        """``GET`` below the collection's prefix."""
        return self.client.get(f"{self.served.url}/{ITEM_PREFIX}/{COLLECTION}/{path}", params=query)

    def post(self, item: str, path: str, document: Any, **query: Any) -> requests.Response:
        return self.client.post(f"{self.url(item)}/{path}", params=query, json=document)

    def url(self, item: str) -> str:
        return f"{self.served.url}/{ITEM_PREFIX}/{COLLECTION}/items/{item}"

    def file(self, item: str, asset: str) -> Path:
        """Where the managed file of an asset lies."""
        (found,) = (self.served.data_dir / "assets").glob(f"*/*/{item}/{asset}.*")
        return found


def bounds_of(path: Path) -> tuple[float, float, float, float]:
    """Degrees."""
    with rasterio.open(path) as dataset:
        crs, bounds = dataset.crs, dataset.bounds
    west, south, east, north = transform_bounds(crs, "EPSG:4326", *bounds)
    return west, south, east, north


def document(item_id: str, assets: Mapping[str, str], around: Sequence[float], moment: str) -> dict[str, Any]:
    west, south, east, north = around
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "id": item_id,
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "bbox": list(around),
        "properties": {"datetime": moment},
        "links": [],
        "assets": {key: {"href": href, "type": COG, "roles": ["data"]} for key, href in assets.items()},
    }


@contextmanager
def tiled(folder: Path, items: Mapping[str, Mapping[str, Path]], **env: str) -> Iterator[Tiled]:
    """A running catalog with these items ingested: id → asset key → local file. Each is a day older than the last."""
    files = {f"{item}/{key}.tif": path.read_bytes() for item, assets in items.items() for key, path in assets.items()}
    with (
        Source(files, token=None) as source,
        Served(folder, env={"GRATICULE_FETCH_ALLOW": source.host, **env}) as served,
    ):
        client = served.client()
        assert client.post(f"{served.url}/stac/collections", json=collection(COLLECTION)).status_code == 202
        for age, (item, assets) in enumerate(items.items()):
            hrefs = {key: source.href(f"{item}/{key}.tif") for key in assets}
            around = bounds_of(next(iter(assets.values())))
            posted = document(item, hrefs, around, f"2024-05-{28 - age:02}T10:00:00Z")
            url = f"{served.url}/stac/collections/{COLLECTION}/items"
            operation = served.finished(client, client.post(url, json=posted))
            assert operation["status"] == "Succeeded", operation
        yield Tiled(served, served.client("reader"))


def array(answer: requests.Response) -> np.ndarray[Any, Any]:
    """What an ``npy`` answer holds: bands, and the mask as the last one."""
    assert answer.status_code == 200, answer.text
    values: np.ndarray[Any, Any] = np.load(io.BytesIO(answer.content))
    return values


def colours(picture: bytes) -> np.ndarray[Any, Any]:
    """The colours of a picture, whatever it holds to say them: rows, columns; red, green, blue, alpha."""
    with Image.open(io.BytesIO(picture)) as image:
        return np.asarray(image.convert("RGBA"))
