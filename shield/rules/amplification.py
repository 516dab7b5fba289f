"""How much more origins may send for an address than its clients take. Pure: the clock is an argument.

Most requests can't cost more than they bring (`rules.exact`). Some must: what is to be stored is fetched whole, a
slice of which little was wanted for the second time, a body that a client leaves. That is paid from the address's
budget. With none left its requests are still answered, but thriftily: ranges exactly or with the whole, and bodies no
faster than they are taken.
"""

from __future__ import annotations

import ipaddress
from collections import OrderedDict
from dataclasses import dataclass, field

from shield.rules.addresses import Networks, peer_of
from shield.rules.exact import FREE

MOST_ADDRESSES = 10_000
"""Budgets that are remembered; the one that was used least recently is forgotten."""


@dataclass(frozen=True, slots=True)
class AmplificationLimits:
    """`burst` bytes may be sent by origins beyond `ratio` times what an address takes and `FREE` for each request;
    an empty budget is full again after `recovery_seconds`, whatever the address does. None holds for `exempt` ones.
    """

    ratio: float = 2.0
    burst: int = 64 << 20
    recovery_seconds: float = 600.0
    exempt: Networks = field(default_factory=Networks, compare=False)


class Account:
    """The budget of one address: full, or in debt by one burst at most."""

    __slots__ = ("_at", "_burst", "_left", "_ratio", "limits")

    def __init__(self, limits: AmplificationLimits, now: float) -> None:
        self.limits = limits
        self._ratio = limits.ratio
        self._burst = float(limits.burst)
        self._left = self._burst
        self._at = now

    def abide_by(self, limits: AmplificationLimits) -> None:
        """Other limits hold from now on; what was spent stays spent."""
        if limits is not self.limits:
            spent = self._burst - self._left
            self.limits, self._ratio, self._burst = limits, limits.ratio, float(limits.burst)
            self._left = max(self._burst - spent, -self._burst)

    def begin(self) -> None:
        """A request of this address goes on to where it may cost something."""
        self._earn(FREE)

    def took(self, size: int) -> None:
        """Its client was sent so many bytes."""
        self._earn(self._ratio * size)

    def cost(self, size: int) -> None:
        """An origin sent so many for it."""
        self._left = max(self._left - size, -self._burst)

    def is_over(self, now: float) -> bool:
        """Whether nothing is left of it."""
        return not self.affords(1, now)

    def affords(self, size: int, now: float) -> bool:
        """Whether so much is left of it."""
        passed, self._at = max(0.0, now - self._at), now
        self._earn(passed * self._burst / self.limits.recovery_seconds)
        return self._left >= size

    def _earn(self, size: float) -> None:
        self._left = min(self._left + size, self._burst)


class Accounts:
    """The budgets of addresses, as far as they were used of late."""

    def __init__(self) -> None:
        self._all: OrderedDict[str, Account] = OrderedDict()

    def __len__(self) -> int:
        return len(self._all)

    def of(self, peer: str, limits: AmplificationLimits | None, now: float) -> Account | None:
        """The budget of who is at the other end; None: it has none to keep."""
        account = None if limits is None else self._all.get(peer)
        if account is not None and account.limits is limits:
            self._all.move_to_end(peer)
            return account
        return None if limits is None else self._found(peer, limits, now)

    def _found(self, peer: str, limits: AmplificationLimits, now: float) -> Account | None:
        """The budget of an address that has none yet, or whose name isn't that of its budget."""
        address = peer_of(peer)
        if address is None or isinstance(address, str) or address in limits.exempt:
            return None
        place = peer if address.version == 4 else str(ipaddress.IPv6Network((int(address) >> 64 << 64, 64)))
        account = self._all.get(place)
        if account is None:
            account = self._all[place] = Account(limits, now)
            if len(self._all) > MOST_ADDRESSES:
                self._all.popitem(last=False)
        else:
            self._all.move_to_end(place)
            account.abide_by(limits)
        return account
