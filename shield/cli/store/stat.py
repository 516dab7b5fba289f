"""shield store stat: the contents and sizes of tiers."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from shield.cli.check import read
from shield.cli.rounded import shown_duration, shown_size
from shield.cli.store.node import RefusedError, RunningNode, figures, of_directory
from shield.cli.store.places import ConfiguredDirectory, Opened, opened, places_of
from shield.store.directory.directory import DirectoryStatistics

_REFRESH_SECONDS = 1.0
_OF_DISKS = ("tiers", "pending", "unwritten", "cold_reads", "promoted")
_ENDLESS = 1000  # columns
_NAMES = ("TIER", "DIRECTORY", "HEALTH")
_NUMBERS = (
    *("ENTRIES", "SLICES", "USED", "OF", "SEGMENTS", "INDEX", "B/RECORD"),
    *("UNSCANNED", "WRITTEN", "DAMAGED", "ERRORS"),
)


def stat(path: Path, tiers: Sequence[str], directories: Sequence[Path], *, watch: bool, as_json: bool) -> int:
    """Print it; 0, or 2 when a directory can't be opened."""
    loaded = read(path)
    if loaded is None:
        return 2
    settings = loaded.settings
    node = RunningNode(settings)
    with opened(places_of(settings, tiers, directories), settings.node) as found:
        if watch and not as_json:
            console = Console()
            with suppress(KeyboardInterrupt), Live(console=console, auto_refresh=False) as live:
                while True:
                    for _, visit in found.visits:
                        visit.check()
                    live.update(_shown(_gathered(found, node), console), refresh=True)
                    time.sleep(_REFRESH_SECONDS)
            return 0
        gathered = _gathered(found, node)
        if as_json:
            print(json.dumps(gathered, indent=2))
        else:
            console = Console()
            if not console.is_terminal:
                console = Console(width=_ENDLESS)  # no terminal: lines stay whole
            console.print(_shown(gathered, console))
        return 2 if found.problems else 0


def _gathered(found: Opened, node: RunningNode) -> dict[str, Any]:
    """All figures, as plain values."""
    problem = None
    try:
        state = node.state()
    except RefusedError as error:
        state, problem = None, str(error)
    lines: dict[str, list[dict[str, object]]] = {}
    for place, visit in found.visits:
        lines.setdefault(place.tier, []).append(_line(place, visit.directory.statistics(), state))
    for place, why in found.problems:
        lines.setdefault(place.tier, []).append(
            {"path": str(place.path), "capacity_bytes": place.limits.capacity, "problem": why}
        )
    return {
        "tiers": [{"name": tier, "directories": directories} for tier, directories in lines.items()],
        "node": None if state is None else {key: state.get(key) for key in ("node", "uptime_seconds")},
        "node_problem": problem,
        "disk": None if state is None else _of_disks(state),
    }


def _line(
    place: ConfiguredDirectory, known: DirectoryStatistics, state: Mapping[str, Any] | None
) -> dict[str, object]:
    """A directory's state; its counts of written, damaged and refused since the start come from the node."""
    said = of_directory(state, str(place.path))
    return {
        "path": str(place.path),
        "health": said.get("health", known.health.value),
        "entries": known.entries - known.slices,
        "slices": known.slices,
        "entry_bytes": known.entry_bytes,
        "used_bytes": known.segment_bytes + known.index_bytes,
        "capacity_bytes": known.capacity_bytes,
        "segments": known.segments,
        "index_bytes": known.index_bytes,
        "index_bytes_per_record": round(known.index_bytes / known.entries, 1) if known.entries else None,
        "unscanned": known.unscanned,
        "oldest": known.oldest,
        "newest": known.newest,
        **{name: said.get(name) for name in ("written_bytes", "damaged", "errors")},
    }


def _of_disks(state: Mapping[str, Any]) -> Mapping[str, object]:
    disk = state.get("disk")
    if not isinstance(disk, dict):
        disk = {key: state[key] for key in _OF_DISKS if key in state}
    found = dict(figures(disk))
    written = sum(_written(state))
    sent = state.get("sent_bytes")
    if isinstance(sent, int) and sent and "write_amplification" not in found:
        found["written_per_byte_served"] = round(written / sent, 3)
    return found


def _written(value: object) -> Iterator[int]:
    if isinstance(value, dict):
        count = value.get("written_bytes")
        if isinstance(count, int) and "entry_bytes" in value:
            yield count
        for item in value.values():
            yield from _written(item)
    elif isinstance(value, list):
        for item in value:
            yield from _written(item)


def _shown(gathered: Mapping[str, Any], console: Console) -> RenderableType:
    rows = [_row(tier["name"], line) for tier in gathered["tiers"] for line in tier["directories"]]
    table = _table(rows)
    wanted = console.measure(table, options=console.options.update_width(_ENDLESS)).maximum
    parts: list[RenderableType] = [table if wanted <= console.width else _blocks(rows)]
    for tier in gathered["tiers"]:
        parts += [Text(line["problem"]) for line in tier["directories"] if "problem" in line]
    node = gathered["node"]
    if node is None:
        absent = "no node answers; the columns written, damaged and errors come from a running node"
        parts.append(Text(gathered["node_problem"] or absent))
    else:
        up = shown_duration(node["uptime_seconds"] or 0)
        parts.append(Text(f"node {node['node']}, up {up}"))
        parts += [Text(f"  {name:32} {_figure(name, value)}") for name, value in gathered["disk"].items()]
    return Group(*parts)


def _row(tier: str, line: Mapping[str, Any]) -> list[str]:
    if "problem" in line:
        return [tier, line["path"], "-", *[""] * len(_NUMBERS)]
    per_record = line["index_bytes_per_record"]
    return [
        tier,
        line["path"],
        line["health"],
        f"{line['entries']:,}",
        f"{line['slices']:,}",
        shown_size(line["used_bytes"]),
        shown_size(line["capacity_bytes"]),
        f"{line['segments']:,}",
        shown_size(line["index_bytes"]),
        "-" if per_record is None else f"{per_record:.0f}",
        str(line["unscanned"]),
        "-" if line["written_bytes"] is None else shown_size(line["written_bytes"]),
        *["-" if line[name] is None else f"{line[name]:,}" for name in ("damaged", "errors")],
    ]


def _table(rows: Sequence[Sequence[str]]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for name in _NAMES:
        table.add_column(name, no_wrap=True)
    for name in _NUMBERS:
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    return table


def _blocks(rows: Sequence[Sequence[str]]) -> Table:
    """For a narrow screen: one figure a line."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=False)
    for row in rows:
        for name, value in zip((*_NAMES, *_NUMBERS), row, strict=True):
            if value:
                table.add_row(name, Text(value, overflow="fold"))
        table.add_row()
    return table


def _figure(name: str, value: object) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        return shown_size(value) if name.endswith("bytes") else f"{value:,}"
    return str(value)
