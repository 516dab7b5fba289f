"""shield serve: settings in, exit code out."""

from __future__ import annotations

import logging
import sys
from functools import partial
from pathlib import Path

from shield import app, supervisor, worker
from shield.build.listeners import listener_tls
from shield.build.storage import hit_slots
from shield.cli.check import directory_notes, read
from shield.config.loading import Loaded
from shield.errors import ConfigError
from shield.node import Node
from shield.observe.logs import configure
from shield.shared import Seat

log = logging.getLogger("shield.cli")


def serve(path: Path) -> int:
    """Run a node. 0 after a clean stop, 2 for settings that can't be used."""
    loaded = read(path)
    if loaded is None:
        return 2
    settings = loaded.settings
    configure(settings.log.level, style=settings.log.format)
    for note in (*loaded.notes, *directory_notes(settings)):
        log.warning("%s", note)
    try:
        plan = worker.Plan(
            listen=settings.listen,
            admin=settings.admin.listen,
            tls=listener_tls(settings),
            drain_delay_seconds=settings.drain.delay,
            drain_timeout_seconds=settings.drain.timeout,
            hit_slots=hit_slots(settings),
            stall_seconds=settings.worker_stall,
        )
        if settings.workers > 1:
            return supervisor.supervise(plan, partial(_build, loaded), workers=settings.workers)
        return worker.run(plan, partial(_build, loaded))
    except ConfigError as error:
        for problem in error.problems:
            print(problem, file=sys.stderr)
        return 2


def _build(loaded: Loaded, place: Seat) -> Node:
    return app.build(loaded.settings, place=place, loaded=loaded)
