"""A node with a disk tier and two origins that cost little, each a process on 127.0.0.1; and what happens to them."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from loadtest.locust.scenarios import SLICE_BYTES
from loadtest.processes import Process, free_port

ORIGINS = ("fra", "iad")
READY_SECONDS = 30.0


class Stage:
    """`with Stage(workers=2) as stage:` serves on `stage.url`."""

    def __init__(self, *, workers: int) -> None:
        self._directory = Path(tempfile.mkdtemp(prefix="shield-load-"))
        self._ports = {name: free_port() for name in ORIGINS}
        self._port, self._admin_port = free_port(), free_port()
        self.url = f"http://127.0.0.1:{self._port}"
        self.admin = f"http://127.0.0.1:{self._admin_port}"
        self._processes: dict[str, Process] = {}
        self._forgotten: dict[str, int] = {"total": 0, "bytes": 0}  # asked of origins that were killed
        self._config = self._directory / "shield.yaml"
        self._config.write_text(json.dumps(self._settings(workers)))

    def __enter__(self) -> Self:
        try:
            for name in ORIGINS:
                self.start_origin(name)
            self.start_node()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def start_origin(self, name: str) -> None:
        port = self._ports[name]
        self._start(name, [sys.executable, "-m", "loadtest.origin", str(port)], port)

    def kill_origin(self, name: str) -> None:
        """End it at once. What it was asked is remembered."""
        for key, value in _asked(self._ports[name]).items():
            self._forgotten[key] += value
        self._processes.pop(name).kill()

    def start_node(self) -> None:
        self._start("shield", [sys.executable, "-m", "shield", "serve", "--config", str(self._config)], self._port)
        deadline = time.monotonic() + READY_SECONDS
        while True:
            with contextlib.suppress(OSError), urllib.request.urlopen(f"{self.admin}/ready", timeout=1):
                return
            if time.monotonic() > deadline:
                raise RuntimeError(f"the node isn't ready; it said:\n{self._log('shield').read_text()[-2000:]}")
            time.sleep(0.05)

    def stop_node(self) -> None:
        """SIGTERM, and a wait for its end."""
        self._processes.pop("shield").stop()

    def restart_node(self) -> None:
        self.stop_node()
        self.start_node()

    def asked(self) -> tuple[int, int]:
        """GETs that the origins got, and the bytes that they sent."""
        totals = dict(self._forgotten)
        for name in self._processes.keys() & set(ORIGINS):
            for key, value in _asked(self._ports[name]).items():
                totals[key] += value
        return totals["total"], totals["bytes"]

    def _start(self, name: str, command: list[str], port: int) -> None:
        cores = ",".join(map(str, sorted(os.sched_getaffinity(0))))
        made = self._processes[name] = Process(name, command, core=cores, port=port, log=self._log(name))
        made.wait_until_it_listens()

    def _end(self) -> None:
        for process in reversed(list(self._processes.values())):
            process.stop()
        shutil.rmtree(self._directory, ignore_errors=True)

    def _log(self, name: str) -> Path:
        return self._directory / f"{name}.log"

    def _settings(self, workers: int) -> dict[str, object]:
        disk = {"path": str(self._directory / "disk"), "capacity": "2GiB", "free_floor": "64MiB"}
        return {
            "node": "load-1",
            "listen": f"127.0.0.1:{self._port}",
            "admin": {"listen": f"127.0.0.1:{self._admin_port}"},
            "workers": workers,
            "origins": {
                name: {"provider": "http", "endpoint": f"http://127.0.0.1:{port}", "connections": 256}
                for name, port in self._ports.items()
            },
            "cache": {
                "memory": {"capacity": "256MiB"},
                "tiers": [{"name": "disk", "directories": [disk]}],
                "slice_bytes": SLICE_BYTES,
            },
            "drain": {"timeout": "5s"},
            "log": {"access": "off"},
        }


@contextlib.contextmanager
def acting(scenario: str, stage: Stage, *, seconds: float) -> Iterator[list[str]]:
    """What happens to the stage while a scenario runs, in a thread; and notes on it."""
    notes: list[str] = []
    acts: dict[str, list[tuple[float, str, Callable[[], None]]]] = {
        "failover": [
            (0.35, "the first origin was killed", lambda: stage.kill_origin(ORIGINS[0])),
            (0.75, "the first origin was started", lambda: stage.start_origin(ORIGINS[0])),
        ],
        "restart": [(0.3, "the node was stopped and started", stage.restart_node)],
    }
    over = threading.Event()
    began = time.monotonic()

    def act() -> None:
        for share, text, do in acts.get(scenario, ()):
            if over.wait(max(0.0, began + share * seconds - time.monotonic())):
                return
            try:
                do()
            except (OSError, RuntimeError) as error:
                notes.append(f"FAILED: {text}: {error}")
                return
            notes.append(f"{text} after {time.monotonic() - began:.1f} s")

    thread = threading.Thread(target=act, name="acts")
    thread.start()
    try:
        yield notes
    finally:
        over.set()
        thread.join()


def _asked(port: int) -> dict[str, int]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/asked", timeout=10) as answer:
        said = json.loads(answer.read())
    return {"total": said["total"], "bytes": said["bytes"]}
