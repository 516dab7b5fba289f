"""The health of an origin: a circuit breaker over the fetches of all workers of a node. Pure.

    UP ──trouble──> SUSPECT ──probes fail──> OPEN ──time is over──> TRIAL ──probes pass──> RECOVERING ──> UP
                       └──probes pass──> UP    └─────probes fail──────┘   (trouble: OPEN again, for longer)

`judge` advances all origins of a node by one step: each by `step`, unless all of them turn bad together, which is a
fault on our side. `positions` derives the order in which a fetch tries its origins from their states.

Failures reveal a hung origin too late, since they are counted at the end of a timeout. The stall rule looks at
waiting fetches: several that wait longer than responses take, without any success in between.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum, IntEnum, IntFlag

STALLED = 3
"""Unanswered fetches that make a stall: one or two may be for large or rare objects."""

STALL_SECONDS = 0.3
"""The time that each of them has waited at least; shorter waits are within the variation of a healthy origin."""

STALL_FACTOR = 3.0
"""The same as a multiple of the 95th percentile of times to first byte."""

UNKNOWN_P95 = 0.5
"""Used in place of a 95th percentile without enough samples: generous, since first responses need handshakes."""

IN_A_ROW = 5
"""Consecutive failures that make an origin suspect, as in Envoy and Finagle."""

DIALS_IN_A_ROW = 3
"""The same for failures to connect, which can't be caused by an object."""

DIFFERENT_KEYS = 3
"""Different keys among these failures: a broken object that is requested repeatedly isn't the origin's fault."""

LEAST_SHARE = 0.8
"""The share of the fetches of the last ten seconds that must succeed."""

LEAST_FETCHES = 20
"""Fetches in ten seconds without which that share means little."""

LEAST_REFUSED = 0.5
"""The share of throttled requests from which on an origin gets fewer: each throttled one costs another fetch."""

PROBES_AT_ONCE = 2
"""Probes of a suspect; one that fails is enough."""

TRIAL_PROBES = 3
"""Probes of an origin that is out of service; two must pass."""

TRIAL_PASSES = 2

PROBE_SECONDS = 1.0
"""Time limit of a probe, unless four times the 95th percentile is longer."""

OPEN_SECONDS = 1.0
"""How long an origin is out of service at first; doubled each time. With few origins, staying out costs more than a
probe."""

LONGEST_OPEN_SECONDS = 30.0

RECOVERY_SECONDS = 30.0
"""Time in which a returned origin's share of keys grows to all of them: its caches and connections are cold."""

LEAST_KEYS = 0.1
"""Its initial share of keys."""

CALM_SECONDS = 30.0
"""After this time without trouble, an origin's history is forgotten."""

TOGETHER_SECONDS = 2.0
"""If all origins turn bad within this time, the cause is on our side."""


class HealthState(IntEnum):
    """The state of an origin, and its treatment."""

    UP = 0  # in its normal position
    SUSPECT = 1  # behind the others, for a second: probes decide
    OPEN = 2  # out of service until its time is over: last, with a short time limit
    TRIAL = 3  # out of service, and being probed
    RECOVERING = 4  # in its normal position for a growing share of keys, behind the others for the rest


class Flag(IntFlag):
    """Conditions besides the state."""

    NONE = 0
    AUTH = 1  # it rejects our credentials
    THROTTLED = 2  # it throttles some requests
    CORRUPT = 4  # it sent other bytes under an unchanged ETag: asked last of all, until it is clean again
    DRAINED = 8  # an operator keeps fetches away from it
    LAGGING = 16  # a copy that hasn't received an object for longer than its `max_lag`


HELD_BACK = Flag.CORRUPT | Flag.DRAINED
"""Flags of an origin that gets no fetches while another can serve."""


