"""shield alarms: the alarms of the running node, and a try of its webhooks."""

from __future__ import annotations

from typing import Annotated

import typer

from shield.cli.options import AsJson, ConfigFile, TokenFile

app = typer.Typer(name="alarms", help="List the running node's alarms, and try webhooks.", no_args_is_help=True)


@app.command("ls")
def _ls(
    config: ConfigFile,
    past: Annotated[bool, typer.Option("--past", help="Those that are over, too.")] = False,
    json: AsJson = False,
    token_file: TokenFile = None,
) -> None:
    """List alarms with their remedies, and whether webhooks accept them.

    Exit codes: 0 none lasts, 1 one does, or no node was reached.

    Examples:

        shield alarms ls --config shield.yaml --past
    """
    from shield.cli.alarms.orders import ls as run  # each command imports what it needs

    raise typer.Exit(run(config, past=past, as_json=json))


@app.command("test")
def _test(
    config: ConfigFile,
    webhook: Annotated[str | None, typer.Option(help="Only to this one. Default: to all.", metavar="NAME")] = None,
) -> None:
    """Send a test alarm to the webhooks of these settings, from here.

    Exit codes: 0 all took it, 1 one didn't, 2 if the settings can't be used.

    Examples:

        shield alarms test --config shield.yaml --webhook pager
    """
    from shield.cli.alarms.orders import test as run

    raise typer.Exit(run(config, webhook))
