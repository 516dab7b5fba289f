"""shield upgrade: have the running node replace its program by the version that is installed now."""

from __future__ import annotations

import sys
from pathlib import Path

from shield.cli.admin import instruct

_SECONDS = 3600.0  # for each worker some seconds, at most a minute


def upgrade(path: Path) -> int:
    """Print the result; 0, or 1 if it was refused, has failed, or no node could be asked."""
    answer = instruct(path, "/upgrade", seconds=_SECONDS, signal="SIGUSR2")
    if answer is None:
        return 1
    done, said = answer
    version = said.get("version")
    if not done:
        print(f"not upgraded{f': version {version} goes on' if version else ''}", file=sys.stderr)
        return 1
    print(f"upgraded: version {version} serves")
    return 0
