from __future__ import annotations

import base64
import json
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from graticule.access import Issuer, Role, open_identity, open_issuer
from graticule.access.issuer import audience_name
from graticule.database import Database
from graticule.sealing import SealBroken, Sealer
from graticule.settings import AUDIENCE, Settings


@pytest.fixture
def database(each_database: Database) -> Database:
    """On SQLite and on PostgreSQL."""
    return each_database


@pytest.fixture
def opened(database: Database, sealer: Sealer, settings: Settings) -> Issuer:
    return open_issuer(database, sealer, settings)


def segment(token: str, index: int) -> Any:
    text = token.split(".")[index]
    return json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))


def test_a_token_carries_what_clients_of_the_service_look_for(issuer: Issuer) -> None:
    token = issuer.issue(Role.READER, timedelta(minutes=5), "notebook")

    header, claims = segment(token, 0), segment(token, 1)
    assert header == {"typ": "JWT", "alg": "RS256", "kid": issuer.key_id}
    assert claims["iss"] == f"urn:graticule:{issuer.catalog_id}"
    assert claims["aud"] == AUDIENCE
    assert claims["sub"] == "notebook"
    assert claims["roles"] == ["GeoCatalog Reader"]
    assert claims["exp"] - claims["iat"] == 300
    assert claims["nbf"] == claims["iat"]
    assert claims["oid"]
    assert claims["jti"]


def test_two_tokens_differ(issuer: Issuer) -> None:
    life = timedelta(hours=1)
    assert issuer.issue(Role.READER, life) != issuer.issue(Role.READER, life)


async def test_the_issuer_is_the_same_when_opened_again(
    opened: Issuer, database: Database, sealer: Sealer, settings: Settings
) -> None:
    again = open_issuer(database, sealer, settings)

    assert again.name == opened.name
    await open_identity(again, settings).authenticate(opened.issue(Role.READER, timedelta(hours=1)))


def test_the_private_key_is_not_readable_in_the_database(opened: Issuer, database: Database) -> None:
    assert opened.key_id
    sealed: str = database.read_now(lambda tx: tx.value("SELECT sealed FROM access_secrets"))
    assert b"PRIVATE KEY" not in base64.b64decode(sealed)


def test_another_master_key_does_not_open_the_signing_key(
    opened: Issuer, database: Database, settings: Settings
) -> None:
    assert opened.key_id
    with pytest.raises(SealBroken, match=r"secret\.key"):
        open_issuer(database, Sealer(b"another master key, as long as it must be"), settings)


def test_published_keys_hold_no_private_part(issuer: Issuer) -> None:
    (key,) = issuer.jwks()["keys"]
    assert set(key) == {"kty", "n", "e", "kid", "use", "alg"}
    assert key["kid"] == issuer.key_id


def test_discovery_says_where_the_keys_are(issuer: Issuer) -> None:
    document = issuer.discovery("https://catalog.example/base/")
    assert document["issuer"] == issuer.name
    assert document["jwks_uri"] == "https://catalog.example/base/identity/keys"


def test_processes_that_start_together_share_one_key(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "graticule", "token", "--data-dir", str(tmp_path / "new")]
    started = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    tokens = [process.communicate(timeout=60)[0].strip() for process in started]

    assert [process.returncode for process in started] == [0] * 3
    assert len({segment(token, 0)["kid"] for token in tokens}) == 1
    assert len({segment(token, 1)["iss"] for token in tokens}) == 1


@pytest.mark.parametrize("text", [AUDIENCE, AUDIENCE + "/", AUDIENCE + "/.default", AUDIENCE + "//.default"])
def test_spellings_of_an_audience_are_one(text: str) -> None:
    assert audience_name(text) == AUDIENCE
