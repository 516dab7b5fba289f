"""Alarms for people, from their beginning to their end. Pure; times are epoch seconds.

    trouble ──lasts for `begins_after`──> alarm: BEGAN ──`remind`──> LASTS ... ──gone for `ends_after`──> RESOLVED

`judge` compares the troubles of now with the alarms so far. A trouble that comes and goes makes one alarm, since
it must be gone for a while before its alarm ends. One of a kind that isn't known right now changes nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from enum import Enum
from typing import Any

MOST_ACTIVE = 64
"""Alarms at a time; further troubles wait until one of them is over."""

MOST_RECENT = 64
"""Alarms that are over and still listed."""

MOST_TEXT = 400
"""Characters of a text."""

_CALM = 60.0


class Severity(Enum):
    """The reaction expected of people."""

    CRITICAL = "critical"  # clients are affected, or wrong bytes may be: get up
    WARNING = "warning"  # one more fault, or some time, and they are: today


class AlarmKind(Enum):
    """The kind of trouble. Webhooks choose among these words."""

    NO_ORIGIN = "no-origin"  # all origins are out, or the fault is on this node's side
    ORIGIN_DOWN = "origin-down"  # one is out; others serve
    ORIGIN_AUTH = "origin-auth"  # one refuses our credentials
    ORIGIN_CORRUPT = "origin-corrupt"  # one sent other bytes under an unchanged ETag
    ORIGIN_LAGGING = "origin-lagging"  # a copy is behind the primary for longer than its max_lag
    ERRORS = "errors"  # clients get 5xx
    DISK = "disk"  # a cache directory can't be written, or is out of use
    WORKER_DIED = "worker-died"  # a worker died, and was replaced
    WORKERS_RESTART = "workers-restart"  # that happens again and again
    LOOP_LAG = "loop-lag"  # a worker's event loop is blocked again and again
    CREDENTIALS = "credentials"  # an origin's expire soon, or can't be renewed
    CERTIFICATE = "certificate"  # the listeners' expires soon, or files that replace it can't be used
    DRILL = "drill"  # failover isn't proven: a drill is overdue, or has shown that it fails
    RAMP = "ramp"  # a new origin's ramp was aborted
    RELOAD = "reload"  # new settings were refused, so a restart would fail
    PURGES = "purges"  # purges can't be written to disk, so a restart would undo them
    CLUSTER = "cluster"  # purges given to other nodes may not reach this one, or not in time
    EDGE_PURGES = "edge-purges"  # a CDN doesn't take purges that are passed on to it
    BUDGET = "budget"  # a part of a budget of egress is spent
    BUDGET_SPENT = "budget-spent"  # all of it is
    SPIKE = "egress-spike"  # an origin gives far more than usual at this hour
    ACCESS_LOG = "access-log"  # lines of the access log are lost
    TEST = "test"  # nothing: someone tries the webhook

    __hash__ = object.__hash__


class AlarmNews(Enum):
    """The news in a message about an alarm."""

    BEGAN = "began"
    LASTS = "lasts"  # a reminder
    RESOLVED = "resolved"


@dataclass(frozen=True, slots=True)
class KindTerms:
    """How an alarm of a kind is handled. `runbook` is a heading of a page in docs. `reminds`: there are further
    messages while it lasts.
    """

    severity: Severity
    remedy: str
    runbook: str
    begins_after: float = 0.0
    reminds: bool = True
    ends_after: float = _CALM


_CRITICAL, _WARNING = Severity.CRITICAL, Severity.WARNING

KINDS: Mapping[AlarmKind, KindTerms] = {
    AlarmKind.NO_ORIGIN: KindTerms(
        _CRITICAL,
        "Look at this machine's network, DNS and clock first: shield check --online says which origin fails and how. "
        "Stored entries are served stale meanwhile.",
        "oncall.md#clients-get-503-or-504",
        begins_after=10.0,
    ),
    AlarmKind.ORIGIN_DOWN: KindTerms(
        _CRITICAL,
        "shield origin ls shows the reason, shield check --online a remedy. Other origins serve its keys; drain it "
        "if it comes and goes.",
        "oncall.md#an-origin-is-down",
        begins_after=15.0,
    ),
    AlarmKind.ORIGIN_AUTH: KindTerms(
        _CRITICAL,
        "Its credentials were revoked or have expired, or a clock is wrong: see shield check --online, and rotate.",
        "oncall.md#rotate-credentials",
        begins_after=15.0,
    ),
    AlarmKind.ORIGIN_CORRUPT: KindTerms(
        _CRITICAL,
        "It isn't used while another origin can serve. Compare its objects with shield audit, then check it with "
        "shield origin probe.",
        "oncall.md#an-origin-is-corrupt",
    ),
    AlarmKind.ORIGIN_LAGGING: KindTerms(
        _WARNING,
        "Look at the bucket's replication. Clients are served: objects that it lacks come from others.",
        "oncall.md#a-replica-lags",
        begins_after=60.0,
    ),
    AlarmKind.ERRORS: KindTerms(
        _CRITICAL,
        "detail in the access log names each origin and its fault.",
        "oncall.md#clients-get-503-or-504",
        ends_after=120.0,
    ),
    AlarmKind.DISK: KindTerms(
        _WARNING,
        "Look at space, owner and the kernel's log. The node goes on without it: its keys are fetched again.",
        "oncall.md#a-disk-is-out",
        begins_after=15.0,
    ),
    AlarmKind.WORKER_DIED: KindTerms(
        _WARNING,
        "No action is needed: it was replaced. The log has its exit code; SIGKILL usually means out of memory.",
        "oncall.md#the-node-isnt-ready-or-restarts",
        ends_after=0.0,
    ),
    AlarmKind.WORKERS_RESTART: KindTerms(
        _CRITICAL,
        "Look for the exit code in the log. Out of memory: lower cache.memory and cache.fills.memory.",
        "oncall.md#the-node-isnt-ready-or-restarts",
        ends_after=0.0,
    ),
    AlarmKind.LOOP_LAG: KindTerms(
        _WARNING,
        "The machine or a worker is overloaded: look at top -H, and raise the number of workers.",
        "oncall.md#it-is-slow",
        ends_after=120.0,
    ),
    AlarmKind.CREDENTIALS: KindTerms(
        _WARNING,
        "Put new ones in place before the old ones end, or repair their source.",
        "oncall.md#rotate-credentials",
        begins_after=30.0,
    ),
    AlarmKind.CERTIFICATE: KindTerms(
        _WARNING,
        "Renew it, and replace the files of tls; the node takes them over by itself.",
        "oncall.md#rotate-credentials",
        begins_after=30.0,
    ),
    AlarmKind.DRILL: KindTerms(
        _WARNING,
        "Read the report with shield drill history, fix the cause, and drill again.",
        "oncall.md#drill-stop-a-drill",
    ),
    AlarmKind.RAMP: KindTerms(
        _WARNING,
        "It serves no keys. Look at that origin, then shield ramp start again, or clear.",
        "oncall.md#bring-in-a-new-origin",
    ),
    AlarmKind.RELOAD: KindTerms(
        _WARNING,
        "shield check prints the problems. The node keeps running with the previous settings; a restart would fail.",
        "oncall.md#a-reload-was-refused",
        ends_after=0.0,
    ),
    AlarmKind.PURGES: KindTerms(
        _CRITICAL,
        "Make room in state_directory, or repair its disk: after a restart, purged objects could be served again.",
        "oncall.md#a-disk-is-out",
    ),
    AlarmKind.EDGE_PURGES: KindTerms(
        _WARNING,
        "Purged objects may be served by the CDN until they expire there: fix the token or the id in purge.edges, "
        "as its answer says, or purge at the CDN. Waiting purges are sent as soon as possible.",
        "oncall.md#a-cdn-takes-no-purges",
        begins_after=120.0,
    ),
    AlarmKind.CLUSTER: KindTerms(
        _CRITICAL,
        "Look at the network between the nodes, and at the bus. This node serves; objects that were purged at others "
        "may be served here until it learns of the purges.",
        "oncall.md#a-node-is-cut-off-from-the-others",
        begins_after=15.0,
    ),
    AlarmKind.BUDGET: KindTerms(
        _WARNING,
        "shield cost --by reason shows where it goes; the budget's projected share shows whether it will last.",
        "oncall.md#a-budget-is-spent",
        reminds=False,
        ends_after=0.0,
    ),
    AlarmKind.BUDGET_SPENT: KindTerms(
        _CRITICAL,
        "The admin API's /budgets shows the measures in force; raise its amount and reload if clients are refused.",
        "oncall.md#a-budget-is-spent",
        ends_after=0.0,
    ),
    AlarmKind.SPIKE: KindTerms(
        _CRITICAL,
        "shield cost --suspects names keys, queries and clients; block or limit them, or fix the cause.",
        "oncall.md#egress-spikes",
        ends_after=120.0,
    ),
    AlarmKind.ACCESS_LOG: KindTerms(
        _WARNING,
        "The reader of the access log is too slow, or its disk is full; a larger access_log.memory bridges longer "
        "pauses.",
        "logs.md",
        ends_after=300.0,
    ),
    AlarmKind.TEST: KindTerms(_WARNING, "No action is needed: someone tested this webhook.", "monitoring.md#alarms"),
}


@dataclass(frozen=True, slots=True)
class AlarmCause:
    """A present trouble. `subject` distinguishes it from others of its kind: an origin, a directory, or nothing."""

    kind: AlarmKind
    subject: str
    text: str

    @property
    def key(self) -> tuple[AlarmKind, str]:
        return self.kind, self.subject


@dataclass(frozen=True, slots=True)
class NodeAlarm:
    """A trouble that has lasted. `told` is when a message on it was last due."""

    id: str
    kind: AlarmKind
    subject: str
    text: str
    since: float
    told: float
    gone: float | None = None  # since when its trouble hasn't been there
    resolved: float | None = None

    @property
    def key(self) -> tuple[AlarmKind, str]:
        return self.kind, self.subject

    @property
    def severity(self) -> Severity:
        return KINDS[self.kind].severity


@dataclass(frozen=True, slots=True)
class AlarmEvent:
    """A message about an alarm, to be sent. `id` is its own: the same for all receivers, and for each attempt."""

    id: str
    at: float
    told: AlarmNews
    alarm: NodeAlarm

    def plain(self) -> dict[str, Any]:
        """As JSON has it, for `read`."""
        return {"id": self.id, "at": self.at, "told": self.told.value, "alarm": plain_alarm(self.alarm)}

    @classmethod
    def read(cls, plain: Mapping[str, Any]) -> AlarmEvent:
        """Raises ValueError, TypeError or KeyError."""
        return cls(str(plain["id"]), read_time(plain["at"]), AlarmNews(plain["told"]), read_alarm(plain["alarm"]))


@dataclass(frozen=True, slots=True)
class AlarmStates:
    """All alarms: those that last, by kind and subject; past ones, the newest last; and troubles that don't last
    yet, with the time since when they have been there.
    """

    active: Mapping[tuple[AlarmKind, str], NodeAlarm] = field(default_factory=dict)
    recent: tuple[NodeAlarm, ...] = ()
    waiting: Mapping[tuple[AlarmKind, str], float] = field(default_factory=dict)


def judge(
    states: AlarmStates,
    troubles: Sequence[AlarmCause],
    now: float,
    *,
    remind: float,
    node: str,
    unknown: Collection[AlarmKind] = (),
) -> tuple[AlarmStates, list[AlarmEvent]]:
    """The alarms after a look, and messages that are due. The first of several troubles of one kind and subject
    counts. `remind`: seconds between two messages on one alarm; `unknown`: kinds of which this look knows nothing.
    """
    present: dict[tuple[AlarmKind, str], AlarmCause] = {}
    for trouble in troubles:
        present.setdefault(trouble.key, trouble)
    active, recent, events = dict(states.active), list(states.recent), []
    for key, alarm in states.active.items():
        if alarm.kind in unknown:
            continue
        found = present.get(key)
        after = _lasting(alarm, found, now) if found is not None else _ending(alarm, now)
        if after.resolved is not None:
            del active[key]
            recent.append(after)
            events.append(_event(after, AlarmNews.RESOLVED, now))
            continue
        if after.gone is None and KINDS[after.kind].reminds and not 0.0 <= now - after.told < remind:
            after = replace(after, told=now)
            events.append(_event(after, AlarmNews.LASTS, now))
        active[key] = after
    waiting: dict[tuple[AlarmKind, str], float] = {
        key: since for key, since in states.waiting.items() if key[0] in unknown
    }
    for key, trouble in present.items():
        if key in active or trouble.kind in unknown:
            continue
        since = min(states.waiting.get(key, now), now)
        if now - since < KINDS[trouble.kind].begins_after or len(active) >= MOST_ACTIVE:
            waiting[key] = since
            continue
        name = "/".join([part for part in (node, trouble.kind.value, trouble.subject[:100]) if part])
        text = trouble.text[:MOST_TEXT]
        alarm = NodeAlarm(f"{name}/{int(now * 1000.0)}", trouble.kind, trouble.subject, text, since, now)
        active[key] = alarm
        events.append(_event(alarm, AlarmNews.BEGAN, now))
    return AlarmStates(active, tuple(recent[-MOST_RECENT:]), waiting), events


def _lasting(alarm: NodeAlarm, trouble: AlarmCause, now: float) -> NodeAlarm:
    text = trouble.text[:MOST_TEXT]
    if alarm.gone is None and alarm.text == text:
        return alarm
    return replace(alarm, text=text, gone=None)


def _ending(alarm: NodeAlarm, now: float) -> NodeAlarm:
    gone = now if alarm.gone is None else min(alarm.gone, now)
    if now - gone >= KINDS[alarm.kind].ends_after:
        return replace(alarm, gone=gone, resolved=now)
    return replace(alarm, gone=gone)


def _event(alarm: NodeAlarm, told: AlarmNews, now: float) -> AlarmEvent:
    return AlarmEvent(f"{alarm.id}/{told.value}/{int(now * 1000.0)}", now, told, alarm)


def plain_alarm(alarm: NodeAlarm) -> dict[str, Any]:
    """As JSON has it, for `read_alarm`."""
    return {**asdict(alarm), "kind": alarm.kind.value}


def read_alarm(plain: Mapping[str, Any]) -> NodeAlarm:
    """Raises ValueError, TypeError or KeyError."""
    return NodeAlarm(
        str(plain["id"]),
        AlarmKind(plain["kind"]),
        str(plain["subject"]),
        str(plain["text"]),
        read_time(plain["since"]),
        read_time(plain["told"]),
        *[None if plain[name] is None else read_time(plain[name]) for name in ("gone", "resolved")],
    )


def read_time(value: object) -> float:
    """Epoch seconds, as JSON has them. Raises ValueError."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0.0 <= value < 1e12:
        raise ValueError("expected a time")
    return float(value)
