"""How much more does an origin send than a client takes?

    python -m loadtest.amplification [--megabytes 64] [--times 12]

A node in this process, with slices on disk and then with RAM alone, and clients that ask for little: one byte of
much, many single bytes, suffixes, what they then don't read. What they took is held against what the origin's kernel
got acknowledged. By the rule no request costs more than 64 KiB and twice what the client took. What may cost more is
stated in `docs/security.md` and here, in `PLACES` and the values before them: it is spent of the budget of the
client's address (`limits.amplification`). The last rows are those of an address that has spent it. It ends with an
error if a row costs more.

A client's kernel takes bytes, too, that it never reads. It can't be told how many, so that they count as not taken.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from shield.edge.pace import UNSENT
from shield.rules.exact import FREE
from tests.client import Client, request
from tests.doubles.faulty_origin import FaultyOrigin
from tests.doubles.pattern import Pattern
from tests.node import FakeClock, Shield, settings_of

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30
SLICE = 8 * MIB
HEAD = 1024  # bytes of an answer's head at most, which don't count
SOCKET_BUFFER = 64 * KIB
CLIENT_BUFFER = 16 * KIB  # asked for; the kernel makes it twice as much
READ = 256 * KIB  # bytes that come at once from an origin
WRITE = 64 * KIB  # and that a client's kernel takes at once beyond what it may keep

AHEAD = 2 * (UNSENT + WRITE + 2 * CLIENT_BUFFER) + READ
"""What we read ahead of a client that leaves: twice what counts as taken though it isn't, and one reading."""

LEFT = 3 * AHEAD
"""What is left behind over a new connection, some 2 MiB: that, and what the kernel has taken besides, up to twice as
much as was read (`origin.inflow`)."""

WINDOW = int(Path("/proc/sys/net/ipv4/tcp_rmem").read_text().split()[2])
"""A kernel's room at a connection over which more has come before, at most."""

Ask = Callable[[Shield, str, int], int]
"""Has a client ask for an object of so many bytes; gives the bytes of the body that it took."""


@dataclass(frozen=True)
class Shape:
    """One way to ask, and of what."""

    name: str
    ask: Ask
    fields: tuple[tuple[str, str], ...] = ()  # of the origin's answer
    knows_ranges: bool = True
    most: int = 1000  # times, of what takes long


@dataclass(frozen=True)
class Place:
    """Where it is asked for. The budgets are bytes beyond the rule, of each request and of all together."""

    name: str
    shapes: Sequence[Shape]
    disk: bool = True
    memory: int = 16 * MIB
    kept: bool = False  # each request goes over a connection that a large answer has come over
    same: bool = False
    burst: int = 64 * MIB
    budget: int = 0
    budget_of_all: int = 0


def ranged(value: Callable[[int], str]) -> Ask:
    def ask(shield: Shield, path: str, length: int) -> int:
        answer = shield.get(path, [("range", f"bytes={value(length)}")])
        return len(answer.body)

    return ask


def leaving(seconds: float, value: Callable[[int], str] | None = None, *, take: int = 0) -> Ask:
    """Asks, takes so many bytes of the body, waits, and is gone."""

    def ask(shield: Shield, path: str, length: int) -> int:
        with shield.client(receive_buffer=CLIENT_BUFFER) as client:
            _send(client, path, None if value is None else value(length))
            taken = 0
            if take:
                client.read_head()
                taken = len(client.read_some(take))
            time.sleep(seconds)
            client.reset()
        return taken

    return ask


def _send(client: Client, path: str, value: str | None) -> None:
    client.send(request(path, [] if value is None else [("range", f"bytes={value}")]))


def whole(shield: Shield, path: str, length: int) -> int:
    return len(shield.get(path).body)


def singles(length: int) -> str:
    return ",".join(f"{place * (length // 16)}-{place * (length // 16)}" for place in range(16))


NO_STORE = (("cache-control", "no-store"),)

