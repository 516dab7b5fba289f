"""How long an answer to a signed link may be kept by caches on its way: no longer than the link holds.

A link is its bearer's: whoever has the URL may have the object until then, from any cache. So nothing is made private
by it; it is only made to end.
"""

from __future__ import annotations

import re

from shield.messages import Field
from shield.rules.headers import block, split_block

REST = b"shield-link"
"""Among a request's notable fields: the seconds that its link still holds. No client's: it isn't one of NOTABLE."""

_CONTROL = b"cache-control"
_OF_CACHES = (_CONTROL, b"surrogate-control")  # and all that end like the first (RFC 9213)
_SECONDS = re.compile(rb'(?i)\b(s-maxage|max-age)\s*=\s*"?([0-9]+)"?(?:\+[0-9]+)?')
# What lets a cache go on beyond the lifetime.
_BEYOND = re.compile(
    rb'(?i)\s*\b(?:stale-while-revalidate|stale-if-error)\s*=\s*"?[0-9]*"?\s*,?|\s*\bimmutable\b\s*,?'
)
_STATES = re.compile(rb"(?i)\b(?:s-maxage|max-age|no-store|no-cache|private)\b")


def capped(head: bytes, *, rest: int, age: float, lifetime: float) -> bytes:
    """A head as in `StoredHead.block`, in which no lifetime goes beyond `rest` seconds from now.

    `age` is the Age that goes with it; `lifetime` is what the answer has here, told where it states none.
    """
    bound = max(0, int(age) + rest)
    status, lines = split_block(head)
    fields: list[Field] = []
    states = False
    for name, value in lines:
        if name == b"expires":
            continue  # Cache-Control says it
        if name not in _OF_CACHES and not name.endswith(b"-" + _CONTROL):
            fields.append((name, value))
            continue
        told = _SECONDS.sub(
            lambda said: b"%b=%d" % (said[1], min(int(said[2][:18]), bound)), _BEYOND.sub(b"", value).strip(b" ,")
        )
        states = states or (name == _CONTROL and _STATES.search(told) is not None)
        if told:
            fields.append((name, told))
    if not states:
        fields.append((_CONTROL, b"max-age=%d" % min(bound, max(0, int(lifetime)))))
    return block(status, fields)
