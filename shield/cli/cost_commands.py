"""The commands on money: `shield cost`, `shield prices`."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from shield.cli.options import AsJson, ConfigFile, TokenFile, origin_names
from shield.cli.simulate import (
    CdnHitsOption,
    LogOption,
    MoreLogs,
    OriginLifetimeOption,
    SampleOption,
    SizesOption,
    WarmUpOption,
)
from shield.config import CONFIG_VARIABLE

app = typer.Typer(
    name="cost",
    help="""Show the egress of a month and its price: by origin, route, reason and so on.

    The savings by the cache and a forecast for the month are included. It reads the ledger that the node of these
    settings writes (`ledger`), with the prices of the settings as they are now (`origins.NAME.price`); the node
    needn't run. It is an estimate, and no invoice.

    Exit codes: 0, 2 if there is no ledger or it can't be read.

    Examples:

        shield cost --config shield.yaml
        shield cost --config shield.yaml --by reason --month 2026-11
        shield cost --config shield.yaml --focus 1.2
        shield cost --config shield.yaml --suspects
    """,
)


class CostBy(StrEnum):
    """The dimension of a bill's lines."""

    ORIGIN = "origin"
    PROVIDER = "provider"
    REGION = "region"
    ROUTE = "route"
    REASON = "reason"
    DAY = "day"
    TAG = "tag"


@app.callback(invoke_without_command=True)
def _bill(
    context: typer.Context,
    config: Annotated[
        Path | None, typer.Option("--config", "-c", help="Settings in YAML.", metavar="FILE", envvar=CONFIG_VARIABLE)
    ] = None,
    by: Annotated[
        CostBy, typer.Option(help="Group by origin, provider, region, route, reason, day or tag.", metavar="WHAT")
    ] = CostBy.ORIGIN,
    month: Annotated[
        str | None,
        typer.Option(help="A month of the providers. Default: this one.", show_default=False, metavar="YEAR-MONTH"),
    ] = None,
    label: Annotated[
        list[str] | None,
        typer.Option(
            help="Only of origins with this label, theirs or the node's.", metavar="KEY=VALUE", show_default=False
        ),
    ] = None,
    ledger: Annotated[
        list[Path] | None,
        typer.Option(help="Copies of other nodes' ledgers, to be added up.", metavar="FILE", show_default=False),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="As CSV.")] = False,
    focus: Annotated[
        str | None,
        typer.Option(help="As rows of FOCUS, version 1.2 or 1.3, by hour.", show_default=False, metavar="VERSION"),
    ] = None,
    suspects: Annotated[
        bool,
        typer.Option(
            "--suspects",
            help="Instead, ask the running node which keys, queries and clients make origins give more than clients "
            "get, of the last five minutes; 2 if it doesn't answer.",
        ),
    ] = False,
    token_file: TokenFile = None,
) -> None:
    if context.invoked_subcommand is not None:
        return
    from shield.cli.cost import cost as run

    if config is None:
        raise typer.BadParameter("expected --config FILE", context)
    if suspects:
        from shield.cli.suspects import suspects as show

        raise typer.Exit(show(config, as_json=as_json))
    if sum([as_json, as_csv, focus is not None]) > 1:
        raise typer.BadParameter("--json, --csv and --focus exclude each other")
    if focus not in (None, "1.2", "1.3"):
        raise typer.BadParameter(f"--focus {focus}: expected 1.2 or 1.3")
    form = focus or ("json" if as_json else "csv" if as_csv else "table")
    raise typer.Exit(run(config, by=by.value, month=month, form=form, labels=label or (), ledgers=ledger or ()))


@app.command("reconcile")
def _reconcile(
    config: ConfigFile,
    report: Annotated[
        list[str], typer.Argument(help="The provider's reports; several files of one kind.", metavar="REPORT...")
    ],
    ledger: Annotated[
        list[Path] | None,
        typer.Option(help="Copies of other nodes' ledgers, to be added up.", metavar="FILE", show_default=False),
    ] = None,
    origin: Annotated[
        str | None,
        typer.Option(
            help="Compare this origin only, also with rows that name no bucket.",
            metavar="NAME",
            autocompletion=origin_names,
            show_default=False,
        ),
    ] = None,
    tolerance: Annotated[str, typer.Option(help="A drift of a day that is fine.", metavar="SHARE")] = "2%",
    decimal: Annotated[
        bool, typer.Option("--decimal", help="A GB of AWS's report is 10^9 bytes. Default: 2^30.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Compare the provider's own report with the ledger, by day and origin.

    A report is AWS's Cost and Usage Report (2.0 or legacy), Google's billing export, a FOCUS export (Azure's, too),
    usage.*.csv of Backblaze B2, or access logs of S3 or Google Cloud Storage; as text, packed by gzip or not, with
    the extra `tables` also in Parquet, and in buckets (s3://). Usage beyond the ledger was caused by
    others; access logs show by whom.

    Exit codes: 0, 1 if a day differs by more than the tolerance, 2 if report or ledger can't be read.

    Examples:

        shield cost reconcile --config shield.yaml cur-2026-11.csv.gz
        shield cost reconcile --config shield.yaml --ledger other-node.sqlite s3://billing/cur/data/*.parquet
        shield cost reconcile --config shield.yaml --tolerance 5% --json usage.account-1.csv
    """
    from shield.cli.reconcile import ReconcileWish
    from shield.cli.reconcile import reconcile as run

    wish = ReconcileWish(report, ledger or (), origin, tolerance, decimal=decimal, as_json=as_json)
    raise typer.Exit(run(config, wish))


def advise(
    config: ConfigFile,
    log: LogOption,
    more: MoreLogs = None,
    number: Annotated[int, typer.Option("-n", min=1, max=20, help="Changes at most.", metavar="N")] = 3,
    sample: SampleOption = None,
    warm_up: WarmUpOption = "0",
    origin_lifetime: OriginLifetimeOption = None,
    cdn_hits: CdnHitsOption = False,
    sizes: SizesOption = None,
    as_json: AsJson = False,
) -> None:
    """Advise changes of settings that lower the bill of origins: the three that save most, with their figures.

    Some twenty changes are tried on the log, as `shield simulate` would: more RAM and disk, longer lifetimes, query
    parameters that were seen to change nothing, the cheapest origin first, other providers. Fewer probes and hedges
    are judged by the ledger. Each comes with its requirements and the settings to write. Savings below one
    percent aren't proposed; of sizes and lifetimes, the smallest that is nearly as good as the greatest is. Each try
    takes as long as a simulation: use --sample for large logs.

    Exit codes: 0, 2 if settings, logs or options can't be used.

    Examples:

        shield advise --config shield.yaml --log access.log.gz
        shield advise --config shield.yaml --log access.log --sample 5% --warm-up 30% -n 5
    """
    from shield.cli.advise import AdviceWish
    from shield.cli.advise import advise as run

    wish = AdviceWish(
        [*log, *(more or ())], number, sample, warm_up, origin_lifetime, sizes, cdn_hits=cdn_hits, as_json=as_json
    )
    raise typer.Exit(run(config, wish))


def prices(
    config: Annotated[
        Path | None,
        typer.Option("--config", "-c", help="Settings whose own prices (price_list) are shown, too.", metavar="FILE"),
    ] = None,
) -> None:
    """Show the list prices that settings can name, with their source and date.

    Exit codes: 0, 2 if the settings can't be used.

    Examples:

        shield prices
        shield prices --config shield.yaml
    """
    from shield.cli.prices import prices as run

    raise typer.Exit(run(config))
