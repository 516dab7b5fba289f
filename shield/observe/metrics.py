"""Metrics in Prometheus' format, read from the statistics of long-lived objects at each scrape.

Nothing on the request path touches a metric: objects count in plain integers, and this renders them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import accumulate
from types import MappingProxyType
from typing import NamedTuple

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from shield.histograms import LABELS, Histogram

Number = int | float


class Sample(NamedTuple):  # thousands are made at each scrape
    """One number with its labels."""

    value: Number
    labels: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Family:
    """One metric: its name without common prefix and unit suffix, its help text, and its samples.

    A `gauge` may fall; other metrics only rise while the process lives. Samples of several workers are summed, or, if
    `alike`, the greatest counts: each worker has the same figure for the node, or the worst one counts. The samples
    of a histogram have a label `le`: the count of all values up to that bound, or with `le` "sum" their sum.
    """

    name: str
    text: str
    samples: list[Sample]
    gauge: bool = False
    alike: bool = False


def number(name: str, text: str, value: float, *, gauge: bool = False, alike: bool = False) -> Family:
    """Of one value."""
    return Family(name, text, [Sample(value)], gauge=gauge, alike=alike)


def labelled(name: str, text: str, label: str, values: Mapping[str, int]) -> Family:
    """Of several values, by a label."""
    return Family(name, text, [Sample(value, {label: key}) for key, value in values.items()])


def timed(name: str, text: str, histograms: Iterable[tuple[Mapping[str, str], Histogram]]) -> Family:
    """Of histograms with their labels."""
    samples = []
    for labels, histogram in histograms:
        counts = accumulate(histogram.counts)
        samples += [Sample(count, {**labels, "le": le}) for le, count in zip(LABELS, counts, strict=True)]
        samples.append(Sample(histogram.total, {**labels, "le": "sum"}))
    return Family(name, text, samples)


class Metrics:
    """A registry over `read`, which returns all families at the moment of a scrape."""

    def __init__(self, read: Callable[[], Iterable[Family]]) -> None:
        self._read = read
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)

    def collect(self) -> Iterable[Metric]:
        """Called by the registry."""
        for family in self._read():
            if family.samples and "le" in family.samples[0].labels:
                yield _histogram(family)
                continue
            labels = list(family.samples[0].labels) if family.samples else []
            kind = GaugeMetricFamily if family.gauge else CounterMetricFamily
            metric = kind(f"shield_{family.name}", family.text, labels=labels)
            for sample in family.samples:
                metric.add_metric([sample.labels[label] for label in labels], sample.value)
            yield metric

    def render(self) -> bytes:
        """Text exposition of everything."""
        return generate_latest(self._registry)


def _histogram(family: Family) -> Metric:
    of_each: dict[tuple[tuple[str, str], ...], dict[str, Number]] = {}
    for sample in family.samples:
        rest = tuple([label for label in sample.labels.items() if label[0] != "le"])
        of_each.setdefault(rest, {})[sample.labels["le"]] = sample.value
    names = [name for name, _ in next(iter(of_each), ())]
    metric = HistogramMetricFamily(f"shield_{family.name}", family.text, labels=names)
    for labels, values in of_each.items():
        total = float(values.pop("sum"))
        metric.add_metric([value for _, value in labels], [(le, float(n)) for le, n in values.items()], total)
    return metric
