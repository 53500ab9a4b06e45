"""Secrets at rest: AES-256-GCM under keys derived from one master key.

The master key is ``GRATICULE_SECRET_KEY`` (any text of at least 32 characters), else ``<data-dir>/secret.key`` (mode
0600 in a 0700 folder, made atomically), never in the database. A sealed value is ``key id (8) | nonce (12) |
ciphertext and tag``; the purpose is bound as associated data, so that a value sealed for one use opens for no other.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from graticule.errors import GraticuleError, SettingsError
from graticule.settings import Settings

_NONCE_BYTES = 12
_KEY_ID_BYTES = 8


class SealBroken(GraticuleError):
    """A secret at rest cannot be opened: was the data folder's secret.key or GRATICULE_SECRET_KEY changed?"""


class Sealer:
    """Seals and opens secrets, and derives keys for other uses, from one master key."""

    def __init__(self, master_key: bytes) -> None:
        """Derive the sealing key; the master key itself is not kept in any output."""
        self._master = master_key
        self._cipher = AESGCM(self.derive("sealing"))
        self._key_id = hashlib.sha256(b"key id" + self.derive("key id")).digest()[:_KEY_ID_BYTES]

    def derive(self, purpose: str, *, length: int = 32) -> bytes:
        """A key of its own for a purpose (HKDF-SHA256, RFC 5869)."""
        return HKDF(algorithm=SHA256(), length=length, salt=b"graticule", info=purpose.encode()).derive(self._master)

    def seal(self, plain: bytes, purpose: str) -> bytes:
        """Encrypt for a purpose; equal inputs give different outputs."""
        nonce = os.urandom(_NONCE_BYTES)
        return self._key_id + nonce + self._cipher.encrypt(nonce, plain, purpose.encode())

    def open(self, sealed: bytes, purpose: str) -> bytes:
        """Decrypt what was sealed for the same purpose.

        Raises:
            SealBroken: another master key, another purpose, or changed bytes.
        """
        key_id, rest = sealed[:_KEY_ID_BYTES], sealed[_KEY_ID_BYTES:]
        if key_id != self._key_id:
            raise SealBroken
        try:
            return self._cipher.decrypt(rest[:_NONCE_BYTES], rest[_NONCE_BYTES:], purpose.encode())
        except InvalidTag as exc:
            raise SealBroken from exc


def open_sealer(settings: Settings) -> Sealer:
    """The sealer of a catalog; makes the key file on first use."""
    if settings.secret_key is not None:
        return Sealer(settings.secret_key.get_secret_value().encode())
    prepare_data_dir(settings.data_dir)
    return Sealer(_key_file(settings.data_dir / "secret.key"))


def prepare_data_dir(data_dir: Path) -> None:
    """Make the data folder, for its owner only. One that holds other things, or is another's, keeps its mode.

    Raises:
        SettingsError: it cannot be made or written.
    """
    try:
        data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not any(data_dir.iterdir()):
            with contextlib.suppress(PermissionError):  # a volume that was mounted for us, and is not ours
                data_dir.chmod(0o700)
    except OSError as exc:
        raise SettingsError(
            f"Data folder {data_dir} cannot be used: {exc.strerror}. Name another with --data-dir."
        ) from exc
    if not os.access(data_dir, os.W_OK | os.X_OK):
        raise SettingsError(f"Data folder {data_dir} cannot be written. Name another with --data-dir.")


def _key_file(path: Path) -> bytes:
    try:
        return _read_key(path)
    except FileNotFoundError:
        pass
    # Linking a finished temporary file is atomic and never replaces a key that another process has just made.
    temporary = path.with_name(f".secret.key.{secrets.token_hex(8)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(secrets.token_hex(32).encode())
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):
            os.link(temporary, path)
        _sync(path.parent)  # before anything is sealed with the key
    finally:
        temporary.unlink()
    return _read_key(path)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _read_key(path: Path) -> bytes:
    key = path.read_bytes().strip()
    if len(key) < 32:
        raise SettingsError(f"{path} is not a master key: it has fewer than 32 characters.")
    return key
