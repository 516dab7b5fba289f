"""Judges the origins of a node four times a second, on behalf of all workers, and probes those in doubt.

Every worker has one. It sends heartbeats; the living worker with the lowest number conducts: it reads all workers'
observations, advances `rules.health` by one step and publishes the records; likewise the limits on their fetches
(`limiting`). Each worker makes its own fetches move on that wait for an origin which has turned bad.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import replace

from shield.chance import draw
from shield.complaints import Complaints
from shield.origin.hedging import Hedging
from shield.origin.lag import missing_since
from shield.origin.limiting import Limiting
from shield.origin.origin import Origin
from shield.origin.prober import HASTE_SECONDS, Doubt, Prober
from shield.records import LATE_SECONDS, Records
from shield.rules.health import (
    EventKind,
    Evidence,
    Flag,
    HealthEvent,
    HealthRecord,
    HealthState,
    judge,
    probe_seconds,
)
from shield.rules.lag import lags
from shield.rules.moments import shown

log = logging.getLogger("shield.origin")

STEP_SECONDS = 0.25

MEASURED_ROWS = 8
"""Rows of shared memory that are measured at a look, by turns: that takes about half a millisecond, and medians of
minutes change slowly."""
Judged = Callable[[Mapping[str, HealthRecord], Mapping[str, Evidence], float], None]
"""Called with the records after a step, the evidence, and the time since which the fault is our own, or 0.0."""


def _undisturbed(doubt: Doubt) -> None:
    """Nobody has stored any of it."""


class Conductor:
    """The conductor of one worker. `open` it on its event loop, then `close` it."""

    def __init__(
        self,
        records: Records,
        worker: int,
        *,
        origins: Callable[[], Iterable[Origin]],
        rescue: Callable[[Origin], None],
        probe: Callable[[Origin, float], Awaitable[bool]],
        now: Callable[[], float],
        clock: Callable[[], float],
        chance: Callable[[], float] = draw,
        prober: Prober | None = None,
        rank: Callable[[float, bool], None] = lambda now, conducts: None,
    ) -> None:
        """`prober` sends regular probes as well; None: nobody does. `rank` is called at each look: the time, and
        whether this worker is the conductor."""
        self._records = records
        self._worker = worker
        self._origins = origins
        self._rescue = rescue
        self._probe = probe
        self._now = now
        self._clock = clock
        self._chance = chance
        self._limiting = Limiting()
        self._prober = prober
        self._rank = rank
        self._looks = 0
        self.judged: Judged | None = None
        """Called with the result of each step by which this worker judges."""
        self.doubted: Callable[[Doubt], None] = _undisturbed
        """Called at each look with the doubtful part of a corrupt origin's bytes, once it isn't asked any more."""
        self._complaints = Complaints(log)  # of what may come and go many times a minute
        self._hedging = Hedging(records)
        self._due = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._was_late = False
        self.bad: set[str] = set()
        """The bad ones by this worker's last look."""
        self._probes: dict[str, _Probes] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def open(self) -> None:
        self._due = self._now()
        self._turn()

    async def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    def _turn(self) -> None:
        now, due = self._now(), self._due
        self._due = now + STEP_SECONDS
        self._timer = asyncio.get_running_loop().call_later(STEP_SECONDS, self._turn)
        self.look(now, is_late=now - due > LATE_SECONDS)

    def look(self, now: float, *, is_late: bool = False) -> None:
        """Called four times a second.

        `is_late`: this worker's loop was blocked. It doesn't judge then, unless that was so the last time as well.
        """
        records, was_late = self._records, self._was_late
        self._was_late = is_late
        records.beat(self._worker, now, is_late=is_late)
        origins = {origin.name: origin for origin in self._origins()}
        for origin in origins.values():
            origin.gate.look(now)
            origin.note_whole()
        conducts = records.conductor(now) == self._worker
        if conducts and not (is_late and not was_late):
            if self._prober is not None:
                self._prober.look(now)
            self._judge(origins, now)
            for origin in origins.values():
                origin.gate.take_over(now)
        elif self._prober is not None and not conducts:
            self._prober.forget()
        self._rank(now, conducts)
        self.notice(origins.values())

    def look_soon(self, origin: Origin, now: float, *, is_bad: bool) -> None:
        """Another node says that an origin has become bad, or good again: see within a second whether that is so
        from here. Nothing but this node's own probes counts. For the conductor, not too often.
        """
        record = origin.seen.record()
        if is_bad and record.is_good and self._prober is not None:
            self._prober.hurry(origin, now)
        elif not is_bad and record.state is HealthState.OPEN:
            until = min(record.until, now + HASTE_SECONDS * self._chance())
            origin.seen.publish(replace(record, until=until))

    def notice(self, origins: Iterable[Origin]) -> None:
        """Make fetches move on that wait for an origin which has turned bad since the last look."""
        for origin in origins:
            if origin.seen.is_up or origin.seen.treated().is_good:
                self.bad.discard(origin.name)
            elif origin.name not in self.bad:
                self.bad.add(origin.name)
                self._rescue(origin)

    def _judge(self, origins: dict[str, Origin], now: float) -> None:
        self._looks += 1
        turns = -(-self._records.workers * len(origins) // MEASURED_ROWS)
        for at, origin in enumerate(origins.values()):
            if (self._looks + at) % turns == 0:
                origin.seen.measure(now)
        origins = {name: origin for name, origin in origins.items() if origin.seen.is_judged}
        before = {name: origin.seen.record() for name, origin in origins.items()}
        evidence, clock, prober = {}, self._clock(), self._prober
        for name, origin in origins.items():
            origin.seen.drain.expire(clock)
            seen = origin.seen.evidence(before[name].since, now)
            probes = self._probes.get(name)
            is_probed = probes is not None and probes.since == before[name].since
            if probes is None or not is_probed:
                probes = _NO_PROBES
            evidence[name] = replace(
                seen,
                passed=probes.passed,
                missed=probes.missed,
                can_probe=self._can_probe(origin),
                is_probed=is_probed,
                is_throttled=self._limiting.step(origin, now),
                held=self._held(origin),
                is_doubted=prober is not None and prober.has_failed(origin) and before[name].state is HealthState.UP,
            )
        frozen_at = self._records.frozen_at
        judged = judge(before, evidence, now, frozen_at=frozen_at, chance=self._chance())
        for name, record in judged.records.items():
            if record is not before[name] or origins[name].seen.is_raised:
                origins[name].seen.publish(record)
        if judged.frozen_at != frozen_at:
            self._records.frozen_at = judged.frozen_at
            _say_own_fault(self._complaints, judged.frozen_at, frozen_at, now)
        self._hedging.step(origins.values(), judged.records, now)
        for name, events in judged.events.items():
            for event in events:
                self._do(origins[name], event, now)
        for name, record in judged.records.items():
            if Flag.CORRUPT in record.flags and self._prober is not None:
                doubt = self._prober.doubt(origins[name])
                if doubt is not None:
                    self.doubted(doubt)
        if self.judged is not None:
            self.judged(judged.records, evidence, judged.frozen_at)

    def _can_probe(self, origin: Origin) -> bool:
        return origin.sample is not None or (self._prober is not None and self._prober.can_probe(origin))

    def _held(self, origin: Origin) -> Flag:
        held = Flag.DRAINED if origin.seen.drain.until else Flag.NONE
        since = missing_since(origin)
        if since and lags(origin.facts, self._clock() - since):
            held |= Flag.LAGGING
        return held if self._prober is None else held | self._prober.held(origin)

    def _do(self, origin: Origin, event: HealthEvent, now: float) -> None:
        if event.kind is EventKind.CHANGED:
            _say(origin.label, event)
            return
        if event.kind is EventKind.HELD:
            _say_held(origin.name, event, origin.seen.drain.until)
            return
        if not self._can_probe(origin):
            return
        self._probes[origin.name] = probes = _Probes(event.record.since)
        deadline = now + probe_seconds(origin.seen.p95)
        for _ in range(event.count):
            task = asyncio.get_running_loop().create_task(self._send(origin, probes, deadline))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _send(self, origin: Origin, probes: _Probes, deadline: float) -> None:
        if await self._probe(origin, deadline):
            probes.passed += 1
        else:
            probes.missed += 1


class _Probes:
    """The results of probes that were sent together, in the state that an origin has `since` then."""

    __slots__ = ("missed", "passed", "since")

    def __init__(self, since: float) -> None:
        self.since = since
        self.passed = self.missed = 0


_NO_PROBES = _Probes(-math.inf)


def _say(name: str, event: HealthEvent) -> None:
    record = event.record
    if record.state is HealthState.UP:
        out = f"; it was out for {event.out:.1f} s" if event.out else ""
        log.warning("origin %s: up: %s%s", name, record.why, out)
    elif record.state is HealthState.RECOVERING:
        log.warning("origin %s: recovering: %s; its share of keys grows", name, record.why)
    elif record.state is HealthState.OPEN:
        log.warning("origin %s: out: %s; others are tried before it", name, record.why)
    else:
        log.warning("origin %s: suspect: %s", name, record.why)


def _say_held(name: str, event: HealthEvent, drained_until: float) -> None:
    is_so = event.flag in event.record.flags
    if event.flag is Flag.CORRUPT:
        if is_so:
            log.error(
                "origin %s: corrupt: other bytes than before under the same ETag, twice; it isn't asked while "
                "another can serve",
                name,
            )
        else:
            log.warning("origin %s: not corrupt any more: its canaries are clean, or an operator said so", name)
    elif is_so:
        until = "" if drained_until == math.inf else f" until {shown(drained_until)}"
        log.warning("origin %s: drained%s; it gets no new fetches while another can serve", name, until)
    elif event.record.state is HealthState.RECOVERING:
        log.warning("origin %s: restored; its share of keys grows", name)
    else:
        log.warning("origin %s: restored", name)


def _say_own_fault(complaints: Complaints, frozen_at: float, before: float, now: float) -> None:
    if frozen_at:
        text = "all origins failed within 2 s: the fault is on this node's side; none of them is taken to be out"
        complaints.say("together", now, text)
    else:
        complaints.say("again", now, "an origin answers again, %.1f s after all had failed together", now - before)
