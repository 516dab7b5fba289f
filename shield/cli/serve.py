"""shield serve: settings in, exit code out."""

from __future__ import annotations

import logging
import sys
import time
from pathlib import Path

from shield import app, supervisor, worker
from shield.build.edition import Edition
from shield.cli.check import directory_notes, read
from shield.errors import ConfigError
from shield.node import Node
from shield.observe.logs import configure
from shield.shared import Seat

log = logging.getLogger("shield.cli")


def serve(path: Path, *, watch: bool = False) -> int:
    """Run a node. 0 after a clean stop, 2 for settings that can't be used."""
    loaded = read(path)
    if loaded is None:
        return 2
    settings = loaded.settings
    configure(settings.log.level, style=settings.log.format)
    for note in (*loaded.notes, *directory_notes(settings)):
        log.warning("%s", note)
    edition = Edition(loaded, since=time.time())
    try:
        if settings.workers > 1:
            return supervisor.supervise(edition, _build, watch=watch)
        return worker.run(edition, _build, watch=watch)
    except ConfigError as error:
        for problem in error.problems:
            print(problem, file=sys.stderr)
        return 2


def _build(edition: Edition, place: Seat) -> Node:
    return app.build(edition.loaded.settings, place=place, edition=edition)
