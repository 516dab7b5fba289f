"""Ramps of the running node: shown, and changed."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from shield.cli.admin import instruct
from shield.cli.rounded import shown_duration
from shield.rules.ramp import RampEnd

_SECONDS = 10.0
_COLUMNS = ("origin", "status", "share", "since", "next step", "failed", "differing")


def status(path: Path, *, as_json: bool) -> int:
    """Print all ramps; 0, or 1 if no node could be asked."""
    answer = instruct(path, "/ramps", method="GET", seconds=_SECONDS)
    if answer is None or not answer[0]:
        return 1
    ramps = answer[1]["ramps"]
    if as_json:
        print(json.dumps(ramps, indent=2))
    else:
        print("\n".join(_listed(ramps)) if ramps else "no origin has a ramp")
    return 0


def command(path: Path, name: str, order: str, *, as_json: bool) -> int:
    """Give an order about a ramp. 0, or 1 if it is refused or no node could be asked."""
    answer = instruct(path, f"/ramps/{quote(name, safe='')}/{order}", seconds=_SECONDS)
    if answer is None or not answer[0]:
        return 1
    done = answer[1]
    if as_json:
        print(json.dumps(done, indent=2))
        return 0
    print("\n".join(_listed([done["ramp"]])) if done["ramp"] else f"{name} has no ramp any more: it serves all keys")
    for note in done["notes"]:
        print(f"note: {note}", file=sys.stderr)
    return 0


def _listed(ramps: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    rows = [_COLUMNS, *[_row(each) for each in ramps]]
    widths = [max([len(row[column]) for row in rows]) for column in range(len(_COLUMNS))]
    for row in rows:
        yield "  ".join([cell.ljust(width) for cell, width in zip(row, widths, strict=True)]).rstrip()
    for each in ramps:
        if each["end"] is not None:
            yield f"{each['origin']}: {RampEnd[each['end'].upper()].value}"


def _row(ramp: Mapping[str, Any]) -> tuple[str, ...]:
    share = "shadow" if ramp["is_shadow"] else f"{ramp['share']:.0%}"
    is_open = ramp["status"] in ("running", "paused")
    return (
        ramp["origin"],
        ramp["status"],
        share,
        shown_duration(max(0.0, time.time() - ramp["since"])),
        ramp["missing"] if is_open else "-",
        f"{ramp['failed']} of {ramp['fetches']}",
        str(ramp["differing"]),
    )
