"""Trace Context (W3C): where a request belongs in a trace, as its fields say; and which traces are sampled. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

from shield.messages import Field

TRACEPARENT, TRACESTATE = b"traceparent", b"tracestate"

MOST_STATE = 512
"""Bytes of a tracestate that is passed on: as many as everyone must take (§3.3.1.5); a longer one is dropped."""

# §3.2.2: later versions may have more after these parts.
_PARTS = re.compile(rb"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.DOTALL).fullmatch
_is_state = re.compile(rb"[ -~]*").fullmatch
_SAMPLED = 1
_TAIL = 1 << 56  # §5.1 of level 2: the last seven bytes of a trace's id are random


@dataclass(frozen=True, slots=True)
class TraceContext:
    """The trace and the span that a request belongs to, from elsewhere; its caller has recorded that span, if
    `is_sampled`. `state` is to be passed on unread.
    """

    trace_id: int
    span_id: int
    is_sampled: bool
    state: bytes = b""


def parse_context(parent: bytes, state: bytes = b"") -> TraceContext | None:
    """The context in these fields' values; None if there is none, or it isn't valid: then a trace begins here."""
    match = _PARTS(parent)
    if match is None or match[1] == b"ff" or (match[1] == b"00" and match[5] is not None):
        return None
    trace_id, span_id, flags = int(match[2], 16), int(match[3], 16), int(match[4], 16)
    if not trace_id or not span_id:
        return None
    kept = state if len(state) <= MOST_STATE and _is_state(state) else b""
    return TraceContext(trace_id, span_id, bool(flags & _SAMPLED), kept)


def context_fields(trace_id: int, span_id: int, state: bytes = b"", *, is_sampled: bool) -> tuple[Field, ...]:
    """The fields that tell a server of this context."""
    parent = (TRACEPARENT, b"00-%032x-%016x-%02x" % (trace_id, span_id, is_sampled))
    return (parent, (TRACESTATE, state)) if state else (parent,)


def is_sampled(trace_id: int, share: float) -> bool:
    """Whether a trace is among this share of all: the same at every service that sees it."""
    return trace_id % _TAIL < share * _TAIL
