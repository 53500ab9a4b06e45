"""A collection as it is answered: what its owner wrote, with the extent and summaries that its items have.

The stored document is never changed. `described` puts in what is known of the items; `undescribed` takes it out again
of a document that a client read, changed and sends back, so that computed values do not become the owner's.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final, cast

import orjson

from graticule.catalog.base import CollectionRecord
from graticule.catalog.wholes import Whole, is_range
from graticule.stac.documents import Collection, JsonObject

_EPOCH: Final = datetime(1970, 1, 1)  # noqa: DTZ001 - UTC without saying so, so that strftime can
_LAST: Final = datetime(9999, 12, 31, 23, 59, 59)  # noqa: DTZ001 - as above


def described(record: CollectionRecord) -> bytes:
    """The document to answer: byte for byte as it is stored while nothing is known of items.

    - The first bbox and the first interval, which stand for the whole (STAC Collection specification, Spatial and
      Temporal Extent), are those of the items. An end that the owner left open stays open. Further ones stay.
    - Ranges and lists of values that the owner gave are widened to hold the items'; others are added.
    """
    if record.whole is None:
        return record.doc
    return orjson.dumps(described_members(record.doc, record.whole))


def described_members(doc: bytes, whole: bytes | None) -> JsonObject:
    """The same, read: of a stored document and what is known of its items."""
    document: JsonObject = orjson.loads(doc)
    if whole is not None:
        _describe(document, Whole.read(whole))
    return document


def undescribed(collection: Collection, record: CollectionRecord) -> Collection:
    """What a client means to store who sends this document for a collection that is answered as `described` says.

    Values that equal the answered ones become again what the owner wrote; everything else is what the client wants.
    """
    if record.whole is None:
        return collection
    stored, answered = orjson.loads(record.doc), orjson.loads(described(record))
    document: JsonObject = {**collection}
    if "extent" in document:
        document["extent"] = _undescribed_extent(document["extent"], stored.get("extent"), answered.get("extent"))
    summaries = document.get("summaries")
    if isinstance(summaries, Mapping):
        own = _undescribed_members(summaries, stored.get("summaries") or {}, answered.get("summaries") or {})
        document["summaries"] = own
        if not own and "summaries" not in stored and summaries:
            del document["summaries"]
    return cast("Collection", document)


# --- putting in ------------------------------------------------------------------------------------------------------


def _describe(document: JsonObject, whole: Whole) -> None:
    if whole.n <= 0:
        return
    extent = document.get("extent")
    if isinstance(extent, dict):
        bbox = whole.bounds.bbox()
        if bbox is not None and (boxes := _first_list(extent, "spatial", "bbox")) is not None:
            boxes[0] = _with_heights(bbox, boxes[0])
        if (intervals := _first_list(extent, "temporal", "interval")) is not None:
            intervals[0] = _interval(whole, intervals[0])
    summaries = dict(document.get("summaries") or {})
    _add_values(summaries, whole)
    _add_ranges(summaries, whole)
    if summaries:
        document["summaries"] = summaries


def _first_list(extent: JsonObject, kind: str, name: str) -> list[Any] | None:
    """The list whose first member stands for the whole, if it is one."""
    part = extent.get(kind)
    members = part.get(name) if isinstance(part, dict) else None
    return members if isinstance(members, list) and members and isinstance(members[0], list) else None


def _with_heights(bbox: tuple[float, float, float, float], owner: list[Any]) -> list[Any]:
    if len(owner) != 6:
        return list(bbox)
    west, south, east, north = bbox
    return [west, south, owner[2], east, north, owner[5]]


def _interval(whole: Whole, owner: list[Any]) -> list[Any]:
    begin, end = (instant_text(us) for us in (whole.bounds.begin, whole.bounds.end))
    if len(owner) != 2:
        return [begin, end]
    return [begin if owner[0] is not None else None, end if owner[1] is not None else None]


def instant_text(us: int | None) -> str | None:
    """An end of an interval as it is written."""
    if us is None:
        return None
    try:
        moment = _EPOCH + timedelta(microseconds=us)
    except OverflowError:  # an offset may lead beyond the calendar
        moment = datetime.min if us < 0 else _LAST  # noqa: DTZ901 - as above
    return moment.isoformat() + "Z"


def _add_values(summaries: JsonObject, whole: Whole) -> None:
    for key, counts in sorted(whole.values.items()):
        if not counts:
            continue
        found = sorted((orjson.loads(text) for text in counts), key=lambda value: (isinstance(value, str), value))
        owner = summaries.get(key, [])
        if isinstance(owner, list):
            # 10 and 10.0 are one number; true is none.
            have = {(isinstance(value, bool), value) for value in owner if isinstance(value, str | int | float)}
            summaries[key] = [*owner, *(value for value in found if (isinstance(value, bool), value) not in have)]


def _add_ranges(summaries: JsonObject, whole: Whole) -> None:
    for key, (least, greatest) in sorted(whole.bounds.ranges.items()):
        owner = summaries.get(key)
        if owner is None:
            summaries[key] = {"minimum": least, "maximum": greatest}
        elif is_range(owner) and _are_alike(owner["minimum"], owner["maximum"], least, greatest):
            minimum, maximum = min(owner["minimum"], least), max(owner["maximum"], greatest)
            summaries[key] = {**owner, "minimum": minimum, "maximum": maximum}


def _are_alike(*values: object) -> bool:
    return all(isinstance(value, str) for value in values) or all(
        isinstance(value, int | float) and not isinstance(value, bool) for value in values
    )


# --- taking out ------------------------------------------------------------------------------------------------------


def _undescribed_extent(sent: Any, stored: Any, answered: Any) -> Any:
    if not all(isinstance(extent, dict) for extent in (sent, stored, answered)):
        return sent
    sent = dict(sent)
    for kind, name in (("spatial", "bbox"), ("temporal", "interval")):
        theirs, ours, owners = (_first_list(extent, kind, name) for extent in (sent, answered, stored))
        if theirs is not None and ours is not None and owners is not None and theirs[0] == ours[0]:
            sent[kind] = {**sent[kind], name: [owners[0], *theirs[1:]]}
    return sent


def _undescribed_members(
    sent: Mapping[str, Any], stored: Mapping[str, Any], answered: Mapping[str, Any]
) -> dict[str, Any]:
    own: dict[str, Any] = {}
    for key, value in sent.items():
        if key not in answered or value != answered[key]:
            own[key] = value
        elif key in stored:
            own[key] = stored[key]
    return own
