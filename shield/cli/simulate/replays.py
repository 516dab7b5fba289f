"""Logs that are read, and replayed through nodes: what `shield simulate` and `shield advise` have in common."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from http.client import HTTPException
from typing import Any

from shield.cli.admin import AdminDoor, ask, problems_of
from shield.cli.store.places import UsageError, opened, places_of, shown_text
from shield.cli.tables import TableError, files_of, is_columnar, parquet_rows, text_of
from shield.config.settings import Settings
from shield.config.units import ExpectedError, parse_share
from shield.errors import ConfigError, ShieldError
from shield.rules.listed import ListedSize, SizeReader, of_fields
from shield.rules.logged import LOG_FIELDS
from shield.simulate.node import SimulationTerms, replayed
from shield.simulate.results import Foretold, Replayed, foretold
from shield.simulate.traffic import Gathering
from shield.store.contents import MOST_SIZES
from shield.store.upkeep.listing import entries

STORE = "store"
"""In place of a listing: the cache directories of the settings."""

NODE = "node"
"""In place of a listing: the running node, by its admin listener."""

_NODE_SECONDS = 30.0

_EXPECTED = "expected a line of JSON each (this node's, nginx's, Cloudflare's, Fastly's), combined, or CloudFront's"
_NAMED = 3  # logs of many that a message names


class UnreadableLogError(ShieldError):
    """A log that can't be read, or has no request in it."""


def gathered(logs: Sequence[str], share: float, *, takes_answered: bool, sample: str | None) -> Gathering:
    """The requests of these files. Raises UnreadableLogError, also if there are none."""
    gathering = Gathering(share, takes_answered=takes_answered)
    try:
        for name in files_of(logs):
            if is_columnar(name):
                gathering.take_rows(_rows(name), name)
                continue
            with text_of(name) as lines:
                gathering.take(lines, name)
    except TableError as error:
        raise UnreadableLogError(str(error)) from None
    gathering.finish()
    tally = gathering.tally
    if not tally.requests:
        said = (
            f"none of its lines ({tally.lines:,}) is a GET or HEAD of an object"
            if tally.lines
            else "nothing is in it"
        )
        if tally.answered:
            said += f", but for {tally.answered} that the CDN answered itself (--cdn-hits counts them)"
        elif tally.unreadable:
            said += f"; {_EXPECTED}; {tally.trouble}"
        more = f" and {len(logs) - _NAMED} more" if len(logs) > _NAMED else ""
        raise UnreadableLogError(f"{', '.join(logs[:_NAMED])}{more}: {said}")
    if not any(map(len, gathering.samples)):
        raise UnreadableLogError(f"--sample {sample}: no request is in a sample; expected a larger share")
    return gathering


def _rows(name: str) -> Iterator[Mapping[str, Any]]:
    def choose(columns: Sequence[str]) -> Sequence[str]:
        known = [column for column in columns if column in LOG_FIELDS]
        if not known:
            raise TableError(f"{name}: no column is one of a log; {_EXPECTED}")
        return known

    for row in parquet_rows(name, choose):
        yield {key: _plain(value) for key, value in row.fields.items() if value is not None}


def _plain(value: Any) -> Any:
    """A field as JSON would have it: times without a zone are UTC."""
    if isinstance(value, datetime):
        return (value if value.tzinfo is not None else value.replace(tzinfo=UTC)).timestamp()
    return value if isinstance(value, str | int | float | bool | dict) else str(value)


