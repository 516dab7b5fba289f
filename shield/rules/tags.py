"""Tags in responses, for purging entries by group: Surrogate-Key, Cache-Tag, Cache-Groups (RFC 9875)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from shield.messages import ResponseHead
from shield.rules.structured import Item, parse_list

MAX_TAGS = 1024
"""Tags of one response at most; further ones are ignored."""

LONGEST = 1024
"""Bytes of one tag at most, as at CDNs; longer ones are ignored."""

MAX_BYTES = 32 << 10
"""Bytes of all tags of one response at most; tags that don't fit are ignored."""

_BLANKS = frozenset({b"surrogate-key", b"xkey"})
_COMMAS = frozenset({b"cache-tag", b"edge-cache-tag"})
_BLANK = re.compile(rb"[ \t]+")
_EITHER = re.compile(rb"[ \t,]+")


def tags_of(head: ResponseHead, names: Sequence[bytes]) -> frozenset[bytes]:
    """The tags in the fields with these names, which are in lower case. Never raises."""
    found: set[bytes] = set()
    room = MAX_BYTES
    for name in names:
        for tag in listed(name, head.all(name)):
            if len(found) == MAX_TAGS:
                break
            if tag not in found and 0 < len(tag) <= min(LONGEST, room):
                found.add(tag)
                room -= len(tag)
    return frozenset(found)


def labels(head: ResponseHead, names: Sequence[bytes]) -> bytes:
    """The same tags in the form stored in an entry: sorted, one a line."""
    return b"\n".join(sorted(tags_of(head, names))) if head.has_any(names) else b""


def listed(name: bytes, lines: Sequence[bytes]) -> Iterable[bytes]:
    """The tags in a field's lines. Separators depend on the field; unknown ones are split at blanks and commas."""
    if not lines:
        return ()
    if name == b"cache-groups":
        return _groups(b", ".join(lines))
    if name in _COMMAS:
        return [tag.strip(b" \t") for line in lines for tag in line.split(b",")]
    separator = _BLANK if name in _BLANKS else _EITHER
    return [tag for line in lines for tag in separator.split(line)]


def _groups(value: bytes) -> list[bytes]:
    """The strings in Cache-Groups (RFC 9875 §2); [] if any member isn't a string."""
    members = parse_list(value) or ()
    groups = [member.value for member in members if isinstance(member, Item) and type(member.value) is str]
    return [str(group).encode() for group in groups] if len(groups) == len(members) else []
