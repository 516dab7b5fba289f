"""A worker's figures: its state for operators, and its metrics, read from the parts' statistics."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field

from shield import __version__
from shield.admin.doorkeeper import Doorkeeper
from shield.budget_figures import budget_families, spike_families
from shield.cdn.passing import EdgePurges
from shield.client_figures import connection_families, request_families, words
from shield.cluster_figures import ClusterFigures
from shield.compiled import is_compiled
from shield.drill.drills import Drills
from shield.edge.door import Door
from shield.edge.guard import Guard
from shield.edge.http2.traffic import Traffic
from shield.edge.rates import RateStatistics
from shield.egress.budgets import BudgetWatch
from shield.egress.keeper import LedgerKeeper
from shield.egress.meter import MeterReading
from shield.egress.spikes import SpikeWatch
from shield.families import (
    alarm_families,
    drill_families,
    egress_families,
    origin_families,
    origin_time_families,
    price_families,
    ranked_family,
    site_family,
    tracing_family,
)
from shield.fill.spotchecks import SpotChecks, SpotStatistics
from shield.fill.table import FillStatistics, FillTable
from shield.histograms import Histogram
from shield.observe.access import AccessLog
from shield.observe.continuity import Continuity
from shield.observe.counters import Counters
from shield.observe.lags import lag_families
from shield.observe.metrics import Family, Sample, labelled, number
from shield.observe.readiness import Readiness
from shield.observe.report import Report, together
from shield.origin.lag import LagStatistics
from shield.origin.origins import Origins
from shield.origin.probe_notes import as_shown
from shield.peers.front import REPORT
from shield.peers.owners import Owners, OwnerStatistics
from shield.process import Pauses, process_statistics
from shield.process_figures import build_family, certificate_family, loop_families, process_families
from shield.purge import Purge
from shield.purge_figures import edge_families, purge_families
from shield.purge_orders import PurgeOrders, PurgeOrderStatistics
from shield.shared import Seat, Standing
from shield.spread_figures import SpreadFigures
from shield.store.tiers import Store
from shield.store_figures import disk_families, memory_families
from shield.tracing.tracer import TracingStatistics
from shield.warm import Warmer, WarmStatistics

_LAGS_SECONDS = 1.0  # of the event loop, that are worth a word
_HANGS_SECONDS = 2.0  # without a sign of life: workers give eight of them in it


@dataclass(frozen=True, slots=True)
class Configuration:
    """The settings in force. `waiting` are keys whose new values wait for a restart."""

    generation: int = 1
    since: float = 0.0  # epoch seconds
    is_latest: bool = True  # no reload was refused since
    waiting: tuple[str, ...] = ()


@dataclass(slots=True)
class Vitals:
    """Figures of the worker process itself, which it keeps up to date."""

    ready: bool = True  # it accepts traffic, and isn't stopping
    connections: int = 0  # clients'
    loop_lag_seconds: float = 0.0
    loop_delays: Histogram = field(default_factory=Histogram)
    certificate_expires: float | None = None  # epoch seconds; None: there is none
    configuration: Configuration = Configuration()


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """All figures of one worker. `counters` are of clients, `peer_counters` of other workers."""

    name: str
    started: float
    clock: Callable[[], float]
    vitals: Vitals
    counters: Counters
    peer_counters: Counters
    guard: Guard
    warmer: Warmer
    doorkeeper: Doorkeeper
    door: Door
    http2: Traffic
    store: Store
    fills: FillTable
    owners: Owners
    origins: Origins
    drills: Drills
    spot_checks: SpotChecks
    access: AccessLog
    purges: PurgeOrders
    pauses: Pauses
    continuity: Continuity
    purge: Purge
    place: Seat
    cluster: ClusterFigures | None = None  # None: the node is alone
    spread: SpreadFigures | None = None  # likewise
    tracing: Callable[[], TracingStatistics] = TracingStatistics
    budgets: BudgetWatch
    keeper: LedgerKeeper
    spikes: SpikeWatch
    edges: EdgePurges

    def readiness(self) -> Readiness:
        """Whether the whole node serves and isn't stopping. To be called on the worker's event loop.

        A worker that hangs doesn't make the node unready: others do its work until it is replaced.
        """
        troubles, hanging = [] if self.vitals.ready else ["it is about to stop"], []
        if self.spread is not None and (why := self.spread.unready):
            troubles.append(why)
        shared, now = self.place.shared, asyncio.get_running_loop().time()
        for worker in range(self.place.workers) if self.place.workers > 1 else ():
            standing = Standing(shared.standing[worker])
            if standing is not Standing.SERVING:
                troubles.append(f"worker {worker} is {standing.name.lower()}")
            elif worker != self.place.worker and shared.is_silent(worker, now, _HANGS_SECONDS):
                hanging.append(f"worker {worker} hangs, for {now - shared.last_beat(worker):.0f} s")
        return Readiness(not troubles, [*troubles, *hanging, *self._faculties()])

    def _faculties(self) -> Iterator[str]:
        """What this node's own parts fail in. It serves all the same: from RAM, other disks, and origins."""
        if self.vitals.loop_lag_seconds > _LAGS_SECONDS:
            yield f"its event loop was blocked for {self.vitals.loop_lag_seconds:.1f} s"
        disk = self.store.statistics().disk
        for tier in () if disk is None else disk.tiers:
            for volume in tier.volumes:
                if volume.health != "well":
                    yield f"tier {tier.name}: {volume.path}: {volume.health}: {volume.reason}"

    def report(self) -> Report:
        return self._report(self.state())

    def _report(self, state: Mapping[str, object]) -> Report:
        return Report(state, self.families(), self.place.worker, f"{os.getpid()} {self.started}")

    async def report_of_all(self) -> Report:
        """The node's report, from those workers that answer, and its counters of all."""
        # In three turns of the loop: with several origins each part takes a millisecond, and requests wait for it.
        state = self.state()
        await asyncio.sleep(0)
        report = self._report(state)
        await asyncio.sleep(0)
        reports = [report.encoded(), *await self.owners.reports(REPORT)]
        # In a thread: with four workers it takes ten milliseconds.
        return await asyncio.get_running_loop().run_in_executor(None, self._together, reports)

    def _together(self, encoded: Sequence[bytes]) -> Report:
        reports = [Report.decoded(report) for report in encoded]
        return together(reports, self.continuity.complete(reports))

    def state(self) -> dict[str, object]:
        """The worker's current state, for operators."""
        vitals, counters = self.vitals, self.counters
        return {
            "node": self.name,
            "version": __version__,
            "compiled": is_compiled(),
            "ready": vitals.ready,
            "uptime_seconds": round(self.clock() - self.started, 1),
            "configuration": asdict(vitals.configuration),
            "connections": vitals.connections,
            "door": asdict(self.door.statistics()),
            "rate_limits": asdict(self.guard.limiter.statistics()),
            "http2": asdict(self.http2.statistics()),
            "loop_lag_seconds": round(vitals.loop_lag_seconds, 4),
            "requests": {"plain_hit": counters.hits, **counters.requests},
            "sent_bytes": counters.sent_bytes,
            **asdict(self.store.statistics()),
            "fills": asdict(self.fills.statistics()),
            "warm": asdict(self.warmer.statistics()),
            "audit": _spot_state(self.spot_checks.statistics()),
            "peers": {**asdict(self.owners.statistics()), "requests": words(self.peer_counters)},
            **({} if self.cluster is None else {"cluster": self.cluster.state()}),
            **({} if self.spread is None else {"orders": self.spread.state()}),
            "drill": self.drills.statistics().running,
            "origins": {origin.name: asdict(origin.statistics()) for origin in self.origins.all()},
            "ranked": {route: asdict(found) for route, found in self.origins.ranked().items()},
            "budgets": {each.budget.name: each.plain() for each in self.budgets.standings()},
            "purges": asdict(self.purge.statistics()),
            "edges": self.edges.state(),
            "replication": {name: asdict(lag) for name, lag in self._lags()},
        }

    def standing(self) -> list[dict[str, object]]:
        """How all workers treat each origin, and the reason."""
        return [
            {
                "name": each.name,
                **asdict(each.statistics().health),
                "probes": as_shown(self.origins.prober.known(each)),
            }
            for each in self.origins.all()
        ]

    def _lags(self) -> list[tuple[str, LagStatistics]]:
        return self.origins.lag.statistics()

    def _egress(self) -> list[MeterReading]:
        names = {origin.name for origin in self.origins.all()}
        return [reading for reading in self.origins.meters.readings() if reading.account.origin in names]

    def families(self) -> list[Family]:
        counters, vitals, store = self.counters, self.vitals, self.store.statistics()
        return [
            build_family(),
            *request_families(counters, self.guard.denied),
            *_rate_families(self.guard.limiter.statistics()),
            _purge_family(self.purges.statistics()),
            labelled(
                "admin_denied",
                "Calls of the admin API that weren't admitted, by reason",
                "reason",
                self.doorkeeper.denied,
            ),
            *connection_families(vitals.connections, self.door.statistics(), self.http2.statistics()),
            number("workers", "Workers that the node should have", self.place.workers, gauge=True, alike=True),
            *process_families(self.place.worker, self.started, process_statistics(self.pauses)),
            *loop_families(vitals.loop_lag_seconds, vitals.loop_delays),
            certificate_family(vitals.certificate_expires),
            *_configuration_families(vitals.configuration),
            *memory_families(store.memory),
            *_fill_families(self.fills.statistics()),
            Family(
                "origin_share",
                "The share of keys that a new origin may serve, by its ramp; 1 without one",
                [
                    Sample(1.0 - self.origins.ramp_of(origin.name).below[0], {"origin": origin.name})
                    for origin in self.origins.all()
                ],
                gauge=True,
                alike=True,
            ),
            *_warm_families(self.warmer.statistics()),
            *_spot_families(self.spot_checks.statistics()),
            *_peer_families(self.owners.statistics(), words(self.peer_counters)),
            *([] if self.cluster is None else self.cluster.families()),
            *([] if self.spread is None else self.spread.families()),
            *drill_families(self.drills.statistics()),
            tracing_family(self.tracing()),
            *alarm_families(self.place.shared.alarms.read()),
            *origin_families([(origin.name, origin.statistics()) for origin in self.origins.all()]),
            number(
                "origins_failed_together",
                "1 while all origins fail at once, so that none is taken to be out",
                float(bool(self.place.shared.records.frozen_at)),
                gauge=True,
                alike=True,
            ),
            *origin_time_families([(o.name, o.first_bytes, o.pool.exchanges) for o in self.origins.all()]),
            *egress_families(self._egress()),
            site_family([(origin.name, origin.facts.site) for origin in self.origins.all()]),
            *price_families([(origin.name, origin.facts.price) for origin in self.origins.all()]),
            *budget_families(self.budgets.standings(), self.budgets.costs),
            number(
                "ledger_failures", "Writes to the ledger that failed; the next one has the same", self.keeper.failures
            ),
            *spike_families(self.spikes.spiking(), self.spikes.usual()),
            ranked_family(self.origins.ranked()),
            *lag_families([(n, o.behind_seconds, o.arrived, o.arrived_seconds) for n, o in self._lags()]),
            number("access_log_dropped", "Access log lines lost", self.access.dropped),
            *purge_families(self.purge.statistics()),
            *edge_families(self.edges.statistics()),
            *([] if store.disk is None else disk_families(store.disk)),
        ]


