"""shield drill: faults at an origin of the running node, to prove that failover works."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from shield.cli.options import ConfigFile, TokenFile, origin_names
from shield.config import CONFIG_VARIABLE

app = typer.Typer(
    name="drill",
    help="""Fail the requests to an origin on purpose, at a running node, to prove that failover works.

    Clients don't notice a drill that goes well; one that they notice ends by itself.

    Exit codes: 0 failover is proven, 1 it isn't, 2 the drill was refused.

    Examples:

        shield drill --config shield.yaml --origin fra --mode blackhole --for 60s --scope 10%
    """,
)

_MODES = "blackhole, refuse, 5xx, throttle, slow, corrupt, expired-key"

OptionalConfig = Annotated[
    Path | None, typer.Option("--config", "-c", help="Settings in YAML.", metavar="FILE", envvar=CONFIG_VARIABLE)
]


@app.callback(invoke_without_command=True)
def _begin(
    context: typer.Context,
    config: OptionalConfig = None,
    origin: Annotated[
        str | None, typer.Option(help="Name of the origin.", metavar="NAME", autocompletion=origin_names)
    ] = None,
    mode: Annotated[str, typer.Option(help=f"The fault: {_MODES}.", metavar="MODE")] = "blackhole",
    lasts: Annotated[str, typer.Option("--for", help="How long, an hour at most.", metavar="TIME")] = "60s",
    scope: Annotated[str, typer.Option(help="Share of the keys.", metavar="SHARE")] = "10%",
    budget: Annotated[
        str, typer.Option(help="It ends when more of the clients' requests fail.", metavar="SHARE")
    ] = "0.1%",
    p99: Annotated[
        str,
        typer.Option(help="It ends when the 99th percentile of times to first byte exceeds this.", metavar="TIME"),
    ] = "2s",
    force: Annotated[
        bool, typer.Option("--force", help="Also at the only healthy origin of a route: its clients get errors.")
    ] = False,
    detach: Annotated[bool, typer.Option("--detach", help="Don't wait for the end.")] = False,
    history: Annotated[bool, typer.Option("--history", help="Show the drills of before instead.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="The report as JSON, for scripts.")] = False,
    token_file: TokenFile = None,
) -> None:
    if context.invoked_subcommand is not None:
        return
    from shield.cli.drill.run import begin, show_history, wish_of  # each command imports what it needs
    from shield.config.units import ExpectedError

    if config is None:
        raise typer.BadParameter("expected --config FILE", context)
    if history:
        raise typer.Exit(show_history(config, as_json=as_json))
    if origin is None:
        raise typer.BadParameter("expected --origin NAME", context)
    try:
        wish = wish_of(origin, mode, lasts=lasts, scope=scope, budget=budget, p99=p99, is_forced=force)
    except ExpectedError as error:
        raise typer.BadParameter(str(error), context) from None
    raise typer.Exit(begin(config, wish, waits=not detach, as_json=as_json))


@app.command("stop")
def _stop(config: ConfigFile, token_file: TokenFile = None) -> None:
    """End the drill that runs, on all workers.

    Exit codes: 0, 1 if none runs, 2 if no node was reached.

    Examples:

        shield drill stop --config shield.yaml
    """
    from shield.cli.drill.run import stop

    raise typer.Exit(stop(config))


@app.command("status")
def _status(
    config: ConfigFile,
    as_json: Annotated[bool, typer.Option("--json", help="JSON, for scripts.")] = False,
    token_file: TokenFile = None,
) -> None:
    """Show the drill that runs, or the last one since the node's start.

    Exit codes: 0, 2 if no node was reached.

    Examples:

        shield drill status --config shield.yaml
    """
    from shield.cli.drill.run import status

    raise typer.Exit(status(config, as_json=as_json))


@app.command("history")
def _history(
    config: ConfigFile,
    as_json: Annotated[bool, typer.Option("--json", help="JSON lines, for scripts.")] = False,
    token_file: TokenFile = None,
) -> None:
    """Show the drills of before, oldest first.

    Exit codes: 0, 2 if no node was reached.

    Examples:

        shield drill history --config shield.yaml
    """
    from shield.cli.drill.run import show_history

    raise typer.Exit(show_history(config, as_json=as_json))
