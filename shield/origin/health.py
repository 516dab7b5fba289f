"""Failing addresses of an origin, remembered for a while. Knows no sockets; the clock is an argument.

It only changes the order in which addresses are tried, and excludes none: if all fail, all are tried as before.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from shield.origin.resolver import Address

ILL_SECONDS = 30.0
"""How long an address goes to the end after one failure; doubled after each further one without a success."""

LONGEST_SECONDS = 600.0

TRIAL_SECONDS = 10.0
"""How long other requests still avoid an address that one request is trying again."""

_MOST = 64


@dataclass(slots=True)
class _Illness:
    until: float
    seconds: float  # duration of the verdict


class Health:
    """The health of one origin's addresses; the latest `_MOST` that failed are known."""

    __slots__ = ("ill",)

    def __init__(self) -> None:
        self.ill: dict[Address, _Illness] = {}
        """Only to be read; while it is empty, a success isn't worth reporting."""

    def order(self, addresses: Sequence[Address], now: float) -> list[Address]:
        """Healthy addresses in their order, then failing ones; one whose time is over goes first, on trial.

        It is on trial for this call alone: later calls treat it as failing until its result is reported.
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
        """It refused, was reset, failed in its handshake or sent nothing."""
        before = self.ill.pop(address, None)
        if before is not None and before.until > now + TRIAL_SECONDS:
            self.ill[address] = before  # the same failure, seen by another request
            return
        seconds = ILL_SECONDS if before is None else min(2 * before.seconds, LONGEST_SECONDS)
        self.ill[address] = _Illness(now + seconds, seconds)
        if len(self.ill) > _MOST:
            del self.ill[next(iter(self.ill))]

    def note_well(self, address: Address) -> None:
        """It answered."""
        self.ill.pop(address, None)
