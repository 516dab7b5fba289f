"""The secrets of a cluster, while one takes the place of another on node after node.

Nodes tell each other by fingerprints which secrets they accept. A node signs for another by the newest secret that
both have, so that no request is refused meanwhile, whichever of them has the new one first. A secret that the
settings have no more is accepted for another `OVERLAP` seconds.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass

OVERLAP = 3600.0
"""Seconds for which a secret is accepted that another one has replaced."""

SETTLE = 5.0
"""Seconds until a new secret is told: all workers of this node have read it by then, too."""


@dataclass(slots=True)
class _Accepted:
    secret: bytes
    fingerprint: str
    since: float
    until: float | None = None  # None: it stands in the settings


class PeerSecrets:
    """Those of one worker, the newest first. Times are epoch seconds."""

    def __init__(self, secrets: Sequence[bytes]) -> None:
        self._held = [_Accepted(secret, fingerprint(secret), 0.0) for secret in secrets]
        self._ends: float | None = None  # of the first that ends
        self.accepted: tuple[bytes, ...] = tuple(secrets)
        """Those by which others may sign; see `forget`."""

    def renew(self, secrets: Sequence[bytes], now: float) -> bool:
        """The settings have these from now on, the newest first; whether they are others than before."""
        if [held.secret for held in self._held if held.until is None] == list(secrets):
            return False
        before = {held.secret: held for held in self._held}
        made = []
        for secret in secrets:
            held = before.pop(secret, None) or _Accepted(secret, fingerprint(secret), now)
            held.until = None
            made.append(held)
        for held in before.values():
            held.until = now + OVERLAP if held.until is None else held.until
            made.append(held)
        self._take(made)
        return True

    def forget(self, now: float) -> bool:
        """Drop those whose time is over; whether there were any. Call it now and then."""
        if self._ends is None or now < self._ends:
            return False
        self._take([held for held in self._held if held.until is None or now < held.until])
        return True

    def _take(self, held: list[_Accepted]) -> None:
        self._held = held
        self._ends = min([each.until for each in held if each.until is not None], default=None)
        self.accepted = tuple([each.secret for each in held])

    @property
    def until(self) -> float | None:
        """When the last that was replaced is dropped; None: there is none."""
        return max([each.until for each in self._held if each.until is not None], default=None)

    @property
    def newest(self) -> str:
        """The fingerprint of the first; "" without any."""
        return self._held[0].fingerprint if self._held else ""

    def told(self, now: float) -> list[str]:
        """Fingerprints of those that all workers of this node accept."""
        return [held.fingerprint for held in self._held if now - held.since >= SETTLE]

    def signing(self, known: Collection[str], refusals: int) -> bytes:
        """The secret by which to sign for a node that accepts those with these fingerprints.

        One that has told none of ours gets the oldest, and after each refusal the next one.
        """
        held = self._held
        if not held:
            return b""
        for each in held:
            if each.fingerprint in known:
                return each.secret
        return held[-1 - refusals % len(held)].secret


def fingerprint(secret: bytes) -> str:
    """Distinguishes a secret from others, and reveals nothing of it."""
    return hashlib.sha256(b"secret of a cluster\n" + secret).hexdigest()[:16]
