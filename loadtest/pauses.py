"""Memory of an entry in RAM, and how long the garbage collector stops a worker that fills its RAM.

    python -m loadtest.pauses [--entries 1000000] [--bytes 2000] [--room 0] [--node]

Entries are made as a miss makes them, and stored in a RAM tier under the collector's settings of a worker. `--room`
is the number of entries after which others have to go. Other load on the machine makes pauses longer.

With `--node` the CPU time of each turn of a real node's event loop is measured, once it has these entries: with
misses, hits, and after purges, while its metrics and its state are read each five seconds.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import json
import os
import random
import re
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

from loadtest.client import Wrk
from loadtest.peers import CLIENT_CORE, SERVER_CORE, get, note
from loadtest.processes import Process, free_port, raise_descriptor_limit
from loadtest.servers import Place, shield_config
from loadtest.turns import SEED
from shield.heap import calm_collector
from shield.rules.freshness import Freshness
from shield.rules.heads import as_judged, of_fields
from shield.rules.routes import cache_key
from shield.store.entry import Entry
from shield.store.memory import MemoryTier

CONNECTIONS = 2  # a turn that serves many at once isn't a pause
MOST_PATHS = 200_000
WATCH_SECONDS = 5.0
AIM_MS = 3.0
SHOWN = 8
_DATE = b"Sun, 29 Nov 2026 16:57:33 GMT"


class Watch:
    """The longest collection of each generation, in seconds, and how many there were."""

    def __init__(self) -> None:
        self.longest: dict[int, float] = {}
        self.count = 0
        self._began = 0.0
        gc.callbacks.append(self._note)

    def _note(self, phase: str, info: Mapping[str, int]) -> None:
        if phase == "start":
            self._began = time.perf_counter()
            return
        took, generation = time.perf_counter() - self._began, info["generation"]
        self.longest[generation] = max(took, self.longest.get(generation, 0.0))
        self.count += 1


def made(number: int, size: int) -> Entry:
    """An entry as of a miss: nothing in it is shared with others but field names."""
    stated = ("image/webp", f'"{number:032x}"', "public, max-age=86400", "bytes", "1.1 shield", str(size))
    names = (b"content-type", b"etag", b"cache-control", b"accept-ranges", b"via", b"content-length")
    fields = [(name, value.encode()) for name, value in zip(names, stated, strict=True)]
    fields += [(name, bytes(bytearray(_DATE))) for name in (b"last-modified", b"date")]
    freshness = Freshness(1000.0 + number / 7.0, 86400.0, 30.0, 604800.0, 86400.0)
    head = as_judged(of_fields(200, tuple(fields)), freshness)
    return Entry(cache_key(b"", b"/o/%d/%d" % (size, number), b""), head, freshness, (bytes(size),), origin="a")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--entries", type=int, default=1_000_000, help="stored, one after another")
    parser.add_argument("--bytes", type=int, default=2000, help="of each body")
    parser.add_argument("--room", type=int, default=0, help="for so many entries; 0: for all")
    parser.add_argument("--node", action="store_true", help="a node, instead of a RAM tier alone; needs wrk")
    parser.add_argument("--seconds", type=float, default=20.0, help="of each part, with --node")
    options = parser.parse_args(arguments)
    if options.node:
        return of_a_node(options)

    one = made(0, options.bytes)
    capacity = one.size * (options.room or 2 * options.entries)
    memory = MemoryTier(capacity=capacity, max_entry=max(capacity // 8, one.size))
    calm_collector()
    watch, before = Watch(), _resident()
    for number in range(options.entries):
        memory.commit(made(number, options.bytes))
    there = memory.statistics().entries
    each = (_resident() - before) / there
    beside = each - options.bytes
    own = beside - len(one.head.block) - len(one.key.text)
    print(f"{there} entries, {each:.0f} bytes each; {beside:.0f} beside the body, {own:.0f} beside head and key")
    longest = ", ".join(f"{1000 * watch.longest.get(at, 0.0):.2f} ms" for at in range(3))
    print(f"{watch.count} collections of the worker's own, the longest by generation: {longest}")
    began = time.perf_counter()
    gc.collect()
    print(f"a full one, as in an idle worker: {1000 * (time.perf_counter() - began):.1f} ms")
    return 0


def of_a_node(options: argparse.Namespace) -> int:
    """Fill a node, and print the longest turns of its loop."""
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(130))
    started: list[Process] = []
    with tempfile.TemporaryDirectory(prefix="shield-pauses-") as name:
        directory, origin_port = Path(name), free_port()
        place = Place(directory, free_port(), free_port(), origin_port, raise_descriptor_limit())
        settings = json.loads(Path(shield_config(place)).read_text())
        room = (options.room or 2 * options.entries) * made(0, options.bytes).size
        settings["cache"]["memory"] = {"capacity": max(room, 1 << 20)}
        config, result = place.write("turns.json", json.dumps(settings)), directory / "turns"
        try:
            origin = [sys.executable, "-m", "loadtest.origin", str(origin_port)]
            node = [sys.executable, "-m", "loadtest.turns", config, str(result), str(options.entries)]
            for what, command, core, port in (
                ("origin", origin, CLIENT_CORE, origin_port),
                ("node", node, SERVER_CORE, place.port),
            ):
                log = directory / f"{what}.log"
                started.append(Process(what, command, core=core, port=port, log=log))
                started[-1].wait_until_it_listens()
            get(place.port, f"/o/{options.bytes}/{SEED.decode()}")
            while not result.exists():
                time.sleep(0.5)
            for phase in _phases(options, place, directory):
                time.sleep(2.5)  # until the last ones are written
                show(phase, json.loads(result.rename(directory / "taken").read_text()))
        finally:
            for process in reversed(started):
                process.stop()
    return 0


def _phases(options: argparse.Namespace, place: Place, directory: Path) -> Iterator[str]:
    """Each ends when it is yielded, by name."""
    wrk = Wrk(directory, core=CLIENT_CORE, connections=CONNECTIONS)
    base, path, chance = f"http://127.0.0.1:{place.port}", f"/o/{options.bytes}/", random.Random(7)
    numbers = [chance.randrange(options.entries) for _ in range(min(options.entries, MOST_PATHS))]
    (directory / "paths").write_text("".join(f"{path}{number}\n" for number in numbers))
    with _watched(place):
        note(f"{_entries(place)} entries")
        wrk.run(f"{base}{path}new", options.seconds, unique=True)
        yield "misses, once more what is done at the first"
        wrk.run(f"{base}{path}newer", options.seconds, unique=True)
        yield "misses"
        wrk.run_any(base, directory / "paths", options.seconds)
        yield "hits"
        note(f"{_entries(place)} entries")
        _post(place, "/purge", {"prefixes": [f"{path}1"], "soft": True})
        wrk.run_any(base, directory / "paths", options.seconds)
        yield "hits and misses after a soft purge of a prefix"
        _post(place, "/purge", {"all": True})
        wrk.run_any(base, directory / "paths", options.seconds)
        yield "misses after a purge of everything"


@contextlib.contextmanager
def _watched(place: Place) -> Iterator[None]:
    """Read the node's metrics and state every few seconds, as monitoring does."""
    is_over = threading.Event()

    def watch() -> None:
        while not is_over.wait(WATCH_SECONDS):
            for path in ("/metrics", "/state", "/top"):
                get(place.admin_port, path, host=f"127.0.0.1:{place.admin_port}")

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()


