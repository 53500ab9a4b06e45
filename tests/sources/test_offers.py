"""What a command of the user's own offers on loopback may be fetched, while it runs, and nothing beside it."""

from __future__ import annotations

import subprocess
import sys
from ipaddress import ip_address
from pathlib import Path

import pytest

from graticule.errors import SourceForbidden
from graticule.settings import load_settings
from graticule.sources import Guard, offer, parse_href

URL = "http://127.0.0.1:4711/secret/"


@pytest.fixture
def guard(tmp_path: Path) -> Guard:
    return Guard(load_settings(data_dir=tmp_path))


def admits(guard: Guard, url: str, address: str = "127.0.0.1") -> bool:
    return guard.admits(parse_href(url), ip_address(address))


def test_an_offer_opens_its_own_path_until_it_ends(guard: Guard, tmp_path: Path) -> None:
    assert not admits(guard, f"{URL}a.tif")
    with offer(tmp_path, URL):
        guard.check(parse_href(f"{URL}a.tif"))
        assert admits(guard, f"{URL}a.tif")
        assert admits(guard, f"{URL}deep/a.tif?query")
    assert not admits(guard, f"{URL}a.tif")
    with pytest.raises(SourceForbidden):
        guard.check(parse_href(f"{URL}a.tif"))
    assert list((tmp_path / "offers").iterdir()) == []


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("http://127.0.0.1:4711/", "127.0.0.1"),
        ("http://127.0.0.1:4711/?http://127.0.0.1:4711/secret/", "127.0.0.1"),
        ("http://127.0.0.1:4712/secret/a.tif", "127.0.0.1"),
        ("http://127.0.0.1:471/1/secret/a.tif", "127.0.0.1"),
        ("https://127.0.0.1:4711/secret/a.tif", "127.0.0.1"),
        ("http://127.0.0.2:4711/secret/a.tif", "127.0.0.2"),
        # The name's address is the resolver's to say; only an address written out is ours.
        ("http://localhost:4711/secret/a.tif", "127.0.0.1"),
        (f"{URL}a.tif", "169.254.169.254"),
        (f"{URL}a.tif", "10.0.0.1"),
    ],
)
def test_an_offer_opens_nothing_else(guard: Guard, tmp_path: Path, url: str, address: str) -> None:
    with offer(tmp_path, URL):
        assert not admits(guard, url, address)


def test_the_offer_of_a_killed_process_is_void_and_swept(guard: Guard, tmp_path: Path) -> None:
    code = (
        "import sys,os,pathlib;from graticule.sources import offer\nwith offer(pathlib.Path(sys.argv[1]), sys.argv[2]):"
    )
    code += "\n print('held', flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path), URL], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        assert admits(guard, f"{URL}a.tif")
        process.kill()
    assert not admits(guard, f"{URL}a.tif")
    assert list((tmp_path / "offers").iterdir()) == []
