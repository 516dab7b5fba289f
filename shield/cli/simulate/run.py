"""shield simulate: reads settings and logs, has each node simulated, and prints what was found."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from shield.build.simulation import resized, simulation_terms
from shield.cli.check import read
from shield.cli.simulate.outputs import as_page, as_plain, notes, print_table
from shield.cli.simulate.replays import UnreadableLogError, gathered, listed_sizes, outcome, parsed
from shield.config.settings import Settings
from shield.config.units import format_size, parse_duration, parse_share, parse_size
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
        share, warm_up, stated = _share(wish), _warm_up(wish), _stated(wish)
        scenarios = _scenarios(wish, stated)
        if scenarios is None:
            return 2
        gathering = gathered(wish.logs, share, takes_answered=wish.cdn_hits, sample=wish.sample)
        sized = _sized_as_listed(scenarios, wish, gathering)
        found = [outcome(each.title, each.terms, gathering, warm_up) for each in sized]
        said = notes(gathering, found, warm_up)
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


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text)
    except OSError as error:
        raise UnreadableLogError(f"--html {path}: can't be written: {error.strerror}") from None


# options


def _share(wish: SimulationWish) -> float:
    share = 1.0 if wish.sample is None else parsed("--sample", wish.sample, parse_share)
    if share <= 0.0:
        raise ConfigError([f"--sample {wish.sample}: expected a share above 0, as 1%"])
    return share


def _warm_up(wish: SimulationWish) -> float:
    share = parsed("--warm-up", wish.warm_up, parse_share)
    if share >= 1.0:
        raise ConfigError([f"--warm-up {wish.warm_up}: expected less than the whole log, as 50%"])
    return share


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
