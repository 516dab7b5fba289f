"""shield top and shield log: the requests to a running node, as they happen."""

from __future__ import annotations

from typing import Annotated

import typer

from shield.cli.options import AsJson, ConfigFile, TokenFile
from shield.cli.watch.choices import TopBy, TopOf


def top(
    config: ConfigFile,
    of: Annotated[TopOf, typer.Option(help="The things to list.", metavar="WHAT")] = TopOf.KEYS,
    by: Annotated[TopBy, typer.Option(help="The order.", metavar="WHAT")] = TopBy.REQUESTS,
    rows: Annotated[
        int, typer.Option("--rows", "-n", min=0, max=200, help="Rows at most. 0: as many as fit.", metavar="N")
    ] = 0,
    once: Annotated[bool, typer.Option("--once", help="Print it once, for scripts.")] = False,
    as_json: AsJson = False,
    token_file: TokenFile = None,
) -> None:
    """Show the keys, routes, clients or origins with most requests, refreshed each second.

    Rates are those of about the last minute, of all workers. Missed bytes are those of responses that an origin gave
    for just this request; money is by the prices of origins, in an hour. WHAT is keys, routes, clients or origins,
    and requests, missed_bytes or money. While it runs, k, r, c and o choose the list, n, b and m the order by number,
    bytes or money, q ends it. Without a terminal it prints once.

    Exit codes: 0, 2 if the node wasn't reached.

    Examples:

        shield top --config shield.yaml
        shield top --config shield.yaml --of clients --by missed_bytes --once
    """
    from shield.cli.watch.top import top as run

    raise typer.Exit(run(config, of=of, by=by, rows=rows, once=once, as_json=as_json))


def log(
    config: ConfigFile,
    query: Annotated[
        list[str] | None, typer.Argument(help="Terms, as miss bytes>1MB. Default: all requests.", metavar="QUERY")
    ] = None,
    top: Annotated[
        str, typer.Option("--top", help="Count by this field, as key, path, client or detail.", metavar="FIELD")
    ] = "",
    seconds: Annotated[float, typer.Option(min=0.0, help="End after so many. 0: never.", metavar="SECONDS")] = 0.0,
    most: Annotated[int, typer.Option("-n", min=0, help="End after so many requests. 0: never.", metavar="N")] = 0,
    as_json: AsJson = False,
    token_file: TokenFile = None,
) -> None:
    """Show requests as they happen, of all workers, that match a query.

    A query has terms that must all hold, as miss, status>=500, origin=fra, path~*.webp, client=10.0.0.0/8, !stored;
    or and parentheses combine them. Quote it, since shells read > and !. Requests beyond the
    rate that the node can show are counted, and the number is printed.

    Exit codes: 0 it was ended, 1 the stream broke off, 2 the query can't be understood, or the node wasn't reached.

    Examples:

        shield log --config shield.yaml 'miss reason=expired bytes>1MB' --top key
        shield log --config shield.yaml 'status>=500 or seconds>1' --json
    """
    from shield.cli.watch.log import log as run

    raise typer.Exit(
        run(config, " ".join(query or ()), field=top, seconds=seconds or None, most=most, as_json=as_json)
    )
