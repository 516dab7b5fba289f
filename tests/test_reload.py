"""Reloads of `shield serve`, as an operator makes them: by command, signal, admin API, or by writing the file."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from loadtest.processes import free_port
from tests.client import PATIENCE, Client, fetch, request
from tests.doubles.certificates import Authority
from tests.doubles.faulty_origin import FaultyOrigin
from tests.process import Process, settings_file, until

pytestmark = pytest.mark.slow

RELOADS = 20
CLIENTS = 6


@pytest.fixture
def origin() -> Iterator[FaultyOrigin]:
    with FaultyOrigin() as made:
        for word in ("odd", "even"):
            for number in range(20):
                path = f"/{word}/{number}"
                made.serves(path, path.encode(), lifetime=60)
                made.serves(f"/{word}/passing/{number}", path.encode(), fields={"cache-control": "no-store"})
        yield made


def write(directory: Path, origin: FaultyOrigin, word: str, **more: Any) -> Path:
    """Settings of which answers tell that they hold: by their bodies, and by the Server field."""
    routes = {"all": {"add": f"/{word}", "response_fields": {"set": {"x-word": word}}}}
    return settings_file(directory, origin, routes=routes, server=word, **more)


def spoil(file: Path) -> None:
    file.write_text(file.read_text().replace('"routes"', '"rotes"'))


def reload(node: Process, file: Path) -> subprocess.CompletedProcess[str]:
    """By the command, which finds the admin listener where the environment says."""
    return subprocess.run(
        [sys.executable, "-m", "shield", "reload", "--config", str(file)],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        env={**os.environ, "SHIELD_ADMIN__LISTEN": f"127.0.0.1:{node.admin_port}"},
    )


def server(node: Process, target: str = "/1") -> str | None:
    with Client(node.port) as client:
        return client.ask(target).get("server")


def configuration(node: Process) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(node.admin("/state").body)["configuration"]
    return found


@pytest.mark.parametrize("workers", [1, 2])
def test_good_settings_are_taken_and_bad_ones_refused_with_their_problems(
    tmp_path: Path, origin: FaultyOrigin, workers: int
) -> None:
    with Process(write(tmp_path, origin, "odd", workers=workers)) as node:
        began = server(node)
        file = write(tmp_path, origin, "even", workers=workers)
        good, then = reload(node, file), server(node)
        spoil(file)
        bad, still, told = reload(node, file), server(node), configuration(node)
        metrics = node.admin("/metrics").body.decode()
        again, healed = reload(node, write(tmp_path, origin, "odd", workers=workers)), configuration(node)
        node.signal()
        code = node.ended()

    assert (good.returncode, bad.returncode, again.returncode, code) == (0, 1, 0, 0)
    assert [began, then, still] == ["odd", "even", "even"]
    assert "generation 2 are in force" in good.stdout
    assert "rotes: unknown key" in bad.stderr and "stay in force" in bad.stderr
    assert (told["generation"], told["is_latest"]) == (2, False)
    assert "shield_config_generation 2.0" in metrics and "shield_config_last_reload_successful 0.0" in metrics
    assert (healed["generation"], healed["is_latest"]) == (3, True)
    assert "reload refused" in node.said


@pytest.mark.parametrize("workers", [1, 2])
def test_a_hangup_and_the_admin_api_do_the_same(tmp_path: Path, origin: FaultyOrigin, workers: int) -> None:
    with Process(write(tmp_path, origin, "odd", workers=workers)) as node:
        file = write(tmp_path, origin, "even", workers=workers)
        node.signal(signal.SIGHUP)
        node.says("settings of generation 2 are in force")
        by_signal = server(node)
        write(tmp_path, origin, "odd", workers=workers, listen="127.0.0.1:9")
        by_api, then = node.admin("/reload", method="POST"), server(node)
        spoil(file)
        refused = node.admin("/reload", method="POST")

    assert (by_signal, then) == ("even", "odd")
    assert json.loads(by_api.body) == {"generation": 3, "needs_restart": ["listen"]}
    assert "until a restart these stay as they were: listen" in node.said
    assert refused.status == 409
    assert "rotes" in json.loads(refused.body)["problems"][0]


@pytest.mark.parametrize("workers", [1, 2])
def test_a_file_that_is_watched_is_reloaded_when_it_changes(
    tmp_path: Path, origin: FaultyOrigin, workers: int
) -> None:
    with Process(write(tmp_path, origin, "odd", workers=workers), "--watch") as node:
        spoil(write(tmp_path, origin, "even", workers=workers))
        node.says("reload refused")
        write(tmp_path, origin, "even", workers=workers)
        node.says("settings of generation 2 are in force")

        assert server(node) == "even"


def test_no_request_fails_while_two_workers_reload_again_and_again(tmp_path: Path, origin: FaultyOrigin) -> None:
    file = write(tmp_path, origin, "odd", workers=2)
    wrong: list[object] = []
    served = [0] * CLIENTS
    over = threading.Event()

    with Process(file) as node:

        def hammer(number: int) -> None:
            with Client(node.port) as client:
                while not over.is_set():
                    which = (number + served[number]) % 20
                    kind = "passing/" if served[number] % 3 == 0 else ""
                    answer = client.ask(f"/{kind}{which}")
                    bodies = [f"/{word}/{which}".encode() for word in ("odd", "even")]
                    if answer.status != 200 or not answer.clean or answer.body not in bodies:
                        wrong.append((answer.status, answer.body, answer.get("cache-status")))
                    elif answer.body != f"/{answer.get('x-word')}/{which}".encode():
                        wrong.append((answer.body, answer.get("x-word")))
                    served[number] += 1

        threads = [threading.Thread(target=hammer, args=(number,)) for number in range(CLIENTS)]
        for thread in threads:
            thread.start()
        statuses, words = [], []
        for turn in range(RELOADS):
            word = ("even", "odd")[turn % 2]
            write(tmp_path, origin, word, workers=2)
            if turn % 5 == 4:
                spoil(file)
            statuses.append(node.admin("/reload", method="POST").status)
            words.append({asyncio.run(fetch(node.port, "/1")).get("server") for _ in range(6)})
        over.set()
        for thread in threads:
            thread.join()
        told = configuration(node)
        node.signal()
        code = node.ended()

    assert wrong == []
    assert min(served) > 0
    assert statuses == ([200] * 4 + [409]) * (RELOADS // 5)
    assert [len(each) for each in words] == [1] * RELOADS
    assert told["generation"] == 1 + RELOADS * 4 // 5
    assert code == 0


def test_a_worker_that_is_replaced_after_a_reload_begins_with_what_is_in_force(
    tmp_path: Path, origin: FaultyOrigin
) -> None:
    with Process(write(tmp_path, origin, "odd", workers=2)) as node:
        file = write(tmp_path, origin, "even", workers=2)
        assert reload(node, file).returncode == 0
        spoil(file)
        children = Path(f"/proc/{node.process.pid}/task/{node.process.pid}/children").read_text().split()
        for pid in children:
            os.kill(int(pid), signal.SIGKILL)
        until(lambda: node.said.count("is back") == 2)

        assert {asyncio.run(fetch(node.port, "/1")).get("server") for _ in range(20)} == {"even"}


def test_a_worker_that_hangs_holds_a_reload_up_until_it_is_replaced(tmp_path: Path, origin: FaultyOrigin) -> None:
    with Process(write(tmp_path, origin, "odd", workers=2, worker_stall="2s")) as node:
        write(tmp_path, origin, "even", workers=2, worker_stall="2s")
        children = Path(f"/proc/{node.process.pid}/task/{node.process.pid}/children").read_text().split()
        os.kill(int(children[1]), signal.SIGSTOP)
        node.signal(signal.SIGHUP)
        node.says("has hung")
        node.says("settings of generation 2 are in force")
        node.says("is back")

        assert {asyncio.run(fetch(node.port, "/1")).get("server") for _ in range(20)} == {"even"}


def test_certificates_are_shown_anew_without_a_word_from_anybody(tmp_path: Path, origin: FaultyOrigin) -> None:
    first, second = Authority("first"), Authority("second")
    certificate, key = first.write_server(tmp_path, "localhost")
    tls = {"certificate_file": certificate.name, "key_file": key.name}

    def trusted(authority: Authority, port: int) -> bool:
        try:
            raw = socket.create_connection(("127.0.0.1", port), PATIENCE)
            with authority.client().wrap_socket(raw, server_hostname="localhost"):
                return True
        except ssl.SSLError:
            return False

    def asked(port: int, session: ssl.SSLSession | None = None) -> tuple[ssl.SSLSession | None, bool | None]:
        raw = socket.create_connection(("127.0.0.1", port), PATIENCE)
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with client.wrap_socket(raw, server_hostname="localhost", session=session) as sent:
            sent.sendall(request("/1"))
            assert sent.recv(9) == b"HTTP/1.1 "  # TLS 1.3 has its tickets behind the handshake
            return sent.session, sent.session_reused

    with Process(settings_file(tmp_path, origin, tls=tls, workers=2)) as node:
        client = first.client()
        before, _ = asked(node.port)
        second.write_server(tmp_path, "localhost")
        deadline = time.monotonic() + PATIENCE
        while not all(trusted(second, node.port) for _ in range(10)):
            assert time.monotonic() < deadline, node.said
        node.process.send_signal(signal.SIGHUP)
        node.says("settings of generation 2 are in force")

        assert all(asked(node.port, before)[1] for _ in range(10)), "whichever worker has it"


def test_a_node_that_cannot_be_asked_is_named(tmp_path: Path, origin: FaultyOrigin) -> None:
    file = settings_file(tmp_path, origin)
    port = free_port()

    done = subprocess.run(
        [sys.executable, "-m", "shield", "reload", "--config", str(file)],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        env={**os.environ, "SHIELD_ADMIN__LISTEN": f"127.0.0.1:{port}"},
    )

    assert done.returncode == 1
    assert f"no node answers on 127.0.0.1:{port}" in done.stderr
