"""`shield serve` as a process of its own, and settings for it."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from http.client import HTTPConnection
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.client import PATIENCE, Answer, Client, request
from tests.doubles.faulty_origin import FaultyOrigin
from tests.doubles.gate import Watch


def until(condition: Callable[[], object], *, patience: float = PATIENCE) -> None:
    """Wait for what other processes do."""
    deadline = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < deadline, "not so in time"
        time.sleep(0.005)


class Process:
    """A running node. Its ports are read from what it says on standard error. `program` is how `shield` is begun."""

    def __init__(
        self,
        config: Path,
        *options: str,
        program: Sequence[str | Path] = (sys.executable, "-m", "shield"),
        pass_fds: Sequence[int] = (),
        **environ: str,
    ) -> None:
        self._watch = Watch()
        self._said: list[str] = []
        self.process = subprocess.Popen(
            [*program, "serve", "--config", str(config), *options],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1", **environ},
            start_new_session=True,
            pass_fds=pass_fds,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)

    def __enter__(self) -> Self:
        self._reader.start()
        self.says("serves on")
        found = re.search(r"serves on \S+:(\d+), admin on (?:unix:\S+|\S+:(\d+))", self.said)
        assert found is not None, self.said
        self.port, self.admin_port = int(found[1]), int(found[2] or 0)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)  # workers that outlived their parent, too
        self.process.wait(PATIENCE)
        self._reader.join(PATIENCE)
        assert self.process.stderr is not None
        self.process.stderr.close()

    @property
    def said(self) -> str:
        return "".join(self._said)

    def says(self, text: str, *, patience: float = PATIENCE) -> None:
        """Wait until it has said so."""
        self._watch.wait(lambda: text in self.said or self.process.poll() is not None, patience)
        assert text in self.said, self.said

    def signal(self, number: int = signal.SIGTERM) -> None:
        self.process.send_signal(number)

    def ended(self, *, patience: float = PATIENCE) -> int:
        return self.process.wait(patience)

    def admin(self, path: str, *, method: str = "GET") -> Answer:
        with Client(self.admin_port) as client:
            client.send(request(path, host=f"127.0.0.1:{self.admin_port}", method=method))
            return client.read()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self._said.append(line)
            self._watch.changed()
        self._watch.changed()


def post(port: int, target: str, wish: object) -> object:
    """The answer of an admin listener to an order, both as JSON."""
    connection = HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("POST", target, json.dumps(wish), {"content-type": "application/json"})
        return json.loads(connection.getresponse().read())
    finally:
        connection.close()


def settings_file(
    path: Path,
    origin: FaultyOrigin,
    *,
    listen: str = "127.0.0.1:0",
    delay: str = "0s",
    timeout: str = "30s",
    tls: Mapping[str, str] | None = None,
    **more: Any,
) -> Path:
    """A settings file; `more` are whole top-level keys."""
    settings = {
        "node": "test-1",
        "listen": listen,
        "admin": {"listen": "127.0.0.1:0"},
        "origins": {"fra": {"provider": "http", "endpoint": origin.url, "role": "primary"}},
        "drain": {"delay": delay, "timeout": timeout},
        "probes": {"interval": "off"},  # fetches are counted
        "tls": tls,
        **more,
    }
    file = path / "shield.yaml"
    file.write_text(json.dumps(settings))  # JSON is YAML
    return file
