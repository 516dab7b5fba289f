"""What workers tell each other by the removal log in shared memory, a notice each: the text of a key that was
removed, or of one whose entry became stale at a time, or a mark of a purge.
"""

from __future__ import annotations

import math
import struct

from shield.rules.purging import MarkKind, PurgeMark

_SOFT, _MARK = b"\0", b"\1"  # no text of a key begins so
_MOMENT = struct.Struct("<d")
_MARKED = struct.Struct("<QBBd")
_KINDS = frozenset(MarkKind)


def outdating(text: bytes, at: float) -> bytes:
    """The notice that a key's entry is stale since then."""
    return _SOFT + _MOMENT.pack(at) + text


def outdated_of(notice: bytes) -> tuple[bytes, float] | None:
    """The key's text and the time, if a notice is of that kind."""
    if not notice.startswith(_SOFT) or len(notice) <= _MOMENT.size:
        return None
    return notice[1 + _MOMENT.size :], _MOMENT.unpack_from(notice, 1)[0]


def marking(mark: PurgeMark) -> bytes:
    """The notice of a mark."""
    after = _MOMENT.pack(mark.after) if mark.kind is MarkKind.ORIGIN else b""
    return _MARK + _MARKED.pack(mark.sequence, mark.kind, mark.soft, mark.at) + after + mark.text


def mark_of(notice: bytes) -> PurgeMark | None:
    """The mark, if a notice is of one."""
    if not notice.startswith(_MARK) or len(notice) <= _MARKED.size:
        return None
    sequence, kind, soft, at = _MARKED.unpack_from(notice, 1)
    if kind not in _KINDS or soft > 1:
        return None
    text, after = notice[1 + _MARKED.size :], 0.0
    if kind == MarkKind.ORIGIN:
        if len(text) < _MOMENT.size:
            return None
        (after,), text = _MOMENT.unpack_from(text), text[_MOMENT.size :]
        if not math.isfinite(after):
            return None
    return PurgeMark(sequence, MarkKind(kind), text, bool(soft), at, after)