def _entries(place: Place) -> int:
    text = get(place.admin_port, "/metrics", host=f"127.0.0.1:{place.admin_port}").decode()
    found = re.search(r"^shield_memory_entries(?:\{[^}]*\})? (\S+)$", text, re.MULTILINE)
    return int(float(found[1])) if found else 0


def _post(place: Place, path: str, order: object) -> None:
    connection = HTTPConnection("127.0.0.1", place.admin_port, timeout=60)
    connection.request("POST", path, json.dumps(order), {"Content-Type": "application/json"})
    answer = connection.getresponse()
    said = answer.read()
    connection.close()
    if answer.status >= 300:
        raise RuntimeError(f"POST {path}: {answer.status} {said.decode(errors='replace')[:500]}")


def show(phase: str, turns: Mapping[str, Any]) -> None:
    """Prints the longest."""
    longest = turns["longest"]
    over = sum(turn["cpu_ms"] > AIM_MS for turn in longest)
    more = "or more " if over == len(longest) and over else ""
    print(f"\n{phase}: {turns['turns']} turns, {over} {more}of them longer than {AIM_MS:.0f} ms of CPU", flush=True)
    for turn in longest[:SHOWN]:
        collections = ", ".join(f"generation {each[0]}: {each[1]:.1f} ms" for each in turn["collections"])
        print(
            f"{turn['cpu_ms']:9.2f} ms at {turn['at_seconds']:.0f} s, {turn['page_faults']} page faults"
            + (f", other threads {turn['other_threads_ms']:.1f} ms" if turn["other_threads_ms"] > 0.5 else "")
            + (f", {collections}" if collections else "")
            + (f"\n             {turn['place']}" if turn["place"] else "")
        )


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


if __name__ == "__main__":
    sys.exit(main())
