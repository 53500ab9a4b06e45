from __future__ import annotations

import base64
import json
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from graticule.access import Role, open_identity, open_issuer
from graticule.database import SqliteDatabase
from graticule.sealing import open_sealer
from graticule.settings import load_settings

if TYPE_CHECKING:
    from cli.conftest import Run


def claims(token: str) -> Any:
    text = token.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))


async def roles(token: str, data_dir: Path) -> frozenset[Role]:
    settings = load_settings(data_dir=data_dir)
    database = SqliteDatabase(settings.database_path)
    try:
        issuer = open_issuer(database, open_sealer(settings), settings)
        return (await open_identity(issuer, settings).authenticate(token)).roles
    finally:
        database.close()


def the_token(result: subprocess.CompletedProcess[str]) -> str:
    """The one line on stdout."""
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    assert result.stdout.count("\n") == 1
    return result.stdout.strip()


async def test_a_catalog_never_started_gives_a_token_that_it_accepts_later(run: Run, tmp_path: Path) -> None:
    data_dir = tmp_path / "never" / "started"
    token = the_token(run("token", "--data-dir", data_dir))

    assert claims(token)["exp"] - claims(token)["iat"] == 12 * 3600
    assert await roles(token, data_dir) == {Role.ADMINISTRATOR}


async def test_a_running_catalog_gives_a_token(run: Run, tmp_path: Path) -> None:
    settings = load_settings(data_dir=tmp_path / "data")
    sealer = open_sealer(settings)
    server = SqliteDatabase(settings.database_path)  # another process has the database open, and its key in memory
    issuer = open_issuer(server, sealer, settings)

    token = the_token(run("token", "--data-dir", settings.data_dir, "--role", "reader", "--expires-in", "90s"))

    assert claims(token)["exp"] - claims(token)["iat"] == 90
    assert (await open_identity(issuer, settings).authenticate(token)).roles == {Role.READER}
    server.close()


def test_the_data_folder_may_come_from_the_environment(run: Run, tmp_path: Path) -> None:
    the_token(run("token", more={"GRATICULE_DATA_DIR": str(tmp_path / "data")}))
    assert (tmp_path / "data" / "graticule.db").exists()


def test_the_default_data_folder_is_the_users(run: Run, environment: dict[str, str]) -> None:
    the_token(run("token"))
    assert list(Path(environment["HOME"]).rglob("graticule.db"))


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--role", "owner"), "administrator"),
        (("--expires-in", "12"), "90s, 30m, 12h or 7d"),
        (("--expires-in", "-1h"), "--expires-in"),
        (("--expires-in", "0s"), "365d"),
        (("--expires-in", "366d"), "365d"),
        (("--data-dir", "/proc/no/such"), "/proc/no/such"),
        (("--no-such-option",), "--no-such-option"),
        (("surplus",), "surplus"),
    ],
)
def test_a_failure_is_one_line_on_stderr(run: Run, tmp_path: Path, arguments: tuple[str, ...], says: str) -> None:
    result = run("token", *arguments, more={"GRATICULE_DATA_DIR": str(tmp_path / "data")})

    assert result.returncode == 2
    assert result.stdout == ""
    assert result.stderr.startswith("graticule: ")
    assert result.stderr.count("\n") == 1
    assert says in result.stderr


def test_a_changed_master_key_is_a_clear_failure(run: Run, tmp_path: Path) -> None:
    more = {"GRATICULE_DATA_DIR": str(tmp_path / "data"), "GRATICULE_SECRET_KEY": "a" * 32}
    the_token(run("token", more=more))

    result = run("token", more={**more, "GRATICULE_SECRET_KEY": "b" * 32})
    assert result.returncode == 2
    assert "GRATICULE_SECRET_KEY" in result.stderr
    assert "bbbb" not in result.stderr


def test_a_database_that_is_none_is_a_clear_failure(run: Run, tmp_path: Path) -> None:
    (tmp_path / "graticule.db").write_bytes(b"not a database at all" * 100)

    result = run("token", "--data-dir", tmp_path)
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1
    assert "database" in result.stderr
