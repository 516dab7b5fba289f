"""The admin listener of a node with several workers: a unix socket with tokens, over reloads, upgrades and kills."""

from __future__ import annotations

import os
import signal
import stat
from http.client import HTTPException
from pathlib import Path
from typing import Any

import pytest

from shield.cli.admin import AdminDoor, ask
from shield.cli.tokens import SentToken
from shield.config.admin import UnixAddress
from tests.doubles.faulty_origin import FaultyOrigin
from tests.process import Process, settings_file, until

PATIENCE = 60.0
ONE, OTHER = "one-0123456789abcdef", "other-0123456789abcd"


def asked(
    socket: Path, secret: str | None, method: str = "GET", target: str = "/state", wish: object = None
) -> tuple[int, Any]:
    door = AdminDoor(UnixAddress(str(socket)), SentToken(secret, "that one"))
    try:
        return ask(door, method, target, wish=wish, seconds=PATIENCE)
    except (OSError, HTTPException):
        return 0, None


@pytest.mark.slow
def test_a_unix_socket_with_tokens_outlives_reloads_upgrades_and_kills(tmp_path: Path, origin: FaultyOrigin) -> None:
    socket, token = tmp_path / "admin.sock", tmp_path / "oncall.token"
    token.write_text(ONE)
    admin = {
        "listen": f"unix:{socket}",
        "socket_mode": "0600",
        "tokens": {"oncall": {"role": "operate", "secret_file": str(token)}},
    }
    file = settings_file(tmp_path, origin, workers=2, admin=admin)

    with Process(file) as node:
        assert stat.S_IMODE(socket.stat().st_mode) == 0o600
        assert [asked(socket, secret)[0] for secret in (None, OTHER, ONE)] == [401, 401, 200]
        assert asked(socket, None, target="/ready")[0] == 200

        token.write_text(OTHER)
        os.utime(token, (1, 1))  # as old files that are put in place are
        until(lambda: asked(socket, OTHER)[0] == 200, patience=PATIENCE)
        assert asked(socket, ONE)[0] == 401
        assert asked(socket, OTHER, "POST", "/reload") == (200, {"generation": 2, "needs_restart": []})

        assert asked(socket, OTHER, "POST", "/log-level", {"level": "error", "for": 60})[0] == 200
        for worker in range(2):
            node.says(f"[{worker}] the level of the log is error for", patience=PATIENCE)
        assert asked(socket, OTHER, "POST", "/log-level", {"level": None})[1]["level"] == "info"
        for worker in range(2):
            node.says(f"[{worker}] the level of the log is info again", patience=PATIENCE)
        nothing = {"generation": 2, "changes": [], "notes": []}
        assert asked(socket, OTHER, "POST", "/reload", {"diff": True}) == (200, nothing)

        node.says(f"by oncall from unix uid {os.getuid()} pid {os.getpid()}: 200")

        node.signal(signal.SIGUSR2)
        node.says("upgrade: all workers run version", patience=PATIENCE)
        until(lambda: asked(socket, OTHER)[0] == 200, patience=PATIENCE)
        assert [asked(socket, secret)[0] for secret in (None, ONE)] == [401, 401]
        os.killpg(node.process.pid, signal.SIGKILL)
        node.ended()
    assert socket.exists()

    with Process(file) as node:
        assert asked(socket, OTHER)[0] == 200
        node.signal()
        assert node.ended() == 0
    assert not socket.exists()
