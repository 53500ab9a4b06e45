"""Are the answers right? Every server must answer the items that the scenes say, in that order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from benchmarks.items import COLLECTIONS
from benchmarks.search.load import Connection, Request, Root
from benchmarks.search.queries import Archive, Queries


def check(roots: Sequence[Root], queries: Queries, archive: Archive, classes: Sequence[str], count: int) -> int:
    """Ask `count` queries of each class, unlike those that are measured; answers how many were asked.

    Raises:
        SystemExit: an answer is wrong; the message holds the query.
    """
    asked = 0
    for name in classes:
        for query in queries.of(name, count, skip=1_000_000):
            expected = query.find(archive)
            for root in roots:
                connection = Connection(root)  # anew: finding what is right may take longer than servers keep one open
                found = ids_of(connection.json(query.request))
                connection.close()
                if found != expected:
                    kind = "in another order" if sorted(found) == sorted(expected) else "other items"
                    raise SystemExit(f"{root.url}: {name} answers {kind}: {query.request}\n{found}\nnot\n{expected}")
                asked += 1
    return asked


def check_walk(root: Root, archive: Archive, limit: int, pages: int) -> None:
    """Follow next links: every item once, in the right order.

    Raises:
        SystemExit: one is missing, comes twice or out of order.
    """
    connection = Connection(root)
    request: Request | None = Request("/search", {"collections": list(COLLECTIONS), "limit": limit})
    found: list[str] = []
    for _ in range(pages):
        if request is None:
            break
        page = connection.json(request)
        found += ids_of(page)
        request = following(page)
    connection.close()
    expected = archive.ids[: pages * limit]
    if found != expected:
        place = next(n for n, pair in enumerate(zip([*found, ""], [*expected, ""], strict=False)) if pair[0] != pair[1])
        raise SystemExit(f"{root.url}: a walk of {pages} pages goes wrong at item {place}")


def ids_of(document: dict[str, Any]) -> list[str]:
    """The ids of a page; of an item its own."""
    return [one["id"] for one in document["features"]] if "features" in document else [document["id"]]


def following(page: dict[str, Any]) -> Request | None:
    """The request of the next link."""
    for link in page["links"]:
        if link["rel"] == "next":
            return Request(link["href"], link.get("body"))
    return None
