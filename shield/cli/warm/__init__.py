"""`shield warm`: its options, the sources of URLs, the place to go on from, and the run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from shield.cli.options import ConfigFile, TokenFile


def warm(
    config: ConfigFile,
    source: Annotated[
        Path | None,
        typer.Argument(
            metavar="FILE", help="URLs or paths, one a line; with --by an access log; - for standard input."
        ),
    ] = None,
    by: Annotated[
        str | None,
        typer.Option(help="popularity: FILE is an access log; the most requested come first.", metavar="ORDER"),
    ] = None,
    top: Annotated[int | None, typer.Option(min=1, help="With --by: only the first N.", metavar="N")] = None,
    bucket: Annotated[
        str | None, typer.Option(help="All objects in the bucket of this origin, as it lists them.", metavar="ORIGIN")
    ] = None,
    prefix: Annotated[
        str, typer.Option(help="With --bucket: keys that begin with this, as images/.", metavar="PREFIX")
    ] = "",
    rate: Annotated[
        str | None, typer.Option(help="At most so many objects or bytes in a time: 50/s, 20MB/s.", metavar="RATE")
    ] = None,
    max_bytes: Annotated[
        str | None, typer.Option(help="Bytes from origins at most, as 10GiB.", metavar="SIZE")
    ] = None,
    concurrency: Annotated[int, typer.Option(min=1, max=64, help="Fetches at once.", metavar="N")] = 8,
    only_missing: Annotated[bool, typer.Option("--only-missing", help="Leave stale entries as they are.")] = False,
    header: Annotated[
        list[str] | None,
        typer.Option(help="A request field by which responses vary; may be given again.", metavar="NAME:VALUE"),
    ] = None,
    state: Annotated[
        Path | None, typer.Option(help="Keep the place in FILE, and go on from it.", metavar="FILE")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The summary as JSON.")] = False,
    token_file: TokenFile = None,
) -> None:
    """Have the running node fetch objects before clients request them.

    From a list of URLs, an access log (JSON lines or the combined format, also gzipped), or a bucket. The node does
    it behind its clients, and waits while an origin is in trouble.

    Exit codes: 0, 1 if some objects couldn't be fetched, 2 if it was stopped or couldn't be done.

    Examples:

        shield warm --config shield.yaml urls.txt
        shield warm --config shield.yaml --by popularity --top 100000 --state warm.json access.log.gz
        shield warm --config shield.yaml --bucket fra --prefix images/ --only-missing --rate 20MB/s --max-bytes 500GiB
    """
    from shield.cli.warm.options import wish_of
    from shield.cli.warm.run import warm as run

    wish = wish_of(
        source,
        by=by,
        top=top,
        bucket=bucket,
        prefix=prefix,
        rate=rate,
        max_bytes=max_bytes,
        at_once=concurrency,
        only_missing=only_missing,
        headers=header or [],
        state=state,
        as_json=as_json,
    )
    raise typer.Exit(run(config, wish))
