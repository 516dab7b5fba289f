"""Keys whose responses vary, and by which request fields, so that the right variant is found in one step.

This knowledge is kept under the key itself, as an entry without a body that no client ever gets (a marker), so that
it survives restarts and other workers find it.
"""

from __future__ import annotations

import secrets
from collections import OrderedDict
from dataclasses import dataclass, field

from shield.messages import Request
from shield.rules.freshness import Freshness
from shield.rules.key import CacheKey, key_of_text
from shield.rules.routes import Resource
from shield.rules.selection import StoredHead
from shield.rules.vary import variant_key
from shield.store.entry import Entry

_KNOWN = 100_000  # keys remembered; the others are looked up

LIFETIME = 366 * 86400.0
"""Of a marker, in seconds: as long as any of its variants."""


@dataclass(slots=True)
class Varying:
    """`names` as in `rules.vary`; `salt` sets these variants apart from those before a purge; `seen` are digests of
    keys, and the epoch time until which each is kept.
    """

    names: tuple[bytes, ...]
    salt: bytes = field(default_factory=lambda: secrets.token_hex(8).encode())
    seen: dict[bytes, float] = field(default_factory=dict)


class Variants:
    """The knowledge of one worker."""

    def __init__(self) -> None:
        self._known: OrderedDict[bytes, Varying] = OrderedDict()

    def of(self, resource: Resource, request: Request) -> Resource:
        """The resource that a request names, as far as the fields its responses vary by are known."""
        forwarded = resource.route.forwarding.fields(request)
        named = resource.named
        varying = self._known.get(named.digest)
        if varying is None:
            return resource._replace(key=named, base=None, forwarded=forwarded)
        key = variant_key(named, varying.salt, varying.names, forwarded)
        return resource._replace(key=key, base=named, forwarded=forwarded)

    def names(self, key: CacheKey) -> tuple[bytes, ...]:
        """The fields by which a key's responses are known to vary."""
        varying = self._known.get(key.digest)
        return () if varying is None else varying.names

    def has_room(self, resource: Resource, now: float, until: float) -> bool:
        """Whether one more variant may be stored, to be kept until `until`; if so it counts from now on."""
        varying, key = self._known.get(resource.named.digest), resource.key.digest
        if varying is None:
            return True
        seen = varying.seen
        if key not in seen and len(seen) >= resource.route.max_variants:
            for gone in [known for known, kept in seen.items() if kept <= now]:
                del seen[gone]
            if len(seen) >= resource.route.max_variants:
                return False
        seen[key] = until
        return True

    def learn(self, key: CacheKey, names: tuple[bytes, ...], now: float) -> Entry:
        """From now on a key's responses vary by these fields; returns the marker to store."""
        varying = Varying(names)
        self._remember(key.digest, varying)
        head = StoredHead(0, b" ".join([varying.salt, *names]), (), None, None)
        return Entry(key, head, Freshness(now, LIFETIME, 0.0, 0.0), ())

    def learn_from(self, marker: Entry) -> None:
        """Learn from a marker found in the store."""
        salt, *names = marker.head.block.split(b" ")
        self._remember(marker.key.digest, Varying(tuple(names), salt))

    def forget(self, text: bytes) -> None:
        """A key was removed, and with its marker all of its variants."""
        self._known.pop(key_of_text(text).digest, None)

    def clear(self) -> None:
        self._known.clear()

    def _remember(self, digest: bytes, varying: Varying) -> None:
        self._known[digest] = varying
        self._known.move_to_end(digest)
        while len(self._known) > _KNOWN:
            self._known.popitem(last=False)
