"""Webhooks of alarms: the requests as Standard Webhooks has them, and when they are due. Pure.

The signature covers the message's id, the time of the attempt and the body, so that a receiver can tell that it is
ours, new, and whole: https://www.standardwebhooks.com.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any

from shield.rules.alarms import (
    KINDS,
    AlarmEvent,
    AlarmKind,
    AlarmNews,
    AlarmStates,
    NodeAlarm,
    Severity,
    plain_alarm,
    read_alarm,
    read_time,
)
from shield.rules.moments import shown

PREFIX = "whsec_"

MOST_WAITING = 64
"""Messages that wait for one webhook; beyond, the oldest is dropped."""

ATTEMPTS = 10
"""With the times between them, about twenty minutes: a receiver is restarted or deployed in less."""

_FIRST_SECONDS, _LONGEST_SECONDS = 5.0, 300.0
_JITTER = 0.2
_GONE = 410  # the receiver wants no more of it
_KEY_BYTES = range(24, 65)


class WebhookFormat(Enum):
    """The body of a webhook's requests."""

    STANDARD = "standard"  # as docs/monitoring.md has it
    SLACK = "slack"  # {"text": ...}, which Mattermost, Rocket.Chat and Google Chat take as well


@dataclass(frozen=True, slots=True)
class Webhook:
    """A place to which alarms are sent. Its URL may be a secret, too. `key` None: requests aren't signed."""

    name: str
    url: str = field(repr=False)
    key: bytes | None = field(default=None, repr=False)
    kinds: frozenset[AlarmKind] = frozenset(AlarmKind)
    format: WebhookFormat = WebhookFormat.STANDARD
    timeout: float = 10.0

    def wants(self, event: AlarmEvent) -> bool:
        return event.alarm.kind in self.kinds or event.alarm.kind is AlarmKind.TEST


@dataclass(frozen=True, slots=True)
class Dispatch:
    """A message on its way to a webhook: when its next attempt is due, after this many."""

    webhook: str
    event: AlarmEvent
    due: float
    attempts: int = 0

    @property
    def key(self) -> tuple[str, str]:
        return self.webhook, self.event.id


@dataclass(frozen=True, slots=True)
class WebhookCounts:
    """Messages to a webhook: taken by it, given up after all attempts, and dropped since too many waited."""

    sent: int = 0
    failed: int = 0
    dropped: int = 0


@dataclass(frozen=True, slots=True)
class AlarmBook:
    """Everything on alarms that outlasts a worker: their states, messages on their way, counts by webhook, and the
    times of workers' deaths, which are those since `deaths_seen` of them had been counted.
    """

    states: AlarmStates = field(default_factory=AlarmStates)
    outbox: tuple[Dispatch, ...] = ()
    counts: Mapping[str, WebhookCounts] = field(default_factory=dict)
    deaths: tuple[float, ...] = ()
    deaths_seen: int = 0

    def posted(self, events: Sequence[AlarmEvent], webhooks: Collection[Webhook], now: float) -> AlarmBook:
        """With these messages on their way to all webhooks that want them; those to webhooks that are gone are
        forgotten."""
        names = {webhook.name for webhook in webhooks}
        outbox = [each for each in self.outbox if each.webhook in names]
        counts = {name: found for name, found in self.counts.items() if name in names}
        for event in events:
            outbox += [Dispatch(webhook.name, event, now) for webhook in webhooks if webhook.wants(event)]
        for name in names:
            own = [each for each in outbox if each.webhook == name]
            late = {each.key for each in own[:-MOST_WAITING]}
            if late:
                outbox = [each for each in outbox if each.key not in late]
                before = counts.get(name, WebhookCounts())
                counts[name] = replace(before, dropped=before.dropped + len(late))
        return replace(self, outbox=tuple(outbox), counts=counts)

    def due(self, webhook: str, now: float) -> Dispatch | None:
        """The message to be sent to it now, if there is one. A due time further off than any wait is of a clock that
        was put back."""
        own = [each for each in self.outbox if each.webhook == webhook]
        ready = [each for each in own if not now < each.due <= now + 2.0 * _LONGEST_SECONDS]
        return min(ready, key=lambda each: each.due, default=None)

    def taken(self, dispatch: Dispatch) -> AlarmBook:
        """The webhook has it."""
        return self._without(dispatch, sent=1)

    def refused(self, dispatch: Dispatch, now: float, wait: float | None) -> AlarmBook:
        """An attempt failed: the next one is due after `wait`; None: it is given up."""
        if wait is None:
            return self._without(dispatch, failed=1)
        later = replace(dispatch, attempts=dispatch.attempts + 1, due=now + wait)
        return replace(self, outbox=tuple([later if e.key == dispatch.key else e for e in self.outbox]))

    def _without(self, dispatch: Dispatch, *, sent: int = 0, failed: int = 0) -> AlarmBook:
        outbox = tuple([each for each in self.outbox if each.key != dispatch.key])
        if len(outbox) == len(self.outbox):
            return self  # another worker did it
        before = self.counts.get(dispatch.webhook, WebhookCounts())
        after = replace(before, sent=before.sent + sent, failed=before.failed + failed)
        return replace(self, outbox=outbox, counts={**self.counts, dispatch.webhook: after})

    def plain(self) -> dict[str, Any]:
        """As JSON has it, for `read`."""
        states = self.states
        return {
            "active": [plain_alarm(alarm) for alarm in states.active.values()],
            "recent": [plain_alarm(alarm) for alarm in states.recent],
            "waiting": [[kind.value, subject, since] for (kind, subject), since in states.waiting.items()],
            "outbox": [[each.webhook, each.event.plain(), each.due, each.attempts] for each in self.outbox],
            "counts": {name: [each.sent, each.failed, each.dropped] for name, each in self.counts.items()},
            "deaths": list(self.deaths),
            "deaths_seen": self.deaths_seen,
        }

    @classmethod
    def read(cls, plain: Any) -> AlarmBook:
        """A book as it was written, by any version: kinds that this one doesn't know are left out. Raises
        ValueError."""
        try:
            known = {kind.value for kind in AlarmKind}
            active = [read_alarm(each) for each in plain["active"] if each["kind"] in known]
            states = AlarmStates(
                {alarm.key: alarm for alarm in active},
                tuple([read_alarm(each) for each in plain["recent"] if each["kind"] in known]),
                {
                    (AlarmKind(k), str(subject)): read_time(since)
                    for k, subject, since in plain["waiting"]
                    if k in known
                },
            )
            outbox = [
                Dispatch(str(webhook), AlarmEvent.read(event), read_time(due), int(attempts))
                for webhook, event, due, attempts in plain["outbox"]
                if event["alarm"]["kind"] in known
            ]
            counts = {
                str(name): WebhookCounts(*[int(count) for count in each]) for name, each in plain["counts"].items()
            }
            deaths = tuple([read_time(at) for at in plain["deaths"]])
            return cls(states, tuple(outbox), counts, deaths, int(plain["deaths_seen"]))
        except (TypeError, KeyError, AttributeError, OverflowError) as error:
            raise ValueError(f"no book of alarms: {error!r}") from None


