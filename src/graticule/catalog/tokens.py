"""Page tokens: the key of the last item shown, written so that clients leave it alone.

A key is a place in the order and not a count, so a page begins behind the page before however many items came and went
meanwhile.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from typing import Final

import orjson

from graticule.errors import InvalidParameter

#: t in microseconds, item id, collection number: the order of a search is this, descending.
Key = tuple[int, str, int]
#: What comes before the key in another order than newest first.
SortValues = tuple[int | float | str, ...]

_INT64: Final = 1 << 63


def encode_token(key: Key, order: str = "", values: SortValues = ()) -> str:
    """A token for the page behind this key; in another order than newest first also the values sorted by."""
    parts = key if not order else (*key, order, values)
    return base64.urlsafe_b64encode(orjson.dumps(parts)).rstrip(b"=").decode("ascii")


def decode_token(token: str, order: str = "", types: Sequence[type] = ()) -> tuple[Key, SortValues]:
    """The key in a token, and the values sorted by, which are of the types that the order has.

    Raises:
        InvalidParameter: no token of ours, or one of another order.
    """
    try:
        text = token.encode("ascii")
        key = orjson.loads(base64.b64decode(text + b"=" * (-len(text) % 4), altchars=b"-_", validate=True))
    except (UnicodeEncodeError, binascii.Error, orjson.JSONDecodeError) as exc:
        raise _refused() from exc
    match key:
        case [int(t), str(item_id), int(coll)] if abs(t) < _INT64 and abs(coll) < _INT64:
            if order:
                raise _other_order()
            return (t, item_id, coll), ()
        case [int(t), str(item_id), int(coll), str(asked), [*values]] if abs(t) < _INT64 and abs(coll) < _INT64:
            if asked != order:
                raise _other_order()
            if [type(value) for value in values] == list(types) and not any(map(_is_too_large, values)):
                return (t, item_id, coll), tuple(values)
    raise _refused()


def _is_too_large(value: object) -> bool:
    return isinstance(value, int) and abs(value) >= _INT64


def _other_order() -> InvalidParameter:
    return InvalidParameter("token: it belongs to another sortby: keep that of the first page.", target="token")


def _refused() -> InvalidParameter:
    return InvalidParameter("token: not a token of this catalog: take it from a 'next' link.", target="token")
