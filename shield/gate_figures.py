"""The figures of gates as metrics: the limits of origins, and the misses that wait for a place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from shield.observe.metrics import Family, Sample
from shield.origin.gate import GateStatistics


def gate_families(gates: Sequence[tuple[str, GateStatistics]]) -> list[Family]:
    """The families for these gates by their origins. Limits are those of the node, all else is this worker's."""
    limits = {name: float(gate.limit) for name, gate in gates if gate.limit is not None}
    closed = {name: gate.closed_seconds for name, gate in gates}
    in_flight, waiting = {name: gate.in_flight for name, gate in gates}, {name: gate.waiting for name, gate in gates}
    waited, refused = {n: gate.waited_total for n, gate in gates}, {n: gate.refused_total for n, gate in gates}
    text = "Requests that an origin gets at once from the node, learned from its refusals"
    return [
        Family("origin_limit", text, _samples(limits), gauge=True, alike=True),
        Family(
            "origin_closed_seconds",
            "For how long an origin still wants to be left alone; 0 if it doesn't",
            _samples(closed),
            gauge=True,
            alike=True,
        ),
        Family("origin_in_flight", "Requests that wait for an origin's response", _samples(in_flight), gauge=True),
        Family("origin_waiting", "Misses that wait for a place at an origin", _samples(waiting), gauge=True),
        Family("origin_waited", "Misses that had to wait for a place at an origin", _samples(waited)),
        Family("origin_over_limit", "Misses that got no place at an origin in time", _samples(refused)),
    ]


def _samples(values: Mapping[str, float]) -> list[Sample]:
    return [Sample(value, {"origin": name}) for name, value in values.items()]
