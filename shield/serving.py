"""`shield serve`: settings in, exit code out."""

from __future__ import annotations

import logging
import os
import pickle
import sys
import time
from pathlib import Path

from shield import app, supervisor
from shield.build.edition import Edition
from shield.build.storage import directory_notes
from shield.config.loading import Loaded, load
from shield.errors import ConfigError
from shield.lifecycle.handover import Handover, go_back, handed_over
from shield.lifecycle.program import Program
from shield.node import Node
from shield.observe.logs import configure
from shield.shared import Seat

log = logging.getLogger("shield.cli")


def serve(path: Path, *, watch: bool = False) -> int:
    """Run a node. 0 after a clean stop, 2 for settings that can't be used."""
    inherited: Handover | None = None
    try:
        inherited = handed_over(os.environ)
        loaded = _loaded(path, inherited)
        if loaded is None:
            return 2
        program = Program.running(path, watch=watch, words=() if inherited is None else inherited.words)
        return supervisor.supervise(_edition(loaded, inherited), _build, program, watch=watch, inherited=inherited)
    except ConfigError as error:
        sys.stderr.writelines(f"{problem}\n" for problem in error.problems)
        if inherited is not None:
            go_back(inherited, error.problems, os.environ)
        return 2


def _loaded(path: Path, inherited: Handover | None) -> Loaded | None:
    """Settings of this process; None after its problems were printed. Raises ConfigError in one that takes over."""
    if inherited is None:
        try:
            return load(path, environ=os.environ)
        except ConfigError as error:
            sys.stderr.write(f"{error.report}\n")
            return None
    if inherited.failed:  # then it is gone back to this very version, and the settings are those that it had
        before: Loaded = pickle.loads(bytes.fromhex(inherited.settings))
        return before
    return load(path, environ=os.environ)


def _edition(loaded: Loaded, inherited: Handover | None) -> Edition:
    settings = loaded.settings
    configure(settings.log.level, style=settings.log.format)
    for note in (*loaded.notes, *directory_notes(settings)):
        log.warning("%s", note)
    return Edition(loaded, generation=1 if inherited is None else inherited.generation + 1, since=time.time())


def _build(edition: Edition, place: Seat) -> Node:
    return app.build(edition.loaded.settings, place=place, edition=edition)
