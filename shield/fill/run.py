"""One fetch of consecutive slices of a large entry. If it breaks off or is late, it continues from the next byte on,
at any origin that has the same bytes.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Protocol

from shield.errors import Fault, OriginError
from shield.fill.audience import Audience, Failure
from shield.fill.buffer import FillBuffer
from shield.fill.means import Means
from shield.fill.shelf import Shelf
from shield.fill.traces import begin_trace
from shield.origin.response import After, Response
from shield.origin.version import Version
from shield.origin.want import Absent, Fetched, Keeping, Want
from shield.rules.persistence import Breaks, continues_at
from shield.rules.ranges import Span
from shield.rules.routes import Resource
from shield.trace import FetchTrace

log = logging.getLogger("shield.fill")


class RunKeeper(Protocol):
    """All runs of one version, as one of them sees them."""

    means: Means
    resource: Resource
    shelf: Shelf
    slice_bytes: int

    @property
    def version(self) -> Version | None:
        """The version that it brings; None if no other origin may have it."""

    def __contains__(self, run: object) -> bool:
        """Whether a run is under way."""

    def want(self, span: Span) -> Want:
        """The fetch of a part."""

    def answered(self, run: Run) -> None:
        """What it asked for is to be had: those that are far behind needn't bring it."""

    def begin_slice(self, run: Run, number: int) -> FillBuffer | None:
        """A buffer for the slice that arrives next; None when there is no memory for it: it is resumed later."""

    def slice_complete(self, run: Run, number: int) -> None:
        """All bytes of a slice are there."""

    def ended(self, run: Run, failure: Failure | None) -> None:
        """Nothing more comes of it."""

    def outruns(self, run: Run) -> bool:
        """Whether it is farther ahead of its readers than they have come."""

    def wait_for_readers(self, run: Run) -> None:
        """Have it resumed when its readers have come nearer."""

    def count_continued(self, origin: str) -> None:
        """It broke off or was late, and continued from this origin."""


