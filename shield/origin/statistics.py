"""The figures of one origin, for `/state` and metrics."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from shield.origin.gate import GateStatistics
from shield.origin.pool import PoolStatistics
from shield.origin.rotation import CredentialStatistics
from shield.rules.health import Flag, HealthState

HEALTH_STATES = tuple([state.name.lower() for state in HealthState])
"""The words for the state of an origin."""

HEALTH_FLAGS = tuple([str(flag.name).lower() for flag in Flag])
"""The words for its flags."""


@dataclass(frozen=True, slots=True)
class HealthStatistics:
    """How an origin is treated by all workers, and the reason."""

    state: str
    since_seconds: float | None  # None: since the start
    out_seconds: float  # for how long it has not been up
    reason: str
    flags: tuple[str, ...]
    drained_until: float | None  # epoch seconds; None: it isn't drained, or without an end
    p95_seconds: float | None  # of first bytes


@dataclass(frozen=True, slots=True)
class OriginStatistics:
    fetches: int
    extra: Mapping[str, int]  # attempts at it besides the first ones of fetches, by reason
    repeats_saved: float  # retries and resumes that its budget allows now
    hedges_won: int
    hedges_lost: int
    hedges_wasted_bytes: int  # by responses that were given up for those of another origin
    faults: Mapping[str, int]
    responses: Mapping[str, int]  # by status
    requests: Mapping[str, int]  # by reason
    received: Mapping[str, int]  # bytes of heads and bodies, whole or not, by reason
    overtaken: int  # attempts that were late, so that another origin's response was used
    absent: int
    probes: Mapping[str, int]  # by result
    probe_bytes: int
    capped_seconds: float  # for which fetches and connections waited for its `max_rate`
    pool: PoolStatistics
    gate: GateStatistics
    health: HealthStatistics
    credentials: CredentialStatistics | None  # None: requests aren't signed
    drill: str | None  # the mode of the drill that runs at it
