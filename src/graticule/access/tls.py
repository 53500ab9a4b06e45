"""TLS for a catalog without a certificate of its own: a local authority, a server certificate, and what clients trust.

Under ``<data-dir>/tls``: ``ca.pem`` with ``ca.key``, ``server.pem`` with ``server.key`` (keys 0600, folder 0700), and
``ca-bundle.pem``, the public roots and ours: ``REQUESTS_CA_BUNDLE`` and its like *replace* what a client trusts.
The authority can only vouch for this machine's names and for private addresses (name constraints, RFC 5280 section
4.2.1.10), so that a browser told to trust it is not at the mercy of its key.
"""

from __future__ import annotations

import ipaddress
import os
import re
import secrets
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import certifi
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from graticule.errors import SettingsError

_AUTHORITY_LIFE: Final = timedelta(days=3650)
#: Clients refuse server certificates that live longer than 398 days.
_SERVER_LIFE: Final = timedelta(days=397)
#: Renewed at a start when less than this is left.
_RENEW_BEFORE: Final = timedelta(days=30)
_SKEW: Final = timedelta(hours=1)
_PRIVATE_NETWORKS: Final = (
    "127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16", "::1/128", "fc00::/7", "fe80::/10"
)  # fmt: skip
_DNS_NAME = re.compile(r"^(?=.{1,253}$)[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?)*$")

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """Where the TLS material of a data folder lies."""

    folder: Path

    @property
    def authority(self) -> Path:
        """The certificate of the local authority, for browsers and ``NODE_EXTRA_CA_CERTS``."""
        return self.folder / "ca.pem"

    @property
    def authority_key(self) -> Path:
        """The authority's private key."""
        return self.folder / "ca.key"

    @property
    def certificate(self) -> Path:
        """The server's certificate."""
        return self.folder / "server.pem"

    @property
    def key(self) -> Path:
        """The server's private key."""
        return self.folder / "server.key"

    @property
    def bundle(self) -> Path:
        """Public roots and the local authority, for clients whose trust it replaces."""
        return self.folder / "ca-bundle.pem"


