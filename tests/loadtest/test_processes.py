"""Processes of a benchmark."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.process import until

pytestmark = pytest.mark.slow  # it starts processes

PARENT = """
import sys, time
from pathlib import Path
from loadtest.processes import Process
process = Process("child", ["sleep", "600"], core=0, port=0, log=Path(sys.argv[1]))
print(process.pids()[0], flush=True)
time.sleep(600)
"""


def test_what_a_benchmark_has_started_ends_if_it_is_killed(tmp_path: Path) -> None:
    command = [sys.executable, "-c", PARENT, str(tmp_path / "log")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        until(lambda: "sleep" in _name(child))  # the way there is over

        parent.send_signal(signal.SIGKILL)

        until(lambda: not _runs(child))


def _name(pid: int) -> str:
    return Path(f"/proc/{pid}/comm").read_text()


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
