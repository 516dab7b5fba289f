"""The `shield` command. Commands parse, call and print; they decide nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from shield import __version__
from shield.cli.drill import app as _drill
from shield.cli.options import ConfigFile, TokenFile, begin_run
from shield.cli.origin import app as _origin
from shield.cli.ramp import app as _ramp
from shield.cli.store import app as _store

_app = typer.Typer(
    name="shield",
    help="Edge origin proxy: a CDN shield in front of S3 origins.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,  # they show local variables, which may hold secrets
)

_app.add_typer(_store)
_app.add_typer(_drill)
_app.add_typer(_origin)
_app.add_typer(_ramp)


def main() -> None:
    _app()


def _show_version(asked: bool) -> None:
    if asked:
        print(f"shield {__version__}")
        raise typer.Exit


@_app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    begin_run()


@_app.command()
def serve(
    config: ConfigFile,
    watch: Annotated[bool, typer.Option("--watch", help="Reload the settings when their file changes.")] = False,
) -> None:
    """Run a node in the foreground until SIGTERM or Ctrl-C; SIGHUP reloads its settings, SIGUSR2 its program."""
    from shield.cli.serve import serve as run  # each command imports what it needs: `--help` stays quick

    raise typer.Exit(run(config, watch=watch))


@_app.command()
def reload(config: ConfigFile, token_file: TokenFile = None) -> None:
    """Have the running node read its settings again. Exit code 1 if they are refused."""
    from shield.cli.reload import reload as run

    raise typer.Exit(run(config))


@_app.command()
def upgrade(config: ConfigFile, token_file: TokenFile = None) -> None:
    """Have the running node replace its program by the version that is installed now, without a failed request. Exit
    code 1 if that is refused or fails.
    """
    from shield.cli.upgrade import upgrade as run

    raise typer.Exit(run(config))


@_app.command(hidden=True)
def trial(config: ConfigFile) -> None:
    """Say whether this version could take over a running node, whose terms are read from standard input."""
    from shield.cli.trial import trial as run

    raise typer.Exit(run(config))


@_app.command()
def check(
    config: ConfigFile,
    online: Annotated[bool, typer.Option("--online", help="Ask each origin, too, with signed requests.")] = False,
    canary: Annotated[
        str | None,
        typer.Option(help="With --online: URL or path of an object that origins should have.", metavar="PATH"),
    ] = None,
    timeout: Annotated[
        float, typer.Option(min=0.1, help="With --online: seconds for all origins together.", metavar="SECONDS")
    ] = 10.0,
    json: Annotated[bool, typer.Option("--json", help="For machines: JSON.")] = False,
) -> None:
    """Check settings, and list all problems. Exit code 2 for settings that can't be used, 1 for a failing origin."""
    from shield.cli.check import check as run

    raise typer.Exit(run(config, online=online, canary=canary, timeout=timeout, as_json=json))


@_app.command()
def health(
    config: ConfigFile,
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds it may take.", metavar="SECONDS")] = 2.0,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing if it is ready.")] = False,
) -> None:
    """Say whether the node of these settings is ready: 0 or 1, for probes."""
    from shield.cli.health import health as run

    raise typer.Exit(run(config, timeout=timeout, quiet=quiet))


@_app.command()
def schema() -> None:
    """Print the JSON Schema of the settings, for editors."""
    from shield.cli.schema import schema as run

    raise typer.Exit(run())


@_app.command()
def explain(
    url: Annotated[str, typer.Argument(help="A URL or a path.")],
    config: ConfigFile,
    live: Annotated[bool, typer.Option("--live", help="With how the running node treats its origins now.")] = False,
    token_file: TokenFile = None,
) -> None:
    """Show how a URL is mapped: key, route, origins, object URLs, and signed requests."""
    from shield.cli.explain import explain as run

    raise typer.Exit(run(url, config, live=live))


@_app.command()
def why(
    url: Annotated[str, typer.Argument(help="A URL or a path.")],
    config: ConfigFile,
    at: Annotated[
        str, typer.Option("--at", help="A time of the last day: 03:12, 2026-03-01T03:12, 2026-03-01T03:12Z.")
    ],
    token_file: TokenFile = None,
) -> None:
    """Show which origin a URL was fetched from first at a time of the last day, and why, by the running node."""
    from shield.cli.why import why as run

    raise typer.Exit(run(url, config, at=at))


