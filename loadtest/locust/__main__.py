"""Load tests with pass criteria: one command, an HTML report, and 1 when a criterion isn't met.

python -m loadtest.locust                               # all scenarios, each against a node of its own
python -m loadtest.locust zipf flash --seconds 60 --users 50 --rate 20
python -m loadtest.locust zipf --url http://127.0.0.1:8080    # a node that runs; its origin must be loadtest.origin
python -m loadtest.locust --judge records.json          # what a run on several machines has noted
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

from loadtest.locust.records import Run
from loadtest.locust.report import report
from loadtest.locust.scenarios import SCENARIOS, Bounds, Scenario, Verdict
from loadtest.locust.stage import Stage, acting
from loadtest.processes import raise_descriptor_limit

LOCUSTFILE = Path(__file__).with_name("locustfile.py")
GRACE_SECONDS = 90.0


def main() -> int:
    """0 if all criteria are met, 1 if one isn't, 2 for options that can't be used."""
    arguments = _arguments()
    bounds = Bounds(p99_seconds=arguments.p99, outage_seconds=arguments.outage)
    if arguments.judge is not None:
        runs = [Run.load(path) for path in arguments.judge]
    else:
        if importlib.util.find_spec("locust") is None:
            return _unusable("locust is needed: pip install '.[loadtest]'")
        if arguments.url is not None and (why := _refused(arguments)):
            return _unusable(why)
        raise_descriptor_limit()
        runs = [_run(SCENARIOS[name], arguments) for name in arguments.scenarios or _possible(arguments)]
    judged = [(run, SCENARIOS[run.scenario].judge(run, bounds)) for run in runs]
    for run, verdicts in judged:
        _print(run, verdicts)
    arguments.report.parent.mkdir(parents=True, exist_ok=True)
    arguments.report.write_text(report(judged))
    print(f"report: {arguments.report}")
    failed = any(note.startswith("FAILED") for run in runs for note in run.notes)
    return int(failed or not all(verdict.passed for _, verdicts in judged for verdict in verdicts))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m loadtest.locust", description="Load tests with pass criteria.")
    names = ", ".join(SCENARIOS)
    parser.add_argument("scenarios", nargs="*", metavar="SCENARIO", help=f"of {names}; left out: all")
    parser.add_argument("--url", help="a node that runs, on this machine; left out: one is started")
    parser.add_argument("--seconds", type=float, default=30.0, help="for each scenario")
    parser.add_argument("--users", type=int, default=20)
    parser.add_argument("--rate", type=float, default=10.0, help="requests a second that each user's schedule has")
    parser.add_argument("--workers", type=int, default=2, help="of the node that is started")
    parser.add_argument("--p99", type=float, default=Bounds().p99_seconds, help="seconds, bound of the criterion")
    parser.add_argument(
        "--outage", type=float, default=Bounds().outage_seconds, help="seconds that a restart may take"
    )
    parser.add_argument("--report", type=Path, default=Path("loadtest/results/locust.html"))
    parser.add_argument("--judge", type=Path, nargs="+", metavar="FILE", help="judge what was noted before")
    arguments = parser.parse_args()
    for name in arguments.scenarios:
        if name not in SCENARIOS:
            parser.error(f"unknown scenario: {name}; there are {names}")
    if arguments.seconds <= 0 or arguments.users < 1 or arguments.rate <= 0:
        parser.error("--seconds, --users and --rate must be above 0")
    return arguments


def _refused(arguments: argparse.Namespace) -> str | None:
    """Why a URL can't be used; None if it can."""
    try:
        parts = urlsplit(arguments.url)
        is_ours = parts.hostname == "localhost" or ip_address(parts.hostname or "").is_loopback
    except ValueError:
        is_ours = False
    if not is_ours or parts.scheme != "http" or parts.path not in ("", "/"):
        return "--url: expected http://127.0.0.1:PORT: for nodes on other machines run locust itself, see the README"
    own = [name for name in arguments.scenarios if SCENARIOS[name].needs_node]
    return f"--url: {', '.join(own)} stop and purge things, and need a node of their own" if own else None


def _possible(arguments: argparse.Namespace) -> list[str]:
    return [name for name, scenario in SCENARIOS.items() if arguments.url is None or not scenario.needs_node]


def _unusable(why: str) -> int:
    print(why, file=sys.stderr)
    return 2


def _run(scenario: Scenario, arguments: argparse.Namespace) -> Run:
    """One scenario; against a node of its own if none is given."""
    print(f"{scenario.name}: {scenario.text}", file=sys.stderr)
    with ExitStack() as stack:
        if arguments.url is not None:
            return _load(scenario, arguments, url=arguments.url, admin="")
        stage = stack.enter_context(Stage(workers=arguments.workers))
        with acting(scenario.name, stage, seconds=arguments.seconds) as notes:
            run = _load(scenario, arguments, url=stage.url, admin=stage.admin)
        run.notes += notes
        run.killed = stage.killed
        run.origin_gets, run.origin_bytes = stage.asked()
        return run


def _load(scenario: Scenario, arguments: argparse.Namespace, *, url: str, admin: str) -> Run:
    """Run locust, which is a process of its own since it changes Python's sockets."""
    with tempfile.TemporaryDirectory(prefix="shield-load-") as directory:
        records = Path(directory) / "records.json"
        environment = {
            **os.environ,
            "LOAD_SCENARIO": scenario.name,
            "LOAD_SECONDS": str(arguments.seconds),
            "LOAD_USERS": str(arguments.users),
            "LOAD_RATE": str(arguments.rate),
            "LOAD_RECORDS": str(records),
            "LOAD_ADMIN": admin,
            "PYTHONPATH": os.pathsep.join([str(LOCUSTFILE.parents[2]), os.environ.get("PYTHONPATH", "")]),
        }
        command = [sys.executable, "-m", "locust", "-f", str(LOCUSTFILE), "--headless", "--only-summary"]
        command += [
            "--host",
            url.rstrip("/"),
            "--exit-code-on-error",
            "0",
            "--stop-timeout",
            "30",
            "--loglevel",
            "WARNING",
        ]
        ended = subprocess.run(
            command,
            env=environment,
            capture_output=True,
            text=True,
            timeout=arguments.seconds + GRACE_SECONDS,
            check=False,
        )
        if not records.exists():
            raise RuntimeError(f"locust ended with {ended.returncode}:\n{ended.stderr[-3000:]}")
        return Run.load(records)


def _print(run: Run, verdicts: Sequence[Verdict]) -> None:
    print(f"{run.scenario}: {len(run.records)} requests{''.join(f'; {note}' for note in run.notes)}")
    for verdict in verdicts:
        print(f"  {'passed' if verdict.passed else 'FAILED'}  {verdict.text}: {verdict.measured}")


if __name__ == "__main__":
    sys.exit(main())
