"""How long a node asks the one that stood in for it."""

from __future__ import annotations

from shield.rules.heritage import SECONDS, TRIED, Heritage


def test_it_ends_after_a_while_or_when_it_is_not_worth_it() -> None:
    worth_it, not_worth_it = Heritage(0.0), Heritage(0.0)
    for number in range(TRIED):
        worth_it.note(was_there=number % 40 == 0, now=1.0)
        not_worth_it.note(was_there=number % 70 == 0, now=1.0)

    assert (worth_it.is_open, not_worth_it.is_open) == (True, False)
    assert (worth_it.found, not_worth_it.found) == (5, 3)

    worth_it.note(was_there=True, now=SECONDS)
    assert not worth_it.is_open
