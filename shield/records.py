"""Shared records of a node's origins, written and read by all of its workers: results of fetches, and the health of
each origin that follows from them.

With 99 hits in 100 requests, a single worker has too few fetches to learn from. So each worker has a row for each
origin, which it alone writes, without a lock: counts of the last ten seconds, times of the last failures and the
last success, send times of unanswered fetches, and times to first byte (`timings`). One worker, the conductor, reads
all rows and publishes a record per origin (`rules.health`), which all read. Hits touch none of this.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from enum import IntEnum
from typing import Final

import xxhash

from shield.canary_notes import DRAIN_WORDS, NOTE_WORDS, CanaryNotes, DrainTable, DrainWord
from shield.ramp_table import RAMP_WORDS, RampSlot, RampTable
from shield.rules import hedge
from shield.rules.attempts import patience
from shield.rules.budget import FetchAllowance
from shield.rules.health import HELD_BACK, Cause, Evidence, Flag, HealthRecord, HealthState
from shield.spending import Purpose, SpendingTable, words_for
from shield.timings import MEASURED_WORDS, PROBED, TIMING_WORDS, OriginTimes

PLACES = 32
"""Origins with a place at a time; others work too, and always count as UP."""

SLOTS = 64  # unanswered fetches of one worker at one origin that are known; further ones aren't counted
SILENT_SECONDS = 1.0
"""A worker without a heartbeat for so long is dead or hangs: its unanswered fetches say nothing, and it conducts no
more. Each gives four a second."""

LATE_SECONDS = 0.1
"""A heartbeat later than this shows a worker that had no time to read responses."""

_SECONDS: Final = 10  # of the ring of counts
_FAILURES = 16  # the last of a worker at an origin


class Came(IntEnum):
    """The result of a fetch: columns of the ring."""

    OK = 0
    ABSENT = 1  # or another answer that shows an origin that works
    FAILED = 2
    DIALLED = 3  # failed, without a connection
    THROTTLED = 4
    AUTH = 5
    BROKEN = 6  # its body ended early or stalled; its first byte counted as OK


COLUMNS: Final = 1 + len(Came)  # the second, and a count each

# Where things are. A change here raises `shared.LAYOUT`.
# Words of a place: what is published of an origin.
_STATE: Final = 1
_SINCE: Final = 2
_FLAGS: Final = 6
_RAISED: Final = 11
_NAME, _UNTIL, _BAD_SINCE, _TIMES, _REASON, _COUNT, _SPAN, _P95 = 0, 3, 4, 5, 7, 8, 9, 10
LIMIT, LIMIT_WORDS = 12, 5  # the limit on its fetches (`leases`)
_MEASURED = LIMIT + LIMIT_WORDS
_PLACE_WORDS = _MEASURED + MEASURED_WORDS

_BEAT, _STEADY, _WORKER_WORDS = 0, 1, 2  # of a worker

# Words of a row.
_SUCCEEDED: Final = 0
_FAILED_TOTAL, _WHOLE, COMPARED, DIFFERING, _MISSING = range(1, 6)
_FAILED_AT: Final = 6  # each: time, hash of the key, `Came`
RING: Final = _FAILED_AT + 3 * _FAILURES
WAITING: Final = RING + COLUMNS * _SECONDS
USE, USE_WORDS = WAITING + SLOTS, 6  # of its lease on the limit
_TIMINGS = USE + USE_WORDS
_ROW_WORDS = _TIMINGS + TIMING_WORDS

_UP: Final = int(HealthState.UP)
_HELD_BACK: Final = int(HELD_BACK)  # plain numbers: operators of flags are Python
_WORD = 8
_NO_COUNTS: Final = memoryview(bytes(_WORD * COLUMNS)).cast("q")


def size_for(workers: int) -> int:
    """The bytes of zeroed memory that `Records` for this number of workers need."""
    rows = workers * (_WORKER_WORDS + PLACES * _ROW_WORDS)
    of_place = DRAIN_WORDS + RAMP_WORDS + NOTE_WORDS + _PLACE_WORDS + words_for(workers)
    return _WORD * (1 + PLACES * of_place + rows)


class Records:
    """`memory` is shared by all workers, and has `room` for as many; `alone` excludes other processes."""

    def __init__(
        self,
        memory: memoryview,
        *,
        workers: int = 1,
        room: int | None = None,
        alone: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        self.workers = workers
        self._alone = alone
        self._words = memory.cast("q")
        self._times = memory.cast("d")
        self._frozen = 0  # the word before all others
        ramps = 1 + PLACES * DRAIN_WORDS
        self._notes = ramps + PLACES * RAMP_WORDS
        self.drains = DrainTable(self._words[1:ramps], self._times[1:ramps])
        self.ramps = RampTable(self._words[ramps : self._notes], self._times[ramps : self._notes])
        self._places = self._notes + PLACES * NOTE_WORDS
        self._hands = self._places + PLACES * _PLACE_WORDS
        self._rows = self._hands + (room or workers) * _WORKER_WORDS
        start = self._rows + (room or workers) * PLACES * _ROW_WORDS
        self.budgets = SpendingTable(self._words, self._times, start, room or workers)

    def of(self, worker: int, identity: bytes, called: bytes = b"") -> Seen:
        """This worker's view of an origin; `identity` distinguishes it from all others, `called` is its name if that
        is something else.

        Earlier observations by this worker, or by a process that it replaces, are forgotten; a drain isn't.
        """
        name = _hash(identity)
        with self._alone():
            own = _hash(called or identity)
            place, drain, ramp = self._place_of(name), self.drains.at(own), self.ramps.at(own)
            if drain is None:  # too many names: it can be drained in this worker alone
                drain = memoryview(bytearray(_WORD)).cast("d")
            if place is None:
                return Seen(private(), worker=0, place=0, drain=drain, ramp=ramp, is_judged=False)
            at = self._places + place * _PLACE_WORDS
            if self._words[at + _NAME] != name:
                self._words[at : at + _PLACE_WORDS] = memoryview(bytes(_PLACE_WORDS * _WORD)).cast("q")
                self.budgets.clear(place)
                self._words[at + _NAME] = name
                self.note(place).clear()
        return Seen(self, worker=worker, place=place, drain=drain, ramp=ramp)

    def ramp_of(self, called: bytes) -> RampSlot:
        """The ramp of the origin with this name."""
        return self.ramps.at(_hash(called))

    def excluding_others(self) -> AbstractContextManager[None]:
        """While it is entered, no other process changes values that have several writers."""
        return self._alone()

    def free(self, identities: Sequence[bytes], called: Sequence[bytes] = ()) -> None:
        """Free the places of all other origins, and end their drains: no worker uses them any more."""
        names, own = {_hash(each) for each in identities}, {_hash(each) for each in called or identities}
        with self._alone():
            self.drains.keep(own)
            self.ramps.keep(own)
            for place in range(PLACES):
                at = self._places + place * _PLACE_WORDS + _NAME
                if self._words[at] not in names:
                    self._words[at] = 0

    def _place_of(self, name: int) -> int | None:
        """The place of an origin, or a free one for it."""
        names = [self._words[self._places + place * _PLACE_WORDS + _NAME] for place in range(PLACES)]
        if name in names:
            return names.index(name)
        return names.index(0) if 0 in names else None

    # drains

    def drain(self, called: bytes, until: float) -> None:
        """Keep fetches away from the origin of this name, until then (epoch seconds; infinite; 0.0: not any more)."""
        with self._alone():
            drain = self.drains.at(_hash(called))
            if drain is not None:
                drain[0] = until

    # workers

    def beat(self, worker: int, now: float, *, is_late: bool) -> None:
        """A heartbeat. `is_late`: this worker's loop was blocked since the last one, so responses may wait unread."""
        at = self._hands + worker * _WORKER_WORDS
        if is_late or not self._times[at + _BEAT]:
            self._times[at + _STEADY] = now
        self._times[at + _BEAT] = now

    def conductor(self, now: float) -> int | None:
        """The worker that judges for all: the living one with the lowest number."""
        return next((worker for worker in range(self.workers) if self.is_alive(worker, now)), None)

    def is_alive(self, worker: int, now: float) -> bool:
        beat = self._times[self._hands + worker * _WORKER_WORDS + _BEAT]
        return beat > 0.0 and now - beat < SILENT_SECONDS

    def has_come(self, worker: int) -> bool:
        """Whether it ever gave a heartbeat, or a worker whose place it has."""
        return self._times[self._hands + worker * _WORKER_WORDS + _BEAT] > 0.0

    def steady_since(self, worker: int) -> float:
        """The time since which its loop has read responses as they arrive."""
        return self._times[self._hands + worker * _WORKER_WORDS + _STEADY]

    @property
    def frozen_at(self) -> float:
        """The time since which no origin is judged, because of a fault on our side; 0.0: all are."""
        return self._times[self._frozen]

    @frozen_at.setter
    def frozen_at(self, now: float) -> None:
        self._times[self._frozen] = now

    # for `Seen`

    def note(self, place: int) -> CanaryNotes:
        """The notes on an origin's canaries."""
        start = self._notes + place * NOTE_WORDS
        stop = start + NOTE_WORDS
        return CanaryNotes(self._words[start:stop], self._times[start:stop])

    def place(self, place: int) -> tuple[memoryview, memoryview[float]]:
        """The published words of an origin, as integers and as times."""
        start = self._places + place * _PLACE_WORDS
        stop = start + _PLACE_WORDS
        return self._words[start:stop], self._times[start:stop]

    def row(self, worker: int, place: int) -> tuple[memoryview, memoryview[float]]:
        """One worker's words on an origin, as integers and as times."""
        start = self._rows + (worker * PLACES + place) * _ROW_WORDS
        stop = start + _ROW_WORDS
        return self._words[start:stop], self._times[start:stop]


