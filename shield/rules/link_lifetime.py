"""The lifetime of a response to a signed link: caches may keep it no longer than the link is valid.

A link is a bearer token: anyone with the URL may have the object until it expires, from any cache. So the response
isn't made private; only its lifetime is capped.
"""

from __future__ import annotations

import re

from shield.messages import Field
from shield.rules.heads import block, split_block

REST = b"shield-link"
"""Key of a link's remaining seconds among a request's notable fields. Clients can't set it: it isn't in NOTABLE."""

_CONTROL = b"cache-control"
_OF_CACHES = (_CONTROL, b"surrogate-control")  # and all names that end in -cache-control (RFC 9213)
_SECONDS = re.compile(rb'(?i)\b(s-maxage|max-age)\s*=\s*"?([0-9]+)"?(?:\+[0-9]+)?')
# Directives that let a cache use a response beyond its lifetime.
_BEYOND = re.compile(
    rb'(?i)\s*\b(?:stale-while-revalidate|stale-if-error)\s*=\s*"?[0-9]*"?\s*,?|\s*\bimmutable\b\s*,?'
)
_STATES = re.compile(rb"(?i)\b(?:s-maxage|max-age|no-store|no-cache|private)\b")


def capped(head: bytes, *, rest: int, age: float, lifetime: float) -> bytes:
    """A head as in `StoredHead.block`, with every lifetime capped to end at most `rest` seconds from now.

    `age` is the Age that will be sent with it, in seconds. `lifetime`, the entry's own in seconds, is stated if the
    head states none.
    """
    bound = max(0, int(age) + rest)
    status, lines = split_block(head)
    fields: list[Field] = []
    states = False
    for name, value in lines:
        if name == b"expires":
            continue  # Cache-Control takes precedence
        if name not in _OF_CACHES and not name.endswith(b"-" + _CONTROL):
            fields.append((name, value))
            continue
        bounded = _SECONDS.sub(
            lambda said: b"%b=%d" % (said[1], min(int(said[2][:18]), bound)), _BEYOND.sub(b"", value).strip(b" ,")
        )
        states = states or (name == _CONTROL and _STATES.search(bounded) is not None)
        if bounded:
            fields.append((name, bounded))
    if not states:
        fields.append((_CONTROL, b"max-age=%d" % min(bound, max(0, int(lifetime)))))
    return block(status, fields)
