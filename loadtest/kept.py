"""Results of runs, kept in loadtest/results, which git ignores."""

from __future__ import annotations

import json
import platform
import subprocess
import time
from pathlib import Path

RESULTS = Path(__file__).parent / "results"


def new_directory(name: str) -> Path:
    """A directory for one run's files."""
    path = RESULTS / f"{time.strftime('%Y%m%d-%H%M%S')}-{name}"
    path.mkdir(parents=True)
    return path


def keep(path: Path, result: object) -> Path:
    """Write a result as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=1, sort_keys=True) + "\n")
    return path


def circumstances(checkout: Path) -> dict[str, str]:
    """What a result was measured with: a checkout's commit, with a plus if there are changes; machine, Python."""
    commit = _git(checkout, "rev-parse", "--short", "HEAD") or "unknown"
    changed = "+" if _git(checkout, "status", "--porcelain", "--untracked-files=no") else ""
    return {
        "commit": commit + changed,
        "python": platform.python_version(),
        "machine": f"{platform.machine()} {platform.release()}",
        "at": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    }


def _git(checkout: Path, *words: str) -> str:
    said = subprocess.run(["git", "-C", str(checkout), *words], capture_output=True, text=True, check=False)
    return said.stdout.strip()
