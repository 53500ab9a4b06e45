"""What a hostile case is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

COG = "CogTransformationError"
CUBE = "AssetTransformationError"


@dataclass(frozen=True)
class Places:
    """What nobody may reach."""

    #: A sound GeoTIFF outside the catalog.
    canary: Path
    #: A server that counts who connects: ``http://…``.
    url: str
    #: Public rasters.
    data: Path
    #: To write files in.
    folder: Path


@dataclass(frozen=True)
class Case:
    """An item's assets, and what its operation is to say."""

    content: bytes
    #: The code with which it fails; None: it is published; "": either, it depends on what the damage hit.
    code: str | None = COG
    name: str = "image.tif"
    type: str = "image/tiff"
    roles: tuple[str, ...] = ("data",)
    #: Further files by name.
    beside: Mapping[str, bytes] = field(default_factory=dict)
    #: Members of the asset.
    members: Mapping[str, Any] = field(default_factory=dict)
