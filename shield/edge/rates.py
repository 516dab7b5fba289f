"""Rate limits on clients, at all fronts: after access control, so that nobody spends budgets of others, and before
any lookup, so that what exceeds a limit costs neither a disk nor an origin.

A client that no limit concerns has no `ClientRates`, and its connection never asks. One whose budgets don't depend on
its requests, as under a limit by address, has them found once for each connection.
"""

from __future__ import annotations

import logging
from collections.abc import Hashable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from shield.complaints import Complaints
from shield.edge.turn import in_origin_form
from shield.errors import OwnPathError, RequestError
from shield.rate_cells import RateCells
from shield.regime import InForce
from shield.rules.addresses import peer_of
from shield.rules.rate_limit import (
    CLOSED,
    SECOND,
    RateFacts,
    RateLimit,
    RateLimitedError,
    RateLimits,
    budgets_of,
    divided,
)
from shield.rules.routes import Targets

log = logging.getLogger("shield.edge")

Budgets = Sequence[tuple[RateLimit, int]]
_MOST_KNOWN = 4096


@dataclass(frozen=True, slots=True)
class RateStatistics:
    """Requests of this worker beyond each limit: `refused`, and `counted` where a limit only counts."""

    refused: dict[str, int]
    counted: dict[str, int]


class RateLimiter:
    """The limits in force, and the budgets that all workers share. `part` is a word of all workers, too: 0, or the
    number of nodes by which limits are divided, while these can't tell each other what they admit; or CLOSED.
    """

    def __init__(self, in_force: InForce, cells: RateCells, part: memoryview | None = None) -> None:
        self._in_force = in_force
        self.cells = cells
        self.part = memoryview(bytes(8)).cast("q") if part is None else part
        self._refused: dict[str, int] = {}
        self._counted: dict[str, int] = {}
        self._complaints = Complaints(log)
        self._known: dict[Hashable, Budgets] = {}
        self._known_under: RateLimits | None = None

    @property
    def limits(self) -> RateLimits | None:
        return self._in_force.regime.rates

    @property
    def targets(self) -> Targets:
        return self._in_force.regime.targets

    def of(self, peer: str) -> ClientRates | None:
        """The limits on a client, by its name as from `Listener.name_of`; None if there are none."""
        limits = self.limits
        if limits is None:
            return None
        rates = ClientRates(self, limits, peer)
        return rates if rates.matters else None

    def known_under(self, limits: RateLimits) -> dict[Hashable, Budgets]:
        """The budgets of requests that came lately, by all that they depend on."""
        if self._known_under is not limits:
            self._known, self._known_under = {}, limits
        return self._known

    def statistics(self) -> RateStatistics:
        return RateStatistics(dict(self._refused), dict(self._counted))

    def exceeded(self, limit: RateLimit, now: float) -> None:
        """Count a request beyond a limit."""
        counts = self._refused if limit.refuses else self._counted
        counts[limit.name] = counts.get(limit.name, 0) + 1
        if not limit.refuses:
            self._complaints.say(limit.name, now, "rate limit %s is exceeded; it only counts", limit.name)


class ClientRates:
    """The limits on one connection's client, under one regime."""

    __slots__ = ("_by_route", "_cells", "_fixed", "_limiter", "_limits", "_name", "_part", "_peer")

    def __init__(self, limiter: RateLimiter, limits: RateLimits, peer: str) -> None:
        self._limiter = limiter
        self._cells = limiter.cells
        self._part = limiter.part
        self._limits = limits
        self._name = peer
        self._peer = peer_of(peer)
        self._by_route = any(limit.depends_on_route for limit in limits.limits)
        varies = self._by_route or limits.depend_on_key
        is_named = self._peer in limits.trusted or any(limit.header for limit in limits.limits)
        self._fixed: Budgets | None = None
        """The budgets of all its requests; None: they depend on the request."""
        if not varies and not is_named:
            self._fixed = budgets_of(limits, RateFacts([self._peer]))

    @property
    def matters(self) -> bool:
        """Whether some request of this client may be limited."""
        return self._fixed is None or bool(self._fixed)

    def judge(
        self, target: bytes, fields: Mapping[bytes, bytes], key: bytes | None, now: float
    ) -> RateLimitedError | None:
        """Take a request out of its budgets; the refusal if one of them has none left, and then nothing is taken.

        `fields` are those in `RateLimits.fields`, `key` is the id of the key of a valid link. `now` is epoch seconds.
        """
        budgets = self._fixed
        if budgets is None:
            budgets = self._budgets(target, fields, key)
        if self._part[0]:
            return self._judge_alone(budgets, target, now)
        moment = int(now * SECOND)
        if len(budgets) == 1:
            limit, budget = budgets[0]
            wait = self._cells.take(budget, moment, limit.pace)
            return self._over(limit, wait, target, now) if wait else None
        for limit, budget in budgets:
            if limit.refuses and (wait := self._cells.wait(budget, moment, limit.pace)):
                return self._over(limit, wait, target, now)
        for limit, budget in budgets:
            wait = self._cells.take(budget, moment, limit.pace)
            if wait and (refused := self._over(limit, wait, target, now)):
                return refused  # another worker was faster
        return None

    def _judge_alone(self, budgets: Budgets, target: bytes, now: float) -> RateLimitedError | None:
        """The same, while the other nodes don't know what is taken here."""
        part, moment = self._part[0], int(now * SECOND)
        for limit, budget in budgets:
            wait = SECOND if part == CLOSED else self._cells.take(budget, moment, divided(limit.pace, part))
            if wait and (refused := self._over(limit, wait, target, now)):
                return refused
        return None

    def _budgets(self, target: bytes, fields: Mapping[bytes, bytes], key: bytes | None) -> Budgets:
        limits, route = self._limits, None
        if self._by_route:
            with suppress(RequestError):  # an invalid target, which the proxy reports, or our own
                route = self._limiter.targets.resolve(in_origin_form(target)).route.name
        known, what = self._limiter.known_under(limits), (self._name, route, key, *fields.items())
        budgets = known.get(what)
        if budgets is None:
            budgets = budgets_of(limits, RateFacts(limits.clients(self._peer, fields), route, fields, key))
            if len(known) >= _MOST_KNOWN:
                known.clear()
            known[what] = budgets
        return budgets

    def _over(self, limit: RateLimit, wait: int, target: bytes, now: float) -> RateLimitedError | None:
        """The refusal of a request; None: it is admitted all the same, as those for the node's health are."""
        try:
            self._limiter.targets.resolve(in_origin_form(target))
        except OwnPathError:
            return None
        except RequestError:
            pass
        self._limiter.exceeded(limit, now)
        return RateLimitedError(limit, wait) if limit.refuses else None
