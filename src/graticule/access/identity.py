"""From a bearer token to a principal: which issuers are trusted, and what a token must show.

The issuer's name only chooses *which* pinned rules apply. Algorithms and keys come from those rules, never from the
token: ``jwk``, ``jku``, ``x5u`` and ``x5c`` headers are not looked at (RFC 8725 sections 3.1 and 3.10).
"""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from joserfc import jws
from joserfc.errors import ExpiredTokenError, InvalidClaimError, JoseError, MissingClaimError
from joserfc.jwk import Key
from joserfc.jws import CompactSignature, JWSRegistry
from joserfc.jwt import JWTClaimsRegistry

from graticule.access.issuer import ALGORITHM, Issuer, audience_name
from graticule.access.keys import Keys, LocalKeys, RemoteKeys
from graticule.access.roles import Principal, Role, role_named, role_nicknamed
from graticule.errors import SettingsError, Unauthorized
from graticule.settings import Settings

#: Clocks of issuer and catalog may differ by this much, seconds.
LEEWAY_SECONDS: Final = 60
_MAX_TOKEN_CHARACTERS: Final = 16_384
_GUID = re.compile(r"^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$")

#: Tokens whose signature need not be checked again; a client uses one for an hour or so.
_REMEMBERED: Final = 1024

_MALFORMED = "The bearer token is not a JSON Web Token."


@dataclass(frozen=True)
class TrustedIssuer:
    """The pinned rules for the tokens of one issuer."""

    #: The ``iss`` claim, exactly.
    name: str
    #: Signature algorithms accepted.
    algorithms: tuple[str, ...]
    keys: Keys
    #: Claims that carry roles; dots descend into objects.
    role_claims: tuple[str, ...]
    #: From a claim's value to a role; other values are ignored.
    role_of: Callable[[str], Role | None]


@dataclass(frozen=True, slots=True)
class _Verified:
    """A token that was found good."""

    principal: Principal
    issuer: TrustedIssuer
    key_id: str
    key: Key
    #: The ``exp`` claim: from then on everything is checked again, and the leeway applied.
    expires: float


