"""Options shared by several commands, and how shells complete them. Imports nothing slow: `--help` stays quick."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

_INSTALLED = Path("/etc/shield/shield.yaml")


def origin_names(context: typer.Context, incomplete: str) -> list[str]:
    """Names of origins in the settings that are named before, or that are installed. Empty if they can't be read."""
    import yaml

    try:
        given = yaml.safe_load(Path(context.params.get("config") or _INSTALLED).read_text())
        return [str(name) for name in given["origins"] if str(name).startswith(incomplete)]
    except (OSError, UnicodeError, yaml.YAMLError, KeyError, TypeError):
        return []


def setting_keys(incomplete: str) -> list[str]:
    """Keys of the settings, section by section."""
    from shield.config.reference import reference

    paths = [path for group in reference() for path in (group.path, *(key.path for key in group.keys))]
    depth = incomplete.count(".") + 1
    return sorted({".".join(path.split(".")[:depth]) for path in paths if path.startswith(incomplete) and path})


ConfigFile = Annotated[Path, typer.Option("--config", "-c", help="Settings in YAML.", metavar="FILE")]
AsJson = Annotated[bool, typer.Option("--json", help="JSON, for scripts.")]
OriginName = Annotated[str, typer.Argument(help="An origin's name.", metavar="NAME", autocompletion=origin_names)]
