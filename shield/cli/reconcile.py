"""shield cost reconcile: a provider's report against the ledger, by day and origin."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from shield.build.usage import all_prices
from shield.cli.check import read
from shield.cli.ledgers import ledgers_of
from shield.cli.rounded import billed_size
from shield.cli.tables import TableError, as_text, csv_rows, files_of, is_columnar, parquet_rows, text_of
from shield.config.settings import Settings
from shield.config.units import ExpectedError, parse_share
from shield.errors import ShieldError, StoreError
from shield.rules.bill import Charges, Usage
from shield.rules.prices import zones_of
from shield.rules.reconcile import HEAD_BYTES, DayDrift, ReadTotal, Reconciled, Reconciliation, mistaken_unit
from shield.rules.reports import (
    GB,
    GIB,
    S3_LOG,
    ReportedRead,
    ReportError,
    ReportFormat,
    format_of,
    is_s3_line,
    s3_read,
)

_EXPECTED = (
    "expected a Cost and Usage Report of AWS, a billing export of Google, a FOCUS export, a usage.*.csv of B2, or an "
    "access log of S3 or Cloud Storage"
)
_READERS = 10
_BINARY = ("AWS", "Azure")


@dataclass(frozen=True, slots=True)
class ReconcileWish:
    """The options, as written."""

    files: Sequence[str]
    ledgers: Sequence[Path] = ()
    origin: str | None = None
    tolerance: str = "2%"
    decimal: bool = False
    as_json: bool = False


def reconcile(config: Path, wish: ReconcileWish) -> int:
    """Print how far reports and ledger differ; 0, 1 if by more than the tolerance, 2 if it can't be told."""
    loaded = read(config)
    if loaded is None:
        return 2
    try:
        tolerance = parse_share(wish.tolerance)
    except ExpectedError as error:
        print(f"--tolerance {wish.tolerance}: {error}", file=sys.stderr)
        return 2
    try:
        found, kind = _reconciled(loaded.settings, wish)
    except (ShieldError, ReportError) as error:
        print(error, file=sys.stderr)
        return 2
    drifted = [day for day in found.days if _has_drifted(day, tolerance)]
    said = _notes(found, kind, wish, drifted)
    if wish.as_json:
        json.dump(_plain(found, kind, tolerance, said), sys.stdout, indent=2)
        print()
    else:
        _print(found, kind, tolerance, said)
    return 1 if drifted else 0


def _reconciled(settings: Settings, wish: ReconcileWish) -> tuple[Reconciled, str]:
    """What was found, and the kind of the reports. Raises ShieldError."""
    ledgers = ledgers_of(settings, wish.ledgers)
    known = [row for row in chain.from_iterable(each.rows(0, 1 << 53) for each in ledgers) if row.origin]
    if not known:
        raise StoreError("the ledger is empty: a node with these settings fills it as it fetches from origins")
    reads = chain.from_iterable(_reads(name, wish) for name in files_of(wish.files))
    kind, first = next(reads, (None, None))
    if kind is None or first is None:
        raise TableError(f"{', '.join(wish.files)}: no row tells of reads from a bucket")
    prices = all_prices(settings)
    buckets, since = _buckets(settings, wish.origin), min(row.at for row in known)
    made = Reconciliation(buckets, zones_of(prices), since=since, is_log=_is_log(kind))
    for other, each in chain([(kind, first)], reads):
        if other != kind:
            raise TableError(f"{', '.join(wish.files)}: a {kind} and a {other}: give reports of one kind")
        made.report(each if each.bucket or wish.origin is None else each._replace(bucket=wish.origin))
    usage = [Usage(row.at, row.origin, row.route, row.reason, row.received, row.statuses, row.span) for row in known]
    return made.with_ledger(usage, Charges(usage, prices)), kind


