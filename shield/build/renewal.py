"""New settings for a running node: prepared first, which may fail, then put in force at once.

    prepared = await renewal.prepare(edition)      # raises ConfigError; nothing has changed
    prepared.commit()                              # or: await prepared.discard()

What is the same before and after stays: origins that don't differ keep their connections, health and figures.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from shield.admin.doorkeeper import Doorkeeper
from shield.alarms.signs import OwnSigns
from shield.alarms.watch import AlarmWatch
from shield.build.alarms import alarm_terms
from shield.build.cluster import NodesTls, members_of, renewed_tls
from shield.build.drills import drill_terms
from shield.build.edges import edge_targets
from shield.build.edition import Edition
from shield.build.fills import fill_policy, spot_terms
from shield.build.keys import ObtainedKeys
from shield.build.listeners import listener_tls
from shield.build.origins import (
    Blueprint,
    among_workers,
    authorities_of,
    blueprints,
    credentials,
    obtained_credentials,
    origin_of,
)
from shield.build.probes import probe_plan
from shield.build.regime import regime_of
from shield.build.replies import log_requests, prices_of, replies_of, request_ids, try_log_file
from shield.build.secrets import SecretFiles
from shield.build.sights import spike_terms
from shield.build.tokens import admin_tokens
from shield.build.tracing import tracing_terms
from shield.build.usage import all_prices, budget_terms, sites_of
from shield.cdn.passing import EdgePurges
from shield.config.settings import Settings
from shield.drill.drills import Drills, DrillTerms
from shield.edge.tls import ServerContext
from shield.egress.budgets import BudgetWatch
from shield.egress.keeper import LedgerKeeper
from shield.egress.spikes import SpikeWatch
from shield.figures import Configuration, Vitals
from shield.fill.means import Means
from shield.fill.spotchecks import SpotChecks
from shield.observe.access import AccessLog
from shield.observe.accounting import Accounting
from shield.observe.levels import LogLevels
from shield.observe.request_ids import RequestIds
from shield.observe.suspects import SuspectLists
from shield.observe.top import TopLists
from shield.origin.origin import Origin
from shield.origin.origins import Origins
from shield.origin.prober import ProbePlan
from shield.origin.signer import Credentials
from shield.peers.nodes import Nodes
from shield.peers.owners import Owners
from shield.proxy import Proxy
from shield.regime import InForce, Regime
from shield.rules.hedge import HedgeRules
from shield.rules.prices import zones_of
from shield.rules.tokens import AdminTokens
from shield.store.tiers import Store
from shield.tracing.service import Tracing
from shield.tracing.tracer import TracingTerms


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """The parts of a node that depend on settings which may change."""

    workers: int
    vitals: Vitals
    in_force: InForce
    origins: Origins
    drills: Drills
    owners: Owners
    nodes: Nodes | None  # of the cluster
    secrets: SecretFiles
    keys: ObtainedKeys
    store: Store
    proxies: Sequence[Proxy]
    means: Means
    spot_checks: SpotChecks
    accounting: Accounting
    access: AccessLog
    ids: RequestIds
    tops: TopLists
    keeper: LedgerKeeper
    budgets: BudgetWatch
    spikes: SpikeWatch
    suspects: SuspectLists
    signs: OwnSigns
    alarms: AlarmWatch
    edges: EdgePurges
    tracing: Tracing
    admin_hosts: list[str]
    doorkeeper: Doorkeeper
    levels: LogLevels


class WorkerRenewal:
    """The reload of one worker. Made and used within one event loop; prepares one edition at a time."""

    def __init__(self, parts: Parts, edition: Edition, plans: Mapping[str, Blueprint]) -> None:
        self.parts = parts
        self.edition = edition
        self._plans = plans

    async def prepare(self, edition: Edition) -> PreparedEdition:
        """Make everything that an edition needs, without using it yet. Raises ConfigError."""
        settings, workers = edition.loaded.settings, self.parts.workers
        drawn = await asyncio.get_running_loop().run_in_executor(
            None, _drawn, settings, workers, edition.generation, self._plans
        )
        made: list[Origin] = []
        try:
            for name, context in drawn.contexts.items():
                made.append(origin_of(drawn.plans[name], drawn.credentials[name], context))
        except BaseException:
            await _close(made)
            raise
        return PreparedEdition(self, edition, drawn, made)

    def note_refusal(self) -> None:
        """A later edition was refused, by this worker or elsewhere."""
        self.edition = self.edition.outdated()
        self.parts.vitals.configuration = configuration_of(self.edition)

    def follow(self, edition: Edition, plans: Mapping[str, Blueprint]) -> None:
        """Record that an edition is in force."""
        self.edition, self._plans = edition, plans
        self.parts.vitals.configuration = configuration_of(edition)


class PreparedEdition:
    """An edition that is ready: `commit` or `discard` it."""

    def __init__(self, renewal: WorkerRenewal, edition: Edition, drawn: _Drawn, made: Sequence[Origin]) -> None:
        self.edition = edition
        self._renewal = renewal
        self._drawn = drawn
        self._made = made

    def commit(self) -> None:
        """Put it in force for requests that begin from now on."""
        parts, drawn, settings = self._renewal.parts, self._drawn, self.edition.loaded.settings
        made = {origin.name: origin for origin in self._made}
        kept = {origin.name: origin for origin in parts.origins.all()}
        origins = [made.get(name) or kept[name] for name in drawn.plans]
        for origin in origins:
            given = drawn.credentials[origin.name]
            if given is not None and origin.keys is not None:
                origin.keys.offer(given)
        failover = settings.failover
        parts.origins.adopt(
            origins,
            deadline_seconds=failover.deadline,
            retry_share=failover.retry_budget,
            hedges=HedgeRules(settings.hedge.share, settings.hedge.max_waste),
        )
        parts.drills.terms = drawn.drills
        parts.origins.prober.plan = drawn.probes
        parts.owners.use(among_workers(settings))
        if parts.nodes is not None and settings.cluster is not None and settings.cluster.dns is None:
            parts.nodes.use(members_of(settings))
        if settings.cluster is not None:
            parts.secrets.use_secrets(settings.cluster)
            parts.secrets.use_bus(settings.cluster)
        if drawn.nodes_tls is not None:
            parts.secrets.use_tls(drawn.nodes_tls)
        parts.means.policy = fill_policy(settings)
        parts.spot_checks.use(spot_terms(settings, parts.workers))
        replies = replies_of(settings)
        request_ids(settings, parts.ids)
        parts.tops.use(prices_of(settings))
        parts.keeper.use(zones_of(all_prices(settings)), sites_of(settings))
        parts.budgets.use(budget_terms(settings))
        parts.spikes.use(spike_terms(settings))
        parts.suspects.use(prices_of(settings))
        for proxy in parts.proxies:
            proxy.use(replies)
        parts.in_force.swap(drawn.regime)
        parts.store.forget_heads()
        log_requests(settings, parts.access, parts.accounting, workers=parts.workers)
        terms = alarm_terms(settings)
        parts.signs.limits = terms.limits
        parts.alarms.use(terms)
        parts.edges.use(edge_targets(settings, parts.edges.clock))
        parts.tracing.use(drawn.tracing)
        parts.admin_hosts[:] = settings.admin.hosts
        parts.doorkeeper.admit_by(drawn.tokens)
        parts.levels.usual = settings.log.level
        parts.secrets.follow(self.edition.loaded)
        parts.keys.follow(settings)
        if drawn.tls is not None:
            parts.secrets.show(drawn.tls)
        self._renewal.follow(self.edition, drawn.plans)

    async def discard(self) -> None:
        """Release it, unused."""
        await _close(self._made)


@dataclass(frozen=True, slots=True)
class _Drawn:
    """The parts of an edition that can be made outside of the event loop."""

    plans: Mapping[str, Blueprint]
    contexts: Mapping[str, ssl.SSLContext | None]  # of origins that are to be made
    credentials: Mapping[str, Credentials | None]
    regime: Regime
    drills: DrillTerms
    probes: ProbePlan
    tracing: TracingTerms | None
    tls: ServerContext | None
    nodes_tls: NodesTls | None
    tokens: AdminTokens


def _drawn(settings: Settings, workers: int, generation: int, before: Mapping[str, Blueprint]) -> _Drawn:
    try_log_file(settings)
    plans, regime = blueprints(settings, workers), regime_of(settings, workers=workers, generation=generation)
    return _Drawn(
        plans,
        {name: authorities_of(plan) for name, plan in plans.items() if before.get(name) != plan},
        {
            # From its source only for a new one: that of others is followed anyway.
            name: (obtained_credentials if before.get(name) != plan else credentials)(settings, name)
            for name, plan in plans.items()
        },
        regime,
        drill_terms(settings),
        probe_plan(settings, regime.routes),
        tracing_terms(settings, workers),
        listener_tls(settings),
        renewed_tls(settings),
        admin_tokens(settings.admin),
    )


def configuration_of(edition: Edition) -> Configuration:
    """An edition as it is reported in the node's state."""
    return Configuration(edition.generation, edition.since, edition.is_latest, edition.waiting)


async def _close(origins: Sequence[Origin]) -> None:
    for origin in origins:
        await origin.pool.close()