def _hash(text: bytes) -> int:
    return (xxhash.xxh3_64_intdigest(text) >> 1) or 1


def private(workers: int = 1) -> Records:
    """Records in memory of this process alone."""
    return Records(memoryview(bytearray(size_for(workers))), workers=workers)


class Seen:
    """One origin: the row that this worker writes, and the shared rows and record."""

    __slots__ = (
        "_below",
        "_counts",
        "_drain",
        "_free",
        "_published",
        "_records",
        "_rows",
        "_states",
        "_successes",
        "_times",
        "at",
        "drain",
        "hedges",
        "is_judged",
        "missing",
        "notes",
        "repeats",
        "spending",
        "timings",
    )

    def __init__(
        self,
        records: Records,
        *,
        worker: int,
        place: int,
        drain: memoryview[float],
        ramp: RampSlot,
        is_judged: bool = True,
    ) -> None:
        self.is_judged = is_judged
        """False: no other worker sees this, so that none judges it, and no suspicion would ever end."""
        self.at = records, worker, place  # for `leases`
        self._records = records
        self._drain = drain
        self._below = ramp.below
        self.drain = DrainWord(drain)
        self.notes = records.note(place)
        """The knowledge of its canaries, for the next conductor."""
        self._states, self._published = records.place(place)
        self._counts, self._times = records.row(worker, place)
        self._counts[:] = memoryview(bytes(_ROW_WORDS * _WORD)).cast("q")
        self._rows = [records.row(each, place) for each in range(records.workers)]
        self.missing = self._times[_MISSING:][:1], [times[_MISSING:][:1] for _, times in self._rows]  # see `LagWatch`
        self._free = list(range(WAITING, WAITING + SLOTS))
        self.timings = OriginTimes(self._rows, (self._counts, self._times), _TIMINGS, self._published[_MEASURED:])
        self.spending = records.budgets.of(place, worker)
        self._successes = self.spending.own
        self.allow(FetchAllowance(0.0), FetchAllowance(0.0))

    def allow(self, repeats: FetchAllowance, hedges: FetchAllowance) -> None:
        """Set how many extra fetches its budgets allow."""
        self.repeats = self.spending.budget(Purpose.REPEATS, repeats)
        self.hedges = self.spending.budget(Purpose.HEDGES, hedges)

    # written on each fetch

    def begin(self, now: float, *, slot: int = 0) -> int:
        """A request is sent, for the fetch with this slot or a new one; returns its slot, 0 if there is none left."""
        if not slot:
            if not self._free:
                return 0
            slot = self._free.pop()
        self._times[slot] = now
        return slot

    def end(self, slot: int) -> None:
        """The fetch has got a response, or was cancelled."""
        if slot:
            self._times[slot] = 0.0
            self._free.append(slot)

    def succeeded(self, came: Came, now: float, seconds: float, size: int = 0, *, slot: int = 0) -> None:
        """The first byte of a body of `size` bytes arrived after `seconds`. Ends the fetch with this slot."""
        if slot:
            self._times[slot] = 0.0
            self._free.append(slot)
        self._times[_SUCCEEDED] = now
        self._successes[0] += 1
        self._count(came, now)
        self.timings.came(now, seconds, size)

    def probed(self, came: Came, now: float, seconds: float, size: int = 0, *, slot: int = 0) -> None:
        """As `succeeded`, for a probe."""
        self.end(slot)
        self._times[_SUCCEEDED] = now
        self._count(came, now)
        self.timings.came(now, seconds, size, PROBED)

    def failed(self, came: Came, now: float, key: bytes) -> None:
        """A fetch of the object with this key failed, or its body did (BROKEN)."""
        self._count(came, now)
        if came is Came.THROTTLED:
            return
        counts = self._counts
        total = counts[_FAILED_TOTAL]
        at = _FAILED_AT + 3 * (total % _FAILURES)
        counts[at + 1] = xxhash.xxh3_64_intdigest(key) >> 1
        counts[at + 2] = came
        self._times[at] = now
        counts[_FAILED_TOTAL] = total + 1

    def whole(self, now: float) -> None:
        """A body has arrived whole."""
        self._times[_WHOLE] = now

    def _count(self, came: Came, now: float) -> None:
        counts, second = self._counts, int(now)
        at = RING + COLUMNS * (second % _SECONDS)
        if counts[at] != second:
            counts[at : at + COLUMNS] = _NO_COUNTS
            counts[at] = second
        counts[at + 1 + came] += 1

    def compared(self, *, differs: bool) -> None:
        """Its copy of an object was compared with another origin's."""
        self._counts[COMPARED] += 1
        self._counts[DIFFERING] += differs

    # read by all

    @property
    def is_up(self) -> bool:
        """Whether the origin is UP without reservations."""
        states = self._states
        return (
            states[_STATE] == _UP
            and self._published[_RAISED] <= self._published[_SINCE]
            and not states[_FLAGS] & _HELD_BACK
            and not self._drain[0]
            and not self._below[0]
        )

    @property
    def is_held(self) -> bool:
        """Whether fetches are kept away from it while another origin can serve."""
        return bool(self._states[_FLAGS] & _HELD_BACK or self._drain[0])

    @property
    def p95(self) -> float | None:
        """The 95th percentile of first bytes, as last published."""
        return self._published[_P95] or None

    @property
    def patience(self) -> float:
        """The seconds for which a fetch waits for this origin alone; infinite while the fault is the node's own."""
        return math.inf if self._records.frozen_at else patience(self._published[_P95] or None)

    @property
    def is_raised(self) -> bool:
        """Whether a worker suspects it, and the conductor hasn't judged that yet."""
        return self._published[_RAISED] > self._published[_SINCE]

    def treated(self) -> HealthRecord:
        """The record for fetches: the published one, but SUSPECT as soon as any worker suspects it, and DRAINED as
        soon as an operator wants that.
        """
        record = self.record()
        if self._drain[0] and not record.flags & Flag.DRAINED:
            record = replace(record, flags=record.flags | Flag.DRAINED)
        if record.state is HealthState.UP and self.is_raised:
            record = replace(record, state=HealthState.SUSPECT)
        return record

    def record(self) -> HealthRecord:
        """The published record."""
        states, times = self._states, self._published
        return HealthRecord(
            HealthState(states[_STATE]),
            since=times[_SINCE],
            until=times[_UNTIL],
            bad_since=times[_BAD_SINCE],
            times=states[_TIMES],
            flags=Flag(states[_FLAGS]),
            reason=Cause(states[_REASON]),
            count=states[_COUNT],
            seconds=times[_SPAN],
            share=1.0 - self._below[0],
        )

    def suspect(self, now: float) -> None:
        """Make all workers treat it as SUSPECT, until the conductor has judged it."""
        if self.is_judged:
            self._published[_RAISED] = now

    def evidence(self, since: float, now: float) -> Evidence:
        """The observations of all workers since then."""
        records = self._records
        rows = self._rows
        succeeded = max([times[_SUCCEEDED] for _, times in rows])
        whole = max([times[_WHOLE] for _, times in rows])
        totals = [0] * len(Came)
        failures: list[tuple[int, int]] = []  # key, `Came`
        broken: list[int] = []  # keys
        waiting: list[float] = []
        for worker, (counts, times) in enumerate(rows):
            add_counts(totals, counts, since, now)
            for at in range(_FAILED_AT, RING, 3):
                if times[at] > since and counts[at + 2] == Came.BROKEN:
                    if times[at] > whole:
                        broken.append(counts[at + 1])
                elif times[at] > since and times[at] > succeeded:
                    failures.append((counts[at + 1], counts[at + 2]))
            if records.is_alive(worker, now):
                steady = records.steady_since(worker)
                waiting += [max(each, steady) for each in times[WAITING:USE] if each > since]
        return Evidence(
            ok=totals[Came.OK] + totals[Came.ABSENT],
            failed=totals[Came.FAILED] + totals[Came.DIALLED] + totals[Came.AUTH],
            throttled=totals[Came.THROTTLED],
            broken=totals[Came.BROKEN],
            streak=len(failures),
            dials=sum(came == Came.DIALLED for _, came in failures),
            refused=sum(came == Came.AUTH for _, came in failures),
            keys=len({key for key, _ in failures}),
            broken_streak=len(broken),
            broken_keys=len(set(broken)),
            waiting=waiting,
            succeeded=succeeded or -math.inf,
            p95=self.p95,
        )

    # written by the conductor

    def publish(self, record: HealthRecord) -> None:
        """Publish a record for all workers."""
        states, times = self._states, self._published
        times[_SINCE], times[_UNTIL], times[_BAD_SINCE] = record.since, record.until, record.bad_since
        states[_TIMES], states[_FLAGS], states[_REASON] = record.times, record.flags, record.reason
        states[_COUNT], times[_SPAN] = record.count, record.seconds
        times[_RAISED] = 0.0
        states[_STATE] = record.state

    def measure(self, now: float) -> None:
        """Fill its budgets, and publish the times of the last minutes and the penalty for throttling."""
        self.spending.fill(self.repeats, self.hedges)
        totals = [0] * len(Came)
        for counts, _ in self._rows:
            add_counts(totals, counts, 0.0, now)
        p95, samples = self.timings.measure(now, throttled=totals[Came.THROTTLED] / max(1, sum(totals)))
        is_known = samples >= hedge.LEAST_SAMPLES and self.hedges.is_allowed
        self.spending.after = p95 if p95 is not None and is_known else math.inf
        if p95 is not None:
            self._published[_P95] = p95


def add_counts(totals: list[int], counts: memoryview, since: float, now: float) -> None:
    """Add one worker's counts of whole seconds since then, of the last ten."""
    for at in range(RING, WAITING, COLUMNS):
        if counts[at] >= since and counts[at] > now - _SECONDS:
            for came in range(len(Came)):
                totals[came] += counts[at + 1 + came]