class Cause(IntEnum):
    """The cause of the last change. With a record's `count` and `seconds` it makes the text for logs."""

    START = 0
    STALL = 1
    FAILURES = 2
    DIALS = 3
    AUTH = 4
    SHARE = 5
    PROBES_FAILED = 6
    PROBES_PASSED = 7
    TIME = 8
    NO_PROBE = 9
    OWN_FAULT = 10
    SUCCESS = 11
    THROTTLED = 12
    BODIES = 13
    RESTORED = 14


@dataclass(frozen=True, slots=True)
class Evidence:
    """Observations of one origin by all workers since its record's last change, probes included.

    `streak` is the number of known failures since the last success; of these, `dials` were failures to connect and
    `refused` rejections of our credentials; `keys` is the number of different keys. `broken_streak` and `broken_keys`
    are the same for bodies that broke off, since the last whole one. `waiting` are the times at which unanswered
    fetches were sent. `is_probed`: this conductor has sent probes in the present state; the results of a
    former conductor's probes are unknown.
    """

    ok: int = 0  # in the last ten seconds, absent objects included
    failed: int = 0
    throttled: int = 0
    broken: int = 0  # of the `ok`: their bodies broke off
    streak: int = 0
    dials: int = 0
    refused: int = 0
    keys: int = 0
    broken_streak: int = 0
    broken_keys: int = 0
    waiting: Sequence[float] = ()
    succeeded: float = -math.inf  # the last success
    p95: float | None = None  # of first bytes
    passed: int = 0  # probes
    missed: int = 0
    can_probe: bool = True
    is_probed: bool = True
    is_throttled: bool = False  # it refused requests as too many lately, or asked to be left alone
    held: Flag = Flag.NONE  # of `HELD_BACK` and LAGGING: what holds of it now
    is_doubted: bool = False  # another node found it bad, and a probe from here that was sent for that reason failed


@dataclass(frozen=True, slots=True)
class HealthRecord:
    """The health of one origin. Times are of the clock of `now`."""

    state: HealthState = HealthState.UP
    since: float = 0.0
    until: float = 0.0  # SUSPECT, OPEN, TRIAL: the state ends then at the latest
    bad_since: float = 0.0  # since when it has continuously not been UP
    times: int = 0  # how often it was suspected or out, without `CALM_SECONDS` in between
    flags: Flag = Flag.NONE
    reason: Cause = Cause.START
    count: int = 0
    seconds: float = 0.0
    share: float = 1.0  # of the keys that a new origin may serve: not judged here, but by its ramp

    @property
    def is_good(self) -> bool:
        """Whether it is in its normal position, at least for some keys."""
        return self.state in (HealthState.UP, HealthState.RECOVERING)

    @property
    def why(self) -> str:
        """The reason of the last change, for logs and operators."""
        return _WORDS[self.reason].format(count=self.count, seconds=self.seconds)


_WORDS = {
    Cause.START: "no trouble yet",
    Cause.STALL: "{count} unanswered for {seconds:.1f} s",
    Cause.FAILURES: "{count} failures in a row",
    Cause.DIALS: "{count} failures to connect in a row",
    Cause.AUTH: "our credentials refused {count} times in a row",
    Cause.SHARE: "{count} failures in 10 s, more than a fifth of the fetches",
    Cause.PROBES_FAILED: "probes failed",
    Cause.PROBES_PASSED: "probes passed",
    Cause.TIME: "no trouble for {seconds:.0f} s",
    Cause.NO_PROBE: "nothing known to probe it with",
    Cause.OWN_FAULT: "all origins failed together",
    Cause.THROTTLED: "{count} requests refused as too many in 10 s, half of the fetches or more",
    Cause.SUCCESS: "it answered again",
    Cause.RESTORED: "it gets fetches again",
    Cause.BODIES: "{count} bodies in a row broke off",
}


class EventKind(Enum):
    """The action for an event."""

    CHANGED = "changed"  # log it
    HELD = "held"  # log that it is held back now, or not any more: `flag`
    PROBE = "probe"  # send `count` probes


@dataclass(frozen=True, slots=True)
class HealthEvent:
    """An action after a step. `record` is the one after it, `out` the seconds for which the origin was not UP."""

    kind: EventKind
    record: HealthRecord
    count: int = 0
    out: float = 0.0
    flag: Flag = Flag.NONE


