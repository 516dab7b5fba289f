"""The amplification budget of an address."""

from __future__ import annotations

import pytest

from shield.rules.addresses import Networks
from shield.rules.amplification import MOST_ADDRESSES, Account, Accounts, AmplificationLimits
from shield.rules.exact import FREE

MIB = 1 << 20
LIMITS = AmplificationLimits(ratio=2.0, burst=4 * MIB, recovery_seconds=100.0, exempt=Networks(["192.0.2.0/24"]))


def account() -> Account:
    return Account(LIMITS, 0.0)


def test_what_is_taken_pays_for_twice_as_much() -> None:
    mine = account()
    for _ in range(100):
        mine.earn(FREE)
        mine.cost(2 * MIB + FREE)
        mine.took(MIB)

    assert mine.affords(4 * MIB - FREE, 0.0)


def test_what_nobody_takes_is_spent_and_comes_back_with_time() -> None:
    mine = account()
    mine.cost(4 * MIB)

    assert mine.is_over(0.0)
    assert not mine.is_over(1.0)
    assert mine.affords(MIB, 25.0)
    assert not mine.affords(2 * MIB, 25.0)
    assert mine.affords(4 * MIB, 1000.0)


def test_debts_and_savings_are_bounded_by_one_burst() -> None:
    mine = account()
    mine.took(1 << 40)
    mine.cost(5 * MIB)
    assert mine.is_over(0.0)
    mine.cost(1 << 40)

    assert mine.is_over(100.0)
    assert not mine.is_over(101.0)


def test_a_clock_that_goes_back_takes_nothing_away() -> None:
    mine = account()
    mine.cost(MIB)

    assert mine.affords(3 * MIB, -50.0)


def test_other_limits_hold_at_once_and_what_was_spent_stays_spent() -> None:
    mine = account()
    mine.cost(3 * MIB)
    mine.abide_by(AmplificationLimits(burst=2 * MIB, recovery_seconds=100.0))
    assert mine.is_over(0.0)

    mine.abide_by(AmplificationLimits(burst=8 * MIB, recovery_seconds=100.0))
    assert mine.affords(5 * MIB, 0.0)


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [
        ("198.51.100.1", "198.51.100.1", True),
        ("198.51.100.1", "198.51.100.2", False),
        ("2001:db8::1", "2001:db8::ffff:2", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
    ],
)
def test_an_address_or_a_network_of_64_bits_has_one_budget(one: str, other: str, is_same: bool) -> None:
    accounts = Accounts()

    assert (accounts.of(one, LIMITS, 0.0) is accounts.of(other, LIMITS, 0.0)) is is_same


@pytest.mark.parametrize("peer", ["192.0.2.7", "::ffff:192.0.2.7", "unix", "-"])
def test_who_has_no_budget_to_keep(peer: str) -> None:
    assert Accounts().of(peer, LIMITS, 0.0) is None


def test_without_limits_nobody_has_one() -> None:
    assert Accounts().of("198.51.100.1", None, 0.0) is None


def test_budgets_are_bounded_in_number_and_the_least_used_is_forgotten() -> None:
    accounts = Accounts()
    kept = accounts.of("198.51.100.1", LIMITS, 0.0)
    for number in range(MOST_ADDRESSES + 10):
        accounts.of(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}", LIMITS, 0.0)
        accounts.of("198.51.100.1", LIMITS, 0.0)

    assert len(accounts) == MOST_ADDRESSES
    assert accounts.of("198.51.100.1", LIMITS, 0.0) is kept


def test_an_address_that_is_known_keeps_its_budget_and_its_place_among_those_used_of_late() -> None:
    accounts = Accounts()
    first = accounts.of("198.51.100.1", LIMITS, 0.0)
    for number in range(MOST_ADDRESSES - 1):
        accounts.of(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}", LIMITS, 0.0)
    assert accounts.of("198.51.100.1", LIMITS, 0.0) is first
    accounts.of("198.51.100.2", LIMITS, 0.0)

    assert len(accounts) == MOST_ADDRESSES
    assert accounts.of("198.51.100.1", LIMITS, 0.0) is first
    assert accounts.of("198.51.100.1", None, 0.0) is None
