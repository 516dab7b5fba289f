"""shield store takedown: removes objects from the running node, which then takes them from the primary alone."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from shield.cli.check import read
from shield.cli.store.node import RunningNode
from shield.cli.store.places import UsageError
from shield.errors import RequestError
from shield.rules.written import name_of


def takedown(path: Path, keys: Sequence[str], *, lifted: bool) -> int:
    """Print the result; 0, or 2 when it couldn't be done. Raises UsageError and RefusedError."""
    loaded = read(path)
    if loaded is None:
        return 2
    try:
        names = [name_of(key).decode() for key in keys]
    except RequestError as error:
        raise UsageError(f"a path would be rejected in a request: {error}") from None
    node = RunningNode(loaded.settings)
    if node.state() is None:
        raise UsageError(f"takedowns are kept by the running node; {node.absence}")
    if lifted:
        print(f"lifted {node.lift(names):,} of {len(names):,}")
        return 0
    removed, is_kept = node.take_down(names)
    print(f"took down {len(names):,}, removed {removed:,} {'entry' if removed == 1 else 'entries'}")
    if not is_kept:
        print("it isn't known after a stop of the node: state_directory names no place to keep it", file=sys.stderr)
    return 0
