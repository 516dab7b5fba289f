"""The chunked coding (RFC 9112 §7.1), strict except for blanks with which old origins pad sizes (BWS, RFC 9110
§5.6.3). Extensions are skipped, trailers checked and dropped.

Read here and not by llhttp, which doesn't report where a message ends within a segment: the bytes after the
last chunk must be known exactly, since a connection with any left over can't be reused.
"""

from __future__ import annotations

import re

from shield.errors import Fault
from shield.origin.head import LONGEST_BODY, MessageError
from shield.origin.response import Response

LONGEST_LINE = 4096  # bytes of one size line with its extensions, or of one trailer


class ChunkReader:
    """Reads one body, and delivers the contents of its chunks to the response."""

    __slots__ = ("_in_trailers", "_left", "_max_trailers", "_partial", "_response", "complete", "surplus")

    def __init__(self, response: Response, max_trailers: int) -> None:
        self._response = response
        self._max_trailers = max_trailers  # bytes
        self._left = 0  # bytes missing of the chunk and of the line end after it
        self._partial = b""  # of a line, or of the line end after a chunk
        self._in_trailers = False
        self.complete = False
        self.surplus = False  # there were bytes after the end

    def feed(self, data: bytes) -> None:
        """Raises MessageError as soon as the bytes can't become a chunked body."""
        if self._partial:
            data = self._partial + data
            self._partial = b""
        place = 0
        while not self.complete:
            if self._left:
                place = self._read_chunk(data, place)
                if self._left:
                    return
            end = data.find(b"\r\n", place, place + LONGEST_LINE + 2)
            if end < 0:
                self._keep_partial(data[place:])
                return
            line = data[place:end]
            place = end + 2
            if self._in_trailers:
                self._read_trailer(line)
            else:
                self._read_size(line)
        self.surplus = place < len(data)

    def _read_chunk(self, data: bytes, place: int) -> int:
        """Deliver the bytes at hand of the chunk; return where the next line begins, if `_left` is then 0."""
        body = self._left - 2
        stop = place + body
        if len(data) < stop:
            if place < len(data):
                self._left = stop - len(data) + 2
                self._response.deliver(data[place:] if place else data)  # compiled, a slice is always a copy
            return place
        if body:
            self._left = 2
            self._response.deliver(data[place:stop])
        end = data[stop : stop + 2]
        if end == b"\r\n":
            self._left = 0
        elif end in (b"", b"\r"):
            self._partial = end
        else:
            raise _malformed("a chunk longer than its size")
        return stop + 2

    def _read_size(self, line: bytes) -> None:
        found = _SIZE_LINE.fullmatch(line)
        if found is None:
            raise _malformed(f"chunk size {line[:60]!r}")
        size = int(found[1], 16)
        if size > LONGEST_BODY:
            raise _malformed(f"chunk size {line[:60]!r}")
        if size:
            self._left = size + 2
        else:
            self._in_trailers = True

    def _read_trailer(self, line: bytes) -> None:
        if not line:
            self.complete = True
            return
        found = _TRAILER.fullmatch(line)
        if found is None or found[1].lower() in (b"content-length", b"transfer-encoding"):
            raise _malformed(f"trailer {line[:60]!r}")
        self._max_trailers -= len(line) + 2
        if self._max_trailers < 0:
            raise _malformed("too many trailers")

    def _keep_partial(self, line: bytes) -> None:
        if len(line) > LONGEST_LINE + 1:
            raise _malformed(f"a line of chunk framing longer than {LONGEST_LINE} bytes")
        begun = _TRAILER_BEGUN if self._in_trailers else _SIZE_BEGUN
        if begun.fullmatch(line) is None:
            raise _malformed(f"no chunk framing but {line[:60]!r}")
        self._partial = line


# No white space before sizes, no bare CR or LF, no more digits than 64 bits have but for leading zeros.
_SIZE_LINE = re.compile(rb"0*([0-9A-Fa-f]{1,16})[\t ]*(?:;[\t\x20-\x7e\x80-\xff]*)?")
_SIZE_BEGUN = re.compile(rb"(?:0*[0-9A-Fa-f]{1,16}[\t ]*(?:;[\t\x20-\x7e\x80-\xff]*)?\r?)?")
_TRAILER = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+)[\t ]*:[\t\x20-\x7e\x80-\xff]*")
_TRAILER_BEGUN = re.compile(rb"(?:[!#$%&'*+\-.^_`|~0-9A-Za-z]+[\t ]*(?::[\t\x20-\x7e\x80-\xff]*\r?)?)?|\r")


def _malformed(detail: str) -> MessageError:
    return MessageError(Fault.MALFORMED, f"{detail} in its chunked body")
