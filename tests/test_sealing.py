"""Secrets at rest: what opens what, and how the key file comes to be."""

from __future__ import annotations

import stat
import threading
from pathlib import Path

import pytest

from graticule.errors import SettingsError
from graticule.sealing import SealBroken, Sealer, open_sealer, prepare_data_dir
from graticule.settings import Settings

KEY = b"k" * 32


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_what_is_sealed_opens_for_the_same_purpose_only() -> None:
    sealer = Sealer(KEY)
    sealed = sealer.seal(b"secret", "submission")
    assert sealer.open(sealed, "submission") == b"secret"
    with pytest.raises(SealBroken):
        sealer.open(sealed, "source")


def test_equal_secrets_look_different() -> None:
    sealer = Sealer(KEY)
    assert sealer.seal(b"secret", "x") != sealer.seal(b"secret", "x")
    assert b"secret" not in sealer.seal(b"secret", "x")


@pytest.mark.parametrize("place", [0, 8, 20, -1])
def test_changed_bytes_are_noticed(place: int) -> None:
    sealer = Sealer(KEY)
    sealed = bytearray(sealer.seal(b"secret", "x"))
    sealed[place] ^= 1
    with pytest.raises(SealBroken):
        sealer.open(bytes(sealed), "x")


def test_another_master_key_opens_nothing_and_the_remedy_is_named() -> None:
    with pytest.raises(SealBroken, match="GRATICULE_SECRET_KEY"):
        Sealer(b"other" * 8).open(Sealer(KEY).seal(b"secret", "x"), "x")


def test_derived_keys_differ_by_purpose_and_stay_the_same() -> None:
    assert Sealer(KEY).derive("a") == Sealer(KEY).derive("a")
    assert Sealer(KEY).derive("a") != Sealer(KEY).derive("b")
    assert len(Sealer(KEY).derive("a", length=16)) == 16


def test_the_key_file_is_made_once_for_its_owner(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path / "new" / "catalog")
    sealed = open_sealer(settings).seal(b"secret", "x")
    assert mode(settings.data_dir) == 0o700
    assert mode(settings.data_dir / "secret.key") == 0o600
    assert [path.name for path in settings.data_dir.iterdir()] == ["secret.key"]
    assert open_sealer(settings).open(sealed, "x") == b"secret"


def test_processes_that_start_at_once_agree_on_the_key(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path / "catalog")
    sealers: list[Sealer] = []
    threads = [threading.Thread(target=lambda: sealers.append(open_sealer(settings))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({sealer.derive("x") for sealer in sealers}) == 1


def test_with_the_variable_no_file_is_made(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path / "catalog", secret_key="s" * 32)
    open_sealer(settings)
    assert not (settings.data_dir / "secret.key").exists()


def test_a_key_file_that_is_too_short_is_refused(tmp_path: Path) -> None:
    (tmp_path / "secret.key").write_text("short\n")
    with pytest.raises(SettingsError, match="fewer than 32"):
        open_sealer(Settings(data_dir=tmp_path))


def test_a_folder_of_other_things_keeps_its_mode(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    (tmp_path / "somebody's").touch()
    prepare_data_dir(tmp_path)
    assert mode(tmp_path) == 0o755


def test_an_empty_folder_is_closed_to_others(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    prepare_data_dir(tmp_path)
    assert mode(tmp_path) == 0o700


def test_a_data_folder_that_cannot_be_one_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SettingsError, match="--data-dir"):
        prepare_data_dir(tmp_path / "file")
