"""The versions of objects: of a response, and of an entry whose body is in slices."""

from __future__ import annotations

from shield.messages import ResponseHead
from shield.origin.version import Version
from shield.origin.want import Fetched
from shield.rules import digests, identity, ranges
from shield.rules.routes import Resource
from shield.store.entry import Entry


def whole_head(head: ResponseHead) -> ResponseHead:
    """The head of the whole object, if this is that of a part."""
    return ranges.head_of_whole(head) if head.status == 206 else head


def version_of(resource: Resource, origin: str, head: ResponseHead) -> Version:
    """The version with this head, which `origin` sent, or of which it sent a part."""
    return Version(origin, _statement(resource, origin, head))


def version_of_entry(resource: Resource, entry: Entry) -> Version | None:
    """The version of a stored response; None if no other origin may have it, too.

    Other origins with the same ETag have it, as they always had.
    """
    if len(resource.tried) < 2:
        return None
    statement = identity.Statement(entry.length, entry.etag, digests.stored(entry.head.fields))
    return Version(entry.origin or "", statement, of_equals=True)


def note_head(version: Version | None, resource: Resource, fetched: Fetched) -> None:
    """Note what the head of the response says of the version of the entry that was made of it. More of that is
    stated than stored."""
    if version is not None and not fetched.by_peer:
        version.statement = _statement(resource, fetched.origin, whole_head(fetched.response.head))


def _statement(resource: Resource, origin: str, head: ResponseHead) -> identity.Statement:
    return identity.state(head, md5_etags=resource.route.fields.of(origin, by_peer=False).md5_etags)
