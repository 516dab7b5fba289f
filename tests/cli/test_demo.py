"""The demo, as its user runs it."""

from __future__ import annotations

import socket
import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow


def test_the_demo_runs_through_and_ends_with_0() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "shield", "demo", "--once"], capture_output=True, text=True, timeout=100
    )

    assert done.returncode == 0, done.stdout + done.stderr
    lines = [line for line in done.stdout.splitlines() if line.startswith("ok ")]
    assert [line[3:20].strip() for line in lines] == [
        "miss",
        "hit",
        "collapse",
        "parts",
        "failover",
        "lagging replica",
        "absent",
    ]
    assert "1 origin GET" in lines[2]


def test_a_port_that_is_taken_is_said_at_once_with_the_option_that_changes_it() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = str(listener.getsockname()[1])
        done = subprocess.run(
            [sys.executable, "-m", "shield", "demo", "--port", port], capture_output=True, text=True, timeout=100
        )

    assert done.returncode == 1
    said = " ".join(done.stdout.split())
    assert f"127.0.0.1:{port}: Address already in use; choose another one by --port" in said
