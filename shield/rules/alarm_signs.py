"""Signs of trouble in a node: each worker's, gathered every few seconds, and the conclusions. Pure.

Counts only rise while a process lives, so that a window's is the difference of two readings of the same process.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from shield.rules.alarms import MOST_TEXT, AlarmCause, AlarmKind
from shield.rules.budgets import ACTS, BudgetStanding, worded
from shield.rules.drill import DrillEnding
from shield.rules.health import Flag, HealthRecord

WINDOW_SECONDS = 60.0
"""The time over which errors, lags and lost lines are counted."""

LATE_SECONDS = 0.25
"""A delay of the event loop in one second that counts as late: clients notice."""

_LATE_TIMES = 10  # of the last minute's seconds
_DEATHS_SECONDS = 600.0
_DEATHS = 3
_MOST_DEATHS = 16  # remembered
_MOST_TROUBLES = 32  # of a worker
_FAILED = (DrillEnding.FAILURES.value, DrillEnding.LATE.value)


@dataclass(frozen=True, slots=True)
class AlarmLimits:
    """From when on something is wrong. `error_share` of at least `error_requests` responses in a minute."""

    error_share: float = 0.05
    error_requests: int = 100
    expiry: float = 7 * 86400.0  # of certificates, in seconds
    credentials_expiry: float = 300.0


@dataclass(frozen=True, slots=True)
class WorkerSigns:
    """A worker's own. `started` tells its process from the one before. Counts: `responses` to clients, those of them
    that `failed` with 5xx, seconds in which its loop was `late`, `dropped` lines of the access log.
    """

    worker: int
    started: float
    responses: int = 0
    failed: int = 0
    late: int = 0
    dropped: int = 0
    troubles: tuple[AlarmCause, ...] = ()

    def plain(self) -> dict[str, Any]:
        """As JSON has it, for `read`."""
        troubles = [[each.kind.value, each.subject, each.text] for each in self.troubles[:_MOST_TROUBLES]]
        return {**asdict(self), "troubles": troubles}

    @classmethod
    def read(cls, plain: Any) -> WorkerSigns:
        """Another worker's, of any version. Raises ValueError."""
        try:
            known = {kind.value for kind in AlarmKind}
            troubles = [
                AlarmCause(AlarmKind(kind), str(subject), str(text)[:MOST_TEXT])
                for kind, subject, text in plain["troubles"]
                if kind in known
            ]
            counts = {name: int(plain[name]) for name in ("responses", "failed", "late", "dropped")}
            return cls(int(plain["worker"]), float(plain["started"]), **counts, troubles=tuple(troubles))
        except (TypeError, KeyError, AttributeError, OverflowError) as error:
            raise ValueError(f"no signs of a worker: {error!r}") from None


@dataclass(frozen=True, slots=True)
class OriginSign:
    """An origin as the node judges it. `reason` is of its state."""

    name: str
    is_good: bool
    flags: Flag
    reason: str

    @classmethod
    def of(cls, name: str, record: HealthRecord) -> OriginSign:
        return cls(name, record.is_good, record.flags, record.why)


def of_origins(origins: Sequence[OriginSign], *, is_frozen: bool) -> list[AlarmCause]:
    """Troubles of origins. `is_frozen`: all of them failed together, which is the node's own fault."""
    bad = [each for each in origins if not each.is_good]
    found = []
    if is_frozen:
        found.append(
            AlarmCause(AlarmKind.NO_ORIGIN, "", "all origins failed within 2 s: the fault is on this node's side")
        )
    elif origins and len(bad) == len(origins):
        said = ", ".join(f"{each.name}: {each.reason}" for each in bad)
        found.append(AlarmCause(AlarmKind.NO_ORIGIN, "", f"no origin is healthy: {said}"))
    else:
        found += [
            AlarmCause(AlarmKind.ORIGIN_DOWN, each.name, f"origin {each.name} is out: {each.reason}") for each in bad
        ]
    for each in origins:
        if each.flags & Flag.AUTH:
            text = f"origin {each.name} refuses our credentials"
            found.append(AlarmCause(AlarmKind.ORIGIN_AUTH, each.name, text))
        if each.flags & Flag.CORRUPT:
            text = f"origin {each.name} sent other bytes than before under the same ETag, twice"
            found.append(AlarmCause(AlarmKind.ORIGIN_CORRUPT, each.name, text))
        if each.flags & Flag.LAGGING:
            text = f"origin {each.name} lacks objects that the primary has had for longer than its max_lag"
            found.append(AlarmCause(AlarmKind.ORIGIN_LAGGING, each.name, text))
    return found


