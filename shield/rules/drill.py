"""Drills: faults that a node injects between itself and one of its origins, to prove that failover works. Pure.

Decides whether a drill may begin, which keys it concerns, when it ends, and what it has proved; and when the next one
is due. A drill ends at its time, when it is stopped, as soon as clients notice it, or when no other origin is left.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from enum import Enum
from typing import Any, Self

import xxhash

from shield.rules.health import HealthState
from shield.rules.prices import Price

MARK = "(drill)"
"""At the end of a fault's text: it was injected."""

SECONDS = 60.0
"""How long a drill lasts: an origin that is out is tried again several times in a minute."""

LONGEST_SECONDS = 3600.0

SCOPE = 0.1
"""Share of the keys that a drill concerns."""

BUDGET = 0.001
"""Share of clients' requests that may fail while a drill runs."""

BUDGET_REQUESTS = 1000
"""Fewer requests count as this many: one failure of ten is no tenth of a day's requests."""

P99_SECONDS = 2.0
"""The longest 99th percentile of times to first byte, of requests that aren't plain hits."""

LATE_SECONDS = 1.0
"""A response whose first byte comes later counts as late in the report."""

SLOW_SECONDS = 2.0
"""By how much a slow origin's responses are delayed."""

RECOVERY_SECONDS = 300.0
"""For so long after its end a drill waits for its origin to be up again, before it is reported."""

PROOF_SECONDS = 90 * 86400.0
"""How long a drill counts as proof that the failover of its origin works."""

NIGHT_SECONDS = 3600.0
"""How late a nightly drill may begin: a node that was down at its hour leaves it out."""

_DAY = 86400.0


class DrillMode(Enum):
    """The fault that is injected."""

    BLACKHOLE = "blackhole"  # no answer to any request
    REFUSE = "refuse"  # no connection
    SERVER = "5xx"  # 500 InternalError
    THROTTLE = "throttle"  # 503 SlowDown
    SLOW = "slow"  # real responses, late
    CORRUPT = "corrupt"  # real responses whose bodies don't match their digests, which shows at the end
    EXPIRED_KEY = "expired-key"  # 400 ExpiredToken


MODES = tuple([mode.value for mode in DrillMode])

_OF_RESPONSES = (DrillMode.SERVER, DrillMode.THROTTLE, DrillMode.EXPIRED_KEY)


class DrillEnding(Enum):
    """The reason for the end of a drill."""

    TIME = "its time was over"
    STOPPED = "it was stopped"
    FAILURES = "clients' requests failed"
    LATE = "clients' requests were late"
    ALONE = "no other origin was healthy"
    GONE = "its origin was removed from the settings"
    OWN_FAULT = "all origins failed together"


@dataclass(frozen=True, slots=True)
class DrillOrder:
    """A drill as it is ordered. `scope` and `budget` are shares from 0 to 1. `is_forced`: also on an origin without a
    healthy alternative.
    """

    origin: str
    mode: DrillMode
    seconds: float = SECONDS
    scope: float = SCOPE
    budget: float = BUDGET
    p99_seconds: float = P99_SECONDS
    is_forced: bool = False
    is_nightly: bool = False

    @classmethod
    def read(cls, plain: Mapping[str, Any]) -> Self:
        """From plain values by the names of the fields. Raises ValueError with a line that names the mistake."""
        known = {field.name for field in fields(cls)}
        if unknown := sorted(plain.keys() - known):
            raise ValueError(f"{unknown[0]}: unknown; expected {', '.join(sorted(known))}")
        origin, mode = plain.get("origin"), plain.get("mode")
        if not isinstance(origin, str):
            raise ValueError("origin: expected the name of an origin")  # noqa: TRY004  # its caller expects ValueError alone
        if mode not in MODES:
            raise ValueError(f"mode: expected one of {', '.join(MODES)}")
        given: dict[str, Any] = {}
        for name, least, most in DRILL_BOUNDS:
            value = plain.get(name)
            if value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
                raise ValueError(f"{name}: expected a number from {least:g} to {most:g}")
            given[name] = float(value)
        for name in ("is_forced", "is_nightly"):
            value = plain.get(name, False)
            if value is not True and value is not False:
                raise ValueError(f"{name}: expected true or false")
            given[name] = value
        return cls(origin, DrillMode(mode), **given)

    def plain(self) -> dict[str, Any]:
        """The text that `read` parses."""
        return {**asdict(self), "mode": self.mode.value}

    def __str__(self) -> str:
        return f"{self.mode.value} for {self.seconds:g} s, {100.0 * self.scope:g} % of keys"


