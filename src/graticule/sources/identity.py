"""Owns: this machine's own identities: to which hosts they may be shown, and the tokens of Azure's.

A token of a managed identity opens all that the identity may read, so it goes to Azure Blob hosts and nowhere else:
over https only, never along a redirect to another origin, whatever a source says. What is asked for a token is the
machine's own identity endpoint, by azure-identity; no address of a user's is.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final, Literal

from graticule.errors import (
    ManagedIdentityInfoNotFound,
    SourceAuthenticationFailed,
    SourceConnectionFailed,
)
from graticule.settings import Settings
from graticule.sources.guard import allowed_host
from graticule.sources.hrefs import Href

if TYPE_CHECKING:
    from azure.core.credentials import AccessToken
    from azure.core.credentials_async import AsyncTokenCredential

#: Accounts of Azure Blob: the public cloud, its zoned names, US Government, China and the former German cloud.
_AZURE: Final = re.compile(
    r"[a-z0-9]{3,24}(?:-secondary)?(?:\.z\d{1,3})?\.blob\."
    r"(?:core\.(?:windows\.net|usgovcloudapi\.net|chinacloudapi\.cn|cloudapi\.de)|storage\.azure\.net)\.?\Z"
)
#: Amazon S3, by path or by host: s3.eu-west-1.amazonaws.com, bucket.s3.amazonaws.com.
AMAZON: Final = re.compile(
    r"(?:(?P<bucket>[a-z0-9][a-z0-9.-]{1,61}[a-z0-9])\.)?s3(?:[.-](?P<region>[a-z]{2}(?:-[a-z0-9]+)+-\d))?"
    r"\.amazonaws\.com(?:\.cn)?\.?\Z"
)
_GOOGLE: Final = re.compile(r"storage\.googleapis\.com\.?\Z")
Cloud = Literal["azure", "aws", "google"]
_HOSTS: Final[dict[Cloud, re.Pattern[str]]] = {"azure": _AZURE, "aws": AMAZON, "google": _GOOGLE}

_SCOPE: Final = "https://storage.azure.com/.default"
#: A token is renewed when it is good for less than this, seconds.
_RENEW_BEFORE: Final = 300.0
#: Longest wait for the identity endpoint, seconds.
_PATIENCE: Final = 10.0


def bears_identity(href: Href, settings: Settings, cloud: Cloud) -> bool:
    """May this machine's identity in a cloud be shown to the host of an href?"""
    if href.scheme != "https":
        return False
    if any(allowed_host(entry).matches(href) for entry in settings.machine_identity_hosts):
        return True
    return _HOSTS[cloud].match(href.host) is not None


class Tokens:
    """Access tokens of managed identities, kept until shortly before they end."""

    def __init__(self, settings: Settings, clock: Callable[[], float] = time.time) -> None:
        """Take another clock, for tests."""
        self._settings = settings
        self._clock = clock
        self._kept: dict[tuple[str | None, str | None], AccessToken] = {}
        self._asking: dict[tuple[str | None, str | None], asyncio.Lock] = {}

    async def token(self, object_id: str | None, client_id: str | None) -> str:
        """A token for Azure Storage, of the identity with one of these ids.

        Raises:
            ManagedIdentityInfoNotFound: this machine has no such identity, or may not use it.
            SourceAuthenticationFailed: the identity endpoint refuses it.
            SourceConnectionFailed: the identity endpoint does not answer.
        """
        named = object_id or client_id or ""
        allowed = self._settings.machine_identity
        if "azure" not in allowed and "azure-default" not in allowed:
            raise ManagedIdentityInfoNotFound(
                "Managed identities are switched off here: an operator adds azure to GRATICULE_MACHINE_IDENTITY."
            )
        if self._settings.managed_identities and named not in self._settings.managed_identities:
            raise ManagedIdentityInfoNotFound(
                f"The managed identity {named} is none of GRATICULE_MANAGED_IDENTITIES: attach it, or name another."
            )
        key = (object_id, client_id)
        async with self._asking.setdefault(key, asyncio.Lock()):
            kept = self._kept.get(key)
            if kept is None or kept.expires_on - self._clock() < _RENEW_BEFORE:
                kept = self._kept[key] = await self._ask(object_id, client_id, named)
            return kept.token

    async def _ask(self, object_id: str | None, client_id: str | None, named: str) -> AccessToken:
        # azure-identity is a large import, and few catalogs need it.
        from azure.core.exceptions import AzureError, ClientAuthenticationError  # noqa: PLC0415
        from azure.identity import CredentialUnavailableError  # noqa: PLC0415

        # The causes are cut off: their texts quote what the endpoint said.
        try:
            async with asyncio.timeout(_PATIENCE), self._credential(object_id, client_id) as credential:
                return await credential.get_token(_SCOPE)
        except CredentialUnavailableError:
            raise ManagedIdentityInfoNotFound(
                f"This machine has no managed identity {named}, or its identity endpoint does not answer: attach the"
                " identity to the machine, or use a source with a SAS token."
            ) from None
        except ClientAuthenticationError:
            raise SourceAuthenticationFailed(
                f"The identity endpoint of this machine gives no token for the managed identity {named}: check that it"
                " is attached, and what it may do."
            ) from None
        except (AzureError, TimeoutError, ValueError):
            raise SourceConnectionFailed(
                f"The identity endpoint of this machine did not answer in time for the managed identity {named}."
            ) from None

    def _credential(self, object_id: str | None, client_id: str | None) -> AsyncTokenCredential:
        from azure.identity.aio import (  # noqa: PLC0415
            ChainedTokenCredential,
            DefaultAzureCredential,
            ManagedIdentityCredential,
        )

        identity = ManagedIdentityCredential(
            client_id=client_id,
            identity_config={"object_id": object_id} if client_id is None and object_id else None,
            retry_total=1,  # the fetcher tries again by itself
        )
        if "azure-default" not in self._settings.machine_identity:
            return identity
        return ChainedTokenCredential(identity, DefaultAzureCredential(managed_identity_client_id=client_id))


#: Gives a token: object id, client id → the token's text.
GetToken = Callable[[str | None, str | None], Awaitable[str]]
