"""Ingestions and runs as values, and how a definition is read from what clients send (api.md 3.2, 3.3)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Final

from graticule.errors import InvalidAssetHref, InvalidRequestBody, SourceForbidden
from graticule.sources import FileHref, Guard, Href, parse_place, redact
from graticule.workflows.journal import Operation

#: The purpose that URLs and documents of bulk runs are sealed for.
BULK: Final = "bulk"
#: Longer display names are refused, characters.
_LONGEST_NAME: Final = 500


class ImportType(StrEnum):
    """What an ingestion reads."""

    STATIC_CATALOG = "StaticCatalog"
    STAC_GEOPARQUET = "StacGeoparquet"

    @property
    def url_member(self) -> str:
        """The member that names the source."""
        return "sourceCatalogUrl" if self is ImportType.STATIC_CATALOG else "stacGeoparquetUrl"


@dataclass(frozen=True, slots=True)
class Definition:
    """What a client says of an ingestion."""

    import_type: ImportType
    #: The whole URL: its query may be a signature.
    url: str
    display_name: str | None = None
    #: Pass over ids that the collection has, instead of failing them.
    skip_existing: bool = False
    #: Keep the source file of every converted asset too.
    keep_originals: bool = False

    @property
    def shown_url(self) -> str:
        """The URL as it may be shown."""
        return redact(self.url)


@dataclass(frozen=True, slots=True)
class Ingestion:
    """A definition as it is kept; it does nothing until a run is made."""

    pk: int
    id: str
    collection_id: str
    import_type: ImportType
    display_name: str | None
    #: Without its query.
    url: str
    #: The whole URL, sealed.
    source: bytes
    skip_existing: bool
    keep_originals: bool
    #: µs since 1970.
    created: int


@dataclass(frozen=True, slots=True)
class Plan:
    """What a dry run found: what a run would do. Items are counted by the operation."""

    #: Assets that would be fetched, and of these, those whose kind of file is converted.
    fetched: int
    converted: int
    #: Assets that the source refuses, or that are too large.
    refused: int
    #: Assets whose source does not say how large they are.
    unknown: int
    #: Of the others.
    bytes: int


@dataclass(frozen=True, slots=True)
class Run:
    """A run: options frozen when it was made, and its operation, which has the same id."""

    operation: Operation
    ingestion_id: str
    parent: str | None
    import_type: ImportType
    url: str
    source: bytes
    skip_existing: bool
    keep_originals: bool
    dry: bool
    turn: int
    position: int
    added: int
    handed: int

    @property
    def pk(self) -> int:
        """Of its operation."""
        return self.operation.pk


def read_definition(document: Mapping[str, Any], guard: Guard) -> Definition:
    """Read an ingestion as clients send it: member names in any case.

    Raises:
        InvalidRequestBody: a member is missing or wrong; the message names it, and shows no query.
    """
    members = {name.lower(): value for name, value in document.items()}
    kind = _import_type(members.get("importtype"))
    return Definition(
        import_type=kind,
        url=_url(members.get(kind.url_member.lower()), kind, guard),
        display_name=_name(members.get("displayname")),
        skip_existing=_flag(members.get("skipexistingitems"), "skipExistingItems"),
        keep_originals=_flag(members.get("keeporiginalassets"), "keepOriginalAssets"),
    )


def patched(current: Definition, patch: Mapping[str, Any], guard: Guard) -> Definition:
    """The definition after a merge patch (RFC 7396); members that are read-only may come with any value.

    The URL as it is shown, without its query, means the one that is there.

    Raises:
        InvalidRequestBody: as in `read_definition`; also for another import type without its URL.
    """
    members = {name.lower(): value for name, value in patch.items()}
    kind = _import_type(members["importtype"]) if "importtype" in members else current.import_type
    changed = replace(current, import_type=kind)
    name = kind.url_member.lower()
    if kind is not current.import_type or (name in members and members[name] != current.shown_url):
        changed = replace(changed, url=_url(members.get(name), kind, guard))
    if "displayname" in members:
        changed = replace(changed, display_name=_name(members["displayname"]))
    if "skipexistingitems" in members:
        changed = replace(changed, skip_existing=_flag(members["skipexistingitems"], "skipExistingItems"))
    if "keeporiginalassets" in members:
        changed = replace(changed, keep_originals=_flag(members["keeporiginalassets"], "keepOriginalAssets"))
    return changed


# --- inside


def _import_type(value: object) -> ImportType:
    for kind in ImportType:
        if isinstance(value, str) and value.lower() == kind.lower():
            return kind
    raise InvalidRequestBody(f"The ingestion's 'importType' must be {' or '.join(ImportType)}.", target="importType")


def _url(value: object, kind: ImportType, guard: Guard) -> str:
    if not isinstance(value, str) or not value:
        raise InvalidRequestBody(
            f"An ingestion of type {kind} needs '{kind.url_member}': an absolute http(s) URL.", target=kind.url_member
        )
    try:
        place = parse_place(value)
        if isinstance(place, Href):
            guard.check(place)
        elif isinstance(place, FileHref):
            guard.check_file(place)
    except (InvalidAssetHref, SourceForbidden) as exc:
        raise InvalidRequestBody(f"'{kind.url_member}' cannot be read. {exc.message}", target=kind.url_member) from None
    return value


def _name(value: object) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str) or len(value) > _LONGEST_NAME:
        raise InvalidRequestBody(
            f"The 'displayName' must be text of at most {_LONGEST_NAME} characters.", target="displayName"
        )
    return value


def _flag(value: object, name: str) -> bool:
    if value is None:
        return False
    if not isinstance(value, bool):
        raise InvalidRequestBody(f"'{name}' must be true or false.", target=name)
    return value
