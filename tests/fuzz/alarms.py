"""Alarms as files, other workers and programs of another version give them; and the context of traces."""

from __future__ import annotations

import json

from shield.rules import traceparent
from shield.rules.alarm_signs import WorkerSigns
from shield.rules.alarms import AlarmCause, AlarmEvent, AlarmKind, AlarmNews, NodeAlarm
from shield.rules.webhooks import AlarmBook, Webhook, key_of, request_of
from tests.fuzz.target import Target

HOOK = Webhook("pager", "https://pager.example/")
ALARM = NodeAlarm("fra-1/disk/1", AlarmKind.DISK, "/a", "out", 1.0, 2.0)
BOOK = AlarmBook(deaths=(1.0,), deaths_seen=3).posted([AlarmEvent("1", 2.0, AlarmNews.BEGAN, ALARM)], [HOOK], 3.0)
SIGNS = WorkerSigns(1, 2.0, 3, 4, 5, 6, (AlarmCause(AlarmKind.DISK, "/a", "out"),))


def check_book(data: bytes) -> None:
    try:
        book = AlarmBook.read(json.loads(data))
    except (ValueError, RecursionError):
        return
    assert AlarmBook.read(book.plain()) == book
    for each in book.outbox:
        assert request_of(HOOK, each.event, "fra-1", 5.0).body


def check_signs(data: bytes) -> None:
    try:
        signs = WorkerSigns.read(json.loads(data))
    except (ValueError, RecursionError):
        return
    assert len(signs.plain()["troubles"]) <= 32


def check_secret(data: bytes) -> None:
    try:
        key = key_of(data.decode("latin-1"))
    except ValueError:
        return
    assert 24 <= len(key) <= 64


def check_traceparent(data: bytes) -> None:
    parent, _, state = data.partition(b"\n")
    found = traceparent.parse_context(parent, state)
    if found is None:
        return
    fields = dict(traceparent.context_fields(found.trace_id, found.span_id, found.state, is_sampled=found.is_sampled))
    assert traceparent.parse_context(fields[b"traceparent"], fields.get(b"tracestate", b"")) == found
    assert fields[b"traceparent"][3:52] == parent[3:52]


TARGETS = {
    "alarm-book": Target(
        check_book,
        (json.dumps(BOOK.plain()).encode(), b"{}", b"[" * 100_000),
        (b'"active":', b'"outbox":', b"null", b"1e999", b"NaN", b"-1", b"\\ud800", b'"disk"'),
    ),
    "alarm-signs": Target(
        check_signs,
        (json.dumps(SIGNS.plain()).encode(), b"{}"),
        (b'"troubles":', b"null", b"1e999", b"NaN", b'"disk"'),
    ),
    "traceparent": Target(
        check_traceparent,
        (b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\nrojo=1",),
        (b"00-", b"-01", b"ff-", b"0" * 32),
    ),
    "webhook-secret": Target(check_secret, (b"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",), (b"whsec_", b"==")),
}
