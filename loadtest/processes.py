"""Processes of a benchmark: pinned to a core, their CPU time read from /proc, stopped by their own pid."""

from __future__ import annotations

import contextlib
import os
import random
import resource
import socket
import subprocess
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

TICK = os.sysconf("SC_CLK_TCK")
START_SECONDS = 60.0  # on a busy machine
STOP_SECONDS = 5.0
_LOWEST_PORT, _HIGHEST_PORT = 10_000, 32_768
_TAKEN: list[socket.socket] = []

UNTIL_OUR_END = ("setpriv", "--pdeathsig", "TERM")
"""Before a command: it is told to end if this process ends without having stopped it, by a kill, say."""


class Process:
    """A server on 127.0.0.1, with all processes it starts. Its output goes to a file."""

    def __init__(self, name: str, command: Sequence[str], *, core: int | str, port: int, log: Path) -> None:
        self.name = name
        self.port = port
        self._log = log
        with log.open("wb") as output:
            self._child = subprocess.Popen(
                [*UNTIL_OUR_END, "taskset", "-c", str(core), *command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C is ours alone, and we stop it
            )

    def wait_until_it_listens(self) -> None:
        end = time.monotonic() + START_SECONDS
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1):
                return
            if self._child.poll() is not None or time.monotonic() > end:
                said = self._log.read_text(errors="replace")[-2000:]
                raise RuntimeError(f"{self.name} doesn't listen on port {self.port}; it said:\n{said}")
            time.sleep(0.05)

    def cpu_seconds(self) -> float:
        """User and system time of all its processes so far, those that have ended included."""
        return sum(cpu_seconds(pid) for pid in _tree(self._child.pid))

    def pids(self) -> list[int]:
        """Its processes, from the top down."""
        return _tree(self._child.pid)

    def children(self) -> list[int]:
        """Processes that its main process has started."""
        return [pid for pid in _tree(self._child.pid)[1:] if _parent(pid) == self._child.pid]

    def read_and_written(self) -> tuple[int, int]:
        """Bytes that its processes had the disk read, and have it write, so far; what was unlinked since included."""
        totals = Counter[str]()
        for pid in self.pids():
            with contextlib.suppress(OSError):
                lines = Path(f"/proc/{pid}/io").read_text().splitlines()
                totals.update({name: int(value) for name, _, value in (line.partition(": ") for line in lines)})
        return totals["read_bytes"], totals["write_bytes"]

    def peak_bytes(self) -> int:
        """The most memory its processes had resident since the last call."""
        total = 0
        for pid in _tree(self._child.pid):
            with contextlib.suppress(OSError):
                lines = Path(f"/proc/{pid}/status").read_text().splitlines()
                total += sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))
                Path(f"/proc/{pid}/clear_refs").write_text("5")
        return total

    def kill(self) -> None:
        """End all of it at once, as the system does when memory runs out."""
        for pid in self.pids():
            with contextlib.suppress(OSError):
                os.kill(pid, 9)
        self._child.wait()

    def stop(self) -> None:
        """Ask it to end, then end it and what it has started."""
        if self._child.poll() is not None:
            return
        pids = _tree(self._child.pid)
        self._child.terminate()
        try:
            self._child.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()
        for pid in pids[1:]:
            with contextlib.suppress(OSError):
                if os.getsid(pid) == self._child.pid:  # else it has ended, and its number may be another's
                    os.kill(pid, 9)


@dataclass(frozen=True, slots=True)
class Resident:
    """Bytes of a process in memory: its own, and of mapped files whose name ends in something."""

    anonymous: int
    mapped: int


def resident(pid: int, *, mapped: str) -> Resident:
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    anonymous = sum(int(line.split()[1]) for line in rollup if line.startswith("Anonymous:"))
    of_file = 0
    counts = False
    for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
        if not line.split(" ", 1)[0].endswith(":"):
            counts = line.endswith(mapped)
        elif counts and line.startswith("Rss:"):
            of_file += int(line.split()[1])
    return Resident(anonymous * 1024, of_file * 1024)


def _tree(root: int) -> list[int]:
    """A process and all below it, from the top down."""
    found = [root]
    for pid in found:  # it grows meanwhile
        with contextlib.suppress(OSError):
            for thread in Path(f"/proc/{pid}/task").iterdir():
                found += [int(child) for child in (thread / "children").read_text().split()]
    return found


def _parent(pid: int) -> int | None:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return None


def cpu_seconds(pid: int) -> float:
    """User and system time of a process, and of its children that have ended and been waited for."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return sum(int(field) for field in fields[11:15]) / TICK


def free_port() -> int:
    """A port of 127.0.0.1 that nothing listens on, ours until this process ends.

    It is below those that the kernel gives to connections and to listeners without a number, which would make it
    theirs before our server starts. Others that choose one meanwhile, as a second run, see by a name that this one is
    taken, for which a descriptor stays open.
    """
    numbers = list(range(_LOWEST_PORT, _lowest_of_kernel()))
    random.shuffle(numbers)
    for port in numbers:
        taken = socket.socket(socket.AF_UNIX)
        try:
            taken.bind(f"\0shield-port-{port}")
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", port))
        except OSError:
            taken.close()
            continue
        _TAKEN.append(taken)
        return port
    raise OSError("no port is free")


def _lowest_of_kernel() -> int:
    try:
        lowest = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    except OSError:
        return _HIGHEST_PORT
    return min(lowest, _HIGHEST_PORT) if lowest > 2 * _LOWEST_PORT else _HIGHEST_PORT


def raise_descriptor_limit() -> int:
    """As many descriptors as we may have; servers that are started inherit it."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard
