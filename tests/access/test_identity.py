from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256
from joserfc import jwt
from joserfc.jwk import ECKey, Key, RSAKey
from joserfc.jws import JWSRegistry

from graticule.access import Identity, Issuer, Role, open_identity
from graticule.access.identity import TrustedIssuer
from graticule.access.keys import LocalKeys, RemoteKeys
from graticule.errors import SettingsError, Unauthorized, Unavailable
from graticule.settings import AUDIENCE, Settings

if TYPE_CHECKING:
    from access.conftest import JsonServer, MakeSettings

TENANT = "11111111-2222-3333-4444-555555555555"
OTHER_TENANT = "99999999-2222-3333-4444-555555555555"

#: Making RSA keys is slow; these stand for the keys of providers and of forgers.
PROVIDER_KEY = RSAKey.generate_key(2048)
FORGER_KEY = RSAKey.generate_key(2048)


def sign(claims: dict[str, Any], key: Key = PROVIDER_KEY, *, alg: str = "RS256", **header: Any) -> str:
    registry = JWSRegistry(algorithms=[alg], strict_check_header=False)
    return jwt.encode({"alg": alg, "kid": key.thumbprint(), **header}, claims, key, registry=registry)


def claims_of(issuer: str, **overrides: Any) -> dict[str, Any]:
    now = int(time.time())
    claims = {"iss": issuer, "aud": AUDIENCE, "sub": "someone", "iat": now, "nbf": now, "exp": now + 600}
    return {name: value for name, value in {**claims, **overrides}.items() if value is not None}


def published(*keys: Key, **parameters: Any) -> dict[str, Any]:
    return {
        "keys": [{**key.as_dict(private=False), "kid": key.thumbprint(), "use": "sig", **parameters} for key in keys]
    }


def identity_of(issuer: str, key: Key = PROVIDER_KEY, *, clock: Callable[[], float] = time.time) -> Identity:
    keys = LocalKeys({key.thumbprint(): key})
    trusted = TrustedIssuer(issuer, ("RS256",), keys, ("roles",), lambda value: Role.__members__.get(value.upper()))
    return Identity([trusted], [AUDIENCE], clock=clock)


# --- our own tokens


@pytest.mark.parametrize("role", list(Role))
async def test_our_own_token_is_accepted(issuer: Issuer, settings: Settings, role: Role) -> None:
    principal = await open_identity(issuer, settings).authenticate(issuer.issue(role, timedelta(minutes=1)))

    assert principal.roles == {role}
    assert principal.issuer == issuer.name


async def test_an_unknown_role_is_ignored() -> None:
    token = sign(claims_of("urn:test", roles=["Owner", 7, None, "reader"]))
    assert (await identity_of("urn:test").authenticate(token)).roles == {Role.READER}


async def test_a_token_without_roles_has_none() -> None:
    assert (await identity_of("urn:test").authenticate(sign(claims_of("urn:test")))).roles == frozenset()


# --- forgeries


def unsigned(claims: dict[str, Any], **header: Any) -> str:
    return ".".join((encoded({"alg": "none", **header}), encoded(claims), ""))


def encoded(content: Any) -> str:
    raw = content if isinstance(content, bytes) else json.dumps(content).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def signed_with_public_key_as_secret(claims: dict[str, Any], key: RSAKey) -> str:
    signing_input = f"{encoded({'alg': 'HS256', 'kid': key.thumbprint()})}.{encoded(claims)}"
    digest = hmac.new(key.as_pem(private=False), signing_input.encode(), hashlib.sha256).digest()
    return f"{signing_input}.{encoded(digest)}"


def signed_by_hand(claims: dict[str, Any], **header: Any) -> str:
    """A genuine signature over a header that the library would not sign."""
    signing_input = f"{encoded({'alg': 'RS256', **header})}.{encoded(claims)}"
    assert PROVIDER_KEY.private_key is not None
    signature = PROVIDER_KEY.private_key.sign(signing_input.encode(), PKCS1v15(), SHA256())
    return f"{signing_input}.{encoded(signature)}"