def _buckets(settings: Settings, origin: str | None) -> dict[str, list[str]]:
    """Origins' names by bucket; with `origin`, all that names no bucket is that one's."""
    if origin is not None and origin not in settings.origins:
        raise StoreError(f"--origin {origin}: there is none in the settings: {', '.join(settings.origins)}")
    found: dict[str, list[str]] = {}
    for name, each in settings.origins.items():
        if origin is None or name == origin:
            found.setdefault(origin or each.bucket or _azure_account(each.endpoint) or name, []).append(name)
            if origin is not None and each.bucket:
                found[each.bucket] = found.pop(origin)
    return found


def _azure_account(endpoint: str | None) -> str | None:
    """The storage account of an endpoint of Azure's, as reports have it."""
    account, mark, _ = (endpoint or "").partition("://")[2].lower().partition(".blob.core.windows.net")
    return account if mark else None


def _is_log(kind: str) -> bool:
    return kind.endswith("access log")


def _reads(name: str, wish: ReconcileWish) -> Iterator[tuple[str, ReportedRead]]:
    """All reads of one file, each with the kind of the file. Raises TableError, which names file, line and column."""
    gigabyte = GB if wish.decimal else GIB
    if is_columnar(name):
        yield from _columnar(name, gigabyte)
        return
    with text_of(name) as lines:
        first = next(lines, "")
        if is_s3_line(first):
            for number, line in enumerate(chain([first], lines), 1):
                yield from _one(name, number, S3_LOG, partial(s3_read, line))
            return
        header = next(csv_rows(name, iter([first]), [str(place) for place in range(2000)]), None)
        columns = [] if header is None else [text.removeprefix("\ufeff") for text in header.fields.values() if text]
        found = _known(name, columns)
        for row in csv_rows(name, lines, columns):
            yield from _one(name, row.line, found.name, partial(found.read, row.fields, _unit(found, gigabyte)))


def _columnar(name: str, gigabyte: int) -> Iterator[tuple[str, ReportedRead]]:
    chosen: list[ReportFormat] = []

    def choose(columns: Sequence[str]) -> Sequence[str]:
        found = _known(name, columns)
        chosen.append(found)
        wanted = {*found.needs, *found.uses}
        return [column for column in columns if column in wanted]

    for row in parquet_rows(name, choose):
        found = chosen[0]
        fields = {column: as_text(value) for column, value in row.fields.items()}
        yield from _one(name, row.line, found.name, partial(found.read, fields, _unit(found, gigabyte)))


def _known(name: str, columns: Sequence[str]) -> ReportFormat:
    try:
        found = format_of(columns)
    except ReportError as error:
        raise TableError(f"{name}:1: {error}") from None
    if found is None:
        raise TableError(f"{name}:1: no report that can be read; {_EXPECTED}")
    return found


def _unit(found: ReportFormat, gigabyte: int) -> int:
    """AWS means 2^30 bytes by GB, and Azure is taken to; others write GiB then."""
    return gigabyte if found.name.startswith(_BINARY) else GB


def _one(name: str, line: int, kind: str, read_it: Any) -> Iterator[tuple[str, ReportedRead]]:
    try:
        found = read_it()
    except ReportError as error:
        raise TableError(f"{name}:{line}: {error}") from None
    if found is not None:
        yield kind, found


# results


def _has_drifted(day: DayDrift, tolerance: float) -> bool:
    drift = day.drift
    if drift is None:
        return day.reported.size > 0
    return abs(drift) > tolerance


def _notes(found: Reconciled, kind: str, wish: ReconcileWish, drifted: Sequence[DayDrift]) -> list[str]:
    said = []
    if found.total.others:
        share = found.total.others / max(found.total.reported.size, 1)
        said.append(f"{billed_size(found.total.others)} ({share:.1%}) was read by others than this node")
    if found.early:
        said.append(f"{found.early:,} rows from before the ledger began were left out")
    if found.strangers:
        size, names = sum(found.strangers.values()), sorted(found.strangers)[:5]
        shown = ", ".join([each or "(no name)" for each in names])
        said.append(f"{billed_size(size)} of buckets that are no origin's was left out: {shown}")
        if "" in found.strangers and wish.origin is None:
            said.append("Rows without a bucket are counted with --origin NAME")
    if _is_log(kind):
        said.append(
            f"The ledger's bytes are without heads here, taken for {HEAD_BYTES} bytes each: logs have bodies only"
        )
    if kind.startswith(_BINARY) and drifted and mistaken_unit(found.total.drift):
        other = "without" if wish.decimal else "with"
        said.append(f"It is off by 7.4 %, as GB from GiB: try it {other} --decimal")
    if drifted and not wish.ledgers:
        said.append("If several nodes read these buckets, add their ledgers by --ledger FILE")
    return said


