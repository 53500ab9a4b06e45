"""Signatures of URL templates: a map client that sends no headers may draw one mosaic or item, and nothing else.

A signature is an HMAC under the generation of the asset tokens (`Tokens`), over what is drawn, how, and until when; so
revoking those ends it too. It is of a kind of its own: neither opens what the other does, and a bearer token is never
part of it.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from graticule.access.roles import Principal, Role
from graticule.access.tokens import Tokens
from graticule.errors import InvalidParameter, SignatureRefused
from graticule.settings import Settings

#: The query parameters of a signed URL.
EXPIRES: Final = "expires"
SIGNATURE: Final = "signature"

_KIND: Final = "template"
_TIME: Final = re.compile(r"[0-9]{1,12}", re.ASCII)
_CODE: Final = re.compile(r"[A-Za-z0-9_-]{43}", re.ASCII)


class TemplateSignature(NamedTuple):
    """What is put on a URL."""

    expires: int  #: seconds since 1970 UTC
    signature: str

    @property
    def pairs(self) -> tuple[tuple[str, str], ...]:
        """As query parameters."""
        return (EXPIRES, str(self.expires)), (SIGNATURE, self.signature)


class TemplateSigner:
    """Signs and checks URL templates of one catalog."""

    def __init__(self, tokens: Tokens, settings: Settings, *, clock: Callable[[], float] = time.time) -> None:
        """Take the tokens, whose key is used."""
        self._tokens = tokens
        self._default_minutes = settings.tile_token_minutes
        self._max_minutes = settings.sas_max_minutes
        self._clock = clock

    async def sign(self, subject: Sequence[object], minutes: int | None = None) -> TemplateSignature:
        """Sign a subject: anything of JSON that says what may be drawn.

        Raises:
            InvalidParameter: ``minutes`` is not allowed.
        """
        most = max(self._max_minutes, self._default_minutes)
        if minutes is not None and not 1 <= minutes <= most:
            raise InvalidParameter(f"duration must be 1 to {most} minutes.", target="duration")
        expires = int(self._clock()) + 60 * (minutes or self._default_minutes)
        return TemplateSignature(expires, await self._tokens.sign_text(_text(subject, expires)))

    async def check(self, subject: Sequence[object], expires: str, signature: str) -> Principal:
        """The reader that a signature makes of whoever has it.

        Raises:
            SignatureRefused: it is not for this subject, has expired, was revoked or changed.
        """
        if not _TIME.fullmatch(expires) or not _CODE.fullmatch(signature):
            raise SignatureRefused("The URL's signature is incomplete: take the URL as it was handed out.")
        if not await self._tokens.has_signed(_text(subject, int(expires)), signature):
            message = "The signature is not for this picture, or was revoked: ask for TileJSON or WMTS with sign=true."
            raise SignatureRefused(message)
        if self._clock() >= int(expires):
            raise SignatureRefused("The URL has expired: ask for TileJSON or WMTS with sign=true again.")
        return Principal(subject="signed template", roles=frozenset({Role.READER}), issuer="")


def _text(subject: Sequence[object], expires: int) -> str:
    return json.dumps([_KIND, expires, *subject], ensure_ascii=True)
