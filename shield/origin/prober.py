"""Fetches canaries from all origins of a node again and again, whether or not clients need these origins.

So distant origins are measured at no client's expense, a healthy origin's bytes are compared with those that it sent
before, and one that fails is noticed on a node without traffic. One worker does it for all, the conductor; another
that takes over continues with the records in shared memory. `rules.probing` has the decisions.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from shield.chance import draw
from shield.errors import Fault, OriginError
from shield.origin.faults import is_failure
from shield.origin.origin import Origin
from shield.origin.probe_notes import keep, kept
from shield.origin.want import Fetched, Want
from shield.rules.egress import FetchReason
from shield.rules.health import Flag, probe_seconds
from shield.rules.probing import (
    LARGE_BYTES,
    SMALL_BYTES,
    KnownCanary,
    ProbeAnswer,
    ProbeFinding,
    ProbeRecord,
    after_probe,
    digest_of,
    judge_answer,
    learned,
    next_probe,
    pardon,
    pause,
)
from shield.rules.ranges import Span, parse_content_range

_REGULAR_SECONDS = 5.0
"""Time limit of a regular probe, body included. No client waits for it, and distant origins are slow."""

HASTE_SECONDS = 1.0
"""Within which an origin is probed for a reason that other nodes gave: not by all of them at once."""

_OF_OBJECT = (Fault.FORBIDDEN, Fault.COLD)
"""Refusals of an object that serves as a canary no better than an absent one."""

Target = tuple[bytes, bytes]  # path and query of an object


@dataclass(frozen=True, slots=True)
class ProbePlan:
    """`interval` in seconds, None: there are no regular probes. `canaries` are the configured ones by origin; `kin`
    are, for each origin, those that have the same objects. `targets` are the configured ones as clients request them.
    """

    interval: float | None = None
    canaries: Mapping[str, Sequence[Target]] = field(default_factory=dict)
    kin: Mapping[str, Sequence[str]] = field(default_factory=dict)
    targets: Sequence[bytes] = ()


@dataclass(frozen=True, slots=True)
class Probed:
    """The result of one probe, for operators: of the first `asked` bytes of an object."""

    path: str
    asked: int
    result: str
    first_byte_ms: float
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class Doubt:
    """An origin was found to be corrupt `at` a time; its bytes may have been wrong `since` then. Epoch seconds."""

    origin: str
    at: float
    since: float


class Prober:
    """The prober of one worker. `look` is to be called often, while this worker conducts."""

    def __init__(
        self,
        origins: Callable[[], Iterable[Origin]],
        *,
        clock: Callable[[], float],
        now: Callable[[], float],
        chance: Callable[[], float] = draw,
    ) -> None:
        self.plan = ProbePlan()
        self._origins = origins
        self._clock = clock
        self._now = now
        self._chance = chance
        self._each: dict[str, _Probing] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def look(self, now: float) -> None:
        """Send the probes that are due."""
        origins = {origin.name: origin for origin in self._origins()}
        for name in self._each.keys() - origins.keys():
            del self._each[name]
        for origin in origins.values():
            its = self._of(origin)
            self._learn(origin, its, origins)
            interval = self.plan.interval
            if its.is_hurried and not _may_probe(origin):
                its.is_hurried, its.due = False, None
            if its.is_busy or (interval is None and not its.is_hurried):
                continue
            if its.due is None:
                its.due = now + pause(its.record, interval or _REGULAR_SECONDS, self._chance())
            chosen = self._next(origin, its)
            if now >= its.due and chosen is not None and _may_probe(origin):
                its.is_busy = True
                task = asyncio.get_running_loop().create_task(self._regular(origin, its, *chosen))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    def hurry(self, origin: Origin, now: float) -> None:
        """Probe a good origin within a second, even without regular probes: somebody has a reason to doubt it. How
        often that may be is for the caller to say.
        """
        its, due = self._of(origin), now + HASTE_SECONDS * self._chance()
        its.is_hurried, its.due = True, due if its.due is None else min(due, its.due)

    def has_failed(self, origin: Origin) -> bool:
        """Whether such a probe has failed since the last call, by the origin's fault."""
        its = self._of(origin)
        has_failed, its.has_failed = its.has_failed, False
        return has_failed

    def held(self, origin: Origin) -> Flag:
        """CORRUPT, if its bytes have shown that."""
        return Flag.CORRUPT if self._of(origin).record.is_corrupt else Flag.NONE

    def doubt(self, origin: Origin) -> Doubt | None:
        """What is doubtful of a corrupt origin's bytes; None: nothing, as it is well, or that isn't known."""
        record = self._of(origin).record
        if not record.is_corrupt or not record.corrupt_at:
            return None
        margin = _REGULAR_SECONDS if self.plan.interval is None else self.plan.interval
        return Doubt(origin.name, record.corrupt_at, record.doubtful_since - margin)

    def can_probe(self, origin: Origin) -> bool:
        """Whether it has a canary."""
        return bool(self._of(origin).record.canaries)

    async def passes(self, origin: Origin, deadline: float) -> bool:
        """Whether a doubted origin sends the expected bytes, or otherwise proves to work."""
        its = self._of(origin)
        chosen = next_probe(its.record) or _sample(origin)
        if chosen is None:
            return False
        canary, asked = chosen
        answer, fault_is_its = await self._ask(origin, (canary.path, canary.query), asked, deadline)
        finding = self._settle(origin, its, canary, answer)
        return finding is not ProbeFinding.WRONG and not fault_is_its

    async def examine(self, origin: Origin) -> list[Probed]:
        """Fetch each of its canaries, and one at length; for an operator. It changes nothing."""
        record = self.known(origin)
        wanted = [(each, SMALL_BYTES) for each in record.canaries]
        if not wanted and origin.sample is not None:
            wanted = [(KnownCanary(*origin.sample), SMALL_BYTES)]
        wanted += [(each, LARGE_BYTES) for each, _ in wanted[:1]]
        found = []
        for canary, asked in wanted:
            deadline = self._now() + _REGULAR_SECONDS
            answer, _ = await self._ask(origin, (canary.path, canary.query), asked, deadline)
            _, finding = judge_answer(canary, answer, self._clock())
            self._count(origin, finding)
            path, took = canary.path.decode("ascii", "replace"), round(answer.seconds * 1000.0, 1)
            found.append(Probed(path, asked, finding.value, took, answer.problem))
        return found

    def known(self, origin: Origin) -> ProbeRecord:
        """All that this node knows of an origin by its probes, whichever worker sent them."""
        return kept(origin.seen) or ProbeRecord()

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    def forget(self) -> None:
        """Another worker conducts: this one's knowledge becomes outdated."""
        self._each.clear()

    def _of(self, origin: Origin) -> _Probing:
        its = self._each.get(origin.name)
        if its is None or its.origin is not origin:
            record = kept(origin.seen)
            if record is None:
                record = ProbeRecord(is_corrupt=bool(origin.seen.record().flags & Flag.CORRUPT))
            its = self._each[origin.name] = _Probing(origin, record)
        return its

    def _learn(self, origin: Origin, its: _Probing, origins: Mapping[str, Origin]) -> None:
        """Follow orders, settings and the fetches of clients."""
        if origin.seen.notes.pardoned > its.record.pardoned:
            self._keep(origin, its, pardon(its.record, origin.seen.notes.pardoned))
        plan = self.plan
        others = [origins[name].sample for name in plan.kin.get(origin.name, ()) if name in origins]
        record = learned(
            its.record,
            plan.canaries.get(origin.name, ()),
            origin.sample,
            [each for each in others if each is not None],
            self._clock(),
        )
        if record is not its.record:
            self._keep(origin, its, record)

    def _next(self, origin: Origin, its: _Probing) -> tuple[KnownCanary, int] | None:
        """The canaries that are due; for a hurried probe any object will do."""
        return next_probe(its.record) or (_sample(origin) if its.is_hurried else None)

    async def _regular(self, origin: Origin, its: _Probing, canary: KnownCanary, asked: int) -> None:
        is_hurried, its.is_hurried = its.is_hurried, False
        seconds = probe_seconds(origin.seen.p95) if is_hurried else _REGULAR_SECONDS
        try:
            deadline = self._now() + seconds
            answer, fault_is_its = await self._ask(origin, (canary.path, canary.query), asked, deadline)
            self._settle(origin, its, canary, answer)
            its.has_failed |= is_hurried and fault_is_its
        finally:
            its.is_busy, its.due = False, None

    def _settle(self, origin: Origin, its: _Probing, canary: KnownCanary, answer: ProbeAnswer) -> ProbeFinding:
        record, finding = after_probe(its.record, canary.path, canary.query, answer, self._clock())
        self._keep(origin, its, record)
        self._count(origin, finding)
        return finding

    def _keep(self, origin: Origin, its: _Probing, record: ProbeRecord) -> None:
        its.record = record
        if (
            self._each.get(origin.name) is its
        ):  # else another worker conducts meanwhile, or another origin has the name
            keep(origin.seen, record)

    def _count(self, origin: Origin, finding: ProbeFinding) -> None:
        origin.probes[finding.value] += 1

    async def _ask(self, origin: Origin, target: Target, asked: int, deadline: float) -> tuple[ProbeAnswer, bool]:
        """The response, and whether it shows that the origin fails."""
        began = self._now()
        want = Want(b"GET", *target, span=Span(0, asked), tentative=True, is_probe=True)
        want.purpose = FetchReason.PROBE
        try:
            async with asyncio.timeout_at(deadline):
                result = await origin.fetch(want, deadline=deadline, clock=self._clock)
                seconds = self._now() - began
                if not isinstance(result, Fetched):
                    return ProbeAnswer(asked, seconds), False
                body = await result.response.read(asked)
        except OriginError as error:
            if error.fault in _OF_OBJECT:
                return ProbeAnswer(asked, self._now() - began), False
            return ProbeAnswer(asked, self._now() - began, problem=str(error)), is_failure(error.fault)
        except TimeoutError:
            return ProbeAnswer(asked, self._now() - began, problem="no response in time"), True
        origin.probe_bytes += len(body)
        head = result.response.head
        stated = parse_content_range(head.get(b"content-range") or b"") if head.status == 206 else None
        length = head.length if stated is None else stated[2]
        return ProbeAnswer(asked, seconds, head.get(b"etag"), length, digest_of(body)), False


class _Probing:
    """One origin, as the prober of the conductor sees it."""

    __slots__ = ("due", "has_failed", "is_busy", "is_hurried", "origin", "record")

    def __init__(self, origin: Origin, record: ProbeRecord) -> None:
        self.origin = origin
        self.record = record
        self.due: float | None = None
        self.is_busy = False
        self.is_hurried = False  # the next one is due for a reason
        self.has_failed = False  # such a one


def _sample(origin: Origin) -> tuple[KnownCanary, int] | None:
    """An object that it gave to clients, as if that were a canary."""
    return None if origin.sample is None else (KnownCanary(*origin.sample), SMALL_BYTES)


def _may_probe(origin: Origin) -> bool:
    """One in doubt is probed by its circuit breaker, and one that throttles us has enough to do."""
    record = origin.seen.treated()
    return record.is_good and not record.flags & Flag.THROTTLED
