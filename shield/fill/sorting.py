"""The settlement of a response that isn't ordinary, its variant, and whether it may still be stored."""

from __future__ import annotations

from dataclasses import replace

from shield.fill.doubt import doubts, shorten
from shield.fill.means import Means
from shield.fill.settlement import Question, Settlement, Step, settle
from shield.origin.want import Fetched, Keeping, without_parts
from shield.rules.key import CacheKey
from shield.rules.routes import Resource
from shield.rules.verdict import Reason, Share
from shield.store.disk import Still
from shield.store.entry import Entry


def settle_any(question: Question, fetched: Fetched, means: Means) -> Settlement:
    """The settlement of any response, with the fields that its route gives it."""
    resource, response = question.resource, fetched.response
    response.head = resource.route.fields.of(fetched.origin, by_peer=fetched.by_peer).changed(response.head)
    if not question.in_parts:
        response.head = without_parts(response.head)
    known = means.store.variants.names(resource.named) if resource.route.particular else ()
    if question.changed is None or not doubts(question.changed, resource, fetched, question.stored):
        return settle(question, fetched, means.terms, known=known)
    settled = settle(question, fetched, means.terms, known=known)
    shorten(settled, means.clock())
    return settled


def variant_of(question: Question, settled: Settlement, means: Means, generation: int, *, to_disk: bool) -> Resource:
    """The variant of a response (RFC 9111 §4.1)."""
    variants, named = means.store.variants, question.resource.named
    if settled.learns:

        def still() -> bool:
            return not means.store.was_removed(named.text, generation, b"", "")  # it has no bytes

        means.store.commit(variants.learn(named, settled.learns, means.clock()), still=still, to_disk=to_disk)
    return variants.of(question.resource, question.request)


def find_room(settled: Settlement, mine: Resource, means: Means, *, to_disk: bool) -> None:
    """Reserve a variant's place among the stored ones; without a place the response isn't stored."""
    until = settled.kept_until
    room = until is None or means.store.variants.make_room(mine, means.clock(), until)
    if isinstance(room, CacheKey):
        means.store.drop(room, from_disk=to_disk)  # the worker that owns the key drops it from disk
    elif not room:
        assert settled.disposition is not None
        settled.step = Step.ASK_WHOLE if settled.is_part else Step.SHARE
        settled.disposition = replace(settled.disposition, share=Share.SHARE, reason=Reason.TOO_MANY_VARIANTS)


def is_current(question: Question, means: Means, generation: int, tags: bytes, origin: str | None) -> bool:
    """Whether the key, or an entry with these tags or bytes of this origin (None: it may be any), was neither purged
    since that generation nor found to vary: else the response isn't stored.
    """
    resource, store = question.resource, means.store
    route = resource.route
    if route.particular and route.forwarding.any and resource.base is None and store.variants.names(resource.key):
        return False  # in its place is the marker of the fields by which responses vary
    return not store.was_removed(resource.named.text, generation, tags, origin)


def commit(entry: Entry, question: Question, means: Means, keep: Keeping, still: Still) -> bool:
    """Store an entry where it is to be kept; whether that was done. `still` as in `Store.commit`."""
    if keep is not Keeping.NOWHERE:
        return means.store.commit(entry, still=still, to_disk=keep is Keeping.ALL)
    if question.stored is not None:
        means.store.drop(entry.key)  # it is out of date
    return False
