"""The slowest hits at 70 % load, beside nginx's in one run.

    python -m loadtest.tail [--seconds 10] [--rounds 3] [--share 0.7] [--bytes 1000]

wrk makes the load, at a share of what the server can bear on its core; beside it, probes are sent at random times,
whether or not those before them were answered, and are timed from when they were due (`open_loop`). Arrivals at
random times see the server as it is at any time, so their percentiles are those of all requests. Compare columns: on
a busy machine all tails are long.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from loadtest.client import HEADERS
from loadtest.kept import RESULTS, circumstances, keep
from loadtest.open_loop import Flow, play
from loadtest.peers import BASELINE, CLIENT_CORE, Bench, get, note, running
from loadtest.processes import Process
from loadtest.servers import SERVERS, installed

PROBES = 500.0  # a second
SHARES = (50.0, 99.0, 99.9)
CONNECTIONS = 64
TICK = 0.01  # seconds: CPU is counted in these
LEAST_OF_SHARE = 0.75
HERE = Path(__file__).resolve().parent.parent
_LUA = """
%(fields)s
function delay() return math.floor(-math.log(1 - math.random()) * %(delay)f + 0.5) end
function done(summary, latency, requests) io.write(string.format("RESULT %%d\\n", summary.requests)) end
"""


def load(server: Process, directory: Path, path: str, *, delay: float, seconds: float) -> subprocess.Popen[str]:
    """wrk, whose connections wait for so many milliseconds, on average, before each request."""
    script = directory / f"{server.name}.lua"
    fields = "\n".join(f'wrk.headers["{name}"] = "{value}"' for name, value in HEADERS.items())
    script.write_text(_LUA % {"fields": fields, "delay": delay})
    command = ["taskset", "-c", str(CLIENT_CORE), "wrk", "-t1", f"-c{CONNECTIONS}", f"-d{round(seconds)}s"]
    command += ["-s", str(script), f"http://127.0.0.1:{server.port}{path}"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)


def requests_of(running_load: subprocess.Popen[str]) -> int:
    said = running_load.communicate()[0]
    found = [int(line.split()[1]) for line in said.splitlines() if line.startswith("RESULT ")]
    if not found:
        raise RuntimeError(f"wrk gave no result: {said}")
    return found[0]


def percentiles(bench: Bench, path: str, arguments: argparse.Namespace, directory: Path) -> dict[str, list[float]]:
    """Milliseconds by server; the share of its core that each used comes last."""
    found = {}
    for server in bench.servers:
        get(server.port, path)
        spent = server.cpu_seconds()
        answered = requests_of(load(server, directory, path, delay=0.0, seconds=2))
        most = answered / max(TICK, server.cpu_seconds() - spent)  # of a whole core, whatever part of it there was
        delay = CONNECTIONS / (most * arguments.share) * 1000
        spent = server.cpu_seconds()
        under_way = load(server, directory, path, delay=delay, seconds=arguments.seconds + 1)
        played = play(server.port, [Flow("probes", PROBES, lambda: path, 32)], arguments.seconds)["probes"]
        requests_of(under_way)
        if played.bad_count:
            raise RuntimeError(f"{server.name}: {played.bad_count} answers weren't good: {played.bad[0]}")
        used = (server.cpu_seconds() - spent) / (arguments.seconds + 1)
        found[server.name] = [*(played.percentile(share) * 1000 for share in SHARES), used]
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--seconds", type=float, default=10.0, help="per server and round (whole seconds)")
    parser.add_argument("--rounds", type=int, default=3, help="the median of these counts")
    parser.add_argument("--share", type=float, default=0.7, help="of the requests that a server can bear")
    parser.add_argument("--bytes", type=int, default=1000, help="of the object")
    arguments = parser.parse_args()
    if shutil.which("wrk") is None or len(os.sched_getaffinity(0)) < 2:
        note("wrk must be installed, and two cores are needed")
        return 2
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(130))
    os.sched_setaffinity(0, {CLIENT_CORE})
    servers = {name: SERVERS[name] for name in ("shield", BASELINE) if installed(name)}
    rounds: list[dict[str, list[float]]] = []
    try:
        with running(servers, CONNECTIONS) as bench, tempfile.TemporaryDirectory() as name:
            for _ in range(arguments.rounds):
                rounds.append(percentiles(bench, f"/o/{arguments.bytes}/same", arguments, Path(name)))
                note(str(rounds[-1]))
    except RuntimeError as error:
        note(str(error))
        return 1
    print(f"{'':9}" + "".join(f"{f'p{share:g}, ms':>12}" for share in SHARES) + f"{'of its core':>14}")
    for server in servers:
        medians = [statistics.median(each[server][place] for each in rounds) for place in range(len(SHARES) + 1)]
        is_less = medians[-1] < LEAST_OF_SHARE * arguments.share
        print(
            f"{server:9}"
            + "".join(f"{value:12.2f}" for value in medians[:-1])
            + f"{medians[-1]:14.0%}"
            + (" ? less than it was to be: the machine was busy" if is_less else "")
        )
    now = circumstances(HERE)
    kept = keep(RESULTS / f"{now['at'][:19].replace(':', '')}-tail-{now['commit']}.json", {**now, "rounds": rounds})
    print(f"kept in {kept}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
