"""The built-in issuer: its signing key, the tokens it signs, and what it publishes about itself."""

from __future__ import annotations

import secrets
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from joserfc import jwt
from joserfc.jwk import RSAKey

from graticule.access.roles import Role
from graticule.access.store import catalog_id, ensure_secret
from graticule.database import Database
from graticule.sealing import Sealer
from graticule.settings import Settings

ALGORITHM: Final = "RS256"
#: Subject of tokens for whoever can read the data folder.
LOCAL_SUBJECT: Final = "local"


@dataclass(frozen=True, slots=True)
class IssuedToken:
    """A token and its end."""

    token: str
    #: Seconds since 1970 UTC.
    expires_at: int


class Issuer:
    """Signs tokens in the name of one catalog. Needs no server: whoever opens the database can issue."""

    def __init__(self, catalog_id: str, key: RSAKey, audience: str, *, clock: Callable[[], float] = time.time) -> None:
        """Take the parts; `open_issuer` finds them in the database."""
        self.catalog_id = catalog_id
        #: The ``iss`` claim. A URN, so that it stays the same behind any port, host or proxy.
        self.name = f"urn:graticule:{catalog_id}"
        self.audience = audience
        self._key = key
        self._clock = clock

    def issue(self, role: Role, expires_in: timedelta, subject: str = LOCAL_SUBJECT) -> str:
        """Sign a bearer token for a role."""
        return self.issue_with_expiry(role, expires_in, subject).token

    def issue_with_expiry(self, role: Role, expires_in: timedelta, subject: str = LOCAL_SUBJECT) -> IssuedToken:
        """As `issue`, for callers that must say when the token ends."""
        now = int(self._clock())
        expires_at = now + int(expires_in.total_seconds())
        claims = {
            "iss": self.name,
            "aud": self.audience,
            "sub": subject,
            # Entra tokens name the caller's object by a GUID here, and clients log it.
            "oid": str(uuid.uuid5(uuid.UUID(self.catalog_id), subject)),
            "roles": [role.value],
            "iat": now,
            "nbf": now,
            "exp": expires_at,
            "jti": secrets.token_urlsafe(16),
        }
        token = jwt.encode({"alg": ALGORITHM, "kid": self.key_id}, claims, self._key, algorithms=[ALGORITHM])
        return IssuedToken(token, expires_at)

    @property
    def key_id(self) -> str:
        """The ``kid`` of the signing key: its thumbprint (RFC 7638)."""
        return self._key.thumbprint()

    @property
    def public_key(self) -> RSAKey:
        """The key that verifies these tokens; it holds no private part."""
        return RSAKey.import_key(self._key.as_dict(private=False))

    def jwks(self) -> dict[str, Any]:
        """The key set to publish (RFC 7517 section 5): public parts only."""
        parameters = {"kid": self.key_id, "use": "sig", "alg": ALGORITHM}
        return {"keys": [self._key.as_dict(private=False, **parameters)]}

    def discovery(self, base_url: str) -> dict[str, Any]:
        """The discovery document to publish under a base URL.

        It says where the keys are. The issuer is a URN and not this URL, so a client that wants discovery is given
        the document's address (OpenID Connect Discovery section 4 would derive it from the issuer).
        """
        return {
            "issuer": self.name,
            "jwks_uri": f"{base_url.rstrip('/')}/identity/keys",
            "response_types_supported": ["token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": [ALGORITHM],
            "claims_supported": ["iss", "aud", "sub", "oid", "roles", "iat", "nbf", "exp", "jti"],
        }


def open_issuer(database: Database, sealer: Sealer, settings: Settings) -> Issuer:
    """The issuer of the catalog in a database; on first use, in whichever process, its key is made.

    Raises:
        SealBroken: the key was sealed under another master key.
    """
    pem = ensure_secret(database, sealer, "signing-key", _new_private_key)
    return Issuer(catalog_id(database), RSAKey.import_key(pem), settings.audience[0])


def audience_name(text: str) -> str:
    """An audience without the spellings that mean the same: a trailing slash, ``/.default`` of a scope."""
    return text.strip().removesuffix("/.default").rstrip("/")


def _new_private_key() -> bytes:
    return RSAKey.generate_key(2048).as_pem(private=True)
