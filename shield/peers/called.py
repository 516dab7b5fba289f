"""The other nodes by their own names, as their orders and hints have them. Where the settings name the members these
are the same; of members by DNS the addresses are known at first, and their names once they have told them.
"""

from __future__ import annotations

from shield.peers.nodes import Nodes


class CalledNodes:
    """Of one worker. A node that hasn't told its name yet goes by its address."""

    def __init__(self, nodes: Nodes) -> None:
        self._nodes = nodes

    def others(self) -> tuple[str, ...]:
        """The names of the other nodes, sorted."""
        return tuple(sorted({self._nodes.called_of(member) for member in self._nodes.others()}))

    def region(self, name: str) -> str:
        """That of a node; nothing for one that isn't a member."""
        nodes = self._nodes
        member = nodes.members.get(nodes.own if name == nodes.called else nodes.member_called(name))
        return "" if member is None else member.region

    async def send(self, name: str, target: bytes, body: bytes = b"", *, seconds: float = 2.0) -> bytes:
        """As `Nodes.send`."""
        return await self._nodes.send(self._nodes.member_called(name), target, body, seconds=seconds)

    def met(self, name: str, node: str) -> None:
        """A node that goes by a name says that it is called so."""
        self._nodes.call(self._nodes.member_called(name), node)
