"""Hints between the nodes of a cluster: what this one says, and what it makes of what others say (`rules.hints`).

The worker that conducts does all that, once a second. Its message goes with whatever nodes send each other anyway:
the ticks of the bus, and the exchange of orders; news go at once. Objects in quarantine are the one thing that
concerns all workers of a node: they tell each other by facts in the journal.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from shield.complaints import Complaints
from shield.errors import StoreError
from shield.origin.origin import Origin
from shield.origin.origins import Origins
from shield.origin.ramps import Ramps
from shield.rules.distance import Timing
from shield.rules.health import Flag
from shield.rules.hints import (
    LIFETIMES,
    LOOKS,
    MOST_QUARANTINES,
    OPEN_RAMP,
    PROBED,
    TROUBLED_RAMP,
    HeardHints,
    Hint,
    HintKind,
    HintMessage,
    RampsElsewhere,
    latency_numbers,
    prior,
    ramps_elsewhere,
    raw_of,
    text_of,
)
from shield.rules.key import CacheKey, key_of_text
from shield.rules.ramp import Ramp, RampEnd, RampStatus
from shield.rules.spotchecks import Quarantine
from shield.spread.exchange import HINTS
from shield.spread.journal import OrderJournal
from shield.store.entry import Entry
from shield.store.tiers import Cold, Store

log = logging.getLogger("shield.cluster")

_FACT, _OWN = "quarantine", "quarantine:"  # what others found, for all workers; what a worker found
_MOST_HEARD = 5000  # objects in quarantine for other nodes' sake


_Wrong = Mapping[tuple[bytes, str], tuple[float, bytes]]
"""Objects in quarantine: until when, epoch seconds, and the text of the entry's key, by path and origin."""


@dataclass(frozen=True, slots=True)
class HintStatistics:
    """Of the worker that conducts: hints that came, by kind; those that hold; looks at origins for them; entries that
    were removed for them; and objects in quarantine that others found.
    """

    came: Mapping[str, int] = field(default_factory=dict)
    held: int = 0
    looks: int = 0
    removed: int = 0
    quarantined: int = 0


