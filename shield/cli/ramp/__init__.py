"""shield ramp: a new origin's share of keys grows step by step, at the running node."""

from __future__ import annotations

import typer

from shield.cli.options import AsJson, ConfigFile, OriginName, TokenFile

app = typer.Typer(
    name="ramp",
    help="""Let an origin serve a growing share of the keys.

    It serves none while its copies are compared, then 5, 25, 50, 75 and 100 percent. Trouble leads back to none at
    once.
    """,
    no_args_is_help=True,
)


@app.command("status")
def _status(config: ConfigFile, json: AsJson = False, token_file: TokenFile = None) -> None:
    """Show all ramps: share, progress, and the reason of an end.

    Exit codes: 0, 1 if no node was reached.

    Examples:

        shield ramp status --config shield.yaml
    """
    from shield.cli.ramp.orders import status as run  # each command imports what it needs

    raise typer.Exit(run(config, as_json=json))


@app.command("start")
def _start(name: OriginName, config: ConfigFile, json: AsJson = False, token_file: TokenFile = None) -> None:
    """Take all keys from an origin, and give them back as it proves itself.

    Exit codes: 0, 1 if it was refused or no node was reached.

    Examples:

        shield ramp start new --config shield.yaml
    """
    _order(name, config, "start", as_json=json)


@app.command("pause")
def _pause(name: OriginName, config: ConfigFile, json: AsJson = False, token_file: TokenFile = None) -> None:
    """Stay at the present share. Trouble still leads back to none.

    Exit codes: 0, 1 if it was refused or no node was reached.

    Examples:

        shield ramp pause new --config shield.yaml
    """
    _order(name, config, "pause", as_json=json)


@app.command("resume")
def _resume(name: OriginName, config: ConfigFile, json: AsJson = False, token_file: TokenFile = None) -> None:
    """Go on after a pause: the present step begins anew.

    Exit codes: 0, 1 if it was refused or no node was reached.

    Examples:

        shield ramp resume new --config shield.yaml
    """
    _order(name, config, "resume", as_json=json)


@app.command("abort")
def _abort(name: OriginName, config: ConfigFile, json: AsJson = False, token_file: TokenFile = None) -> None:
    """End a ramp: the origin serves no keys until another one is started, or this one cleared.

    Exit codes: 0, 1 if it was refused or no node was reached.

    Examples:

        shield ramp abort new --config shield.yaml
    """
    _order(name, config, "abort", as_json=json)


@app.command("clear")
def _clear(name: OriginName, config: ConfigFile, json: AsJson = False, token_file: TokenFile = None) -> None:
    """Forget a ramp: the origin serves all keys at once.

    Exit codes: 0, 1 if it was refused or no node was reached.

    Examples:

        shield ramp clear new --config shield.yaml
    """
    _order(name, config, "clear", as_json=json)


def _order(name: str, config: ConfigFile, order: str, *, as_json: bool) -> None:
    from shield.cli.ramp.orders import command as run

    raise typer.Exit(run(config, name, order, as_json=as_json))