ONCE = (
    Shape("the whole", whole),
    Shape("bytes=0-0", ranged(lambda length: "0-0")),
    Shape("one byte in the middle", ranged(lambda length: f"{length // 2}-{length // 2}")),
    Shape("two bytes about a boundary of slices", ranged(lambda length: f"{SLICE - 1}-{SLICE}")),
    Shape("bytes=-1", ranged(lambda length: "-1")),
    Shape("bytes=-100000", ranged(lambda length: "-100000")),
    Shape("the last byte, open", ranged(lambda length: f"{length - 1}-")),
    Shape("16 single bytes", ranged(singles)),
    Shape("a byte beyond the end", ranged(lambda length: f"{2 * length}-{2 * length}")),
    Shape("3 MiB in two slices", ranged(lambda length: f"{SLICE - MIB}-{SLICE + 2 * MIB - 1}")),
)
"""Ways that cost no more than the rule says where there are slices."""

GONE = (
    Shape("bytes=0-0, gone after 20 ms", leaving(0.02, lambda length: "0-0")),
    Shape("16 single bytes, gone after 20 ms", leaving(0.02, singles)),
)

ABANDONED = (
    Shape("the whole, gone after 20 ms", leaving(0.02)),
    Shape("the whole, gone after 1 s", leaving(1.0)),
    Shape("the whole, gone after 100 KiB", leaving(0.0, take=100 * KIB)),
)

STALLED = (Shape("the whole, gone after 7 s", leaving(7.0), most=2),)
"""Readers who are slow, as far as anybody can tell."""
"""Bodies that a client leaves: more of them is on its way, or becomes a slice."""

UNKEPT = (
    Shape("bytes=0-0 of what isn't stored", ranged(lambda length: "0-0"), NO_STORE),
    Shape("one byte in the middle of it", ranged(lambda length: f"{length // 2}-{length // 2}"), NO_STORE),
    Shape("16 single bytes of it", ranged(singles), NO_STORE),
    Shape("bytes=0-0 where there are no ranges", ranged(lambda length: "0-0"), NO_STORE, knows_ranges=False),
    Shape("its middle", ranged(lambda length: f"{length // 2}-{length // 2}"), NO_STORE, knows_ranges=False),
)

PLACES = (
    Place("slices, each object once", (*ONCE, *GONE)),
    # At the second touch each slice is fetched whole, once: of the 16 single bytes, all eight.
    Place("slices, the same object each time", ONCE[1:9], same=True, budget_of_all=8 * SLICE),
    Place("slices, clients that leave", ABANDONED, budget=LEFT),
    Place("slices, over kept connections", ABANDONED, kept=True, budget=LEFT + WINDOW),
    # Who is slow rather than gone gets the slice that it reads, or all of what is kept, while its budget lasts.
    Place("slices, clients that stall", STALLED, budget=LEFT, budget_of_all=64 * MIB),
    Place("slices, nothing kept", UNKEPT, same=True, budget=LEFT),
    # That an object is too large is learnt from the first answer, which is given up.
    Place("RAM alone, the same object each time", (*ONCE, *UNKEPT), disk=False, same=True, budget=LEFT),
    Place("RAM alone, clients that leave", (*GONE, *ABANDONED), disk=False, budget=LEFT),
    # What is known to be wanted becomes an entry, while the budget lasts: there is nothing but the whole to be kept.
    Place("RAM alone, of what fits", GONE, disk=False, memory=GIB, budget=LEFT, budget_of_all=64 * MIB),
    Place("RAM alone, of what fits, left", ABANDONED, disk=False, memory=GIB, budget=LEFT),
    # The second goes over the connection that brought all of the first.
    Place("RAM alone, stalled", STALLED, disk=False, memory=GIB, budget=LEFT + WINDOW, budget_of_all=64 * MIB),
    Place("the budget is spent", (*ONCE, *GONE), burst=MIB, budget_of_all=MIB),
    Place("the budget is spent, the same object", ONCE[1:], same=True, burst=MIB, budget_of_all=MIB),
    Place("the budget is spent, nothing kept", UNKEPT, same=True, burst=MIB, budget=LEFT, budget_of_all=MIB),
    Place(
        "the budget is spent, clients that leave", (*ABANDONED, *STALLED), burst=MIB, budget=LEFT, budget_of_all=MIB
    ),
    Place(
        "the budget is spent, of what fits RAM",
        (*ABANDONED, *STALLED),
        disk=False,
        memory=GIB,
        burst=MIB,
        budget=LEFT,
        budget_of_all=2 * MIB,  # with what comes over a connection a kernel's room there grows
    ),
)