Events = tuple[HealthEvent, ...]


def step(
    record: HealthRecord, evidence: Evidence, now: float, *, is_sole: bool = False, chance: float = 0.5
) -> tuple[HealthRecord, Events]:
    """The next record of an origin, and the actions. `chance` (0 to 1) adds jitter to the time for which it is out.

    The only origin of a node is never out, at most suspected.
    """
    record, told = _flagged(record, evidence, now)
    after, events = _stepped(record, evidence, now, is_sole=is_sole, chance=chance)
    return after, (*told, *events)


def _stepped(
    record: HealthRecord, evidence: Evidence, now: float, *, is_sole: bool, chance: float
) -> tuple[HealthRecord, Events]:
    if evidence.can_probe and not evidence.is_probed and record.state in _PROBES:
        return _probed(record, evidence, now)
    if record.state is HealthState.UP:
        return _step_up(record, evidence, now, is_sole=is_sole, chance=chance)
    if record.state is HealthState.SUSPECT:
        return _step_suspect(record, evidence, now, is_sole=is_sole, chance=chance)
    if record.state is HealthState.OPEN:
        return (record, ()) if now < record.until else _try(record, evidence, now)
    if record.state is HealthState.TRIAL:
        return _step_trial(record, evidence, now, chance)
    return _step_recovering(record, evidence, now, chance)


_PROBES = {HealthState.SUSPECT: PROBES_AT_ONCE, HealthState.TRIAL: TRIAL_PROBES}


def _probed(record: HealthRecord, evidence: Evidence, now: float) -> tuple[HealthRecord, Events]:
    """Probe it, and wait for the results."""
    after = replace(record, until=now + probe_seconds(evidence.p95))
    return after, (HealthEvent(EventKind.PROBE, after, count=_PROBES[record.state]),)


def _step_up(
    record: HealthRecord, evidence: Evidence, now: float, *, is_sole: bool, chance: float
) -> tuple[HealthRecord, Events]:
    trouble = find_trouble(evidence, now)
    if trouble is None:
        if record.times and now - record.since >= CALM_SECONDS:
            return replace(record, times=0), ()
        return record, ()
    if record.times and not is_sole and trouble[0] not in (Cause.STALL, Cause.PROBES_FAILED):
        return _out(record, *trouble, now=now, chance=chance)  # probes passed, and fetches still fail
    return _suspected(record, evidence, *trouble, now=now)


def _suspected(
    record: HealthRecord, evidence: Evidence, reason: Cause, count: int, seconds: float, *, now: float
) -> tuple[HealthRecord, Events]:
    suspect = HealthRecord(
        HealthState.SUSPECT,
        since=now,
        bad_since=now,
        times=record.times,
        flags=record.flags | (Flag.AUTH if reason is Cause.AUTH else Flag.NONE),
        reason=reason,
        count=count,
        seconds=seconds,
    )
    after, events = _probed(suspect, evidence, now)
    return after, (*_told(record, after), *events)


def _step_suspect(
    record: HealthRecord, evidence: Evidence, now: float, *, is_sole: bool, chance: float
) -> tuple[HealthRecord, Events]:
    if is_sole and evidence.succeeded > record.since and find_trouble(evidence, now) is None:
        return _up(record, Cause.SUCCESS, now)
    if evidence.passed >= PROBES_AT_ONCE and not evidence.missed:
        return _up(record, Cause.PROBES_PASSED, now)
    if now < record.until and not evidence.missed:
        return record, ()
    if evidence.succeeded > record.since and not evidence.can_probe:
        return _up(record, Cause.SUCCESS, now)
    if is_sole:
        if now < record.until:
            return record, ()
        times = record.times + 1
        after = replace(record, times=times, until=now + _open_seconds(times, chance))
        return after, (HealthEvent(EventKind.PROBE, after, count=PROBES_AT_ONCE),)
    if evidence.can_probe:
        return _out(record, Cause.PROBES_FAILED, 0, 0.0, now=now, chance=chance)
    return _out(record, record.reason, record.count, record.seconds, now=now, chance=chance)