DRILL_BOUNDS = (
    ("seconds", 1.0, LONGEST_SECONDS),
    ("scope", 1e-6, 1.0),
    ("budget", 0.0, 1.0),
    ("p99_seconds", 0.001, 3600.0),
)


@dataclass(frozen=True, slots=True)
class DrillOrigin:
    """An origin, as far as a drill depends on it. `trouble`: why it isn't healthy, "" if it is."""

    name: str
    trouble: str = ""
    is_signed: bool = True
    passes_errors: bool = False  # its errors are sent to clients
    states_digests: bool = True  # its responses have checksums, or ETags that are digests


def objections(
    order: DrillOrder,
    origins: Mapping[str, DrillOrigin],
    routes: Mapping[str, Sequence[str]],
    *,
    running: str = "",
    is_frozen: bool = False,
) -> list[str]:
    """The reasons for which a drill can't begin, a line each. `running`: one that runs. `routes`: origins of each.

    Only an origin without a healthy alternative, or one that isn't healthy itself, can be forced.
    """
    target = origins.get(order.origin)
    if target is None:
        return [f"origin {order.origin}: the node has none of this name; it has {', '.join(origins)}"]
    if running:
        return [f"a drill runs already, {running}: wait for its end, or shield drill stop"]
    said = [*_unsafe(order, target, routes)]
    if is_frozen:
        said.append(
            "all origins have failed together: the node has a fault of its own, and a drill would prove nothing"
        )
    elif not order.is_forced:
        said += _risks(target, origins, routes)
    return said


def _unsafe(order: DrillOrder, target: DrillOrigin, routes: Mapping[str, Sequence[str]]) -> list[str]:
    """Faults that would reach clients, or that the origin can't have. They can't be forced."""
    name, mode = target.name, order.mode
    if mode is DrillMode.EXPIRED_KEY and not target.is_signed:
        return [f"origin {name} is a plain web server without keys: {mode.value} can't happen to it"]
    if mode in _OF_RESPONSES and target.passes_errors:
        return [
            f"origin {name} has pass_errors, so clients would get the errors of {mode.value}: choose another mode"
        ]
    if mode is DrillMode.CORRUPT and not target.states_digests:
        through = [route for route, names in routes.items() if name in names]
        why = f"origin {name} states no digests, so nothing would notice wrong bytes: choose another mode"
        return [f"route {route}: its {why}" for route in through] or [why]
    return []


def _risks(target: DrillOrigin, origins: Mapping[str, DrillOrigin], routes: Mapping[str, Sequence[str]]) -> list[str]:
    if target.trouble:
        return [f"origin {target.name} isn't healthy: {target.trouble}; wait until it is, or use --force"]
    found = []
    for route, names in routes.items():
        others = [origins[name] for name in names if name != target.name and name in origins]
        if target.name not in names or any(not other.trouble for other in others):
            continue
        why = "; ".join(f"{other.name}: {other.trouble}" for other in others) or "it has no other one"
        found.append(f"route {route}: {target.name} is its only healthy origin ({why}); --force ignores that")
    return found


def has_alternative(name: str, origins: Mapping[str, DrillOrigin], routes: Mapping[str, Sequence[str]]) -> bool:
    """Whether each route of an origin has another one that is healthy."""
    return all(
        any(other != name and other in origins and not origins[other].trouble for other in names)
        for names in routes.values()
        if name in names
    )


