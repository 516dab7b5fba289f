"""One version of an object, and the ETags by which origins name it: values, free of any connection."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from shield.messages import Part
from shield.rules.identity import Proof, Statement

HeldBytes = Callable[[int, int], Awaitable[bytes | None]]
"""The bytes from one offset of the object to another, as received so far; None if they aren't held."""


class Version:
    """What is known of the bytes of one version. `origin` is the one of the statement.

    Without `held` an origin needs a full proof: equal lengths and nothing to the contrary don't suffice.
    `of_equals`: an origin whose ETag is the same text has the version, unless its response says that its ETags aren't
    digests; otherwise it is examined like all others. `body` are all its bytes, if they are in memory.
    """

    __slots__ = ("_etags", "_others", "_partly", "body", "held", "of_equals", "origin", "statement")

    def __init__(
        self,
        origin: str,
        statement: Statement,
        *,
        held: HeldBytes | None = None,
        of_equals: bool = False,
    ) -> None:
        self.origin = origin
        self.statement = statement
        self.held = held
        self.of_equals = of_equals
        self.body: Sequence[Part] = ()
        self._etags = {} if statement.etag is None else {origin: statement.etag}
        self._partly: set[str] = set()
        self._others: set[str] = set()  # origins that have other bytes

    def sharing(self, *, held: HeldBytes | None = None, body: Sequence[Part] = ()) -> Version:
        """The same version, sharing knowledge that is learned of it."""
        other = Version(self.origin, self.statement, held=held, of_equals=self.of_equals)
        other._etags, other._partly, other._others, other.body = self._etags, self._partly, self._others, body
        return other

    def recall(self, known: Version) -> None:
        """Include earlier knowledge of the same version."""
        self._etags, own = known._etags, self._etags
        self._etags.update(own)
        self._partly, self._others = known._partly, known._others

    def etag_at(self, origin: str) -> bytes | None:
        """Its ETag at an origin that is known to have it."""
        return None if self.held is None and origin in self._partly else self._etags.get(origin)

    def learn(self, origin: str, etag: bytes, proof: Proof) -> None:
        """An origin has it under this ETag."""
        self._etags[origin] = etag
        if proof.is_full:
            self._partly.discard(origin)
        else:
            self._partly.add(origin)

    def forget(self, origin: str) -> None:
        """An origin doesn't have it under that ETag any more."""
        self._etags.pop(origin, None)
        self._partly.discard(origin)

    def rule_out(self, origin: str) -> None:
        """An origin has other bytes: it needn't be examined again."""
        self._others.add(origin)

    def is_ruled_out(self, origin: str) -> bool:
        return origin in self._others

    def is_proven_at(self, origin: str) -> bool:
        """Whether bytes from an origin may be stored as this version."""
        return origin not in self._partly