def _try(record: HealthRecord, evidence: Evidence, now: float) -> tuple[HealthRecord, Events]:
    """The time of an origin that is out is over: try it."""
    if not evidence.can_probe:
        return _recovering(record, Cause.NO_PROBE, now)
    return _probed(replace(record, state=HealthState.TRIAL, since=now), evidence, now)


def _step_trial(record: HealthRecord, evidence: Evidence, now: float, chance: float) -> tuple[HealthRecord, Events]:
    if evidence.passed >= TRIAL_PASSES:
        return _recovering(record, Cause.PROBES_PASSED, now)
    if now >= record.until or evidence.missed > TRIAL_PROBES - TRIAL_PASSES:
        return _out(record, Cause.PROBES_FAILED, 0, 0.0, now=now, chance=chance)
    return record, ()


def _step_recovering(
    record: HealthRecord, evidence: Evidence, now: float, chance: float
) -> tuple[HealthRecord, Events]:
    trouble = find_trouble(evidence, now)
    if trouble is not None:
        return _out(record, *trouble, now=now, chance=chance)
    if now - record.since >= RECOVERY_SECONDS:
        return _up(record, Cause.TIME, now)
    return record, ()


def _recovering(record: HealthRecord, reason: Cause, now: float) -> tuple[HealthRecord, Events]:
    after = replace(
        record, state=HealthState.RECOVERING, since=now, until=0.0, reason=reason, flags=record.flags & ~Flag.AUTH
    )
    return after, _told(record, after)


def _up(record: HealthRecord, reason: Cause, now: float) -> tuple[HealthRecord, Events]:
    after = HealthRecord(
        HealthState.UP,
        since=now,
        times=max(1, record.times),
        flags=record.flags & ~Flag.AUTH,
        reason=reason,
        seconds=now - record.since,
    )
    return after, _told(record, after, now)


def _out(
    record: HealthRecord, reason: Cause, count: int, seconds: float, *, now: float, chance: float
) -> tuple[HealthRecord, Events]:
    times = record.times + 1
    after = replace(
        record,
        state=HealthState.OPEN,
        since=now,
        until=now + _open_seconds(times, chance),
        bad_since=record.bad_since or now,
        times=times,
        reason=reason,
        count=count,
        seconds=seconds,
    )
    was_tried = record.state is HealthState.TRIAL
    return after, () if was_tried else _told(record, after)


def _told(before: HealthRecord, after: HealthRecord, now: float = 0.0) -> Events:
    return (HealthEvent(EventKind.CHANGED, after, out=now - before.bad_since if now and before.bad_since else 0.0),)


def _flagged(record: HealthRecord, evidence: Evidence, now: float) -> tuple[HealthRecord, Events]:
    """With the flags of now. One that isn't held back any more gets its keys back gradually."""
    flags = record.flags & ~(Flag.THROTTLED | Flag.LAGGING | HELD_BACK) | evidence.held
    if evidence.throttled or evidence.is_throttled:
        flags |= Flag.THROTTLED
    if flags == record.flags:
        return record, ()
    changed = (flags ^ record.flags) & HELD_BACK
    is_back = bool(changed) and not flags & HELD_BACK and record.state is HealthState.UP
    after = replace(record, flags=flags)
    if is_back:
        after = replace(after, state=HealthState.RECOVERING, since=now, until=0.0, reason=Cause.RESTORED)
    return after, tuple([HealthEvent(EventKind.HELD, after, flag=flag) for flag in changed])


def _open_seconds(times: int, chance: float) -> float:
    seconds = min(LONGEST_OPEN_SECONDS, OPEN_SECONDS * 2.0 ** min(times - 1, 10))
    return seconds * (0.9 + 0.2 * chance)


