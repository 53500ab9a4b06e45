"""The managed-identity protocol of App Service: how unmodified Azure clients on this machine get a token.

``azure.identity`` asks ``GET {IDENTITY_ENDPOINT}?resource=…&api-version=2019-08-01`` with the header
``X-IDENTITY-HEADER``, over plain http too. Whoever knows the header value and is on this machine is an administrator:
``graticule env`` hands the value to those who can read the data folder.
"""

from __future__ import annotations

import hmac
import ipaddress
import secrets
from datetime import timedelta
from typing import Any, Final

from graticule.access.issuer import LOCAL_SUBJECT, Issuer, audience_name
from graticule.access.roles import Role
from graticule.access.store import ensure_secret
from graticule.database import Database
from graticule.errors import Forbidden, InvalidParameter, Unauthorized
from graticule.sealing import Sealer
from graticule.settings import Settings

API_VERSION: Final = "2019-08-01"
#: As long as tokens of the service live; clients renew by themselves.
TOKEN_LIFE: Final = timedelta(hours=1)


class ManagedIdentity:
    """Answers token requests of local clients."""

    def __init__(self, issuer: Issuer, header: str, audiences: tuple[str, ...]) -> None:
        """Take the parts; `open_managed_identity` finds them."""
        self._issuer = issuer
        self._audiences = frozenset(audience_name(audience) for audience in audiences)
        #: What clients send in ``X-IDENTITY-HEADER``; a secret, the same at every start.
        self.header = header

    def token(
        self,
        *,
        peer: str | None,
        header: str | None,
        resource: str | None,
        api_version: str | None = API_VERSION,
        client_id: str | None = None,
    ) -> dict[str, Any]:
        """The answer to a token request.

        Args:
            peer: address of the other end of the connection; None if it is unknown.
            header: ``X-IDENTITY-HEADER`` as it came.
            resource: the audience asked for.
            api_version: of the protocol.
            client_id: which identity; there is one, so it is only repeated.

        Raises:
            Forbidden: the peer is not this machine.
            Unauthorized: the header is missing or wrong.
            InvalidParameter: another protocol version or resource.
        """
        if not _is_loopback(peer):
            raise Forbidden("The identity endpoint answers to clients on this machine only.")
        if header is None or not hmac.compare_digest(header.encode(), self.header.encode()):
            raise Unauthorized("X-IDENTITY-HEADER is missing or wrong: set IDENTITY_HEADER with `graticule env`.")
        if api_version not in {None, API_VERSION}:
            raise InvalidParameter(f"api-version must be {API_VERSION}.", target="api-version")
        if audience_name(resource or "") not in self._audiences:
            raise InvalidParameter(
                f"This identity has tokens for {self._issuer.audience} only, not for other resources.",
                target="resource",
            )
        issued = self._issuer.issue_with_expiry(Role.ADMINISTRATOR, TOKEN_LIFE, LOCAL_SUBJECT)
        return {
            "access_token": issued.token,
            "expires_on": str(issued.expires_at),
            "resource": resource,
            "token_type": "Bearer",
            "client_id": client_id or self._issuer.catalog_id,
        }


def open_managed_identity(database: Database, sealer: Sealer, settings: Settings, issuer: Issuer) -> ManagedIdentity:
    """The managed identity of the catalog in a database; its secret is made on first use."""
    header = ensure_secret(database, sealer, "identity-header", lambda: secrets.token_urlsafe(32).encode())
    return ManagedIdentity(issuer, header.decode(), settings.audience)


def _is_loopback(peer: str | None) -> bool:
    try:
        address = ipaddress.ip_address(peer or "")
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return bool((mapped or address).is_loopback)
