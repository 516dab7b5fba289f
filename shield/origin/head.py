"""One response head: strict parsing, and the framing of the body after it. No sockets, no state.

llhttp (through httptools) reads the fields; heads that it accepts but RFC 9112 or caution doesn't are refused
here. Anything ambiguous is an error: a shield must never disagree with an origin on where a body ends. Field lines
without influence on that are mended where RFC 9112 §5 says how, else omitted one by one.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from enum import Enum
from typing import Final

from httptools import HttpParserError, HttpResponseParser

from shield.errors import Fault
from shield.messages import Field, ResponseHead

LONGEST_BODY = 2**63 - 1  # bytes; a longer Content-Length can't be genuine


class Framing(Enum):
    """How the end of the body is determined (RFC 9112 §6.3)."""

    NONE = "none"  # there is no body, whatever the fields say
    LENGTH = "length"  # ResponseHead.length bytes
    CHUNKED = "chunked"  # until the last chunk
    CLOSE = "close"  # until the connection ends


class MessageError(Exception):
    """A message that can't be used: `fault` is MALFORMED or TOO_LARGE."""

    def __init__(self, fault: Fault, detail: str) -> None:
        super().__init__(detail)
        self.fault = fault
        self.detail = detail


class NoMessageError(MessageError):
    """Bytes that don't begin like an HTTP/1.x response."""

    def __init__(self, data: bytes | bytearray) -> None:
        super().__init__(Fault.MALFORMED, f"no HTTP/1.x status line but {bytes(data[:60])!r}")


def check_begun(data: bytes | bytearray) -> None:
    """Refuse at once bytes that can't become a head. Raises NoMessageError."""
    if not data.startswith(_BEGINNING[: len(data)]):
        raise NoMessageError(data)


def _pass_over(line: bytes) -> None: ...


def parse_head(
    data: bytes, *, method: bytes, max_fields: int, dropped: Callable[[bytes], None] = _pass_over
) -> tuple[ResponseHead, Framing, bool]:
    """Read `data`, one whole head that ends with its first empty line, in response to GET or HEAD.

    Returns the head, its framing, and whether the connection may carry another exchange. Interim heads (1xx)
    come out with Framing.NONE. `dropped` is called with each field line that is omitted as not well-formed.
    Raises MessageError.
    """
    begin = data[: data.find(b"\n") + 1]
    status = _STATUSES.get(begin) or _status_of(begin, data)
    head = ResponseHead(abs(status), _parse_fields(data, max_fields, dropped), None)
    named, is_modern = head.named, status > 0
    stated = named.get(b"content-length", b"")
    if (
        status != 200
        or not stated.isdigit()
        or len(stated) > _DIGITS
        or method != b"GET"
        or not is_modern
        or named.get(b"connection", b"keep-alive") != b"keep-alive"
        or b"transfer-encoding" in named
        or len(named) != len(head.fields)
    ):
        return _framed(head, method, is_modern=is_modern)
    head.length = int(stated)
    return head, Framing.LENGTH, True


def _framed(head: ResponseHead, method: bytes, *, is_modern: bool) -> tuple[ResponseHead, Framing, bool]:
    """The same for any head, by all field lines that matter (RFC 9112 §6.3, §9.3)."""
    status = head.status
    if status == 101:
        raise MessageError(Fault.MALFORMED, "switches protocols unasked (101)")
    length: int | None = None
    chunked = False
    persistent = is_modern
    for name, value in [field for field in head.fields if field[0] in _FRAMING_FIELDS]:
        if name == b"content-length":
            length = _parse_length(value, length)
        elif name == b"transfer-encoding":
            if chunked or not is_modern or value.lower() != b"chunked":
                raise MessageError(Fault.MALFORMED, f"transfer-encoding {value[:60]!r} can't be read safely")
            chunked = True
        elif b"close" in [option.strip(b" \t") for option in value.lower().split(b",")]:
            persistent = False
    if chunked and length is not None:
        raise MessageError(Fault.MALFORMED, "both content-length and transfer-encoding")

    head.length = length
    if method == b"HEAD":
        return head, Framing.NONE, persistent and not chunked
    if status == 304:
        # Both may state a length without a body (RFC 9110 §8.6); announced chunks might really come.
        head.length = 0
        return head, Framing.NONE, persistent and not chunked
    if status < 200 or status == 204:
        bodiless = not chunked and not length  # neither may state a body; its bytes would be the next response
        if status < 200 and not bodiless:
            raise MessageError(Fault.MALFORMED, f"an interim response ({status}) with a body")
        head.length = 0
        return head, Framing.NONE, persistent and bodiless
    if chunked:
        return head, Framing.CHUNKED, persistent
    if length is None:
        return head, Framing.CLOSE, False
    return head, Framing.LENGTH, persistent


def _status_of(begin: bytes, data: bytes) -> int:
    """The status in a line that isn't known, negative if it is HTTP/1.0."""
    line = _STATUS_LINE.fullmatch(begin)
    if line is None:
        raise _no_status_line(data)
    status = int(line[2]) if line[1] == b"1" else -int(line[2])
    if len(_STATUSES) < 256 and len(begin) <= 64:
        _STATUSES[begin] = status
    return status


