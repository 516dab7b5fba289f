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
    """One origin's recent denials."""

    __slots__ = ("_denied", "_given_at")

    def __init__(self) -> None:
        self._given_at: float | None = None
        self._denied: set[bytes] = set()  # since then

    def is_of_object(self, path: bytes, now: float, *, given_at: float | None) -> bool:
        """Record a denial; whether it concerns this object, rather than our credentials.

        `given_at` is when the origin last accepted these: it sent an object, or said that there is none.
        """
        if given_at != self._given_at:
            self._given_at = given_at
            self._denied.clear()
        if len(self._denied) < MOST_IN_A_ROW:
            self._denied.add(path)
        if given_at is None or abs(now - given_at) > LATELY_SECONDS:
            return False
        return len(self._denied) < MOST_IN_A_ROW
