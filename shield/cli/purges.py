"""The options of `shield purge` and `shield purges`. Imports nothing slow: `--help` stays quick."""

from __future__ import annotations

from typing import Annotated

import typer

from shield.cli.options import AsJson, ConfigFile, TokenFile


def purge(
    config: ConfigFile,
    urls: Annotated[
        list[str] | None,
        typer.Argument(metavar="URL...", help="URLs or paths as clients request them; -: from standard input."),
    ] = None,
    tags: Annotated[
        list[str] | None, typer.Option("--tag", help="Entries with this tag; may be given again.", metavar="TAG")
    ] = None,
    prefixes: Annotated[
        list[str] | None,
        typer.Option("--prefix", help="Paths that begin so, as /images/; may be given again.", metavar="PREFIX"),
    ] = None,
    globs: Annotated[
        list[str] | None,
        typer.Option("--glob", help="Paths of this pattern, as '/a/*.webp'; may be given again.", metavar="GLOB"),
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Everything.")] = False,
    soft: Annotated[
        bool, typer.Option("--soft", help="Make entries stale at once, so that they are served within their grace.")
    ] = False,
    takedown: Annotated[
        bool, typer.Option("--takedown", help="Only the primary may bring the objects back. For URLs alone.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Purge nothing; show the extent, and the cost of fetching it again.")
    ] = False,
    order_id: Annotated[
        str | None, typer.Option("--id", help="Carry it out once, however often this is sent.", metavar="ID")
    ] = None,
    as_json: AsJson = False,
    token_file: TokenFile = None,
) -> None:
    """Remove entries from the running node, or make them stale, and print a receipt.

        Once the receipt is printed, no worker serves purged entries, and no earlier fill brings them back. In a
    cluster that is so at all nodes, or the receipt names those that lack the purge.

    Exit codes: 0, 1 if that is refused, 2 if no node answers, 3 if other nodes of the cluster couldn't be reached.

    Examples:

        shield purge --config shield.yaml https://cdn.example/images/a.webp /images/b.webp
        shield purge --config shield.yaml --tag product-7 --soft
        shield purge --config shield.yaml --prefix /images/abc/ --dry-run
        shield purge --config shield.yaml --id deploy-81 - < urls.txt
    """
    from shield.cli.purge import PurgeWish
    from shield.cli.purge import purge as run

    wish = PurgeWish(
        urls or (),
        tags or (),
        prefixes or (),
        globs or (),
        everything=everything,
        soft=soft,
        takedown=takedown,
        is_trial=dry_run,
        id=order_id,
        as_json=as_json,
    )
    raise typer.Exit(run(config, wish))


def purges(
    config: ConfigFile,
    most: Annotated[int, typer.Option("--most", min=1, max=1000, help="How many.", metavar="N")] = 20,
    as_json: AsJson = False,
    token_file: TokenFile = None,
) -> None:
    """Show the latest purges of the running node: when, by whom, and of which objects.

    Exit codes: 0, 1 if that is refused, 2 if no node answers.

    Examples:

        shield purges --config shield.yaml --most 5
    """
    from shield.cli.purge import purges as run

    raise typer.Exit(run(config, most, as_json=as_json))
