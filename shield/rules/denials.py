"""Distinguishes a denied object from rejected credentials by other responses: both are AccessDenied. Pure.

A storage sends AccessDenied for an object that may not be read and, to keys that may not list the bucket, for a
deleted one. It sends the same for all objects once the keys' permissions are withdrawn.
"""

from __future__ import annotations

LATELY_SECONDS = 600.0
"""How long a response proves that an origin accepts our credentials."""

MOST_IN_A_ROW = 20
"""After this many different denials without a success, the credentials are to blame."""


class Denials:
    """One origin's recent successes and denials."""

    __slots__ = ("_denied", "_given_at")

    def __init__(self) -> None:
        self._given_at: float | None = None
        self._denied: set[bytes] = set()  # since then

    def given(self, now: float) -> None:
        """The origin accepted the credentials: it sent an object, or said that there is none."""
        self._given_at = now
        if self._denied:
            self._denied.clear()

    def is_of_object(self, path: bytes, now: float) -> bool:
        """Record a denial; whether it concerns this object, rather than our credentials."""
        if len(self._denied) < MOST_IN_A_ROW:
            self._denied.add(path)
        if self._given_at is None or abs(now - self._given_at) > LATELY_SECONDS:
            return False
        return len(self._denied) < MOST_IN_A_ROW
