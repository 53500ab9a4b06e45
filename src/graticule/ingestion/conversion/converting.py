"""Owns the order of one conversion: recognise, size, place on the map, then copy, convert or leave alone.

Runs in the child only.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

from rasterio.enums import Resampling
from rasterio.errors import NotGeoreferencedWarning

from graticule.errors import CogTransformationError
from graticule.ingestion.conversion import cogs, rasters
from graticule.ingestion.conversion.facts import facts_of
from graticule.ingestion.conversion.models import (
    Compression,
    ConversionProfile,
    Georeference,
    Outcome,
    RasterFacts,
    SidecarKind,
)
from graticule.ingestion.conversion.sidecars import lay_beside, read_projection, write_georeference

#: Sidecars that add pixels: a COG with one of these beside it is not complete in itself.
_PIXEL_SIDECARS = frozenset({SidecarKind.OVERVIEWS, SidecarKind.MASK})

#: Those that make no new values.
_EXACT = (Resampling.nearest, Resampling.mode)
#: By GDAL's names, which are rasterio's without the underscore.
_RESAMPLINGS = {each.name.replace("_", ""): each for each in Resampling}


def convert(folder: Path, job: dict[str, Any]) -> tuple[Outcome, RasterFacts]:
    """Look at ``source`` in ``folder`` and write ``result.tif`` beside it if it is to be converted.

    Raises:
        EmptyAsset: the file has no bytes.
        CogTransformationError: the file is no raster, is damaged, too large, or lies nowhere.
    """
    warnings.simplefilter("ignore", NotGeoreferencedWarning)
    sidecars = {SidecarKind(kind): folder / kind for kind in job["sidecars"]}
    driver = rasters.driver_of(folder / "source")
    raster = (folder / "source").rename(folder / f"source{rasters.EXTENSIONS[driver]}")
    size = raster.stat().st_size
    with rasters.open_raster(raster, driver) as dataset:
        rasters.check_size(dataset, size, job["max_decoded_bytes"])
        _check_references(dataset)
        bare = rasters.placement(dataset)
        rasters.check_place(bare.transform, dataset.shape)
        facts = facts_of(dataset, size)
        pages = len(dataset.subdatasets)
        needs_sidecars = _needs(dataset, sidecars)
    if pages > 1:
        return _leave(driver, job, facts, f"it has {pages} pages, and a COG holds one: split it")
    if driver == "GTiff" and bare.is_complete and not needs_sidecars and cogs.is_cog(raster):
        cogs.check_cog(raster)
        return Outcome.COPIED, facts
    lay_beside(raster, sidecars)
    if not _place(raster, driver, sidecars, job):
        return _leave(
            driver,
            job,
            facts,
            "it is not georeferenced: embed a CRS and transform, give the Item proj:code and proj:transform,"
            " or add a world file and .prj to its assets",
        )
    return Outcome.CONVERTED, _make_cog(raster, driver, folder / "result.tif", job)


def _check_references(dataset: Any) -> None:
    """A TIFF can name another file as its overviews; that file may be anybody's."""
    for domain, item in (("OVERVIEWS", "OVERVIEW_FILE"), ("ProxyOverviewRequest", "FILENAME")):
        if item in dataset.tags(ns=domain) or item in dataset.tags(1, ns=domain):
            raise CogTransformationError("the TIFF refers to another file for its overviews: embed them")


def _needs(dataset: Any, sidecars: dict[SidecarKind, Path]) -> bool:
    """Do pixels lie in a sidecar that the raster does not have itself?"""
    if SidecarKind.MASK in sidecars and not rasters.has_own_mask(dataset):
        return True
    is_small = max(dataset.width, dataset.height) <= 512
    return SidecarKind.OVERVIEWS in sidecars and not dataset.overviews(1) and not is_small


def _leave(driver: str, job: dict[str, Any], facts: RasterFacts, why: str) -> tuple[Outcome, RasterFacts]:
    """Only a TIFF that is said to be data must lie somewhere; a picture need not."""
    if driver == "GTiff" and "data" in job["roles"]:
        raise CogTransformationError(f"the TIFF has the role data but {why}")
    return Outcome.UNTOUCHED, facts


def _place(raster: Path, driver: str, sidecars: dict[SidecarKind, Path], job: dict[str, Any]) -> bool:
    """Complete the georeference by the fall-backs; is it complete then?"""
    with rasters.open_raster(raster, driver) as dataset:
        known = rasters.placement(dataset)
        shape = (dataset.height, dataset.width)
    if known.is_complete:
        return True
    projection = sidecars.get(SidecarKind.PROJECTION)
    said = job["georeference"]
    full = rasters.fall_back(
        known,
        read_projection(projection) if projection else None,
        Georeference(said["transform"], said["crs"], said["shape"] and tuple(said["shape"])) if said else None,
        shape,
    )
    if not full.is_complete:
        return False
    write_georeference(raster, full.transform, full.crs)
    return True


def _make_cog(raster: Path, driver: str, output: Path, job: dict[str, Any]) -> RasterFacts:
    said = job["profile"]
    wanted = ConversionProfile(**{**said, "compression": Compression(said["compression"])})
    with rasters.open_raster(raster, driver) as dataset:
        place = rasters.placement(dataset)
        rasters.check_place(place.transform, dataset.shape)
        if not place.is_complete:
            raise CogTransformationError("the georeference could not be applied: embed a CRS and transform in the file")
        resampling = rasters.overview_resampling(
            dataset, roles={role.lower() for role in job["roles"]}, has_classes=job["has_classes"]
        )
        resampling = _chosen(wanted, resampling)
        profile = cogs.fitting(wanted, dataset, resampling)
        cogs.write_cog(dataset, output, resampling, threads=job["threads"], profile=profile)
        cogs.verify(dataset, output, lossy=profile.compression.is_lossy)
    with rasters.open_raster(output, "GTiff") as dataset:
        return facts_of(dataset, output.stat().st_size, driver=driver)


def _chosen(wanted: ConversionProfile, fitting: Resampling) -> Resampling:
    """The profile's resampling, where it fits the values: classes and complex numbers are not averaged."""
    chosen = None if wanted.overview_resampling is None else _RESAMPLINGS[wanted.overview_resampling]
    if chosen is None or (fitting in _EXACT and chosen not in _EXACT):
        return fitting
    return chosen
