"""Options shared by several commands. Imports nothing slow: `--help` stays quick."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

ConfigFile = Annotated[Path, typer.Option("--config", "-c", help="Settings in YAML.", metavar="FILE")]
AsJson = Annotated[bool, typer.Option("--json", help="For machines: JSON.")]
OriginName = Annotated[str, typer.Argument(help="An origin's name.", metavar="NAME")]
