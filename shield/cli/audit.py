"""shield audit: do several origins have the same objects? Prints differences as they are found, then a table."""

from __future__ import annotations

import asyncio
import json
import math
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from shield.audit.judgement import TOLD, AuditFinding, Tally
from shield.audit.outputs import Output, OutputAudit
from shield.audit.place import AuditPlace, AuditPlaceFile
from shield.audit.run import Audit, AuditStep, ObjectSum, ReadingDepth
from shield.build.audit import audited, buckets_of, sides_of
from shield.cli.check import read
from shield.cli.rounded import shown_duration, shown_size
from shield.cli.store.places import shown_text
from shield.config.settings import Settings
from shield.errors import ConfigError, Fault, OriginError, RequestError, ShieldError
from shield.rules.written import target_of

_TOLD_SECONDS = 30.0  # between two lines of progress where there is no terminal
_COLUMNS = ("objects", "bytes", "same", "same size", "missing", "different", "extra", "lagging", "not held", "unread")


class _DeclinedError(ShieldError):
    """The user declined to read objects."""


@dataclass(frozen=True, slots=True)
class AuditWish:
    """The options of an audit. `one_in`: with `deep`, one key in so many is read; `assents`: without confirmation;
    `paths`: a file with URLs whose responses are compared, instead of listings.
    """

    prefix: str = ""
    origins: tuple[str, ...] = ()
    deep: bool = False
    one_in: int = 1
    resume: Path | None = None
    paths: Path | None = None
    as_json: bool = False
    assents: bool = False


def audit(path: Path, wish: AuditWish) -> int:
    """0 without differences, 1 with differences, 2 if the audit failed."""
    loaded = read(path)
    if loaded is None:
        return 2
    try:
        names = audited(loaded.settings, wish.origins, by_listing=wish.paths is None)
        with asyncio.Runner() as runner:
            return runner.run(_AuditCommand(loaded.settings, names, wish).run())
    except ConfigError as error:
        print("\n".join(error.problems), file=sys.stderr)
    except OriginError as error:
        print(_advice(loaded.settings, error), file=sys.stderr)
    except ShieldError as error:
        print(error, file=sys.stderr)
    except KeyboardInterrupt:
        print(
            "\nstopped; "
            + ("the same command goes on from here" if wish.resume else "--resume FILE would have kept its place"),
            file=sys.stderr,
        )
    return 2


def _advice(settings: Settings, error: OriginError) -> str:
    """An error, and its remedy."""
    said = str(error)
    if error.status == 403 or error.fault in (Fault.AUTH, Fault.FORBIDDEN):
        bucket = settings.origins[error.origin].bucket
        said += (
            f"\nAn audit lists the bucket: the credentials of {error.origin} need the right to list {bucket} "
            "(s3:ListBucket; deploy/iam has policies), and they may be wrong."
        )
    return said


class _AuditCommand:
    """One audit, and its results so far."""

    def __init__(self, settings: Settings, names: Sequence[str], wish: AuditWish) -> None:
        self._settings = settings
        self._names = names
        self._wish = wish
        self._tallies = {name: Tally() for name in names}
        self._progress = _Progress()
        self._file = None if wish.resume is None else AuditPlaceFile(wish.resume, self._identity())

    def _identity(self) -> Mapping[str, object]:
        where = {name: self._settings.origins[name].location().object_url(b"/") for name in self._names}
        return {"prefix": self._wish.prefix, "origins": where, "deep": self._wish.deep, "sample": self._wish.one_in}

    async def run(self) -> int:
        wish = self._wish
        after = self._resumed()
        depth = ReadingDepth(reads=wish.deep, one_in=wish.one_in)
        async with AsyncExitStack() as stack:
            buckets = buckets_of(self._settings, self._names, time.time, stack)
            sides = sides_of(self._settings, self._names)
            made = Audit(
                buckets, sides, prefix=wish.prefix.encode("utf-8", "surrogateescape"), depth=depth, clock=time.time
            )
            if wish.deep and not wish.assents:
                _confirm(await made.estimate(after), self._cost)
            if wish.paths is None:
                found = made.steps(after)
            else:
                compared = OutputAudit(buckets, sides, clock=time.time)
                found = compared.steps(_outputs(wish.paths, self._settings))
            async with aclosing(found) as steps:
                async for step in steps:
                    self._take(step)
                    for bucket in buckets:
                        self._tallies[bucket.name].compared_bytes += bucket.read_bytes
                        self._tallies[bucket.name].compared_objects += bucket.read_objects
                        bucket.read_bytes = bucket.read_objects = 0
                    if self._file is not None:
                        self._file.write(AuditPlace(step.last, self._tallies))
        self._progress.end()
        if self._file is not None:
            self._file.remove()
        self._conclude(made.opaque)
        if any(tally.unread for tally in self._tallies.values()):
            return 2
        return 1 if any(tally.differences for tally in self._tallies.values()) else 0

    def _cost(self, readings: Sequence[ObjectSum]) -> str:
        """The price of the objects read from each origin, by currency; "" if no origin has a price."""
        sums: dict[str, float] = {}
        for name, reading in zip(self._names, readings, strict=True):
            given = self._settings.origins[name].price
            if given is not None:
                price = given.price
                sums[price.currency] = sums.get(price.currency, 0.0) + price.of(reading.bytes, reading.objects)
        return "".join([f", about {amount:.2f} {currency}" for currency, amount in sums.items()])

    def _resumed(self) -> bytes | None:
        place = None if self._file is None else self._file.read()
        if place is None:
            return None
        self._tallies = dict(place.tallies)
        print(f"going on after {shown_text(place.after)}", file=sys.stderr)
        return place.after

    def _take(self, step: AuditStep) -> None:
        for row in step.rows:
            for name, copy in zip(self._names, row.copies, strict=True):
                if copy is not None:
                    self._tallies[name].objects += 1
                    self._tallies[name].bytes += copy.size
        told = [finding for finding in step.findings if finding.kind in TOLD]
        self._progress.pause()
        for finding in step.findings:
            self._tallies[finding.origin].count(finding)
        for finding in told:
            print(_as_json(finding) if self._wish.as_json else _as_text(finding))
        sys.stdout.flush()
        self._progress.tell(step.last, self._tallies)

    def _conclude(self, opaque: Sequence[str]) -> None:
        if self._wish.as_json:
            summary = {name: tally.as_dict() for name, tally in self._tallies.items()}
            print(json.dumps({"reference": self._names[0], "summary": summary, "opaque": opaque}))
            return
        _print_table(self._names, self._tallies)
        for name in opaque:
            print(f"{name}: its ETags are no MD5s, as with keys of KMS, and weren't compared: --deep compares bytes")
        if not any(tally.objects for tally in self._tallies.values()) and self._wish.prefix.startswith("/"):
            print("nothing begins with this prefix: keys of objects seldom begin with a slash, as paths of URLs do")
        if self._wish.deep or self._wish.paths:
            read = sum(tally.compared_bytes for tally in self._tallies.values())
            cost = self._cost([ObjectSum(t.compared_objects, t.compared_bytes) for t in self._tallies.values()])
            print(f"{shown_size(read)} of objects were read ({read:,} bytes of egress{cost})")


