"""Failover: one fetch over several origins inside one deadline, before any byte is sent to a client.

`rules.schedule` decides when each origin is tried; this carries it out. Any response that isn't the object
("absent", an error, a refusal) moves on to the next.
"""

from __future__ import annotations

import asyncio
import logging
import math
import random
from collections.abc import Callable, Mapping, Sequence

from shield.complaints import Complaints
from shield.errors import Fault, OriginError
from shield.origin.origin import Origin
from shield.origin.want import Absent, Failed, Fetched, Want, settled
from shield.rules.budget import RetryBudget
from shield.rules.routing import rank
from shield.rules.schedule import MIN_ATTEMPT_SECONDS, Schedule, Start, Wait, share_of

log = logging.getLogger("shield.origin")

_STORED_PATIENCE = 1.0
"""Seconds that a revalidation waits before an origin is tried again: the stored entry may do instead."""


_LEFT_SECONDS = 60.0
"""How long an origin that was left out isn't asked until it is forgotten."""


class _Lot:
    """The origins of one time, and for how long they are asked."""

    __slots__ = ("budgets", "deadline_seconds", "origins", "users")

    def __init__(
        self, origins: Sequence[Origin], deadline_seconds: float, budgets: Mapping[str, RetryBudget]
    ) -> None:
        self.origins = {origin.name: origin for origin in origins}
        self.deadline_seconds = deadline_seconds
        self.budgets = budgets
        self.users = 0  # fetches under way that go by it

    def order(self, names: Sequence[str]) -> Sequence[str]:
        """The order in which those of them are tried that are there."""
        if len(names) == 1 and names[0] in self.origins:
            return names
        return rank([self.origins[name].candidate for name in names if name in self.origins])


