"""shield prices: the list prices."""

from __future__ import annotations

import sys
from datetime import UTC, date, datetime
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table

from shield.cli.check import read
from shield.rules.prices import PRESETS, STALE_DAYS, Price


def prices(path: Path | None = None) -> int:
    """Print the list prices, with those of the settings first if there are any; 0, or 2 if these can't be read."""
    loaded = None if path is None else read(path)
    if path is not None and loaded is None:
        return 2
    own = {} if loaded is None else loaded.settings.price_list
    table = Table(box=box.SIMPLE_HEAD)
    for name in ("preset", "egress", "1,000 requests", "free a month", "months of", "read", "but", "source"):
        table.add_column(name, overflow="fold", no_wrap=name == "egress")
    today = datetime.now(UTC).date()
    listed = {name: (each.price, each.listed) for name, each in own.items()}
    listed |= {name: (each.price, each) for name, each in PRESETS.items() if name not in own}
    for name, (price, preset) in listed.items():
        egress = f"{price.egress:.4g} {price.currency} a {price.unit_name}"
        egress += "".join([f"\nbeyond {_volume(start, price)}: {each:g}" for start, each in price.tiers])
        egress += "".join([f"\n+ {each:g} {what}" for what, each in price.surcharges])
        allowed = [_volume(price.free, price)] if price.free else []
        allowed += [f"{price.free_requests:,.0f} requests"] if price.free_requests else []
        free = "\n".join(allowed) or "-"
        row = (name, egress, f"{price.requests:g}", free, price.zone)
        table.add_row(*row, *(("-",) if preset is None else (_age(preset.read, today), preset.caveat, preset.source)))
    Console(width=None if sys.stdout.isatty() else 160).print(table)
    return 0


def _volume(size: float, price: Price) -> str:
    """In the units of the price, as providers state it."""
    number, unit, step = size / price.unit, price.unit_name, 1024.0 if price.unit_name == "GiB" else 1000.0
    if number >= step:
        number, unit = number / step, unit.replace("G", "T")
    return f"{number:,.4g} {unit}"


def _age(read: date, today: date) -> str:
    return str(read) if (today - read).days <= STALE_DAYS else f"{read}, long ago: check it"
