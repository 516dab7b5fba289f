"""The journal of one node: the times of its orders."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from shield.rules.spreading import SpreadKind, SpreadOrder
from shield.spread.journal import OrderJournal, OrderWish


def journal(path: Path, node: str, clock: Callable[[], float]) -> OrderJournal:
    return OrderJournal(path / f"{node}.sqlite", node, clock=clock)


def give(at: OrderJournal, order_id: str) -> SpreadOrder:
    return at.append([OrderWish(order_id, SpreadKind.LIFT, "[]", "test")])[0]


@pytest.mark.parametrize(("ahead", "follows"), [(20.0, True), (3600.0, False)])
def test_an_order_is_later_than_those_that_were_known_though_the_clock_is_behind(
    tmp_path: Path, ahead: float, *, follows: bool
) -> None:
    one, other = journal(tmp_path, "a", lambda: 1000.0 + ahead), journal(tmp_path, "b", lambda: 1000.0)
    known = give(one, "x")
    other.complete(other.add([known]))

    given = give(other, "y")

    assert (given.moment > known.moment) is follows
    assert follows or given.at == 1000.0  # no clock that is wrong by much rules the others
    assert give(other, "z").moment > given.moment
