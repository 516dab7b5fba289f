"""shield whatif: the choices of origins in a time of the last day again, with other settings."""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from shield.cli.admin import instruct
from shield.config.loading import load
from shield.errors import ConfigError
from shield.rules.decisions import KEPT_SECONDS, DecisionBasis, digest_of, first_shares
from shield.rules.moments import EXPECTED, moment, shown
from shield.rules.routes import Route

_SECONDS = 30.0
_KEY = re.compile(r"[a-z0-9_-]+(\.[a-z0-9_-]+)*").fullmatch


def whatif(path: Path, *, at: str, changes: Sequence[str]) -> int:
    """Print how the choices would differ; 0, or 2 if it can't be told. `at` are two times, as 03:00..04:00; `changes`
    are settings, as routes.default.choose=weighted.
    """
    span = _span(at, time.time())
    if span is None:
        print(f"--at {at}: expected two of these, as 03:00..04:00: {EXPECTED}, within the last day", file=sys.stderr)
        return 2
    try:
        variables = _variables(changes)
        before = load(path, environ=os.environ).settings.route_table()
        after = load(path, environ={**os.environ, **variables}).settings.route_table()
    except ConfigError as error:
        print("\n".join(error.problems), file=sys.stderr)
        return 2
    start, stop = span
    answer = instruct(path, f"/decisions?at={start:.2f}&until={stop:.2f}", seconds=_SECONDS, method="GET")
    if answer is None or not answer[0]:
        return 2
    notes = _notes(answer[1])
    if notes is None:
        print("the node is of another version: its answer can't be understood", file=sys.stderr)
        return 2
    print("\n".join(_lines(tuple(before), tuple(after), notes, start, stop)))
    return 0


def _span(text: str, now: float) -> tuple[float, float] | None:
    zone = datetime.now().astimezone().tzinfo or UTC
    first, dots, last = text.partition("..")
    start = moment(first, now - KEPT_SECONDS, zone)
    stop = moment(last, start or now, zone)
    if not dots or start is None or stop is None or not now - KEPT_SECONDS <= start < stop <= now:
        return None
    return start, stop


def _variables(changes: Sequence[str]) -> dict[str, str]:
    """The variables that change these settings. Raises ConfigError."""
    found = {}
    for change in changes:
        key, equals, value = change.partition("=")
        if not equals or not _KEY(key):
            raise ConfigError([f"--set {change}: expected KEY=VALUE, as routes.default.choose=weighted"])
        found["SHIELD_" + key.upper().replace("-", "_").replace(".", "__")] = value
    return found


def _notes(said: Mapping[str, Any]) -> list[DecisionBasis] | None:
    try:
        return [DecisionBasis.read(each) for each in said["notes"]]
    except (ValueError, KeyError, TypeError, AttributeError, IndexError):
        return None


def _lines(
    before: Sequence[Route], after: Sequence[Route], notes: Sequence[DecisionBasis], start: float, stop: float
) -> Iterator[str]:
    yield f"from       {shown(start)} to {shown(stop)}, {len(notes)} notes"
    yield "first      share of keys and time for which each origin came first: as it was, and with the changes"
    changed = {route.name: route for route in after}
    covered = 0.0
    for route in before:
        shares, covered = first_shares(route, notes, start, stop)
        other = changed.get(route.name)
        others = {} if other is None else first_shares(other, notes, start, stop)[0]
        yield f"route      {route.name}"
        for name in dict.fromkeys((*shares, *others)):
            yield f"           {name:<12} {_percent(shares, name)}  {_percent(others, name)}"
    if stop - start - covered > max(1.0, 0.01 * (stop - start)):
        yield f"note       {stop - start - covered:.0f} s of it weren't noted: the node wasn't running then"
    for route in after:
        if route.choice is not None and any(note.usual(route) is None for note in notes):
            yield f"note       route {route.name}: where its order by cost wasn't noted, it counts as listed"
    digest = digest_of(before)
    if any(note.settings != digest for note in notes):
        yield "note       the node's settings were different then: its choices may differ from the first figure"


def _percent(shares: Mapping[str, float], name: str) -> str:
    return f"{100.0 * shares[name]:5.1f} %" if name in shares else "    none"
