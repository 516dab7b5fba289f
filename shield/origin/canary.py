"""Asks an origin for a listing and for the first byte of an object, as traffic would: the same signer, pool, resolver
and TLS, and the same limits of time. `rules.canaries` judges the responses.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from shield.errors import Fault, OriginError
from shield.origin.origin import Origin
from shield.origin.refusal import BODY_LIMIT, clock_of, read_refusal
from shield.origin.response import Response
from shield.origin.want import Want
from shield.rules.canaries import LISTING, SKEW_SECONDS, CanaryEvidence, Heard, Missed, Told, object_in
from shield.rules.ranges import Span


class Canary:
    """One examination of one origin. `path` is an object's, as a route maps it; None: one of a listing, if allowed.

    `deadline` is of the loop's time, `clock` tells epoch seconds.
    """

    def __init__(
        self, origin: Origin, path: bytes | None, query: bytes, *, deadline: float, clock: Callable[[], float]
    ) -> None:
        self._origin = origin
        self._path = path
        self._query = query
        self._deadline = deadline
        self._clock = clock
        self._offset: float | None = None
        self._document = b""

    async def examine(self) -> CanaryEvidence:
        """All that can be found out before the deadline. Doesn't raise."""
        signed = self._origin.provider.signed
        listing = await self._heard(Want(b"GET", b"/", LISTING if signed else b""))
        path, query, named = self._path, self._query, self._path is not None
        if path is None and isinstance(listing, Told) and listing.lists:
            path, query = object_in(self._document), b""
        got = None
        if path is not None and isinstance(listing, Told):
            got = await self._heard(Want(b"GET", path, query, span=Span(0, 1)))
        shown = None if path is None else path.decode("ascii", "replace")
        return CanaryEvidence(listing, shown, named, got, self._offset)

    async def _heard(self, want: Want) -> Heard:
        """The response, or that to a second request by the origin's clock if ours was refused, as for traffic."""
        heard = await self._once(want)
        offset = self._offset
        if isinstance(heard, Told) and heard.status == 403 and offset is not None and abs(offset) > SKEW_SECONDS:
            now = self._clock()
            if abs(self._origin.signer.skew - offset) > SKEW_SECONDS:
                self._origin.signer.correct_clock(now + offset, now)
                heard = await self._once(want)
        return heard

    async def _once(self, want: Want) -> Heard:
        try:
            response = await self._origin.ask(want, self._clock(), self._deadline)
            self._note_clock(response)
            if response.head.status in (200, 206):
                return await self._success(want, response)
            refusal = await read_refusal(response, self._deadline)
        except OriginError as error:
            return Missed(error.fault, error.detail)
        except TimeoutError:
            return Missed(Fault.BETWEEN_BYTES_TIMEOUT, "the end of its response doesn't arrive")
        return Told(refusal.status, refusal.code, refusal.message, refusal.region)

    async def _success(self, want: Want, response: Response) -> Told:
        if want.query != LISTING or not self._origin.provider.signed:
            response.close()
            return Told(response.head.status)
        async with asyncio.timeout_at(self._deadline):
            self._document = await response.read(BODY_LIMIT)
        return Told(response.head.status, lists=b"<ListBucketResult" in self._document)

    def _note_clock(self, response: Response) -> None:
        shown = clock_of(response.head)
        if shown is not None:
            self._offset = shown + 0.5 - self._clock()  # a Date has whole seconds
