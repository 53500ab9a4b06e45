"""The items of a picture, from the indexes: documents are read of those only that are picked."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from graticule.catalog.picking import Cover, Wanted
from graticule.catalog.planning import Row, Scan, within
from graticule.catalog.regions import Region
from graticule.catalog.sql.candidates import SqlCandidates
from graticule.catalog.sql.dialects import Dialect
from graticule.catalog.sql.searching import Source, documents, plan_of
from graticule.database import Connection
from graticule.errors import ReadStopped
from graticule.stac.search import Search

#: Rows that are looked at first: most areas are covered by them.
_FIRST_ROWS: Final = 16
#: Rows that are looked at together.
_MOST_ROWS: Final = 1_000


def pick(
    tx: Connection, *, dialect: Dialect, search: Search, wanted: Wanted, scan_limit: int, page_bytes: int, strict: bool
) -> list[bytes]:
    """The documents of the items that a picture is made of, the topmost first, in the order of the search.

    An item is met by the search's own place and by the area, each for itself: what a picture shows of it does not end
    where the search's place does.

    Raises:
        ReadStopped: the read's limit is over, and nothing was found.
    """
    picked: list[tuple[Row, bool]] = []  # and whether it is a spare
    count = 0
    cover = None if wanted.around is None else Cover(wanted.around)
    try:
        for block in _blocks(tx, dialect, search, wanted, scan_limit, strict=strict):
            for row, footprint in block:
                is_hidden = cover is not None and footprint is not None and _is_hidden(cover, footprint, wanted)
                if count < wanted.most and (wanted.with_spares or not is_hidden):
                    picked.append((row, is_hidden))
                    count += not is_hidden
            if count == wanted.most or (wanted.stop_when_covered and cover is not None and cover.is_full):
                break
    except ReadStopped:
        if not picked:
            raise
    if tx.limit is not None:
        tx.limit.extend()  # what was found is read to the end
    return documents(tx, dialect, _trimmed(picked, wanted.most), page_bytes)


def _is_hidden(cover: Cover, footprint: bytes, wanted: Wanted) -> bool:
    """Is it left out, or a spare? What is met after the area is covered is, where that is the end."""
    is_over = wanted.stop_when_covered and cover.is_full
    adds = cover.add(footprint)
    return is_over or (wanted.skip_hidden and not adds)


def _trimmed(picked: list[tuple[Row, bool]], most: int) -> list[Row]:
    """At most so many, spares going first, from the bottom."""
    room = most - sum(not is_spare for _, is_spare in picked)
    rows = []
    for row, is_spare in picked:
        if not is_spare or room > 0:
            rows.append(row)
            room -= is_spare
    return rows


def _blocks(
    tx: Connection, dialect: Dialect, search: Search, wanted: Wanted, scan_limit: int, *, strict: bool
) -> Iterator[list[tuple[Row, bytes | None]]]:
    """Rows and footprints of the items that the search finds in the area, in blocks of growing size."""
    search, other = _with_area(search, wanted)
    plan = plan_of(tx, dialect, search, strict=strict)
    candidates = SqlCandidates(tx, dialect, plan.question, plan.conditions)
    source = Source(tx, dialect, plan.question, plan.conditions, plan.collections, candidates, plan.order)
    covers = wanted.around is not None and (wanted.skip_hidden or wanted.stop_when_covered)
    left, block = wanted.scan, _FIRST_ROWS if covers or other is not None else wanted.most
    while left > 0:
        block = min(block, left, _MOST_ROWS)
        rows, token = source.page(replace(search, limit=block), Scan(scan_limit))
        footprints = candidates.footprints([row[3] for row in rows]) if covers or other is not None else {}
        if other is not None:
            rows = within(other, rows, candidates.footprints)
        yield [(row, footprints.get(row[3])) for row in rows]
        left -= block
        if token is None:
            return
        search, block = replace(search, token=token), block * 2


def _with_area(search: Search, wanted: Wanted) -> tuple[Search, Region | None]:
    """The search in the smaller of its own place and the area, and the larger as what is to be checked besides."""
    if wanted.around is None:
        return search, None
    area, own = Region.of_bbox(wanted.around), None
    if search.bbox is not None:
        own = Region.of_bbox(search.bbox)
    elif search.intersects is not None:
        own = Region.of_shape(search.intersects)
    if own is not None and own.area < area.area:
        return search, area
    return replace(search, bbox=wanted.around, intersects=None), own