def row(shape: Shape, place: Place, length: int, times: int) -> bool:
    """Measure and show one; whether it keeps to the rule and the stated budgets."""
    body, times, paid = Pattern(length), min(times, shape.most), 0
    with contextlib.ExitStack() as stack:
        origin = stack.enter_context(FaultyOrigin(socket_buffer=SOCKET_BUFFER))
        if not shape.knows_ranges:
            origin.ignores("range")
        node = stack.enter_context(_node(origin, place))
        taken = 0
        for number in range(times):
            path = "/same" if place.same else f"/{number}"
            fields = dict(shape.fields) or {"cache-control": "max-age=600"}
            if not shape.knows_ranges:
                fields["accept-ranges"] = "none"
            origin.serves(path, body, fields=fields)
            if place.kept:
                origin.serves(f"/before/{number}", body, fields=fields)
                node.get(f"/before/{number}")
                _settle(node, origin)
            before = origin.acknowledged()
            taken += shape.ask(node, path, length)
            _settle(node, origin)
            paid += origin.acknowledged() - before
        paid -= HEAD * len(origin.requests)
    rule = times * FREE + 2 * taken
    budget = times * place.budget + place.budget_of_all
    verdict = "ok" if paid <= rule else "ok, of the budget" if paid <= rule + budget else "TOO MUCH"
    figures = "".join([f"{size / KIB:>12,.0f}" for size in (taken, paid, rule, budget)])
    print(f"{shape.name:<40}{figures}{paid / max(taken, 1):>14,.1f}  {verdict}", flush=True)
    return paid <= rule + budget


@contextlib.contextmanager
def _node(origin: FaultyOrigin, place: Place) -> Iterator[Shield]:
    with tempfile.TemporaryDirectory(prefix="shield-amplification-") as path:
        tier = {"name": "disk", "directories": [{"path": path, "capacity": "2GiB", "free_floor": 0}]}
        settings = settings_of(
            {"fra": origin},
            cache={"memory": {"capacity": place.memory}, "tiers": [tier] if place.disk else [], "slice_bytes": SLICE},
            limits={"amplification": {"burst": place.burst}},
        )
        with Shield(settings, clock=FakeClock()) as node:
            yield node


def _settle(node: Shield, origin: FaultyOrigin) -> None:
    """Wait until nothing is under way."""
    node.wait_for(lambda: not node.node.fills.statistics().in_flight)
    origin.wait_for(lambda: not origin.requests_active)


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m loadtest.amplification")
    parser.add_argument("--megabytes", type=int, default=64, help="of an object")
    parser.add_argument("--times", type=int, default=12, help="requests of each shape")
    options = parser.parse_args(words)
    length, times = options.megabytes * MIB, options.times
    print(f"objects of {options.megabytes} MiB, {times} requests of each shape; KiB, of all of them together")
    broken = 0
    for place in PLACES:
        print(f"\n{place.name:<40}{'client':>12}{'origin':>12}{'rule':>12}{'budget':>12}{'ratio':>14}")
        broken += sum([not row(shape, place, length, times) for shape in place.shapes])
    if broken:
        print(f"{broken} cost more than the rule and the budgets allow", file=sys.stderr)
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
