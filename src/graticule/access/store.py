"""The rows of identity and signed access: sealed secrets and a little state, each made once for all processes."""

from __future__ import annotations

import base64
import time
import uuid
from collections.abc import Callable

from graticule.database import Connection, Database
from graticule.sealing import Sealer


def ensure_secret(database: Database, sealer: Sealer, name: str, make: Callable[[], bytes]) -> bytes:
    """The secret of a name, made now if there is none.

    Processes that get here together may each make one; the first row stays and all of them return that.
    """
    sealed = database.read_now(lambda tx: _sealed(tx, name))
    if sealed is None:
        offered = base64.b64encode(sealer.seal(make(), _purpose(name))).decode()
        sealed = database.write_now(lambda tx: _keep(tx, "access_secrets", name, offered))
    return sealer.open(base64.b64decode(sealed), _purpose(name))


def ensure_state(database: Database, name: str, make: Callable[[], str]) -> str:
    """The value of a name, made now if there is none; as with `ensure_secret`, the first one stays."""
    value = database.read_now(lambda tx: read_state(tx, name))
    if value is None:
        offered = make()
        value = database.write_now(lambda tx: _keep(tx, "access_state", name, offered))
    return value


def catalog_id(database: Database) -> str:
    """The UUID of the catalog in a database; on first use, in whichever process, it is made."""
    return ensure_state(database, "catalog-id", lambda: str(uuid.uuid4()))


def read_state(tx: Connection, name: str) -> str | None:
    """The value of a name, or None."""
    value: str | None = tx.value("SELECT value FROM access_state WHERE name = :name", {"name": name})
    return value


def write_state(tx: Connection, name: str, value: str) -> None:
    """Replace the value of a name."""
    tx.execute(
        "INSERT INTO access_state (name, value, changed_at) VALUES (:name, :value, :now) "
        "ON CONFLICT (name) DO UPDATE SET value = excluded.value, changed_at = excluded.changed_at",
        {"name": name, "value": value, "now": _now()},
    )


def _sealed(tx: Connection, name: str) -> str | None:
    value: str | None = tx.value("SELECT sealed FROM access_secrets WHERE name = :name", {"name": name})
    return value


_COLUMNS = {"access_secrets": ("sealed", "created_at"), "access_state": ("value", "changed_at")}


def _keep(tx: Connection, table: str, name: str, offered: str) -> str:
    content, time_column = _COLUMNS[table]
    tx.execute(
        f"INSERT INTO {table} (name, {content}, {time_column}) VALUES (:name, :offered, :now) ON CONFLICT DO NOTHING",
        {"name": name, "offered": offered, "now": _now()},
    )
    kept: str = tx.value(f"SELECT {content} FROM {table} WHERE name = :name", {"name": name})
    return kept


def _now() -> int:
    return time.time_ns() // 1000


def _purpose(name: str) -> str:
    return f"access.{name}"
