"""Plain heads, read without a parser: nearly all lines of nearly all heads have come before.

A head is plain if it is all that has arrived, its lines are canonical ("GET /a HTTP/1.1", "name: value"), it has one
valid Host, and nothing in it frames a message or concerns the connection except for `Connection: close` and
`keep-alive`. llhttp reads any such head in the same way, and accepts it; a property test compares the two. All other
bytes are left to llhttp and to the checks in `reading` and `turn`.
"""

from __future__ import annotations

import re
from typing import Final, cast

from shield.edge.turn import LOOKED_AT, is_host
from shield.messages import NOTABLE, Field, Request
from shield.rules.loops import has_passed, may_be_forwarded

WATCHED: Final = NOTABLE | {b"host", b"proxy-connection", b"cdn-loop"}
"""Names of the fields that are inspected while a head is read."""

KEEP_ALIVE: Final = (b"keep-alive", b"Keep-Alive")
_CLOSE: Final = (b"close", b"Close")
_LINES: Final = 1024  # remembered, and as many from before them
_SPECIAL_LINES: Final = 256
_LONGEST: Final = 256  # a line that is longer is hardly one that comes again

_END: Final = b"\r\n\r\n"
_request_line: Final = re.compile(rb"GET (/[!\"$-~]*) HTTP/1\.1").fullmatch
_field_line: Final = re.compile(
    rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+): ?([!-~\x80-\xff](?:[\t -~\x80-\xff]*[!-~\x80-\xff])?)"
).fullmatch


class PlainHeads:
    """Reads plain heads, and remembers their lines, which are checked once. Shared by connections that watch the same
    fields.

    `node` is its own name in CDN-Loop. `watched` are the names of fields to be found in `Request.notable`: those of
    `WATCHED` at least.
    """

    def __init__(self, node: bytes, watched: frozenset[bytes] = WATCHED) -> None:
        self.watched = watched
        self._node = node
        self._ordinary: dict[bytes, Field] = {}
        self._before: dict[bytes, Field] = {}  # as many that came before those
        self._special: dict[bytes, Field] = {}

    def read(self, data: bytes, most: int) -> tuple[Request, bool] | None:
        """The request, and whether the connection stays open after it; None for anything but one plain head with at
        most so many fields.
        """
        if data[-4:] != _END:
            return None
        lines = data[:-4].split(b"\r\n")
        first = _request_line(lines[0])
        if first is None or len(lines) > most + 1:
            return None
        del lines[0]
        fields = list(map(self._ordinary.get, lines))
        notable: dict[bytes, bytes] = {}
        hosts = loops = 0
        keep_alive = None
        for at, known in enumerate(fields):
            if known is None:
                line = lines[at]
                field = self._special.get(line) or self._learn(line)
                if field is None:
                    return None
                fields[at] = field
                name, value = field
                if name == b"host":
                    hosts += 1
                elif name == b"cdn-loop":
                    loops += 1
                elif name == b"connection":
                    if keep_alive is not None:
                        return None
                    keep_alive = value not in _CLOSE
                elif name in self.watched:
                    notable[name] = notable[name] + b", " + value if name in notable else value
        if hosts != 1 or loops > 1:
            return None
        return Request(b"GET", first[1], cast(list[Field], fields), notable), keep_alive is not False

    def _learn(self, line: bytes) -> Field | None:
        """The field of a line that isn't known; None if it can't be part of a plain head."""
        field = self._before.get(line)
        if field is None:
            found = _field_line(line)
            if found is None:
                return None
            field = found[1].lower(), found[2]
            if field[0] in self.watched:
                return self._learn_special(line, field)
        if len(line) <= _LONGEST:
            if len(self._ordinary) >= _LINES:
                self._before, self._ordinary = self._ordinary, {}
            self._ordinary[line] = field
        return field

    def _learn_special(self, line: bytes, field: Field) -> Field | None:
        name, value = field
        if name == b"host":
            is_plain = is_host(value)
        elif name == b"cdn-loop":
            is_plain = may_be_forwarded(value) and not has_passed(value, self._node)
        elif name == b"connection":
            is_plain = value in KEEP_ALIVE or value in _CLOSE
        else:
            is_plain = name not in LOOKED_AT and name != b"proxy-connection"
        if not is_plain:
            return None
        if len(line) <= _LONGEST and (name == b"connection" or name not in NOTABLE):  # those others hardly come again
            if len(self._special) >= _SPECIAL_LINES:
                self._special.clear()
            self._special[line] = field
        return field
