"""What a static catalog's documents say: where one leads, and an item made ready for its collection.

Sources: STAC Catalog specification 1.0.0 ("Link types"), best practices ("Catalog links": absolute and relative ones),
RFC 3986 section 5.2 for relative references.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import orjson

from graticule.errors import (
    ImportFileValidationFailed,
    IngestionError,
    InvalidAssetHref,
    InvalidInputData,
    InvalidStacCatalog,
)
from graticule.ingestion.copying import original_key
from graticule.ingestion.validation import check_shape
from graticule.sources import join, parse_place, redact
from graticule.stac.documents import Item
from graticule.storage import ManagedHrefs

#: Catalogs within catalogs, at most.
MAX_DEPTH: Final = 50
_SCHEME: Final = re.compile(r"^[A-Za-z][A-Za-z0-9+.-]*:")


@dataclass(frozen=True, slots=True)
class Met:
    """A link that a walk follows, or cannot follow."""

    #: Absolute.
    url: str
    is_item: bool
    #: Why it cannot be followed.
    error: IngestionError | None = None

    @property
    def hash(self) -> bytes:
        """Stands for the URL: 128 bits of SHA-256. An item and a document of one URL are one link."""
        return url_hash(self.url)


def url_hash(url: str) -> bytes:
    """As `Met.hash`; the fragment names a part of the same document."""
    return hashlib.sha256(url.partition("#")[0].encode("utf-8", "surrogatepass")).digest()[:16]


def links_of(text: bytes, url: str) -> list[Met]:
    """The ``child`` and ``item`` links of a Catalog or Collection that was read from a URL.

    Raises:
        ImportFileValidationFailed: it is no JSON.
        InvalidStacCatalog: it is neither Catalog nor Collection.
    """
    shown = redact(url)
    try:
        document = orjson.loads(text)
    except orjson.JSONDecodeError as exc:
        raise ImportFileValidationFailed(f"{shown} is no JSON: {exc}.") from None
    kind = document.get("type") if isinstance(document, dict) else None
    # Before STAC 1.0 a Catalog had no type.
    if kind not in {"Catalog", "Collection"} and not (
        isinstance(document, dict) and kind is None and "stac_version" in document
    ):
        what = "an Item" if kind == "Feature" else f"a {kind}" if isinstance(kind, str) else "something else"
        raise InvalidStacCatalog(f"{shown} is {what[:40]}, not a STAC Catalog or Collection: give the URL of one.")
    links = document.get("links")
    if not isinstance(links, list):
        raise InvalidStacCatalog(f"{shown} has no list of 'links': its children and items cannot be found.")
    return list(_met(links, url))


def resolved(href: str, base: str) -> str:
    """The absolute form of an href in a document: one that is absolute stays as it was written, byte for byte."""
    return href if _SCHEME.match(href) else join(base, href)


def ready_item(document: Any, collection_id: str, base: str | None, hrefs: ManagedHrefs, *, origin: str) -> Item:
    """An item from a catalog, of the collection that it is ingested into, with absolute hrefs.

    Args:
        document: what was read; changed in place.
        collection_id: of the run; the collection that the document names need not be the same (product.md 6.2).
        base: URL that the document was read from; None: a row of a table, whose hrefs must be absolute.
        hrefs: of this catalog; a document from elsewhere has no claim on its files.
        origin: URL of what the document came in, itself or a table; only a local one may name local files.

    Raises:
        InvalidInputData: it is no Item.
        InvalidAssetHref: an asset's href is of the catalog's own storage, or a local file that it may not name.
    """
    if not isinstance(document, dict):
        raise InvalidInputData("The document is no JSON object: an Item is one.")
    document["collection"] = collection_id
    for link in (*_members(document.get("links")), *_members(document.get("assets"))):
        href = link.get("href")
        if isinstance(href, str) and base is not None:
            link["href"] = resolved(href, base)
    item = check_shape(document, collection_id)
    for key, asset in item.get("assets", {}).items():
        if hrefs.locate(asset["href"], ()) is not None or (_is_local(asset["href"]) and not _is_local(origin)):
            raise InvalidAssetHref(f"Item '{item['id']}', asset '{key}': the href is none that a catalog may name.")
    return item


def check_originals(item: Item) -> None:
    """The keys of kept source files must be free.

    Raises:
        InvalidInputData: two assets would have one key.
    """
    assets = item.get("assets", {})
    for key in assets:
        if original_key(key) in assets:
            raise InvalidInputData(
                f"Item '{item['id']}' has the assets '{key}' and '{original_key(key)}', where keepOriginalAssets would"
                " put the source file: rename the second, or set that to false."
            )


# --- inside


def _met(links: list[Any], url: str) -> Iterator[Met]:
    for link in links:
        rel = link.get("rel") if isinstance(link, dict) else None
        if rel not in {"child", "item"}:
            continue
        href = link.get("href")
        if not isinstance(href, str) or not href:
            problem = f"{redact(url)} has a link of relation '{rel}' without an href."
            yield Met(url, rel == "item", InvalidStacCatalog(problem))
            continue
        target = resolved(href, url)
        try:
            _check_link(target, url)
        except InvalidAssetHref as exc:
            yield Met(target, rel == "item", InvalidStacCatalog(f"{redact(url)} has a bad link. {exc.message}"))
        else:
            yield Met(target, rel == "item")


def _check_link(target: str, url: str) -> None:
    parse_place(target)
    if _is_local(target) and not _is_local(url):
        raise InvalidAssetHref(f"{redact(target)} is a local file, which only a local catalog may name.")


def _is_local(href: str) -> bool:
    return href[:5].lower() == "file:"


def _members(value: Any) -> list[dict[str, Any]]:
    """The objects in a list, or in an object; `check_shape` tells of anything else."""
    if isinstance(value, dict):
        value = list(value.values())
    return [entry for entry in value if isinstance(entry, dict)] if isinstance(value, list) else []
