"""Options shared by several commands. Imports nothing slow: `--help` stays quick."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from shield.rules.tokens import TOKEN_VARIABLE

ConfigFile = Annotated[Path, typer.Option("--config", "-c", help="Settings in YAML.", metavar="FILE")]
AsJson = Annotated[bool, typer.Option("--json", help="For machines: JSON.")]
OriginName = Annotated[str, typer.Argument(help="An origin's name.", metavar="NAME")]

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
