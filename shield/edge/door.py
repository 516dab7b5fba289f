"""How many clients may be connected: in all, from one address, and within the descriptors set aside for them.

A connection beyond that is closed at once: a CDN then turns to another node, or tries again, while one that isn't
accepted would hang for as long as the CDN's patience lasts.
"""

from __future__ import annotations

import ipaddress
import logging
import resource
import socket
from collections.abc import Callable

from shield.complaints import Complaints
from shield.rules.limits import ClientLimits

log = logging.getLogger("shield.edge")

_MOST_RESERVED = 1024


class Door:
    """Counts a listener's connections by address. `limits` may be others from one connection to the next."""

    def __init__(self, limits: ClientLimits, *, clock: Callable[[], float]) -> None:
        self.turned_away = 0
        self.greeted = 0  # connections that shake hands
        self.limits = limits
        self._clock = clock
        self._for_clients = descriptors_for_clients(resource.getrlimit(resource.RLIMIT_NOFILE)[0])
        self._inside: dict[str, int] = {}  # by place
        self._complaints = Complaints(log)

    def enter(self, peer: str, connected: socket.socket | None, inside: int) -> bool:
        """Whether one more may come in while so many are inside; if so, it must `leave`."""
        limits, descriptor = self.limits, -1 if connected is None else connected.fileno()
        if inside + self.greeted >= limits.max_connections:
            return self._turn_away(f"{inside + self.greeted} connections are open")
        if descriptor >= self._for_clients:  # it has the lowest number that was free
            return self._turn_away(f"{descriptor} descriptors are in use")
        place = _place(peer)
        count = self._inside.get(place, 0)
        if 0 < limits.max_connections_per_address <= count:
            return self._turn_away(f"{count} connections of {place} are open")
        self._inside[place] = count + 1  # though they aren't limited: they may be from some moment on
        return True

    def leave(self, peer: str) -> None:
        place = _place(peer)
        count = self._inside.pop(place, 0)
        if count > 1:
            self._inside[place] = count - 1

    def _turn_away(self, why: str) -> bool:
        self.turned_away += 1
        self._complaints.say(
            "turned away", self._clock(), "clients are turned away: %s; %d so far", why, self.turned_away
        )
        return False


def descriptors_for_clients(limit: int) -> int:
    """How many of a process's descriptors clients may use up: the rest is for origins, disks and the admin API."""
    if limit == resource.RLIM_INFINITY:
        return 1 << 30
    return limit - min(_MOST_RESERVED, limit // 4)


def _place(peer: str) -> str:
    """What counts as one address: of IPv6 the network of 64 bits, which one client has all of."""
    if ":" not in peer:
        return peer
    address = ipaddress.IPv6Address(peer)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.IPv6Network((int(address) >> 64 << 64, 64)))
