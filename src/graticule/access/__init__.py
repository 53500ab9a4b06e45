"""Owns: who may do what: issuing and checking tokens, roles, signed access to managed assets, local TLS.

Refuses: to know HTTP, or what is done with the permission it gives.

Entry points: `open_issuer`, `open_identity` and `require` for callers; `open_tokens`, `sign_href` and `sign_document`
for managed assets; `open_managed_identity` for Azure clients on this machine; `prepare_tls`.
"""

from graticule.access.identity import Identity, open_identity
from graticule.access.issuer import Issuer, open_issuer
from graticule.access.managed_identity import ManagedIdentity, open_managed_identity
from graticule.access.roles import Principal, Role, require
from graticule.access.signing import sign_document, sign_href
from graticule.access.templates import TemplateSigner
from graticule.access.tls import prepare_tls, tls_files
from graticule.access.tokens import Tokens, open_tokens

__all__ = [
    "Identity",
    "Issuer",
    "ManagedIdentity",
    "Principal",
    "Role",
    "TemplateSigner",
    "Tokens",
    "open_identity",
    "open_issuer",
    "open_managed_identity",
    "open_tokens",
    "prepare_tls",
    "require",
    "sign_document",
    "sign_href",
    "tls_files",
]