@dataclass(frozen=True)
class _Signed:
    """A certificate and its key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey


def tls_files(data_dir: Path) -> TlsFiles:
    """The paths of the TLS material; the files may not exist."""
    return TlsFiles(data_dir / "tls")


def prepare_tls(data_dir: Path, names: Iterable[str] = (), *, now: datetime | None = None) -> TlsFiles:
    """Make or renew the TLS material, and keep what is still good.

    Args:
        data_dir: the data folder; one process at a time does this.
        names: host names and addresses to vouch for beside this machine's own, such as ``--host``.
        now: the time; default: of the clock.

    Raises:
        SettingsError: the folder cannot be written.
    """
    now = now or datetime.now(UTC)
    files = tls_files(data_dir)
    hosts, addresses = _subjects(names)
    try:
        files.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        files.folder.chmod(0o700)
        authority = _load(files.authority, files.authority_key)
        if authority is None or not _authority_serves(authority.certificate, hosts, addresses, now):
            authority = _new_authority(hosts, addresses, now)
            _store(authority, files.authority, files.authority_key)
        server = _load(files.certificate, files.key)
        if server is None or not _server_serves(server.certificate, authority, hosts, addresses, now):
            _store(_new_server(authority, hosts, addresses, now), files.certificate, files.key)
        _write_bundle(files)
    except OSError as exc:
        raise SettingsError(f"TLS material cannot be written to {files.folder}: {exc.strerror}.") from exc
    return files


# --- names


def _subjects(names: Iterable[str]) -> tuple[set[str], set[_Address]]:
    hosts = {"localhost"}
    addresses: set[_Address] = {ipaddress.ip_address("127.0.0.1"), ipaddress.ip_address("::1")}
    for name in (socket.gethostname(), *names):
        text = name.strip().strip("[]").rstrip(".").lower()
        try:
            address = ipaddress.ip_address(text)
        except ValueError:
            if _DNS_NAME.match(text):  # anything else could not be asked for over TLS anyway
                hosts.add(text)
            continue
        if not address.is_unspecified:  # 0.0.0.0 is where to listen, not a name
            addresses.add(address)
    return hosts, addresses


def _alternative_names(hosts: set[str], addresses: set[_Address]) -> x509.SubjectAlternativeName:
    return x509.SubjectAlternativeName(
        [
            *(x509.DNSName(host) for host in sorted(hosts)),
            *(x509.IPAddress(address) for address in sorted(addresses, key=lambda address: (address.version, address))),
        ]
    )


def _constraints(hosts: set[str], addresses: set[_Address]) -> x509.NameConstraints:
    networks = [ipaddress.ip_network(text) for text in _PRIVATE_NETWORKS]
    others = [address for address in addresses if not any(address in network for network in networks)]
    networks += [ipaddress.ip_network(address) for address in others]
    return x509.NameConstraints(
        permitted_subtrees=[
            *(x509.DNSName(host) for host in sorted(hosts)),
            *(x509.IPAddress(network) for network in networks),
        ],
        excluded_subtrees=None,
    )


# --- what is still good


def _authority_serves(certificate: x509.Certificate, hosts: set[str], addresses: set[_Address], now: datetime) -> bool:
    # It must outlive the server certificates that it signs.
    if not certificate.not_valid_before_utc <= now < certificate.not_valid_after_utc - _SERVER_LIFE:
        return False
    permitted = certificate.extensions.get_extension_for_class(x509.NameConstraints).value.permitted_subtrees or []
    names = {entry.value for entry in permitted if isinstance(entry, x509.DNSName)}
    networks = [entry.value for entry in permitted if isinstance(entry, x509.IPAddress)]
    return hosts <= names and all(
        any(
            isinstance(network, ipaddress.IPv4Network | ipaddress.IPv6Network) and address in network
            for network in networks
        )
        for address in addresses
    )


def _server_serves(
    certificate: x509.Certificate, authority: _Signed, hosts: set[str], addresses: set[_Address], now: datetime
) -> bool:
    try:
        certificate.verify_directly_issued_by(authority.certificate)
    except Exception:  # noqa: BLE001 - InvalidSignature, ValueError or TypeError: in each case it is not ours
        return False
    named = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return (
        certificate.not_valid_before_utc <= now < certificate.not_valid_after_utc - _RENEW_BEFORE
        and named == _alternative_names(hosts, addresses)
    )


# --- making


def _new_authority(hosts: set[str], addresses: set[_Address], now: datetime) -> _Signed:
    key = ec.generate_private_key(ec.SECP256R1())
    # The random part keeps the authorities of two catalogs apart in a trust store.
    name = _name(f"Graticule local authority {secrets.token_hex(4)}")
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _SKEW)
        .not_valid_after(now + _AUTHORITY_LIFE)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .add_extension(_constraints(hosts, addresses), critical=True)
        .add_extension(identifier, critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier), critical=False)
    )
    return _Signed(builder.sign(key, SHA256()), key)


def _new_server(authority: _Signed, hosts: set[str], addresses: set[_Address], now: datetime) -> _Signed:
    key = ec.generate_private_key(ec.SECP256R1())
    issued_by = authority.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    builder = (
        x509.CertificateBuilder()
        .subject_name(_name("Graticule"))
        .issuer_name(authority.certificate.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _SKEW)
        .not_valid_after(now - _SKEW + _SERVER_LIFE)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(_alternative_names(hosts, addresses), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(issued_by), critical=False)
    )
    return _Signed(builder.sign(authority.key, SHA256()), key)


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


# --- files


def _load(certificate_path: Path, key_path: Path) -> _Signed | None:
    """A certificate with its key; None when one is missing, unreadable, or a crash left them of two makes."""
    try:
        certificate = x509.load_pem_x509_certificate(certificate_path.read_bytes())
        key = serialization.load_pem_private_key(key_path.read_bytes(), password=None)
    except (FileNotFoundError, ValueError):
        return None
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != certificate.public_key():
        return None
    return _Signed(certificate, key)


def _store(signed: _Signed, certificate_path: Path, key_path: Path) -> None:
    pem = signed.key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    _replace(key_path, pem, mode=0o600)
    _replace(certificate_path, signed.certificate.public_bytes(serialization.Encoding.PEM), mode=0o644)


def _write_bundle(files: TlsFiles) -> None:
    bundle = Path(certifi.where()).read_bytes().rstrip() + b"\n\n" + files.authority.read_bytes()
    if not files.bundle.exists() or files.bundle.read_bytes() != bundle:
        _replace(files.bundle, bundle, mode=0o644)


def _replace(path: Path, content: bytes, *, mode: int) -> None:
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(descriptor, mode)  # whatever the umask
            file.write(content)
            file.flush()
            os.fsync(descriptor)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
