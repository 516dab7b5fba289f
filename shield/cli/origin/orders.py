"""The origins of the running node, as it treats them, and orders about them."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from shield.cli.admin import instruct
from shield.cli.live import flags_shown
from shield.cli.rounded import shown_duration, shown_size
from shield.config.units import ExpectedError, parse_duration
from shield.rules.budgets import worded
from shield.rules.moments import EXPECTED, moment

_SECONDS = 10.0
_PROBE_SECONDS = 60.0
_COLUMNS = ("origin", "state", "since", "flags", "p95", "probe", "reason")
_GOOD = ("clean", "learned", "unproven")


def ls(path: Path, *, as_json: bool) -> int:
    """Print all origins; 0, or 1 if no node could be asked."""
    answer = instruct(path, "/origins", method="GET", seconds=_SECONDS)
    if answer is None or not answer[0]:
        return 1
    listed = answer[1]["origins"]
    print(json.dumps(listed, indent=2) if as_json else "\n".join(_listed(listed)))
    return 0


def drain(path: Path, name: str, *, until: str | None, as_json: bool) -> int:
    """Keep fetches away from an origin. 0, 1 if that is refused or no node could be asked, 2 for an unusable time."""
    end = None
    if until is not None:
        end = _end(until)
        if end is None:
            print(f"--until {until}: expected a duration as 30min or 2h, or {EXPECTED}", file=sys.stderr)
            return 2
    return _order(path, name, "drain", {} if end is None else {"until": end}, as_json=as_json)


def foretell(path: Path, name: str, *, as_json: bool) -> int:
    """What others would give instead of an origin, and its price; 0, or 1 if that isn't known or no node answers."""
    wish = {"dry_run": True}
    answer = instruct(path, f"/origins/{quote(name, safe='')}/drain", wish=wish, seconds=_SECONDS)
    if answer is None or not answer[0]:
        return 1
    print(json.dumps(answer[1], indent=2) if as_json else "\n".join(foretold(name, answer[1]["hourly"])))
    return 0


def foretold(name: str, hourly: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """The same in words, a line for each route."""
    if not hourly:
        yield f"origin {name} gave nothing in the last hour"
    for each in hourly:
        requests = "request" if each["requests"] == 1 else "requests"
        given = f"{worded(each['bytes'], None)} in {each['requests']:,} {requests} an hour"
        to = each["to"] or "no other origin: they fail"
        yield f"route {each['route']}: {given} -> {to}{_prices(each)}"


def _prices(taken: Mapping[str, Any]) -> str:
    before, after, currency = taken["before"], taken["after"], taken["currency"]
    if after is None:
        return ""
    if before is None:
        return f", for {worded(after, currency)} an hour"
    return f", for {worded(after, currency)} an hour instead of {worded(before, currency)}"


def restore(path: Path, name: str, *, as_json: bool) -> int:
    """Let an origin have fetches again. 0, or 1 if that is refused or no node could be asked."""
    return _order(path, name, "restore", None, as_json=as_json)


def probe(path: Path, name: str, *, as_json: bool) -> int:
    """Fetch an origin's canaries; 0 if all are there and as before, else 1, also if no node could be asked."""
    answer = instruct(path, f"/origins/{quote(name, safe='')}/probe", seconds=_PROBE_SECONDS)
    if answer is None or not answer[0]:
        return 1
    probes = answer[1]["probes"]
    if as_json:
        print(json.dumps(answer[1], indent=2))
    else:
        rows = [
            (each["path"], shown_size(each["asked"]), each["result"], f"{each['first_byte_ms']:.0f} ms")
            + ((each["problem"],) if each["problem"] else ("",))
            for each in probes
        ]
        print("\n".join(_table(("object", "bytes", "result", "first byte", "problem"), rows)))
    return 0 if all(each["result"] in _GOOD for each in probes) else 1


def _order(path: Path, name: str, order: str, wish: object, *, as_json: bool) -> int:
    answer = instruct(path, f"/origins/{quote(name, safe='')}/{order}", wish=wish, seconds=_SECONDS)
    if answer is None or not answer[0]:
        return 1
    done = answer[1]
    if as_json:
        print(json.dumps(done, indent=2))
        return 0
    print("\n".join(_listed([done["origin"]])))
    for note in done["notes"]:
        print(f"note: {note}", file=sys.stderr)
    return 0


def _end(text: str) -> float | None:
    """The epoch seconds of a time, or after a duration; None if it is neither."""
    now = time.time()
    try:
        return now + parse_duration(text)
    except ExpectedError:
        zone = datetime.now().astimezone().tzinfo
        assert zone is not None
        return moment(text, now, zone)


def _listed(origins: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    return _table(_COLUMNS, [_row(each) for each in origins])


def _table(columns: Sequence[str], found: Sequence[Sequence[str]]) -> Iterator[str]:
    rows = [columns, *found]
    widths = [max(len(row[column]) for row in rows) for column in range(len(columns))]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def _row(origin: Mapping[str, Any]) -> tuple[str, ...]:
    since, p95 = origin["since_seconds"], origin["p95_seconds"]
    return (
        origin["name"],
        origin["state"],
        "-" if since is None else shown_duration(since),
        ", ".join(flags_shown(origin)) or "-",
        "-" if p95 is None else f"{p95 * 1000.0:.0f} ms",
        _last_probe(origin["probes"]),
        origin["reason"],
    )


def _last_probe(probes: Mapping[str, Any]) -> str:
    if probes["last"] is None:
        return "-"
    return f"{probes['last']} {shown_duration(max(0.0, time.time() - probes['last_at']))} ago"
