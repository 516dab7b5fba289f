"""Two checkouts of Shield in one run, and a verdict on each case: better, worse, or noise.

    python -m loadtest.compare --before ../older [--only hits,misses] [--rounds 9] [--seconds 2] [--sizes 1000,10000]

`--before` is a checkout of the earlier version (`git worktree add`); the later one is this. Both run beside each
other and take turns, first one, then the other, in each round; nginx, if it is there, is their common measure. The
result is kept in loadtest/results. It ends with 1 if a case is worse.
"""

from __future__ import annotations

import argparse
import itertools
import os
import shutil
import signal
import statistics
import sys
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from math import comb
from pathlib import Path

from loadtest.kept import RESULTS, circumstances, keep
from loadtest.peers import BASELINE, CLIENT_CORE, Case, note, running
from loadtest.servers import SERVERS, installed, shield_before

LEAST = 0.03
"""A smaller difference is noise, however sure."""

CHANCE = 0.05
"""That rounds would agree as much if there were no difference; both directions together."""

HERE = Path(__file__).resolve().parent.parent


class Verdict(Enum):
    BETTER = "better"
    WORSE = "worse"
    NOISE = "noise"


@dataclass(frozen=True, slots=True)
class Judged:
    """What a case's rounds say: the median ratio of costs, after to before, and how likely chance alone is."""

    ratio: float
    chance: float
    verdict: Verdict


def judge(before: Sequence[float], after: Sequence[float]) -> Judged:
    """Compare costs that were measured in pairs, by the sign test: it assumes nothing on how noise is distributed."""
    ratios = [new / old for old, new in zip(before, after, strict=True)]
    median = statistics.median(ratios)
    lower, higher = sum(ratio < 1 for ratio in ratios), sum(ratio > 1 for ratio in ratios)
    chance = _sign_test(min(lower, higher), lower + higher)
    if chance > CHANCE or abs(median - 1) < LEAST:
        return Judged(median, chance, Verdict.NOISE)
    return Judged(median, chance, Verdict.BETTER if median < 1 else Verdict.WORSE)


def _sign_test(fewer: int, rounds: int) -> float:
    """The probability that so few rounds or fewer go one way, whichever, if either way is as likely."""
    return min(1.0, 2 * sum(comb(rounds, number) for number in range(fewer + 1)) / 2**rounds) if rounds else 1.0


def measure(
    before: Path, cases: Sequence[Case], *, rounds: int, seconds: float
) -> dict[Case, dict[str, list[float]]]:
    """Costs by case and server, one for each round. Raises RuntimeError for answers that are wrong or missing."""
    names = [name for name in (BASELINE,) if installed(name)]
    servers = {name: SERVERS[name] for name in names}
    servers |= {"before": shield_before(before), "after": shield_before(HERE)}
    costs: dict[Case, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    with running(servers, connections=32) as bench:
        for number in range(rounds):
            turns = list(bench.servers) if number % 2 == 0 else list(reversed(bench.servers))
            for case, server in itertools.product(cases, turns):
                sample = bench.sample(case, server, seconds)
                if sample.doubt:
                    raise RuntimeError(f"{server.name}, {case}: {sample.doubt}")
                costs[case][server.name].append(sample.cost)
            note(f"round {number + 1} of {rounds}")
    return costs


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--before", type=Path, required=True, help="a checkout of the earlier version")
    parser.add_argument("--only", default="hits,misses", help="hits, misses")
    parser.add_argument("--sizes", default="1000,10000,200000", help="bytes of objects")
    parser.add_argument("--rounds", type=int, default=9, help="six are the fewest that can be sure of anything")
    parser.add_argument("--seconds", type=float, default=2.0, help="per server, case and round (whole seconds)")
    arguments = parser.parse_args()
    if not (arguments.before / "shield" / "__init__.py").is_file():
        note(f"{arguments.before}: no checkout of Shield; `git worktree add PATH COMMIT` makes one")
        return 2
    if shutil.which("wrk") is None or len(os.sched_getaffinity(0)) < 2:
        note("wrk must be installed, and two cores are needed")
        return 2
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(130))
    os.sched_setaffinity(0, {CLIENT_CORE})
    cases = [Case(kind, int(size)) for kind in arguments.only.split(",") for size in arguments.sizes.split(",")]
    try:
        costs = measure(arguments.before, cases, rounds=arguments.rounds, seconds=arguments.seconds)
    except RuntimeError as error:
        note(str(error))
        return 2
    return report(costs, circumstances(arguments.before), circumstances(HERE))


def report(costs: dict[Case, dict[str, list[float]]], before: dict[str, str], after: dict[str, str]) -> int:
    """Prints and keeps the verdicts; 1 if one is worse."""
    verdicts = {case: judge(by["before"], by["after"]) for case, by in costs.items()}
    print(f"\nCPU of {after['commit']} beside {before['commit']}, us a request (in times {BASELINE}'s)\n")
    for case, judged in verdicts.items():
        by = costs[case]
        base = statistics.median(by[BASELINE]) if by.get(BASELINE) else None
        cells = [
            f"{statistics.median(by[name]):8.1f}" + (f" ({statistics.median(by[name]) / base:.2f})" if base else "")
            for name in ("before", "after")
        ]
        print(
            f"{case!s:16}{cells[0]} > {cells[1]}   {judged.ratio - 1:+7.1%}   {judged.verdict.value}"
            f"  (by chance: {judged.chance:.1%})"
        )
    kept = {
        "before": before,
        "after": after,
        "cases": {
            str(case): {
                "costs": by,
                "ratio": verdicts[case].ratio,
                "chance": verdicts[case].chance,
                "verdict": verdicts[case].verdict.value,
            }
            for case, by in costs.items()
        },
    }
    name = f"{after['at'][:19].replace(':', '')}-{before['commit']}-{after['commit']}.json"
    print(f"\nkept in {keep(RESULTS / name, kept)}")
    return int(any(judged.verdict is Verdict.WORSE for judged in verdicts.values()))


if __name__ == "__main__":
    sys.exit(main())
