"""Owns: managed storage that is not this host's: a bucket of S3 (or of what speaks it), a container of Azure Blob.

One bucket holds all: containers are the first segments of its keys, below the prefix of ``GRATICULE_STORAGE_URL``.
Credentials are the environment's or the host's role, found by obstore as the clouds' own clients find them; none is a
setting of ours.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final

import obstore
from obstore.store import AzureStore, ObjectStore, S3Store

from graticule.errors import InternalError, InternalIntermittentError, NotFound, SettingsError
from graticule.settings import Settings

#: Within a minute: who waits for an interactive post should hear of a storage that is down.
_RETRIES: Final[Any] = {
    "max_retries": 6,
    "retry_timeout": timedelta(seconds=30),
    "backoff": {"init_backoff": timedelta(milliseconds=100), "max_backoff": timedelta(seconds=5), "base": 2},
}
#: Of one request with its body; what is read or sent in one is at most `remote.SEND_PART` bytes.
_TIMEOUT: Final = timedelta(seconds=30)
#: Codes of an answer that will be the same until an operator does something.
_LASTING: Final = re.compile(r"\b(301|400|401|403|404) [A-Z]")
#: Where clouds tell a host its role.
_METADATA: Final = "//169.254."
_STATUS: Final = re.compile(r"status code: ([1-5]\d\d [A-Za-z ]+)")
_CODE: Final = re.compile(r"<Code>(\w{1,80})</Code>")


@dataclass(frozen=True, slots=True)
class Bucket:
    """An opened bucket."""

    store: ObjectStore = field(repr=False)
    #: For people: as the setting has it.
    place: str
    #: Where the service is, if it is not the cloud's own.
    endpoint: str | None = None
    #: Does the service compare what it gets with a SHA-256 that is sent along? Else it is read back.
    checks_uploads: bool = False


def open_bucket(settings: Settings) -> Bucket:
    """The bucket that ``GRATICULE_STORAGE_URL`` names; nothing is asked of the service yet.

    Raises:
        SettingsError: what the environment says cannot be right: an unknown name, no account.
    """
    assert settings.storage_url is not None
    kind, _, rest = settings.storage_url.partition("://")
    name, _, prefix = rest.partition("/")
    options: dict[str, Any] = {
        "prefix": prefix or None,
        "retry_config": _RETRIES,
        "client_options": {"timeout": _TIMEOUT, "user_agent": "graticule"},
    }
    config: Any = {}
    if settings.storage_endpoint is not None:
        config["endpoint"] = settings.storage_endpoint
        options["client_options"]["allow_http"] = settings.storage_endpoint.startswith("http://")
    try:
        if kind == "s3":
            config["checksum_algorithm"] = "SHA256"
            store: ObjectStore = S3Store(name, config=config, **options)
        else:
            store = AzureStore(name, config=config, **options)
    except (obstore.exceptions.BaseError, ValueError) as exc:
        raise SettingsError(
            f"GRATICULE_STORAGE_URL: {settings.storage_url} cannot be opened with this environment:"
            f" {_first_line(exc)}. An Azure container needs AZURE_STORAGE_ACCOUNT_NAME."
        ) from None
    return Bucket(store, settings.storage_url, settings.storage_endpoint, checks_uploads=kind == "s3")


async def check(bucket: Bucket) -> None:
    """Ask the service for the bucket's first names, so that a wrong setting is found at the start.

    Raises:
        SettingsError: the bucket is not there, or may not be listed with the credentials of the environment.
        InternalIntermittentError: the service does not answer.
    """
    try:
        await obstore.list(bucket.store, chunk_size=1).__anext__()
    except StopAsyncIteration:
        return
    except (obstore.exceptions.BaseError, FileNotFoundError) as exc:
        if _LASTING.search(_first_line(exc)):
            raise SettingsError(
                f"GRATICULE_STORAGE_URL: {bucket.place} cannot be read: {reason(exc)}. Make the bucket or container,"
                " and give the credentials of the environment or the host's role the right to list, read, write and"
                " delete in it."
            ) from None
        raise InternalIntermittentError(f"Managed storage {bucket.place} does not answer: {reason(exc)}.") from None


def reason(exc: BaseException) -> str:
    """What a service said, as status and code: whole texts hold addresses, signatures and session tokens."""
    text = str(exc)
    if _METADATA in text:  # where obstore asks last
        return "there are no credentials in the environment, and this host has no role"
    found = [match[1].strip() for match in (_STATUS.search(text), _CODE.search(text)) if match is not None]
    return ", ".join(found) or ("no connection" if "HTTP error" in text else type(exc).__name__)


@contextlib.contextmanager
def faults(name: str) -> Iterator[None]:
    """What obstore raises over an object, as errors of ours; their causes are cut off, for they hold whole URLs.

    Raises:
        InternalIntermittentError, InternalError: as it is.
    """
    try:
        yield
    except obstore.exceptions.BaseError as exc:
        raise InternalIntermittentError(f"Managed storage fails on {name}: {reason(exc)}.") from None
    except FileNotFoundError as exc:
        # Where an object may be missing, the caller has caught this; here it is what the object was to lie in.
        raise InternalIntermittentError(f"Managed storage cannot take {name}: {reason(exc)}.") from None
    except ValueError as exc:
        raise InternalError(f"{name!r} is no name of a stored object.") from exc


@contextlib.contextmanager
def missing(name: str) -> Iterator[None]:
    """An object that is not there, as NotFound."""
    try:
        yield
    except FileNotFoundError:
        raise NotFound(f"The stored object {name} does not exist.") from None


def _first_line(exc: BaseException) -> str:
    return re.sub(r"\?\S*", "", str(exc).partition("\n")[0])[:300]
