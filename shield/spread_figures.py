"""Figures of orders between nodes, as the worker sees them that spreads them; the others have none."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from shield.observe.metrics import Family, Sample, labelled, number
from shield.rules.purging import SHARES
from shield.rules.spreading import missing_at
from shield.spread.hints import HintStatistics
from shield.spread.spreader import Spreader, SpreadStatistics


@dataclass(frozen=True, slots=True)
class SpreadFigures:
    """`conducts` says whether this is the worker that spreads them."""

    spreader: Spreader
    conducts: Callable[[], bool]

    @property
    def unready(self) -> str:
        """Why the node isn't ready; nothing: it is."""
        return "cut off from the other nodes: it may serve what was purged" if self.spreader.sight.is_unready else ""

    def state(self) -> dict[str, object] | None:
        """For operators; None: another worker has it."""
        if not self.conducts():
            return None
        found, hints = self.spreader.statistics(), self.spreader.hints
        bus = found.bus
        weaker = []
        if bus is not None and not bus.is_up:
            weaker.append("orders go from node to node; budgets of rate limits are divided by the number of nodes")
        if found.blind_for:
            weaker.append("orders of other nodes may not arrive: what they purged may be served")
        if self.spreader.sight.revalidates:
            weaker.append("what is stored is revalidated before it is used: origins get a request for each hit")
        return {
            "bus": None if bus is None else {"up": bus.is_up, "why": bus.why, "resets": bus.resets},
            "unreachable": dict(found.unreachable),
            "missing_at": list(_missing(found)),
            "behind": list(found.behind),
            "undone": found.journal.undone,
            "blind_seconds": round(found.blind_for, 1),
            "gaps": found.gaps,
            "outdating": {
                "left": self.spreader.outdating.state.left / SHARES,
                "why": self.spreader.outdating.state.why,
            },
            "hints": {} if hints is None else hints.shown(),
            "weaker": weaker,
        }

    def families(self) -> list[Family]:
        found = self.spreader.statistics()
        hints = HintStatistics() if self.spreader.hints is None else self.spreader.hints.statistics()
        bus = found.bus
        up = [] if bus is None else [Sample(float(bus.is_up))]
        return [
            _gauge("cluster_orders_missing_at", "Nodes that lack orders which were given here", len(_missing(found))),
            _gauge("cluster_orders_undone", "Orders that can't be carried out here yet", found.journal.undone),
            _gauge(
                "cluster_blind_seconds",
                "Time without the bus and most of the other nodes: their purges don't arrive",
                found.blind_for,
            ),
            number("cluster_order_gaps", "Times that orders were lost, so that everything became stale", found.gaps),
            _gauge(
                "cluster_order_gap_left",
                "Share of the entries stored when orders were lost that are still to become stale",
                self.spreader.outdating.state.left / SHARES,
            ),
            Family("cluster_bus_up", "1 while the bus answers", up, gauge=True, alike=True),
            labelled("cluster_hints", "Hints of other nodes that came, each once, by kind", "kind", hints.came),
            _gauge("cluster_hints_held", "Hints of other nodes that hold", hints.held),
            number("cluster_hint_looks", "Looks at origins for which other nodes gave the reason", hints.looks),
            number(
                "cluster_hint_removals",
                "Entries that were removed since another node found that their origin has a wrong copy",
                hints.removed,
            ),
            _gauge(
                "cluster_hint_quarantined",
                "Objects that aren't fetched from an origin, since another node or worker found a wrong copy there",
                hints.quarantined,
            ),
            number("cluster_bus_resets", "Times that the bus had lost orders", 0 if bus is None else bus.resets),
        ]


def _missing(found: SpreadStatistics) -> tuple[str, ...]:
    return missing_at(found.nodes, found.journal.acknowledged, found.journal.newest)


def _gauge(name: str, text: str, value: float) -> Family:
    return Family(name, text, [Sample(value)], gauge=True, alike=True)
