"""The rules that a worker goes by, as one immutable value: all that a reload may change.

A request reads the regime in force once, at its start, and keeps it: what it resolved to, it goes on with, though
another regime is put in force meanwhile. One that was sent ahead of an answer starts when its turn has come.
Freshness, response fields, and the origins in their order are each route's.

    regime = in_force.regime                        # at the start of a request
    resource = regime.targets.resolve(target)
    ...
    in_force.swap(another)                          # from then on, for requests that begin
"""

from __future__ import annotations

from collections.abc import Callable, Container
from dataclasses import dataclass, field

from shield.errors import ConfigError
from shield.rules.access import AccessRules
from shield.rules.limits import ClientLimits
from shield.rules.routes import Resource, Routes

_MEMO_LIMIT = 16384
_MEMO_TARGET = 512  # longer targets aren't remembered: bounds the memo's memory


class Targets:
    """What targets name under one regime. Remembers it, in two generations: targets that were asked for since the
    last turn survive the next."""

    __slots__ = ("_routes", "old", "young")

    def __init__(self, routes: Routes) -> None:
        self._routes = routes
        self.young: dict[bytes, Resource] = {}
        self.old: dict[bytes, Resource] = {}

    def resolve(self, target: bytes) -> Resource:
        """What a target names; RequestError if nothing."""
        resource = self.young.get(target)
        if resource is not None:
            return resource
        resource = self.old.get(target) or self._routes.resolve(target)
        if len(target) <= _MEMO_TARGET:
            if len(self.young) >= _MEMO_LIMIT:
                self.old, self.young = self.young, {}
            self.young[target] = resource
        return resource


@dataclass(frozen=True, slots=True)
class Regime:
    """`access` None: every client is let in. `generation` rises from one regime of a node to the next."""

    routes: Routes
    access: AccessRules | None = None
    limits: ClientLimits = field(default_factory=ClientLimits)
    generation: int = 0
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
    """The regime that holds now, shared by all parts of a worker that go by one.

    `origins` tells the names of those that the worker has. Used within one event loop.
    """

    __slots__ = ("_followers", "_origins", "regime")

    def __init__(self, regime: Regime, *, origins: Callable[[], Container[str]]) -> None:
        """Raises ConfigError as `swap`."""
        self._origins = origins
        self._followers: list[Callable[[Regime], None]] = []
        self.regime = self._checked(regime)

    def followed_by(self, follower: Callable[[Regime], None]) -> None:
        """Have a part told of each regime to come, which keeps something that it derived from the last one."""
        self._followers.append(follower)

    def swap(self, regime: Regime) -> None:
        """From now on this one holds for all requests that begin.

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
