"""python -m loadtest.cluster: a hundred nodes and 10^8 keys in numbers; two minutes."""

from __future__ import annotations

import argparse
import asyncio
import shutil
import subprocess
import tempfile
import time

from loadtest.cluster.fanout import FanOut, by_bus, directly
from loadtest.cluster.herd import herd
from loadtest.cluster.hot import hot_keys
from loadtest.cluster.shares import balance, heirs, movement, names
from loadtest.processes import UNTIL_OUR_END, free_port
from shield.bus.address import engine_address
from shield.bus.engine import EngineBus

KEYS = 10**8


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m loadtest.cluster", description=__doc__)
    parser.add_argument("--only", default="balance,movement,hot,herd,purges", help="some of these parts")
    parser.add_argument("--nodes", type=int, default=100)
    parser.add_argument("--requests", type=int, default=1_000_000, help="of the part on hot keys")
    chosen = parser.parse_args()
    parts = {
        "balance": lambda: show_balance(chosen.nodes),
        "movement": lambda: show_movement(chosen.nodes),
        "hot": lambda: show_hot(chosen.nodes, chosen.requests),
        "herd": lambda: show_herd(chosen.nodes),
        "purges": lambda: show_purges(chosen.nodes),
    }
    for name in chosen.only.split(","):
        print(f"\n{name}")
        parts[name]()


def _counts(nodes: int) -> list[int]:
    return [count for count in (3, 10, 30) if count < nodes] + [nodes]


def show_balance(nodes: int) -> None:
    print("  nodes   least   greatest   by chance with 10^8 keys")
    for count in _counts(nodes):
        found = balance(dict.fromkeys(names(count), 1.0), KEYS)
        print(f"  {count:5}  {found.least:6.3f}     {found.greatest:6.3f}   {found.by_chance:.4f}")
    weights = {name: 1.0 + number % 4 for number, name in enumerate(names(nodes))}
    found = balance(weights, KEYS)
    print(f"  {nodes:5}  {found.least:6.3f}     {found.greatest:6.3f}   with weights from 1 to 4")


def show_movement(nodes: int) -> None:
    even = dict.fromkeys(names(nodes), 1.0)
    more, fewer = dict.fromkeys(names(nodes + 1), 1.0), dict.fromkeys(names(nodes - 1), 1.0)
    cases = {"one more": more, "one less": fewer, "one twice as large": {**even, "fra-0": 2.0}}
    print("  change                moved   at least   needless")
    for name, after in cases.items():
        found = movement(even, after)
        print(f"  {name:20} {found.moved:6.2%}   {found.least:7.2%}   {found.needless}")
    print(f"  keys of a node that is gone: one other gets {heirs(even, ['fra-0']):.2f} of an even share at most")


def show_hot(nodes: int, requests: int) -> None:
    print(f"  {requests:,} requests, 100,000 a second   busiest/mean   cross   copies in a node")
    for exponent in (0.9, 1.1):
        for with_copies in (False, True):
            found = hot_keys(
                nodes, KEYS, exponent=exponent, rate=100_000.0, requests=requests, with_copies=with_copies
            )
            how = "hot copies" if with_copies else "owner only"
            print(
                f"  Zipf {exponent}, {how:10}                  {found.busiest:12.2f}   {found.crossing:5.1%}"
                f"   {found.copies:,.0f}"
            )


def show_herd(nodes: int) -> None:
    print("  a quarter of the nodes is lost; 30,000 requests a second, Zipf 0.9; a fetch takes 0.1 s")
    print("  origin bears        how            fetches   refused   at once   waiting   settled after")
    for bears in (300, 1000):
        for shared in (False, True):
            left = nodes - nodes // 4
            found = herd(left, KEYS, exponent=0.9, rate=30_000.0, cold=0.25, bears=bears, seconds=20.0, shared=shared)
            how = "cluster" if shared else "each by itself"
            print(
                f"  {bears:12}   {how:14}   {found.fetches:9,}   {found.refused:7,}   {found.peak:7,}"
                f"   {found.waiting:7,}   {'never' if found.seconds > 115.0 else f'{found.seconds:.0f} s'}"
            )


def show_purges(nodes: int) -> None:
    print("  nodes   way              median   worst    messages   bytes")
    counts = _counts(nodes)
    for count in counts:
        _print_fan_out(count, "node to node", asyncio.run(directly(count, 20)))
    program = shutil.which("redis-server")
    if program is None:
        print("  redis-server isn't installed")
        return
    port = free_port()
    with tempfile.TemporaryDirectory() as directory:
        options = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", directory]
        engine = subprocess.Popen([*UNTIL_OUR_END, program, *options], stdout=subprocess.DEVNULL)
        try:
            time.sleep(0.5)
            address = engine_address(f"redis://127.0.0.1:{port}")
            for count in counts:
                prefix = f"of-{count}"
                found = asyncio.run(by_bus(count, 20, lambda prefix=prefix: EngineBus(address, prefix=prefix)))  # type: ignore[misc]
                _print_fan_out(count, "redis", found)
        finally:
            engine.kill()
            engine.wait()


def _print_fan_out(count: int, way: str, found: FanOut) -> None:
    times = f"{found.median:5.0f} ms  {found.worst:5.0f} ms"
    print(f"  {count:5}   {way:14} {times}   {found.messages:8.0f}   {found.sent:,.0f}")


if __name__ == "__main__":
    main()
