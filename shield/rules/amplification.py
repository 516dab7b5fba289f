"""The amplification budget of an address: bytes that origins may send beyond those that its clients take. Pure.

Most requests can't cost more than they bring (`rules.exact`). Some must: bodies to be stored are fetched whole,
slices of which little was wanted for a second time, bodies that a client abandons. Their cost is charged to the
budget of the client's address. With its budget spent, an address still gets responses, but cheap ones: ranges are
fetched exactly or answered with the whole, and bodies no faster than they are taken.
"""

from __future__ import annotations

import ipaddress
from collections import OrderedDict
from dataclasses import dataclass, field

from shield.rules.addresses import Networks, peer_of

MOST_ADDRESSES = 10_000
"""Budgets that are kept; beyond that, the least recently used one is dropped."""


@dataclass(frozen=True, slots=True)
class AmplificationLimits:
    """Origins may send `burst` bytes more than `ratio` times the bytes that an address takes plus `FREE` for each
    request. An empty budget is refilled within `recovery_seconds`, whatever the address does. Addresses in `exempt`
    have no limit.
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
        """Use these limits from now on. Bytes already spent stay spent."""
        if limits is not self.limits:
            spent = self._burst - self._left
            self.limits, self._ratio, self._burst = limits, limits.ratio, float(limits.burst)
            self._left = max(self._burst - spent, -self._burst)

    def took(self, size: int) -> None:
        """The client took `size` bytes: they earn `ratio` times as many."""
        self.earn(self._ratio * size)

    def cost(self, size: int) -> None:
        """An origin sent `size` bytes for this address."""
        self._left = max(self._left - size, -self._burst)

    def is_over(self, now: float) -> bool:
        """Whether the budget is spent."""
        return not self.affords(1, now)

    def affords(self, size: int, now: float) -> bool:
        """Whether at least `size` bytes are left."""
        passed, self._at = max(0.0, now - self._at), now
        self.earn(passed * self._burst / self.limits.recovery_seconds)
        return self._left >= size

    def earn(self, size: float) -> None:
        """Add bytes: `FREE` for each request that may cost origin bytes."""
        self._left = min(self._left + size, self._burst)


class Accounts:
    """The budgets of all addresses that used theirs recently. IPv6 addresses are counted by their /64 network."""

    def __init__(self) -> None:
        self._all: OrderedDict[str, Account] = OrderedDict()

    def __len__(self) -> int:
        return len(self._all)

    def of(self, peer: str, limits: AmplificationLimits | None, now: float) -> Account | None:
        """The budget of a client; None if it has no limit. `peer` is as from `Listener.name_of`."""
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
