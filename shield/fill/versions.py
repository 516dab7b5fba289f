"""The versions of objects: those of responses and entries, and their names at other origins."""

from __future__ import annotations

from cachetools import LRUCache

from shield.messages import ResponseHead
from shield.origin.version import HeldBytes, Version
from shield.origin.want import Fetched
from shield.rules import digests, identity, ranges
from shield.rules.routes import Resource
from shield.store.entry import Entry

_REMEMBERED = 10_000


def whole_head(head: ResponseHead) -> ResponseHead:
    """The head of the whole object, if this is that of a part."""
    return ranges.head_of_whole(head) if head.status == 206 else head


def version_of(resource: Resource, origin: str, head: ResponseHead) -> Version:
    """The version with this head, which `origin` sent, or of which it sent a part."""
    return Version(origin, _statement(resource, origin, head))


class Versions:
    """The versions of entries that other origins may have, too, with the ETags of those by which they do: so each is
    asked with its own. Of one worker; those that weren't used for longest are forgotten."""

    def __init__(self) -> None:
        self._known: LRUCache[bytes, Version] = LRUCache(_REMEMBERED)

    def of(self, resource: Resource, entry: Entry) -> Version | None:
        """The version of an entry; None if no other origin may have it."""
        if len(resource.tried) < 2 or entry.etag is None:
            return None
        text, version = resource.key.text, self._known.get(resource.key.text)
        if version is None or _names(version.statement) != (entry.etag, entry.length):
            # Other origins with the same ETag have it, as they always had.
            statement = identity.Statement(entry.length, entry.etag, digests.stored(entry.head.fields))
            version = Version(entry.origin or "", statement, of_equals=True)
            self._known[text] = version
        return version.sharing(body=entry.blocks)

    def recall(self, resource: Resource, version: Version) -> None:
        """Add to a version what is known of it from before."""
        known, statement = self._known.get(resource.key.text), version.statement
        if known is not None and _names(known.statement) == _names(statement):
            version.recall(known)

    def learned(self, resource: Resource, version: Version) -> None:
        """Something is known of a version of which an entry may be made."""
        kept = version.sharing()
        kept.of_equals = True
        self._known[resource.key.text] = kept


def _names(statement: identity.Statement) -> tuple[bytes | None, int | None]:
    """What tells a version from others of the same object."""
    return statement.etag, statement.length


class EntryVersion:
    """The version of an entry whose body is in slices, looked up once a part of it is fetched. `held` returns bytes
    that are here. None if no other origin may have it."""

    __slots__ = ("_entry", "_found", "_held", "_is_found", "_resource", "_versions")

    def __init__(self, versions: Versions, resource: Resource, entry: Entry, held: HeldBytes) -> None:
        self._versions = versions
        self._resource = resource
        self._entry = entry
        self._held = held
        self._found: Version | None = None
        self._is_found = False

    def get(self) -> Version | None:
        if not self._is_found:
            self._is_found, self._found = True, self._versions.of(self._resource, self._entry)
            if self._found is not None:
                self._found.held = self._held
        return self._found

    def note_head(self, fetched: Fetched) -> None:
        """Note what the head of the response says of which the entry was made. More of that is stated than stored."""
        version = self.get()
        if version is not None and not fetched.by_peer:
            version.statement = _statement(self._resource, fetched.origin, whole_head(fetched.response.head))


def _statement(resource: Resource, origin: str, head: ResponseHead) -> identity.Statement:
    return identity.state(head, md5_etags=resource.route.fields.of(origin, by_peer=False).md5_etags)
