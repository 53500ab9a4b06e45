"""Where a service listens, and where its address is noted."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from graticule.cli.address import DEFAULT_URL, address_of, read_address, write_address
from graticule.errors import SettingsError


@pytest.mark.parametrize(("host", "number"), [("127.0.0.1", "127.0.0.1"), ("::1", "::1"), ("0.0.0.0", "0.0.0.0")])
def test_numbers_stay_as_they_are(host: str, number: str) -> None:
    assert address_of(host, 80)[1][:2] == (number, 80)


def test_a_name_becomes_a_number_that_can_be_listened_at() -> None:
    family, address = address_of("localhost", 0)
    with socket.socket(family, socket.SOCK_STREAM) as listener:
        listener.bind(address)
    assert address[0] in {"127.0.0.1", "::1"}


@pytest.mark.parametrize("host", ["a..b", "a" * 70])
def test_what_is_no_address_is_a_setting_to_mend(host: str) -> None:
    with pytest.raises(SettingsError, match="--host"):
        address_of(host, 80)


def test_the_address_is_noted_for_other_commands(tmp_path: Path) -> None:
    assert read_address(tmp_path) == DEFAULT_URL
    write_address(tmp_path, "https://localhost:8443/")
    assert read_address(tmp_path) == "https://localhost:8443"
    (tmp_path / "serve.json").write_text("[]")
    assert read_address(tmp_path) == DEFAULT_URL
