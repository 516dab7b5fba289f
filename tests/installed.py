"""Versions of Shield side by side, as an installation has them, with a link to the current one."""

from __future__ import annotations

import sys
from pathlib import Path

BEGIN = f"""\
#!{sys.executable}
import os, sys
import shield
shield.__version__ = "{{version}}"
{{patch}}
from shield.cli import main
main()
"""

BROKEN = "raise ModuleNotFoundError('no module named lmdb')"
WITHOUT_WORKERS = """
import shield.supervisor
shield.supervisor.serve = lambda *words, **more: os._exit(3)
"""


class Installed:
    """`current` leads to a version of the program; each is this tree's, but for its number and a patch."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.current = directory / "current" / "shield"

    def add(self, version: str, patch: str = "") -> None:
        """Install a version, and make it the current one."""
        made = self._directory / version
        made.mkdir()
        script = made / "shield"
        script.write_text(BEGIN.format(version=version, patch=patch))
        script.chmod(0o755)
        link = self._directory / "next"
        link.symlink_to(version)
        link.rename(self._directory / "current")