def listed_sizes(source: str, wanted: set[bytes], settings: Settings) -> dict[bytes, int]:
    """Sizes of those of the `wanted` objects that a listing has, the cache directories of settings (`STORE`), or the
    node of these settings (`NODE`).
    Raises UnreadableLogError.
    """
    found: dict[bytes, int] = {}
    if source == NODE:
        return _sizes_of_node(sorted(wanted), settings)
    if source == STORE:
        try:
            places = places_of(settings)
        except UsageError as error:
            raise UnreadableLogError(f"--sizes {STORE}: {error}") from None
        with opened(places, settings.node) as store:
            for _, visit in store.visits:
                for listed in entries(visit.directory, store.directories, (b"/",)):
                    name = shown_text(listed.key.text).partition(":")[2].encode()
                    if listed.found.status == 200 and name in wanted:
                        found.setdefault(name, listed.body_bytes)
            store.say_problems()
        return found
    number = 0
    try:
        for file in files_of([source]):
            if is_columnar(file):
                sizes = map(of_fields, (row.fields for row in parquet_rows(file, lambda columns: columns)))
                number += _found(found, wanted, sizes)
                continue
            with text_of(file) as lines:
                number += _found(found, wanted, map(SizeReader().read, lines))
    except TableError as error:
        raise UnreadableLogError(f"--sizes {error}") from None
    if not number:
        raise UnreadableLogError(
            f"--sizes {source}: no line names an object and its size; expected `shield store ls --json`, "
            "S3 Inventory, `aws s3 ls --recursive`, or CSV with the columns key and size"
        )
    return found


def _sizes_of_node(wanted: Sequence[bytes], settings: Settings) -> dict[bytes, int]:
    door, found = AdminDoor.of(settings), dict[bytes, int]()
    if door is None:
        raise UnreadableLogError(f"--sizes {NODE}: admin.listen is off, so the node can't be asked")
    for at in range(0, len(wanted), MOST_SIZES):
        names = {shown_text(name): name for name in wanted[at : at + MOST_SIZES]}
        try:
            status, said = ask(door, "POST", "/sizes", wish={"urls": list(names)}, seconds=_NODE_SECONDS)
            if status == 200:
                found |= {names[url]: int(size) for url, size in said["sizes"].items()}
        except (OSError, HTTPException) as error:
            raise UnreadableLogError(f"--sizes {NODE}: no node answers on {door} (admin.listen): {error}") from None
        except (ValueError, TypeError, KeyError, AttributeError):
            raise UnreadableLogError(
                f"--sizes {NODE}: the server on {door} (admin.listen) is no Shield node"
            ) from None
        if status != 200:
            problems = "; ".join(problems_of(status, said))
            raise UnreadableLogError(f"--sizes {NODE}: the node on {door} refuses: {problems}")
    return found


def _found(found: dict[bytes, int], wanted: set[bytes], listed: Iterable[ListedSize | None]) -> int:
    """Keep what is wanted; the number of all that are listed."""
    number = 0
    for each in listed:
        if each is not None:
            number += 1
            if each.path in wanted:
                found[each.path] = each.size
    return number


def outcome(name: str, terms: SimulationTerms, of: Gathering, warm_up: float) -> Foretold:
    """What a node would have made of these requests."""
    tally = of.tally
    warm_until = tally.first + (tally.last - tally.first) * warm_up if warm_up else 0.0
    samples = replayed(terms, of.samples, share=of.share, warm_until=warm_until)
    seconds = tally.last - max(tally.first, warm_until)
    told = Replayed(tally.requests, sum(map(len, of.samples)), of.share, seconds)
    return foretold(name, samples, told, tiers=[tier.name for tier in terms.tiers], prices=terms.prices)


def sample_share(text: str | None) -> float:
    """The value of --sample. Raises ConfigError."""
    share = 1.0 if text is None else parsed("--sample", text, parse_share)
    if share <= 0.0:
        raise ConfigError([f"--sample {text}: expected a share above 0, as 1%"])
    return share


def warm_up_share(text: str) -> float:
    """The value of --warm-up. Raises ConfigError."""
    share = parsed("--warm-up", text, parse_share)
    if share >= 1.0:
        raise ConfigError([f"--warm-up {text}: expected less than the whole log, as 50%"])
    return share


def parsed(option: str, text: str, parse: Callable[[object], float]) -> float:
    """The value of an option. Raises ConfigError."""
    try:
        return float(parse(text))
    except ExpectedError as error:
        raise ConfigError([f"{option} {text}: {error}"]) from None
