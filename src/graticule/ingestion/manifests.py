"""The manifests of references that stand beside data cubes: which assets get one, and how an item tells of it.

NetCDF and HDF5 assets with the role ``data`` or ``visual`` do, as an extra asset ``<key>-kerchunk``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from graticule.ingestion.conversion import Outcome
from graticule.stac.documents import Asset
from graticule.workflows.asset_entries import StoredAsset

MEDIA_TYPE: Final = "application/json"
#: STAC extension of ``cube:dimensions`` and ``cube:variables``.
EXTENSION: Final = "https://stac-extensions.github.io/datacube/v2.2.0/schema.json"
_MEDIA_TYPES: Final = frozenset({"application/netcdf", "application/x-netcdf", "application/x-hdf5"})
_ROLES: Final = frozenset({"data", "visual"})
_ENDING: Final = "-kerchunk"


def manifest_key(asset_key: str) -> str:
    """The key of the asset that a cube's manifest becomes."""
    return f"{asset_key}{_ENDING}"


def wants_manifest(asset: Asset) -> bool:
    """Is this asset a cube whose chunks are to be referred to, as far as its description says?"""
    media_type = asset.get("type")
    plain_type = media_type.split(";", 1)[0].strip().lower() if isinstance(media_type, str) else ""
    roles = {str(role).lower() for role in asset.get("roles") or ()}
    return plain_type in _MEDIA_TYPES and bool(roles & _ROLES)


def made_here(hrefs: Mapping[str, tuple[str, StoredAsset]]) -> frozenset[str]:
    """Keys of the manifests among stored assets that were made for this very item."""
    return frozenset(key for key, (_, stored) in hrefs.items() if stored.outcome == Outcome.REFERENCED)


def add_manifests(document: dict[str, Any], hrefs: Mapping[str, tuple[str, StoredAsset]]) -> None:
    """Let an item's document list its new manifests, and say of the cubes what is in them."""
    assets = document["assets"]
    for key in sorted(made_here(hrefs)):
        href, stored = hrefs[key]
        cube = assets.get(key.removesuffix(_ENDING))
        if cube is None:
            continue
        title = f"References to the chunks of {key.removesuffix(_ENDING)}"
        assets[key] = {"href": href, "type": MEDIA_TYPE, "roles": ["references"], "title": title}
        cube["msft:datacube_converted"] = True
        if stored.cube:
            cube |= stored.cube
            extensions = document.get("stac_extensions") or []
            if not any("/datacube/" in str(name) for name in extensions):
                document["stac_extensions"] = [*extensions, EXTENSION]