class Identity:
    """Checks bearer tokens. One per process and event loop."""

    def __init__(
        self,
        issuers: Iterable[TrustedIssuer],
        audiences: Sequence[str],
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Trust these issuers, for tokens meant for one of these audiences."""
        self._issuers = {issuer.name: issuer for issuer in issuers}
        self._clock = clock
        self._verified: OrderedDict[bytes, _Verified] = OrderedDict()
        self._audiences = frozenset(audience_name(audience) for audience in audiences)
        self._claims = JWTClaimsRegistry(
            now=lambda: int(clock()), leeway=LEEWAY_SECONDS, exp={"essential": True}, aud={"essential": True}
        )
        self._registries = {
            # Providers add headers of their own; unknown ones are ignored unless ``crit`` names them (RFC 7515 4.1.11).
            issuer.name: JWSRegistry(algorithms=issuer.algorithms, strict_check_header=False)
            for issuer in self._issuers.values()
        }

    async def authenticate(self, token: str) -> Principal:
        """The principal of a bearer token.

        Raises:
            Unauthorized: the token is not acceptable; the message says why, without a word of the token.
            Unavailable: the issuer's keys cannot be fetched.
        """
        digest = hashlib.sha256(token.encode("utf-8", "replace")).digest()
        known = self._verified.get(digest)
        if known is not None and await self._still_holds(known):
            return known.principal
        found = await self._verify(token)
        self._verified[digest] = found
        self._verified.move_to_end(digest)
        if len(self._verified) > _REMEMBERED:
            self._verified.popitem(last=False)
        return found.principal

    async def _still_holds(self, known: _Verified) -> bool:
        """Is the token not expired, and signed with a key that its issuer publishes to this day?

        Key sets are renewed with new key objects, so that after each renewal every token is checked in full once.
        """
        return self._clock() < known.expires and await known.issuer.keys.find(known.key_id) is known.key

    async def _verify(self, token: str) -> _Verified:
        signed, claims = _parse(token)
        issuer_name = claims.get("iss")
        issuer = self._issuers.get(issuer_name) if isinstance(issuer_name, str) else None
        if issuer is None:
            raise Unauthorized("The token comes from an issuer that this catalog does not trust.")
        key_id, key = await self._verify_signature(signed, issuer)
        self._check_claims(claims)
        principal = Principal(_subject(claims), _roles(claims, issuer), issuer.name)
        return _Verified(principal, issuer, key_id, key, claims["exp"])

    async def _verify_signature(self, signed: CompactSignature, issuer: TrustedIssuer) -> tuple[str, Key]:
        headers = signed.headers()
        if headers.get("alg") not in issuer.algorithms:
            raise Unauthorized("The token is signed with an algorithm that is not accepted from its issuer.")
        key_id = headers.get("kid")
        key = await issuer.keys.find(key_id) if isinstance(key_id, str) else None
        if key is None or not isinstance(key_id, str):
            raise Unauthorized("The token is signed with a key that its issuer does not publish.")
        try:
            genuine = jws.validate_compact(signed, key, issuer.algorithms, self._registries[issuer.name])
        except (JoseError, ValueError, TypeError) as exc:
            raise Unauthorized("The token's signature cannot be checked.") from exc
        if not genuine:
            raise Unauthorized("The token's signature is wrong.")
        return key_id, key

    def _check_claims(self, claims: dict[str, Any]) -> None:
        try:
            self._claims.validate(claims)
        except ExpiredTokenError as exc:
            raise Unauthorized("The token has expired: get a new one.") from exc
        except MissingClaimError as exc:
            raise Unauthorized("The token lacks a claim: exp and aud are required.") from exc
        except InvalidClaimError as exc:
            if exc.claim in {"nbf", "iat"}:
                raise Unauthorized("The token is not valid yet: compare the clocks of issuer and catalog.") from exc
            raise Unauthorized("The token has a claim of the wrong form.") from exc
        meant_for = claims["aud"] if isinstance(claims["aud"], list) else [claims["aud"]]
        if self._audiences.isdisjoint(audience_name(audience) for audience in meant_for):
            raise Unauthorized("The token is meant for another audience: ask for one of this catalog's.")


def open_identity(issuer: Issuer, settings: Settings) -> Identity:
    """Trust the catalog's own issuer and those that the settings name.

    Raises:
        SettingsError: an issuer in the settings cannot work.
    """
    issuers = [
        TrustedIssuer(
            issuer.name,
            (ALGORITHM,),
            LocalKeys({issuer.key_id: issuer.public_key}),
            ("roles",),
            lambda value: role_named(value) or role_nicknamed(value),
        )
    ]
    if settings.oidc_issuer:
        issuers.append(_oidc_issuer(settings.oidc_issuer, settings))
    if settings.entra_tenant:
        issuers.extend(_entra_issuers(settings.entra_tenant, settings))
    return Identity(issuers, settings.audience)


def _oidc_issuer(name: str, settings: Settings) -> TrustedIssuer:
    return TrustedIssuer(
        name,
        settings.oidc_algorithms,
        RemoteKeys(name, jwks_url=settings.oidc_jwks_url),
        (settings.oidc_role_claim,),
        _mapped_roles(settings.oidc_role_map),
    )


def _entra_issuers(tenant: str, settings: Settings) -> list[TrustedIssuer]:
    """The names under which one Microsoft Entra tenant issues; which one depends on the application asked for."""
    if not _GUID.match(tenant):
        raise SettingsError(
            "GRATICULE_ENTRA_TENANT must be the tenant's id, a GUID: names and `common` are not pinned."
        )
    tenant = tenant.lower()
    authority = settings.entra_authority.rstrip("/")
    # v1 tokens name one of these hosts, v2 tokens the authority; keys always come from the one authority set.
    names = {
        f"https://sts.windows.net/{tenant}/",
        f"https://sts.chinacloudapi.cn/{tenant}/",
        f"https://login.microsoftonline.com/{tenant}/v2.0",
        f"{authority}/{tenant}/v2.0",
    }

    def is_for_tenant(key: Mapping[str, Any]) -> bool:
        # Entra marks keys with the issuer they serve; those of other tenants prove nothing here.
        issuer = key.get("issuer")
        return issuer is None or (isinstance(issuer, str) and issuer.replace("{tenantid}", tenant) in names)

    keys = RemoteKeys(
        f"{authority}/{tenant}", jwks_url=f"{authority}/{tenant}/discovery/v2.0/keys", accept=is_for_tenant
    )
    claims = tuple(dict.fromkeys(("roles", settings.oidc_role_claim)))
    role_of = _mapped_roles(settings.oidc_role_map)
    return [TrustedIssuer(name, (ALGORITHM,), keys, claims, role_of) for name in sorted(names)]


def _mapped_roles(role_map: Mapping[str, str]) -> Callable[[str], Role | None]:
    mapped = {value: role_nicknamed(role) for value, role in role_map.items()}
    return lambda value: mapped.get(value) or role_named(value)


def _parse(token: str) -> tuple[CompactSignature, dict[str, Any]]:
    """The parts of a token; nothing in them is to be believed yet."""
    if len(token) > _MAX_TOKEN_CHARACTERS or not token.isascii():
        raise Unauthorized(_MALFORMED)
    try:
        signed = jws.extract_compact(token.encode("ascii"))
        claims = json.loads(signed.payload)
        headers = signed.headers()
    except (JoseError, ValueError, TypeError, AttributeError, RecursionError) as exc:
        raise Unauthorized(_MALFORMED) from exc
    if not isinstance(claims, dict) or not isinstance(headers, dict):
        raise Unauthorized(_MALFORMED)
    return signed, claims


def _subject(claims: Mapping[str, Any]) -> str:
    # Entra's sub differs per application, its oid is the person; client-credential tokens may have neither.
    for name in ("oid", "sub", "azp", "client_id"):
        value = claims.get(name)
        if isinstance(value, str) and value:
            return value
    raise Unauthorized("The token names no subject.")


def _roles(claims: Mapping[str, Any], issuer: TrustedIssuer) -> frozenset[Role]:
    values = (value for path in issuer.role_claims for value in _claim_values(claims, path))
    return frozenset(role for value in values if (role := issuer.role_of(value)) is not None)


def _claim_values(claims: Mapping[str, Any], path: str) -> list[str]:
    """The texts under a claim: of its literal name (some contain dots, being URLs), else by descent."""
    found: Any = claims.get(path)
    if found is None:
        found = claims
        for step in path.split("."):
            found = found.get(step) if isinstance(found, dict) else None
    if isinstance(found, str):
        return [found]
    return [value for value in found if isinstance(value, str)] if isinstance(found, list) else []
