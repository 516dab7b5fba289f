"""Results of simulations as a table, as JSON, and as a page with drawings."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from shield.simulate.chart import ChartLine, Drawing, page
from shield.simulate.results import Estimate, Foretold
from shield.simulate.traffic import Gathering

_GB = 1e9
_FEW_ENTRIES = 200  # in a sample's RAM: fewer behave differently
_COLUMNS = 4  # of nodes in one table
_TITLE = "Simulated from access logs"
_LONG_GAP = 0.3  # of the log's time
_FEW_SECONDS = 86400.0  # in less than a day, not all hours of traffic are seen


def notes(gathered: Gathering, found: Sequence[Foretold], warm_up: float, *, logged: float) -> list[str]:
    """What the figures are of, and what the logs didn't tell. `logged`: share of hits in access logs."""
    tally = gathered.tally
    said = [f"{_number(tally.requests, 'request')} from {_shown(tally.first)} to {_shown(tally.last)} UTC"]
    if warm_up:
        said.append(f"The first {warm_up:.0%} of that time only filled the caches")
    if gathered.share < 1.0:
        number, share = len(gathered.samples), gathered.share
        said.append(f"Estimated from {number} samples of {share:.3g} of the paths each; ± covers 95 of 100 cases")
        few = [
            (each.crowded, each.name) for each in found if each.crowded is not None and each.crowded < _FEW_ENTRIES
        ]
        if few:
            least, name = min(few)
            said.append(
                f"In a sample, the RAM of {name} has room for only {least} objects, too few to trust: "
                "take a larger --sample"
            )
        unfit = max(found, key=lambda each: each.unfit, default=None)
        if unfit is not None and unfit.unfit:
            said.append(
                f"In a sample, the disks of {unfit.name} were too small for {unfit.unfit:,} objects or slices that "
                "fit the real ones, so that too much comes from origins here: take a larger --sample"
            )
    if tally.answered:
        said.append(f"{_number(tally.answered, 'more line')} left out: the CDN answered them from its cache")
    if tally.other:
        said.append(
            f"{_number(tally.other, 'more line')} left out: no GET or HEAD that a node looks up (other methods, "
            "refused requests, health checks)"
        )
    if tally.unreadable:
        files = f" in {tally.unreadable_files} files" if tally.unreadable_files > 1 else ""
        said.append(f"{_number(tally.unreadable, 'line')}{files} couldn't be read; the first is {tally.trouble}")
    if tally.own > tally.requests // 2 and not tally.own_hits:
        said.append("The node's log has no hits, so that these figures are of misses only: set access_log.hits: 1")
    elif tally.own > tally.requests // 2 and 0.0 < logged < 1.0:
        said.append(
            f"These settings have {logged:.2g} of the hits logged (access_log.hits): if the log's node had, too, the "
            "figures are far off"
        )
    before, after = gathered.gap()
    if after - before > max(_LONG_GAP * (tally.last - tally.first), _FEW_SECONDS):
        said.append(
            f"No request is from between {_shown(before)} and {_shown(after)}: if files are missing, or a line's "
            "time is wrong, the price of a month is too low"
        )
    if tally.last - tally.first < _FEW_SECONDS:
        said.append("The log covers less than a day: the price of a month may be far off")
    guessed = max((each.guessed for each in found), default=0.0)
    if guessed and all(each.guessed + each.refused > 1.0 - 1e-9 for each in found):
        said.append(
            "No line has the size of an object, so that bodies count as empty here, and bytes and prices are far too "
            "low: give a listing (--sizes)"
        )
    elif guessed:
        share = max(each.guessed_bytes for each in found)
        said.append(
            f"Sizes were guessed for {guessed:.1%} of requests and {share:.1%} of origins' bytes: no line has them"
        )
    placed = max((each.placed for each in found), default=0.0)
    if placed:
        said.append(
            f"{placed:.1%} of requests are for parts of objects, of which no line tells the place: each was taken to "
            "follow the one before (log the field Range)"
        )
    if any(each.unpriced.value for each in found):
        said.append("Origins without a price (origins.NAME.price) cost nothing here")
    return said


def _number(count: int, of: str) -> str:
    return f"{count:,} {of}{'' if count == 1 else 's'}"


def _shown(at: float) -> str:
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M:%S}"


