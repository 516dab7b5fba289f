"""The states of a client's connection: how it reads, how it ends, and how its response is framed.

    Reading   IDLE <-> HEAD     a head begins, and is complete
              HEAD > BODY > IDLE    it announces a chunked body, which turns out to be empty
              IDLE <-> LATER        a head begins while a response is in progress, and that is complete
              any but ENDED > DEAF  a refusal, a last request, a close, an abort
              any > ENDED           the client has sent its last byte

    Life      OUTSIDE > OPEN or NUMBERED     the door admits it, or its listener has no limits
              OPEN, NUMBERED > STOPPING      the node stops while a response is in progress or a head has begun
              any but OUTSIDE > CLOSING      the last response is written, it was idle for too long, or it is aborted

Requests in progress and in the queue are no part of these: `ClientConnection` has them. Whether reading is paused is
the transport's state; whether it accepts more data is `ready`.
"""

from __future__ import annotations

from enum import Enum


class Reading(Enum):
    """The use of received bytes."""

    IDLE = "idle"  # between two heads: the next byte begins one
    HEAD = "head"  # a head has begun: the rest of it must arrive within `head_seconds`
    BODY = "body"  # an empty body is expected, within the time of its head
    LATER = "later"  # they wait unparsed behind a response in progress, and reading is paused
    DEAF = "deaf"  # they are discarded: no further request is accepted
    ENDED = "ended"  # as DEAF, after the client's end of file: nothing needs to be read before closing


class Life(Enum):
    """The connection's next step once the response in progress is written."""

    OUTSIDE = "outside"  # not admitted yet, or rejected: the door doesn't count it
    OPEN = "open"  # wait for the next request; the only state with a fast path
    NUMBERED = "numbered"  # as OPEN, for a limited number of requests: each is examined, since it may be the last
    STOPPING = "stopping"  # close: the node is about to stop
    CLOSING = "closing"  # nothing more is written: the write buffer is flushed, then the transport is closed


class AnswerFraming(Enum):
    """The framing of a streamed response's body, and how the client notices an incomplete one (RFC 9112 §6.3)."""

    LENGTH = "length"  # Content-Length: an incomplete body is too short
    CHUNKED = "chunked"  # chunks: an incomplete body lacks the last one
    UNTIL_CLOSE = "until-close"  # the end of the connection: only a reset marks an incomplete body
