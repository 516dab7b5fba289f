"""A node with a disk tier and two origins that cost little, each a process on 127.0.0.1; and what happens to them."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from loadtest.locust.scenarios import SLICE_BYTES
from loadtest.processes import Process, free_port

ORIGINS = ("fra", "iad")
READY_SECONDS = 30.0
PATIENCE = 60.0  # for what an operator's command leads to


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
        self._killed: list[float] = []
        self._config = self._directory / "shield.yaml"
        self._turn_key("KEY1")
        self._write(self._settings(workers))

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

    # as its operator

    def reload(self, **changes: object) -> None:
        """`shield reload` with other settings."""
        kept = self._config.read_text()
        self._write({**json.loads(kept), **changes})
        self._command("reload", expected=0)

    def reload_what_is_refused(self) -> None:
        """It exits with 1 and the old settings stay in force; the file is put right again."""
        kept = self._config.read_text()
        self._config.write_text(kept.replace("127.0.0.1", "127.0.0.1.:x"))
        try:
            self._command("reload", expected=1)
        finally:
            self._config.write_text(kept)

    def drain_origin(self, name: str) -> None:
        """Its requests end, and new ones go to the other."""
        kept = json.loads(self._config.read_text())["origins"]
        self.reload(origins={other: settings for other, settings in kept.items() if other != name})

    def restore_origins(self) -> None:
        self.reload(origins=self._origins())

    def rotate_key(self) -> None:
        """New credentials in the files; done when an origin has been asked with them."""
        self._turn_key("KEY2")
        self._wait_for(lambda: any("KEY2" in _said(port)["keys"] for port in self._ports.values()), "the new key")

    def kill_worker(self) -> None:
        """The system ends one, which another replaces."""
        worker = self._workers()[0]
        os.kill(worker, signal.SIGKILL)
        self._killed.append(time.time())
        self._wait_for_others(worker)

    def freeze_worker(self) -> None:
        """One hangs, and is replaced."""
        worker = self._workers()[-1]
        os.kill(worker, signal.SIGSTOP)
        self._wait_for_others(worker)
        self._killed.append(time.time())

    def upgrade(self) -> None:
        """`shield upgrade`: all workers are others then."""
        before = set(self._workers())
        self._command("upgrade", expected=0)
        self._wait_for(
            lambda: len(self._workers()) == len(before) and not before & set(self._workers()), "the upgrade"
        )

    @property
    def killed(self) -> list[float]:
        """When workers were killed, by us or by the node: epoch seconds."""
        return self._killed

    def asked(self) -> tuple[int, int]:
        """GETs that the origins got, and the bytes that they sent."""
        totals = dict(self._forgotten)
        for name in self._processes.keys() & set(ORIGINS):
            for key, value in _asked(self._ports[name]).items():
                totals[key] += value
        return totals["total"], totals["bytes"]

    def _workers(self) -> list[int]:
        return self._processes["shield"].children()

    def _wait_for_others(self, gone: int) -> None:
        count = len(self._workers())
        self._wait_for(
            lambda: gone not in self._workers() and len(self._workers()) >= count, "a worker's replacement"
        )

    def _wait_for(self, holds: Callable[[], bool], name: str) -> None:
        deadline = time.monotonic() + PATIENCE
        while not holds():
            if time.monotonic() > deadline:
                raise RuntimeError(f"waited {PATIENCE:g} s for {name}")
            time.sleep(0.02)

    def _command(self, name: str, *, expected: int) -> None:
        command = [sys.executable, "-m", "shield", name, "--config", str(self._config)]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
        if ended.returncode != expected:
            raise RuntimeError(f"shield {name}: exit {ended.returncode}: {ended.stdout}{ended.stderr}")

    def _turn_key(self, key: str) -> None:
        for name, text in (("id", key), ("secret", f"secret-of-{key}")):
            (self._directory / f"{name}.new").write_text(text)
            (self._directory / f"{name}.new").replace(self._directory / name)

    def _write(self, settings: dict[str, object]) -> None:
        self._config.write_text(json.dumps(settings))

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
            "origins": self._origins(),
            "cache": {
                "memory": {"capacity": "256MiB"},
                "tiers": [{"name": "disk", "directories": [disk]}],
                "slice_bytes": SLICE_BYTES,
            },
            "drain": {"timeout": "5s"},
            "probes": {"interval": "off"},  # fetches are counted
            "access_log": {"format": "off"},
        }

    def _origins(self) -> dict[str, dict[str, object]]:
        return {
            name: {
                "provider": "minio",
                "endpoint": f"http://127.0.0.1:{port}",
                "bucket": "bucket",
                "access_key_id_file": str(self._directory / "id"),
                "secret_key_file": str(self._directory / "secret"),
                "connections": 256,
            }
            for name, port in self._ports.items()
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
        "operate": [
            (
                0.10,
                "settings were reloaded",
                lambda: stage.reload(access_log={"format": "off"}, log={"level": "warning"}),
            ),
            (0.15, "a wrong file was refused", stage.reload_what_is_refused),
            (0.20, "the origins' keys were replaced", stage.rotate_key),
            (0.30, "the first origin was drained", lambda: stage.drain_origin(ORIGINS[0])),
            (0.40, "the first origin came back", stage.restore_origins),
            (0.45, "a worker was frozen and replaced", stage.freeze_worker),
            (0.65, "a worker was killed and replaced", stage.kill_worker),
            (0.75, "the node was upgraded in place", stage.upgrade),
        ],
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
    said = _said(port)
    return {"total": said["total"], "bytes": said["bytes"]}


def _said(port: int) -> dict[str, Any]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/asked", timeout=10) as answer:
        said: dict[str, Any] = json.loads(answer.read())
    return said