def forgeries() -> dict[str, str]:
    good = claims_of("urn:test", roles=["administrator"])
    now = good["iat"]
    genuine = sign(good)
    head, body, signature = genuine.split(".")
    kid = PROVIDER_KEY.thumbprint()
    forger_jwk = FORGER_KEY.as_dict(private=False)
    lifted = encoded({**good, "sub": "another"})
    return {
        "alg none": unsigned(good, kid=kid),
        "alg None": unsigned(good, alg="None", kid=kid),
        "alg none with the genuine signature": f"{encoded({'alg': 'none', 'kid': kid})}.{body}.{signature}",
        "HS256 with the public key as secret": signed_with_public_key_as_secret(good, PROVIDER_KEY),
        "an algorithm that is not pinned": sign(good, alg="RS384"),
        "PSS with the right key": sign(good, alg="PS256"),
        "another key under the right kid": sign(good, FORGER_KEY, kid=kid),
        "another key": sign(good, FORGER_KEY),
        "another key, brought along as jwk": sign(good, FORGER_KEY, kid=kid, jwk=forger_jwk),
        "another key, brought along as jku": sign(good, FORGER_KEY, jku="http://127.0.0.1:1/keys"),
        "another key, brought along as x5u": sign(good, FORGER_KEY, x5u="http://127.0.0.1:1/cert"),
        "no kid": jwt.encode({"alg": "RS256"}, good, PROVIDER_KEY),
        "a kid that is no text": f"{encoded({'alg': 'RS256', 'kid': ['x']})}.{body}.{signature}",
        "a kid that looks like a path": sign(good, kid="../../dev/null"),
        "an unknown critical header": signed_by_hand(good, kid=kid, crit=["x"], x=1),
        "wrong audience": sign({**good, "aud": "https://storage.azure.com"}),
        "audience with a longer name": sign({**good, "aud": AUDIENCE + ".evil.example"}),
        "audience of no text": sign({**good, "aud": {"x": AUDIENCE}}),
        "no audience": sign({name: value for name, value in good.items() if name != "aud"}),
        "wrong issuer": sign({**good, "iss": "urn:other"}),
        "issuer with a slash": sign({**good, "iss": "urn:test/"}),
        "no issuer": sign({name: value for name, value in good.items() if name != "iss"}),
        "issuer of no text": sign({**good, "iss": ["urn:test"]}),
        "expired": sign({**good, "exp": now - 61}),
        "no end": sign({name: value for name, value in good.items() if name != "exp"}),
        "end of no number": sign({**good, "exp": "never"}),
        "not valid yet": sign({**good, "nbf": now + 120}),
        "no subject": sign({name: value for name, value in good.items() if name != "sub"}),
        "claims changed": f"{head}.{lifted}.{signature}",
        "truncated": genuine[:-8],
        "signature missing": f"{head}.{body}.",
        "two parts": f"{head}.{body}",
        "five parts": f"{genuine}.x.y",
        "claims of no object": f"{head}.{encoded([1])}.{signature}",
        "header of no object": f"{encoded(['alg', 'kid'])}.{body}.{signature}",
        "header as text": f"{encoded('alg')}.{body}.{signature}",
        "deep nesting": f"{head}.{encoded(b'[' * 9000)}.{signature}",
        "not a token": "hello",
        "empty": "",
        "not ASCII": genuine + "é",
        "huge": "a" * 100_000,
    }


@pytest.mark.parametrize("name", forgeries())
async def test_a_forged_token_is_refused(name: str) -> None:
    token = forgeries()[name]
    with pytest.raises(Unauthorized) as caught:
        await identity_of("urn:test").authenticate(token)

    assert not token or token not in caught.value.message
    assert "someone" not in caught.value.message
    assert "urn:" not in caught.value.message


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        ({"exp": 1}, "expired"),
        ({"aud": "https://other.example"}, "another audience"),
        ({"iss": "urn:other"}, "issuer that this catalog does not trust"),
        ({"nbf": 99999999999}, "not valid yet"),
    ],
)
async def test_the_refusal_says_why(overrides: dict[str, Any], says: str) -> None:
    with pytest.raises(Unauthorized, match=says):
        await identity_of("urn:test").authenticate(sign(claims_of("urn:test", **overrides)))


