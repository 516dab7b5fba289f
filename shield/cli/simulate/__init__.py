"""shield simulate: the traffic of access logs, replayed with other settings."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from shield.config import CONFIG_VARIABLE

_SweepOption = Annotated[
    str | None,
    typer.Option(
        "--sweep",
        help="Try these sizes of RAM, or of a tier on disk by its name, with each settings file.",
        show_default=False,
        metavar="TIER=SIZE,...",
    ),
]

# Of `shield advise`, too.
LogOption = Annotated[
    list[str],
    typer.Option(
        "--log",
        help="An access log, also packed by gzip, in Parquet, or in a bucket; -: standard input.",
        metavar="FILE",
    ),
]
MoreLogs = Annotated[
    list[str] | None,
    typer.Argument(help="Further logs, so that --log logs/*.gz works.", metavar="FILE...", show_default=False),
]
SampleOption = Annotated[
    str | None,
    typer.Option(help="Share of the paths in each of up to 8 samples.", show_default=False, metavar="SHARE"),
]
WarmUpOption = Annotated[
    str, typer.Option(help="Share of the log's time that only fills the caches.", metavar="SHARE")
]
OriginLifetimeOption = Annotated[
    str | None,
    typer.Option(
        help="The max-age that origins send. Default: none, as most objects in S3.",
        show_default=False,
        metavar="DURATION",
    ),
]
CdnHitsOption = Annotated[
    bool, typer.Option("--cdn-hits", help="Count the CDN's hits, too, as if there were no CDN.")
]
SizesOption = Annotated[
    str | None,
    typer.Option(
        "--sizes",
        help="A listing with the sizes of objects that logs don't tell; store: the cache directories; node: ask the "
        "running node.",
        show_default=False,
        metavar="FILE",
    ),
]


def simulate(
    config: Annotated[
        list[Path],
        typer.Option(
            "--config", "-c", help="Settings in YAML; several are compared.", metavar="FILE", envvar=CONFIG_VARIABLE
        ),
    ],
    log: LogOption,
    more: MoreLogs = None,
    sweep: _SweepOption = None,
    sample: SampleOption = None,
    warm_up: WarmUpOption = "0",
    origin_lifetime: OriginLifetimeOption = None,
    cdn_hits: CdnHitsOption = False,
    sizes: SizesOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="JSON, for scripts.")] = False,
    html: Annotated[
        Path | None, typer.Option(help="Write a page with drawings, too.", show_default=False, metavar="FILE")
    ] = None,
) -> None:
    """Replay access logs through other settings: hit ratio, egress and its price.

    The requests of the logs go through the routes, keys, lifetimes, tiers and prices of each settings file, without a
    network and without bodies. Logs may be this node's (JSON), in the combined format (nginx, Apache), or of
    CloudFront, Cloudflare or Fastly, with the extra `tables` also in Parquet, and in buckets; lines that the CDN
    answered from its own cache are left out, since they don't reach a node. Assumptions about
    facts that a log lacks are listed with the results.

    Exit codes: 0, 2 if settings, logs or options can't be used.

    Examples:

        shield simulate --config shield.yaml --log access.log.gz
        shield simulate --config shield.yaml --config larger.yaml --log access.log
        shield simulate --config shield.yaml --log access.log --sweep memory=1GiB,2GiB,4GiB --html ram.html
        shield simulate --config shield.yaml --log access.log --sample 1%
        shield simulate --config shield.yaml --log s3://logs/cdn/*.2026-11-*.gz --sizes inventory.csv.gz
    """
    from shield.cli.simulate.run import SimulationWish
    from shield.cli.simulate.run import simulate as run

    wish = SimulationWish(
        config,
        [*log, *(more or ())],
        sweep,
        sample,
        warm_up,
        origin_lifetime,
        cdn_hits=cdn_hits,
        html=html,
        sizes=sizes,
    )
    raise typer.Exit(run(wish, as_json=as_json))