@dataclass(slots=True)
class SignWindow:
    """Readings of all workers in the last minute and a bit; kept by the worker that judges."""

    limits: AlarmLimits = field(default_factory=AlarmLimits)
    _readings: deque[tuple[float, Mapping[int, WorkerSigns]]] = field(default_factory=deque)

    def add(self, signs: Iterable[WorkerSigns], now: float) -> None:
        """A reading of all workers that answer. `now` only rises: a monotonic clock's."""
        self._readings.append((now, {each.worker: each for each in signs}))
        while len(self._readings) > 1 and now - self._readings[1][0] >= WINDOW_SECONDS:
            self._readings.popleft()

    def troubles(self) -> list[AlarmCause]:
        """The troubles that the readings so far show."""
        if not self._readings:
            return []
        (began, oldest), (now, newest) = self._readings[0], self._readings[-1]
        found = [trouble for each in newest.values() for trouble in each.troubles]
        if now - began < WINDOW_SECONDS:
            return found
        # One that has restarted counts from its start, one that isn't there any more doesn't count.
        pairs = [
            (before if before is not None and before.started == each.started else WorkerSigns(each.worker, 0.0), each)
            for each in newest.values()
            for before in (oldest.get(each.worker),)
        ]
        responses = sum([max(0, after.responses - before.responses) for before, after in pairs])
        failed = sum([max(0, after.failed - before.failed) for before, after in pairs])
        if responses >= self.limits.error_requests and failed > self.limits.error_share * responses:
            text = f"{failed} of {responses} responses of the last minute were 5xx: {100.0 * failed / responses:.1f}%"
            found.append(AlarmCause(AlarmKind.ERRORS, "", text))
        for before, after in pairs:
            late = after.late - before.late
            if late >= _LATE_TIMES:
                text = f"the event loop of worker {after.worker} was blocked for {LATE_SECONDS:g} s or more"
                found.append(AlarmCause(AlarmKind.LOOP_LAG, str(after.worker), f"{text}, {late} times in a minute"))
        dropped = sum([max(0, after.dropped - before.dropped) for before, after in pairs])
        if dropped:
            found.append(AlarmCause(AlarmKind.ACCESS_LOG, "", f"{dropped} lines were lost in the last minute"))
        return found

    @property
    def unknown(self) -> Collection[AlarmKind]:
        """Kinds of which nothing is known yet."""
        if self._readings and self._readings[-1][0] - self._readings[0][0] >= WINDOW_SECONDS:
            return ()
        return (AlarmKind.ERRORS, AlarmKind.LOOP_LAG, AlarmKind.ACCESS_LOG)


def deaths_after(deaths: Sequence[float], seen: int, total: int, now: float) -> tuple[tuple[float, ...], int]:
    """The times of workers' deaths, and their number, after `total` have been counted since the node's start."""
    new = total - seen if total >= seen else total  # the node was restarted meanwhile
    kept = [at for at in deaths if 0.0 <= now - at < _DEATHS_SECONDS]
    return (*kept, *[now] * min(new, _MOST_DEATHS))[-_MOST_DEATHS:], total


def of_deaths(deaths: Sequence[float]) -> list[AlarmCause]:
    """Troubles of the deaths of the last minutes."""
    if not deaths:
        return []
    count = len(deaths)
    minutes = f"{_DEATHS_SECONDS / 60.0:.0f} minutes"
    if count < _DEATHS:
        who, were = ("1 worker", "was") if count == 1 else (f"{count} workers", "were")
        text = f"{who} died in the last {minutes}, and {were} replaced"
        return [AlarmCause(AlarmKind.WORKER_DIED, "", text)]
    return [AlarmCause(AlarmKind.WORKERS_RESTART, "", f"workers died {count} times in the last {minutes}")]


def of_drills(
    reports: Mapping[str, Mapping[str, Any]], unproven: Mapping[str, float], *, is_nightly: bool
) -> list[AlarmCause]:
    """Troubles of drills: the last report of each origin, and the seconds since the proof of those that are
    overdue, which matters only where drills are wanted.
    """
    found = [
        AlarmCause(AlarmKind.DRILL, name, f"the drill at origin {name} had to be ended: {report['ending']}")
        for name, report in reports.items()
        if report.get("ending") in _FAILED
    ]
    if is_nightly or reports:
        found += [
            AlarmCause(
                AlarmKind.DRILL, name, f"origin {name}: its failover hasn't been proven for {age / 86400.0:.0f} days"
            )
            for name, age in unproven.items()
        ]
    return found


def of_budgets(budgets: Iterable[BudgetStanding]) -> list[AlarmCause]:
    """Troubles of budgets: a cause for each share that is reached, and for a burst."""
    found = []
    for each in budgets:
        name = each.budget.name
        for share in each.reached:
            kind = AlarmKind.BUDGET_SPENT if share >= 1.0 else AlarmKind.BUDGET
            subject = name if share >= 1.0 else f"{name} {100.0 * share:g}%"
            does = ", ".join([word for word, act in ACTS.items() if each.acts & act])
            text = f"{100.0 * share:g}% of its amount is reached: {each}"
            found.append(AlarmCause(kind, subject, f"{text}; in force: {does}" if does else text))
        if each.is_burst:
            unit = each.budget.amount.currency
            text = f"budget {name}: {worded(each.in_hour, unit)} in this hour, beyond its burst"
            found.append(AlarmCause(AlarmKind.BUDGET_SPENT, f"{name} burst", text))
    return found


def of_expiry(kind: AlarmKind, subject: str, what: str, left: float, soon: float) -> list[AlarmCause]:
    """A trouble if something expires soon, or has: in `left` seconds."""
    if left >= soon:
        return []
    said = f"will expire in {_span(left)}" if left > 0.0 else "expired already"
    return [AlarmCause(kind, subject, f"{what} {said}")]


def _span(seconds: float) -> str:
    if seconds >= 2 * 86400.0:
        return f"{seconds / 86400.0:.0f} days"
    return f"{seconds / 3600.0:.0f} hours" if seconds >= 2 * 3600.0 else f"{seconds / 60.0:.0f} minutes"
