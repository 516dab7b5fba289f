"""What a cluster costs, and what it saves.

    python -m loadtest.nodes [--only herd,costs,room] [--clients 3000] [--seconds 3] [--rounds 3] [--megabytes 64]

1. A herd: three nodes of two workers on 127.0.0.1 to 127.0.0.3, and so many clients, which all ask for one cold
object
   that its origin sends slowly, over all nodes. Requests to the origin are counted, and all bodies are checked.
2. The CPU that a request costs the node that is asked: a hit of its own, with and without a cluster; what another
node
   has; and a miss of the same size from an origin on the same machine, without a cluster.
3. The room that three nodes have together: they are asked for more than they can hold, and then the objects on their
   disks are counted, each once, beside those of one node alone.

Nodes and origin are stopped at the end.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path

from loadtest.client import Rate, Wrk
from loadtest.origin import body
from loadtest.processes import Process, free_port, raise_descriptor_limit

SECRET = "0123456789abcdef0123456789abcdef"
SIZES = (10_000, 50_000)
OBJECTS = 20_000
ROOM_BYTES = 50_000


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="herd,costs,room", help="some of these parts")
    parser.add_argument("--clients", type=int, default=3000)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--megabytes", type=int, default=64, help="the disk of a node in the part on room")
    wanted = parser.parse_args()
    parts = wanted.only.split(",")
    if unknown := [part for part in parts if part not in ("herd", "costs", "room")]:
        parser.error(f"there is no part {unknown[0]}; there are herd, costs, room")
    raise_descriptor_limit()
    with tempfile.TemporaryDirectory(prefix="nodes-", dir="/dev/shm") as made:
        if "herd" in parts:
            herd(Path(made), wanted.clients)
        if "costs" in parts:
            costs(Path(made), wanted.seconds, wanted.rounds)
        if "room" in parts:
            room(Path(made), wanted.megabytes)
    return 0


def herd(directory: Path, clients: int) -> None:
    """One cold object, asked for by all at once."""
    origin_port, base = free_port(), free_port() % 20_000 + 10_000
    listen, admin = base + 10, base + 20
    nodes = {f"n{place}": f"127.0.0.{place}:{base}" for place in (1, 2, 3)}
    with contextlib.ExitStack() as stack:
        stack.enter_context(_origin(directory, origin_port))
        for name, address in nodes.items():
            host = address.partition(":")[0]
            config = {**_settings(name, f"{host}:{listen}", f"{host}:{admin}", origin_port), "workers": 2}
            stack.enter_context(_node(directory, name, {**config, "cluster": {"nodes": nodes, "secret": SECRET}}))
        for address in nodes.values():
            _wait_until_ready(address.partition(":")[0], admin)
        time.sleep(2.0)  # until all have been greeted
        path, size = "/slow/300000/1500/1000/herd", 300_000
        good, seconds = asyncio.run(
            _ask_all([a.partition(":")[0] for a in nodes.values()], listen, path, size, clients)
        )
        asked = json.loads(_fetch(f"http://127.0.0.1:{origin_port}/asked"))
    print(f"herd: {clients} clients over {len(nodes)} nodes of 2 workers: {good} good answers in {seconds:.2f} s,")
    print(f"      requests to the origin: {asked}")


def costs(directory: Path, seconds: float, rounds: int) -> None:
    """CPU of the node that is asked, in us for a request."""
    ports = [free_port() for _ in range(9)]
    origin_port = ports[0]
    # The second node owns all keys that are asked for, but a few in a million.
    nodes = {
        "asked": {"address": f"127.0.0.1:{ports[1]}", "weight": 0.001},
        "owner": {"address": f"127.0.0.1:{ports[2]}", "weight": 1000},
    }
    cluster = {"nodes": nodes, "secret": SECRET}
    found: dict[tuple[str, int], list[float]] = {}
    with contextlib.ExitStack() as stack:
        stack.enter_context(_origin(directory, origin_port))
        config = _settings("asked", f"127.0.0.1:{ports[3]}", f"127.0.0.1:{ports[4]}", origin_port)
        asked = stack.enter_context(_node(directory, "asked", {**config, "cluster": cluster}, core=0))
        config = _settings("owner", f"127.0.0.1:{ports[5]}", f"127.0.0.1:{ports[6]}", origin_port)
        owner = stack.enter_context(_node(directory, "owner", {**config, "cluster": cluster}))
        config = _settings("alone", f"127.0.0.1:{ports[7]}", f"127.0.0.1:{ports[8]}", origin_port)
        alone = stack.enter_context(_node(directory, "alone", config, core=0))
        for port in (ports[4], ports[6], ports[8]):
            _wait_until_ready("127.0.0.1", port)
        time.sleep(2.0)
        wrk = Wrk(directory, core=1, connections=32)
        for size in SIZES:
            number = min(OBJECTS, 400_000_000 // size)
            paths = directory / f"paths-{size}"
            paths.write_text("".join(f"/o/{size}/{place}\n" for place in range(number)))
            asyncio.run(_fill(ports[5], paths.read_text().split()))
            for turn in range(rounds):
                for name, node, port, what in (
                    ("hit, alone", alone, ports[7], "same"),
                    ("hit, in a cluster", owner, ports[5], "same"),
                    ("miss, alone", alone, ports[7], "unique"),
                    ("of the other node", asked, ports[3], "any"),
                ):
                    before, others = node.cpu_seconds(), owner.cpu_seconds()
                    rate = _run(wrk, f"http://127.0.0.1:{port}", (size, turn), what, paths, seconds)
                    found.setdefault((name, size), []).append((node.cpu_seconds() - before) / rate.requests * 1e6)
                    if node is asked:
                        spent = (owner.cpu_seconds() - others) / rate.requests * 1e6
                        found.setdefault(("  and the other node", size), []).append(spent)
        metrics = _fetch(f"http://127.0.0.1:{ports[4]}/metrics").splitlines()
    print(f"CPU of a request at the node that is asked, in us; medians of {rounds} rounds, lowest and highest")
    for (name, size), values in found.items():
        print(f"  {size:>6} {name:<22} {statistics.median(values):7.1f}   {min(values):.1f} to {max(values):.1f}")
    for line in metrics:
        if line.startswith(
            ("shield_peer_copies_total", "shield_peer_node_fetches_total", "shield_peer_node_hits_total")
        ):
            print(f"  {line}")


def room(directory: Path, megabytes: int) -> None:
    """Distinct bytes on the disks of one node, and of three together. Each object is asked for twice, at nodes in
    turn; there are three times as many for three nodes, a third more than fit.
    """
    paths = [f"/o/{ROOM_BYTES}/{number}" for number in range(megabytes * 4_000_000 // ROOM_BYTES)]
    held = {}
    for count in (1, 3):
        base = free_port() % 20_000 + 10_000
        listen, admin = base + 10, base + 20
        nodes = {f"r{place}": f"127.0.0.{place}:{base}" for place in range(1, count + 1)}
        with contextlib.ExitStack() as stack:
            origin_port = free_port()
            stack.enter_context(_origin(directory, origin_port))
            for name, address in nodes.items():
                host = address.partition(":")[0]
                disk = {"path": str(directory / f"{count}-{name}"), "capacity": megabytes << 20, "free_floor": 0}
                cache = {
                    "memory": {"capacity": "16MiB"},
                    "slice_bytes": "1MiB",  # a small disk has small segments
                    "tiers": [{"name": "disk", "directories": [disk]}],
                }
                config = _settings(name, f"{host}:{listen}", f"{host}:{admin}", origin_port)
                config |= {"workers": 2, "cache": cache}
                if count > 1:
                    config["cluster"] = {"nodes": nodes, "secret": SECRET}
                stack.enter_context(_node(directory, name, config))
            hosts = [address.partition(":")[0] for address in nodes.values()]
            for host in hosts:
                _wait_until_ready(host, admin)
            time.sleep(2.0)
            for turn in range(2):
                for place, host in enumerate(hosts):
                    asked = paths[: len(paths) * count // 3]
                    mine = [path for at, path in enumerate(asked) if (at + turn) % len(hosts) == place]
                    asyncio.run(_fill(listen, mine, host=host))
            time.sleep(2.0)  # until it is on the disks
        held[count] = _held(directory, nodes)
    one, three = len(set(held[1])), len(set(held[3]))
    size = ROOM_BYTES / 1e6
    print(f"room: one node of {megabytes} MiB holds {one * size:.1f} MB of {len(paths) // 3 * size:.0f};")
    print(f"      three hold {three * size:.1f} of {len(paths) * size:.0f}: {three / one:.2f} times as much,")
    print(f"      {(len(held[3]) - three) * size:.1f} MB are there twice")


def _held(directory: Path, nodes: Mapping[str, str]) -> list[str]:
    """The keys on the disks of these nodes, which have ended; each as often as it is there."""
    found = []
    for name in nodes:
        command = [
            sys.executable,
            "-m",
            "shield",
            "store",
            "ls",
            "--json",
            "--config",
            str(directory / f"{name}.json"),
        ]
        said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        found += [json.loads(line)["key"] for line in said.splitlines() if line.startswith("{")]
    return found


def _run(wrk: Wrk, url: str, case: tuple[int, int], what: str, paths: Path, seconds: float) -> Rate:
    size, turn = case
    if what == "any":
        return wrk.run_any(url, paths, seconds)
    if what == "same":
        return wrk.run(f"{url}/o/{size}/hit", seconds, unique=False)
    return wrk.run(f"{url}/o/{size}/{turn}-", seconds, unique=True)  # nobody has these


def _settings(name: str, listen: str, admin: str, origin_port: int) -> dict[str, object]:
    origin = {
        "provider": "http",
        "endpoint": f"http://127.0.0.1:{origin_port}",
        "role": "primary",
        "connections": 256,
    }
    return {
        "node": name,
        "listen": listen,
        "admin": {"listen": admin},
        "origins": {"one": origin},
        "cache": {"memory": {"capacity": "768MiB"}},
        "limits": {"connections_per_address": 10_000},
        "probes": {"interval": "off"},
        "access_log": {"format": "off"},
    }


@contextlib.contextmanager
def _origin(directory: Path, port: int) -> Iterator[Process]:
    command = [sys.executable, "-m", "loadtest.origin", str(port)]
    process = Process("origin", command, core=1, port=port, log=directory / "origin.log")
    try:
        process.wait_until_it_listens()
        yield process
    finally:
        process.stop()


@contextlib.contextmanager
def _node(
    directory: Path, name: str, settings: Mapping[str, object], *, core: int | str = "0,1"
) -> Iterator[Process]:
    file = directory / f"{name}.json"
    file.write_text(json.dumps(settings))
    command = [sys.executable, "-m", "shield", "serve", "--config", str(file)]
    process = Process(name, command, core=core, port=0, log=directory / f"{name}.log")
    try:
        yield process
    finally:
        process.stop()


def _wait_until_ready(host: str, admin: int) -> None:
    """One that still asks others for what it missed serves no objects."""
    end = time.monotonic() + 30
    while True:
        try:
            _fetch(f"http://{host}:{admin}/ready")
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.1)
        else:
            return


def _fetch(url: str) -> str:
    with urllib.request.urlopen(url, timeout=10) as answer:
        return str(answer.read().decode())


async def _ask_all(hosts: list[str], port: int, path: str, size: int, clients: int) -> tuple[int, float]:
    """Good answers, and the seconds until the last."""
    expected, began, turn = body(size), time.monotonic(), asyncio.Semaphore(200)

    async def ask(number: int) -> bool:
        async with turn:  # connections are made in good order
            reader, writer = await asyncio.open_connection(hosts[number % len(hosts)], port)
        writer.write(b"GET %b HTTP/1.1\r\nHost: bench\r\n\r\n" % path.encode())
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            return head.startswith(b"HTTP/1.1 200") and await reader.readexactly(size) == expected
        except (OSError, asyncio.IncompleteReadError):
            return False
        finally:
            writer.close()

    answers = await asyncio.gather(*[ask(number) for number in range(clients)])
    return sum(answers), time.monotonic() - began


async def _fill(port: int, paths: list[str], *, host: str = "127.0.0.1") -> None:
    """Have a node fetch these."""

    async def some(mine: list[str]) -> None:
        reader, writer = await asyncio.open_connection(host, port)
        for path in mine:
            writer.write(b"GET %b HTTP/1.1\r\nHost: bench\r\n\r\n" % path.encode())
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            await reader.readexactly(int(head.partition(b"content-length: ")[2].partition(b"\r")[0]))
        writer.close()

    await asyncio.gather(*[some(paths[start::16]) for start in range(16)])


if __name__ == "__main__":
    sys.exit(main())