async def test_clocks_may_differ_by_a_minute() -> None:
    now = time.time()
    token = sign(claims_of("urn:test", iat=int(now), nbf=int(now), exp=int(now) + 600))

    for skew in (-55, 655):
        await identity_of("urn:test", clock=lambda skew=skew: now + skew).authenticate(token)  # type: ignore[misc]
    for skew in (-65, 665):
        with pytest.raises(Unauthorized):
            await identity_of("urn:test", clock=lambda skew=skew: now + skew).authenticate(token)  # type: ignore[misc]


@pytest.mark.parametrize("audience", [AUDIENCE, AUDIENCE + "/", [AUDIENCE], ["https://other.example", AUDIENCE]])
async def test_spellings_of_the_audience_are_accepted(audience: Any) -> None:
    await identity_of("urn:test").authenticate(sign(claims_of("urn:test", aud=audience)))


async def test_a_header_that_is_not_critical_does_not_matter() -> None:
    token = signed_by_hand(claims_of("urn:test"), kid=PROVIDER_KEY.thumbprint(), x=1)
    await identity_of("urn:test").authenticate(token)


@pytest.mark.parametrize("kind", ["at+jwt", "JWT", "anything"])
async def test_the_type_header_does_not_matter(kind: str) -> None:
    await identity_of("urn:test").authenticate(sign(claims_of("urn:test"), typ=kind))


# --- an OIDC issuer by settings


def oidc(server: JsonServer, make_settings: MakeSettings, *keys: Key, **overrides: Any) -> Settings:
    server.documents["/keys"] = published(*keys or (PROVIDER_KEY,))
    server.documents["/.well-known/openid-configuration"] = {"issuer": server.url, "jwks_uri": f"{server.url}/keys"}
    return make_settings(oidc_issuer=server.url, **overrides)


async def test_an_oidc_issuer_is_found_by_discovery(
    issuer: Issuer, json_server: JsonServer, make_settings: MakeSettings
) -> None:
    identity = open_identity(issuer, oidc(json_server, make_settings))
    principal = await identity.authenticate(sign(claims_of(json_server.url, roles="geocatalog reader")))

    assert principal.roles == {Role.READER}
    assert principal.issuer == json_server.url


async def test_a_named_key_set_needs_no_discovery(
    issuer: Issuer, json_server: JsonServer, make_settings: MakeSettings
) -> None:
    settings = oidc(json_server, make_settings, oidc_jwks_url=f"{json_server.url}/keys")
    await open_identity(issuer, settings).authenticate(sign(claims_of(json_server.url)))

    assert json_server.asked == ["/keys"]


async def test_discovery_of_another_issuer_is_not_believed(
    issuer: Issuer, json_server: JsonServer, make_settings: MakeSettings
) -> None:
    settings = oidc(json_server, make_settings)
    json_server.documents["/.well-known/openid-configuration"]["issuer"] = "https://other.example"
    with pytest.raises(Unavailable):
        await open_identity(issuer, settings).authenticate(sign(claims_of(json_server.url)))


@pytest.mark.parametrize(
    ("claim", "claims"),
    [
        ("realm_access.roles", {"realm_access": {"roles": ["ops", "viewers"]}}),
        ("https://example.com/roles", {"https://example.com/roles": "viewers"}),
        ("groups", {"groups": ["viewers"]}),
    ],
)
async def test_roles_come_from_the_named_claim_through_the_map(
    issuer: Issuer, json_server: JsonServer, make_settings: MakeSettings, claim: str, claims: dict[str, Any]
) -> None:
    settings = oidc(json_server, make_settings, oidc_role_claim=claim, oidc_role_map={"viewers": "reader"})
    principal = await open_identity(issuer, settings).authenticate(sign(claims_of(json_server.url, **claims)))

    assert principal.roles == {Role.READER}


async def test_short_role_names_count_only_in_our_own_tokens(
    issuer: Issuer, json_server: JsonServer, make_settings: MakeSettings
) -> None:
    identity = open_identity(issuer, oidc(json_server, make_settings))
    principal = await identity.authenticate(sign(claims_of(json_server.url, roles=["administrator"])))

    assert principal.roles == frozenset()


