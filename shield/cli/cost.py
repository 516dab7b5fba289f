"""shield cost: the bill so far, from the ledger and the prices of the settings. shield prices: the list prices."""

from __future__ import annotations

import csv
import json
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from datetime import UTC, date, datetime
from itertools import chain
from pathlib import Path
from typing import Any, Protocol, Self, TypeVar

from rich import box
from rich.console import Console
from rich.table import Table

from shield.build.usage import all_prices, sites_of
from shield.cli.check import old_prices, read
from shield.cli.ledgers import ledgers_of
from shield.cli.rounded import billed_size
from shield.config.settings import Settings
from shield.egress.ledger import Ledger
from shield.errors import ConfigError, StoreError
from shield.rules.bill import Bill, BillLine, Charges, TagUsage, Usage, bill, bill_by_tag, forecast
from shield.rules.focus import COLUMNS, focus_rows
from shield.rules.prices import PRESETS, STALE_DAYS, Price, zones_of
from shield.rules.sites import OriginSite, SiteHistory
from shield.rules.zones import Month, Zones, day_of, running_month


def cost(
    path: Path,
    *,
    by: str,
    month: str | None,
    form: str,
    labels: Sequence[str] = (),
    ledgers: Sequence[Path] = (),
    now: float | None = None,
) -> int:
    """Print the bill of a month; 0, or 2 if it can't be told. `form` is table, json, csv or a version of FOCUS; only
    origins with these `labels`, as KEY=VALUE, count. `ledgers` are copies of other nodes', to be added.
    """
    loaded, now = read(path), time.time() if now is None else now
    if loaded is None:
        return 2
    settings = loaded.settings
    prices = all_prices(settings)
    zones = zones_of(prices)
    try:
        of = BilledTime.of(_month(month, zones, now), zones)
        origins = _labelled(settings, labels)
        found_ledgers = ledgers_of(settings, ledgers)
        usage = _usage(found_ledgers, of, origins)
        site_of = _site_of(found_ledgers, settings)
    except (ConfigError, StoreError, ValueError) as error:
        print(error, file=sys.stderr)
        return 2
    rates = Charges(usage, prices)
    if form in COLUMNS:
        _print_focus(settings, usage, prices, site_of, form)
        return 0
    if by == "tag":
        kept = of.those(chain.from_iterable(each.tag_rows(of.start, of.stop) for each in found_ledgers))
        rows = [row for row in kept if row.origin in origins or ANY in origins]
        tags = [TagUsage(row.at, row.origin, row.tag, row.requests, row.received) for row in rows]
        found, tagged = bill_by_tag(usage, tags, rates)
    else:
        found, tagged = bill(usage, rates, _name_of(by, site_of, zones)), None
    whole = forecast(usage, prices, of.month, now) if of.start <= now < of.stop else {}
    if form == "json":
        json.dump(_plain(found, by, of, whole), sys.stdout, indent=2)
        print()
    elif form == "csv":
        _print_csv(found, by)
    else:
        _print_table(found, by, of, whole)
        if found.fetched_elsewhere and not ledgers:
            size = billed_size(found.fetched_elsewhere)
            print(f"{size} of it came through other nodes that fetched it: their ledgers have it (--ledger)")
        if tagged is not None:
            print(_on_tags(settings, found, tagged))
        for note in old_prices(settings, datetime.fromtimestamp(now, UTC).date()):
            print(note)
    return 0


def prices(path: Path | None = None) -> int:
    """Print the list prices, with those of the settings first if there are any; 0, or 2 if these can't be read."""
    loaded = None if path is None else read(path)
    if path is not None and loaded is None:
        return 2
    own = {} if loaded is None else loaded.settings.price_list
    table = Table(box=box.SIMPLE_HEAD)
    for name in ("preset", "a GB", "1,000 requests", "free a month", "months of", "read", "but", "source"):
        table.add_column(name, overflow="fold")
    today = datetime.now(UTC).date()
    listed = {name: (each.price, each.listed) for name, each in own.items()}
    listed |= {name: (each.price, each) for name, each in PRESETS.items() if name not in own}
    for name, (price, preset) in listed.items():
        egress = f"{price.egress:.4g} {price.currency}"
        egress += "".join([f"\nbeyond {billed_size(start)}: {each:g}" for start, each in price.tiers])
        free = billed_size(price.free) if price.free else "-"
        row = (name, egress, f"{price.requests:g}", free, price.zone)
        table.add_row(*row, *(("-",) if preset is None else (_age(preset.read, today), preset.caveat, preset.source)))
    Console(width=None if sys.stdout.isatty() else 160).print(table)
    return 0