def probe_seconds(p95: float | None) -> float:
    """The time limit of a probe, in seconds."""
    return max(PROBE_SECONDS, 4.0 * (UNKNOWN_P95 if p95 is None else p95))


Trouble = tuple[Cause, int, float]  # and a record's count and seconds


def find_trouble(evidence: Evidence, now: float) -> Trouble | None:
    """The reason to suspect an origin that is in use, None without any."""
    stall = find_stall(evidence, now)
    if stall is not None:
        return (Cause.STALL, *stall)
    if evidence.dials >= DIALS_IN_A_ROW and evidence.dials == evidence.streak:
        return Cause.DIALS, evidence.dials, 0.0
    if evidence.streak >= IN_A_ROW and evidence.keys >= DIFFERENT_KEYS:
        if evidence.refused == evidence.streak:
            return Cause.AUTH, evidence.refused, 0.0
        return Cause.FAILURES, evidence.streak, 0.0
    if evidence.broken_streak >= IN_A_ROW and evidence.broken_keys >= DIFFERENT_KEYS:
        return Cause.BODIES, evidence.broken_streak, 0.0
    fetches = evidence.ok + evidence.failed + evidence.throttled
    if fetches >= LEAST_FETCHES and evidence.throttled >= LEAST_REFUSED * fetches:
        return Cause.THROTTLED, evidence.throttled, 0.0
    fetches = evidence.ok + evidence.failed
    if fetches >= LEAST_FETCHES and evidence.ok - evidence.broken < LEAST_SHARE * fetches:
        return Cause.SHARE, evidence.failed + evidence.broken, 0.0
    if evidence.is_doubted:
        return Cause.PROBES_FAILED, 1, 0.0
    return None


def find_stall(evidence: Evidence, now: float) -> tuple[int, float] | None:
    """The number of fetches that have waited too long, and the seconds; None unless that makes a stall."""
    if len(evidence.waiting) < STALLED:
        return None
    p95 = UNKNOWN_P95 if evidence.p95 is None else evidence.p95
    longest = max(STALL_FACTOR * p95, STALL_SECONDS)
    late = [sent for sent in evidence.waiting if now - sent > longest]
    if len(late) < STALLED or evidence.succeeded >= max(late):
        return None
    return len(late), now - min(late)


@dataclass(frozen=True, slots=True)
class Judgement:
    """All records after a step, and the actions, by origin.

    `frozen_at`: start of a fault on our side; 0.0: there is none.
    """

    records: Mapping[str, HealthRecord]
    events: Mapping[str, Events]
    frozen_at: float


def judge(
    records: Mapping[str, HealthRecord],
    evidence: Mapping[str, Evidence],
    now: float,
    *,
    frozen_at: float = 0.0,
    chance: float = 0.5,
) -> Judgement:
    """Advance all origins of a node by one step.

    If all turn bad within two seconds, the fault is on our side: all are treated as UP, and none is judged until
    one of them responds.
    """
    if frozen_at:
        if not any(each.succeeded > frozen_at for each in evidence.values()):
            return Judgement(records, {}, frozen_at)
        return Judgement({name: replace(record, since=now) for name, record in records.items()}, {}, 0.0)
    is_sole = len(records) == 1
    stepped = {
        name: step(record, evidence[name], now, is_sole=is_sole, chance=chance) for name, record in records.items()
    }
    after = {name: record for name, (record, _) in stepped.items()}
    if _is_our_own_fault(after, now):
        calm = HealthRecord(HealthState.UP, since=now, reason=Cause.OWN_FAULT)
        return Judgement({name: replace(calm, flags=each.flags & HELD_BACK) for name, each in after.items()}, {}, now)
    return Judgement(after, {name: events for name, (_, events) in stepped.items() if events}, 0.0)


def _is_our_own_fault(records: Mapping[str, HealthRecord], now: float) -> bool:
    return len(records) > 1 and all(
        not record.is_good and now - record.bad_since <= TOGETHER_SECONDS for record in records.values()
    )