async def test_elliptic_keys_work_where_the_settings_allow_them(
    issuer: Issuer, json_server: JsonServer, make_settings: MakeSettings
) -> None:
    key = ECKey.generate_key("P-256")
    token = sign(claims_of(json_server.url), key, alg="ES256")
    allowed = oidc(json_server, make_settings, key, oidc_algorithms=("ES256",))
    await open_identity(issuer, allowed).authenticate(token)

    with pytest.raises(Unauthorized, match="algorithm"):
        await open_identity(issuer, oidc(json_server, make_settings, key)).authenticate(token)


async def test_the_providers_key_does_not_sign_in_our_name(
    issuer: Issuer, json_server: JsonServer, make_settings: MakeSettings
) -> None:
    identity = open_identity(issuer, oidc(json_server, make_settings))
    for kid in (PROVIDER_KEY.thumbprint(), issuer.key_id):
        with pytest.raises(Unauthorized):
            await identity.authenticate(sign(claims_of(issuer.name, roles=["administrator"]), kid=kid))


async def test_keys_for_encryption_and_unknown_kinds_are_left_out(
    issuer: Issuer, json_server: JsonServer, make_settings: MakeSettings
) -> None:
    settings = oidc(json_server, make_settings)
    json_server.documents["/keys"] = {
        "keys": [
            {"kty": "AKP", "kid": "quantum"},
            "nonsense",
            {"kty": "RSA", "kid": "broken", "n": "!", "e": "AQAB"},
            *published(FORGER_KEY, use="enc")["keys"],
            *published(PROVIDER_KEY)["keys"],
        ]
    }
    identity = open_identity(issuer, settings)
    await identity.authenticate(sign(claims_of(json_server.url)))
    with pytest.raises(Unauthorized):
        await identity.authenticate(sign(claims_of(json_server.url), FORGER_KEY))


# --- keeping and renewing keys


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def remote_keys(server: JsonServer, clock: Clock) -> RemoteKeys:
    server.documents["/keys"] = published(PROVIDER_KEY)
    return RemoteKeys(server.url, jwks_url=f"{server.url}/keys", clock=clock)


async def test_known_keys_are_not_fetched_again(json_server: JsonServer) -> None:
    keys = remote_keys(json_server, Clock())
    for _ in range(3):
        assert await keys.find(PROVIDER_KEY.thumbprint()) is not None
    assert len(json_server.asked) == 1


async def test_a_new_key_is_found_but_unknown_ids_ask_only_every_half_minute(json_server: JsonServer) -> None:
    clock = Clock()
    keys = remote_keys(json_server, clock)
    await keys.find(PROVIDER_KEY.thumbprint())
    json_server.documents["/keys"] = published(PROVIDER_KEY, FORGER_KEY)

    clock.now += 29
    for number in range(5):
        assert await keys.find(f"unknown {number}") is None
    assert len(json_server.asked) == 1

    clock.now += 2
    assert await keys.find(FORGER_KEY.thumbprint()) is not None
    assert len(json_server.asked) == 2


async def test_keys_at_hand_keep_working_while_the_provider_fails(json_server: JsonServer) -> None:
    clock = Clock()
    keys = remote_keys(json_server, clock)
    await keys.find(PROVIDER_KEY.thumbprint())
    json_server.status = 500

    clock.now += 31
    assert await keys.find("unknown") is None
    assert await keys.find(PROVIDER_KEY.thumbprint()) is not None


@pytest.mark.parametrize("answer", [None, {}, {"keys": []}, {"keys": "x"}, ["keys"]])
async def test_without_any_key_the_answer_is_try_again(json_server: JsonServer, answer: Any) -> None:
    clock = Clock()
    keys = remote_keys(json_server, clock)
    if answer is None:
        json_server.status = 503
    json_server.documents["/keys"] = answer
    with pytest.raises(Unavailable, match="cannot be fetched"):
        await keys.find("any")

    json_server.status = 200
    json_server.documents["/keys"] = published(PROVIDER_KEY)
    clock.now += 6
    assert await keys.find(PROVIDER_KEY.thumbprint()) is not None


async def test_nobody_listening_is_try_again() -> None:
    keys = RemoteKeys("http://127.0.0.1:1", clock=Clock())
    with pytest.raises(Unavailable):
        await keys.find("any")


