"""The lines of the log of purges: marks, orders with their senders, and which were carried out. Pure.

Each line has a checksum before it, so that one which a crash has torn is known, and skipped. What several copies of a
log say is put together line by line: none contradicts another.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import xxhash

from shield.rules.purging import MarkKind, PurgeMark

FILE = "purges"
"""The name of the log, in whatever directory."""

MOST_ORDERS = 10_000
ORDER_SECONDS = 30 * 86400.0
"""Orders are remembered that long, so many of them at most."""

MOST_MARKS = 100_000
"""Marks that wait for a directory which isn't there; of more, the oldest are dropped, and it is emptied on return."""

_SUM = 16


@dataclass(frozen=True, slots=True)
class LoggedPurge:
    """An order. `sequence`: its place among all purges of the node, 0 before it is logged. `at` is epoch seconds.

    `counts` are the numbers of things it names, by their kind, `examples` the first of them; `digest` tells it from
    another order under the same id. `order` is all of it, as JSON, to carry it out again if it was interrupted; empty
    if it is too long for that. `worker`: who carries it out. `removed`: the entries that were stored under its
    paths, once it is completed; None: they weren't counted.
    """

    id: str
    at: float
    who: str
    counts: Mapping[str, int] = field(default_factory=dict)
    examples: tuple[str, ...] = ()
    soft: bool = False
    takedown: bool = False
    digest: str = ""
    order: str = ""
    worker: int = 0
    sequence: int = 0
    completed: bool = False
    removed: int | None = None


@dataclass(slots=True)
class PurgeHistory:
    """The contents of a log. `orders` are in their order, by id. `floor`: marks up to it were dropped."""

    marks: dict[tuple[int, int, bytes], PurgeMark] = field(default_factory=dict)
    orders: dict[str, LoggedPurge] = field(default_factory=dict)
    floor: int = 0
    newest: int = 0  # the greatest sequence in it

    def read(self, data: bytes) -> int:
        """Add the contents of these lines; returns the number of damaged ones. Never raises."""
        damaged = 0
        for line in data.split(b"\n"):
            said = _said(line)
            if said is not None:
                self._take(said)
            elif line:
                damaged += 1
        return damaged

    def add(self, item: PurgeMark | LoggedPurge) -> None:
        if isinstance(item, PurgeMark):
            self.marks[item.sequence, item.kind, item.text] = item
        else:
            before = self.orders.get(item.id)
            if before is not None and before.completed:
                item = replace(item, completed=True, removed=before.removed if item.removed is None else item.removed)
            self.orders[item.id] = item
        self.newest = max(self.newest, item.sequence)

    def complete(self, order_id: str, removed: int | None = None) -> None:
        order = self.orders.get(order_id)
        if order is not None:
            self.orders[order_id] = replace(order, completed=True, order="", removed=removed)

    def trim(self, now: float, swept: int) -> None:
        """Drop records that needn't be remembered: marks up to `swept`, unless they are recent, and old orders."""
        kept = sorted(self.orders.values(), key=lambda each: (each.at, each.sequence))[-MOST_ORDERS:]
        self.orders = {each.id: each for each in kept if each.at > now - ORDER_SECONDS}
        marks = sorted(self.marks.items())
        over = len(marks) - MOST_MARKS
        recent = now - ORDER_SECONDS
        for at, (name, mark) in enumerate(marks):
            if at < over or (mark.sequence <= swept and (mark.at <= recent or at < len(marks) - MOST_ORDERS)):
                del self.marks[name]
                self.floor = max(self.floor, mark.sequence)
        for name in [name for name in self.marks if name[0] <= self.floor]:
            del self.marks[name]  # of the same order

    def lines(self) -> bytes:
        """All of it."""
        items: list[PurgeMark | LoggedPurge] = [*self.marks.values(), *self.orders.values()]
        first = _line({"floor": self.floor, "newest": self.newest})
        return first + lines_of(sorted(items, key=lambda each: each.sequence))

    def _take(self, said: dict[str, Any]) -> None:
        try:
            if "mark" in said:
                self.add(_mark(said))
            elif "order" in said:
                self.add(_order(said))
            elif "done" in said:
                self.complete(str(said["done"]), _counted(said))
            elif "floor" in said:
                self.floor, newest = max(self.floor, int(said["floor"])), int(said["newest"])
                self.newest = max(self.newest, newest)
        except (KeyError, ValueError, TypeError, OverflowError):
            return  # of a later version


