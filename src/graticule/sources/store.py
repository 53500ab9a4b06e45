"""Owns: the table of registered sources: plain functions for the caller's transaction. Secrets come and go sealed."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any, Final

import orjson

from graticule.database import Connection, Row
from graticule.errors import Conflict, NotFound
from graticule.sources.hrefs import Href
from graticule.sources.models import (
    GCS,
    KINDS,
    LOCAL_ORIGIN,
    MANAGED_IDENTITY,
    S3,
    SAS_TOKEN,
    Definition,
    Source,
    origin_of,
)
from graticule.sources.places import FileHref, ObjectHref
from graticule.stac.datetimes import now_us

_COLUMNS: Final = "id, kind, container_url, created, object_id, expires, warning, details"


def add(tx: Connection, definition: Definition, sealed: bytes | None, warning: str | None) -> Source:
    """Register a source under a new id.

    Raises:
        Conflict: its container has one.
    """
    check_free(tx, definition.container_url)
    source_id = str(uuid.uuid4())
    tx.execute(
        f"INSERT INTO ingestion_sources({_COLUMNS}, origin, sealed) VALUES(:id, :kind, :url, :created, :object_id,"
        " :expires, :warning, :details, :origin, :sealed)",
        {"id": source_id, "created": now_us(), **_values(definition, sealed, warning)},
    )
    return get(tx, source_id)


def replace(
    tx: Connection, source_id: str, definition: Definition, sealed: bytes | None, warning: str | None
) -> Source:
    """Replace a source; id and creation time stay.

    Raises:
        NotFound: there is none of this id.
        Conflict: another source has the container.
    """
    get(tx, source_id)
    check_free(tx, definition.container_url, but=source_id)
    tx.execute(
        "UPDATE ingestion_sources SET kind=:kind, origin=:origin, container_url=:url, sealed=:sealed,"
        " object_id=:object_id, expires=:expires, warning=:warning, details=:details WHERE id=:id",
        {"id": source_id, **_values(definition, sealed, warning)},
    )
    return get(tx, source_id)


def remove(tx: Connection, source_id: str) -> None:
    """Forget a source. Raises NotFound."""
    if not tx.execute("DELETE FROM ingestion_sources WHERE id=:id", {"id": source_id}):
        raise _missing(source_id)


def get(tx: Connection, source_id: str) -> Source:
    """One source. Raises NotFound."""
    row = tx.one(f"SELECT {_COLUMNS} FROM ingestion_sources WHERE id=:id", {"id": source_id})
    if row is None:
        raise _missing(source_id)
    return _source(row)


def token(tx: Connection, source_id: str) -> bytes | None:
    """The sealed secret of a source."""
    sealed: bytes | None = tx.value("SELECT sealed FROM ingestion_sources WHERE id=:id", {"id": source_id})
    return sealed


def listing(tx: Connection, *, top: int, skip: int) -> list[Source]:
    """Sources in the order in which they were registered."""
    rows = tx.all(
        f"SELECT {_COLUMNS} FROM ingestion_sources ORDER BY pk LIMIT :top OFFSET :skip", {"top": top, "skip": skip}
    )
    return [_source(row) for row in rows]


def check_free(tx: Connection, container_url: str, *, but: str | None = None) -> None:
    """Raises Conflict, where a source (but this one) has the container."""
    row = tx.one("SELECT id, kind FROM ingestion_sources WHERE container_url=:url", {"url": container_url})
    if row is not None and row["id"] != but:
        kind = KINDS[row["kind"]]
        article = "an" if row["kind"] == S3 else "a"
        raise Conflict(
            f"Container url {container_url} already contains {article} {kind} ingestion source with id {row['id']}.",
            target="connectionInfo.containerUrl",
        )


def covering(tx: Connection, href: Href) -> tuple[Source, bytes | None] | None:
    """The source whose container an href lies in, and its sealed secret; the innermost where there are several."""
    rows = tx.all(
        f"SELECT {_COLUMNS}, sealed FROM ingestion_sources WHERE origin=:origin ORDER BY length(container_url) DESC",
        {"origin": origin_of(href)},
    )
    asked = f"{origin_of(href, short=True)}{href.path}"
    return next(((_source(row), row["sealed"]) for row in rows if _holds(row["container_url"], asked)), None)


def covers_file(tx: Connection, place: FileHref) -> bool:
    """Does a file lie in a registered folder?"""
    rows = tx.all("SELECT container_url FROM ingestion_sources WHERE origin=:origin", {"origin": LOCAL_ORIGIN})
    return any(_holds(row[0], place.url) for row in rows)


def holding(tx: Connection, place: ObjectHref) -> Sequence[str]:
    """Container addresses of the sources that an object lies in, at whichever endpoints; the innermost first."""
    kinds = {"s3": (S3,), "gs": (GCS,), "az": (SAS_TOKEN, MANAGED_IDENTITY)}[place.scheme]
    names = ", ".join(f"'{kind}'" for kind in kinds)
    rows = tx.all(
        f"SELECT container_url FROM ingestion_sources WHERE kind IN ({names}) ORDER BY length(container_url) DESC, pk"
    )
    found = []
    for (url,) in rows:
        path = "/" + url.split("/", 3)[3]
        if _holds(path, place.path) and path.split("/")[1] == place.bucket:
            found.append(url)
    return found


def _holds(container: str, asked: str) -> bool:
    return asked.startswith(f"{container}/")


def _values(definition: Definition, sealed: bytes | None, warning: str | None) -> dict[str, Any]:
    return {
        "kind": definition.kind,
        "origin": definition.origin,
        "url": definition.container_url,
        "sealed": sealed,
        "object_id": definition.object_id,
        "expires": definition.expires,
        "warning": warning,
        "details": orjson.dumps(dict(definition.details)).decode() if definition.details else None,
    }


def _source(row: Row) -> Source:
    return Source(
        id=row["id"],
        kind=row["kind"],
        container_url=row["container_url"],
        created=row["created"],
        object_id=row["object_id"],
        expires=row["expires"],
        warning=row["warning"],
        details=orjson.loads(row["details"] or "{}"),
    )


def _missing(source_id: str) -> NotFound:
    return NotFound(f"Ingestion source '{source_id}' does not exist.", target="id")
