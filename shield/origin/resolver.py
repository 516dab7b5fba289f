"""Addresses of an origin's host, resolved again while running. Knows no connections.

A request waits for the resolver only as long as no address was ever found, and not right after a failure.
"""

from __future__ import annotations

import asyncio
import ipaddress
import random
import socket
from collections.abc import Awaitable, Callable, Sequence
from itertools import zip_longest
from typing import Any, NamedTuple


class Address(NamedTuple):
    """An address to connect to: an address family and the argument of `socket.connect`."""

    family: int
    place: tuple[Any, ...] | str  # a path for unix sockets

    def __str__(self) -> str:
        if isinstance(self.place, str):
            return self.place
        host, port = self.place[:2]
        return f"[{host}]:{port}" if self.family == socket.AF_INET6 else f"{host}:{port}"


Lookup = Callable[[str, int], Awaitable[Sequence[tuple[Any, ...]]]]
Later = Callable[[float, Callable[[], None]], Any]
Watcher = Callable[[frozenset[Address]], None]


PAUSE = 1.0  # seconds for which a failed first look-up holds, so that requests don't queue for the next


class ResolveError(Exception):
    """The name has no address, and had none before."""


class Resolver:
    """Keeps the addresses of one host. Made and used within one event loop; `close` it.

    `refresh`: seconds between two look-ups, give or take a tenth. `misses`: number of answers in a row in which an
    address must be missing before it is dropped, since large services answer with a few of many
    addresses in turn. When a look-up fails the last good addresses stay. A literal IP, or the path of a unix socket,
    is never looked up.
    """

    def __init__(
        self,
        host: str,
        port: int,
        *,
        refresh: float = 30.0,
        misses: int = 3,
        lookup: Lookup | None = None,
    ) -> None:
        self._host = host
        self._port = port
        self._refresh = refresh
        self._misses = misses
        self._lookup = lookup or _getaddrinfo
        self._loop = asyncio.get_running_loop()
        self.later: Later = self._loop.call_later  # replaced in tests
        self._task: asyncio.Task[None] | None = None
        self._timer: Any = None
        self._watcher: Watcher | None = None
        self._turn = 0
        self._families: list[list[Address]] = []  # from the last answer, the preferred family first
        self._missing: dict[Address, int] = {}  # each known address: answers in a row without it
        self.failures = 0  # look-ups in a row
        self.last_error = ""
        literal = _literal(host, port)
        if literal is not None:
            self._families = [[literal]]
            self._missing = {literal: 0}

    def watch(self, watcher: Watcher) -> None:
        """Call `watcher` with all known addresses when one has been dropped."""
        self._watcher = watcher

    def addresses(self) -> list[Address]:
        """Addresses to try in this order; empty when none is known yet.

        Families alternate, the system's preferred one first (RFC 8305 §4); within a family each call
        begins with another address, so that connections spread.
        """
        turn = self._turn
        self._turn += 1
        turned = [family[turn % len(family) :] + family[: turn % len(family)] for family in self._families]
        return [address for row in zip_longest(*turned) for address in row if address is not None]

    @property
    def has_several(self) -> bool:
        return sum([len(family) for family in self._families]) > 1

    async def first(self) -> list[Address]:
        """`addresses`, after a look-up when none is known. Raises ResolveError; waiters share one look-up."""
        if not self._families and self._timer is None:
            if self._task is None:
                self._begin()
            assert self._task is not None
            await asyncio.wait((self._task,))
        if not self._families:
            raise ResolveError(f"{self._host}: {self.last_error}")
        return self.addresses()

    async def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait((task,))

    def _begin(self) -> None:
        self._timer = None
        self._task = self._loop.create_task(self._resolve())

    async def _resolve(self) -> None:
        try:
            found = [Address(row[0], tuple(row[4])) for row in await self._lookup(self._host, self._port)]
        except OSError as error:
            self._note_failure(error.strerror or str(error))
        except ValueError:  # UnicodeError is one
            self._note_failure("not a host name")
        else:
            if found:
                self._take(list(dict.fromkeys(found)))
            else:
                self._note_failure("no address")
        self._task = None
        if self._families:
            delay = self._refresh * random.uniform(0.9, 1.1)
            self._timer = self.later(delay, self._begin)
        else:
            self._timer = self.later(PAUSE, self._end_pause)

    def _end_pause(self) -> None:
        self._timer = None

    def _note_failure(self, why: str) -> None:
        self.failures += 1
        self.last_error = why

    def _take(self, found: list[Address]) -> None:
        self.failures = 0
        self.last_error = ""
        families: dict[int, list[Address]] = {}
        for address in found:
            families.setdefault(address.family, []).append(address)
        self._families = list(families.values())
        before = len(self._missing)
        kept = {known: count + 1 for known, count in self._missing.items() if count + 1 < self._misses}
        gone = before - len(kept.keys() | (self._missing.keys() & set(found)))
        self._missing = kept | dict.fromkeys(found, 0)
        if gone and self._watcher is not None:
            self._watcher(frozenset(self._missing))


async def _getaddrinfo(host: str, port: int) -> Sequence[tuple[Any, ...]]:
    loop = asyncio.get_running_loop()
    return await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)


def _literal(host: str, port: int) -> Address | None:
    if host.startswith("/"):
        return Address(socket.AF_UNIX, host)
    try:
        ip = ipaddress.ip_address(host)
    except ValueError:
        return None
    if ip.version == 4:
        return Address(socket.AF_INET, (host, port))
    return Address(socket.AF_INET6, (host, port, 0, 0))
