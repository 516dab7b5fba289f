"""shield simulate: reads settings and logs, has each node simulated, and prints what was found."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from shield.build.simulation import resized, simulation_terms
from shield.cli.check import read
from shield.cli.simulate.outputs import as_page, as_plain, notes, print_table
from shield.cli.simulate.replays import (
    UnreadableLogError,
    gathered,
    listed_sizes,
    outcome,
    parsed,
    sample_share,
    warm_up_share,
)
from shield.config.settings import Settings
from shield.config.units import format_size, parse_duration, parse_size
from shield.errors import ConfigError
from shield.simulate.node import SimulationTerms, unsized
from shield.simulate.traffic import Gathering


@dataclass(frozen=True, slots=True)
class SimulationWish:
    """The options, as written."""

    configs: Sequence[Path]
    logs: Sequence[str]
    sweep: str | None = None
    sample: str | None = None
    warm_up: str = "0"
    origin_lifetime: str | None = None
    cdn_hits: bool = False
    html: Path | None = None
    sizes: str | None = None


@dataclass(frozen=True, slots=True)
class _Scenario:
    name: str
    place: str  # the swept size; "" without a sweep
    terms: SimulationTerms
    settings: Settings

    @property
    def title(self) -> str:
        return f"{self.name} {self.place}".strip()


def simulate(wish: SimulationWish, *, as_json: bool) -> int:
    """Print the results; 0 or 2."""
    try:
        share, warm_up, stated = sample_share(wish.sample), warm_up_share(wish.warm_up), _stated(wish)
        if wish.html is not None:
            _check_place(wish.html)  # before minutes of work
        scenarios = _scenarios(wish, stated)
        if scenarios is None:
            return 2
        gathering = gathered(wish.logs, share, takes_answered=wish.cdn_hits, sample=wish.sample)
        sized = _sized_as_listed(scenarios, wish, gathering)
        found = [outcome(each.title, each.terms, gathering, warm_up) for each in sized]
        said = notes(gathering, found, warm_up, logged=scenarios[0].settings.access_log.hits)
        if wish.html is not None:
            names = [each.place for each in scenarios]
            _write(wish.html, as_page(found, names, said))
    except ConfigError as error:
        print("\n".join(error.problems), file=sys.stderr)
        return 2
    except UnreadableLogError as error:
        print(error, file=sys.stderr)
        return 2
    if as_json:
        json.dump(as_plain(found, gathering, said), sys.stdout, indent=2)
        print()
    else:
        print_table(found, said)
    return 0


def _scenarios(wish: SimulationWish, stated: float | None) -> list[_Scenario] | None:
    """One for each settings file and size; None if a file can't be used, which has been said."""
    sweep = _sweep(wish)
    found = []
    names = _names(wish.configs)
    for path, name in zip(wish.configs, names, strict=True):
        loaded = read(path)
        if loaded is None:
            return None
        terms = simulation_terms(loaded.settings, stated=stated)
        if sweep is None:
            found.append(_Scenario(name, "", terms, loaded.settings))
            continue
        tier, sizes = sweep
        for size in sizes:
            shown = format_size(size)
            found.append(_Scenario(name, shown, resized(terms, tier, size), loaded.settings))
    return found


def _names(paths: Sequence[Path]) -> list[str]:
    """Short ones, as long as they tell files apart."""
    short = [path.name for path in paths]
    return short if len(set(short)) == len(short) else [str(path) for path in paths]


def _sized_as_listed(scenarios: Sequence[_Scenario], wish: SimulationWish, of: Gathering) -> Sequence[_Scenario]:
    """The same, with sizes that the logs don't tell from a listing."""
    if wish.sizes is None:
        return scenarios
    wanted = set[bytes]().union(*[unsized(each.terms, of.samples) for each in scenarios])
    sizes = listed_sizes(wish.sizes, wanted, scenarios[0].settings)
    return [replace(each, terms=replace(each.terms, sizes=sizes)) for each in scenarios]


def _check_place(path: Path) -> None:
    if path.is_dir() or not path.parent.is_dir() or not os.access(path if path.exists() else path.parent, os.W_OK):
        raise UnreadableLogError(f"--html {path}: can't be written: expected a file in a directory that there is")


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text)
    except OSError as error:
        raise UnreadableLogError(f"--html {path}: can't be written: {error.strerror}") from None


# options


def _stated(wish: SimulationWish) -> float | None:
    said = wish.origin_lifetime
    return None if said is None else parsed("--origin-lifetime", said, parse_duration)


def _sweep(wish: SimulationWish) -> tuple[str, list[int]] | None:
    if wish.sweep is None:
        return None
    tier, equals, sizes = wish.sweep.partition("=")
    if not tier or not equals or not sizes:
        raise ConfigError([f"--sweep {wish.sweep}: expected a tier and sizes, as memory=1GiB,2GiB"])
    found = [_sized(size) for size in sizes.split(",")]
    return tier, sorted(set(found))


def _sized(text: str) -> int:
    size = int(parsed("--sweep", text, parse_size))
    if not size:
        raise ConfigError([f"--sweep {text}: expected a size above 0"])
    return size
