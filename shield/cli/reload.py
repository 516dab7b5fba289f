"""shield reload: have the running node read its settings again."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from shield.cli.admin import instruct

_SECONDS = 60.0  # longer than workers take to agree


def compare(path: Path) -> int:
    """Print what a reload would change, a line each; 0, or 1 if it would be refused or no node could be asked."""
    answer = instruct(path, "/reload", wish={"diff": True}, seconds=_SECONDS)
    if answer is None:
        return 1
    done, said = answer
    if not done or "changes" not in said:
        print(
            "a reload would be refused" if not done else "the node is of a version that can't compare",
            file=sys.stderr,
        )
        return 1
    for each in said["changes"]:
        late = ", after a restart" if each["needs_restart"] else ""
        print(f"{each['key']}: {json.dumps(each['before'])} -> {json.dumps(each['after'])}  ({each['source']}{late})")
    for note in said.get("notes", ()):
        print(f"note: {note}")
    if not said["changes"]:
        print(f"nothing differs from the settings of generation {said['generation']}, which are in force")
    return 0


def reload(path: Path) -> int:
    """Print the result; 0, or 1 if it was refused or no node could be asked."""
    answer = instruct(path, "/reload", seconds=_SECONDS, signal="SIGHUP")
    if answer is None:
        return 1
    done, said = answer
    if not done:
        print("refused: the settings that the node has stay in force", file=sys.stderr)
        return 1
    print(f"reloaded: settings of generation {said['generation']} are in force")
    if said["needs_restart"]:
        print(f"until a restart these stay as they were: {', '.join(said['needs_restart'])}", file=sys.stderr)
    return 0
