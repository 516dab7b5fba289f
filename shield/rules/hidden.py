"""The hidden line of a stored head: fields for this node's workers, never sent to clients. It is the last line.

It is a dictionary of byte sequences (RFC 9651 §3.2): digests by algorithm, which clients get on request, and under
`fields` the lines of the origin's head that are removed from responses although decisions on the entry depend on
them. A 304 needn't repeat those, and other workers decide by them too.
"""

from __future__ import annotations

import base64
from collections.abc import Collection, Iterable, Mapping
from typing import Final

from shield.messages import Field, Fields
from shield.rules.structured import Item, parse_dictionary

LINE: Final = b"shield-hidden"

_LINE = LINE + b": "
_FIELDS = "fields"
END: Final = b":\r\n"
"""The end of a hidden line, and of hardly any other."""


def shown(block: bytes) -> bytes:
    """The block of a stored head without its hidden line."""
    if not block.endswith(END):
        return block
    start = block.rfind(b"\r\n", 0, -2) + 2
    return block[:start] if block.startswith(_LINE, start) else block


def line_of(block: bytes) -> bytes:
    """The hidden line of a stored head's block, with its CRLF; b"" if it has none."""
    return block[len(shown(block)) :]


def hide(fields: Fields, names: Collection[bytes]) -> tuple[Field, ...]:
    """The fields, with those in `names` moved into a hidden line at the end. The others keep their order."""
    kept = [line for line in fields if line[0] in names]
    if not kept:
        return tuple(fields)
    lines = b"\r\n".join([b"%b: %b" % line for line in kept])
    return (*[line for line in fields if line[0] not in names], (LINE, dictionary({_FIELDS: lines})))


def reveal(fields: Fields) -> tuple[Field, ...]:
    """The inverse of `hide`. Digests stay hidden."""
    if all(name != LINE for name, _ in fields):
        return tuple(fields)
    held = hidden_in(fields)
    lines = held.pop(_FIELDS, b"").split(b"\r\n")
    kept = [line for line in fields if line[0] != LINE]
    kept += [(name, value) for name, colon, value in (line.partition(b": ") for line in lines) if colon]
    return (*kept, *([(LINE, dictionary(held))] if held else []))


def joined(fields: Fields) -> tuple[Field, ...]:
    """The fields with all hidden lines, of which there must be one, joined into one at the end."""
    lines = [value for name, value in fields if name == LINE]
    return (*[line for line in fields if line[0] != LINE], (LINE, b", ".join(lines)))


def hidden_in(fields: Iterable[Field]) -> dict[str, bytes]:
    """The members of the hidden line; empty without one."""
    members = parse_dictionary(b", ".join([value for name, value in fields if name == LINE])) or {}
    return {
        name: member.value
        for name, member in members.items()
        if isinstance(member, Item) and type(member.value) is bytes
    }


def dictionary(members: Mapping[str, bytes]) -> bytes:
    """Byte sequences as a dictionary (RFC 9651 §4.1). Written by hand, since each fill from a storage needs it."""
    return b", ".join([b"%b=:%b:" % (name.encode(), base64.b64encode(value)) for name, value in members.items()])