def rows(found: Sequence[Foretold]) -> list[list[str]]:
    """All figures, a column for each node; the first row has their names."""
    tiers = list(dict.fromkeys(tier for each in found for tier in each.hits))
    reasons = list(dict.fromkeys(reason for each in found for reason in each.received))
    currencies = list(dict.fromkeys(currency for each in found for currency in each.money))
    none = Estimate(0.0)

    def row(name: str, shown: Callable[[float], str], values: Sequence[Estimate | None]) -> list[str]:
        return [name, *["-" if value is None else _with_error(value, shown) for value in values]]

    table = [["", *[each.name for each in found]], ["requests", *[f"{each.asked:,}" for each in found]]]
    if any(each.refused for each in found):
        table.append(["  refused", *[f"{each.refused:.1%}" for each in found]])
    table.append(row("hit ratio", _percent, [each.hit for each in found]))
    table += [row(f"  {tier}", _percent, [each.hits.get(tier, none) for each in found]) for tier in tiers]
    table.append(row("origin requests", _count, [each.all_requests for each in found]))
    table += [row(f"  {name}", _count, [each.requests.get(name, none) for each in found]) for name in reasons]
    table.append(row("origin bytes", _bytes, [each.all_received for each in found]))
    table += [row(f"  {name}", _bytes, [each.received.get(name, none) for each in found]) for name in reasons]
    for currency in currencies:
        table.append(
            row(
                f"{currency} in 30 days",
                lambda value: f"{value:,.2f}",
                [each.money.get(currency) for each in found],
            )
        )
    return table


def print_table(found: Sequence[Foretold], said: Sequence[str]) -> None:
    console = Console(width=None if sys.stdout.isatty() else 160)
    console.print(_TITLE, highlight=False)
    for start in range(0, len(found), _COLUMNS):
        head, *lines = rows(found[start : start + _COLUMNS])
        table = Table(box=box.SIMPLE_HEAD)
        for number, name in enumerate(head):
            table.add_column(name, justify="right" if number else "left", overflow="fold")
        for line in lines:
            table.add_row(*line)
        console.print(table)
    for note in said:
        console.print(note, highlight=False, soft_wrap=True)


def as_plain(found: Sequence[Foretold], gathered: Gathering, said: Sequence[str]) -> dict[str, Any]:
    """For JSON."""
    tally = gathered.tally

    def plain(value: Estimate) -> dict[str, float | None]:
        return {"value": value.value, "error": value.error}

    def all_of(values: dict[str, Estimate]) -> dict[str, Any]:
        return {name: plain(value) for name, value in values.items()}

    return {
        "log": {
            "lines": tally.lines,
            "requests": tally.requests,
            "sent_bytes": tally.sent,
            "answered_by_cdn": tally.answered,
            "other": tally.other,
            "unreadable": tally.unreadable,
            "from": tally.first,
            "to": tally.last,
            "sample": gathered.share,
        },
        "notes": list(said),
        "nodes": [
            {
                "name": each.name,
                "requests": each.asked,
                "refused_ratio": each.refused,
                "hit_ratio": plain(each.hit),
                "hit_ratio_by_tier": all_of(each.hits),
                "origin_requests": {"all": plain(each.all_requests), **all_of(each.requests)},
                "origin_bytes": {"all": plain(each.all_received), **all_of(each.received)},
                "cost_30_days": all_of(each.money),
                "unpriced_bytes_30_days": plain(each.unpriced),
                "guessed_requests_ratio": each.guessed,
                "guessed_origin_bytes_ratio": each.guessed_bytes,
                "guessed_places_ratio": each.placed,
            }
            for each in found
        ],
    }


def as_page(found: Sequence[Foretold], places: Sequence[str], said: Sequence[str]) -> str:
    """One HTML file; `places` are the swept sizes, "" without a sweep."""
    lines: dict[str, list[Foretold]] = {}
    for each, place in zip(found, places, strict=True):
        lines.setdefault(each.name.removesuffix(f" {place}") if place else "", []).append(each)
    across = list(dict.fromkeys(place or each.name for each, place in zip(found, places, strict=True)))

    def drawing(title: str, shown: Callable[[float], str], of: Callable[[Foretold], Estimate]) -> Drawing:
        chart = [ChartLine(name or title, [of(each) for each in all_]) for name, all_ in lines.items()]
        return Drawing(title, across, chart, shown)

    return page(
        _TITLE,
        said,
        [
            drawing("Hit ratio", _percent, lambda each: each.hit),
            drawing("Bytes from origins", _bytes, lambda each: each.all_received),
        ],
        rows(found),
    )


def _with_error(value: Estimate, shown: Callable[[float], str]) -> str:
    if value.error == 0.0:
        return shown(value.value)
    error, plain = "?" if value.error is None else shown(value.error), shown(value.value)
    for unit in (" %", " PB", " TB", " GB", " MB", " KB"):
        if plain.endswith(unit) and error.endswith(unit):
            plain = plain.removesuffix(unit)
    return f"{plain} ± {error}"


def _percent(value: float) -> str:
    return f"{100 * value:.2f} %"


def _count(value: float) -> str:
    return f"{value:,.0f}"


def _bytes(value: float) -> str:
    for unit, size in (("PB", 1e15), ("TB", 1e12), ("GB", _GB), ("MB", 1e6), ("KB", 1e3)):
        if value >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value:.0f} B"
