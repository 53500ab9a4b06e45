from __future__ import annotations

import json
import os
import time
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import azure.identity
import azure.identity.aio
import pytest

from graticule.access import Role, open_identity, open_issuer
from graticule.cli.shim import find_real_az, write_shim
from graticule.database import SqliteDatabase
from graticule.sealing import open_sealer
from graticule.settings import AUDIENCE, load_settings

if TYPE_CHECKING:
    from cli.conftest import Run

GET_TOKEN = ("account", "get-access-token")


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    return tmp_path / "the data"


@pytest.fixture
def shim(data_dir: Path) -> Path:
    return write_shim(data_dir / "bin", data_dir)


@pytest.fixture
def real_az(tmp_path: Path) -> Path:
    """Stands for the Azure CLI: prints what it was called with."""
    path = tmp_path / "real" / "az"
    path.parent.mkdir()
    path.write_text('#!/bin/sh\necho "real az:" "$@"\nexit 7\n')
    path.chmod(0o755)
    return path


def on_path(*programs: Path) -> dict[str, str]:
    return {"PATH": os.pathsep.join([*(str(program.parent) for program in programs), "/usr/bin", "/bin"])}


async def roles(token: str, data_dir: Path) -> frozenset[Role]:
    settings = load_settings(data_dir=data_dir)
    database = SqliteDatabase(settings.database_path)
    try:
        issuer = open_issuer(database, open_sealer(settings), settings)
        return (await open_identity(issuer, settings).authenticate(token)).roles
    finally:
        database.close()


# --- as azure-identity calls it


@pytest.fixture
def shell(shim: Path, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {**environment, **on_path(shim)}.items():
        monkeypatch.setenv(name, value)


@pytest.mark.usefixtures("shell")
async def test_the_azure_cli_credential_logs_in(data_dir: Path) -> None:
    token = azure.identity.AzureCliCredential(process_timeout=60).get_token(f"{AUDIENCE}/.default")

    assert 3500 < token.expires_on - time.time() <= 3600
    assert await roles(token.token, data_dir) == {Role.ADMINISTRATOR}


@pytest.mark.usefixtures("shell")
async def test_the_asynchronous_azure_cli_credential_logs_in(data_dir: Path) -> None:
    tenant = "11111111-2222-3333-4444-555555555555"
    async with azure.identity.aio.AzureCliCredential(tenant_id=tenant, process_timeout=60) as credential:
        token = await credential.get_token(f"{AUDIENCE}/.default")

    assert await roles(token.token, data_dir) == {Role.ADMINISTRATOR}


# --- as scripts call it


@pytest.mark.parametrize(
    "arguments",
    [
        ("--resource", AUDIENCE),
        ("--resource", f"{AUDIENCE}/"),
        (f"--resource={AUDIENCE}",),
        ("--scope", f"{AUDIENCE}/.default"),
        ("-o", "json", "--tenant", "x", "--subscription", "y", "--resource", AUDIENCE),
    ],
)
def test_a_token_for_this_catalog_has_the_answers_of_az(run: Run, shim: Path, arguments: tuple[str, ...]) -> None:
    result = run(*GET_TOKEN, *arguments, program=shim, more=on_path(shim))

    assert result.returncode == 0, result.stderr
    answer = json.loads(result.stdout)
    assert set(answer) == {"accessToken", "expiresOn", "expires_on", "subscription", "tenant", "tokenType"}
    local = datetime.strptime(answer["expiresOn"], "%Y-%m-%d %H:%M:%S.%f")  # noqa: DTZ007 - local, as az has it
    assert local.timestamp() == answer["expires_on"]


def test_a_single_field_can_be_asked_for(run: Run, shim: Path) -> None:
    arguments = (*GET_TOKEN, "--resource", AUDIENCE, "--query", "accessToken", "--output", "tsv")
    result = run(*arguments, program=shim, more=on_path(shim))

    assert result.returncode == 0, result.stderr
    assert result.stdout.count(".") == 2
    assert result.stdout.startswith("ey")


def test_a_field_that_is_not_there_is_a_clear_failure(run: Run, shim: Path) -> None:
    result = run(*GET_TOKEN, "--resource", AUDIENCE, "--query", "[0]", program=shim, more=on_path(shim))

    assert result.returncode == 1
    assert "accessToken" in result.stderr


def test_a_catalog_that_cannot_be_opened_is_a_clear_failure(run: Run, shim: Path, data_dir: Path) -> None:
    (data_dir / "graticule.db").write_bytes(b"not a database at all" * 100)
    result = run(*GET_TOKEN, "--resource", AUDIENCE, program=shim, more=on_path(shim))

    assert result.returncode == 1
    assert result.stdout == ""
    assert result.stderr.startswith("ERROR: The database ")
    assert "az login" not in result.stderr  # azure-identity would tell the user to do that


# --- everything else


NOT_OURS = [
    ("login",),
    (),
    ("--version",),
    (*GET_TOKEN, "--resource", "https://storage.azure.com"),
    (*GET_TOKEN, "--scope", "https://storage.azure.com/.default"),
    (*GET_TOKEN, "--scope", f"{AUDIENCE}/.default", "https://storage.azure.com/.default"),
    GET_TOKEN,
    (*GET_TOKEN, "--help"),
    (*GET_TOKEN, "--resource", AUDIENCE, "--output", "yaml"),
    (*GET_TOKEN, "--resource-type", "arm"),
]


@pytest.mark.parametrize("arguments", NOT_OURS)
def test_the_rest_is_done_by_the_real_az(
    run: Run, shim: Path, real_az: Path, data_dir: Path, arguments: tuple[str, ...]
) -> None:
    result = run(*arguments, program=shim, more=on_path(shim, real_az))

    assert result.stdout == " ".join(("real az:", *arguments)) + "\n"
    assert result.returncode == 7
    assert not (data_dir / "graticule.db").exists()


def test_arguments_reach_the_real_az_unchanged(run: Run, shim: Path, real_az: Path) -> None:
    real_az.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    arguments = ("rest", "--body", '{"a b": "$HOME"}', "", "it's")
    assert run(*arguments, program=shim, more=on_path(shim, real_az)).stdout == "\n".join(arguments) + "\n"


def test_without_a_real_az_the_message_says_so(run: Run, shim: Path) -> None:
    result = run("login", program=shim, more={"PATH": str(shim.parent)})

    assert result.returncode == 127
    assert "graticule env" in result.stderr


def test_shims_of_other_catalogs_are_passed_over(run: Run, shim: Path, real_az: Path, tmp_path: Path) -> None:
    other = write_shim(tmp_path / "other" / "bin", tmp_path / "other")
    copied = tmp_path / "linked" / "az"
    copied.parent.mkdir()
    copied.symlink_to(shim)

    assert run("login", program=shim, more=on_path(shim, other, copied, real_az)).stdout == "real az: login\n"


def test_only_an_executable_file_is_the_real_az(real_az: Path, tmp_path: Path) -> None:
    (tmp_path / "folder" / "az").mkdir(parents=True)
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "az").write_text("not a program")
    folders = [tmp_path / "missing", tmp_path / "folder", tmp_path / "text", real_az.parent]

    assert find_real_az(os.pathsep.join(map(str, folders))) == str(real_az)
    assert find_real_az(os.pathsep.join(map(str, folders[:-1]))) is None
