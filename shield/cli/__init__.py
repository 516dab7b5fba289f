"""The `shield` command. Commands parse, call and print; they decide nothing."""

from __future__ import annotations

import importlib
import platform
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from shield import __version__
from shield.cli.alarms import app as _alarms
from shield.cli.cost_commands import advise as _advise
from shield.cli.cost_commands import app as _cost
from shield.cli.cost_commands import prices as _prices
from shield.cli.drill import app as _drill
from shield.cli.options import ConfigFile, TokenFile, begin_run, setting_keys
from shield.cli.origin import app as _origin
from shield.cli.purges import purge, purges
from shield.cli.ramp import app as _ramp
from shield.cli.simulate import simulate as _simulate
from shield.cli.store import app as _store
from shield.cli.warm import warm as _warm
from shield.cli.watch import log as _log
from shield.cli.watch import top as _top
from shield.compiled import is_compiled
from shield.generated import kept_methods
from shield.start import ServeWish, start

_app = typer.Typer(
    name="shield",
    help="Edge origin proxy: a CDN shield in front of S3 origins.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,  # they show local variables, which may hold secrets
)

# headings of --help
_RUN, _SEE, _SETTINGS, _ORIGINS, _OBJECTS = "Run a node", "See what it does", "Settings", "Origins", "Objects"


class _ManualSubject(StrEnum):
    COMMANDS = "commands"
    SETTINGS = "settings"


class _ManualForm(StrEnum):
    MAN = "man"
    MARKDOWN = "markdown"


def main() -> None:
    _app()


def _show_version(asked: bool) -> None:
    if asked:
        runs = f"Python {platform.python_version()}, {'compiled' if is_compiled() else 'not compiled'}"
        print(f"shield {__version__} ({runs})")
        raise typer.Exit


@_app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            callback=_show_version,
            is_eager=True,
            help="Show the version, Python's, and whether it is compiled.",
        ),
    ] = False,
) -> None:
    begin_run()


@_app.command(rich_help_panel=_RUN)
def serve(
    config: ConfigFile,
    watch: Annotated[bool, typer.Option("--watch", help="Reload the settings when their file changes.")] = False,
) -> None:
    """Run a node in the foreground.

    It stops at SIGTERM or Ctrl-C, after transfers have finished (`drain`); a second signal ends it at once. SIGHUP
    reloads its settings, SIGUSR2 upgrades its program.

    Exit codes: 0 after a stop, 2 if the settings can't be used.

    Examples:

        shield serve --config shield.yaml
    """
    raise typer.Exit(start(ServeWish(config, watch)))


@_app.command(rich_help_panel=_RUN)
def reload(
    config: ConfigFile,
    diff: Annotated[
        bool, typer.Option("--diff", help="Only show the changes, and those that wait for a restart.")
    ] = False,
    token_file: TokenFile = None,
) -> None:
    """Have the running node read its settings again.

    No connection is closed. Settings that can't be used are refused, and the old ones stay in force. Changes that
    wait for a restart are named.

    Exit codes: 0 they are in force, 1 they were refused, or no node was reached.

    Examples:

        shield reload --config shield.yaml --diff
        shield reload --config shield.yaml
    """
    from shield.cli.reload import compare  # each command imports what it needs: `--help` stays quick
    from shield.cli.reload import reload as run

    raise typer.Exit(compare(config) if diff else run(config))


@_app.command(rich_help_panel=_RUN)
def upgrade(config: ConfigFile, token_file: TokenFile = None) -> None:
    """Have the running node become the version that is installed now, without a failed request.

    Exit codes: 0 the new version serves, 1 that was refused or has failed, and the old version serves on.

    Examples:

        shield upgrade --config shield.yaml
    """
    from shield.cli.upgrade import upgrade as run

    raise typer.Exit(run(config))


@_app.command(hidden=True)
def precompile() -> None:
    """Create files that later starts reuse: bytecode of modules and generated methods. For installers."""
    with kept_methods():
        importlib.import_module("shield.serving")


@_app.command(hidden=True)
def trial(config: ConfigFile) -> None:
    """Say whether this version could take over a running node, whose terms are read from standard input."""
    from shield.cli.trial import trial as run

    raise typer.Exit(run(config))


@_app.command(rich_help_panel=_SETTINGS)
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
    json: Annotated[bool, typer.Option("--json", help="JSON, for scripts.")] = False,
) -> None:
    """Check settings, and list all problems by file, line and key.

    With --online each origin is asked, too: for some of the bucket's keys, and for the first byte of an object. That
    tells wrong credentials, regions, buckets, clocks, names and certificates apart, and suggests the remedy.

    Exit codes: 0 a node can run with these settings, 1 an origin can't serve, 2 the settings can't be used.

    Examples:

        shield check --config shield.yaml
        shield check --config shield.yaml --online --canary https://cdn.example/images/a.webp
    """
    from shield.cli.check import check as run

    raise typer.Exit(run(config, online=online, canary=canary, timeout=timeout, as_json=json))


