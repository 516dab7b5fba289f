"""Bodies that don't match the checksum that their origin states: they never end cleanly.

The piece that completes a body is passed on only once the checksum is right. Before that a client can't have all that
Content-Length states, so a wrong body is cut off; one that came in a single piece can be fetched elsewhere.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter
from typing import Protocol

from shield.errors import Fault, OriginError
from shield.origin.response import Response, Sink
from shield.origin.want import Want
from shield.records import Came, Seen
from shield.rules.checksums import Checksum, Vigilance, checksum_of_body
from shield.rules.digests import WORDS
from shield.rules.providers import Provider

STATING = frozenset(WORDS) | {b"x-amz-checksum-sha1"}
"""Fields with which a response may state a checksum that can be computed here."""


class Stating(Protocol):
    """An origin, as far as it matters here."""

    name: str
    faults: Counter[str]
    provider: Provider
    seen: Seen
    vigilance: Vigilance


def guard(response: Response, origin: Stating, want: Want) -> None:
    """Compare the body of this response with its stated checksum, if it has one that can be computed."""
    if want.method == b"GET":
        checksum = checksum_of_body(response.head, md5_etags=origin.provider.md5_etags)
        now = asyncio.get_running_loop().time()
        if checksum is not None and origin.vigilance.covers(checksum, response.head.length, now):
            response.guard = lambda sink: _Guarded(sink, response, checksum, origin, want.path)


class _Guarded:
    """The body on its way to `sink`."""

    __slots__ = ("_checksum", "_hash", "_left", "_origin", "_path", "_response", "_sink")

    def __init__(self, sink: Sink, response: Response, checksum: Checksum, origin: Stating, path: bytes) -> None:
        self._sink = sink
        self._response = response
        self._checksum = checksum
        self._origin = origin
        self._path = path
        self._left = response.head.length
        self._hash = hashlib.new(checksum.algorithm, usedforsecurity=False)

    def on_data(self, data: bytes) -> None:
        self._hash.update(data)
        if self._left is not None:
            self._left -= len(data)
            if self._left == 0 and self._is_wrong():
                self._response.close()
                self._sink.on_end(self._damaged())
                return
        self._sink.on_data(data)

    def on_end(self, error: OriginError | None) -> None:
        is_unknown = error is None and self._left is None  # its length: the end itself is still to be passed on
        self._sink.on_end(self._damaged() if is_unknown and self._is_wrong() else error)

    def _is_wrong(self) -> bool:
        return self._hash.digest() != self._checksum.value

    def _damaged(self) -> OriginError:
        origin, fault = self._origin, Fault.DAMAGED
        now = asyncio.get_running_loop().time()
        origin.faults[fault.value] += 1
        origin.seen.failed(Came.BROKEN, now, self._path)
        origin.vigilance.alarm(now)
        return OriginError(origin.name, fault, f"the body doesn't match the stated {self._checksum.algorithm}")
