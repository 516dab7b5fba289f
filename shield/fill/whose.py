"""The readers of a fill that may not get its response, and must fetch for themselves."""

from __future__ import annotations

from collections.abc import Callable, Collection

from shield.fill.readers import Reader, Readers
from shield.messages import Request
from shield.rules.freshness import FreshnessRules
from shield.rules.routes import Resource
from shield.rules.verdict import Disposition, Stored, Verdict, judge_lookup
from shield.store.variants import Variants


class Releases:
    """The release of readers of one fill. Other requests don't join the fill any more after that."""

    __slots__ = ("_forget", "_readers", "_resource")

    def __init__(self, readers: Readers, resource: Resource, forget: Callable[[], None]) -> None:
        """`forget` lets no other requests join."""
        self._readers = readers
        self._resource = resource
        self._forget = forget

    def send_on(self, readers: Collection[Reader]) -> None:
        """Release these readers together, to begin anew: the response isn't for them."""
        if readers:
            self._forget()
            self._readers.send_on(readers)

    def unlike(self) -> None:
        """Release the readers for whose requests an origin might have responded differently."""
        self.send_on(unlike(self._readers, self._resource))

    def late(self, answer: Stored, now: float, disposition: Disposition | None) -> None:
        """Release the latecomers, unless the response may be reused for them."""
        self.send_on(late(self._readers, answer, now, disposition, self._resource.route.freshness))

    def to_leader(self) -> None:
        """Release all readers but the leader: the response isn't for them, nor for later requests."""
        self._forget()
        self._readers.leave_to_leader(else_to_anyone=not self._resource.route.forwarding.any)


def unlike(readers: Readers, resource: Resource) -> list[Reader]:
    """Readers whose request the origin would have seen differently: a response that can't be reused needn't name all
    fields by which it varies (RFC 9110 §12.5.5).
    """
    mine, forwarding = resource.forwarded, resource.route.forwarding
    return [reader for reader in readers if forwarding.fields(reader.request) != mine]


def others(readers: Readers, mine: Resource, variants: Variants) -> list[Reader]:
    """Readers whose request gets another variant than this one (RFC 9111 §4.1)."""
    return [reader for reader in readers if variants.of(mine, reader.request).key != mine.key]


def late(
    readers: Readers, answer: Stored, now: float, disposition: Disposition | None, rules: FreshnessRules
) -> list[Reader]:
    """Latecomers for whom the response, stored by then, must be validated first."""
    return [r for r in readers.late() if not may_reuse(answer, r.request, now, disposition, rules)]


def may_reuse(
    answer: Stored, request: Request, now: float, disposition: Disposition | None, rules: FreshnessRules
) -> bool:
    """Whether a response may answer a request that came after it was requested (RFC 9111 §4)."""
    if disposition is not None and disposition.unstored:
        return False  # §5.2.2.4: its head has fields for earlier requests only
    verdict = judge_lookup(request, answer, now, rules)
    return verdict is Verdict.HIT or verdict is Verdict.STALE
