"""Who may connect: so many clients at once, and so many from one address."""

from __future__ import annotations

import ipaddress
import logging
from collections.abc import Callable

from shield.edge.turn import Limits

log = logging.getLogger("shield.edge")

_COMPLAIN_SECONDS = 10.0


class Door:
    """Counts a listener's connections by address, if that is limited. Peers on unix sockets are not counted."""

    def __init__(self, limits: Limits, *, clock: Callable[[], float]) -> None:
        self.turned_away = 0
        self._limits = limits
        self._clock = clock
        self._inside: dict[str, int] = {}
        self._complained_at = float("-inf")

    def enter(self, peer: str, inside: int) -> bool:
        """Whether one more may come in from `peer` while so many are inside; if so, it must `leave`."""
        limits = self._limits
        if inside >= limits.max_connections:
            self._turn_away(f"{inside} connections are open")
            return False
        if limits.max_connections_per_address and peer != "unix":
            place = _place(peer)
            count = self._inside.get(place, 0)
            if count >= limits.max_connections_per_address:
                self._turn_away(f"{count} connections of {place} are open")
                return False
            self._inside[place] = count + 1
        return True

    def leave(self, peer: str) -> None:
        if self._inside and peer != "unix":
            place = _place(peer)
            count = self._inside.pop(place, 0)
            if count > 1:
                self._inside[place] = count - 1

    def _turn_away(self, why: str) -> None:
        self.turned_away += 1
        now = self._clock()
        if now - self._complained_at >= _COMPLAIN_SECONDS:
            self._complained_at = now
            log.warning("clients are turned away: %s; %d so far", why, self.turned_away)


def _place(peer: str) -> str:
    """What counts as one address: of IPv6 the network of 64 bits, which one client has all of."""
    if ":" not in peer:
        return peer
    address = ipaddress.IPv6Address(peer)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.IPv6Network((int(address) >> 64 << 64, 64)))
