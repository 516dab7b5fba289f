"""shield store adopt: the operator's confirmation that a directory is the right one."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from shield.cli.check import read
from shield.cli.store.places import places_of
from shield.errors import StoreError
from shield.store.upkeep.visit import adopt as adopt_directory


def adopt(directories: Sequence[Path], path: Path) -> int:
    """Print each that is adopted; 0, or 2 when one couldn't be."""
    loaded = read(path)
    if loaded is None:
        return 2
    code = 0
    for place in places_of(loaded.settings, directories=directories):
        try:
            adopt_directory(place.path)
        except StoreError as error:
            print(error, file=sys.stderr)
            code = 2
        else:
            print(f"{place.path} is adopted: the node opens it within ten seconds, or at its next start")
    return code
