"""Orders on their way to all nodes of a cluster: purges, ends of takedowns, announcements. Pure.

Each node numbers the orders that it was given itself, with rising sequences, and each order names the one `before`
it. So a node knows of every other up to which sequence it has carried out everything, its *position*, and sees at
once that something is missing in between. Orders commute, but for takedowns and their ends, which have their times;
each is carried out once by its id. So it doesn't matter on which way they come, in which order, or how often.

Two nodes compare their positions, and send each other what is missing (`SpreadMessage`). Whatever else carries orders
only makes that faster.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from shield.errors import ShieldError

MOST_BYTES = 96 * 1024
"""Of the text of an order: of a longer one several are made."""

MOST_ANSWERED = 160 * 1024
"""Bytes of orders in a message, about; the rest comes with the next."""

_VERSION = 1
_WHOLE = 1 << 63


class SpreadError(ShieldError):
    """It is no message between nodes, or one of a later version."""


class SpreadKind(Enum):
    """What an order asks for; the value is the word in messages."""

    PURGE = "purge"
    LIFT = "lift"  # ends takedowns
    ANNOUNCE = "announce"  # new, changed and deleted objects


@dataclass(frozen=True, slots=True)
class SpreadOrder:
    """An order that was given to `node`. `before` is the sequence of the order that was given to it before this one;
    0: there was none. `at` is epoch seconds; `text` is what `kind` takes, at most `MOST_BYTES`.
    """

    node: str
    sequence: int
    before: int
    id: str
    at: float
    who: str
    kind: SpreadKind
    text: str

    @property
    def place(self) -> tuple[str, int]:
        """What tells it from all others."""
        return self.node, self.sequence

    @property
    def moment(self) -> tuple[float, str, int]:
        """By which the later of two contrary orders is known, on all nodes alike."""
        return self.at, self.node, self.sequence

    @property
    def size(self) -> int:
        """Bytes in a message, about."""
        return len(json.dumps(self.text)) + len(self.who) + len(self.id) + 200

    def encoded(self) -> bytes:
        return json.dumps(_of_order(self), separators=(",", ":")).encode()

    @classmethod
    def decoded(cls, data: bytes) -> SpreadOrder:
        """Raises SpreadError."""
        return _order(_object(data))


@dataclass(frozen=True, slots=True)
class SpreadMessage:
    """What a node says to another: its positions, by node; up to where it remembers no orders of each; orders that
    the other lacks; and hints (`rules.hints`). The answer is another message.
    """

    node: str
    positions: Mapping[str, int] = field(default_factory=dict)
    floors: Mapping[str, int] = field(default_factory=dict)
    orders: Sequence[SpreadOrder] = ()
    hints: Mapping[str, object] = field(default_factory=dict)

    def encoded(self) -> bytes:
        said = {
            "version": _VERSION,
            "node": self.node,
            "positions": self.positions,
            "floors": self.floors,
            "orders": [_of_order(order) for order in self.orders],
            **({"hints": self.hints} if self.hints else {}),
        }
        return json.dumps(said, separators=(",", ":")).encode()

    @classmethod
    def decoded(cls, data: bytes) -> SpreadMessage:
        """Raises SpreadError."""
        said = _object(data)
        try:
            if said["version"] != _VERSION:
                raise SpreadError(f"a message of version {said['version']}; expected {_VERSION}")
            return cls(
                str(said["node"]),
                {str(node): _sequence(number) for node, number in said["positions"].items()},
                {str(node): _sequence(number) for node, number in said["floors"].items()},
                [_order(each) for each in said["orders"]],
                hints if isinstance(hints := said.get("hints"), dict) else {},
            )
        except (KeyError, ValueError, TypeError, AttributeError) as error:
            raise SpreadError(f"no message between nodes: {error}") from None


def advanced(position: int, carried_out: Iterable[tuple[int, int]]) -> int:
    """The position after these orders, each by its sequence and the one before it, were carried out, too.

    One whose predecessor is older than the position follows, too: its node has lost some of its own, and has them
    from others again.
    """
    for sequence, before in sorted(carried_out):
        if before > position:
            return position
        position = max(position, sequence)
    return position


def behind(own: Mapping[str, int], other: Mapping[str, int]) -> dict[str, int]:
    """Of which nodes another has carried out more, and up to where."""
    return {node: position for node, position in other.items() if position > own.get(node, 0)}


def lost(own: Mapping[str, int], heard: Sequence[SpreadMessage]) -> dict[str, int]:
    """Of which nodes orders are missing that none of these others remembers, who are all there are; and up to where.

    That is so if each of them that has got further has forgotten them.
    """
    found: dict[str, int] = {}
    for node in {node for message in heard for node in message.positions}:
        position = own.get(node, 0)
        floors = [message.floors.get(node, 0) for message in heard if message.positions.get(node, 0) > position]
        if floors and min(floors) > position:
            found[node] = min(floors)
    return found


def missing_at(nodes: Collection[str], positions: Mapping[str, int], sequence: int) -> tuple[str, ...]:
    """Those of these nodes whose position among the orders of one node, by `positions`, is before a sequence."""
    return tuple(sorted([node for node in nodes if positions.get(node, 0) < sequence]))


def within(orders: Iterable[SpreadOrder], most: int = MOST_ANSWERED) -> list[SpreadOrder]:
    """The first of these orders, as many as a message holds; at least one."""
    taken: list[SpreadOrder] = []
    for order in orders:
        most -= order.size
        if taken and most < 0:
            break
        taken.append(order)
    return taken


def parts_of(names: Sequence[str], most: int = MOST_BYTES // 2) -> list[list[str]]:
    """Names in lists of so many bytes at most as JSON, at least one of them."""
    parts: list[list[str]] = [[]]
    size = 0
    for name in names:
        size += len(json.dumps(name)) + 1
        if parts[-1] and size > most:
            parts.append([])
            size = len(json.dumps(name)) + 1
        parts[-1].append(name)
    return parts


def is_blind(others: int, heard: int) -> bool:
    """Whether a node that has heard of so many of the others, and of no bus, is likely to miss orders."""
    return heard * 2 < others


def _of_order(order: SpreadOrder) -> dict[str, object]:
    return {
        "node": order.node,
        "sequence": order.sequence,
        "before": order.before,
        "id": order.id,
        "at": order.at,
        "who": order.who,
        "kind": order.kind.value,
        "text": order.text,
    }


def _order(said: Any) -> SpreadOrder:
    try:
        sequence, before, at = _sequence(said["sequence"]), _sequence(said["before"]), float(said["at"])
        if not 0 <= before < sequence or not math.isfinite(at):
            raise ValueError("sequences don't rise")
        names = [said[name] for name in ("node", "id", "who", "text")]
        if not all(isinstance(name, str) for name in names):
            raise ValueError("names are texts")
        node, order_id, who, text = names
        return SpreadOrder(node, sequence, before, order_id, at, who, SpreadKind(said["kind"]), text)
    except (KeyError, ValueError, TypeError, OverflowError) as error:
        raise SpreadError(f"no order: {error}") from None


def _sequence(value: object) -> int:
    if type(value) is not int or not 0 <= value < _WHOLE:
        raise ValueError("expected a sequence")
    return value


def _object(data: bytes) -> dict[str, Any]:
    try:
        said = json.loads(data)
    except (ValueError, RecursionError):
        said = None
    if not isinstance(said, dict):
        raise SpreadError("no message between nodes: expected an object in JSON")
    return said