def _age(read: date, today: date) -> str:
    return str(read) if (today - read).days <= STALE_DAYS else f"{read}, long ago: check it"


class _BilledRow(Protocol):
    @property
    def at(self) -> int: ...

    @property
    def origin(self) -> str: ...


_Counted = TypeVar("_Counted", bound=_BilledRow)


@dataclass(frozen=True, slots=True)
class BilledTime:
    """A month, from its beginning in the first of these zones to its end in the last."""

    month: Month
    zones: Zones
    spans: Mapping[str, tuple[float, float]]

    @classmethod
    def of(cls, month: Month, zones: Zones) -> Self:
        return cls(month, zones, {zone: month.within(zone) for zone in zones.all()})

    @property
    def start(self) -> float:
        return min([start for start, _ in self.spans.values()])

    @property
    def stop(self) -> float:
        return max([stop for _, stop in self.spans.values()])

    def those(self, rows: Iterable[_Counted]) -> list[_Counted]:
        """The rows that begin in this month of their origin's zone."""
        found = []
        for row in rows:
            start, stop = self.spans[self.zones.of(row.origin)]
            if start <= row.at < stop:
                found.append(row)
        return found

    def __str__(self) -> str:
        zones = list(self.spans)
        return f"{date(*self.month, 1):%B %Y} ({'' if len(zones) == 1 else 'by provider: '}{', '.join(zones)})"


def _month(text: str | None, zones: Zones, now: float) -> Month:
    """Raises ValueError."""
    if text is None:
        return running_month(zones.all(), now)
    try:
        said = datetime.strptime(text, "%Y-%m")
        return Month(said.year, said.month)
    except ValueError:
        raise ValueError(f"--month {text}: expected a year and a month, as 2026-11") from None


def _labelled(settings: Settings, labels: Sequence[str]) -> set[str]:
    """The origins that have all these labels; their own count more than the node's. Raises ValueError."""
    wanted = {}
    for each in labels:
        key, equals, value = each.partition("=")
        if not equals:
            raise ValueError(f"--label {each}: expected KEY=VALUE, as team=web")
        wanted[key] = value
    found = {
        name
        for name, origin in settings.origins.items()
        if wanted.items() <= {**settings.labels, **origin.labels}.items()
    }
    if not found:
        raise ValueError(f"--label {' --label '.join(labels)}: no origin has it (labels, origins.NAME.labels)")
    return found if labels else found | {ANY}


ANY = "*"  # among origins: those that are gone from the settings, too


def _on_tags(settings: Settings, found: Bill, tagged: int) -> str:
    if not settings.ledger.tags:
        return "No tags are counted: set ledger.tags to their beginnings, as [tenant-]"
    share, beginnings = 100.0 * tagged / max(found.total.received, 1), ", ".join(settings.ledger.tags)
    return (
        f"{billed_size(tagged)} ({share:.1f} %) had a tag that begins with {beginnings}: bodies, as long as they "
        "were stated. A response with several tags is in the line of each"
    )


SiteOf = Callable[[str, float], OriginSite | None]
"""Where an origin was at a time, by its name; None: it is gone, and nothing was noted of it."""


def _site_of(ledgers: Sequence[Ledger], settings: Settings) -> SiteOf:
    """By the ledgers, else by the settings as they are now."""
    history, now = SiteHistory(chain.from_iterable(each.sites() for each in ledgers)), sites_of(settings)
    return lambda name, at: history.of(name, at) or now.get(name)


def _usage(ledgers: Sequence[Ledger], of: BilledTime, origins: Set[str]) -> list[Usage]:
    """Of these origins; what clients got is of all, and is left out unless all count."""
    return [
        Usage(row.at, row.origin, row.route, row.reason, row.received, row.statuses, row.span)
        for row in of.those(chain.from_iterable(each.rows(of.start, of.stop) for each in ledgers))
        if row.origin in origins or ANY in origins
    ]


