"""Is this an Item or a Collection that the catalog can take?

Two moments: the *shape* is checked when a document is posted (a single Item of wrong shape is refused at once), the
*contents* in the operation, where the error is kept beside the item. Sources: STAC Item and Collection specification
1.0.0 / 1.1.0, and the limits of api.md 2.6 and errors.md.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import orjson

from graticule.errors import (
    InvalidInputData,
    ItemSizeExceeded,
    StacValidationFailed,
    TotalAssetsExceeded,
)
from graticule.ingestion.collection_rules import check_rules
from graticule.ingestion.remarks import Remark
from graticule.settings import Settings
from graticule.stac import validation as schemas
from graticule.stac.datetimes import parse_extent_end
from graticule.stac.documents import Collection, Item

MAX_ITEM_ID = 149  # "under 150 characters"
MAX_ASSET_KEY = 255  # "under 256"
MAX_COLLECTION_ID = 256

_REQUIRED_OF_A_COLLECTION: dict[str, type] = {
    "id": str,
    "description": str,
    "license": str,
    "extent": dict,
    "links": list,
}


def check_collection(document: Any) -> Collection:
    """A Collection that can be stored.

    Raises:
        InvalidInputData: a member is missing or of the wrong kind; the message names it.
        StacValidationFailed: it is of a version of STAC that is not taken.
    """
    if not isinstance(document, dict):
        raise InvalidInputData("A Collection must be a JSON object.")
    for name, kind in _REQUIRED_OF_A_COLLECTION.items():
        if name not in document:
            raise InvalidInputData(f"The Collection has no '{name}'.", target=name)
        if not isinstance(document[name], kind):
            raise InvalidInputData(f"The Collection's '{name}' must be {_WORDS[kind]}.", target=name)
    if document.setdefault("type", "Collection") != "Collection":
        raise InvalidInputData(
            f"The type is {_short(document['type'])}; a Collection's is 'Collection'.", target="type"
        )
    _check_id(document["id"], "Collection", MAX_COLLECTION_ID)
    _check_version(document.setdefault("stac_version", "1.0.0"), "The Collection")
    _check_links(document["links"], "Collection")
    _check_extent(document["extent"])
    _check_members(document)
    if document.get("assets") is None:
        document.pop("assets", None)
    _check_assets(document.get("assets", {}), "Collection")
    check_rules(document)
    return document  # type: ignore[return-value]  # a plain dict whose shape was just checked


def is_sound(document: Any, collection_id: str, settings: Settings) -> bool:
    """Does a document pass `check_shape` and `check_contents`, its size and its extensions aside?

    The core schema says most of what they look for, and sooner. False says nothing: they then tell what is wrong.
    """
    if type(document) is not dict or document.get("collection") != collection_id:
        return False
    identity, assets = document.get("id"), document.get("assets")
    return (
        _can_be_id(identity, MAX_ITEM_ID)
        and type(assets) is dict
        and len(assets) <= settings.max_item_assets
        and "" not in assets
        and max(map(len, assets), default=0) <= MAX_ASSET_KEY
        and schemas.keeps_core(document)
    )


def check_shape(document: Any, collection_id: str) -> Item:
    """A Feature with the members of an Item, of the collection that it is posted to.

    Raises:
        InvalidInputData: it is not one; the message names the item and the member.
    """
    if not isinstance(document, dict):
        raise InvalidInputData("An Item must be a JSON object.")
    name = _name(document)
    if document.get("type") != "Feature":
        raise InvalidInputData(
            f"{name} has type {_short(document.get('type'))}; an Item's is 'Feature'.", target="type"
        )
    if "id" not in document:
        raise InvalidInputData(
            "An Item without an 'id' was sent: give it one that its collection has not.", target="id"
        )
    _check_id(document["id"], "Item", MAX_ITEM_ID)
    if not isinstance(document.get("properties"), dict):
        raise InvalidInputData(f"{name} has no 'properties' object.", target="properties")
    if "geometry" not in document or not isinstance(document["geometry"], dict | None):
        raise InvalidInputData(f"{name} has no 'geometry' (a GeoJSON geometry, or null).", target="geometry")
    _check_assets(document.get("assets", {}), name)
    _check_links(document.get("links", []), name)
    if (named := document.get("collection")) is not None and named != collection_id:
        raise InvalidInputData(
            f"{name} names collection {_short(named)} but was posted to '{collection_id}'.", target="collection"
        )
    return document  # type: ignore[return-value]  # a plain dict whose shape was just checked


def check_contents(item: Item, settings: Settings, *, measured: bool = False, remarks: bool = True) -> list[Remark]:
    """The limits and the rules of STAC that need no storage; answers what is to be told of, but does not matter.

    Args:
        item: of proper shape.
        settings: how strict to be.
        measured: its size is known to be within the limit.
        remarks: look for what does not matter, too.

    Raises:
        ItemSizeExceeded, TotalAssetsExceeded, StacValidationFailed: with a sentence that names the item.
    """
    size = 0 if measured else len(orjson.dumps(item))
    if size > settings.max_item_bytes:
        raise ItemSizeExceeded(
            f"{_name(item)} has {size} bytes of JSON; at most {settings.max_item_bytes} are allowed"
            " (GRATICULE_MAX_ITEM_BYTES): drop properties or assets."
        )
    count = len(item.get("assets", {}))
    if count > settings.max_item_assets:
        raise TotalAssetsExceeded(
            f"{_name(item)} has {count} assets; at most {settings.max_item_assets} are allowed"
            " (GRATICULE_MAX_ITEM_ASSETS): split it."
        )
    looked_for = ("warn", "fail") if remarks else ("fail",)
    keeps = schemas.keeps_all if settings.validate_extensions in looked_for else schemas.keeps_core
    if keeps(item):  # of all that follows, this is the quickest to find out
        return []
    name = _name(item)
    _check_version(item.get("stac_version", "1.0.0"), name)
    _check_bbox(item, name)
    extensions: object = item.get("stac_extensions", [])
    if not isinstance(extensions, list) or not all(isinstance(entry, str) for entry in extensions):
        raise StacValidationFailed(f"{name}: 'stac_extensions' must be a list of URLs.")
    return _check_schemas(item, name, settings, looked_for)


# --- inside ----------------------------------------------------------------------------------------------------------

_LONGEST_SHOWN = 80
#: Faults that a message names.
_MOST_NAMED = 3
_WORDS: dict[type, str] = {str: "text", dict: "an object", list: "a list"}


def _name(document: Any) -> str:
    identity = document.get("id")
    if not isinstance(identity, str):
        return "An Item without a proper id"
    return f"Item '{identity if len(identity) <= MAX_ITEM_ID else identity[:MAX_ITEM_ID] + '…'}'"


def _short(value: object) -> str:
    """A wrong value as a message shows it: whatever was sent, a sentence stays a sentence."""
    if isinstance(value, str | int | float | None):
        text = repr(value[:_LONGEST_SHOWN]) if isinstance(value, str) else str(value)
        return text[: _LONGEST_SHOWN + 2]
    return "an object" if isinstance(value, dict) else "a list"


def _can_be_id(identity: object, longest: int) -> bool:
    # A slash or a control character cannot stand in one path segment of a URL; dots alone would be a relative path.
    return (
        isinstance(identity, str)
        and 0 < len(identity) <= longest
        and not ("/" in identity or "\\" in identity or identity in {".", ".."})
        and identity.isprintable()
    )


def _check_id(identity: object, kind: str, longest: int) -> None:
    if not isinstance(identity, str) or not identity:
        raise InvalidInputData(f"The {kind}'s 'id' must be text that is not empty.", target="id")
    if len(identity) > longest:
        raise InvalidInputData(
            f"The {kind}'s 'id' has {len(identity)} characters; at most {longest} are allowed.", target="id"
        )
    if not _can_be_id(identity, longest):
        raise InvalidInputData(
            f"The {kind}'s 'id' {identity!r} has a character that no URL segment can carry:"
            " use letters, digits and -_.,+()",
            target="id",
        )


def _check_assets(assets: Any, name: str) -> None:
    if not isinstance(assets, dict):
        raise InvalidInputData(f"{name}: 'assets' must be an object.", target="assets")
    for key, asset in assets.items():
        if not key or len(key) > MAX_ASSET_KEY:
            raise InvalidInputData(f"{name}: an asset key must have 1 to {MAX_ASSET_KEY} characters.", target="assets")
        if not isinstance(asset, dict) or not isinstance(asset.get("href"), str):
            raise InvalidInputData(f"{name}: asset '{key}' must be an object with an 'href'.", target=f"assets.{key}")
        if not isinstance(asset.get("type"), str | None):
            raise InvalidInputData(f"{name}: asset '{key}': 'type' must be text.", target=f"assets.{key}.type")
        roles = asset.get("roles")
        if roles is not None and not (isinstance(roles, list) and all(isinstance(role, str) for role in roles)):
            raise InvalidInputData(
                f"{name}: asset '{key}': 'roles' must be a list of texts.", target=f"assets.{key}.roles"
            )


def _check_links(links: Any, name: str) -> None:
    if not isinstance(links, list) or not all(isinstance(link, dict) for link in links):
        raise InvalidInputData(f"{name}: 'links' must be a list of objects.", target="links")


def _check_version(version: object, name: str) -> None:
    if not isinstance(version, str) or not version.startswith(("1.0.", "1.1.")):
        raise StacValidationFailed(f"{name} has stac_version {_short(version)}: bring it to 1.0.0 or 1.1.0.")


def _check_members(collection: dict[str, Any]) -> None:
    """Members that clients read of every collection in a list: one of a wrong kind would spoil the list for them."""
    for link in collection["links"]:
        if not (isinstance(link.get("rel"), str) and isinstance(link.get("href"), str)):
            raise InvalidInputData(
                "The Collection has a link without 'rel' and 'href': both are texts.", target="links"
            )
    if not isinstance(collection.get("summaries"), dict | None):
        raise InvalidInputData("The Collection's 'summaries' must be an object.", target="summaries")
    if not _is_list_of(collection.get("stac_extensions"), lambda one: isinstance(one, str)):
        raise InvalidInputData("The Collection's 'stac_extensions' must be a list of URLs.", target="stac_extensions")
    if not _is_list_of(collection.get("keywords"), lambda one: isinstance(one, str)):
        raise InvalidInputData("The Collection's 'keywords' must be a list of texts.", target="keywords")
    if not _is_list_of(
        collection.get("providers"), lambda one: isinstance(one, dict) and isinstance(one.get("name"), str)
    ):
        raise InvalidInputData(
            "The Collection's 'providers' must be a list of objects with a name.", target="providers"
        )


def _is_list_of(value: object, is_right: Callable[[Any], bool]) -> bool:
    return value is None or (isinstance(value, list) and all(map(is_right, value)))


def _check_bbox(item: Item, name: str) -> None:
    bbox = item.get("bbox")
    if item.get("geometry") is None:
        if bbox is not None:
            raise StacValidationFailed(f"{name} has a bbox but no geometry.")
        return
    if not isinstance(bbox, list) or len(bbox) not in {4, 6} or not all(_is_number(value) for value in bbox):
        raise StacValidationFailed(f"{name} needs a 'bbox' of 4 or 6 numbers beside its geometry.")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _check_schemas(item: Item, name: str, settings: Settings, looked_for: Sequence[str]) -> list[Remark]:
    """What the bundled schemas say, where the settings are one of these; an extension that has none is only noted."""
    found: list[Remark] = []
    faults = schemas.core_faults(item) if settings.validate_core in looked_for else []
    # Of an href that says nothing whoever would fetch it tells: InvalidAssetHref (errors.md).
    if faults := [fault for fault in faults if not (fault.path.startswith("assets.") and fault.path.endswith(".href"))]:
        if settings.validate_core == "fail":
            raise StacValidationFailed(f"{name} is no valid STAC Item. {_sentence(faults)}.", target=faults[0].path)
        found += [Remark.of(fault) for fault in faults]
    if settings.validate_extensions in looked_for and item.get("stac_extensions"):
        faults, unknown = schemas.extension_faults(item)
        if faults and settings.validate_extensions == "fail":
            raise StacValidationFailed(
                f"{name} breaks the rules of an extension that it names. {_sentence(faults)}. Correct the members, or"
                " drop the extension.",
                target=faults[0].path,
            )
        found += [Remark.of(fault) for fault in faults]
        found += [
            Remark("stac_extensions", "unknown extension", f"{url[:200]} is not known here: its rules were not checked")
            for url in unknown
        ]
    return found


def _sentence(faults: Sequence[schemas.Fault]) -> str:
    shown = "; ".join(str(fault) for fault in faults[:_MOST_NAMED])
    return shown + (f"; and {len(faults) - _MOST_NAMED} more" if len(faults) > _MOST_NAMED else "")


def _check_extent(extent: Any) -> None:
    spatial, temporal = extent.get("spatial"), extent.get("temporal")
    boxes = spatial.get("bbox") if isinstance(spatial, dict) else None
    if (
        not isinstance(boxes, list)
        or not boxes
        or not all(
            isinstance(box, list) and len(box) in {4, 6} and all(_is_number(value) for value in box) for box in boxes
        )
    ):
        raise InvalidInputData(
            "The Collection's extent.spatial.bbox must be a list of boxes of 4 or 6 numbers.", target="extent.spatial"
        )
    intervals = temporal.get("interval") if isinstance(temporal, dict) else None
    if (
        not isinstance(intervals, list)
        or not intervals
        or not all(
            isinstance(pair, list) and len(pair) == 2 and all(isinstance(end, str | None) for end in pair)
            for pair in intervals
        )
    ):
        raise InvalidInputData(
            "The Collection's extent.temporal.interval must be a list of [start, end] pairs.", target="extent.temporal"
        )
    for place, end in ((place, end) for pair in intervals for place, end in enumerate(pair) if end is not None):
        try:
            parse_extent_end(end, last=place == 1)
        except ValueError as exc:
            raise InvalidInputData(
                f"The Collection's extent.temporal.interval has {_short(end)}, which {exc}.", target="extent.temporal"
            ) from exc