@_app.command(rich_help_panel=_SEE)
def health(
    config: ConfigFile,
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds it may take.", metavar="SECONDS")] = 2.0,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing if it is ready.")] = False,
) -> None:
    """Say in one line whether the node is ready, for probes.

    Exit codes: 0 it is ready, 1 it isn't, or wasn't reached.

    Examples:

        shield health --config shield.yaml --timeout 1 --quiet
    """
    from shield.cli.health import health as run

    raise typer.Exit(run(config, timeout=timeout, quiet=quiet))


@_app.command(rich_help_panel=_SETTINGS)
def schema() -> None:
    """Print the JSON Schema of the settings, for editors.

    Exit codes: 0.

    Examples:

        shield schema > shield.schema.json
    """
    from shield.cli.schema import schema as run

    raise typer.Exit(run())


@_app.command(rich_help_panel=_SETTINGS)
def settings(
    key: Annotated[
        str,
        typer.Argument(
            help="As cache.memory or origins.fra. Default: all.", metavar="KEY", autocompletion=setting_keys
        ),
    ] = "",
) -> None:
    """Explain keys of the settings: values, default, reason, and whether a change needs a restart.

    Exit codes: 0, 2 if there is no such key.

    Examples:

        shield settings cache.memory.capacity
        shield settings limits
    """
    from shield.cli.settings import settings as run

    raise typer.Exit(run(key))


@_app.command(rich_help_panel=_SETTINGS)
def manual(
    subject: Annotated[
        _ManualSubject, typer.Argument(help="commands or settings.", metavar="SUBJECT")
    ] = _ManualSubject.COMMANDS,
    form: Annotated[
        _ManualForm, typer.Option("--format", help="man or markdown.", metavar="FORMAT")
    ] = _ManualForm.MAN,
) -> None:
    """Print the manual of all commands, or of all settings.

    Exit codes: 0.

    Examples:

        shield manual | man -l -
        shield manual settings --format markdown
    """
    from shield.cli.manual import manual as run

    raise typer.Exit(run(_app, subject.value, form.value))


@_app.command(rich_help_panel=_SETTINGS)
def explain(
    url: Annotated[str, typer.Argument(help="A URL or a path.", metavar="URL")],
    config: ConfigFile,
    live: Annotated[bool, typer.Option("--live", help="Also how the running node treats its origins now.")] = False,
    token_file: TokenFile = None,
) -> None:
    """Show the key, route and origins of a URL, its URL at each origin, and the request that is signed.

    Exit codes: 0, 1 if a request for this URL would be rejected, 2 if the settings can't be used or, with --live, no
    node was reached.

    Examples:

        shield explain --config shield.yaml https://cdn.example/images/a.webp
        shield explain --config shield.yaml --live /images/a.webp
    """
    from shield.cli.explain import explain as run

    raise typer.Exit(run(url, config, live=live))


@_app.command(rich_help_panel=_ORIGINS)
def why(
    url: Annotated[str, typer.Argument(help="A URL or a path.", metavar="URL")],
    config: ConfigFile,
    at: Annotated[
        str,
        typer.Option(
            "--at", help="A time of the last day: 03:12, 2026-03-01T03:12, 2026-03-01T03:12Z.", metavar="TIME"
        ),
    ],
    token_file: TokenFile = None,
) -> None:
    """Show which origin a URL was fetched from first at a time of the last day, and why.

    The running node is asked for its view of the origins at that time.

    Exit codes: 0, 1 if a request for this URL would be rejected, 2 if it can't be told.

    Examples:

        shield why --config shield.yaml --at 03:12 https://cdn.example/images/a.webp
    """
    from shield.cli.why import why as run

    raise typer.Exit(run(url, config, at=at))


@_app.command(rich_help_panel=_ORIGINS)
def whatif(
    config: ConfigFile,
    at: Annotated[str, typer.Option("--at", help="Two times of the last day: 03:00..04:00.", metavar="TIMES")],
    changes: Annotated[
        list[str], typer.Option("--set", help="Another value of a setting; may be given again.", metavar="KEY=VALUE")
    ],
    token_file: TokenFile = None,
) -> None:
    """Repeat the choice of origins in a period of the last day with other settings, by the node's knowledge then.

    Shows for each route and origin the share of keys and time for which it came first: as it was, and with the
    changes.

    Exit codes: 0, 2 if it can't be told.

    Examples:

        shield whatif --config shield.yaml --at 03:00..04:00 --set routes.default.choose=weighted
    """
    from shield.cli.whatif import whatif as run

    raise typer.Exit(run(config, at=at, changes=changes))


