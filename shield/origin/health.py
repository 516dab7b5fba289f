"""Which addresses of an origin are ill, for a while. Knows no sockets; the clock is an argument.

It only says in which order addresses are tried, never that one isn't: where all are ill, all are tried as before.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from shield.origin.resolver import Address

ILL_SECONDS = 30.0
"""How long an address goes to the end after one failure; twice as long after each that follows without a success."""

LONGEST_SECONDS = 600.0

TRIAL_SECONDS = 10.0
"""How long all others still avoid an address that one request tries again."""

_MOST = 64


@dataclass(slots=True)
class _Illness:
    until: float
    seconds: float  # for which it was said


class Health:
    """Of one origin's addresses; the latest `_MOST` that failed are known."""

    __slots__ = ("ill",)

    def __init__(self) -> None:
        self.ill: dict[Address, _Illness] = {}
        """To be looked at only; while it is empty, a success isn't worth a word."""

    def order(self, addresses: Sequence[Address], now: float) -> list[Address]:
        """Those that are well in their order, then the ill ones; before all one whose time is over, on trial.

        It is on trial for this call alone: later ones find it among the ill until its fate is told.
        """
        if not self.ill:
            return list(addresses)
        tried: list[Address] = []
        well: list[Address] = []
        ill: list[Address] = []
        for address in addresses:
            illness = self.ill.get(address)
            if illness is None:
                well.append(address)
            elif illness.until > now or tried:
                ill.append(address)
            else:
                illness.until = now + TRIAL_SECONDS
                tried.append(address)
        return tried + well + ill

    def note_ill(self, address: Address, now: float) -> None:
        """It refused, was reset, failed in its handshake or said nothing."""
        before = self.ill.pop(address, None)
        if before is not None and before.until > now + TRIAL_SECONDS:
            self.ill[address] = before  # the same trouble, met by another
            return
        seconds = ILL_SECONDS if before is None else min(2 * before.seconds, LONGEST_SECONDS)
        self.ill[address] = _Illness(now + seconds, seconds)
        if len(self.ill) > _MOST:
            del self.ill[next(iter(self.ill))]

    def note_well(self, address: Address) -> None:
        """It answered."""
        self.ill.pop(address, None)