def _rate_families(rates: RateStatistics) -> list[Family]:
    return [
        labelled("rate_limited", "Requests refused with 429, by the rate limit", "limit", rates.refused),
        labelled(
            "rate_limit_exceeded",
            "Requests beyond a rate limit that only counts, by the limit",
            "limit",
            rates.counted,
        ),
    ]


def _purge_family(purges: PurgeOrderStatistics) -> Family:
    samples = [Sample(count, {"kind": kind, "mode": mode}) for (kind, mode), count in purges.orders.items()]
    return Family("purges", "Purges that were carried out, by kind of target and mode", samples)


def _configuration_families(held: Configuration) -> list[Family]:
    figures = (
        ("config_generation", "Number of the settings in force; each reload increments it", held.generation),
        ("config_last_reload_successful", "0 once a reload was refused, until the next", held.is_latest),
        ("config_last_reload_success_timestamp_seconds", "When the settings in force were loaded", held.since),
        ("config_restart_needed", "1 while changed settings wait for a restart", bool(held.waiting)),
    )
    return [number(name, text, float(value), gauge=True, alike=True) for name, text, value in figures]


def _fill_families(fills: FillStatistics) -> list[Family]:
    return [
        number("fills_in_flight", "Fills under way", fills.in_flight, gauge=True),
        number("fills", "Fills started", fills.started),
        number("fills_readers", "Requests that read from fills now", fills.readers, gauge=True),
        number(
            "fills_most_readers",
            "Requests that read from the fill with the most of them now",
            fills.most_readers,
            gauge=True,
            alike=True,
        ),
        number("fills_collapsed", "Requests that joined a fill in progress", fills.collapsed),
        labelled(
            "fills_thrifty",
            "Times that a spent amplification budget of an address limited a fetch",
            "how",
            fills.thrifty,
        ),
        number("fills_broken", "Fills that failed after their head was sent", fills.broken),
        labelled(
            "fills_continued",
            "Bodies that broke off or were late, by the origin that has sent the rest",
            "origin",
            fills.continued,
        ),
        number("fills_memory_used_bytes", "Bytes reserved by fills", fills.memory_used_bytes, gauge=True),
    ]


