"""Announcements of new, changed and deleted objects: our own form, and the events that storages send. Pure.

Events are read from what S3 sends, by itself, through SNS or EventBridge, MinIO, Ceph, and R2's queue messages. An
event names an object by bucket and key; `targets_of` returns the paths under which clients request it.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote_from_bytes, unquote_plus, unquote_to_bytes

from shield.errors import RequestError, ShieldError
from shield.rules.changes import ChangeKind
from shield.rules.key import canonical_path
from shield.rules.routes import Routes, below
from shield.rules.written import name_of

MOST = 10_000
"""Objects in one announcement."""

_WORDS = {"new": ChangeKind.NEW, "changed": ChangeKind.CHANGED, "deleted": ChangeKind.DELETED}
_EXPECTED = (
    'expected {"changed": ["/a", ...], "new": [...], "deleted": [...], "prefetch": true} or events of a bucket'
)
_CREATED = ("ObjectCreated", "ObjectRestore:Completed")
_REMOVED = ("ObjectRemoved", "ObjectLifecycle:Expiration", "LifecycleExpiration")
_ACTIONS = {
    "PutObject": ChangeKind.CHANGED,
    "CopyObject": ChangeKind.CHANGED,
    "CompleteMultipartUpload": ChangeKind.CHANGED,
    "DeleteObject": ChangeKind.DELETED,
    "LifecycleDeletion": ChangeKind.DELETED,
}  # of R2
_DETAILS = {"Object Created": ChangeKind.CHANGED, "Object Deleted": ChangeKind.DELETED}  # of EventBridge


class AnnouncementError(ShieldError):
    """It is no announcement; the text states the expectation."""


@dataclass(frozen=True, slots=True)
class BucketEvent:
    """The change of the object with this key in a bucket. An upload is CHANGED, since it may replace an object."""

    kind: ChangeKind
    bucket: str
    key: str


@dataclass(slots=True)
class Announcement:
    """`names` are what `keys_of` takes. `confirm` is the URL by which a subscription is to be confirmed, which a
    person must do: anyone can send such a message. `ignored` are events that change no object's bytes.
    """

    names: list[tuple[ChangeKind, bytes]] = field(default_factory=list)
    events: list[BucketEvent] = field(default_factory=list)
    prefetch: bool = False
    confirm: str | None = None
    ignored: int = 0


def parse(text: bytes) -> Announcement:
    """The announcement in a request's body. Raises AnnouncementError, and RequestError for a name that no client
    could request."""
    found = Announcement()
    said = _json(text)
    if isinstance(said, dict) and said.keys() & {*_WORDS}:
        _read_own(said, found)
    else:
        _read(said, found, depth=0)
    if len(found.names) + len(found.events) > MOST:
        raise AnnouncementError(f"expected {MOST} objects at most; announce them in several requests")
    return found


def _json(text: bytes | str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise AnnouncementError("expected JSON") from None


def _read_own(said: Mapping[str, Any], found: Announcement) -> None:
    prefetch = said.get("prefetch", False)
    if said.keys() - {*_WORDS, "prefetch"} or not isinstance(prefetch, bool):
        raise AnnouncementError(_EXPECTED)
    found.prefetch = prefetch
    for word, kind in _WORDS.items():
        names = said.get(word, [])
        if isinstance(names, str):
            names = [names]
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise AnnouncementError(_EXPECTED)
        found.names += [(kind, name_of(name)) for name in names]


def _read(said: Any, found: Announcement, *, depth: int) -> None:
    """Read one message, or several of them, in any of the forms of storages."""
    if isinstance(said, list) and depth < 4:
        for each in said:
            _read(each, found, depth=depth + 1)
        return
    if not isinstance(said, dict) or depth >= 4:
        raise AnnouncementError(_EXPECTED)
    kind = said.get("Type")
    if isinstance(said.get("Records"), list):
        for record in said["Records"]:
            _read_record(record, found)
    elif kind == "Notification" and isinstance(said.get("Message"), str):  # SNS
        _read(_json(said["Message"]), found, depth=depth + 1)
    elif kind in ("SubscriptionConfirmation", "UnsubscribeConfirmation"):
        url = said.get("SubscribeURL")
        if kind == "SubscriptionConfirmation" and isinstance(url, str):
            if not url.isascii() or not url.isprintable():
                raise AnnouncementError("SubscribeURL: expected a URL")
            found.confirm = url
        found.ignored += 1
    elif isinstance(said.get("messages"), list):  # pulled from R2's queue
        _read(said["messages"], found, depth=depth + 1)
    elif "body" in said:  # one of these
        body = said["body"]
        _read(_json(body) if isinstance(body, str) else body, found, depth=depth + 1)
    elif "action" in said and "bucket" in said:  # R2
        _add(found, _ACTIONS.get(str(said["action"])), said["bucket"], _at(said, "object", "key"))
    elif isinstance(said.get("detail"), dict):  # EventBridge
        detail = said["detail"]
        kind_of = _DETAILS.get(str(said.get("detail-type")))
        _add(found, kind_of, _at(detail, "bucket", "name"), _at(detail, "object", "key"))
    elif said.get("Event") == "s3:TestEvent":
        found.ignored += 1
    else:
        raise AnnouncementError(_EXPECTED)


def _read_record(record: Any, found: Announcement) -> None:
    """Read a record of S3's form, which MinIO and Ceph have, too. Only Ceph doesn't encode keys."""
    if not isinstance(record, dict):
        raise AnnouncementError(_EXPECTED)
    name, key = str(record.get("eventName", "")).removeprefix("s3:"), _at(record, "s3", "object", "key")
    kind = None
    if name.startswith(_CREATED):
        kind = ChangeKind.CHANGED
    elif name.startswith(_REMOVED):
        kind = ChangeKind.DELETED
    if isinstance(key, str) and record.get("eventSource") != "ceph:s3":
        key = unquote_plus(key, errors="surrogateescape")
    _add(found, kind, _at(record, "s3", "bucket", "name"), key)


def _at(said: Any, *names: str) -> Any:
    for name in names:
        said = said.get(name) if isinstance(said, dict) else None
    return said


def _add(found: Announcement, kind: ChangeKind | None, bucket: Any, key: Any) -> None:
    if not isinstance(bucket, str) or not isinstance(key, str) or not bucket or not key:
        raise AnnouncementError("expected an event with the names of a bucket and of an object")
    if kind is None:
        found.ignored += 1
    else:
        found.events.append(BucketEvent(kind, bucket, key))


def targets_of(key: str, origins: Collection[str], routes: Routes) -> Iterator[bytes]:
    """The paths by which clients request the object with this key at any of these origins; without queries."""
    try:
        raw = b"/" + key.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return
    for route in routes:
        if not {*route.origins} & {*origins}:
            continue
        try:
            path = canonical_path(quote_from_bytes(raw, safe="/").encode(), route.key)
            if route.add and not below(path, route.add):
                continue
            target = route.strip + path[len(route.add) :]
            resource = routes.resolve(target)
        except RequestError:
            continue
        if resource.route is route and unquote_to_bytes(resource.path) == raw:
            yield target
