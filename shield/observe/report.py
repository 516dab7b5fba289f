"""A worker's figures on their way to the worker that answers for the node, and the sum over all workers.

Numbers are summed, except those that every worker has for the node as a whole, and those of which the worst counts.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from shield.observe.metrics import Family, Sample

AskOthers = Callable[[bytes], Awaitable[Sequence[bytes]]]
"""Asks the other workers by a query: the answers of those that gave one in time."""

_GREATEST = frozenset(
    {
        *("uptime_seconds", "loop_lag_seconds", "generation", "since"),
        *("since_seconds", "out_seconds", "drained_until", "p95_seconds", "behind_seconds"),
        *("position", "cost_seconds", "first_byte_seconds", "transfer_seconds", "money_seconds", "penalty_seconds"),
        *("expected_bytes", "exchange_seconds", "most_readers", "its_workers", "workers_down"),
    }
)
_OF_THE_NODE = {  # by section: disks are shared by all workers, and so are secrets
    "directory": frozenset(
        {
            *("entries", "entry_bytes", "slices", "segments", "segment_bytes", "index_bytes", "capacity_bytes"),
            *("unscanned", "oldest", "newest"),
        }
    ),
    "secret": frozenset({"accepted", "former_until"}),  # of the cluster
}


@dataclass(frozen=True, slots=True)
class Report:
    """One worker's figures: its state as plain values, and its metrics. `process` differs for each that has had this
    number in the node.
    """

    state: Mapping[str, Any]
    families: Sequence[Family]
    worker: int = 0
    process: str = ""

    def encoded(self) -> bytes:
        families = [
            (
                family.name,
                family.text,
                family.gauge,
                family.alike,
                [(s.value, dict(s.labels)) for s in family.samples],
            )
            for family in self.families
        ]
        plain = {"state": self.state, "families": families, "worker": self.worker, "process": self.process}
        return json.dumps(plain, default=_plain).encode()

    @classmethod
    def decoded(cls, data: bytes) -> Report:
        plain = json.loads(data)
        families = [
            Family(name, text, [Sample(value, labels) for value, labels in samples], gauge=gauge, alike=alike)
            for name, text, gauge, alike, samples in plain["families"]
        ]
        return cls(plain["state"], families, plain["worker"], plain["process"])


def together(reports: Sequence[Report], others: Sequence[Family] = ()) -> Report:
    """The node's report, from those of at least one worker. `others` are added to their metrics."""
    return Report(
        {**_merged([report.state for report in reports], "", ""), "workers_up": len(reports)},
        [
            *_families([*[family for report in reports for family in report.families], *others]),
            Family("workers_up", "Workers that these figures cover", [Sample(len(reports))], gauge=True),
        ],
    )


def _families(families: Iterable[Family]) -> list[Family]:
    found: dict[str, tuple[Family, dict[tuple[tuple[str, str], ...], Sample]]] = {}
    for family in families:
        _, samples = found.setdefault(family.name, (family, {}))
        for sample in family.samples:
            labels = tuple(sorted(sample.labels.items()))
            before = samples.setdefault(labels, sample)
            if before is not sample:
                both = (before.value, sample.value)
                samples[labels] = Sample(max(both) if family.alike else sum(both), sample.labels)
    return [
        Family(family.name, family.text, list(samples.values()), gauge=family.gauge, alike=family.alike)
        for family, samples in found.values()
    ]


def _merged(values: Sequence[Any], key: str, section: str) -> Any:
    """The merge of values under one `key` of one `section`, one from each worker that has it."""
    values = [value for value in values if value is not None]
    if not values:
        return None
    first = values[0]
    if isinstance(first, dict):
        keys = dict.fromkeys(name for value in values for name in value)
        return {name: _merged([value[name] for value in values if name in value], name, key) for name in keys}
    if isinstance(first, list):
        return [_merged(row, key, section) for row in zip(*values, strict=False)]
    if isinstance(first, bool):
        return all(values)
    if isinstance(first, int | float):
        alike = key in _GREATEST or key in _OF_THE_NODE.get(section, ())
        return max(values) if alike else sum(values)
    return ", ".join(dict.fromkeys(map(str, values)))


def _plain(value: object) -> object:
    """Values that JSON can't express."""
    return value.value if isinstance(value, Enum) else str(value)