async def test_a_withdrawn_key_stops_working_after_the_next_renewal(json_server: JsonServer) -> None:
    clock = Clock()
    keys = remote_keys(json_server, clock)
    await keys.find(PROVIDER_KEY.thumbprint())
    json_server.documents["/keys"] = published(FORGER_KEY)

    clock.now += 3601
    assert await keys.find(PROVIDER_KEY.thumbprint()) is not None  # renewed beside the request, not before it
    assert keys._renewal is not None
    await keys._renewal
    assert await keys.find(PROVIDER_KEY.thumbprint()) is None


# --- Microsoft Entra


def entra(server: JsonServer, make_settings: MakeSettings, **overrides: Any) -> Settings:
    keys = published(PROVIDER_KEY, issuer="https://login.microsoftonline.com/{tenantid}/v2.0")
    server.documents[f"/{TENANT}/discovery/v2.0/keys"] = keys
    return make_settings(entra_tenant=TENANT, entra_authority=server.url, **overrides)


def v1_claims(tenant: str = TENANT, **overrides: Any) -> dict[str, Any]:
    return claims_of(
        f"https://sts.windows.net/{tenant}/",
        tid=tenant,
        ver="1.0",
        oid="0d9f8b1e-1111-2222-3333-444455556666",
        appid="04b07795-8ddb-461a-bbee-02f9e1bf7b46",
        scp="user_impersonation",
        **overrides,
    )


async def test_an_entra_v1_token_is_accepted(
    issuer: Issuer, json_server: JsonServer, make_settings: MakeSettings
) -> None:
    token = sign(v1_claims(roles=["GeoCatalog Administrator"]), x5t=PROVIDER_KEY.thumbprint(), nonce="entra adds some")
    principal = await open_identity(issuer, entra(json_server, make_settings)).authenticate(token)

    assert principal.roles == {Role.ADMINISTRATOR}
    assert principal.subject == "0d9f8b1e-1111-2222-3333-444455556666"


async def test_an_entra_v2_token_is_accepted_for_a_listed_application(
    issuer: Issuer, json_server: JsonServer, make_settings: MakeSettings
) -> None:
    application = "6388acc4-795e-43a9-a320-33075c1eb83b"
    token = sign(
        claims_of(
            f"https://login.microsoftonline.com/{TENANT}/v2.0", aud=application, ver="2.0", roles=["Catalog.Read"]
        )
    )
    role_map = {"Catalog.Read": "reader"}
    listed = entra(json_server, make_settings, audience=(AUDIENCE, application), oidc_role_map=role_map)
    assert (await open_identity(issuer, listed).authenticate(token)).roles == {Role.READER}

    with pytest.raises(Unauthorized, match="audience"):
        await open_identity(issuer, entra(json_server, make_settings)).authenticate(token)


async def test_another_tenant_is_refused(issuer: Issuer, json_server: JsonServer, make_settings: MakeSettings) -> None:
    with pytest.raises(Unauthorized, match="issuer"):
        await open_identity(issuer, entra(json_server, make_settings)).authenticate(sign(v1_claims(OTHER_TENANT)))


async def test_a_key_that_entra_marks_for_another_tenant_is_not_used(
    issuer: Issuer, json_server: JsonServer, make_settings: MakeSettings
) -> None:
    settings = entra(json_server, make_settings)
    foreign = published(FORGER_KEY, issuer=f"https://login.microsoftonline.com/{OTHER_TENANT}/v2.0")
    json_server.documents[f"/{TENANT}/discovery/v2.0/keys"]["keys"] += foreign["keys"]
    identity = open_identity(issuer, settings)

    await identity.authenticate(sign(v1_claims()))
    with pytest.raises(Unauthorized):
        await identity.authenticate(sign(v1_claims(), FORGER_KEY))


@pytest.mark.parametrize("tenant", ["common", "organizations", "contoso.onmicrosoft.com"])
def test_a_tenant_that_pins_nothing_is_refused(issuer: Issuer, make_settings: MakeSettings, tenant: str) -> None:
    with pytest.raises(SettingsError, match="GUID"):
        open_identity(issuer, make_settings(entra_tenant=tenant))