@dataclass(frozen=True, slots=True)
class WebhookRequest:
    """A POST: its fields and body."""

    fields: tuple[tuple[str, str], ...]
    body: bytes


def request_of(webhook: Webhook, event: AlarmEvent, node: str, now: float) -> WebhookRequest:
    """The request of an attempt at the time `now`."""
    slack = webhook.format is WebhookFormat.SLACK
    value = {"text": slack_text(event, node)} if slack else payload(event, node)
    body = json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode(errors="replace")
    name, sent = message_id(event), int(now)
    fields = [("content-type", "application/json"), ("webhook-id", name), ("webhook-timestamp", str(sent))]
    if webhook.key is not None:
        fields.append(("webhook-signature", signature(webhook.key, name, sent, body)))
    return WebhookRequest(tuple(fields), body)


def message_id(event: AlarmEvent) -> str:
    """The same for each attempt, so that receivers can drop repetitions."""
    return f"msg_{hashlib.sha256(event.id.encode(errors='replace')).hexdigest()[:32]}"


def signature(key: bytes, name: str, sent: int, body: bytes) -> str:
    """Of version 1: an HMAC-SHA256."""
    signed = b"%b.%d.%b" % (name.encode(), sent, body)
    return f"v1,{base64.b64encode(hmac.digest(key, signed, 'sha256')).decode()}"


def key_of(secret: str) -> bytes:
    """The key of a secret, `whsec_` and base64 of 24 to 64 bytes. Raises ValueError."""
    try:
        key = base64.b64decode(secret.removeprefix(PREFIX), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not secret.startswith(PREFIX) or len(key) not in _KEY_BYTES:
        raise ValueError("expected whsec_ and 24 to 64 bytes in base64")
    return key


def payload(event: AlarmEvent, node: str) -> dict[str, Any]:
    """The body: a type, a time, and the alarm as `listed`."""
    kind = "test" if event.alarm.kind is AlarmKind.TEST else event.told.value
    return {"type": f"alarm.{kind}", "timestamp": shown(event.at), "data": listed(event.alarm, node)}


def listed(alarm: NodeAlarm, node: str) -> dict[str, Any]:
    """An alarm for receivers and operators."""
    terms = KINDS[alarm.kind]
    return {
        "id": alarm.id,
        "node": node,
        "kind": alarm.kind.value,
        "subject": alarm.subject,
        "severity": terms.severity.value,
        "text": alarm.text,
        "remedy": terms.remedy,
        "runbook": f"docs/{terms.runbook}",
        "since": shown(alarm.since),
        "resolved": alarm.resolved is not None,
        "resolved_at": None if alarm.resolved is None else shown(alarm.resolved),
    }


def slack_text(event: AlarmEvent, node: str) -> str:
    """A line with the event, and one with the remedy."""
    alarm, terms = event.alarm, KINDS[event.alarm.kind]
    what = " ".join(part for part in (alarm.kind.value, alarm.subject) if part)
    if event.told is AlarmNews.RESOLVED:
        return _escaped(f"[resolved] {node}: {what}: it began at {shown(alarm.since)}")
    again = f" (since {shown(alarm.since)})" if event.told is AlarmNews.LASTS else ""
    mark = "CRITICAL" if terms.severity is Severity.CRITICAL else "warning"
    return _escaped(f"[{mark}] {node}: {what}{again}: {alarm.text}\n{terms.remedy}")


def _escaped(text: str) -> str:
    """Without mentions and links of a chat's own."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def wait_after(attempts: int, *, status: int | None, retry_after: float | None, chance: float) -> float | None:
    """Seconds until the next attempt, after this many that failed; None: give up. `status` is that of the last
    response; `chance`, from 0 to 1, adds jitter.
    """
    if status == _GONE or attempts >= ATTEMPTS:
        return None
    wait = min(_LONGEST_SECONDS, _FIRST_SECONDS * 2.0 ** (attempts - 1))
    wait *= 1.0 - _JITTER + 2.0 * _JITTER * chance
    return wait if retry_after is None else min(max(wait, retry_after), _LONGEST_SECONDS)
