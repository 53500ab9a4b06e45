"""Owns: making STAC out of files that have none: rasters in folders → Items and a Collection.

Refuses: to store, fetch or publish anything; it reads files of the user's own, by path, and answers documents.

Entry points: ``find_files`` and ``group_scenes`` say what belongs together, ``Forge`` makes an Item of a scene,
``CollectionMaker`` sums Items up, ``CatalogFolder`` and ``JsonLines`` write them.
"""

from graticule.forge.collections import CollectionMaker
from graticule.forge.items import Forge, Forged, Recipe, is_converted
from graticule.forge.rasters import read_crs
from graticule.forge.scenes import Grouping, Scene, group_scenes
from graticule.forge.templates import ItemTemplate
from graticule.forge.times import TimeRules
from graticule.forge.walking import RASTERS, Found, find_files
from graticule.forge.writing import CatalogFolder, Destination, JsonLines, with_hrefs

__all__ = [
    "RASTERS",
    "CatalogFolder",
    "CollectionMaker",
    "Destination",
    "Forge",
    "Forged",
    "Found",
    "Grouping",
    "ItemTemplate",
    "JsonLines",
    "Recipe",
    "Scene",
    "TimeRules",
    "find_files",
    "group_scenes",
    "is_converted",
    "read_crs",
    "with_hrefs",
]
