"""The documents, and what several tests need to read them."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any

from typer.main import get_command

from shield.cli import _app

ROOT = Path(__file__).parents[1]
HANDBOOK = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").glob("*.md"))
DOCUMENTS = ["README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", *HANDBOOK, "loadtest/README.md"]
DOCUMENTS += sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "deploy").rglob("*.md"))
PRESENT = [document for document in DOCUMENTS if document != "CHANGELOG.md"]
"""Those on what there is now: a change may name what is gone."""


def section_of(page: str, heading: str) -> str:
    """A section of a page of the handbook."""
    text = (ROOT / "docs" / page).read_text()
    (section,) = [part for part in re.split(r"^## ", text, flags=re.MULTILINE) if part.startswith(f"{heading}\n")]
    return section


@cache
def parser() -> Any:
    """The command with all that it parses, that does nothing."""

    def emptied(command: Any) -> Any:
        command.callback = None
        for each in getattr(command, "commands", {}).values():
            emptied(each)
        return command

    return emptied(get_command(_app))
