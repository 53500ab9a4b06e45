"""Owns: what a broken connection means: every fault of the transport as one of ours."""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Iterator

import aiohttp

from graticule.errors import (
    InvalidAssetHref,
    SourceCertificateRejected,
    SourceConnectionFailed,
    SourceFailed,
    SourceTimeout,
)
from graticule.sources.hrefs import Href
from graticule.sources.transfer import Transfer


@contextlib.contextmanager
def mapped(href: Href, transfer: Transfer | None = None) -> Iterator[None]:
    """Every fault of the transport as one of ours. Causes are cut off: their texts hold whole URLs."""
    where = f"{href.scheme}://{href.authority}"
    try:
        yield
    except aiohttp.ClientConnectorCertificateError as exc:
        reason = getattr(exc.certificate_error, "verify_message", None) or "it cannot be verified"
        raise SourceCertificateRejected(
            f"{href}: the TLS certificate of its host is refused: {reason}. Have it renewed,"
            " or have an operator trust its authority with SSL_CERT_FILE."
        ) from None
    except aiohttp.ClientConnectorDNSError:
        raise SourceConnectionFailed(f"{href}: the name {href.host} does not resolve to an address.") from None
    except (aiohttp.ClientSSLError, ssl.SSLError):
        raise SourceConnectionFailed(f"{href}: no TLS connection to {where}.") from None
    except TimeoutError:
        if transfer is not None and transfer.received:
            raise SourceTimeout(f"{transfer.broken_off().message} Nothing more came in time.") from None
        raise SourceTimeout(f"{href} did not answer in time.") from None
    except aiohttp.InvalidURL:
        raise InvalidAssetHref(f"{href} is not a URL that can be asked for.") from None
    except aiohttp.ClientResponseError:
        raise SourceFailed(f"{href} answered something that is not HTTP.") from None
    except aiohttp.ClientPayloadError:
        broken = SourceConnectionFailed(f"{href} broke off.") if transfer is None else transfer.broken_off()
        raise broken from None
    except (aiohttp.ClientError, OSError) as exc:
        if transfer is not None and transfer.received:
            raise transfer.broken_off() from None
        reason = exc.strerror if isinstance(exc, OSError) and exc.strerror else "the connection was closed"
        raise SourceConnectionFailed(f"{href}: no connection ({reason.lower()}).") from None
