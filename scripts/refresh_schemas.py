"""Brings the STAC schemas that items are checked with into ``src/graticule/stac/schemas``, from published packages.

No package that is small ships the schemas of extensions to be used; but the source archives of PySTAC's extension
packages hold the official ones, as their tests recorded them, and its wheels those of the core. Each file is stored as
it was published, under the path of its URL (``stac-extensions.github.io/eo/v1.1.0/schema.json``).

``python scripts/refresh_schemas.py`` downloads with pip, and says what changed. What is in ``schemas/graticule`` is
ours, for versions that no package has, and is left alone.
"""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

SCHEMAS = Path(__file__).resolve().parents[1] / "src" / "graticule" / "stac" / "schemas"

#: Wheels with the schemas of the core; the first is the last that had 1.0.0.
CORE = ("pystac==1.10.1", "pystac-core==1.15.2")
#: Source archives whose tests recorded schemas of extensions.
EXTENSIONS = (
    "pystac-ext-classification==2.0.1",
    "pystac-ext-datacube==2.2.1",
    "pystac-ext-eo==1.1.1",
    "pystac-ext-file==2.1.1",
    "pystac-ext-grid==1.1.1",
    "pystac-ext-mgrs==1.0.1",
    "pystac-ext-mlm==1.4.1",
    "pystac-ext-pointcloud==1.0.1",
    "pystac-ext-projection==2.0.1",
    "pystac-ext-raster==1.1.1",
    "pystac-ext-render==2.0.0",
    "pystac-ext-sar==1.0.1",
    "pystac-ext-sat==1.0.1",
    "pystac-ext-scientific==1.0.1",
    "pystac-ext-storage==2.0.1",
    "pystac-ext-table==1.2.1",
    "pystac-ext-timestamps==1.1.1",
    "pystac-ext-version==1.2.1",
    "pystac-ext-view==1.0.1",
    "pystac-ext-xarray-assets==1.0.1",
)
#: Recorded too, but of no use here: it refers to schemas that no package has.
LEFT_OUT = ("stac-extensions.github.io/mlm/",)

#: Folder of a wheel -> where its schemas are published (the `$id` of one of them has a slip).
_CORE_FOLDERS = {
    "pystac/validation/jsonschemas/geojson/": "geojson.org/schema/",
    "pystac/validation/jsonschemas/stac-spec/v1.0.0/": "schemas.stacspec.org/v1.0.0/item-spec/json-schema/",
    "pystac/validation/jsonschemas/stac-spec/v1.1.0/": "schemas.stacspec.org/v1.1.0/item-spec/json-schema/",
}
_OF_COLLECTIONS = ("catalog.json", "collection.json")


def main() -> int:
    """Download, unpack, write; answers 0."""
    found: dict[str, bytes] = {}
    with tempfile.TemporaryDirectory() as folder:
        download = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", folder]
        for wheel in CORE:
            subprocess.run([*download, "--only-binary", ":all:", wheel], check=True)
        subprocess.run([*download, "--no-binary", ":all:", *EXTENSIONS], check=True)
        for path in sorted(Path(folder).iterdir()):
            found |= dict(of_wheel(path) if path.suffix == ".whl" else of_recordings(path))
    for name, text in sorted(found.items()):
        target = SCHEMAS / name
        if not target.exists() or target.read_bytes() != text:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(text)
            print("wrote", name)
    ours = SCHEMAS / "graticule"
    for path in SCHEMAS.rglob("*.json"):
        if not path.is_relative_to(ours) and str(path.relative_to(SCHEMAS)) not in found:
            print("not in any package:", path.relative_to(SCHEMAS))
    return 0


def of_wheel(path: Path) -> Iterator[tuple[str, bytes]]:
    """The schemas of the core and of GeoJSON, by path."""
    with zipfile.ZipFile(path) as wheel:
        for name in wheel.namelist():
            folder, _, file = name.rpartition("/")
            place = _CORE_FOLDERS.get(f"{folder}/")
            if place is not None and file.endswith(".json") and file not in _OF_COLLECTIONS:
                yield place + file, wheel.read(name)


def of_recordings(path: Path) -> Iterator[tuple[str, bytes]]:
    """The schemas among the answers that an archive's tests recorded, by path."""
    with tarfile.open(path) as archive:
        for member in archive:
            file = archive.extractfile(member) if "/cassettes/" in member.name else None
            if file is None:
                continue
            for interaction in yaml.load(file.read(), Loader=yaml.CSafeLoader)["interactions"]:
                text = _body(interaction["response"])
                document = _json(text)
                if isinstance(document, dict) and "$schema" in document and "$id" in document:
                    name = _path(document["$id"])
                    if not name.startswith(LEFT_OUT):
                        yield name, text


def _body(response: dict[str, Any]) -> bytes:
    body = (response.get("body") or {}).get("string") or b""
    body = body.encode() if isinstance(body, str) else body
    return gzip.decompress(body) if body[:2] == b"\x1f\x8b" else body


def _json(text: bytes) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None


def _path(identity: str) -> str:
    return identity.partition("://")[2].rstrip("#")


if __name__ == "__main__":
    sys.exit(main())
