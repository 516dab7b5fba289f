"""The attempts of one fetch at its origins, several at once if one is late: the first that has the object wins.

`rules.attempts` decides when each origin is tried; this carries it out. Any response that isn't the object ("absent",
an error, a refusal) moves on to the next.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import Protocol, Self

from shield.errors import Fault, OriginError
from shield.origin.hedging import Hedge
from shield.origin.origin import Origin
from shield.origin.want import Absent, Failed, Fetched, Want, settled
from shield.rules.attempts import Extra, Schedule, Start, Wait

AttemptResult = Fetched | Absent | OriginError


class Sighted(Protocol):
    """Takes note of an object that one origin has, and others lack."""

    def __call__(self, want: Want, fetched: Fetched, *, lacking: Collection[str]) -> None: ...


class Race:
    """A fetch that needs more than its first attempt. `run` it."""

    def __init__(
        self,
        want: Want,
        schedule: Schedule,
        origins: Mapping[str, Origin],
        *,
        clock: Callable[[], float],
        note: Callable[[Origin, OriginError, Want], None],
        unknown: Sequence[str] = (),
        hedge: Hedge | None = None,
    ) -> None:
        """`note` is called for each failure; `unknown` are names that are no origins; `hedge` is the schedule's."""
        self._want = want
        self._schedule = schedule
        self._origins = origins
        self._clock = clock
        self._note = note
        self._loop = asyncio.get_running_loop()
        self._under_way: dict[str, asyncio.Task[None] | None] = {}  # None: started elsewhere
        self._answers: deque[tuple[str, AttemptResult]] = deque()
        self._bug: Exception | None = None
        self._changed: asyncio.Future[None] | None = None
        self._is_over = False
        self._attempts = 0
        self._hedge = hedge
        self._hedged: str | None = None  # the origin that got the hedge
        self._winner: str | None = None
        self._failures = {name: OriginError(name, Fault.REFUSED, "no origin any more") for name in unknown}
        self._absent: set[str] = set()
        self._gone: Absent | None = None
        self.sighted: Sighted | None = None
        """Called when an origin has the object after others said that they don't."""

    def beside(self, first: str, began: float) -> Self:
        """The first attempt was started elsewhere, at `began`, and is in progress; it will be reported."""
        self._schedule.next(began)
        self._attempts = 1
        self._under_way[first] = None
        return self

    async def run_after(self, first: str, began: float, answer: AttemptResult) -> Fetched | Absent | Failed:
        """As `run`, after a first attempt that was started elsewhere, and has ended."""
        self._schedule.next(began)
        self._attempts = 1
        self._answers.append((first, answer))
        return await self.run()

    def report(self, origin: str, answer: AttemptResult) -> None:
        """An attempt has ended."""
        self._under_way.pop(origin, None)
        self._answers.append((origin, answer))
        self._wake()

    def suspect(self, origin: str) -> None:
        """Try the next origin at once."""
        self._schedule.suspect(origin)
        self._wake()

    async def run(self) -> Fetched | Absent | Failed:
        """The result. Attempts still in progress are then cancelled, and also if this is cancelled."""
        try:
            return await self._run()
        finally:
            self._is_over = True
            if self._hedged is not None and self._hedge is not None:
                self._hedge.ended(self._winner, is_under_way=self._hedged in self._under_way)
            under_way, self._under_way = self._under_way, {}  # a cancelled task refers to its frames, and so to this
            for task in under_way.values():
                if task is not None:
                    task.cancel()
            for _, answer in self._answers:
                if isinstance(answer, Fetched):
                    answer.response.close()

    async def _run(self) -> Fetched | Absent | Failed:
        while True:
            while self._answers:
                name, answer = self._answers.popleft()
                if isinstance(answer, Fetched):
                    if self._absent and self.sighted is not None:
                        self.sighted(self._want, answer, lacking=self._absent)
                    self._winner = name
                    self._origins[name].hedges.add_size(answer.response.head.length)
                    answer.attempts = self._attempts
                    for late in self._under_way:
                        self._origins[late].overtaken += 1
                    return answer
                self._take(self._origins[name], answer)
            if self._bug is not None:
                raise self._bug
            step = self._schedule.next(self._loop.time())
            if isinstance(step, Start):
                self._start(self._origins[step.origin], step)
            elif isinstance(step, Wait):
                await self._wait(step.until)
            else:
                return self._concluded()

    def _start(self, origin: Origin, step: Start) -> None:
        if step.extra is not None:
            origin.extra[step.extra] += 1
            if step.extra is Extra.HEDGE:
                self._hedged = origin.name
        if self._under_way:
            # A request that joins after the first of several attempts must not get a response that may be older. The
            # attempts under way may send theirs once more, or only now: neither of them tells any more.
            self._want.sent = None
        # The same connection may lead to the same bad server behind the origin's balancer.
        self._want.fresh = origin.name in self._failures
        self._attempts += 1
        self._under_way[origin.name] = self._loop.create_task(self._attempt(origin, step))

    async def _attempt(self, origin: Origin, step: Start) -> None:
        answer: AttemptResult
        origin.waiting.add(self)
        try:
            answer = await origin.fetch(self._want, deadline=step.deadline, clock=self._clock, extra=step.extra)
        except OriginError as error:
            answer = error.with_traceback(None)  # its frames hold it
        except Exception as bug:  # it must end the fetch
            self._bug = bug
            self._wake()
            return
        finally:
            origin.waiting.discard(self)
        if self._is_over:
            if isinstance(answer, Fetched):
                answer.response.close()
            return
        self.report(origin.name, answer)

    def _take(self, origin: Origin, answer: Absent | OriginError) -> None:
        if isinstance(answer, OriginError):
            self._failures[origin.name] = answer
            self._note(origin, answer, self._want)
            self._schedule.failed(
                origin.name,
                answer.fault,
                self._loop.time(),
                status=answer.status,
                retry_after=answer.retry_after,
            )
            return
        self._failures.pop(origin.name, None)
        self._schedule.absent(origin.name)
        self._absent.add(origin.name)
        self._gone = answer if self._gone is None else answer.after(self._gone)

    def _concluded(self) -> Absent | Failed:
        asked_all, unpaid = self._schedule.asked_all, self._schedule.unpaid
        if unpaid is not None:
            self._origins[unpaid].faults[Fault.BUDGET.value] += 1
            self._failures[unpaid] = OriginError(
                unpaid, Fault.BUDGET, "it broke off too many bodies to be asked again"
            )
        if self._failures or not asked_all:
            failures = settled(self._failures, self._absent, self._want, asked_all=asked_all)
            return Failed(failures, attempts=self._attempts)
        return replace(self._gone or Absent(), attempts=self._attempts)

    async def _wait(self, until: float) -> None:
        """Wait until an attempt has ended, or `until` at the latest."""
        self._changed = self._loop.create_future()
        timer = None if until == math.inf else self._loop.call_at(until, self._wake)
        try:
            await self._changed
        finally:
            self._changed = None
            if timer is not None:
                timer.cancel()

    def _wake(self) -> None:
        if self._changed is not None and not self._changed.done():
            self._changed.set_result(None)


