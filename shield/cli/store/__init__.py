"""shield store: the cache directories of a node, running or not."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from shield.cli.options import AsJson, ConfigFile, TokenFile
from shield.errors import ShieldError

app = typer.Typer(
    name="store",
    help="""Maintain the cache directories, with or without a running node.

    Run it as the node's user.
    """,
    no_args_is_help=True,
)

Tiers = Annotated[
    list[str] | None, typer.Option("--tier", help="Only this tier; may be given again.", metavar="NAME")
]
Directories = Annotated[
    list[Path] | None, typer.Option("--directory", help="Only this directory; may be given again.", metavar="PATH")
]


@app.command("stat")
def _stat(
    config: ConfigFile,
    tier: Tiers = None,
    directory: Directories = None,
    watch: Annotated[bool, typer.Option("--watch", help="Refresh until Ctrl-C.")] = False,
    json: AsJson = False,
    token_file: TokenFile = None,
) -> None:
    """Show the contents and sizes of the tiers, and the running node's view of its disks.

    Exit codes: 0, 2 if a directory can't be opened.

    Examples:

        shield store stat --config shield.yaml --watch
    """
    from shield.cli.store.stat import stat as run  # each command imports what it needs

    _end(lambda: run(config, tier or (), directory or (), watch=watch, as_json=json))


@app.command("ls")
def _ls(
    config: ConfigFile,
    prefix: Annotated[
        str, typer.Argument(help="Prefix of paths, as /images/; or of keys, as s1:/images/.", metavar="PREFIX")
    ] = "/",
    tier: Tiers = None,
    directory: Directories = None,
    limit: Annotated[
        int | None, typer.Option("--limit", min=1, help="Show no more entries than this.", metavar="N")
    ] = None,
    json: AsJson = False,
) -> None:
    """List entries by their keys, each tier's newest first: size, status, freshness, place, slices.

    The headers of all records are read, which takes a while for a large store.

    Exit codes: 0, 2 if a directory can't be opened.

    Examples:

        shield store ls --config shield.yaml /images/ --limit 100
    """
    from shield.cli.store.ls import ls as run

    _end(lambda: run(config, prefix, tier or (), directory or (), limit=limit, as_json=json))


@app.command("verify")
def _verify(
    config: ConfigFile,
    tier: Tiers = None,
    directory: Directories = None,
    rate: Annotated[
        str, typer.Option("--rate", help="Bytes read in a second at most; 0: no limit.", metavar="SIZE")
    ] = "50MiB",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Report damage, and repair nothing.")] = False,
) -> None:
    """Read and check every record, and remove damaged ones from the index. Also while the node runs.

    Opening a directory that no node has open does the same as a node's start, even with --dry-run.

    Exit codes: 0 all is well, 1 something was damaged, repaired or not, 2 a directory can't be opened.

    Examples:

        shield store verify --config shield.yaml --rate 200MiB
    """
    from shield.cli.store.verify import verify as run

    _end(lambda: run(config, tier or (), directory or (), rate=rate, repair=not dry_run))


@app.command("rm")
def _rm(
    config: ConfigFile,
    keys: Annotated[
        list[str] | None,
        typer.Argument(metavar="KEY...", help="URLs or paths as clients request them, or keys as `ls` shows them."),
    ] = None,
    prefix: Annotated[
        str | None,
        typer.Option("--prefix", help="All keys with this prefix: /images/, or s1:/images/.", metavar="PREFIX"),
    ] = None,
    token_file: TokenFile = None,
) -> None:
    """Remove entries with all slices, for good: through the running node, or from the directories if there is none.

    Exit codes: 0 removed, 1 nothing matched, 2 it couldn't be done.

    Examples:

        shield store rm --config shield.yaml https://cdn.example/images/a.webp /images/b.webp
        shield store rm --config shield.yaml --prefix /images/
    """
    from shield.cli.store.rm import rm as run

    _end(lambda: run(config, keys or (), prefix))


@app.command("takedown")
def _takedown(
    keys: Annotated[list[str], typer.Argument(metavar="URL...", help="URLs, paths, or keys as `ls` shows them.")],
    config: ConfigFile,
    lift: Annotated[bool, typer.Option("--lift", help="End it: replicas may serve these objects again.")] = False,
    token_file: TokenFile = None,
) -> None:
    """Remove objects from the running node, which then serves them only if the primary has them.

    Whatever replicas still have isn't served. That holds over restarts, until it is lifted. Delete the objects at
    the primary first.

    Exit codes: 0, 2 if it couldn't be done.

    Examples:

        shield store takedown --config shield.yaml https://cdn.example/images/a.webp
        shield store takedown --config shield.yaml --lift https://cdn.example/images/a.webp
    """
    from shield.cli.store.takedown import takedown as run

    _end(lambda: run(config, keys, lifted=lift))


@app.command("export")
def _export(
    file: Annotated[str, typer.Argument(metavar="FILE", help="File to write; - for standard output.")],
    config: ConfigFile,
    tier: Tiers = None,
    directory: Directories = None,
    limit_bytes: Annotated[
        str | None, typer.Option("--limit-bytes", metavar="SIZE", help="Size of the file at most, as 10GiB.")
    ] = None,
    hot: Annotated[
        bool, typer.Option("--hot", help="Only the first tier: requested entries stay in it, or are promoted to it.")
    ] = False,
) -> None:
    """Write entries to a file that warms another node, the most recently written first.

    Only the running node knows, in memory, which entries are hit most; the order of writing is on disk.

    Exit codes: 0, 2 if it couldn't be done.

    Examples:

        shield store export hot.shield --config shield.yaml --hot --limit-bytes 10GiB
    """
    from shield.cli.store.move import export as run

    _end(lambda: run(file, config, tier or (), directory or (), limit=limit_bytes, hot=hot))


@app.command("import")
def _import(
    file: Annotated[str, typer.Argument(metavar="FILE", help="File from `export`; - for standard input.")],
    config: ConfigFile,
) -> None:
    """Import the entries that another node exported, as far as there is free room, displacing none.

    A node may run meanwhile. Skips damaged records, those of which the same or a later version is stored, and those
    that no route of these settings would have stored; lifetimes are capped at what the settings give. Entries whose
    own URLs were purged after the export come back; those purged here by prefix or tag don't.

    Exit codes: 0, 1 if the file was damaged, cut short, or had records that aren't allowed (the rest is imported), 2
    if it couldn't be done.

    Examples:

        shield store import hot.shield --config shield.yaml
    """
    from shield.cli.store.move import import_ as run

    _end(lambda: run(file, config))


@app.command("adopt")
def _adopt(
    directories: Annotated[list[Path], typer.Argument(metavar="PATH...", help="Directories in the settings.")],
    config: ConfigFile,
) -> None:
    """Accept directories where they are now, though they were claimed, or last used, on another file system.

    A node refuses such a directory: usually its disk isn't mounted, and the path is the bare mount point. If the
    disk was replaced, or the directory moved, this confirms that it may be used.

    Exit codes: 0, 2 if one couldn't be adopted.

    Examples:

        shield store adopt /var/cache/shield/nvme0 --config shield.yaml
    """
    from shield.cli.store.adopt import adopt as run

    _end(lambda: run(directories, config))


def _end(command: Callable[[], int]) -> NoReturn:
    """Exit with a command's code; an error is one line."""
    try:
        code = command()
    except BrokenPipeError:
        raise  # the reader closed the pipe: left to typer
    except (ShieldError, OSError) as error:
        print(error, file=sys.stderr)
        code = 2
    raise typer.Exit(code)