def lines_of(items: Iterable[PurgeMark | LoggedPurge]) -> bytes:
    """The lines of marks and orders."""
    return b"".join([_line(_of_mark(item) if isinstance(item, PurgeMark) else _of_order(item)) for item in items])


def line_of_end(order_id: str, removed: int | None = None) -> bytes:
    """The line that an order was carried out, with the number of entries removed, if they were counted."""
    return _line({"done": order_id, "removed": removed})


def _of_mark(mark: PurgeMark) -> Mapping[str, object]:
    text = mark.text.decode("latin-1")
    said = {"mark": mark.sequence, "kind": mark.kind.name, "text": text, "soft": mark.soft, "at": mark.at}
    return said | {"after": mark.after} if mark.after else said


def _mark(said: Mapping[str, Any]) -> PurgeMark:
    sequence, text = _whole(said["mark"]), said["text"].encode("latin-1") if isinstance(said["text"], str) else b""
    kind, at, after = MarkKind[said["kind"]], float(said["at"]), float(said.get("after", 0.0))
    if not math.isfinite(after):
        raise ValueError("no time")
    return PurgeMark(sequence, kind, text, said["soft"] is True, at, after)


def _of_order(order: LoggedPurge) -> Mapping[str, object]:
    return {
        "order": order.id,
        "sequence": order.sequence,
        "at": order.at,
        "who": order.who,
        "counts": dict(order.counts),
        "examples": list(order.examples),
        "soft": order.soft,
        "takedown": order.takedown,
        "digest": order.digest,
        "json": order.order,
        "worker": order.worker,
        "completed": order.completed,
        "removed": order.removed,
    }


def _order(said: Mapping[str, Any]) -> LoggedPurge:
    examples: Sequence[object] = said["examples"]
    return LoggedPurge(
        str(said["order"]),
        float(said["at"]),
        str(said["who"]),
        counts={str(name): int(count) for name, count in dict(said["counts"]).items()},
        examples=tuple(map(str, examples)),
        soft=said["soft"] is True,
        takedown=said["takedown"] is True,
        digest=str(said["digest"]),
        order=str(said["json"]),
        worker=int(said["worker"]),
        sequence=_whole(said["sequence"]),
        completed=said["completed"] is True,
        removed=_counted(said),
    )


def _counted(said: Mapping[str, Any]) -> int | None:
    """The number of removed entries, which lines of earlier versions don't have. Raises ValueError."""
    removed = said.get("removed")
    return None if removed is None else _whole(removed)


def _whole(value: object) -> int:
    """A sequence. Raises ValueError."""
    if type(value) is not int or not 0 <= value < 1 << 63:
        raise ValueError("no sequence")
    return value


def _line(said: Mapping[str, object]) -> bytes:
    data = json.dumps(said, separators=(",", ":")).encode()
    return b"%b %b\n" % (xxhash.xxh3_64_hexdigest(data).encode(), data)


def _said(line: bytes) -> dict[str, Any] | None:
    if line[_SUM : _SUM + 1] != b" " or line[:_SUM] != xxhash.xxh3_64_hexdigest(line[_SUM + 1 :]).encode():
        return None
    try:
        said = json.loads(line[_SUM + 1 :])
    except (ValueError, RecursionError):
        return None
    return said if isinstance(said, dict) else None
