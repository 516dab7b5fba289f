"""shield cost: the bill so far, from the ledger and the prices of the settings."""

from __future__ import annotations

import csv
import json
import sys
import time
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence, Set
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
from shield.rules.bill import (
    FORECAST_SECONDS,
    Bill,
    BillLine,
    Charges,
    TagUsage,
    Usage,
    account_of,
    bill,
    bill_by_tag,
    forecast,
)
from shield.rules.focus import COLUMNS, focus_rows
from shield.rules.prices import Price, zones_of
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
        if unpriced := bill(usage, rates).total.unpriced:
            print(f"{billed_size(unpriced)} of origins without a price are left out", file=sys.stderr)
        return 0
    if by == "tag":
        kept = of.those(chain.from_iterable(each.tag_rows(of.start, of.stop) for each in found_ledgers))
        rows = [row for row in kept if row.origin in origins or ANY in origins]
        tags = [TagUsage(row.at, row.origin, row.tag, row.requests, row.received) for row in rows]
        found, tagged = bill_by_tag(usage, tags, rates)
    else:
        found, tagged = bill(usage, rates, _name_of(by, site_of, zones)), None
    whole = {}
    if of.start <= now < of.stop:
        before = _before(found_ledgers, of, origins, now)
        began = [first for each in found_ledgers if (first := each.begins()) is not None]
        whole = forecast([*before, *usage], prices, of.month, now, since=min(began, default=now))
    if form == "json":
        json.dump(_plain(found, by, of, whole, settings), sys.stdout, indent=2)
        print()
    elif form == "csv":
        _print_csv(found, by, settings)
    else:
        _print_table(found, by, of, whole)
        if found.fetched_elsewhere and not ledgers:
            size = billed_size(found.fetched_elsewhere)
            print(f"{size} of it came through other nodes that fetched it: their ledgers have it (--ledger)")
        if tagged is not None:
            print(_on_tags(settings, found, tagged))
        for note in _beyond_limits(usage, prices):
            print(note)
        for note in old_prices(settings, datetime.fromtimestamp(now, UTC).date()):
            print(note)
    return 0


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


def _beyond_limits(usage: Sequence[Usage], prices: Mapping[str, Price | None]) -> list[str]:
    """Notes on origins, or accounts, of which more was read than the provider puts up with."""
    received: dict[Hashable, int] = {}
    names: dict[Hashable, tuple[str, Price]] = {}
    for each in usage:
        price = prices.get(each.origin) if each.origin else None
        if price is not None and price.limit:
            account = account_of(each.origin, price)
            received[account] = received.get(account, 0) + each.received
            names.setdefault(account, (price.account or each.origin, price))
    said = []
    for place, (name, price) in names.items():
        if received[place] > 0.8 * price.limit:
            much = f"{billed_size(received[place])} of {billed_size(price.limit)} a month that the provider allows"
            said.append(f"{name}: {much} are read: it throttles reads beyond that, or ends the contract")
    return said


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


def _before(ledgers: Sequence[Ledger], of: BilledTime, origins: Set[str], now: float) -> list[Usage]:
    """Usage of the last days that isn't of this month: a forecast at its beginning goes by that."""
    rows = list(chain.from_iterable(each.rows(now - FORECAST_SECONDS, of.stop) for each in ledgers))
    those = set(of.those(rows))
    return [
        Usage(row.at, row.origin, row.route, row.reason, row.received, row.statuses, row.span)
        for row in rows
        if row not in those and row.origin and (row.origin in origins or ANY in origins)
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


def _labels_of(name: str, by: str, settings: Settings) -> dict[str, str]:
    """The labels that all of a line has: those of the node, and of its origin if it is the line of one."""
    origin = settings.origins.get(name) if by == "origin" else None
    own = [origin.labels] if origin is not None else []
    if by != "origin":
        # What an origin has of its own in place of the node's isn't true of all of such a line.
        changed = {key for each in settings.origins.values() for key in each.labels}
        return {key: value for key, value in settings.labels.items() if key not in changed}
    return {key: value for each in (settings.labels, *own) for key, value in each.items()}


def _plain(found: Bill, by: str, of: BilledTime, whole: Mapping[str, float], settings: Settings) -> dict[str, Any]:
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
        "lines": [
            {by: each.name, **line(each), "labels": _labels_of(each.name, by, settings)} for each in found.lines
        ],
        "total": line(found.total),
        "saved": line(found.saved),
        "served_bytes": found.served,
        "from_other_nodes_bytes": found.elsewhere,
        "fetched_by_other_nodes_bytes": found.fetched_elsewhere,
        "forecast": dict(whole),
    }


def _print_csv(found: Bill, by: str, settings: Settings) -> None:
    """A row for each line and currency, with what is billed in that; without a currency those that have no price."""
    keys = sorted({*settings.labels, *(key for each in settings.origins.values() for key in each.labels)})
    writer = csv.writer(sys.stdout)
    writer.writerow([by, "requests", "received_bytes", "currency", "cost", *[f"label_{key}" for key in keys]])
    for line in found.lines:
        labels = _labels_of(line.name, by, settings)
        for currency, (requests, received) in sorted(line.parts.items()):
            numbers = requests, received, currency, f"{line.money.get(currency, 0.0):.6f}"
            writer.writerow([line.name, *numbers, *[labels.get(key, "") for key in keys]])


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
        name: {"x_node": settings.node, **settings.labels, **origin.labels}
        for name, origin in settings.origins.items()
    }
    for row in focus_rows(usage, prices, site_of, labels, version):
        writer.writerow(row)
