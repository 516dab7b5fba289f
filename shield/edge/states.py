"""In which state a client's connection is: how it listens, how long it lives, and how the answer it sends is framed.

    Reading   IDLE <-> HEAD     a head begins, and is complete
              HEAD > BODY > IDLE    it says that its body is chunked, and that is empty
              IDLE <-> LATER        a head begins while an answer is under way, and that is written
              any but ENDED > DEAF  a refusal, a last request, a close, a cut
              any > ENDED           the client has sent its last byte

    Life      OUTSIDE > OPEN or NUMBERED     the door lets it in, or nothing counts it
              OPEN, NUMBERED > STOPPING      the node stops, while an answer is under way or a head has begun
              any but OUTSIDE > CLOSING      the last answer is written, it was idle for too long, or it is cut

What is under way is no state of these: `ClientConnection` has the request that is being answered and those that wait.
Whether the transport reads is the transport's to know, and whether it takes more is `ready`.
"""

from __future__ import annotations

from enum import Enum


class Reading(Enum):
    """What becomes of the bytes that come."""

    IDLE = "idle"  # between two heads: the next byte begins one
    HEAD = "head"  # a head has begun: the rest of it must come within its time
    BODY = "body"  # an empty body is awaited, within the time of its head
    LATER = "later"  # they wait as they came: the requests before them aren't answered yet, and reading pauses
    DEAF = "deaf"  # they are dropped: no further request is taken
    ENDED = "ended"  # as DEAF, and none will come: nothing needs to be read before the close


class Life(Enum):
    """How the connection goes on once the answer under way is written."""

    OUTSIDE = "outside"  # not let in yet, or turned away: the door doesn't count it
    OPEN = "open"  # the next request is awaited; the only state with a fast lane
    NUMBERED = "numbered"  # as OPEN, for so many more requests: each is looked at, since it may be the last
    STOPPING = "stopping"  # it closes: the node is about to stop
    CLOSING = "closing"  # nothing more is written: what waits goes out, then the transport closes


class AnswerFraming(Enum):
    """By what the client knows where the body of a streamed answer ends (RFC 9112 §6.3)."""

    LENGTH = "length"  # by Content-Length: one that breaks off is seen to be short
    CHUNKED = "chunked"  # by the last chunk, which is left out if it breaks off
    UNTIL_CLOSE = "until-close"  # by the end of the connection: only a reset shows that it breaks off
