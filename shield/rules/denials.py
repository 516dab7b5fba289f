"""AccessDenied of one object, or of all: both have the same code. Told apart by what else an origin gives. Pure.

A storage says AccessDenied of an object that may not be read, and, to keys that may not list the bucket, of one that
was deleted. It says the same of all objects once the keys' rights are withdrawn.
"""

from __future__ import annotations

LATELY_SECONDS = 600.0
"""How long an answer proves that an origin takes our credentials."""

MOST_IN_A_ROW = 20
"""Objects denied one after the other, and none given, after which it isn't the objects any more."""


class Denials:
    """What one origin has given and denied of late."""

    __slots__ = ("_denied", "_given_at")

    def __init__(self) -> None:
        self._given_at: float | None = None
        self._denied: set[bytes] = set()  # since then

    def given(self, now: float) -> None:
        """The origin took the credentials: it gave an object, or said that there is none."""
        self._given_at = now
        if self._denied:
            self._denied.clear()

    def is_of_object(self, path: bytes, now: float) -> bool:
        """An object was denied: whether that is for the object's sake; else for our credentials'."""
        if len(self._denied) < MOST_IN_A_ROW:
            self._denied.add(path)
        if self._given_at is None or abs(now - self._given_at) > LATELY_SECONDS:
            return False
        return len(self._denied) < MOST_IN_A_ROW