def _no_status_line(data: bytes) -> MessageError:
    check_begun(data)
    return MessageError(Fault.MALFORMED, f"no HTTP/1.x status line but {data[:60]!r}")


_BEGINNING = b"HTTP/1."

# Rules out what llhttp accepts: RTSP, versions 0.9 and 2.0, leading empty lines, control bytes in the reason,
# statuses outside 100 to 599.
_STATUS_LINE = re.compile(rb"HTTP/1\.([01]) ([1-5][0-9]{2})(?: [\t\x20-\x7e\x80-\xff]*)?\r\n")
_STATUSES: Final[dict[bytes, int]] = {}  # by status line, negative with HTTP/1.0
_DIGITS: Final = 18  # more may exceed `LONGEST_BODY`
_BLANKS: Final = (0x20, 0x09)
_FRAMING_FIELDS = frozenset({b"content-length", b"transfer-encoding", b"connection"})


class _FieldReader:
    """Parser callbacks that collect one head's fields."""

    __slots__ = ("complete", "fields")

    def __init__(self) -> None:
        self.fields: list[Field] = []
        self.complete = False

    def on_header(self, name: bytes, value: bytes) -> None:
        if value and value[-1] in _BLANKS:
            value = value.rstrip(b" \t")  # llhttp strips before values only
        self.fields.append((_NAMES.get(name) or _lowered(name), value))

    def on_headers_complete(self) -> None:
        self.complete = True


def _parse_fields(data: bytes, max_fields: int, dropped: Callable[[bytes], None]) -> tuple[Field, ...]:
    reader = _FieldReader()
    try:
        HttpResponseParser(reader).feed_data(data)
    except HttpParserError as error:
        data, reader = _read_mended(data, max_fields, dropped, error)
    if not reader.complete or len(reader.fields) > max_fields:
        raise _unusable(reader, max_fields)
    return tuple(reader.fields)


def _read_mended(
    data: bytes, max_fields: int, dropped: Callable[[bytes], None], error: HttpParserError
) -> tuple[bytes, _FieldReader]:
    """Read a head with a malformed field line: the mended head and its fields."""
    mended = _mended(data, max_fields, dropped)
    if mended is None:
        raise MessageError(Fault.MALFORMED, f"{error} in its head") from None
    reader = _FieldReader()
    try:
        HttpResponseParser(reader).feed_data(mended)
    except HttpParserError as still:
        raise MessageError(Fault.MALFORMED, f"{still} in its head") from None
    return mended, reader


def _unusable(reader: _FieldReader, max_fields: int) -> MessageError:
    if not reader.complete:
        return MessageError(Fault.MALFORMED, "its head has no proper end")
    return _too_many(len(reader.fields), max_fields)


def _mended(data: bytes, max_fields: int, dropped: Callable[[bytes], None]) -> bytes | None:
    """The head with its field lines corrected; None if a fault may concern the end of the head or body."""
    status, *lines = data[:-4].split(b"\r\n")
    if len(lines) > max_fields:
        raise _too_many(len(lines), max_fields)
    kept: list[bytes] = []
    is_folding = False  # the next line may continue the last one kept
    for line in lines:
        if b"\r" in line or b"\n" in line:
            return None  # other parsers would see another line here
        found = _FIELD_LINE.fullmatch(line)
        if found is None and _FRAMING_NAME.search(line):
            return None
        if found is not None:
            if found[2] and found[1].lower() in _OF_BODY:
                return None
            kept.append(found[1] + b":" + found[3])  # without blanks before the colon (RFC 9112 §5.1)
            is_folding = True
        elif line[:1] in (b" ", b"\t") and is_folding and _VALUE.fullmatch(line):
            if kept[-1].partition(b":")[0].lower() in _OF_BODY:
                return None
            kept[-1] += b" " + line.lstrip(b" \t")  # §5.2
        else:
            is_folding = is_folding and line[:1] in (b" ", b"\t")
            dropped(line)
    return b"\r\n".join((status, *kept, b"", b""))


_OF_BODY = frozenset({b"content-length", b"transfer-encoding"})
_FRAMING_NAME = re.compile(rb"(?i)content-length|transfer-encoding")
_FIELD_LINE = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+)([\t ]*):([\t\x20-\x7e\x80-\xff]*)")
_VALUE = re.compile(rb"[\t\x20-\x7e\x80-\xff]*")


def _too_many(count: int, allowed: int) -> MessageError:
    return MessageError(Fault.TOO_LARGE, f"{count} fields, {allowed} are allowed")


def _parse_length(value: bytes, before: int | None) -> int:
    if not value.isdigit() or len(value) > 19:
        raise MessageError(Fault.MALFORMED, f"content-length {value[:60]!r}")
    length = int(value)
    if length > LONGEST_BODY or (before is not None and before != length):
        raise MessageError(Fault.MALFORMED, f"content-length {value[:60]!r}")
    return length


def _lowered(name: bytes) -> bytes:
    lowered = name.lower()
    if len(_NAMES) < 1024 and len(name) <= 64:
        _NAMES[name] = lowered
    return lowered


_NAMES: Final[dict[bytes, bytes]] = {}
"""Lower-case names. Responses repeat the same few: each is lowered once and its bytes are shared."""
