"""Owns: having a storage service copy bytes itself, so that they do not pass through this process.

S3 copies within a bucket (CopyObject). Azure Blob fetches what a URL answers (Copy Blob From URL, synchronous), within
the account and from others. Where a service does not, the answer is False, and the caller sends the bytes; what was
copied is for the caller to verify.
"""

from __future__ import annotations

import logging
import re
from datetime import timedelta
from typing import Final

import obstore
from obstore.store import AzureStore, S3Store

from graticule.storage.buckets import Bucket, reason

log = logging.getLogger(__name__)

#: Most that Azure copies while one waits, bytes (Copy Blob From URL, "Request body").
_MOST_AZURE: Final = 256 << 20
#: Most that S3 copies in one request, bytes (CopyObject).
_MOST_S3: Final = 5 << 30
#: Azure Blob's own hosts, sovereign clouds included.
_AZURE: Final = re.compile(
    r"^https://[a-z0-9-]+\.blob\.(core\.(windows\.net|usgovcloudapi\.net|chinacloudapi\.cn)|storage\.azure\.net)/"
)
_LIFE: Final = timedelta(minutes=15)
_TIMEOUT_SECONDS: Final = 300
_CONNECT_SECONDS: Final = 5


def may_fetch(bucket: Bucket, origin: str) -> bool:
    """Can the service be asked to fetch this itself? Only what lies in Azure Blob: it is told the token besides."""
    if not isinstance(bucket.store, AzureStore):
        return False
    return bool(_AZURE.match(origin)) or (bucket.endpoint is not None and origin.startswith(f"{bucket.endpoint}/"))


async def within(bucket: Bucket, source: str, name: str, size: int) -> bool:
    """Copy an object of a bucket to another name in it; True if the service has done it.

    Args:
        bucket: both lie in it.
        source: the name of what is copied.
        name: the new name.
        size: bytes.
    """
    store = bucket.store
    if isinstance(store, AzureStore):
        try:
            address = await obstore.sign_async(store, "GET", source, _LIFE)
        except (obstore.exceptions.BaseError, ValueError) as exc:
            return _not_done(name, reason(exc))
        return await from_url(bucket, name, address, size)
    if not isinstance(store, S3Store) or size > _MOST_S3:
        return False
    try:
        await obstore.copy_async(store, source, name)
    except (obstore.exceptions.BaseError, FileNotFoundError) as exc:
        return _not_done(name, reason(exc))
    return True


async def from_url(bucket: Bucket, name: str, origin: str, size: int) -> bool:
    """Have Azure Blob fetch what a URL answers; True if it has. S3 cannot.

    Args:
        bucket: where it is to lie.
        name: as what.
        origin: the URL, with whatever opens it: a SAS token. It goes to the service, and into no log.
        size: bytes.
    """
    if not isinstance(bucket.store, AzureStore) or size > _MOST_AZURE:
        return False
    import aiohttp  # noqa: PLC0415 - slow to import, and most assets are copied otherwise
    from yarl import URL  # noqa: PLC0415 - as above

    timeout = aiohttp.ClientTimeout(total=_TIMEOUT_SECONDS, connect=_CONNECT_SECONDS)
    headers = {"x-ms-copy-source": origin, "x-ms-requires-sync": "true", "x-ms-version": "2023-11-03"}
    try:
        address = await obstore.sign_async(bucket.store, "PUT", name, _LIFE)
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.put(URL(address, encoded=True), headers=headers, allow_redirects=False) as response,
        ):
            done = response.status == 202 and response.headers.get("x-ms-copy-status", "success") == "success"
            said = f"{response.status} {response.headers.get('x-ms-error-code', '')}".strip()
    except (obstore.exceptions.BaseError, ValueError) as exc:  # credentials that sign nothing
        return _not_done(name, reason(exc))
    except (aiohttp.ClientError, TimeoutError, OSError) as exc:
        return _not_done(name, type(exc).__name__)
    return done or _not_done(name, said)


def _not_done(name: str, why: str) -> bool:
    log.info("not copied by the storage service: %s", why, extra={"action": "remote_copy_refused", "blob": name})
    return False
