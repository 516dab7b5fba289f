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
from shield.rules.heads import StoredHead
from shield.rules.key import CacheKey, key_of_text
from shield.rules.routes import Resource
from shield.rules.vary import MARK, variant_key
from shield.store.entry import Entry

_KNOWN = 100_000  # keys remembered; the others are looked up
_ENDING_BYTES = 32  # bytes at the end of a variant's key that distinguish it from the others of its key
_TURN = 512  # uses of a key's variants, after which earlier ones count half
_REFUSED = 4  # variants without a place that are remembered, for each that has one

LIFETIME = 366 * 86400.0
"""Of a marker, in seconds: as long as any of its variants."""


@dataclass(slots=True)
class VariantPlace:
    """Of one variant: the epoch time until which it is kept, and roughly how often it was asked for lately."""

    until: float
    uses: int = 1


@dataclass(slots=True)
class Varying:
    """`names` as in `rules.vary`; `salt` sets these variants apart from those before a purge; `places` are those of
    stored variants, by the ends of their keys' texts, `refused` how often others wanted one, the latest last.
    """

    names: tuple[bytes, ...]
    salt: bytes = field(default_factory=lambda: secrets.token_hex(8).encode())
    places: dict[bytes, VariantPlace] = field(default_factory=dict)
    refused: OrderedDict[bytes, int] = field(default_factory=OrderedDict)
    uses: int = 0  # since all counts were halved

    def use(self, place: VariantPlace) -> None:
        """A variant is asked for. What isn't any more loses its count by the use of the others alone: no number of
        variants that nobody had stored makes it go.
        """
        place.uses += 1
        self.uses += 1
        if self.uses >= _TURN:
            self.uses = 0
            for each in self.places.values():
                each.uses //= 2

    def make_room(self, ending: bytes, now: float, until: float, most: int) -> bytes | None:
        """Have a variant keep a place, or get one; the one that gives way to it, b"" if none must. None: it gets no
        place, since all that are stored are used as much.
        """
        place, gone = self.places.get(ending), b""
        if place is not None:
            place.until = until
            return gone
        if len(self.places) >= most:
            for over in [each for each, held in self.places.items() if held.until <= now]:
                del self.places[over]
        wanted = self.refused.pop(ending, 0) + 1
        if len(self.places) >= most:
            gone = min(self.places, key=lambda each: self.places[each].uses)
            if wanted <= self.places[gone].uses:
                self.refused[ending] = wanted
                while len(self.refused) > _REFUSED * most:
                    self.refused.popitem(last=False)
                return None
            del self.places[gone]
        self.places[ending] = VariantPlace(until, wanted)
        return gone


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
        place = varying.places.get(key.text[-_ENDING_BYTES:])
        if place is not None:
            varying.use(place)
        return resource._replace(key=key, base=named, forwarded=forwarded)

    def names(self, key: CacheKey) -> tuple[bytes, ...]:
        """The fields by which a key's responses are known to vary."""
        varying = self._known.get(key.digest)
        return () if varying is None else varying.names

    def keys(self, key: CacheKey) -> list[CacheKey]:
        """The keys of the variants of a key that are known to be stored."""
        varying = self._known.get(key.digest)
        if varying is None:
            return []
        start = b"%b%b%b/" % (key.text, MARK, varying.salt)
        return [key_of_text(start + ending) for ending in varying.places]

    def make_room(self, resource: Resource, now: float, until: float) -> CacheKey | bool:
        """Whether one more variant may be stored, to be kept until `until`; it counts from now on. Or the key of the
        variant that is used least and gives way to it, to be dropped.
        """
        named = resource.named
        varying = self._known.get(named.digest)
        if varying is None:
            return True
        gone = varying.make_room(resource.key.text[-_ENDING_BYTES:], now, until, resource.route.max_variants)
        if not gone:
            return gone is not None
        return key_of_text(b"%b%b%b/%b" % (named.text, MARK, varying.salt, gone))

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
