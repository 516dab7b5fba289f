"""The members of a cluster by DNS."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Any

import pytest

from shield.origin.terms import Timeouts
from shield.peers.members import DnsMembers
from shield.peers.nodes import Nodes
from shield.peers.other import NodeMember
from shield.rules.peer_secrets import PeerSecrets


class Names:
    """What DNS answers."""

    def __init__(self) -> None:
        self.hosts: Sequence[str] | OSError = ()

    async def look(self, host: str, port: int) -> Sequence[tuple[Any, ...]]:
        assert (host, port) == ("shield.svc", 7071)
        if isinstance(self.hosts, OSError):
            raise self.hosts
        return [(0, 0, 0, "", (each, port)) for each in self.hosts]


def test_the_members_are_the_addresses_of_a_name(caplog: pytest.LogCaptureFixture) -> None:
    async def run() -> list[tuple[str, tuple[str, ...]]]:
        names, seen = Names(), []
        members = {"fra-1": NodeMember("fra-1", "", 0)}
        nodes = Nodes(
            "fra-1",
            members,
            workers=2,
            timeouts=Timeouts(),
            secrets=PeerSecrets([b"x" * 32]),
            tls=None,
            clock=lambda: 0.0,
        )
        dns = DnsMembers(nodes, "shield.svc", 7071, None, lookup=names.look)
        await dns.open()
        for hosts in (
            ["192.0.2.1", "127.0.0.1", "192.0.2.1"],
            OSError(-2, "Name or service not known"),
            [],
            ["192.0.2.1", "2001:db8::1"],
        ):
            names.hosts = hosts
            await dns.refresh()
            seen.append((nodes.own, nodes.ring.names))
        await dns.close()
        await nodes.close()
        return seen

    with caplog.at_level(logging.WARNING):
        seen = asyncio.run(run())

    both = ("127.0.0.1:7071", ("127.0.0.1:7071", "192.0.2.1:7071"))
    assert seen == [both, both, both, ("127.0.0.1:7071", ("192.0.2.1:7071", "[2001:db8::1]:7071"))]
    assert "cluster.dns: shield.svc can't be looked up: Name or service not known" in caplog.text
