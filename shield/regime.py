"""The rules in force in a worker, as one immutable value: everything that a reload may change.

A request reads the regime in force once, at its start, and keeps it, even if another regime is put in force
meanwhile. A pipelined request starts when its turn has come. Freshness, response fields, and the origins in their
order belong to each route.

    regime = in_force.regime                        # at the start of a request
    resource = regime.targets.resolve(target)
    ...
    in_force.swap(another)                          # from then on, for requests that begin
"""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass, field

from shield.errors import ConfigError
from shield.rules.access import AccessRules
from shield.rules.amplification import AmplificationLimits
from shield.rules.limits import ClientLimits
from shield.rules.purge_access import PurgeAccess
from shield.rules.rate_limit import RateLimits
from shield.rules.routes import Routes, Targets


@dataclass(frozen=True, slots=True)
class Regime:
    """`access` None: every client is admitted. `amplification` None: no address has a budget. `rates` None: requests
    aren't limited in number. `generation` rises from one regime of a node to the next."""

    routes: Routes
    access: AccessRules | None = None
    limits: ClientLimits = field(default_factory=ClientLimits)
    amplification: AmplificationLimits | None = None
    generation: int = 0
    buckets: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # names of the origins that have each
    rates: RateLimits | None = None
    purging: PurgeAccess | None = None  # who may send PURGE; None: nobody
    targets: Targets = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "targets", Targets(self.routes))

    def problems(self, origins: Container[str]) -> list[str]:
        """A line for each origin that a route names and the node doesn't have."""
        return [
            f"routes.{route.name}.origins: {name}: the node has no origin of this name"
            for route in self.routes
            for name in route.origins
            if name not in origins
        ]


class InForce:
    """The regime in force now, shared by all parts of a worker that use it.

    `origins` returns the names of the worker's origins. Used within one event loop.
    """

    __slots__ = ("_followers", "_origins", "regime")

    def __init__(self, regime: Regime, *, origins: Callable[[], Container[str]]) -> None:
        """Raises ConfigError as `swap` does."""
        self._origins = origins
        self._followers: list[Callable[[Regime], None]] = []
        self.regime = self._checked(regime)

    def followed_by(self, follower: Callable[[Regime], None]) -> None:
        """Call `follower` with each new regime, for parts that keep something derived from the last one."""
        self._followers.append(follower)

    def origins_by_route(self) -> dict[str, tuple[str, ...]]:
        """The names of each route's origins."""
        return {route.name: route.origins for route in self.regime.routes}

    def swap(self, regime: Regime) -> None:
        """Put a regime in force for all requests that begin from now on.

        Raises ConfigError, and leaves the old one in force, if it names an origin that the worker doesn't have.
        """
        self.regime = self._checked(regime)
        for follower in self._followers:
            follower(regime)

    def _checked(self, regime: Regime) -> Regime:
        problems = regime.problems(self._origins())
        if problems:
            raise ConfigError(problems)
        return regime