def _warm_families(warm: WarmStatistics) -> list[Family]:
    return [
        labelled("warm", "URLs that POST /warm was to fetch, by result", "result", warm.results),
        number("warm_bytes", "Body bytes from origins for warming", warm.origin_bytes),
        number("warm_under_way", "Requests for warming under way", warm.under_way, gauge=True),
    ]


def _peer_families(owners: OwnerStatistics, requests: Mapping[str, int]) -> list[Family]:
    return [
        labelled("peer_requests", "Requests of other workers by result", "cache", requests),
        number("peer_fetches", "Fetches from another worker", owners.asked),
        number(
            "peer_fetches_done_without",
            "Fetches of another worker's keys from origins, since it gave no answer",
            owners.done_without,
        ),
    ]


def _spot_state(found: SpotStatistics) -> dict[str, object]:
    results: dict[str, dict[str, int]] = {}
    for (origin, result), count in found.results.items():
        results.setdefault(origin, {})[result] = count
    return {"results": results, "bytes": dict(found.bytes), "quarantined": found.quarantined}


def _spot_families(found: SpotStatistics) -> list[Family]:
    return [
        Family(
            "audit_compared",
            "Objects of fills that were compared with another origin's copy, by the origin compared or to blame",
            [
                Sample(count, {"origin": origin, "result": result})
                for (origin, result), count in found.results.items()
            ],
        ),
        labelled("audit_bytes", "Body bytes fetched to compare copies", "origin", found.bytes),
        number(
            "audit_quarantined",
            "Objects for which an origin isn't asked, since its copy had other bytes",
            found.quarantined,
            gauge=True,
        ),
    ]