@_app.command()
def whatif(
    config: ConfigFile,
    at: Annotated[str, typer.Option("--at", help="Two times of the last day: 03:00..04:00.")],
    changes: Annotated[
        list[str], typer.Option("--set", help="Another setting; may be given again.", metavar="KEY=VALUE")
    ],
    token_file: TokenFile = None,
) -> None:
    """Choose origins again as in a time of the last day, with other settings, and show the shares of keys."""
    from shield.cli.whatif import whatif as run

    raise typer.Exit(run(config, at=at, changes=changes))


@_app.command()
def audit(
    config: ConfigFile,
    prefix: Annotated[str, typer.Option(help="Keys that begin with this, as images/. Default: all.")] = "",
    origins: Annotated[str, typer.Option(help="Origins by name, as fra,iad. Default: all of S3.")] = "",
    deep: Annotated[bool, typer.Option("--deep", help="Read the objects and compare their bytes.")] = False,
    sample: Annotated[int, typer.Option(min=1, help="With --deep: read one key in N.", metavar="N")] = 1,
    resume: Annotated[
        Path | None, typer.Option(help="Keep the place in FILE, and go on from it.", metavar="FILE")
    ] = None,
    paths: Annotated[
        Path | None,
        typer.Option(help="Compare the responses to the URLs in FILE, one a line.", metavar="FILE"),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="JSON lines instead of text.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="With --deep: don't ask before reading.")] = False,
) -> None:
    """Compare the objects of several origins by their listings: 0 the same, 1 differences, 2 couldn't be told."""
    from shield.cli.audit import AuditWish
    from shield.cli.audit import audit as run

    names = tuple(name.strip() for name in origins.split(",") if name.strip())
    if paths is not None and (prefix or deep or sample > 1 or resume is not None):
        raise typer.BadParameter("--paths goes with --origins and --json alone")
    wish = AuditWish(
        prefix, names, deep=deep, one_in=sample, resume=resume, paths=paths, as_json=as_json, assents=yes
    )
    raise typer.Exit(run(config, wish))


@_app.command()
def announce(
    urls: Annotated[list[str], typer.Argument(metavar="URL...", help="URLs or paths as clients request them.")],
    config: ConfigFile,
    new: Annotated[
        bool, typer.Option("--new", help="They weren't there before. Default: they may have been.")
    ] = False,
    deleted: Annotated[bool, typer.Option("--deleted", help="They are there no more.")] = False,
    prefetch: Annotated[bool, typer.Option("--prefetch", help="Fetch them at once, up to 64.")] = False,
    token_file: TokenFile = None,
) -> None:
    """Tell the running node that objects have changed at the primary, so that it fetches them from there."""
    from shield.cli.announce import announce as run

    if new and deleted:
        raise typer.BadParameter("--new and --deleted exclude each other")
    word = "new" if new else "deleted" if deleted else "changed"
    raise typer.Exit(run(config, urls, word=word, prefetch=prefetch))


@_app.command(name="sign-url")
def sign_url(
    url: Annotated[str, typer.Argument(help="A URL or a path.")],
    config: ConfigFile,
    lifetime: Annotated[str, typer.Option(help="Validity, as 15min, 1h, 7d.")] = "1h",
    key: Annotated[str | None, typer.Option(help="Id of the key. Default: the first.", show_default=False)] = None,
) -> None:
    """Make a link that expires, for `access.signed_urls`."""
    from shield.cli.sign import sign_url as run

    raise typer.Exit(run(url, config, lifetime=lifetime, key=key))


@_app.command()
def demo(
    once: Annotated[bool, typer.Option("--once", help="Run through once and exit.")] = False,
    port: Annotated[int, typer.Option(help="Port of the node; 0: a free one.")] = 8080,
) -> None:
    """Run two S3 servers with a node in front, and show how it handles requests and faults."""
    from shield.cli.demo import demo as run

    raise typer.Exit(run(once=once, port=port))