def _outputs(path: Path, settings: Settings) -> Iterator[Output]:
    """The resources of a file's lines: URLs or paths as clients request them. Raises ConfigError."""
    routes = settings.route_table()
    try:
        with path.open(encoding="utf-8", errors="surrogateescape") as file:
            for number, line in enumerate(file, start=1):
                if not line.strip():
                    continue
                try:
                    resource = routes.resolve(target_of(line.strip()))
                except RequestError as error:
                    raise ConfigError([f"{path}:{number}: {error.reason}; expected a URL or a path"]) from None
                label = resource.path + b"?" + resource.query if resource.query else resource.path
                yield Output(label, resource.path, resource.query)
    except OSError as error:
        raise ConfigError([f"{path}: can't be read: {error.strerror}"]) from None


def _confirm(estimate: Sequence[ObjectSum], cost: Callable[[Sequence[ObjectSum]], str]) -> None:
    """Ask before bytes are read. Raises _DeclinedError."""
    size = sum(reading.bytes for reading in estimate)
    said = f"--deep will read about {shown_size(size)} from the origins ({size:,} bytes of egress{cost(estimate)})"
    if not sys.stdin.isatty():
        raise _DeclinedError(f"{said}; add --yes to agree, or --sample N to read one key in N")
    print(f"{said}. Go on? [y/N] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise _DeclinedError("nothing was read")


def _as_text(finding: AuditFinding) -> str:
    said = f"{finding.kind.value:9}  {finding.origin}  {shown_size(finding.size):>8}  {shown_text(finding.key)}"
    if finding.lag is not None:
        said += f"  written {shown_duration(finding.lag)} ago"
    return f"{said}  ({finding.why})" if finding.why else said


def _as_json(finding: AuditFinding) -> str:
    return json.dumps(
        {
            "kind": finding.kind.value,
            "origin": finding.origin,
            "key": finding.key.decode("utf-8", "backslashreplace"),
            "bytes": finding.size,
            "modified": None if math.isinf(finding.modified) else finding.modified,
            "lag_seconds": None if finding.lag is None else round(finding.lag, 3),
            "why": finding.why or None,
        }
    )


def _print_table(names: Sequence[str], tallies: Mapping[str, Tally]) -> None:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("origin", no_wrap=True)
    for column in _COLUMNS:
        table.add_column(column, justify="right", no_wrap=True)
    for name in names:
        tally = tallies[name]
        counts = (
            tally.same,
            tally.same_size,
            tally.missing,
            tally.different,
            tally.extra,
            tally.lagging,
            tally.not_held,
            tally.unread,
        )
        shown = ["reference", *[""] * 7] if name == names[0] else [f"{count:,}" for count in counts]
        table.add_row(name, f"{tally.objects:,}", shown_size(tally.bytes), *shown)
    # Wide enough for whole lines unless on a terminal: scripts read them.
    console = Console() if sys.stdout.isatty() else Console(width=200)
    console.print(table)
    for name in names[1:]:
        if tallies[name].oldest_lag:
            print(
                f"{name}: the oldest missing, different or lagging object was written "
                f"{shown_duration(tallies[name].oldest_lag)} ago"
            )


class _Progress:
    """On standard error: one line that changes on a terminal, else a line now and then."""

    def __init__(self) -> None:
        self._is_live = sys.stderr.isatty()
        self._told_at = self._began = time.monotonic()
        self._keys = 0

    def tell(self, key: bytes, tallies: Mapping[str, Tally]) -> None:
        """Show the last key."""
        now = time.monotonic()
        if not self._is_live and now - self._told_at < _TOLD_SECONDS:
            return
        self._told_at = now
        objects = max(tally.objects for tally in tallies.values())
        found = sum(tally.differences for tally in tallies.values())
        read = sum(tally.compared_bytes for tally in tallies.values())
        said = f"{objects:,} objects, {found:,} differences"
        said += f", {shown_size(read)} read" if read else ""
        said += f", {shown_duration(now - self._began)}, at {shown_text(key)[:60]}"
        print(
            f"\r\x1b[K{said}" if self._is_live else said,
            end="" if self._is_live else "\n",
            file=sys.stderr,
            flush=True,
        )

    def pause(self) -> None:
        """Make room for lines on standard output."""
        if self._is_live:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)

    end = pause
