"""shield store export and import: a hot set for another node."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO

from shield.cli.check import read
from shield.cli.rounded import shown_size
from shield.cli.store.places import UsageError, opened, places_of, size_of
from shield.cli.store.progress import progress
from shield.rules.rendezvous import Rendezvous
from shield.store.directory.files import Files
from shield.store.upkeep.intake import Intake
from shield.store.upkeep.moving import Export, Import, movable
from shield.store.upkeep.visit import push_nothing_out

_MOST_BYTES = 1 << 30  # of a record that is read: no segment is larger


def export(
    file: str, path: Path, tiers: Sequence[str], directories: Sequence[Path], *, limit: str | None, hot: bool
) -> int:
    """Write a file; 0, or 2 when a directory can't be opened."""
    loaded = read(path)
    if loaded is None:
        return 2
    settings = loaded.settings
    limit_bytes = None if limit is None else size_of(limit, "--limit-bytes")
    places = [p for p in places_of(settings, tiers, directories) if not (hot and p.level)]
    if not places:
        raise UsageError("--hot exports the first tier, but none of its directories is chosen")
    files = Files()
    with ExitStack() as stack:
        found = stack.enter_context(opened(places, settings.node))
        if found.problems:
            return found.say_problems()
        made = Export(stack.enter_context(_target(file)), limit_bytes=limit_bytes)
        there = sum(directory.statistics().entry_bytes for directory in found.directories)
        advance = stack.enter_context(progress("exported", there if limit_bytes is None else min(there, limit_bytes)))
        for record in movable(found.directories, time.time()):
            before = made.written_bytes
            if not made.add(record, files):
                break
            advance(made.written_bytes - before)
        made.finish()
    said = f"exported {made.records:,} records, {shown_size(made.written_bytes)}"
    print(said + (f"; {made.damaged:,} damaged ones left out" if made.damaged else ""), file=sys.stderr)
    return 0


def import_(file: str, path: Path) -> int:
    """Import a file; 0, 1 when it was damaged or cut short, 2 when it can't be done."""
    loaded = read(path)
    if loaded is None:
        return 2
    settings = loaded.settings
    places = places_of(settings)
    with ExitStack() as stack:
        stream = sys.stdin.buffer if file == "-" else stack.enter_context(Path(file).open("rb"))
        source = Import(stream)
        found = stack.enter_context(opened(places, settings.node, judge=push_nothing_out, may_begin=True))
        if found.problems:  # with only some directories, records would go where no node looks for them
            return found.say_problems()
        first = [place for place in places if place.level == 0]
        ring = Rendezvous([str(p.path).encode() for p in first], [float(p.limits.capacity) for p in first])
        intake = Intake(found.directories[: len(first)], ring, found.directories[len(first) :])
        size = None if file == "-" else Path(file).stat().st_size
        with progress("imported", size) as advance:
            before = 0
            for draft in source.drafts(_MOST_BYTES):
                intake.take(draft)
                advance(source.read_bytes - before)
                before = source.read_bytes
    placed = intake.placed
    refused = placed.refused + source.too_large
    said = [f"imported {placed.taken:,} records, {shown_size(placed.taken_bytes)}"]
    said += [f"{placed.known:,} are stored already"] if placed.known else []
    said += [f"no room for {placed.no_room:,}"] if placed.no_room else []
    said += [f"{refused:,} are too large for this store"] if refused else []
    said += [f"{source.damaged:,} were damaged"] if source.damaged else []
    print("; ".join(said))
    if not source.complete:
        print("the file is cut short: its whole records were imported")
    return 0 if source.complete and not source.damaged else 1


@contextmanager
def _target(file: str) -> Iterator[IO[bytes]]:
    """The stream to write to: a file appears under its name once it is complete."""
    if file == "-":
        if sys.stdout.isatty():
            raise UsageError("an export isn't for a terminal: give a file, or pipe it into `shield store import -`")
        yield sys.stdout.buffer
        return
    target = Path(file)
    draft = target.with_name(target.name + ".part")
    try:
        with draft.open("wb") as stream:
            yield stream
        draft.replace(target)
    except BaseException:
        with suppress(OSError):
            draft.unlink()
        raise
