"""A real node, supervisor and workers, but for its clock.

    python -m loadtest.day.node CONFIG CLOCK

All that is told in epoch seconds (lifetimes, ledger, budgets, logs) follows the traffic's time; deadlines, probes and
ticks follow real time.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from loadtest.day.clock import TrafficClock
from shield import app, supervisor
from shield.build.edition import Edition
from shield.config.loading import load
from shield.lifecycle.program import Program
from shield.node import Node
from shield.observe.logs import configure
from shield.shared import Seat


def main() -> int:
    path, clock = Path(sys.argv[1]), TrafficClock(Path(sys.argv[2]))
    loaded = load(path, environ=os.environ)
    configure(loaded.settings.log.level, style=loaded.settings.log.format)

    def build(edition: Edition, place: Seat) -> Node:
        return app.build(edition.loaded.settings, clock=clock, place=place, edition=edition)

    return supervisor.supervise(
        Edition(loaded, generation=1, since=clock()), build, Program.running(path, watch=False, words=())
    )


if __name__ == "__main__":
    sys.exit(main())
