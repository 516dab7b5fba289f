"""shield top: a table of what is asked for most, by the admin API."""

from __future__ import annotations

import contextlib
import json
import os
import select
import sys
import termios
import time
import tty
from collections.abc import Callable, Iterator, Mapping, Sequence
from http.client import HTTPException
from pathlib import Path
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from shield.cli.admin import AdminDoor, admin_of, ask, no_answer, problems_of
from shield.cli.rounded import shown_size
from shield.cli.watch.choices import TopBy, TopOf

_SECONDS = 10.0
_EVERY_SECONDS = 1.0
_USUAL_ROWS = 20
_MOST_ROWS = 200
_ABOVE = 4  # lines of the screen that aren't rows

_OF_KEYS = {"k": TopOf.KEYS, "r": TopOf.ROUTES, "c": TopOf.CLIENTS, "o": TopOf.ORIGINS}
_BY_KEYS = {"n": TopBy.REQUESTS, "b": TopBy.MISSED_BYTES, "m": TopBy.MONEY}
_HELP = "k r c o: keys routes clients origins   n b m: by requests bytes money   q: end"
_QUIT = ("q", "\x03", "\x04")


def top(path: Path, *, of: TopOf, by: TopBy, rows: int, once: bool, as_json: bool) -> int:
    """Print it, or show it until the user ends it; 0, 2 if the node wasn't reached."""
    door = admin_of(path)
    if door is None:
        return 2
    if once or as_json or not sys.stdout.isatty():
        said = _asked(door, of, by, rows or _USUAL_ROWS)
        if isinstance(said, str):
            print(said, file=sys.stderr)
            return 2
        if as_json:
            print(json.dumps(said["rows"]))
        else:
            Console(soft_wrap=True).print(table_of(of, by, said["rows"]))
        return 0
    with contextlib.suppress(KeyboardInterrupt):
        _show(door, of, by, rows)
    return 0


def _show(door: AdminDoor, of: TopOf, by: TopBy, rows: int) -> None:
    """Refresh the table each second, and at each key."""
    console = Console()
    with _keys() as read, Live(console=console, screen=True, auto_refresh=False) as live:
        while True:
            count = rows or max(1, min(_MOST_ROWS, console.height - _ABOVE))
            said = _asked(door, of, by, count)
            shown = Text(said) if isinstance(said, str) else table_of(of, by, said["rows"])
            live.update(Group(shown, Text(_HELP, style="dim", no_wrap=True)), refresh=True)
            key = read(_EVERY_SECONDS)
            if key in _QUIT:
                return
            of, by = _OF_KEYS.get(key, of), _BY_KEYS.get(key, by)


def _asked(door: AdminDoor, of: TopOf, by: TopBy, rows: int) -> Mapping[str, Any] | str:
    """The node's answer, or the reason why there is none."""
    try:
        status, said = ask(door, "GET", f"/top?of={of}&by={by}&n={rows}", seconds=_SECONDS)
    except (OSError, HTTPException, ValueError) as error:
        return no_answer(door, error)
    if status != 200 or not isinstance(said, dict):
        return "\n".join(problems_of(status, said))
    return said


def table_of(of: str, by: str, rows: Sequence[Mapping[str, Any]]) -> Table:
    """Rows as `GET /top` gives them."""
    table = Table(box=None, pad_edge=False)
    has_money = any(row["money"] for row in rows)
    columns = ["requests/s", "hits", "missed/s", "sent/s", *(["money/h"] if has_money else [])]
    chosen = {"requests": "requests/s", "missed_bytes": "missed/s", "money": "money/h"}[by]
    for name in columns:
        table.add_column(name, justify="right", no_wrap=True, style="bold" if name == chosen else None)
    table.add_column(of.removesuffix("s"), overflow="ellipsis", no_wrap=True)
    for row in rows:
        share = row["hits"] / row["requests"] if row["requests"] else 0.0
        cells = [_rate(row["requests"]), f"{share:.0%}", shown_size(round(row["missed_bytes"]))]
        cells += [shown_size(round(row["sent_bytes"])), *([f"{row['money']:.4f}"] if has_money else [])]
        name = str(row.get("target") or row.get(of.removesuffix("s"), "-"))
        table.add_row(*cells, Text(printable(name)))
    if not rows:
        table.add_row(*["-"] * len(columns), "nothing in the last minute")
    return table


def printable(text: str) -> str:
    """The text without characters that a terminal would obey."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def _rate(value: float) -> str:
    return f"{value:.0f}" if value >= 100.0 else f"{value:.1f}" if value >= 1.0 else f"{value:.3f}"


@contextlib.contextmanager
def _keys() -> Iterator[Callable[[float], str]]:
    """A function that waits so many seconds for a key, and returns it or an empty text."""
    if not sys.stdin.isatty():

        def wait(seconds: float) -> str:
            time.sleep(seconds)
            return ""

        yield wait
        return
    file = sys.stdin.fileno()
    before = termios.tcgetattr(file)

    def read(seconds: float) -> str:
        ready, _, _ = select.select([file], [], [], seconds)
        return os.read(file, 1).decode("ascii", "replace") or "q" if ready else ""  # at its end: the terminal is gone

    try:
        tty.setcbreak(file)
        yield read
    finally:
        termios.tcsetattr(file, termios.TCSADRAIN, before)