def _print(found: Reconciled, kind: str, tolerance: float, said: Sequence[str]) -> None:
    console = Console(width=None if sys.stdout.isatty() else 140)
    start, stop = (datetime.fromtimestamp(at, UTC) for at in (found.start, found.stop))
    console.print(f"{kind}, {start:%Y-%m-%d %H:%M} to {stop:%Y-%m-%d %H:%M} UTC, against the ledger", highlight=False)
    table = Table(box=box.SIMPLE_HEAD, show_footer=True)
    total, has_money = found.total, bool(found.total.reported.money)
    columns = [
        ("day", "total", "left"),
        ("origin", "", "left"),
        ("reported", billed_size(total.reported.size), "right"),
        *([] if total.ours is None else [("of it ours", billed_size(total.ours.size), "right")]),
        ("ledger", billed_size(total.counted.size), "right"),
        ("drift", _percent(total.drift), "right"),
        ("others", billed_size(total.others), "right"),
        ("requests", f"{total.reported.requests:,}", "right"),
        ("ledger's", f"{total.counted.requests:,}", "right"),
        *([("cost", _money(total.reported), "right"), ("ledger's cost", _money(total.counted), "right")] * has_money),
    ]
    for name, footer, side in columns:
        table.add_column(name, footer=footer, justify="right" if side == "right" else "left", overflow="fold")
    for day in found.days:
        mark = "  (!)" if _has_drifted(day, tolerance) else ""
        table.add_row(
            str(day.day),
            day.origins,
            billed_size(day.reported.size),
            *([] if day.ours is None else [billed_size(day.ours.size)]),
            billed_size(day.counted.size),
            _percent(day.drift) + mark,
            billed_size(day.others),
            f"{day.reported.requests:,}",
            f"{day.counted.requests:,}",
            *([_money(day.reported), _money(day.counted)] * has_money),
        )
    console.print(table)
    for name, of in found.readers[:_READERS]:
        console.print(
            f"  {billed_size(of.size):>9} in {of.requests:,} requests by {name}", highlight=False, markup=False
        )
    for note in said:
        console.print(note, highlight=False, soft_wrap=True, markup=False)


def _percent(drift: float | None) -> str:
    return "-" if drift is None else f"{100 * drift:+.2f} %"


def _money(of: ReadTotal) -> str:
    return " + ".join([f"{money:,.4f} {currency}" for currency, money in sorted(of.money.items())]) or "-"


def _plain(found: Reconciled, kind: str, tolerance: float, said: Sequence[str]) -> dict[str, Any]:
    def reading(of: ReadTotal | None) -> dict[str, Any] | None:
        return None if of is None else {"requests": of.requests, "bytes": of.size, "cost": of.money}

    def line(day: DayDrift) -> dict[str, Any]:
        return {
            "reported": reading(day.reported),
            "reported_ours": reading(day.ours),
            "ledger": reading(day.counted),
            "drift": day.drift,
            "others_bytes": day.others,
        }

    return {
        "report": kind,
        "from": found.start,
        "to": found.stop,
        "tolerance": tolerance,
        "days": [
            {"day": str(day.day), "origin": day.origins, "drifted": _has_drifted(day, tolerance), **line(day)}
            for day in found.days
        ],
        "total": line(found.total),
        "readers": [{"reader": name, "requests": of.requests, "bytes": of.size} for name, of in found.readers],
        "other_buckets": found.strangers,
        "notes": list(said),
    }
