"""Plain heads, read without a parser: nearly all lines of nearly all heads have come before.

A head is plain if it is all that has arrived, its lines are canonical ("GET /a HTTP/1.1", "name: value"), it has one
valid Host, and nothing in it frames a message or concerns the connection except for `Connection: close` and
`keep-alive`. llhttp reads any such head in the same way, and accepts it; a property test compares the two. All other
bytes are left to llhttp and to the checks in `reading` and `turn`.
"""

from __future__ import annotations

import re
from typing import Final

from shield.edge.turn import LOOKED_AT, is_host
from shield.messages import NOTABLE, Field, Request
from shield.rules.loops import has_passed, may_be_forwarded

WATCHED: Final = NOTABLE | {b"host", b"proxy-connection", b"cdn-loop"}
"""Names of the fields that are inspected while a head is read."""

KEEP_ALIVE: Final = (b"keep-alive", b"Keep-Alive")
_CLOSE: Final = (b"close", b"Close")
_LINES: Final = 1024  # remembered, and as many from before them
_REQUEST_LINES: Final = 4096
_SPECIAL_LINES: Final = 256
_LONGEST: Final = 256  # a line that is longer is hardly one that comes again

# Lines are cut at LF, which is found faster than CRLF, and keep their CR.
_END: Final = b"\r"
_METHOD: Final = len(b"GET ")
_VERSION: Final = len(b" HTTP/1.1\r")
_request_line: Final = re.compile(rb"GET /[!\"$-~]* HTTP/1\.1\r").fullmatch
_field_line: Final = re.compile(
    rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+): ?([!-~\x80-\xff](?:[\t -~\x80-\xff]*[!-~\x80-\xff])?)\r"
).fullmatch

# What a line means for the head, as bits.
_ORDINARY: Final = 0
_HOST: Final = 1
_LOOP: Final = 2
_CONNECTION: Final = 4
_ENDS: Final = 8
_NOTABLE: Final = 16
_ONCE: Final = _HOST | _LOOP | _CONNECTION


class _Meaning:
    """What a line means that may be more than a field."""

    __slots__ = ("bits", "field")

    def __init__(self, field: Field, bits: int) -> None:
        self.field = field
        self.bits = bits


_MERE_FIELD: Final = _Meaning((b"", b""), _ORDINARY)


class PlainHeads:
    """Reads plain heads, and remembers their lines, which are checked once. Shared by connections that watch the same
    fields.

    `node` is its own name in CDN-Loop. `watched` are the names of fields to be found in `Request.notable`: those of
    `WATCHED` at least.
    """

    def __init__(self, node: bytes, watched: frozenset[bytes] = WATCHED) -> None:
        self.watched = watched
        self.ends = False
        """Whether the connection ends with the request that was read last."""
        self.is_new = False
        """Whether its target wasn't remembered."""
        self._first = b""
        self._node = node
        self._targets: dict[bytes, bytes] = {}  # of request lines
        self._ordinary: dict[bytes, Field] = {}
        self._before: dict[bytes, Field] = {}  # as many that came before those
        self._special: dict[bytes, _Meaning] = {}
        self._fields_of = self.fields_of  # bound once, rather than for each request

    def read(self, data: bytes, most: int) -> Request | None:
        """The request; None for anything but one plain head with at most so many fields."""
        lines = data.split(b"\n")
        count = len(lines)
        if count < 4 or count > most + 3 or lines.pop() or lines.pop() != _END:
            return None
        first = lines.pop(0)
        target = self._targets.get(first)
        self.is_new = target is None
        if target is None:
            if _request_line(first) is None:
                return None
            self._first, target = first, first[_METHOD:-_VERSION]
        notable: dict[bytes, bytes] = {}
        ordinary, seen = self._ordinary, 0
        for line in lines:
            if line not in ordinary:
                meaning = self._special.get(line) or self._learn(line)
                if meaning is None or seen & meaning.bits & _ONCE:
                    return None
                seen |= meaning.bits
                if meaning.bits == _NOTABLE:
                    name, value = meaning.field
                    notable[name] = notable[name] + b", " + value if name in notable else value
        if not seen & _HOST:
            return None
        self.ends = seen & _ENDS != 0
        return Request(b"GET", target, lines, notable, self._fields_of)

    def remember(self) -> None:
        """Remember the target that was read last, which `is_new`. Those of misses hardly come again in time."""
        if len(self._first) <= _LONGEST:
            if len(self._targets) >= _REQUEST_LINES:
                self._targets.clear()
            self._targets[self._first] = self._first[_METHOD:-_VERSION]

    def fields_of(self, lines: list[bytes]) -> list[Field]:
        """The fields of lines that were read."""
        known = self._ordinary
        return [known.get(line) or self._field_of(line) for line in lines]

    def _field_of(self, line: bytes) -> Field:
        meaning = self._special.get(line)
        return _split(line) if meaning is None else meaning.field

    def _learn(self, line: bytes) -> _Meaning | None:
        """What a line that isn't known means; None if it can't be part of a plain head."""
        field = self._before.get(line)
        if field is None:
            if _field_line(line) is None:
                return None
            field = _split(line)
            if field[0] in self.watched:
                return self._learn_special(line, field)
        if len(line) <= _LONGEST:
            if len(self._ordinary) >= _LINES:
                self._before, self._ordinary = self._ordinary, {}
            self._ordinary[line] = field
        return _MERE_FIELD

    def _learn_special(self, line: bytes, field: Field) -> _Meaning | None:
        name, value = field
        bits = _NOTABLE
        if name == b"host":
            is_plain, bits = is_host(value), _HOST
        elif name == b"cdn-loop":
            is_plain, bits = may_be_forwarded(value) and not has_passed(value, self._node), _LOOP
        elif name == b"connection":
            is_plain = value in KEEP_ALIVE or value in _CLOSE
            bits = _CONNECTION | _ENDS if value in _CLOSE else _CONNECTION
        else:
            is_plain = name not in LOOKED_AT and name != b"proxy-connection"
        if not is_plain:
            return None
        meaning = _Meaning(field, bits)
        if len(line) <= _LONGEST and (name == b"connection" or name not in NOTABLE):  # those others hardly come again
            if len(self._special) >= _SPECIAL_LINES:
                self._special.clear()
            self._special[line] = meaning
        return meaning


def _split(line: bytes) -> Field:
    """The field of a line that is one."""
    name, _, value = line.partition(b":")
    return name.lower(), value.strip(b" \r")
