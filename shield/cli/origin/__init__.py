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
    """List all origins: their health, flags and the reason."""
    from shield.cli.origin.orders import ls as run  # each command imports what it needs

    raise typer.Exit(run(config, as_json=json))


@app.command("drain")
def _drain(
    name: OriginName,
    config: ConfigFile,
    until: Annotated[
        str | None, typer.Option(help="A duration or a time, as 2h, 18:30 or 2026-03-01T06:00Z. Default: restore.")
    ] = None,
    json: AsJson = False,
    token_file: TokenFile = None,
) -> None:
    """Send no new fetches to an origin while another can serve; those under way finish. It outlasts restarts."""
    from shield.cli.origin.orders import drain as run

    raise typer.Exit(run(config, name, until=until, as_json=json))


@app.command("restore")
def _restore(name: OriginName, config: ConfigFile, json: AsJson = False, token_file: TokenFile = None) -> None:
    """Let an origin have fetches again: its share of keys grows in half a minute."""
    from shield.cli.origin.orders import restore as run

    raise typer.Exit(run(config, name, as_json=json))


@app.command("probe")
def _probe(name: OriginName, config: ConfigFile, json: AsJson = False, token_file: TokenFile = None) -> None:
    """Have the node fetch the origin's canaries now. Exit code 1 if one fails, is absent, or has other bytes."""
    from shield.cli.origin.orders import probe as run

    raise typer.Exit(run(config, name, as_json=json))
