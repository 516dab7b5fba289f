"""One target by chance, until its time is over: `python -m tests.fuzz.at_random NAME DIRECTORY SECONDS`."""

from __future__ import annotations

import random
import sys
import time
from pathlib import Path

from tests.fuzz.inputs import drawn
from tests.fuzz.targets import TARGETS


def main(name: str, directory: str, seconds: str) -> None:
    """An input that fails is left in the directory."""
    target, chance, executions = TARGETS[name], random.Random(), 0
    until = time.monotonic() + int(seconds)
    data = b""
    try:
        while time.monotonic() < until:
            data = target.seeds[executions] if executions < len(target.seeds) else drawn(target, chance)
            executions += 1
            target.run(data)
    except BaseException:
        (Path(directory) / "crash-input").write_bytes(data)
        raise
    finally:
        sys.stdout.write(f"Done {executions}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
