from __future__ import annotations

import ipaddress
import socket
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import certifi
import pytest
import requests
from cryptography import x509
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from graticule.access import prepare_tls, tls
from graticule.access.tls import TlsFiles
from graticule.errors import SettingsError

if TYPE_CHECKING:
    from access.conftest import ServeApp


def certificate(path: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(path.read_bytes())


def names(path: Path) -> set[str]:
    alternatives = certificate(path).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return {str(entry.value) for entry in alternatives}


def contents(files: TlsFiles) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in files.folder.iterdir()}


async def hello(_: Request) -> PlainTextResponse:
    return PlainTextResponse("hello")


def test_a_client_that_trusts_the_bundle_reaches_a_server(serve_app: ServeApp, tmp_path: Path) -> None:
    files = prepare_tls(tmp_path)
    url = serve_app(Starlette(routes=[Route("/", hello)]), certificate=files.certificate, key=files.key)
    by_name = url.replace("127.0.0.1", "localhost")

    for address in (url, by_name):
        assert requests.get(address, verify=str(files.bundle), timeout=5).text == "hello"
    with pytest.raises(requests.exceptions.SSLError):
        requests.get(url, verify=certifi.where(), timeout=5)


def test_a_strict_client_accepts_the_chain(serve_app: ServeApp, tmp_path: Path) -> None:
    files = prepare_tls(tmp_path)
    url = serve_app(Starlette(routes=[Route("/", hello)]), certificate=files.certificate, key=files.key)
    context = ssl.create_default_context(cafile=str(files.authority))
    context.verify_flags |= ssl.VERIFY_X509_STRICT

    port = int(url.rpartition(":")[2])
    with (
        socket.create_connection(("127.0.0.1", port), timeout=5) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as secure,
    ):
        assert secure.version() == "TLSv1.3"


def test_keys_are_for_the_owner_only(tmp_path: Path) -> None:
    files = prepare_tls(tmp_path)

    assert files.folder.stat().st_mode & 0o777 == 0o700
    for key in (files.key, files.authority_key):
        assert key.stat().st_mode & 0o777 == 0o600
    assert not [path for path in files.folder.iterdir() if path.name.startswith(".")]


def test_the_certificate_names_this_machine_and_the_host_given(tmp_path: Path) -> None:
    files = prepare_tls(tmp_path, ["Catalog.Example", "192.168.7.7", "2001:db8::1"])

    assert {"localhost", "127.0.0.1", "::1", "catalog.example", "192.168.7.7", "2001:db8::1"} <= names(
        files.certificate
    )


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "[::]", "", "not a name", "exämple"])
def test_what_is_no_name_is_left_out(tmp_path: Path, host: str) -> None:
    assert names(prepare_tls(tmp_path, [host]).certificate) == names(prepare_tls(tmp_path / "plain").certificate)


def test_lives_are_what_clients_accept(tmp_path: Path) -> None:
    files = prepare_tls(tmp_path)
    server, authority = certificate(files.certificate), certificate(files.authority)

    assert server.not_valid_after_utc - server.not_valid_before_utc <= timedelta(days=397)
    assert authority.not_valid_after_utc - datetime.now(UTC) > timedelta(days=3649)


def test_another_start_changes_nothing(tmp_path: Path) -> None:
    before = contents(prepare_tls(tmp_path, ["catalog.example"]))
    assert contents(prepare_tls(tmp_path, ["catalog.example"])) == before


def test_a_certificate_near_its_end_is_renewed_under_the_same_authority(tmp_path: Path) -> None:
    before = contents(prepare_tls(tmp_path))
    later = contents(prepare_tls(tmp_path, now=datetime.now(UTC) + timedelta(days=370)))

    assert later["server.pem"] != before["server.pem"]
    assert later["ca.pem"] == before["ca.pem"]
    assert later["ca-bundle.pem"] == before["ca-bundle.pem"]


def test_an_authority_that_would_not_outlive_a_certificate_is_replaced(tmp_path: Path) -> None:
    before = contents(prepare_tls(tmp_path))
    later = contents(prepare_tls(tmp_path, now=datetime.now(UTC) + timedelta(days=3300)))

    assert later["ca.pem"] != before["ca.pem"]
    assert later["ca.pem"] in later["ca-bundle.pem"]


def test_a_new_private_address_needs_a_new_certificate_only(tmp_path: Path) -> None:
    before = contents(prepare_tls(tmp_path))
    files = prepare_tls(tmp_path, ["10.1.2.3"])

    assert "10.1.2.3" in names(files.certificate)
    assert contents(files)["ca.pem"] == before["ca.pem"]


def test_a_name_outside_its_constraints_needs_a_new_authority(tmp_path: Path) -> None:
    before = contents(prepare_tls(tmp_path))
    files = prepare_tls(tmp_path, ["catalog.example"])

    assert contents(files)["ca.pem"] != before["ca.pem"]
    certificate(files.certificate).verify_directly_issued_by(certificate(files.authority))


def test_the_authority_vouches_for_nothing_public(tmp_path: Path) -> None:
    authority = certificate(prepare_tls(tmp_path).authority)
    constraints = authority.extensions.get_extension_for_class(x509.NameConstraints)
    permitted = constraints.value.permitted_subtrees or []

    assert constraints.critical
    assert {entry.value for entry in permitted if isinstance(entry, x509.DNSName)} <= names(
        prepare_tls(tmp_path).certificate
    )
    networks = [entry.value for entry in permitted if isinstance(entry, x509.IPAddress)]
    assert networks
    assert all(isinstance(net, ipaddress.IPv4Network | ipaddress.IPv6Network) and net.is_private for net in networks)


def test_what_the_authority_signs_for_another_name_is_refused(serve_app: ServeApp, tmp_path: Path) -> None:
    files = prepare_tls(tmp_path)
    authority = tls._load(files.authority, files.authority_key)
    assert authority is not None
    forged = tls._new_server(authority, {"bank.example"}, set(), datetime.now(UTC))
    tls._store(forged, files.certificate, files.key)
    url = serve_app(Starlette(routes=[Route("/", hello)]), certificate=files.certificate, key=files.key)
    context = ssl.create_default_context(cafile=str(files.bundle))

    with (
        socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2])), timeout=5) as plain,
        pytest.raises(ssl.SSLCertVerificationError, match="permitted subtree violation"),
    ):
        context.wrap_socket(plain, server_hostname="bank.example")


@pytest.mark.parametrize("name", ["server.key", "server.pem"])
def test_a_key_without_its_certificate_is_made_again(tmp_path: Path, name: str) -> None:
    files = prepare_tls(tmp_path / "one")
    (files.folder / name).write_bytes((prepare_tls(tmp_path / "two").folder / name).read_bytes())

    repaired = prepare_tls(tmp_path / "one")
    certificate(repaired.certificate).verify_directly_issued_by(certificate(repaired.authority))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(repaired.certificate, repaired.key)


def test_the_bundle_holds_the_public_roots_too(tmp_path: Path) -> None:
    bundle = prepare_tls(tmp_path).bundle.read_bytes()
    assert Path(certifi.where()).read_bytes().strip() in bundle
    assert bundle.count(b"BEGIN CERTIFICATE") == Path(certifi.where()).read_bytes().count(b"BEGIN CERTIFICATE") + 1


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "tls").write_text("in the way")
    with pytest.raises(SettingsError, match="tls"):
        prepare_tls(tmp_path)