class Run:
    """One fetch: bytes from `at` to `stop`, in order. Each slice's buffer is the shelf's from its first byte on.

    `by_peer`: another worker stores them. `is_partly`: they come from an origin that isn't
    fully proven to have this version, and aren't stored.
    """

    __slots__ = (
        "_breaks",
        "_broke",
        "_buffer",
        "_cut",
        "_early",
        "_has_asked",
        "_paused",
        "_response",
        "_runs",
        "_task",
        "at",
        "audience",
        "began",
        "by_peer",
        "granted",
        "is_partly",
        "origin",
        "stop",
        "trace",
    )

    def __init__(self, runs: RunKeeper, start: int, stop: int, audience: Audience) -> None:
        self.at = start
        self.stop = stop
        self.audience = audience
        self.began = runs.means.loop.time()
        self.granted = 0  # up to there it needn't wait for its readers
        self.by_peer = self.is_partly = False
        self.origin: str | None = None
        self.trace: FetchTrace | None = None
        self._runs = runs
        self._buffer: FillBuffer | None = None  # of the slice that arrives
        self._early: list[bytes] = []  # came while there was no memory for it
        self._paused = False
        self._cut = False  # the answer has more to say than is wanted
        self._response: Response | None = None
        self._task: asyncio.Task[None] | None = None
        self._broke: OriginError | None = None  # since nothing comes, but other origins are being asked already
        self._breaks = Breaks()
        self._has_asked = False  # other origins, since it was late

    def fetch(self) -> None:
        """Ask for it."""
        self._begin(self._runs.resource.tried, self._runs.version)

    def _begin(self, names: Sequence[str], version: Version | None, *, resumes: str | None = None) -> None:
        loop, want = self._runs.means.loop, self._runs.want(Span(self.at, self.stop))
        want.version, want.resumes = version, resumes or want.resumes
        self.trace = self.trace or begin_trace(want, self._runs.resource, self._runs.means, is_background=True)
        want.trace = self.trace
        self.began = loop.time()
        self._task = loop.create_task(self._fetch(names, want))

    async def _fetch(self, names: Sequence[str], want: Want) -> None:
        runs, result = self._runs, None
        try:
            result = await runs.means.source.fetch(names, want)
            self._task = None
            if isinstance(result, Fetched):
                self._go_on(result, want)
            elif want.version is runs.version:
                self._drop_buffer()
                failure = OriginError("-", Fault.VALIDATOR, "it is gone") if isinstance(result, Absent) else result
                runs.ended(self, failure)
            elif self._broke is not None:  # while others were asked, since it was late
                self._conclude(self._broke)
        except Exception as error:  # a bug of ours must release the readers too
            log.exception("fill of %s failed", runs.resource.label)
            if isinstance(result, Fetched):
                result.response.close()
            self.close()
            runs.ended(
                self, OriginError(self.origin or "-", Fault.CANCELLED, f"internal error: {type(error).__name__}")
            )

    def _go_on(self, fetched: Fetched, want: Want) -> None:
        """Begin a response, in place of one that has broken off or is late if there was one."""
        assert want.span is not None
        runs, before, self._broke, self._has_asked = self._runs, self._response, None, False
        if self.origin is not None:
            runs.count_continued(fetched.origin)
            said = (runs.resource.label, self.at, fetched.origin)
            log.warning("body of %s broke off or is late: continues at byte %d from origin %s", *said)
        if before is not None:
            self.audience.spend(before.unread())
            before.close()
        self.take(fetched)
        self.is_partly = runs.version is not None and not runs.version.is_proven_at(fetched.origin)
        runs.answered(self)
        passed = self.at - want.span.start
        if self._response is not None:
            self._response.start(After(self, passed) if passed else self)

    def take(self, fetched: Fetched) -> None:
        """Go on with an answer whose body begins at `at`."""
        self._response = fetched.response
        self.by_peer = fetched.by_peer and fetched.keep is not Keeping.ALL
        self.origin = fetched.origin or None
        if self._paused:
            fetched.response.pause()

    def start(self) -> None:
        if self._response is not None:
            self._response.start(self)

    # as one of the bodies under way (`lookout.Watched`)

    @property
    def sender(self) -> str:
        return self.origin or ""

    @property
    def place(self) -> int:
        return self.at

    @property
    def left(self) -> int:
        return self.stop - self.at

    @property
    def is_held(self) -> bool:
        response = self._response
        return self._paused or response is None or response.is_slowed or self._task is not None or self.by_peer

    def late(self) -> None:
        runs = self._runs
        others = [name for name in runs.resource.tried if name != self.origin]
        if others and not self._has_asked and self._task is None and runs.version is not None and not self.by_peer:
            self._has_asked = True
            self._begin(others, runs.version.sharing())

    @property
    def slice_share(self) -> float:
        """How much of the slice under way has come."""
        number, inside = divmod(self.at, self._runs.slice_bytes)
        return inside / self._runs.shelf.length(number)

    def close(self) -> None:
        """Fetch no more. What has come of the slice under way is lost."""
        response, self._response = self._response, None
        if response is not None:
            self.audience.spend(response.unread())
            response.close()
        self._stop_asking()
        self._early.clear()
        self._drop_buffer()

    def pause(self) -> None:
        if not self._paused and self._response is not None:
            self._paused = True
            self._response.pause()

    def resume(self) -> None:
        """Go on if that may be by now; else it waits again."""
        if self not in self._runs:
            return
        before = self.at
        early, self._early = self._early, []
        for place, data in enumerate(early):
            if not self._put(data):
                self._early += early[place + 1 :]
                break
            if self not in self._runs:
                break
        if self.at > before:
            self.audience.tell()
        if self._early or self not in self._runs:
            return
        if self._response is None and self._task is None:
            self._conclude(None)
        elif self._paused:
            self._paused = False
            if self._response is not None:
                self._response.resume()

    def stop_at(self, stop: int) -> None:
        """Want no more than this: a later slice is here already, or nobody needs it."""
        self.stop = stop
        self._cut = True
        if self.at >= stop:
            self._finish()

    # called by the origin's connection

    def on_data(self, data: bytes) -> None:
        self.audience.spend(len(data))
        if self._early:
            self._early.append(data)
            return
        self._put(data)
        self.audience.tell()
        if self._response is not None and self._runs.outruns(self):
            self._runs.wait_for_readers(self)
            self.audience.paced()

    def on_end(self, error: OriginError | None) -> None:
        self._response = None
        if error is not None or not self._early:  # else `resume` comes to the end
            self._conclude(error)

    def _conclude(self, error: OriginError | None) -> None:
        if error is None and self.at < self.stop:
            error = OriginError(self.origin or "-", Fault.SHORT_BODY, f"ended at byte {self.at} of {self.stop}")
        self._early.clear()
        if error is not None and self._continues(error):
            return
        self._stop_asking()
        self._drop_buffer()
        self._runs.ended(self, error)

    def _continues(self, error: OriginError) -> bool:
        """Whether the rest is asked for at once."""
        runs = self._runs
        if self.by_peer or self.origin is None or self not in runs:
            return False
        if error.fault is Fault.DAMAGED and self.at:
            return False  # wrong bytes may have been passed on
        if self._task is not None:
            self._broke = error
            return True
        names = continues_at(error.fault, runs.resource.tried, self.origin)
        if not names or not self._breaks.may_continue(self.at):
            return False
        self._begin(names, runs.version, resumes=self.origin)
        return True

    def _put(self, data: bytes) -> bool:
        """Take bytes in, slice by slice; False, and they wait, when there is no memory for the next slice."""
        runs, rest = self._runs, memoryview(data)
        while len(rest) and self.at < self.stop:
            number, inside = divmod(self.at, runs.slice_bytes)
            if self._buffer is None:
                if runs.shelf.is_here(number):
                    self.stop_at(self.at)
                    return True
                self._buffer = runs.begin_slice(self, number)
                if self._buffer is None:
                    self._early.insert(0, bytes(rest))
                    self.pause()
                    return False
            length = runs.shelf.length(number)
            piece = rest[: length - inside]
            self._buffer.append(data if len(piece) == len(data) else bytes(piece))
            self.at += len(piece)
            rest = rest[len(piece) :]
            if inside + len(piece) == length:
                self._buffer = None
                runs.slice_complete(self, number)
        if self.at >= self.stop and (self._cut or len(rest)):
            self._finish()
        return True

    def _finish(self) -> None:
        """All that is wanted is here; an answer that has more to say is cut off."""
        response, self._response = self._response, None
        if response is not None:
            response.close()
        self._stop_asking()
        self._runs.ended(self, None)

    def _stop_asking(self) -> None:
        if self._task is not None:
            self._task.cancel()
            self._task = None

    def _drop_buffer(self) -> None:
        if self._buffer is not None:
            self._buffer = None
            self._runs.shelf.release(self.at // self._runs.slice_bytes)
