"""Heads of answers as HTTP/2 sends them (HPACK, RFC 7541), without a table of each connection's own.

So a head that is the same for many requests is encoded once for all of them: hpack's encoder takes more time than all
else that a hit needs. It costs the bytes that HTTP/1.1 sends, too. And no client can have the node keep a table for
it, however large a one it allows.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

from hpack.table import HeaderTable

from shield.rules.heads import split_block

_STATIC = {line: place for place, line in enumerate(HeaderTable.STATIC_TABLE, 1)}
_NAMES: dict[bytes, int] = {}
for _place, (_name, _value) in enumerate(HeaderTable.STATIC_TABLE, 1):
    _NAMES.setdefault(_name, _place)

_NO_TABLE = b"\x20"  # its size is 0 from now on (§6.3)


class PreparedEncoder:
    """Stands for hpack's encoder in h2's connection: what it encodes next was prepared by `encoded`."""

    def __init__(self) -> None:
        self.header_table_size = 0  # h2 sets what the client allows
        self._prepared = b""
        self._said = False

    def prepare(self, block: bytes) -> None:
        self._prepared = block

    def encode(self, headers: Iterable[object]) -> bytes:
        if self._said:
            return self._prepared
        self._said = True
        return _NO_TABLE + self._prepared


@lru_cache(maxsize=1024)
def encoded(head: bytes) -> bytes:
    """A head, as `rules.heads.block` makes it, as a header block: of hot entries it is the same for a second."""
    status, fields = split_block(head)
    return b"".join(_line(name, value) for name, value in ((b":status", b"%d" % status), *fields))


def _line(name: bytes, value: bytes) -> bytes:
    place = _STATIC.get((name, value))
    if place is not None:
        return _number(place, 0x80, 0x7F)  # §6.1
    place = _NAMES.get(name)
    if place is not None:
        return _number(place, 0x00, 0x0F) + _text(value)  # §6.2.2
    return b"\x00" + _text(name) + _text(value)


def _text(text: bytes) -> bytes:
    return _number(len(text), 0x00, 0x7F) + text  # §5.2


def _number(number: int, flags: int, most: int) -> bytes:
    """§5.1: in the low bits of an octet if it is below `most`, the rest in octets of seven bits."""
    if number < most:
        return bytes((flags | number,))
    made, number = bytearray((flags | most,)), number - most
    while number >= 0x80:
        made.append(number & 0x7F | 0x80)
        number >>= 7
    made.append(number)
    return bytes(made)
