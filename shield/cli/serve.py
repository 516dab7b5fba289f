"""shield serve: settings in, exit code out."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

from shield import app, worker
from shield.cli.check import read
from shield.errors import ConfigError
from shield.observe.logs import configure

log = logging.getLogger("shield.cli")


def serve(path: Path) -> int:
    """Run a node. 0 after a clean stop, 2 for settings that can't be used."""
    loaded = read(path)
    if loaded is None:
        return 2
    settings = loaded.settings
    configure(settings.log.level, style=settings.log.format)
    for note in loaded.notes:
        log.warning("%s", note)
    try:
        plan = worker.Plan(
            listen=settings.listen,
            admin=settings.admin.listen,
            tls=app.listener_tls(settings),
            drain_delay_seconds=settings.drain.delay,
            drain_timeout_seconds=settings.drain.timeout,
        )
        return worker.run(plan, lambda: app.build(settings))
    except ConfigError as error:
        for problem in error.problems:
            print(problem, file=sys.stderr)
        return 2
