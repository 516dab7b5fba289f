"""shield upgrade: have the running node replace its program by the version that is installed now."""

from __future__ import annotations

import sys
from pathlib import Path

from shield.cli.reload import asked

_SECONDS = 3600.0  # for each worker some seconds, at most a minute


def upgrade(path: Path) -> int:
    """Print what has become of it; 0, or 1 if it was refused, has failed, or nobody could be asked."""
    said = asked(path, "/upgrade", seconds=_SECONDS)
    if said is None:
        return 1
    status, answer = said
    if status == 200:
        print(f"upgraded: version {answer['version']} serves")
        return 0
    for problem in answer.get("problems", [f"the node answers {status}"]):
        print(problem, file=sys.stderr)
    version = answer.get("version")
    print(f"not upgraded{f': version {version} goes on' if version else ''}", file=sys.stderr)
    return 1
