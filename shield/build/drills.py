"""Drills, and the place of their reports."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

from shield.config.settings import Settings
from shield.drill.drills import Drills, DrillTerms
from shield.drill.history import DrillHistory
from shield.errors import ConfigError
from shield.observe.counters import Counters
from shield.origin.origins import Origins
from shield.shared import Seat


def drill_terms(settings: Settings) -> DrillTerms:
    """What settings say of drills."""
    nightly = settings.drills
    return DrillTerms(
        {route.name: route.origins for route in settings.route_table()},
        {name: None if origin.price is None else origin.price.price for name, origin in settings.origins.items()},
        None if nightly is None else nightly.at,
        None if nightly is None else nightly.order(),
        () if nightly is None else nightly.origins,
    )


def state_directory(settings: Settings, environ: Mapping[str, str]) -> Path | None:
    """The directory for the node's own records, which is made if it isn't there. Blocks. Raises ConfigError."""
    given = environ.get("STATE_DIRECTORY", "").partition(":")[0]
    path = settings.state_directory or (Path(given) if given else None)
    if path is None:
        return None
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError([f"state_directory: {path}: can't be made: {error.strerror}"]) from None
    if not os.access(path, os.W_OK | os.X_OK):
        raise ConfigError([f"state_directory: {path}: this user can't write there"])
    return path


def drills_of(
    settings: Settings, place: Seat, origins: Origins, counters: Counters, clock: Callable[[], float]
) -> Drills:
    """The drills of the worker in this seat; `counters` are of clients. Raises ConfigError."""
    directory = state_directory(settings, os.environ)
    return Drills(
        place.shared.drill,
        place.worker,
        origins=origins,
        counters=counters,
        terms=drill_terms(settings),
        history=None if directory is None else DrillHistory(directory / f"drills-{settings.node}.jsonl"),
        clock=clock,
    )
