"""shield origin: the origins of the running node."""

from __future__ import annotations

from typing import Annotated

import typer

from shield.cli.options import AsJson, ConfigFile, OriginName, TokenFile

app = typer.Typer(
    name="origin",
    help="Show how the running node treats its origins, probe them, and keep fetches away from one of them.",
    no_args_is_help=True,
)


@app.command("ls")
def _ls(config: ConfigFile, json: AsJson = False, token_file: TokenFile = None) -> None:
    """List all origins: their health, flags and the reason.

    Exit codes: 0, 1 if no node was reached.

    Examples:

        shield origin ls --config shield.yaml
    """
    from shield.cli.origin.orders import ls as run  # each command imports what it needs

    raise typer.Exit(run(config, as_json=json))


@app.command("drain")
def _drain(
    name: OriginName,
    config: ConfigFile,
    until: Annotated[
        str | None,
        typer.Option(
            help="A duration or a time, as 2h, 18:30 or 2026-03-01T06:00Z. Default: until it is restored.",
            metavar="TIME",
        ),
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="Drain nothing; show the bytes that others would send instead, and their price."
        ),
    ] = False,
    json: AsJson = False,
    token_file: TokenFile = None,
) -> None:
    """Send no new fetches to an origin while another can serve.

    Those under way finish. It outlasts reloads, upgrades and, with `state_directory`, restarts.

    Exit codes: 0, 1 if it was refused or no node was reached, 2 if the time can't be used.

    Examples:

        shield origin drain fra --config shield.yaml --until 2h
        shield origin drain fra --config shield.yaml --dry-run
    """
    from shield.cli.origin.orders import drain as run
    from shield.cli.origin.orders import foretell

    if dry_run:
        if until is not None:
            raise typer.BadParameter("--dry-run and --until exclude each other")
        raise typer.Exit(foretell(config, name, as_json=json))
    raise typer.Exit(run(config, name, until=until, as_json=json))


@app.command("restore")
def _restore(name: OriginName, config: ConfigFile, json: AsJson = False, token_file: TokenFile = None) -> None:
    """Let an origin have fetches again: its share of keys grows in half a minute.

    Exit codes: 0, 1 if it was refused or no node was reached.

    Examples:

        shield origin restore fra --config shield.yaml
    """
    from shield.cli.origin.orders import restore as run

    raise typer.Exit(run(config, name, as_json=json))


@app.command("probe")
def _probe(name: OriginName, config: ConfigFile, json: AsJson = False, token_file: TokenFile = None) -> None:
    """Have the node fetch the origin's canaries now.

    Exit codes: 0 they are as they should be, 1 one fails, is absent or has other bytes, or no node was reached.

    Examples:

        shield origin probe fra --config shield.yaml
    """
    from shield.cli.origin.orders import probe as run

    raise typer.Exit(run(config, name, as_json=json))