class Origins:
    """All origins of a node. `fetch` walks an order of names within one deadline.

    They may be replaced by others (`adopt`): a fetch goes on with those it began with. One that is left out can be
    fetched from for a while longer, for requests that began under routes that name it; its connections end when their
    fetches do.
    """

    def __init__(
        self,
        origins: Sequence[Origin],
        *,
        deadline_seconds: float,
        clock: Callable[[], float],
        retry_share: float = 0.1,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._retry_share = retry_share
        self._lot = _Lot(origins, deadline_seconds, {each.name: RetryBudget(retry_share) for each in origins})
        self._left: dict[str, tuple[Origin, float]] = {}  # out, by name, and when each was asked last
        self._ending: list[tuple[Origin, _Lot]] = []  # to be closed when nothing needs them any more
        self._closings: set[asyncio.Task[None]] = set()
        self._chance = chance
        self._clock = clock
        self._complaints = Complaints(log)
        self._now = asyncio.get_running_loop().time

    def order(self, names: Sequence[str]) -> tuple[str, ...]:
        """The order in which the named origins are tried now."""
        return tuple(self._lot.order(names))

    def adopt(self, origins: Sequence[Origin], *, deadline_seconds: float, retry_share: float) -> None:
        """Have these instead from now on. Those that are there already may be among them, and stay as they are."""
        before, now = self._lot, self._now()
        kept = before.budgets if retry_share == self._retry_share else {}
        budgets = {each.name: kept.get(each.name) or RetryBudget(retry_share) for each in origins}
        self._lot, self._retry_share = _Lot(origins, deadline_seconds, budgets), retry_share
        for name, origin in before.origins.items():
            if self._lot.origins.get(name) is origin:
                continue
            self._ending.append((origin, before))
            if name not in self._lot.origins:
                self._left[name] = origin, now
        for name in self._lot.origins:
            self._left.pop(name, None)

    def tick(self) -> None:
        """Once a second: end what was left out and isn't needed any more."""
        now = self._now()
        for name, (_, asked) in list(self._left.items()):
            if now - asked > _LEFT_SECONDS:
                del self._left[name]
        for each in list(self._ending):
            origin, lot = each
            pool, (left, _) = origin.pool, self._left.get(origin.name, (None, 0.0))
            if lot.users or left is origin or pool.in_use:
                continue
            self._ending.remove(each)
            closing = asyncio.get_running_loop().create_task(pool.close())
            self._closings.add(closing)
            closing.add_done_callback(self._closings.discard)

    async def fetch(self, names: Sequence[str], want: Want) -> Fetched | Absent | Failed:
        """Try the named origins until one commits to the object. Cancellation leaves nothing behind."""
        lot = self._lot
        if self._left and not all(name in lot.origins for name in names):
            lot = self._with_left(names, lot)
        lot.users += 1
        try:
            order, began = lot.order(names), self._now()
            if not order or len(order) < len(names) or lot.deadline_seconds < MIN_ATTEMPT_SECONDS:
                return await self._fail_over(names, order, want, lot, began, None)
            origin, deadline = lot.origins[order[0]], share_of(began, began + lot.deadline_seconds, len(order))
            result: Fetched | Absent | OriginError
            try:
                result = await origin.fetch(want, deadline=deadline, clock=self._clock)
                if isinstance(result, Fetched):
                    lot.budgets[origin.name].earn()
                    return result
            except OriginError as error:
                result = error
            return await self._fail_over(names, order, want, lot, began, result)
        finally:
            lot.users -= 1

    def _with_left(self, names: Sequence[str], lot: _Lot) -> _Lot:
        """For requests that began when these names were origins'."""
        now = self._now()
        origins = dict(lot.origins)
        for name in names:
            if name in self._left:
                origins[name] = self._left[name][0]
                self._left[name] = origins[name], now
        budgets = {**{name: RetryBudget(0.0) for name in names}, **lot.budgets}
        return _Lot(list(origins.values()), lot.deadline_seconds, budgets)

    async def _fail_over(
        self,
        names: Sequence[str],
        order: Sequence[str],
        want: Want,
        lot: _Lot,
        began: float,
        first: Absent | OriginError | None,
    ) -> Fetched | Absent | Failed:
        """What comes of further attempts, as the schedule has them. `first` is the result of the first attempt, which
        was made when it began; None: there was none."""
        now = self._now
        schedule = Schedule(
            order,
            deadline=began + lot.deadline_seconds,
            budgets=lot.budgets,
            chance=self._chance,
            patience=_STORED_PATIENCE if want.validators else math.inf,
        )
        unknown = [name for name in names if name not in lot.origins]
        failures = {name: OriginError(name, Fault.REFUSED, "no origin any more") for name in unknown}
        absent: set[str] = set()
        gone: Absent | None = None
        while True:
            step = schedule.next(now() if first is None else began)
            if isinstance(step, Wait):
                await asyncio.sleep(step.until - now())  # nothing is held meanwhile, not even a connection
                continue
            if not isinstance(step, Start):
                break
            origin = lot.origins[step.origin]
            result: Fetched | Absent | OriginError | None
            result, first = first, None
            if result is None:
                if step.origin in failures:
                    origin.retries += 1
                result = await self._attempt(origin, want, step.deadline)
            if isinstance(result, Fetched):
                return result
            if isinstance(result, OriginError):
                failures[origin.name] = result
                self._note(origin, result, want)
                schedule.failed(
                    origin.name, result.fault, now(), status=result.status, retry_after=result.retry_after
                )
                continue
            failures.pop(origin.name, None)
            schedule.absent(origin.name)
            absent.add(origin.name)
            gone = result if gone is None else result.after(gone)
        if failures or not schedule.asked_all:
            return Failed(settled(failures, absent, want, asked_all=schedule.asked_all))
        return gone or Absent()

    async def _attempt(self, origin: Origin, want: Want, deadline: float) -> Fetched | Absent | OriginError:
        try:
            return await origin.fetch(want, deadline=deadline, clock=self._clock)
        except OriginError as error:
            return error

    def get(self, name: str) -> Origin:
        return self._lot.origins[name]

    def all(self) -> tuple[Origin, ...]:
        return tuple(self._lot.origins.values())

    async def close(self) -> None:
        for origin in (*self._lot.origins.values(), *[origin for origin, _ in self._ending]):
            await origin.pool.close()
        if self._closings:
            await asyncio.wait(self._closings)

    def _note(self, origin: Origin, error: OriginError, want: Want) -> None:
        origin.faults[error.fault.value] += 1
        path = want.path.decode("ascii", "replace")
        self._complaints.say((error.origin, error.fault), self._now(), "%s; for %s", error, path)
