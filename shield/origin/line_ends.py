"""Heads of origins that end lines by LF alone, converted to CRLF (RFC 9112 §2.2).

Only for origins configured so: where one recipient sees a line end and another doesn't, they disagree on the
response.
"""

from __future__ import annotations

import re

_end_of_head = re.compile(rb"\n\r?\n").search
_LINE_END = re.compile(rb"\r?\n")
_is_interim = re.compile(rb"HTTP/1\.[01] 1").match


def with_line_ends(data: bytes) -> bytes | None:
    """The same bytes with CRLF in the first final head and the interim ones before it; None until that head is whole.

    A CR elsewhere stays unchanged, and the parser of the head refuses it.
    """
    heads = []
    while True:
        end = _end_of_head(data)
        if end is None:
            return None
        heads.append(_LINE_END.sub(b"\r\n", data[: end.end()]))
        data = data[end.end() :]
        if not _is_interim(heads[-1]):
            return b"".join((*heads, data))
