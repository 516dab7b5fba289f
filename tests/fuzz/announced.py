"""Announcements of changed objects, and the events of buckets, which storages send."""

from __future__ import annotations

import json

from shield.errors import RequestError
from shield.rules import announcements
from shield.rules.announcements import MOST, AnnouncementError
from shield.rules.changes import ChangeKind
from tests.fuzz.target import Target

RECORD = {"eventName": "ObjectCreated:Put", "s3": {"bucket": {"name": "images"}, "object": {"key": "a+b%2Bc.webp"}}}


def check(data: bytes) -> None:
    try:
        found = announcements.parse(data)
    except (AnnouncementError, RequestError) as error:
        assert str(error).isprintable() and len(str(error)) < 1500
        return
    assert len(found.names) + len(found.events) <= MOST
    assert all(kind in ChangeKind and name for kind, name in found.names)
    assert all(event.kind in ChangeKind and event.bucket and event.key for event in found.events)
    assert found.ignored >= 0
    assert found.confirm is None or found.confirm.isprintable()


def _written(value: object) -> bytes:
    return json.dumps(value).encode()


TARGETS = {
    "announcement": Target(
        check,
        (
            _written({"changed": ["/a"], "new": ["https://cdn.example/b"], "deleted": [], "prefetch": True}),
            _written({"Records": [RECORD]}),
            _written({"Type": "Notification", "Message": json.dumps({"Records": [RECORD]})}),
            _written({"Type": "SubscriptionConfirmation", "SubscribeURL": "https://sns.example/?a"}),
            _written({"detail-type": "Object Deleted", "detail": {"bucket": {"name": "b"}, "object": {"key": "a"}}}),
            _written({"account": "a", "action": "PutObject", "bucket": "images", "object": {"key": "a"}}),
            b'{"changed": ' + b"[" * 100_000,
        ),
        (b'"changed":', b'"Records":', b'"Message":', b"\\u0000", b"\\ud800", b"%00", b"%2F..", b"null", b"1e999"),
    ),
}
