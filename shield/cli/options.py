"""Options shared by several commands, and how shells complete them. Imports nothing slow: `--help` stays quick."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from shield.config import CONFIG_VARIABLE
from shield.rules.tokens import TOKEN_VARIABLE

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


ConfigFile = Annotated[
    Path, typer.Option("--config", "-c", help="Settings in YAML.", metavar="FILE", envvar=CONFIG_VARIABLE)
]
AsJson = Annotated[bool, typer.Option("--json", help="JSON, for scripts.")]
OriginName = Annotated[str, typer.Argument(help="An origin's name.", metavar="NAME", autocompletion=origin_names)]

_given: list[Path] = []  # by --token-file, in this run


def _note(value: Path | None) -> Path | None:
    if value is not None:
        _given[:] = [value]
    return value


TokenFile = Annotated[
    Path | None,
    typer.Option(
        "--token-file",
        help=f"File with a token of the node's admin API, instead of ${TOKEN_VARIABLE} or one of the settings.",
        metavar="FILE",
        callback=_note,
    ),
]


def given_token() -> str | None:
    """The token in the file of --token-file, if this run has the option. Raises typer.BadParameter."""
    if not _given:
        return None
    try:
        text = _given[0].read_text().strip()
    except (OSError, ValueError) as error:
        said = f"--token-file {_given[0]}: can't be read: {getattr(error, 'strerror', None) or error}"
        raise typer.BadParameter(said) from None
    if not text:
        raise typer.BadParameter(f"--token-file {_given[0]}: is empty")
    return text


def begin_run() -> None:
    """Forget what another run in the same process was given."""
    _given.clear()
