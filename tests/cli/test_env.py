from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from graticule.access import prepare_tls
from graticule.cli.address import DEFAULT_URL, read_address, write_address

if TYPE_CHECKING:
    from cli.conftest import Run


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    return tmp_path / "my 'quoted' $HOME data"  # whatever a folder's name holds, the shell must get it back


def evaluated(exports: str, environment: dict[str, str]) -> dict[str, str]:
    """The environment of a shell after it has evaluated exports."""
    script = 'eval "$1"; env -0'
    command = ["/bin/sh", "-c", script, "sh", exports]
    output = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    return dict(entry.split("=", 1) for entry in output.split("\0") if entry)


def exports(run: Run, data_dir: Path, environment: dict[str, str]) -> dict[str, str]:
    result = run("env", "--data-dir", data_dir, more=environment)
    assert result.returncode == 0, result.stderr
    return evaluated(result.stdout, environment)


def test_a_shell_gets_the_url_the_identity_and_the_path(run: Run, data_dir: Path, environment: dict[str, str]) -> None:
    variables = exports(run, data_dir, environment)

    assert variables["GRATICULE_URL"] == DEFAULT_URL
    assert variables["GRATICULE_DATA_DIR"] == str(data_dir)
    assert variables["IDENTITY_ENDPOINT"] == f"{DEFAULT_URL}/identity/token"
    assert len(variables["IDENTITY_HEADER"]) >= 40
    assert variables["PATH"] == f"{data_dir}/bin:{environment['PATH']}"
    assert "REQUESTS_CA_BUNDLE" not in variables
    assert (data_dir / "bin" / "az").stat().st_mode & 0o777 == 0o700


def test_a_second_evaluation_changes_nothing(run: Run, data_dir: Path, environment: dict[str, str]) -> None:
    first = exports(run, data_dir, environment)
    assert exports(run, data_dir, first) == first


def test_a_running_server_gives_its_url(run: Run, data_dir: Path, environment: dict[str, str]) -> None:
    data_dir.mkdir(parents=True)
    write_address(data_dir, "https://127.0.0.1:9443/")

    variables = exports(run, data_dir, environment)
    assert variables["GRATICULE_URL"] == "https://127.0.0.1:9443"
    assert variables["IDENTITY_ENDPOINT"] == "https://127.0.0.1:9443/identity/token"


def test_with_tls_clients_are_told_what_to_trust(run: Run, data_dir: Path, environment: dict[str, str]) -> None:
    files = prepare_tls(data_dir)
    variables = exports(run, data_dir, environment)

    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"):
        assert variables[name] == str(files.bundle)
    assert variables["NODE_EXTRA_CA_CERTS"] == str(files.authority)


def test_settings_are_shown_as_variables_with_secrets_masked(run: Run, data_dir: Path) -> None:
    more = {
        "GRATICULE_SECRET_KEY": "do not show this to anybody, please",
        "GRATICULE_FETCH_ALLOW": "a.example, 10.0.0.0/8",
    }
    result = run("env", "--settings", "--data-dir", data_dir, more=more)

    assert result.returncode == 0
    assert "please" not in result.stdout
    lines = dict(line.split("=", 1) for line in result.stdout.splitlines())
    assert lines["GRATICULE_SECRET_KEY"] == "**********"
    assert lines["GRATICULE_FETCH_ALLOW"] == "a.example,10.0.0.0/8"
    assert lines["GRATICULE_DATA_DIR"] == str(data_dir)
    assert lines["GRATICULE_OIDC_ROLE_MAP"] == "{}"
    assert not data_dir.exists()


@pytest.mark.parametrize("noted", [None, "", "{", "[]", "{}", '{"url": 7}', '{"url": "javascript:x"}'])
def test_without_a_usable_note_the_url_is_the_default(tmp_path: Path, noted: str | None) -> None:
    if noted is not None:
        (tmp_path / "serve.json").write_text(noted)
    assert read_address(tmp_path) == DEFAULT_URL


def test_the_note_holds_url_and_process(tmp_path: Path) -> None:
    write_address(tmp_path, "http://127.0.0.1:8080/")
    noted = json.loads((tmp_path / "serve.json").read_text())

    assert noted["url"] == "http://127.0.0.1:8080"
    assert isinstance(noted["pid"], int)
    assert [path.name for path in tmp_path.iterdir()] == ["serve.json"]
