"""What budgets of egress make of the origins in use: who is spared, and the look by which they are judged."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from shield.budget_cells import BudgetCell, BudgetCells, private
from shield.origin.origin import Origin
from shield.origin.want import Want
from shield.rules.budgets import BudgetAct

OriginLook = Callable[[float, bool], None]


class Thrift:
    """Of one worker. `all_origins` returns those in use."""

    def __init__(
        self, cells: BudgetCells | None, worker: int, *, all_origins: Callable[[], Iterable[Origin]]
    ) -> None:
        """`cells` are in the memory that all workers share; None: there are no others."""
        self._memory = cells or private()
        self._worker = worker
        self._all = all_origins
        self._watch: Callable[[str, Want, int], None] | None = None
        self.spend: Callable[[bool], None] = lambda conducts: None
        """Called four times a second, with whether this worker conducts: budgets are judged."""

    def attach(self, origin: Origin) -> None:
        """Give it its cell."""
        origin.budget = self._memory.of(self._worker, origin.name)
        origin.watch = self._watch

    def keep(self, origins: Iterable[Origin]) -> None:
        """Forget all others."""
        self._memory.free([origin.name for origin in origins])

    def watch(self, watch: Callable[[str, Want, int], None]) -> None:
        """Call it with each fetch that is answered with an object: the origin, the fetch, the response's bytes."""
        self._watch = watch
        for each in self._all():
            each.watch = watch

    def looking(self, look: OriginLook) -> OriginLook:
        """The same look, after budgets have been judged."""

        def looked(now: float, conducts: bool) -> None:
            self.spend(conducts)
            look(now, conducts)

        return looked

    def cells(self) -> dict[str, BudgetCell]:
        """The knowledge of budgets about the origins, by name."""
        return {origin.name: origin.budget for origin in self._all()}

    def are_paused(self, names: Sequence[str]) -> bool:
        """Whether a budget of the first of these permits only fetches that clients wait for."""
        return self._does(BudgetAct.PAUSE, names[:1])

    def are_saving(self, names: Sequence[str]) -> bool:
        """Whether budgets ask all of these for stale entries rather than fetches."""
        return self._does(BudgetAct.STALE, names)

    def _does(self, act: BudgetAct, names: Sequence[str]) -> bool:
        known = [origin for origin in self._all() if origin.name in names]
        return bool(known) and all(origin.budget.does(act) for origin in known)