def _name_of(by: str, site_of: SiteOf, zones: Zones) -> Callable[[Usage], str]:
    def of_site(each: Usage, key: str) -> str:
        site = site_of(each.origin, each.at)
        return "(removed)" if site is None else getattr(site, key) or "-"

    ways: Mapping[str, Callable[[Usage], str]] = {
        "origin": lambda each: each.origin,
        "provider": lambda each: of_site(each, "provider"),
        "region": lambda each: of_site(each, "region"),
        "route": lambda each: each.route or "(none)",
        "reason": lambda each: each.reason,
        "day": lambda each: str(day_of(each.at, zones.of(each.origin))),
    }
    return ways[by]


# forms


def _print_table(found: Bill, by: str, of: BilledTime, whole: Mapping[str, float]) -> None:
    console = Console(width=None if sys.stdout.isatty() else 120)
    table = Table(box=box.SIMPLE_HEAD, show_footer=True)
    total = found.total
    table.add_column(by, footer="total", overflow="fold")
    for name, footer in (
        ("requests", f"{total.requests:,}"),
        ("received", billed_size(total.received)),
        ("cost", _money(total)),
    ):
        table.add_column(name, justify="right", footer=footer)
    lines = sorted(found.lines, key=lambda line: line.name) if by == "day" else found.lines
    for line in lines:
        table.add_row(line.name, f"{line.requests:,}", billed_size(line.received), _money(line))
    console.print(f"Egress in {of}, an estimate at the settings' prices", soft_wrap=True)
    console.print(table)
    if whole:
        said = " + ".join([f"{money:,.2f} {currency}" for currency, money in sorted(whole.items())])
        console.print(f"Forecast for the whole month: {said}")
    if found.served:
        share = 100.0 * found.saved.received / found.served
        worth = f", worth {_money(found.saved)}" if any(found.saved.money.values()) else ""
        saved = f"{billed_size(found.saved.received)} of it ({share:.1f} %)"
        near = f", {billed_size(found.elsewhere)} of that from other nodes" if found.elsewhere else ""
        console.print(f"Clients got {billed_size(found.served)}; {saved} came from the cache{near}{worth}")
    if total.unpriced:
        console.print(f"{billed_size(total.unpriced)} came from origins without a price (origins.NAME.price)")


def _money(line: BillLine) -> str:
    return " + ".join([f"{money:,.4f} {name}" for name, money in sorted(line.money.items())]) or "-"


def _plain(found: Bill, by: str, of: BilledTime, whole: Mapping[str, float]) -> dict[str, Any]:
    def line(each: BillLine) -> dict[str, Any]:
        return {
            "requests": each.requests,
            "received_bytes": each.received,
            "cost": each.money,
            "unpriced_bytes": each.unpriced,
        }

    return {
        "month": str(of.month),
        "zones": {**of.zones.by_origin, "*": of.zones.usual},
        "is_estimate": True,
        "by": by,
        "lines": [{by: each.name, **line(each)} for each in found.lines],
        "total": line(found.total),
        "saved": line(found.saved),
        "served_bytes": found.served,
        "from_other_nodes_bytes": found.elsewhere,
        "fetched_by_other_nodes_bytes": found.fetched_elsewhere,
        "forecast": dict(whole),
    }


def _print_csv(found: Bill, by: str) -> None:
    writer = csv.writer(sys.stdout)
    writer.writerow([by, "requests", "received_bytes", "currency", "cost"])
    for line in found.lines:
        for currency, money in sorted(line.money.items()) or [("", 0.0)]:
            writer.writerow([line.name, line.requests, line.received, currency, f"{money:.6f}"])


def _print_focus(
    settings: Settings,
    usage: Sequence[Usage],
    prices: Mapping[str, Price | None],
    site_of: SiteOf,
    version: str,
) -> None:
    writer = csv.DictWriter(sys.stdout, COLUMNS[version])
    writer.writeheader()
    labels = {
        name: {"x_node": settings.node}
        | {f"x_{label}": value for label, value in {**settings.labels, **origin.labels}.items()}
        for name, origin in settings.origins.items()
    }
    for row in focus_rows(usage, prices, site_of, labels, version):
        writer.writerow(row)
