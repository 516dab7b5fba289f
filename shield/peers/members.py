"""The members of a cluster by DNS: a name whose addresses are those of all nodes.

Their addresses are their names in the ring, so that all nodes agree on it. One that isn't among the addresses itself,
as a node that isn't ready, or is about to stop, owns no keys, and asks the others. While the name can't be looked up,
or has no addresses, the members stay as they were.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from shield.complaints import Complaints
from shield.peers.nodes import Nodes
from shield.peers.other import NodeMember

log = logging.getLogger("shield.peers")

REFRESH_SECONDS = 5.0
"""Between two look-ups: as long as caches of DNS in clusters keep an answer."""

_PATIENCE_SECONDS = 2.0  # for the first answer, before the node serves

NameLookup = Callable[[str, int], Awaitable[Sequence[tuple[Any, ...]]]]


class DnsMembers:
    """A service of the node. `own` is its own address; None: the one that this machine has."""

    name = "the members of the cluster"

    def __init__(
        self, nodes: Nodes, host: str, port: int, own: str | None, *, lookup: NameLookup | None = None
    ) -> None:
        self._nodes = nodes
        self._host = host
        self._port = port
        self._own = own
        self._lookup = lookup or _getaddrinfo
        self._loop = asyncio.get_running_loop()
        self._complaints = Complaints(log)
        self._task: asyncio.Task[None] | None = None
        self._due = 0.0

    async def open(self) -> None:
        """Look the members up; the node serves without them after a while."""
        self.tick()
        assert self._task is not None
        await asyncio.wait((self._task,), timeout=_PATIENCE_SECONDS)

    def tick(self) -> None:
        """Call once a second."""
        if self._task is None and self._loop.time() >= self._due:
            self._due = self._loop.time() + REFRESH_SECONDS
            self._task = self._loop.create_task(self.refresh())

    async def refresh(self) -> None:
        """Look them up now."""
        try:
            answers = await self._lookup(self._host, self._port)
        except OSError as error:
            said = (self._host, error.strerror or error)
            self._complaints.say("dns", self._loop.time(), "cluster.dns: %s can't be looked up: %s", *said)
        else:
            hosts = sorted({str(answer[4][0]) for answer in answers})
            if hosts:
                self._use(hosts)
        finally:
            self._task = None

    def _use(self, hosts: Sequence[str]) -> None:
        nodes, port = self._nodes, self._port
        if self._own is None:
            self._own = next((host for host in hosts if _is_of_this_machine(host)), None)
        if self._own is not None:
            nodes.own = named(self._own, port)
        members = {named(host, port): NodeMember(named(host, port), host, port) for host in hosts}
        if members != nodes.members:
            nodes.use(members)

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait((self._task,))


def named(host: str, port: int) -> str:
    """The name of a node with this address."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _is_of_this_machine(host: str) -> bool:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((host, 0))
        except OSError:
            return False
    return True


async def _getaddrinfo(host: str, port: int) -> Sequence[tuple[Any, ...]]:
    return await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
