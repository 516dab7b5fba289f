"""The commands on money: `shield cost`, `shield prices`."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from shield.cli.options import ConfigFile


class CostBy(StrEnum):
    """What the lines of a bill are by."""

    ORIGIN = "origin"
    PROVIDER = "provider"
    REGION = "region"
    ROUTE = "route"
    REASON = "reason"
    DAY = "day"


def cost(
    config: ConfigFile,
    by: Annotated[
        CostBy, typer.Option(help="Group by origin, provider, region, route, reason or day.")
    ] = CostBy.ORIGIN,
    month: Annotated[
        str | None, typer.Option(help="Default: this month (UTC).", show_default=False, metavar="YEAR-MONTH")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="As CSV.")] = False,
    focus: Annotated[
        str | None,
        typer.Option(help="As rows of FOCUS, version 1.2 or 1.3, by hour.", show_default=False, metavar="VERSION"),
    ] = None,
) -> None:
    """Show the egress of a month and its price: by origin, route, reason and so on.

    What the cache saved, and what the month will cost, come with it. It reads the ledger that the node of these
    settings writes (`ledger`), with the prices of the settings as they are now (`origins.NAME.price`); the node
    needn't run. It is an estimate, and no invoice.

    Exit codes: 0, 2 if there is no ledger or it can't be read.

    Examples:

        shield cost --config shield.yaml
        shield cost --config shield.yaml --by reason --month 2026-11
        shield cost --config shield.yaml --focus 1.2
    """
    from shield.cli.cost import cost as run

    if sum([as_json, as_csv, focus is not None]) > 1:
        raise typer.BadParameter("--json, --csv and --focus exclude each other")
    if focus not in (None, "1.2", "1.3"):
        raise typer.BadParameter(f"--focus {focus}: expected 1.2 or 1.3")
    form = focus or ("json" if as_json else "csv" if as_csv else "table")
    raise typer.Exit(run(config, by=by.value, month=month, form=form))


def prices() -> None:
    """Show the list prices that settings can name, with their source and date.

    Exit codes: 0.

    Examples:

        shield prices
    """
    from shield.cli.cost import prices as run

    raise typer.Exit(run())
