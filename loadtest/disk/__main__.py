"""Cost and behaviour of the disk store, a command for each question.

    python -m loadtest.disk hits [--rounds 3] [--seconds 3] [--servers shield,nginx]
    python -m loadtest.disk all

`loadtest/README.md` says what each shows and how to read it.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from loadtest.disk import amplification, cold, fill, hits, purge, restart, size, workers
from loadtest.disk.bench import Bench, bench
from loadtest.peers import note

COMMANDS: dict[str, Callable[[Bench, argparse.Namespace], None]] = {
    "hits": hits.run,
    "cold": cold.run,
    "size": size.run,
    "restart": restart.run,
    "purge": purge.run,
    "fill": fill.run,
    "workers": workers.run,
    "write-amplification": amplification.run,
}
NEED_WRK = frozenset({"hits", "size", "workers", "purge"})


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("command", choices=[*COMMANDS, "all"])
    parser.add_argument("--directory", type=Path, default=Path("/var/tmp"), help="on the disk that is measured")
    parser.add_argument("--servers", type=lambda text: text.split(","), help="those that are compared")
    parser.add_argument("--rounds", type=int, default=3, help="the median of these counts")
    parser.add_argument("--seconds", type=float, default=3.0, help="per server, case and round (whole seconds)")
    parser.add_argument("--connections", type=int, default=32, help="of wrk")
    parser.add_argument("--objects", type=int, default=20_000, help="small ones; of larger ones a share")
    parser.add_argument("--entries", type=int, default=1_000_000, help="in a directory: size, restart, purge")
    parser.add_argument("--megabytes", type=float, default=100.0, help="of one of the largest objects: fill")
    parser.add_argument("--requests", type=int, default=120_000, help="in all: write-amplification")
    options = parser.parse_args()
    names = list(COMMANDS) if options.command == "all" else [options.command]
    if len(os.sched_getaffinity(0)) < 2:
        note("two cores are needed")
        return 2
    if shutil.which("wrk") is None and (needing := [name for name in names if name in NEED_WRK]):
        note(f"wrk must be installed for {', '.join(needing)}; it isn't needed for the others")
        return 2
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        for name in names:
            with bench(options.directory) as made:
                COMMANDS[name](made, options)
    except RuntimeError as error:
        note(str(error))
        return 1
    except KeyboardInterrupt:
        note("interrupted; all is stopped")
        return 130
    return 0


def _interrupt(number: int, frame: object) -> NoReturn:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
