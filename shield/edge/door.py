"""Limits on clients' connections: in all, from one address, and within the descriptors reserved for them.

Beyond a limit, the connection that has been idle for longest is closed: one of the same address if that has too
many, so that a client only displaces its own. If all are in use, the new one is closed at once: a CDN then uses
another node or retries, while a connection that isn't accepted would hang until the CDN's timeout.
"""

from __future__ import annotations

import ipaddress
import logging
import resource
import socket
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

from shield.complaints import Complaints
from shield.rules.addresses import peer_of
from shield.rules.limits import ClientLimits

log = logging.getLogger("shield.edge")

_MOST_RESERVED = 1024
_UNSEEN = 16  # connections at most whose descriptor isn't looked at: it takes a system call to learn it from uvloop


@dataclass(frozen=True, slots=True)
class DoorStatistics:
    """Connections since the start."""

    turned_away: int  # closed at once, since too many were open
    gave_way: int  # closed while idle, to make room for another


class Guest(Protocol):
    """A connection that may be closed to make room."""

    def gives_way(self) -> bool:
        """Close and `leave` at once, unless a request is in progress: then False."""


class _Place:
    """The connections of one address."""

    __slots__ = ("count", "idle")

    def __init__(self) -> None:
        self.count = 0
        self.idle: OrderedDict[Guest, None] = OrderedDict()


class Door:
    """Counts a listener's connections by address, and has a list of idle ones, the one idle for longest first.

    `limits` may be replaced at any time.
    """

    def __init__(self, limits: ClientLimits, *, clock: Callable[[], float]) -> None:
        self.turned_away = 0
        self.gave_way = 0
        self.greeted = 0  # connections in their TLS handshake
        self.limits = limits
        self._clock = clock
        self._for_clients = descriptors_for_clients(resource.getrlimit(resource.RLIMIT_NOFILE)[0])
        self._unseen = 0  # connections that may still enter before a descriptor is looked at again
        self._places: dict[str, _Place] = {}
        self._spare: _Place | None = None  # for the next address: clients that make a connection for each request
        self._idle: OrderedDict[Guest, _Place] = OrderedDict()  # a plain dict is slow at finding its first key
        self._complaints = Complaints(log)

    @property
    def must_see(self) -> bool:
        """Whether `enter` needs the next connection's socket, to tell how many descriptors are in use."""
        return self._unseen <= 0

    def enter(self, peer: str, connected: socket.socket | None, inside: int) -> bool:
        """Whether one more connection is admitted while `inside` are open; if so, `leave` must be called for it.

        `connected`: its socket; it may be missing unless `must_see`.
        """
        limits, descriptor = self.limits, -1
        if connected is None:
            self._unseen -= 1
        else:
            descriptor = connected.fileno()
            self._unseen = min(_UNSEEN, self._for_clients - 1 - descriptor)
        name = _place(peer)
        place = self._places.get(name)
        count = 0 if place is None else place.count
        room = False  # an idle connection was closed for this one
        if place is not None and 0 < limits.max_connections_per_address <= count and not self._is_exempt(peer):
            room = self._make_room(place.idle)
            if not room:
                return self._turn_away(f"{count} connections of {name} are open")
        if not room and inside + self.greeted >= limits.max_connections and not self._make_room(self._idle):
            return self._turn_away(f"{inside + self.greeted} connections are open")
        # A new descriptor has the lowest free number, so this tells how many are in use.
        if not room and descriptor >= self._for_clients and not self._make_room(self._idle):
            return self._turn_away(f"{descriptor} descriptors are in use")
        # Counted even without a limit: a reload may set one.
        place = self._places.get(name)
        if place is None:
            place, self._spare = self._spare or _Place(), None
            self._places[name] = place
        place.count += 1
        return True

    def leave(self, peer: str) -> None:
        name = _place(peer)
        place = self._places.get(name)
        if place is not None:
            place.count -= 1
            if place.count <= 0:
                del self._places[name]
                if not place.idle:
                    place.count, self._spare = 0, place

    def idles(self, guest: Guest, peer: str) -> None:
        """A connection has become idle: it may be closed after all that have been idle for longer."""
        place = self._places.get(_place(peer))
        if place is not None:
            self._idle[guest] = place
            place.idle[guest] = None

    def wakes(self, guest: Guest) -> None:
        """A connection isn't idle any more, or it is closed."""
        place = self._idle.pop(guest, None)
        if place is not None:
            del place.idle[guest]

    def statistics(self) -> DoorStatistics:
        return DoorStatistics(self.turned_away, self.gave_way)

    def _make_room(self, idle: OrderedDict[Guest, None] | OrderedDict[Guest, _Place]) -> bool:
        """Close the first of these connections that really is idle; whether there was one."""
        while idle:
            guest = next(iter(idle))
            self.wakes(guest)
            if guest.gives_way():
                self.gave_way += 1
                return True
        return False

    def _is_exempt(self, peer: str) -> bool:
        exempt = self.limits.exempt
        return exempt is not None and peer_of(peer) in exempt

    def _turn_away(self, why: str) -> bool:
        self.turned_away += 1
        self._complaints.say(
            "turned away", self._clock(), "clients are turned away: %s; %d so far", why, self.turned_away
        )
        return False


def descriptors_for_clients(limit: int) -> int:
    """The number of a process's descriptors for clients. The others are for origins, disks and the admin API."""
    if limit == resource.RLIM_INFINITY:
        return 1 << 30
    return limit - min(_MOST_RESERVED, limit // 4)


def _place(peer: str) -> str:
    """The address by which connections are counted: for IPv6 the /64 network, all of which one client may have."""
    return peer if ":" not in peer else _network(peer)


@lru_cache(4096)
def _network(peer: str) -> str:
    address = ipaddress.IPv6Address(peer)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.IPv6Network((int(address) >> 64 << 64, 64)))
