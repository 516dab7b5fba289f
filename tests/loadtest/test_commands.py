"""Every command that the documents name runs to its end, with sizes that say nothing of speed."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path

import pytest
from _pytest.mark import ParameterSet

from loadtest.disk.__main__ import COMMANDS, NEED_WRK
from tests.depth import some

ROOT = Path(__file__).parents[2]
DOCUMENTS = ("README.md", "CONTRIBUTING.md", "loadtest/README.md")

# What makes a run short; given last, these options win over those of the document.
TINY = {
    "loadtest.amplification": "--megabytes 24 --times 1",
    "loadtest.cluster": "--only balance,purges --nodes 4",
    "loadtest.compare": "--only hits --sizes 1000 --rounds 1 --seconds 1",
    "loadtest.chaos": "--seconds 1 --clients 8",
    "loadtest.day": "--requests 400 --images 60 --short --pace 0 --most-off 9",
    "loadtest.disk": "--rounds 1 --seconds 1 --connections 4"
    " --objects 40 --entries 300 --requests 1200 --megabytes 1",
    "loadtest.growth": "--only fields --rounds 1 --seconds 1",
    "loadtest.locust": "--seconds 2 --users 3 --rate 4 --workers 1 --p99 60",
    "loadtest.midbody": "--clients 12 --megabytes 6 --seconds 0.5",
    "loadtest.nearest": "--minutes 5 --rates 2 --workers 2",
    "loadtest.nodes": "--only herd,costs --clients 12 --seconds 1 --rounds 1",
    "loadtest.origin_leg": "--rounds 1 --seconds 0.1",
    "loadtest.origins": "--minutes 5 --rates 2 --workers 2",
    "loadtest.outage": "--only hung --seconds 2 --rate 20 --recovery 0 --most-slow 1000 --most-fetches 1000",
    "loadtest.overload": "--seconds 1 --hits 50 --misses 20 --entries 50 --connections 4",
    "loadtest.partition": "--only engine --seconds 2",
    "loadtest.peers": "--rounds 1 --seconds 1 --connections 4 --clients 5 --megabytes 0.1 --spread 0.1",
    "loadtest.pauses": "--entries 200 --room 100 --seconds 1",
    "loadtest.policies": "--requests 400 --objects 80",
    "loadtest.slow": "--rounds 1 --seconds 1 --clients 9",
    "loadtest.start": "--rounds 1 --served 0",
    "loadtest.tail": "--rounds 1 --seconds 1",
    "loadtest.throttling": "--objects 300 --rate 20",
    "loadtest.way": "",
    "tests.fuzz": "--seconds 1",
}
FEW_TARGETS = "date"  # of a command that would fuzz them all
ONE_SCENARIO = "flash"  # of a command that would run them all
WITH_WRK = {
    "loadtest.compare",
    "loadtest.growth",
    "loadtest.nodes",
    "loadtest.peers",
    "loadtest.slow",
    "loadtest.tail",
}
LONG = {
    *("loadtest.amplification", "loadtest.midbody", "loadtest.slow", "loadtest.peers"),
    *("loadtest.compare --before ../older", "loadtest.growth", "loadtest.overload", "loadtest.tail"),
    "loadtest.pauses --node --bytes 200",
    *("loadtest.start --before ../older", "loadtest.start --workers 4"),
    *("loadtest.cluster", "loadtest.cluster --only purges --nodes 30", "loadtest.nodes", "loadtest.partition"),
    *(f"loadtest.disk {name}" for name in ("cold", "purge", "restart", "size", "workers")),
    "loadtest.peers --servers shield --before ../older",
    "loadtest.locust zipf failover --seconds 60 --users 50 --rate 20",
    "tests.fuzz --seconds 600",
}
"""Those that take longest: at depth only."""
UNTRIED = {"loadtest.recordings"}
"""Takes minutes for each fault, as alerts do."""
PATIENCE = 300.0
WAITING = {
    "loadtest.amplification",
    "loadtest.chaos",
    "loadtest.day",
    "loadtest.locust",
    "loadtest.midbody",
    "loadtest.outage",
    "loadtest.partition",
}
TWO_CORES = {*WITH_WRK, "loadtest.overload", "loadtest.disk"}


def _named() -> Iterator[str]:
    """Commands as documents write them, without what is optional in them and without comments."""
    for document in DOCUMENTS:
        for found in re.finditer(r"python -m ((?:loadtest|tests)\.[^`#\n]*)", (ROOT / document).read_text()):
            command = re.sub(r"\[.*?\]", "", found[1]).strip()
            if shlex.split(command)[0] not in UNTRIED:
                yield command


def _commands() -> Sequence[str]:
    disk = [f"loadtest.disk {name}" for name in COMMANDS]  # documents name the first and list the others
    named = sorted({*_named(), *disk})
    return some(named, [command for command in named if command not in LONG])


def _marked(command: str) -> ParameterSet:
    """Busy: most of them compute all the time."""
    waits = shlex.split(command)[0] in WAITING
    return pytest.param(command, marks=() if waits else pytest.mark.busy)


def _words(command: str) -> list[str]:
    module, *words = shlex.split(command)
    if "--before" in words:
        words[words.index("--before") + 1] = str(ROOT)  # a checkout that is there
    if module == "tests.fuzz" and not any(word.isidentifier() for word in words):
        words.append(FEW_TARGETS)
    if module == "loadtest.locust" and not any(word.isidentifier() for word in words):
        words.append(ONE_SCENARIO)
    if module == "loadtest.disk" and "--servers" not in words:
        words += ["--servers", "shield"]
    return [module, *words, *TINY[module].split()]


@pytest.mark.slow
@pytest.mark.timeout(2 * PATIENCE)
@pytest.mark.parametrize("command", [_marked(command) for command in _commands()])
def test_a_command_that_is_named_runs_to_its_end(command: str, tmp_path: Path) -> None:
    module, *words = _words(command)
    if module in WITH_WRK or "--node" in words or (module == "loadtest.disk" and words[0] in NEED_WRK):
        _needs("wrk")
    if module == "loadtest.locust" and find_spec("locust") is None:
        pytest.skip("locust isn't installed: pip install '.[loadtest]'")
    if module in TWO_CORES:
        _needs("taskset")
        if len(os.sched_getaffinity(0)) < 2:
            pytest.skip("two cores are needed")
    if module == "loadtest.disk":
        words += ["--directory", str(tmp_path)]

    if module == "loadtest.growth":
        _needs("nginx")

    ended = _run(module, *words)
    if ended.stderr.startswith("no network can be divided here"):
        pytest.skip(ended.stderr)

    assert ended.returncode == 0, ended.stderr
    assert ended.stdout
    assert "Traceback" not in ended.stderr
    assert not list(tmp_path.iterdir())


def test_documents_name_commands_of_all_kinds() -> None:
    assert {command.split()[0] for command in _named()} == set(TINY)


def test_a_server_that_is_unknown_is_named(tmp_path: Path) -> None:
    _needs("taskset")
    ended = _run("loadtest.disk", "fill", "--servers", "apache", "--directory", str(tmp_path))

    assert ended.returncode == 1
    assert "unknown: apache; there are shield, nginx" in ended.stderr


def _run(module: str, *words: str) -> subprocess.CompletedProcess[str]:
    """A command that takes too long is asked to end, so that it stops what it has started."""
    command = [sys.executable, "-m", module, *words]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            out, err = process.communicate(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            process.terminate()
            raise
    return subprocess.CompletedProcess(command, process.returncode, out, err)


def _needs(program: str) -> None:
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not installed")