class Hints:
    """Of one worker. `look` once a second; `refresh` after it, which reads and writes the journal.

    `others` are the other members of the cluster; `region` is a node's by its name. `worker` is this one's number, of
    so many `workers`. `now` is the clock of the event loop, `clock` epoch seconds.
    """

    def __init__(
        self,
        origins: Origins,
        ramps: Ramps,
        store: Store,
        journal: OrderJournal,
        *,
        others: Callable[[], Sequence[str]],
        region: Callable[[str], str],
        worker: int,
        workers: int,
        conducts: Callable[[], bool],
        now: Callable[[], float],
        clock: Callable[[], float],
    ) -> None:
        self._origins = origins
        self._ramps = ramps
        self._store = store
        self._journal = journal
        self._others = others
        self._region = region
        self._worker = worker
        self._workers = workers
        self._conducts = conducts
        self._now = now
        self._clock = clock
        self._complaints = Complaints(log, seconds=600.0)
        self._tasks: set[asyncio.Task[None]] = set()
        self.heard = HeardHints()
        self.urge: Callable[[], None] = lambda: None
        """Called when there is something to say that mustn't wait."""
        self._process, self._serial = f"{clock():.3f}.{worker}", 0
        self._said: dict[str, object] = {}
        self._was_good: dict[str, bool] = {}
        self._moments: dict[str, tuple[HintKind, float]] = {}
        self._known: set[tuple[HintKind, str, str]] = set()  # what was said last, but for latencies
        self._quarantined: _Wrong = {}  # by other nodes and other workers
        self._own: _Wrong = {}  # by this worker, as the others know it
        self._of_workers: _Wrong = {}  # by the other workers of this node, for other nodes
        self._fact = ""
        self._joined: set[str] = set()  # origins whose ramps at other nodes this one has joined
        self._looks = self._removed = 0

    # what this node says

    def say(self) -> Mapping[str, object]:
        """The part of a message to other nodes; nothing, if another worker conducts."""
        return {HINTS: self._said} if self._said and self._conducts() else {}

    def look(self) -> None:
        """See what there is to say, and to do."""
        now = self._now()
        if not self._conducts():
            self._said, self._known = {}, set()
            self._was_good.clear()
            return
        self.heard.keep(self._others(), now)
        found = list(self._found(now))
        self._serial += 1
        serial = f"{self._process}-{self._serial}"
        self._said = HintMessage(serial, self._region(self._journal.node), found).plain()
        known: set[tuple[HintKind, str, str]] = {
            (each.kind, each.origin, each.id) for each in found if each.kind is not HintKind.LATENCY
        }
        if known - self._known:
            self.urge()
        self._known = known
        self._follow_ramps(now)

    def _found(self, now: float) -> Iterator[Hint]:
        ramps = self._ramps.all()
        is_ours = self._origins.is_frozen
        for origin in self._origins.all():
            if not is_ours:
                self._note_change(origin, now)
            moment = self._moments.get(origin.name)
            if moment is not None and (left := LIFETIMES[moment[0]] - (now - moment[1])) > 0.0:
                yield Hint(moment[0], origin.name, f"{moment[1]:.2f}", left)
            if origin.seen.record().flags & Flag.CORRUPT:
                at = self._origins.prober.known(origin).corrupt_at
                yield Hint(HintKind.CORRUPT, origin.name, f"{at:.2f}", LIFETIMES[HintKind.CORRUPT])
            timings = origin.seen.timings.timings()
            if any(each.first_byte for each in timings):
                text = "" if _is_used(timings) else PROBED
                left, numbers = LIFETIMES[HintKind.LATENCY], latency_numbers(timings)
                yield Hint(HintKind.LATENCY, origin.name, "", left, text, numbers=numbers)
            if (ramp := ramps.get(origin.name)) is not None:
                yield from self._of_ramp(ramp)
        quarantine, clock = self._origins.quarantine, self._clock()
        own = [] if quarantine is None else quarantine.own(now, MOST_QUARANTINES)
        found = {(each.path, each.origin): (clock + each.left, each.key) for each in own}
        found.update(self._of_workers)
        for (path, name), (until, key) in sorted(found.items(), key=lambda each: each[1][0]):  # the newest last
            if until > clock:
                yield Hint(HintKind.QUARANTINE, name, text_of(path), until - clock, text_of(path), text_of(key))

    def _note_change(self, origin: Origin, now: float) -> None:
        is_good = origin.seen.record().is_good
        before = self._was_good.get(origin.name)
        self._was_good[origin.name] = is_good
        if before is not None and before is not is_good:
            self._moments[origin.name] = HintKind.GOOD if is_good else HintKind.BAD, now

    def _of_ramp(self, ramp: Ramp) -> Iterator[Hint]:
        left = LIFETIMES[HintKind.RAMP]
        place = float(ramp.step), float(ramp.proved)
        if ramp.is_open:
            # An id for each step, so that the next one is news.
            yield Hint(HintKind.RAMP, ramp.origin, f"{ramp.began:.2f}-{ramp.step}", left, OPEN_RAMP, numbers=place)
        elif ramp.status is RampStatus.ABORTED and ramp.end is not RampEnd.OPERATOR:
            left -= self._clock() - ramp.since
            if 0.0 < left <= LIFETIMES[HintKind.RAMP]:
                yield Hint(HintKind.RAMP, ramp.origin, f"{ramp.since:.2f}", left, TROUBLED_RAMP, numbers=place)

    # what others say

    def hear(self, node: str, said: Mapping[str, Any]) -> None:
        """Another node has said this. Only members count, and never this node itself."""
        if self.heard.knows(node, said.get(HINTS)):
            return
        message = HintMessage.read(said.get(HINTS))
        if message is None or node not in self._others():
            return
        for hint in self.heard.take(node, message, self._now()):
            origin = self._origins.find(hint.origin)
            if origin is None or not self._conducts():
                continue
            if hint.kind in LOOKS:
                self._look_at(origin, node, hint)
            elif hint.kind is HintKind.RAMP and hint.text == TROUBLED_RAMP:
                self._task(self._pause(origin.name, node))

    def _look_at(self, origin: Origin, node: str, hint: Hint) -> None:
        is_bad = hint.kind is not HintKind.GOOD
        if origin.seen.record().is_good is is_bad and self.heard.may_look(origin.name, self._now()):
            self._looks += 1
            log.info("origin %s: node %s says that it is %s: it is probed", origin.name, node, hint.kind.value)
            self._origins.conductor.look_soon(origin, self._now(), is_bad=is_bad)

    def prior(self, origin: str) -> Sequence[Timing] | None:
        """As of `Ranker.prior`: what nodes of this region have measured."""
        region = self._region(self._journal.node)
        said = self.heard.of(HintKind.LATENCY, self._now(), region=region)
        return prior(
            [
                hint
                for node, hints in said.items()
                if self._region(node) == region
                for hint in hints
                if hint.origin == origin
            ]
        )

    # ramps

    def elsewhere(self, origin: str) -> RampsElsewhere:
        """As of `Ramps.elsewhere`."""
        now, heard = self._now(), self.heard
        return ramps_elsewhere(origin, heard.of(HintKind.RAMP, now), heard.of(HintKind.LATENCY, now))

    def _follow_ramps(self, now: float) -> None:
        """Join ramps of origins that are new here, too."""
        ramped = {hint.origin for hints in self.heard.of(HintKind.RAMP, now).values() for hint in hints}
        for name in ramped:
            origin = self._origins.find(name)
            if origin is None or name in self._ramps.all():
                continue
            elsewhere = self.elsewhere(name)
            nodes = ", ".join(sorted(elsewhere.steps))
            if not nodes:
                continue
            if _is_used(origin.seen.timings.timings()) or elsewhere.to_join is None:
                said = "origin %s: it has a ramp at %s, and none here, where it serves all keys: start it here, too"
                self._complaints.say(("ramp", name), now, said, name, nodes)
            elif name not in self._joined:
                self._joined.add(name)  # once, so that an operator may clear it
                self._task(self._join(name, elsewhere.to_join, nodes))

    async def _join(self, name: str, step: int, nodes: str) -> None:
        answer = await self._ramps.start(name, step)
        if answer.problems:
            log.warning(
                "origin %s: it has a ramp at %s, and can't have one here: %s", name, nodes, answer.problems[0]
            )
        else:
            log.warning("origin %s: it has a ramp at %s, and is new here: it has one here, too", name, nodes)

    async def _pause(self, name: str, node: str) -> None:
        ramp = self._ramps.all().get(name)
        if ramp is not None and ramp.status is RampStatus.RUNNING:
            await self._ramps.pause(name)
            said = (
                "origin %s: node %s has aborted its ramp for trouble: the one here is paused; resume it or abort it"
            )
            log.error(said, name, node)

    def _task(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # quarantines, among the workers of this node

    async def begin(self) -> None:
        """The node starts: what its workers found before is over, as an operator may want it."""
        if self._workers == 1:
            return
        facts = {_OWN + str(self._worker): ""} | ({_FACT: ""} if not self._worker else {})
        try:
            if any(await asyncio.to_thread(self._journal.facts, [*facts])):
                await asyncio.to_thread(self._journal.note, facts)
        except StoreError as error:
            self._complain(error)

    async def refresh(self) -> None:
        """Tell the other workers what was found here, and learn what was found elsewhere."""
        try:
            if self._workers > 1:
                await self._tell()
            if self._conducts():
                await self._gather()
            elif (fact := await asyncio.to_thread(self._journal.fact, _FACT)) != self._fact:
                self._fact = fact
                self._use(_found_in(fact))
        except StoreError as error:
            self._complain(error)

    def _complain(self, error: StoreError) -> None:
        self._complaints.say("journal", self._now(), "objects in quarantine aren't told to all workers: %s", error)

    async def _tell(self) -> None:
        quarantine, now, clock = self._origins.quarantine, self._now(), self._clock()
        own = [] if quarantine is None else quarantine.own(now, MOST_QUARANTINES)
        found = _steady({(each.path, each.origin): (clock + each.left, each.key) for each in own}, self._own)
        if found != self._own:
            await asyncio.to_thread(self._journal.note, {_OWN + str(self._worker): _fact(found)})
            self._own = found

    async def _gather(self) -> None:
        """All that other nodes and the other workers found; for all workers."""
        now, clock = self._now(), self._clock()
        found: dict[tuple[bytes, str], tuple[float, bytes]] = {}
        for hints in self.heard.of(HintKind.QUARANTINE, now).values():
            for hint in hints:
                path, key = raw_of(hint.text), raw_of(hint.about)
                if path and key is not None and self._origins.find(hint.origin) is not None:
                    found[path, hint.origin] = clock + hint.left, key
        if self._workers > 1:
            names = [_OWN + str(worker) for worker in range(self._workers) if worker != self._worker]
            facts = await asyncio.to_thread(self._journal.facts, names)
            self._of_workers = {place: each for fact in facts for place, each in _found_in(fact).items()}
            found.update(self._of_workers)
        steady = _steady(dict(list(found.items())[-_MOST_HEARD:]), self._quarantined)
        if steady != self._quarantined:
            self._use(steady)
            if self._workers > 1:
                await asyncio.to_thread(self._journal.note, {_FACT: _fact(steady)})

    def _use(self, found: _Wrong) -> None:
        """These are in quarantine, in this worker too."""
        clock, now = self._clock(), self._now()
        new = [(place, key) for place, (_, key) in found.items() if place not in self._quarantined]
        self._quarantined = found
        if self._origins.quarantine is None:
            if not found:
                return
            self._origins.quarantine = Quarantine()
        self._origins.quarantine.hear({place: now + (until - clock) for place, (until, _) in found.items()})
        for (path, origin), key in new:
            if key:
                self._drop(path, origin, key_of_text(key))

    def _drop(self, path: bytes, origin: str, key: CacheKey) -> None:
        """Forget an entry whose bytes come from a wrong copy; it is fetched elsewhere. An entry copied from another
        worker or node has no origin: it may be one.
        """

        def drop(entry: Entry | None) -> None:
            if entry is not None and entry.origin in (origin, None):
                self._removed += 1
                said = "origin %s: its copy of %s was found to be wrong elsewhere: the entry made of it is removed"
                log.warning(said, origin, path.decode("ascii", "replace"))
                self._store.purge([key], lambda: None)

        found = self._store.find(key)
        if isinstance(found, Cold):
            self._store.read(found, key, drop)
        else:
            drop(found)

    # for operators

    def shown(self) -> dict[str, object]:
        """What other nodes said, and holds."""
        return self.heard.shown(self._now())

    def statistics(self) -> HintStatistics:
        return HintStatistics(
            {kind.value: count for kind, count in self.heard.counts.items()},
            self.heard.held(self._now()),
            self._looks,
            self._removed,
            len(self._quarantined),
        )

    async def close(self) -> None:
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)


def _is_used(timings: Sequence[Timing]) -> bool:
    """Whether the origin serves clients: its times aren't those of probes alone."""
    return any(each.first_byte and not each.is_probed for each in timings)


def _steady(found: _Wrong, before: _Wrong) -> _Wrong:
    """The same with the times of before, unless they differ by a minute: they are computed anew each second."""
    return {
        place: before[place] if place in before and abs(before[place][0] - until) < 60.0 else (round(until), key)
        for place, (until, key) in found.items()
    }


def _fact(found: _Wrong) -> str:
    """As text."""
    return json.dumps(
        [[text_of(path), origin, until, text_of(key)] for (path, origin), (until, key) in found.items()]
    )


def _found_in(fact: str) -> _Wrong:
    """The same from a text; of another version there may be something else."""
    try:
        return {
            (path.encode("latin-1"), str(origin)): (float(until), key.encode("latin-1"))
            for path, origin, until, key in json.loads(fact or "[]")
        }
    except (ValueError, TypeError, AttributeError):
        return {}