@_app.command(rich_help_panel=_ORIGINS)
def audit(
    config: ConfigFile,
    prefix: Annotated[
        str, typer.Option(help="Keys that begin with this, as images/. Default: all.", metavar="PREFIX")
    ] = "",
    origins: Annotated[
        str, typer.Option(help="Origins by name, as fra,iad. Default: all of S3.", metavar="NAMES")
    ] = "",
    deep: Annotated[bool, typer.Option("--deep", help="Read the objects and compare their bytes.")] = False,
    sample: Annotated[int, typer.Option(min=1, help="With --deep: read one key in N.", metavar="N")] = 1,
    resume: Annotated[
        Path | None, typer.Option(help="Keep the place in FILE, and go on from it.", metavar="FILE")
    ] = None,
    paths: Annotated[
        Path | None,
        typer.Option(help="Compare the responses to the URLs in FILE, one a line.", metavar="FILE"),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="JSON lines, for scripts.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="With --deep: don't ask before reading.")] = False,
) -> None:
    """Compare the objects of several origins, by their listings.

    With --deep the objects are read and their bytes compared; that costs egress, and is confirmed first. With
    --paths the responses to some URLs are compared instead of listings.

    Exit codes: 0 all are the same, 1 there are differences, 2 the audit failed.

    Examples:

        shield audit --config shield.yaml --prefix images/
        shield audit --config shield.yaml --origins fra,iad --deep --sample 100 --yes
        shield audit --config shield.yaml --resume audit.place
    """
    from shield.cli.audit import AuditWish
    from shield.cli.audit import audit as run

    names = tuple(name.strip() for name in origins.split(",") if name.strip())
    if paths is not None and (prefix or deep or sample > 1 or resume is not None):
        raise typer.BadParameter("--paths goes with --origins and --json alone")
    wish = AuditWish(
        prefix, names, deep=deep, one_in=sample, resume=resume, paths=paths, as_json=as_json, assents=yes
    )
    raise typer.Exit(run(config, wish))


@_app.command(rich_help_panel=_OBJECTS)
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
    """Tell the running node that objects have changed at the primary, so that it fetches them from there.

    Exit codes: 0, 2 if it couldn't be done.

    Examples:

        shield announce --config shield.yaml https://cdn.example/images/a.webp
        shield announce --config shield.yaml --new --prefetch /images/b.webp /images/c.webp
    """
    from shield.cli.announce import announce as run

    if new and deleted:
        raise typer.BadParameter("--new and --deleted exclude each other")
    word = "new" if new else "deleted" if deleted else "changed"
    raise typer.Exit(run(config, urls, word=word, prefetch=prefetch))


@_app.command(name="sign-url", rich_help_panel=_SETTINGS)
def sign_url(
    url: Annotated[str, typer.Argument(help="A URL or a path.", metavar="URL")],
    config: ConfigFile,
    lifetime: Annotated[str, typer.Option(help="Validity, as 15min, 1h, 7d.", metavar="TIME")] = "1h",
    key: Annotated[
        str | None, typer.Option(help="Id of the key. Default: the first.", show_default=False, metavar="ID")
    ] = None,
) -> None:
    """Make a link that expires, for `access.signed_urls`.

    Exit codes: 0, 1 if the URL names nothing, 2 if the settings or options can't be used.

    Examples:

        shield sign-url --config shield.yaml --lifetime 1h --key k1 https://cdn.example/images/a.webp
    """
    from shield.cli.sign import sign_url as run

    raise typer.Exit(run(url, config, lifetime=lifetime, key=key))


@_app.command(rich_help_panel=_RUN)
def demo(
    once: Annotated[bool, typer.Option("--once", help="Run through once and exit.")] = False,
    port: Annotated[int, typer.Option(help="Port of the node; 0: a free one.", metavar="PORT")] = 8080,
) -> None:
    """Run two S3 servers with a node in front, and show how it handles requests and faults.

    It needs the extra `demo`, and no settings. Without --once it stays up until Ctrl-C, to be tried.

    Exit codes: 0, 1 if a scene failed.

    Examples:

        shield demo --once
    """
    from shield.cli.demo import demo as run

    raise typer.Exit(run(once=once, port=port))


_app.add_typer(_alarms, rich_help_panel=_SEE)
_app.add_typer(_cost, rich_help_panel=_SEE)
_app.command(name="prices", rich_help_panel=_SEE)(_prices)
_app.command(name="simulate", rich_help_panel=_SEE)(_simulate)
_app.command(name="advise", rich_help_panel=_SEE)(_advise)
_app.command(name="top", rich_help_panel=_SEE)(_top)
_app.command(name="log", rich_help_panel=_SEE)(_log)
_app.add_typer(_origin, rich_help_panel=_ORIGINS)
_app.add_typer(_ramp, rich_help_panel=_ORIGINS)
_app.add_typer(_drill, rich_help_panel=_ORIGINS)
_app.add_typer(_store, rich_help_panel=_OBJECTS)
_app.command(rich_help_panel=_OBJECTS)(purge)
_app.command(rich_help_panel=_OBJECTS)(purges)
_app.command(name="warm", rich_help_panel=_OBJECTS)(_warm)