class Lead:
    """The first attempt of a fetch, made by the current task itself; if it is late, a race begins beside it.

    So an ordinary fetch needs no task of its own. To be used as a context around the attempt.
    """

    __slots__ = ("_begin", "_is_over", "_is_overtaken", "_owner", "beside", "origin", "race")

    def __init__(self, origin: Origin, begin: Callable[[], Race], *, within: float) -> None:
        """`begin` makes the race, in which this attempt counts as under way; it is late after `within` seconds."""
        self.origin = origin
        self._begin = begin
        self._owner = asyncio.current_task()  # until the attempt has ended: a task refers to what cancelled it
        self._is_over = self._is_overtaken = False
        self.race: Race | None = None
        self.beside: asyncio.Task[Fetched | Absent | Failed] | None = None
        origin.waiting.begin(self, asyncio.get_running_loop().time() + within)

    def suspect(self, origin: str) -> None:
        """Its origin is suspect: try others beside it."""
        if self.race is None and not self._is_over:
            race = self._begin()
            race.suspect(origin)
            self._try_others(race)

    def be_late(self) -> None:
        """Try others beside it as soon as that is due."""
        if self.race is None and not self._is_over:
            self._try_others(self._begin())

    def _try_others(self, race: Race) -> None:
        self.race = race
        self.beside = asyncio.get_running_loop().create_task(race.run())
        self.beside.add_done_callback(self._overtake)

    def _overtake(self, beside: asyncio.Task[Fetched | Absent | Failed]) -> None:
        """The race is over, while this attempt is under way or just after it."""
        if not self._is_over:
            assert self._owner is not None
            self._is_overtaken = True
            self._owner.cancel()

    def over(self) -> None:
        """The attempt has ended, in whatever way."""
        self._is_over, self._owner = True, None
        self.origin.waiting.end(self)

    def result_of_race(self) -> Fetched | Absent | Failed | None:
        """The result of the race, if that has cancelled this attempt.

        None: the cancellation came from outside; then nothing is left behind.
        """
        beside, owner = self.beside, self._owner
        assert owner is not None
        if self._is_overtaken and beside is not None and not owner.uncancel() and not beside.cancelled():
            return beside.result()
        self.drop()
        return None

    async def joined(self, answer: Absent | OriginError) -> Fetched | Absent | Failed:
        """The result of the race, after this attempt has failed. Leaves nothing behind when cancelled."""
        assert self.race is not None and self.beside is not None
        self.race.report(self.origin.name, answer)
        try:
            return await self.beside
        except asyncio.CancelledError:
            self.drop()
            raise

    def drop(self) -> None:
        """Cancel the race."""
        beside = self.beside
        if beside is not None and not beside.cancel():
            _close(beside)
        elif beside is not None:
            beside.add_done_callback(_close)


def _close(task: asyncio.Task[Fetched | Absent | Failed]) -> None:
    """Close the response of a race that nobody needs."""
    if not task.cancelled() and task.exception() is None and isinstance(result := task.result(), Fetched):
        result.response.close()
