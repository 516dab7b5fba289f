"""shield log: requests as they happen, by the admin API: as lines, or counted by a field."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator, Mapping
from datetime import datetime
from http.client import HTTPException, HTTPResponse, IncompleteRead
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from shield.cli.admin import admin_of, no_answer, problems_of
from shield.cli.rounded import shown_size
from shield.cli.watch.top import printable
from shield.observe.heavy import HeavyHitters
from shield.rules.log_lines import FIELDS
from shield.rules.log_query import LogQueryError, log_query

_SECONDS = 30.0  # without a sign of life, which comes every five
_REFRESH_SECONDS = 0.5
_READ_BYTES = 65536
_COUNTED = 10_000  # values of a field
_FOREVER = 1e12  # counts don't fade
_ABOVE = 4
_SHOWN = 20

SaidLine = Mapping[str, Any]


def log(path: Path, query: str, *, field: str, seconds: float | None, most: int, as_json: bool) -> int:
    """Print requests until it is ended; 0, 1 if the stream broke off, 2 if it couldn't begin. With a `field` they are
    counted by it.
    """
    if field and field not in (*FIELDS, "path"):
        print(f"--top {field}: expected one of {' '.join(FIELDS)} path", file=sys.stderr)
        return 2
    try:
        log_query(query)
    except LogQueryError as error:
        print(f"{query}\n{' ' * error.position}^\n{error}", file=sys.stderr)
        return 2
    door = admin_of(path)
    if door is None:
        return 2
    asked = {"query": query, **({} if seconds is None else {"seconds": seconds})}
    connection = door.connection(_SECONDS)
    try:
        connection.request("GET", f"/log?{urlencode(asked)}", headers=door.headers())
        answer = connection.getresponse()
        if answer.status != 200:
            data = answer.read()
            is_json = answer.headers.get_content_subtype().endswith("json")
            problems = problems_of(answer.status, json.loads(data) if is_json else None)
            print(
                "\n".join([*problems, *([door.token.remedy] if answer.status in (401, 403) else [])]), file=sys.stderr
            )
            return 2
    except (OSError, HTTPException, ValueError) as error:
        connection.close()
        print(no_answer(door, error), file=sys.stderr)
        return 2
    try:
        lines = _lines(answer, most)
        if field:
            _count(lines, field)
        else:
            _print(lines, as_json=as_json)
    except KeyboardInterrupt:
        return 0
    except BrokenPipeError:  # `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # it is flushed at the end
        return 0
    except IncompleteRead:
        print("the stream broke off: the worker that sent it, or the node, has ended; start again", file=sys.stderr)
        return 1
    except (OSError, HTTPException, ValueError) as error:
        print(f"the stream broke off: {error}", file=sys.stderr)
        return 1
    finally:
        answer.close()
        connection.close()
    return 0


def _lines(answer: HTTPResponse, most: int) -> Iterator[SaidLine]:
    """What the node says; empty ones are signs of life. Ends after `most` requests, if that isn't 0."""
    count = 0
    for raw in _raw_lines(answer):
        line = json.loads(raw) if raw.strip() else {}
        yield line
        count += "target" in line
        if most and count >= most:
            return


def _raw_lines(answer: HTTPResponse) -> Iterator[bytes]:
    """Those of the response itself are not enough: with `for`, one that breaks off seems to end. Raises
    IncompleteRead.
    """
    rest = b""
    while data := answer.read1(_READ_BYTES):
        *whole, rest = (rest + data).split(b"\n")
        yield from whole
    if rest:
        raise IncompleteRead(rest)


def _print(lines: Iterator[SaidLine], *, as_json: bool) -> None:
    for line in lines:
        if as_json and line:
            print(json.dumps(line, separators=(",", ":")), flush=True)
        elif "target" in line:
            print(line_shown(line), flush=True)
        elif line:
            print(_dropped(line["dropped"], line["unexamined"]), file=sys.stderr)


def _dropped(dropped: int, unexamined: int) -> str:
    return f"too many: {dropped} requests aren't shown, {unexamined} weren't looked at; ask for less"


def line_shown(line: SaidLine) -> str:
    """A request in a line for people."""
    at = datetime.fromtimestamp(line["time"]).strftime("%H:%M:%S")
    place = line.get("origin") or line.get("tier") or "-"
    said = [word for word in (line.get("reason"), line.get("detail")) if word and word != line["cache"]]
    marks = [*dict.fromkeys(said), *(["broken off"] if line.get("broken") else [])]
    what = f"{line['cache']:<11} {line['status']:>3} {shown_size(line['bytes']):>8} {line['seconds'] * 1000:>7.0f}ms"
    who = f"{place:<10} {line['method']} {line['target']}  {line['client']}"
    return printable("  ".join([f"{at} {what} {who}", *marks]))


class Counts:
    """Requests by the value of one field: their number, bytes and seconds."""

    def __init__(self, field: str) -> None:
        self._field = field
        self._hitters = HeavyHitters(by=0, size=3, capacity=_COUNTED, seconds=_FOREVER)
        self.requests = self.dropped = self.unexamined = 0

    def add(self, line: SaidLine) -> None:
        if "target" not in line:
            self.dropped += line.get("dropped", 0)
            self.unexamined += line.get("unexamined", 0)
            return
        self.requests += 1
        value = line["target"].partition("?")[0] if self._field == "path" else line.get(self._field, "-")
        self._hitters.add(str(value), "", (1.0, float(line["bytes"]), float(line["seconds"])), 0.0)

    def table(self, rows: int) -> Table:
        table = Table(box=None, pad_edge=False, caption_justify="left", caption=self._caption())
        for name in ("requests", "share", "bytes", "seconds"):
            table.add_column(name, justify="right", no_wrap=True)
        table.add_column(self._field, overflow="ellipsis", no_wrap=True)
        for each in self._hitters.top(rows, 0.0):
            count, size, seconds = each.sums
            share, mean = count / self.requests, seconds / count
            cells = (f"{count:.0f}", f"{share:.1%}", shown_size(round(size)), f"{mean:.3f}")
            table.add_row(*cells, Text(printable(each.name)))
        return table

    def _caption(self) -> str:
        said = f"{self.requests} requests"
        return f"{said}; {_dropped(self.dropped, self.unexamined)}" if self.dropped or self.unexamined else said


def _count(lines: Iterator[SaidLine], field: str) -> None:
    counts, console = Counts(field), Console(soft_wrap=not sys.stdout.isatty())
    if not console.is_terminal:
        try:
            for line in lines:
                counts.add(line)
        finally:
            console.print(counts.table(_SHOWN))
        return
    refreshed = 0.0
    with Live(console=console, auto_refresh=False) as live:
        for line in lines:
            counts.add(line)
            if time.monotonic() - refreshed > _REFRESH_SECONDS:
                live.update(counts.table(max(1, console.height - _ABOVE)), refresh=True)
                refreshed = time.monotonic()
        live.update(counts.table(max(1, console.height - _ABOVE)), refresh=True)
