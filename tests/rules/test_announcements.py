"""Announcements in all forms in which storages send them."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shield.errors import RequestError
from shield.rules.announcements import MOST, AnnouncementError, BucketEvent, parse, targets_of
from shield.rules.changes import ChangeKind
from shield.rules.key import KeyRules
from shield.rules.routes import Route, Routes

CHANGED, DELETED = ChangeKind.CHANGED, ChangeKind.DELETED


def record(name: str, key: str = "abc/a+b%2Bc.webp", source: str = "aws:s3") -> dict[str, Any]:
    """As S3 sends it."""
    return {
        "eventVersion": "2.1",
        "eventSource": source,
        "eventName": name,
        "s3": {"bucket": {"name": "images"}, "object": {"key": key, "size": 3, "eTag": "x", "sequencer": "0"}},
    }


def sns(message: object) -> dict[str, Any]:
    return {"Type": "Notification", "TopicArn": "arn:aws:sns:x", "Message": json.dumps(message)}


R2 = {"account": "1", "action": "PutObject", "bucket": "images", "object": {"key": "abc/a b+c.webp", "size": 1}}
BRIDGE = {
    "source": "aws.s3",
    "detail-type": "Object Created",
    "detail": {"bucket": {"name": "images"}, "object": {"key": "abc/a b+c.webp"}},
}
EVENT = BucketEvent(CHANGED, "images", "abc/a b+c.webp")
GONE = BucketEvent(DELETED, "images", "abc/a b+c.webp")


@pytest.mark.parametrize(
    ("said", "events"),
    [
        ({"Records": [record("ObjectCreated:Put")]}, [EVENT]),
        ({"Records": [record("ObjectCreated:CompleteMultipartUpload")]}, [EVENT]),
        ({"EventName": "s3:ObjectCreated:Put", "Key": "x", "Records": [record("s3:ObjectCreated:Put")]}, [EVENT]),
        ({"Records": [record("s3:ObjectCreated:Put", "abc%2Fa+b%2Bc.webp", "minio:s3")]}, [EVENT]),
        ({"Records": [record("ObjectCreated:Put", "abc/a b+c.webp", "ceph:s3")]}, [EVENT]),
        ({"Records": [record("ObjectRemoved:Delete")]}, [GONE]),
        (
            {"Records": [record("ObjectRemoved:DeleteMarkerCreated")] * 2},
            [GONE] * 2,
        ),
        ({"Records": [record("s3:ObjectLifecycle:Expiration:Current")]}, [GONE]),
        ({"Records": [record("LifecycleExpiration:Delete")]}, [GONE]),
        (sns({"Records": [record("ObjectCreated:Put")]}), [EVENT]),
        (R2, [EVENT]),
        ({**R2, "action": "LifecycleDeletion"}, [GONE]),
        ([R2, R2], [EVENT, EVENT]),
        ({"messages": [{"id": "1", "body": R2}, {"id": "2", "body": json.dumps(R2)}]}, [EVENT, EVENT]),
        (BRIDGE, [EVENT]),
        ({**BRIDGE, "detail-type": "Object Deleted"}, [GONE]),
    ],
)
def test_events_are_read_in_the_forms_of_all_storages(said: object, events: list[BucketEvent]) -> None:
    found = parse(json.dumps(said).encode())

    assert (found.events, found.names, found.ignored) == (events, [], 0)


@pytest.mark.parametrize(
    "said",
    [
        {"Records": [record("ObjectTagging:Put")]},
        {"Records": [record("ObjectAccessed:Get")]},
        {**R2, "action": "Looked"},
        {**BRIDGE, "detail-type": "Object Tags Added"},
        {"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": "images"},
        sns({"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": "images"}),
        {"Type": "UnsubscribeConfirmation", "SubscribeURL": "https://x"},
    ],
)
def test_what_changes_no_bytes_is_ignored(said: object) -> None:
    found = parse(json.dumps(said).encode())

    assert (found.events, found.ignored, found.confirm) == ([], 1, None)


def test_a_subscription_is_left_to_people() -> None:
    found = parse(b'{"Type": "SubscriptionConfirmation", "SubscribeURL": "https://sns.eu.amazonaws.com/?x"}')

    assert (found.confirm, found.events) == ("https://sns.eu.amazonaws.com/?x", [])


def test_our_own_form_has_urls_paths_and_keys() -> None:
    found = parse(b'{"new": ["https://cdn.example/a"], "changed": "/b?w=1", "deleted": ["s1:/c"], "prefetch": true}')

    assert found.names == [(ChangeKind.NEW, b"/a"), (CHANGED, b"/b?w=1"), (DELETED, b"s1:/c")]
    assert found.prefetch


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{",
        b"[1]",
        b"{}",
        b'"x"',
        b'{"new": 1}',
        b'{"new": [1]}',
        b'{"new": [], "x": 1}',
        b'{"new": [], "prefetch": "yes"}',
        b'{"Records": [1]}',
        b'{"Records": [{"eventName": "ObjectCreated:Put"}]}',
        b'{"Type": "Notification", "Message": "hello"}',
        b'{"Type": "Notification"}',
        b'{"action": "PutObject", "bucket": "b"}',
        b'{"action": "PutObject", "bucket": "b", "object": {"key": ""}}',
        b'{"detail": {}}',
        b"[" * 9 + b"]" * 9,
        json.dumps({"new": ["/a"] * (MOST + 1)}).encode(),
    ],
)
def test_what_is_no_announcement_is_refused_with_what_was_expected(text: bytes) -> None:
    with pytest.raises(AnnouncementError, match="expected"):
        parse(text)


def test_a_name_that_no_client_could_request_is_refused() -> None:
    with pytest.raises(RequestError):
        parse(b'{"new": ["http://[x/"]}')


WORDS = """Records Type Message messages body action bucket object key detail name s3 eventName new changed deleted
prefetch SubscribeURL Event"""
NAMES = st.sampled_from(WORDS.split()) | st.text(max_size=3)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=12,
)


@given(said=JSON)
def test_anything_is_an_announcement_or_refused(said: object) -> None:
    try:
        found = parse(json.dumps(said).encode())
    except (AnnouncementError, RequestError):
        return
    assert all(event.bucket and event.key for event in found.events)


@given(text=st.binary(max_size=60))
def test_any_bytes_are_an_announcement_or_refused(text: bytes) -> None:
    with suppress(AnnouncementError, RequestError):
        parse(text)


@given(key=st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20))
def test_a_key_is_read_as_the_storage_has_it(key: str) -> None:
    encoded = {"Records": [record("ObjectCreated:Put", quote_plus(key))]}
    raw = {"Records": [record("ObjectCreated:Put", key, "ceph:s3")]}

    assert parse(json.dumps(encoded).encode()).events == parse(json.dumps(raw).encode()).events
    assert parse(json.dumps(raw).encode()).events[0].key == key


# from keys to paths

ROUTES = Routes(
    [
        Route("all", origins=("fra", "iad")),
        Route("v2", prefix=b"/v2", strip=b"/v2", add=b"/new", origins=("fra",)),
        Route("other", prefix=b"/other", origins=("sgp",)),
        Route("kept", prefix=b"/kept", origins=("fra",), key=KeyRules(duplicate_slashes="keep")),
    ]
)


@pytest.mark.parametrize(
    ("key", "targets"),
    [
        ("a b.webp", [b"/a%20b.webp"]),
        ("\u00e4/b", [b"/%C3%A4/b"]),
        ("new/x", [b"/v2/x", b"/new/x"]),
        ("new/", [b"/new/"]),
        ("v2/x", []),  # the route v2 has these paths
        ("kept//x", [b"/kept//x"]),
        ("a//x", []),  # no path names it: they are merged
        ("a/../x", []),
        ("other/x", []),
        ("x" * 2000, []),
        ("\udcff", []),  # no UTF-8
        ("\ud800", []),
    ],
)
def test_the_paths_of_a_key_honour_prefixes(key: str, targets: list[bytes]) -> None:
    assert sorted(targets_of(key, ["fra"], ROUTES)) == sorted(targets)


@given(key=st.text(max_size=12))
def test_each_path_leads_to_the_object(key: str) -> None:
    for target in targets_of(key, ["fra"], ROUTES):
        assert ROUTES.resolve(target).path == b"/" + quote(key, safe="/").encode()
