"""How much of the RAM tier the variants of each key use: clients make them, and no key may crowd out the others.

Entries that aren't variants aren't looked at.
"""

from __future__ import annotations

from collections.abc import Callable

from shield.rules.vary import MARK


class VariantShares:
    """The variants in RAM by their key, the oldest first, with their sizes in bytes; no key's exceed `limit`."""

    __slots__ = ("_sizes", "_totals", "limit")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._sizes: dict[bytes, dict[bytes, int]] = {}
        self._totals: dict[bytes, int] = {}

    def add(self, text: bytes, size: int) -> None:
        """It came into the tier, and wasn't there."""
        if MARK in text:
            base = _base(text)
            self._sizes.setdefault(base, {})[text] = size
            self._totals[base] = self._totals.get(base, 0) + size

    def remove(self, text: bytes) -> None:
        """It is gone from the tier."""
        if MARK in text:
            base = _base(text)
            self._totals[base] -= self._sizes[base].pop(text)
            if not self._sizes[base]:
                del self._sizes[base], self._totals[base]

    def clear(self) -> None:
        self._sizes.clear()
        self._totals.clear()

    def used(self, base: bytes) -> int:
        """Bytes of one key's variants."""
        return self._totals.get(base, 0)

    def victims(self, text: bytes, size: int, frequency: Callable[[bytes], int]) -> list[bytes]:
        """The variants that must go for one of so many bytes, in place of what its key's text holds: those that are
        asked for least, of these the oldest.
        """
        base = _base(text) if MARK in text else b""
        kin = self._sizes.get(base) if base else None
        if kin is None:
            return []
        excess = self._totals[base] - kin.get(text, 0) + size - self.limit
        gone = []
        for each in sorted(kin, key=frequency) if excess > 0 else ():
            if excess > 0 and each != text:
                gone.append(each)
                excess -= kin[each]
        return gone


def _base(text: bytes) -> bytes:
    """A variant's key without that."""
    return text.partition(MARK)[0]