def is_drilled(path: bytes, seed: int, scope: float) -> bool:
    """Whether a drill concerns the object at this path: each drill other ones, by its `seed`."""
    return bool(xxhash.xxh3_64_intdigest(path, seed=seed) < scope * 2.0**64)


@dataclass(frozen=True, slots=True)
class DrillFigures:
    """Counts of all workers since the drill began. `elsewhere`: requests that went to other origins because of it,
    and bytes of their responses, by origin.
    """

    faults: int = 0  # requests to the origin that had a fault injected
    spared: int = 0  # requests left alone, since nothing would notice wrong bytes in the response
    requests: int = 0  # of clients
    failed: int = 0  # of these, answered with 5xx or cut off
    late: int = 0  # first byte after `LATE_SECONDS`
    p99: float | None = None  # of times to first byte, without plain hits
    elsewhere: Mapping[str, tuple[int, int]] | None = None


@dataclass(frozen=True, slots=True)
class DrillRun:
    """A drill that has begun. Times are of the monotonic clock, 0.0: not so far; `began_at` is in epoch seconds.

    `names` are the other origins of the node, in the order in which workers count their responses.
    """

    number: int
    order: DrillOrder
    began: float
    began_at: float
    names: tuple[str, ...] = ()
    suspected: float = 0.0  # its origin was first not UP
    opened: float = 0.0  # its origin was first out of service
    ended: float = 0.0
    ending: DrillEnding | None = None
    recovered: float = 0.0  # its origin was UP again
    report: Mapping[str, Any] | None = None

    @property
    def until(self) -> float:
        return self.began + self.order.seconds

    def is_on(self, now: float) -> bool:
        """Whether faults are injected."""
        return not self.ended and now < self.until

    @property
    def seed(self) -> int:
        return self.number ^ int(self.began_at)

    def __str__(self) -> str:
        return f"drill {self.number} at origin {self.order.origin}"

    def plain(self) -> dict[str, Any]:
        """The text that `read` parses."""
        return {
            **{field.name: getattr(self, field.name) for field in fields(self)},
            "order": self.order.plain(),
            "ending": None if self.ending is None else self.ending.name,
        }

    @classmethod
    def read(cls, plain: Mapping[str, Any]) -> Self:
        """Raises ValueError, KeyError or TypeError if it is no drill of this version."""
        ending = plain["ending"]
        return cls(
            **{
                **plain,
                "order": DrillOrder.read(plain["order"]),
                "ending": None if ending is None else DrillEnding[ending],
                "names": tuple(plain["names"]),
            }
        )


@dataclass(frozen=True, slots=True)
class DrillSight:
    """The conductor's view of a node while a drill is in progress. `state` None: the origin is gone."""

    state: HealthState | None
    figures: DrillFigures
    has_alternative: bool = True
    is_frozen: bool = False


def advance(run: DrillRun, sight: DrillSight, now: float) -> DrillRun:
    """The drill after a look at the node: the observations, and whether it is over."""
    state = sight.state
    if not run.ended and (ending := _ending(run, sight, now)) is not None:
        run = replace(run, ended=min(now, run.until) if ending is DrillEnding.TIME else now, ending=ending)
    if state is not None and state is not HealthState.UP and not run.suspected:
        run = replace(run, suspected=now)
    if state in (HealthState.OPEN, HealthState.TRIAL) and not run.opened:
        run = replace(run, opened=now)
    if run.ended and not run.recovered and state is HealthState.UP:
        run = replace(run, recovered=now)
    return run


def _ending(run: DrillRun, sight: DrillSight, now: float) -> DrillEnding | None:
    order, figures = run.order, sight.figures
    if sight.state is None:
        return DrillEnding.GONE
    if sight.is_frozen:
        return DrillEnding.OWN_FAULT
    if figures.failed > order.budget * max(figures.requests, BUDGET_REQUESTS):
        return DrillEnding.FAILURES
    if figures.p99 is not None and figures.p99 > order.p99_seconds:
        return DrillEnding.LATE
    if not sight.has_alternative and not order.is_forced:
        return DrillEnding.ALONE
    return DrillEnding.TIME if now >= run.until else None


