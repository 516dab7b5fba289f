"""Three nodes of two workers, a real network between them, and one of them cut off from the rest.

    python -m loadtest.partition [--only others,engine,both,mute,deaf] [--seconds 12]

Each node has a network namespace of its own on a bridge; what is cut just vanishes, as with a dead switch, and
nothing refuses it. One node is cut off from the others, from the engine of the bus, or from both; or only what it
sends is lost (mute), or only what the others send it (deaf). Clients reach all nodes throughout. Meanwhile objects
change and are purged, at either side. A case fails if a request fails after those that were under way, or if an older
version is seen of anything that was purged:

- at a node that the receipt names, from the receipt on
- at any node, from the time on at which all have the order

Needs root, for namespaces, iproute2, and redis-server.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from loadtest.processes import Process

SECRET = "0123456789abcdef0123456789abcdef"
NET = "10.77.0"
ORIGIN, ENGINE, CLIENTS = f"{NET}.251", f"{NET}.250", f"{NET}.254"
PORT, PEERS = 8080, 7071
NAMES = ("n1", "n2", "n3")
LOST = "02:00:00:00:de:ad"  # nobody's address: frames to it vanish
OBJECTS = 120
BODY_BYTES = 4000
PAUSE_SECONDS = 0.02  # between two requests of a client
CLIENTS_PER_NODE = 3
SLOW_SECONDS = 1.0

CASES = {
    "others": "from the other nodes",
    "engine": "from the engine",
    "both": "from the other nodes and the engine",
    "mute": "what it sends to the other nodes and the engine is lost",
    "deaf": "what the other nodes send to it is lost",
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join(CASES))
    parser.add_argument("--seconds", type=float, default=12.0, help="how long a node is cut off")
    parser.add_argument("--inside", help=argparse.SUPPRESS)  # the namespace in which this process is
    wanted = parser.parse_args()
    cases = wanted.only.split(",")
    if unknown := [case for case in cases if case not in CASES]:
        parser.error(f"there is no case {unknown[0]}; there are {', '.join(CASES)}")
    if wanted.inside:
        return asyncio.run(_all_cases(wanted.inside, cases, wanted.seconds))
    if why := _what_lacks():
        print(f"no network can be divided here: {why}", file=sys.stderr)
        return 2
    with _network() as hub:
        command = ["ip", "netns", "exec", hub, sys.executable, "-m", "loadtest.partition", "--inside", hub]
        return subprocess.run(
            [*command, "--only", wanted.only, "--seconds", str(wanted.seconds)], check=False
        ).returncode


def _what_lacks() -> str:
    if os.geteuid() != 0:
        return "it takes root"
    for program in ("ip", "redis-server"):
        if shutil.which(program) is None:
            return f"there is no {program}: apt-get install iproute2 redis-server"
    probe = f"shield-{os.getpid()}-probe"
    made = subprocess.run(["ip", "netns", "add", probe], capture_output=True, text=True, check=False)
    if made.returncode:
        return f"no network namespace can be made, which containers need a privilege for: {made.stderr.strip()}"
    _ip("netns", "del", probe)
    return ""


# the network


@contextlib.contextmanager
def _network() -> Iterator[str]:
    """A bridge in a namespace, whose name is returned, and a namespace for each node."""
    hub = f"shield-{os.getpid()}"
    made = []
    try:
        for name in (hub, *[f"{hub}-{node}" for node in NAMES]):
            _ip("netns", "add", name)
            made.append(name)
            _ip("-n", name, "link", "set", "lo", "up")
        _ip("-n", hub, "link", "add", "br0", "type", "bridge")
        for address in (ORIGIN, ENGINE, CLIENTS):
            _ip("-n", hub, "addr", "add", f"{address}/24", "dev", "br0")
        _ip("-n", hub, "link", "set", "br0", "up")
        for node in NAMES:
            own = f"{hub}-{node}"
            _ip("-n", hub, "link", "add", f"to-{node}", "type", "veth", "peer", "name", "eth0", "netns", own)
            _ip("-n", hub, "link", "set", f"to-{node}", "master", "br0", "up")
            _ip("-n", own, "addr", "add", f"{_address(node)}/24", "dev", "eth0")
            _ip("-n", own, "link", "set", "eth0", "up")
        yield hub
    finally:
        for name in made:
            _ip("netns", "del", name)


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


def _address(node: str) -> str:
    return f"{NET}.{NAMES.index(node) + 1}"


@dataclass
class Cuts:
    """What is cut: frames that a node sends to an address vanish."""

    hub: str
    made: list[tuple[str, str]] = field(default_factory=list)

    def cut(self, node: str, address: str) -> None:
        own = f"{self.hub}-{node}"
        _ip("-n", own, "neigh", "replace", address, "lladdr", LOST, "nud", "permanent", "dev", "eth0")
        self.made.append((own, address))

    def divide(self, case: str, node: str) -> None:
        others = [name for name in NAMES if name != node]
        if case in ("others", "both", "mute"):
            for other in others:
                self.cut(node, _address(other))
        if case in ("others", "both", "deaf"):
            for other in others:
                self.cut(other, _address(node))
        if case in ("engine", "both", "mute"):
            self.cut(node, ENGINE)

    def heal(self) -> None:
        for own, address in self.made:
            _ip("-n", own, "neigh", "del", address, "dev", "eth0")
        self.made.clear()


# the origin, and clients


class Origin:
    """Objects with versions: a body says which one it is."""

    def __init__(self) -> None:
        self.versions = Counter[str]()
        self.asked = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                path = head.split(b" ", 2)[1].decode()
                self.asked += 1
                body = f"{path} {self.versions[path]} ".encode().ljust(BODY_BYTES, b".")
                answer = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\nCache-Control: max-age=3600\r\n"
                answer += f'ETag: "{self.versions[path]}"\r\n\r\n'
                writer.write(answer.encode() + body)
        writer.close()


@dataclass
class Seen:
    """What clients of all nodes saw."""

    answers: int = 0
    slow: int = 0
    longest: float = 0.0
    failed: list[str] = field(default_factory=list)
    older: list[str] = field(default_factory=list)


class Clients:
    """Ask all nodes for all objects, again and again. `least` has the version that a node, or all, must have."""

    def __init__(self, origin: Origin) -> None:
        self.seen = Seen()
        self.least: dict[tuple[str, str], int] = {}  # by node and path
        self._tasks: list[asyncio.Task[None]] = []
        self.began = time.monotonic()

    def start(self) -> None:
        for node in NAMES:
            for number in range(CLIENTS_PER_NODE):
                self._tasks.append(asyncio.ensure_future(self._ask_on(node, number)))

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.wait(self._tasks)

    async def _ask_on(self, node: str, at: int) -> None:
        connection: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        while True:
            at += 7
            path = f"/object-{at % OBJECTS}"
            least, began = self.least.get((node, path), 0), time.monotonic()
            try:
                async with asyncio.timeout(30.0):
                    if connection is None:
                        connection = await asyncio.open_connection(_address(node), PORT)
                    reader, writer = connection
                    writer.write(f"GET {path} HTTP/1.1\r\nHost: images.example.com\r\n\r\n".encode())
                    head = (await reader.readuntil(b"\r\n\r\n")).decode()
                    length = int(head.lower().partition("content-length: ")[2].partition("\r")[0])
                    body = (await reader.readexactly(length)).decode()
                    if " 200 " not in head.partition("\r\n")[0]:
                        raise ValueError(head.partition("\r\n")[0])
                self._note(node, path, int(body.split(" ")[1]), least, time.monotonic() - began, head)
            except (OSError, TimeoutError, ValueError, asyncio.IncompleteReadError) as error:
                now = time.monotonic() - self.began
                self.seen.failed.append(f"{now:.1f} s: {node} {path}: {type(error).__name__} {error}")
                if connection is not None:
                    connection[1].close()
                connection = None
            await asyncio.sleep(PAUSE_SECONDS)

    def _note(self, node: str, path: str, version: int, least: int, took: float, head: str) -> None:
        seen = self.seen
        seen.answers += 1
        seen.slow += took > SLOW_SECONDS
        seen.longest = max(seen.longest, took)
        if version < least:
            status = [line for line in head.split("\r\n") if line.lower().startswith("cache-status")]
            now = time.monotonic() - self.began
            seen.older.append(f"{now:.1f} s: {node} {path}: version {version}, not {least}; {' '.join(status)}")


# a case


async def _all_cases(hub: str, cases: Sequence[str], seconds: float) -> int:
    failures = 0
    with tempfile.TemporaryDirectory(prefix="partition-", dir="/dev/shm") as made, contextlib.ExitStack() as stack:
        directory, origin = Path(made), Origin()
        server = await asyncio.start_server(origin.serve, ORIGIN, 80)
        _start(stack, directory, "engine", ["redis-server", "--bind", ENGINE, "--port", "6379", "--save", "",
                                            "--protected-mode", "no", "--dir", made])  # fmt: skip
        for node in NAMES:
            (directory / node).mkdir()
            file = directory / f"{node}.json"
            file.write_text(json.dumps(_settings(directory, node)))
            command = ["ip", "netns", "exec", f"{hub}-{node}", sys.executable, "-m", "shield", "serve"]
            _start(stack, directory, node, [*command, "--config", str(file)])
        for node in NAMES:
            await _until_ready(directory, node)
        await asyncio.sleep(3.0)  # until all have been greeted
        for case in cases:
            failures += not await _case(case, directory, origin, Cuts(hub), seconds)
        server.close()
        for node in NAMES:
            said = (directory / f"{node}.log").read_text()
            for line in [line for line in said.splitlines() if "ERROR" in line or "Traceback" in line]:
                print(f"  {node} said: {line}")
    return 1 if failures else 0


def _start(stack: contextlib.ExitStack, directory: Path, name: str, command: Sequence[str]) -> None:
    process = Process(name, command, core="0,1", port=0, log=directory / f"{name}.log")
    stack.callback(process.stop)


def _settings(directory: Path, node: str) -> dict[str, object]:
    tiers = [{"name": "disk", "directories": [{"path": str(directory / node / "disk"), "capacity": "128MiB",
                                               "free_floor": 0}]}]  # fmt: skip
    return {
        "node": node,
        "listen": f"{_address(node)}:{PORT}",
        "workers": 2,
        "admin": {"listen": f"unix:{directory / node}/admin"},
        "state_directory": str(directory / node),
        "origins": {"one": {"provider": "http", "endpoint": f"http://{ORIGIN}", "role": "primary"}},
        "cache": {"memory": {"capacity": "64MiB"}, "tiers": tiers},
        "probes": {"interval": "off"},
        "access": "off",
        "access_log": {"format": "off"},
        "cluster": {
            "nodes": {name: f"{_address(name)}:{PEERS}" for name in NAMES},
            "secret": SECRET,
            "bus": f"redis://{ENGINE}:6379/0",
            "purge_blind_max": "15s",
        },
    }


async def _case(case: str, directory: Path, origin: Origin, cuts: Cuts, seconds: float) -> bool:
    """One node is cut off for so long, while clients ask and objects are purged at either side. Was all well?"""
    print(f"{case}: n3 is cut off: {CASES[case]}")
    clients = Clients(origin)
    clients.start()
    await asyncio.sleep(3.0)
    before, clients.seen = clients.seen, Seen()
    _tell("before", before)

    cuts.divide(case, "n3")
    cut_at, number = time.monotonic(), 0
    wanted: dict[str, int] = {}
    while time.monotonic() - cut_at < seconds:
        for node in ("n1", "n3"):
            path = f"/object-{number % OBJECTS}"
            number += 11
            origin.versions[path] += 1
            wanted[path] = origin.versions[path]
            missing = await _purge(directory, node, path)
            for each in NAMES:
                if each not in missing:
                    clients.least[each, path] = wanted[path]
            if number <= 22 or time.monotonic() - cut_at > seconds - 2.0:
                where = ", ".join(missing) or "none"
                print(f"  {time.monotonic() - cut_at:4.1f} s: purged at {node}, missing at: {where}")
        await asyncio.sleep(0.5)
    during, clients.seen = clients.seen, Seen()
    _tell("cut off", during)
    for node in ("n1", "n3"):
        await _tell_of(directory, node)

    cuts.heal()
    healed_at = time.monotonic()
    left: list[str] = []
    for node in NAMES:  # who has carried out an order of a node has carried out all before it
        while left := await _purge(directory, node, "/nothing"):
            if time.monotonic() - healed_at > 60.0:
                print(f"  after a minute there are orders of {node} that nodes lack: {left}")
                break
    print(
        f"  {len(wanted)} purges; all nodes have them {time.monotonic() - healed_at:.1f} s after the network is back"
    )
    for path, version in wanted.items():
        for node in NAMES:
            clients.least[node, path] = version
    await asyncio.sleep(6.0)
    after = clients.seen
    await clients.stop()
    _tell("healed", after)
    seen = [*before.older, *during.older, *after.older], [*before.failed, *during.failed, *after.failed]
    for line in [*seen[0][:5], *seen[1][:5]]:
        print(f"  {line}")
    is_well = not seen[0] and not seen[1] and not left
    print(f"  {'well' if is_well else 'NOT WELL'}")
    return is_well


def _tell(when: str, seen: Seen) -> None:
    print(
        f"  {when}: {seen.answers} answers, {len(seen.failed)} failed, {len(seen.older)} older than purged, "
        f"{seen.slow} took over {SLOW_SECONDS:g} s, the longest {seen.longest:.2f} s"
    )


async def _tell_of(directory: Path, node: str) -> None:
    """What a node says of the partition."""
    state = json.loads(await _admin(directory, node, "GET", "/state"))
    orders = state.get("orders", {})
    said = {key: orders.get(key) for key in ("bus", "unreachable", "weaker", "blind", "blind_for") if orders.get(key)}
    down = {name: each["workers_down"] for name, each in state["cluster"]["nodes"].items() if each["workers_down"]}
    alarms = json.loads(await _admin(directory, node, "GET", "/alarms"))["active"]
    found = [f"{each['kind']}: {each['text']}" for each in alarms]
    print(f"  {node} says: workers down: {down}; alarms: {found}; orders: {json.dumps(said)[:400]}")


async def _purge(directory: Path, node: str, path: str) -> list[str]:
    """The nodes that the receipt names as those that haven't carried it out."""
    receipt = json.loads(await _admin(directory, node, "POST", "/purge", {"paths": [path]}))
    return list(map(str, receipt["missing"]))


async def _until_ready(directory: Path, node: str) -> None:
    end = time.monotonic() + 40.0
    while True:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            if await _admin(directory, node, "GET", "/ready", status=True) == "200":
                return
        if time.monotonic() > end:
            raise RuntimeError(f"{node} isn't ready; it said:\n{(directory / f'{node}.log').read_text()[-3000:]}")
        await asyncio.sleep(0.1)


async def _admin(
    directory: Path, node: str, method: str, target: str, wish: object = None, *, status: bool = False
) -> str:
    reader, writer = await asyncio.open_unix_connection(str(directory / node / "admin"))
    body = b"" if wish is None else json.dumps(wish).encode()
    head = f"{method} {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
    head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    writer.write(head.encode() + body)
    answer = (await reader.read()).decode()
    writer.close()
    return answer.split(" ", 2)[1] if status else answer.partition("\r\n\r\n")[2]


if __name__ == "__main__":
    sys.exit(main())
