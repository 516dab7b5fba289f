"""Keys that are hot, and a sum of sizes with a limit."""

from __future__ import annotations

from shield.rules.heat import Heat, RoomForCopies


def test_the_third_hit_within_the_time_and_each_after_it_is_hot() -> None:
    heat = Heat(times=3, seconds=10.0)

    assert [heat.hit(b"a", at) for at in (0.0, 6.0, 10.0, 15.0, 30.0, 31.0, 32.0)] == [
        False,
        False,
        True,
        True,
        False,
        False,
        True,
    ]
    assert not heat.hit(b"b", 32.0)


def test_keys_that_were_hit_long_ago_are_forgotten_first() -> None:
    heat = Heat(times=3, seconds=1e9)
    for number in range(10_001):
        heat.hit(b"%d" % number, 0.0)

    assert [heat.hit(b"0", 1.0), heat.hit(b"0", 1.0), heat.hit(b"10000", 1.0), heat.hit(b"10000", 1.0)] == [
        False,
        False,
        False,
        True,
    ]


def test_the_oldest_are_given_up_for_what_comes() -> None:
    budget = RoomForCopies(100)

    assert [budget.take(b"a", 40), budget.take(b"b", 40), budget.take(b"a", 50), budget.take(b"c", 60)] == [
        [],
        [],
        [],
        [b"b", b"a"],
    ]
    assert (budget.used, b"c" in budget, len(budget)) == (60, True, 1)
    assert budget.take(b"d", 101) is None