def is_reportable(run: DrillRun, now: float) -> bool:
    """Whether all is known of a drill that can be: its origin is up again, or isn't after a long time."""
    gone = run.ending is DrillEnding.GONE
    return bool(run.ended) and (bool(run.recovered) or gone or now - run.ended >= RECOVERY_SECONDS)


def report(run: DrillRun, figures: DrillFigures, prices: Mapping[str, Price | None]) -> dict[str, Any]:
    """The result of a drill that has ended, as plain values. Seconds are None for what hasn't happened."""
    order, elsewhere = run.order, figures.elsewhere or {}
    ending = run.ending or DrillEnding.STOPPED
    ended = run.ended or run.until
    money: dict[str, float] = {}
    for name, (count, size) in elsewhere.items():
        if (price := prices.get(name)) is not None:
            money[price.currency] = money.get(price.currency, 0.0) + price.of(size, count)
    plain = {
        "number": run.number,
        "began_at": run.began_at,
        **{name: value for name, value in order.plain().items() if name != "is_forced"},
        "ending": ending.value,
        "lasted_seconds": round(ended - run.began, 2),
        "detected_seconds": _between(run.began, run.suspected),
        "opened_seconds": _between(run.began, run.opened),
        "recovered_seconds": _between(ended, run.recovered) if run.suspected else 0.0,
        "faults": figures.faults,
        "spared": figures.spared,
        "requests": figures.requests,
        "failed": figures.failed,
        "late": figures.late,
        "p99_seconds": None if figures.p99 is None else round(figures.p99, 4),
        "p99_bound_seconds": order.p99_seconds,
        "extra_fetches": sum([count for count, _ in elsewhere.values()]),
        "extra_bytes": sum([size for _, size in elsewhere.values()]),
        "money": {currency: round(amount, 6) for currency, amount in money.items()},
    }
    return {**plain, "proved": ending is DrillEnding.TIME and figures.faults > 0}


def _between(start: float, stop: float) -> float | None:
    return round(stop - start, 2) if stop else None


def text_of(plain: Mapping[str, Any]) -> str:
    """A report as one line, for the log."""
    said = [f"{plain['mode']}, {plain['ending']} after {plain['lasted_seconds']:g} s"]
    if plain["detected_seconds"] is None:
        said.append("the origin was never suspect")
    else:
        said.append(f"suspect after {plain['detected_seconds']:g} s")
        back = plain["recovered_seconds"]
        said.append("not up again so far" if back is None else f"up again {back:g} s after the end")
    said.append(f"{plain['faults']} faults, {plain['failed']} failed and {plain['late']} late of {plain['requests']}")
    proof = "failover is proven" if plain["proved"] else "failover isn't proven"
    return "; ".join([*said, f"{plain['extra_fetches']} fetches elsewhere", proof])


def begins_at(seconds: float, now: float) -> float:
    """The last time of the day `seconds` (after midnight UTC) before `now`, in epoch seconds."""
    today = now - now % _DAY + seconds
    return today if today <= now else today - _DAY


def is_due(seconds: float, now: float, last: float) -> bool:
    """Whether a nightly drill is due, the last one having begun at `last` (0.0: none)."""
    hour = begins_at(seconds, now)
    return last < hour and now - hour < NIGHT_SECONDS


def proofs(reports: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """The time at which the failover of each origin was last proven, in epoch seconds, from reports, oldest first."""
    return {each["origin"]: float(each["began_at"]) for each in reports if each.get("proved")}


def next_origin(names: Sequence[str], tried: Mapping[str, float]) -> str | None:
    """The origin for the next nightly drill: that whose last one is the oldest."""
    return min(names, key=lambda name: tried.get(name, 0.0), default=None)


def unproven(since: Mapping[str, float], now: float) -> dict[str, float]:
    """Origins whose failover has had no proof for too long, with the seconds; `since`: the last proof of each."""
    return {name: now - proven for name, proven in since.items() if now - proven > PROOF_SECONDS}
