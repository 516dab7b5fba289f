"""A strict reader of multipart/byteranges that knows nothing of who wrote it (RFC 2046 §5.1.1, RFC 9110 §14.6)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from email.message import Message


@dataclass(frozen=True)
class Part:
    """Bytes `first` to `last`, both included, of `length` in all."""

    first: int
    last: int
    length: int
    content_type: str | None
    data: bytes


def read_parts(content_type: str, body: bytes) -> list[Part]:
    """The parts in order; AssertionError for whatever isn't as it should be."""
    delimiter = b"\r\n--" + boundary_of(content_type).encode()
    preamble, *middle, end = body.split(delimiter)
    assert preamble == b"", "something before the first part"
    assert end == b"--\r\n", "no proper end"
    return [_part(text) for text in middle]


def boundary_of(content_type: str) -> str:
    message = Message()
    message["content-type"] = content_type
    assert message.get_content_type() == "multipart/byteranges"
    boundary = message.get_boundary()
    assert boundary is not None and re.fullmatch(r"[0-9A-Za-z'()+_,./:=?-]{1,70}", boundary)
    return boundary


def _part(text: bytes) -> Part:
    head, blank, data = text.partition(b"\r\n\r\n")
    assert head.startswith(b"\r\n") and blank, "a delimiter without its line end, or a head without its own"
    fields = {
        name.lower(): value.strip()
        for name, _, value in (line.partition(":") for line in head[2:].decode().split("\r\n"))
    }
    found = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+)", fields.pop("content-range"))
    kind = fields.pop("content-type", None)
    assert found is not None and not fields
    first, last, length = (int(number) for number in found.groups())
    assert first <= last < length and len(data) == last - first + 1
    return Part(first, last, length, kind, data)
