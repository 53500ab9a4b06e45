"""Sources on loopback whose TLS is wrong, each in its own way; their authority is trusted by SSL_CERT_FILE."""

from __future__ import annotations

import contextlib
import datetime as dt
import ipaddress
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

_DAY = dt.timedelta(days=1)


class Authority:
    """A certificate authority of our own."""

    def __init__(self, name: str = "an authority for tests") -> None:
        """Make its key and certificate."""
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        self.pem = self._signed(self.name, self.key, x509.BasicConstraints(ca=True, path_length=None))

    def certificate(self, host: str = "127.0.0.1", *, until: dt.timedelta = _DAY) -> bytes:
        """A certificate and its key, PEM."""
        key = ec.generate_private_key(ec.SECP256R1())
        try:
            name: x509.GeneralName = x509.IPAddress(ipaddress.ip_address(host))
        except ValueError:
            name = x509.DNSName(host)
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, host)])
        signed = self._signed(subject, key, x509.SubjectAlternativeName([name]), until=until)
        secret = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return signed + secret

    def _signed(
        self,
        subject: x509.Name,
        key: ec.EllipticCurvePrivateKey,
        extension: x509.ExtensionType,
        *,
        until: dt.timedelta = _DAY,
    ) -> bytes:
        now = dt.datetime.now(dt.UTC)
        built = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self.name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - 9 * _DAY)
            .not_valid_after(now + until)
            .add_extension(extension, critical=isinstance(extension, x509.BasicConstraints))
            .sign(self.key, hashes.SHA256())
        )
        return built.public_bytes(serialization.Encoding.PEM)


@contextlib.contextmanager
def tls_sources(folder: Path) -> Iterator[dict[str, str]]:
    """``host:port`` by what is wrong: "expired", "other-host", "unknown-authority"; "mute" never speaks, "no-tls"
    hangs up, "plain" answers in plain http, and "trusted" is right in all. ``authority.pem`` in the folder is what is
    trusted.
    """
    authority = Authority()
    (folder / "authority.pem").write_bytes(authority.pem)
    certificates = {
        "trusted": authority.certificate(),
        "expired": authority.certificate(until=-_DAY),
        "other-host": authority.certificate("files.example"),
        "unknown-authority": Authority("a stranger").certificate(),
        "mute": None,
        "no-tls": None,
        "plain": None,
    }
    with contextlib.ExitStack() as stack:
        places = {}
        for name, certificate in certificates.items():
            listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
            places[name] = f"127.0.0.1:{listener.getsockname()[1]}"
            context = None
            if certificate is not None:
                file = folder / f"{name}.pem"
                file.write_bytes(certificate)
                context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
                context.load_cert_chain(file)
            threading.Thread(target=_serve, args=(listener, context, name), daemon=True).start()
        yield places


def _serve(listener: socket.socket, context: ssl.SSLContext | None, name: str) -> None:
    kept = []
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:  # the test is over
            return
        if context is None:
            if name == "mute":
                kept.append(connection)
                continue
            with connection, contextlib.suppress(OSError):
                if name == "plain":
                    # At once: a server of the standard library waits for a line, which the greeting has by chance.
                    connection.recv(65536)
                    connection.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            continue
        with contextlib.suppress(OSError), context.wrap_socket(connection, server_side=True) as secured:
            secured.recv(65536)
            secured.sendall(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
