"""Exact parts of a large entry, for those who are the first to want little of a slice: kept in memory for as long as
they are read, and stored nowhere.

All ask for the very version of the entry's head, as runs do.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection
from typing import Literal

from shield.errors import Fault, OriginError
from shield.fill.audience import Audience, Failure
from shield.fill.buffer import FillBuffer
from shield.fill.means import Means
from shield.fill.readers import Reader
from shield.fill.setbacks import Setbacks
from shield.fill.versions import EntryVersion
from shield.messages import Request
from shield.origin.response import Response
from shield.origin.want import Absent, Fetched, Want
from shield.rules.ranges import Span
from shield.rules.routes import Resource
from shield.store.entry import Entry
from shield.store.slices import Where

log = logging.getLogger("shield.fill")


class Excerpts:
    """Those of one version. It refers to its audience by its excerpts only: what is over must go without the garbage
    collector."""

    def __init__(
        self,
        means: Means,
        *,
        resource: Resource,
        target: bytes,
        entry: Entry,
        setbacks: Setbacks,
        version: EntryVersion,
    ) -> None:
        self.means = means
        self._version = version
        self._resource = resource
        self._target = target
        self._entry = entry
        self._all: list[Excerpt] = []
        self._setbacks = setbacks
        self.hops = 0  # of their readers, as in `Request.hops`

    def __len__(self) -> int:
        return len(self._all)

    def read(self, position: int) -> bytes | memoryview | Literal[Where.MISSING] | None:
        """Bytes at an absolute offset, as many as are at hand in one piece; None when they are on their way."""
        for excerpt in self._all:
            if excerpt.start <= position < excerpt.stop:
                return excerpt.buffer.read(position - excerpt.start)
        return Where.MISSING

    def covers(self, position: int) -> bool:
        return any(excerpt.start <= position < excerpt.stop for excerpt in self._all)

    @property
    def under_way(self) -> int:
        """Those that have not ended."""
        return sum(not excerpt.is_over for excerpt in self._all)

    def bring(self, span: Span, audience: Audience) -> None:
        """Have a part fetched, as far as another one doesn't bring it."""
        entry = self._entry
        if self._setbacks.is_resting(span.start // entry.slice_bytes):
            return
        stop = min([span.stop, entry.length, *[e.start for e in self._all if span.start < e.start < span.stop]])
        excerpt = self._begin(Span(span.start, stop), audience)
        if excerpt is not None:
            excerpt.fetch(
                Want(
                    b"GET",
                    self._resource.path,
                    self._resource.query,
                    span=Span(span.start, stop),
                    etag=entry.etag,
                    length=entry.length,
                    version_of=entry.origin,
                    resumes=self._setbacks.broken_by(span.start // entry.slice_bytes),
                    forwarded=self._resource.forwarded,
                    key=self._resource.named,
                    request=_request(self._target, self.hops),
                    choice=self._resource.route.choice,
                    version=self._version.get(),
                    route=self._resource.route.name,
                ),
                self._resource,
            )

    def adopt(self, fetched: Fetched, span: Span, audience: Audience) -> Excerpt | None:
        """One over an answer that is there already, to be begun by the caller; None, and the answer is closed, when
        there is no memory for it."""
        excerpt = self._begin(span, audience)
        if excerpt is None:
            fetched.response.close()
        else:
            excerpt.response = fetched.response
        return excerpt

    def _begin(self, span: Span, audience: Audience) -> Excerpt | None:
        buffer = FillBuffer(self.means.memory)
        if not buffer.retain(span.stop - span.start):
            self.means.memory.wait(audience.tell_soon)
            return None
        excerpt = Excerpt(self, span, buffer, audience)
        self._all.append(excerpt)
        return excerpt

    def let_go(self, readers: Collection[Reader]) -> None:
        """Give up those that all readers have passed or won't come to."""
        for excerpt in list(self._all):
            if not any(_needs(reader, excerpt) for reader in readers):
                self._all.remove(excerpt)
                excerpt.close()

    def ended(self, excerpt: Excerpt, failure: Failure | None) -> None:
        """What has come of it stays for its readers; the rest may be asked for again."""
        number, is_final = excerpt.start // self._entry.slice_bytes, False
        excerpt.is_over = True
        excerpt.stop = excerpt.start + excerpt.buffer.received
        if excerpt.buffer.received:
            self._setbacks.overcome(number)
        if failure is not None:
            is_final = not self._setbacks.note(number, failure, excerpt.began, excerpt.audience)
        if not excerpt.buffer.received and excerpt in self._all:
            self._all.remove(excerpt)
            excerpt.close()
        excerpt.audience.run_over(failure, is_final=is_final)

    def close(self) -> None:
        """Give all up."""
        excerpts, self._all = self._all, []
        for excerpt in excerpts:
            excerpt.close()


class Excerpt:
    """One fetch: bytes from `start` to `stop`, all of them kept."""

    __slots__ = ("_excerpts", "_task", "audience", "began", "buffer", "is_over", "response", "start", "stop")

    def __init__(self, excerpts: Excerpts, span: Span, buffer: FillBuffer, audience: Audience) -> None:
        self.start = span.start
        self.stop = span.stop
        self.buffer = buffer
        self.audience = audience
        self.response: Response | None = None
        self.began = excerpts.means.loop.time()
        self.is_over = False
        self._excerpts = excerpts
        self._task: asyncio.Task[None] | None = None

    def fetch(self, want: Want, resource: Resource) -> None:
        """Ask for it."""
        self._task = self._excerpts.means.loop.create_task(self._fetch(want, resource))

    async def _fetch(self, want: Want, resource: Resource) -> None:
        try:
            result = await self._excerpts.means.source.fetch(resource.tried, want)
            if isinstance(result, Fetched):
                self.response = result.response
                self.start_reading()
            else:
                gone = OriginError("-", Fault.VALIDATOR, "it is gone")
                self._excerpts.ended(self, gone if isinstance(result, Absent) else result)
        except Exception as error:  # a bug of ours must release the readers too
            log.exception("fill of %s failed", resource.label)
            failure = OriginError("-", Fault.CANCELLED, f"internal error: {type(error).__name__}")
            self._excerpts.ended(self, failure)
        finally:
            self._task = None

    def start_reading(self) -> None:
        """Let it come in."""
        if self.response is not None:
            self.response.start(self)

    def close(self) -> None:
        """Fetch no more, and give the memory back."""
        response, self.response = self.response, None
        if response is not None:
            response.close()
        if self._task is not None:
            self._task.cancel()
            self._task = None
        self.buffer.release()

    # called by the origin's connection

    def on_data(self, data: bytes) -> None:
        room = self.stop - self.start - self.buffer.received
        self.audience.spend(len(data))
        self.buffer.append(data if len(data) <= room else data[:room])
        self.audience.tell()

    def on_end(self, error: OriginError | None) -> None:
        self.response = None
        if error is None and not self.buffer.received:
            error = OriginError("-", Fault.SHORT_BODY, f"ended before byte {self.start}")
        self._excerpts.ended(self, error)


def _needs(reader: Reader, excerpt: Excerpt) -> bool:
    return reader.position < excerpt.stop and (reader.stop is None or reader.stop > excerpt.start)


def _request(target: bytes, hops: int) -> Request:
    request = Request(b"GET", target, [], {})
    if hops:
        request.note_hops(hops)
    return request
