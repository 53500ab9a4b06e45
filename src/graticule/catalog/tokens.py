"""Page tokens: the key of the last item shown, written so that clients leave it alone.

A key is a place in the order and not a count, so a page begins behind the page before however many items came and went
meanwhile.
"""

from __future__ import annotations

import base64
import binascii
from typing import Final

import orjson

from graticule.errors import InvalidParameter

#: t in microseconds, item id, collection number: the order of a search is this, descending.
Key = tuple[int, str, int]

_INT64: Final = 1 << 63


def encode_token(key: Key) -> str:
    """A token for the page behind this key."""
    return base64.urlsafe_b64encode(orjson.dumps(key)).rstrip(b"=").decode("ascii")


def decode_token(token: str) -> Key:
    """The key in a token.

    Raises:
        InvalidParameter: no token of ours.
    """
    try:
        text = token.encode("ascii")
        key = orjson.loads(base64.b64decode(text + b"=" * (-len(text) % 4), altchars=b"-_", validate=True))
    except (UnicodeEncodeError, binascii.Error, orjson.JSONDecodeError) as exc:
        raise _refused() from exc
    match key:
        case [int(t), str(item_id), int(coll)] if abs(t) < _INT64 and abs(coll) < _INT64:
            return t, item_id, coll
    raise _refused()


def _refused() -> InvalidParameter:
    return InvalidParameter("token: not a token of this catalog: take it from a 'next' link.", target="token")
