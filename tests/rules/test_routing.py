"""Which origin next, and how long it may take."""

from __future__ import annotations

from shield.rules.routing import Attempt, Candidate, next_attempt, rank


def test_origins_are_tried_in_configured_order() -> None:
    assert rank([Candidate("iad", "replica"), Candidate("fra", "primary")]) == ("iad", "fra")


def test_each_origin_has_an_even_share_of_the_time_that_is_left() -> None:
    order = ("a", "b", "c")

    assert next_attempt(order, set(), now=100.0, deadline=109.0) == Attempt("a", 103.0)
    assert next_attempt(order, {"a"}, now=101.0, deadline=109.0) == Attempt("b", 105.0)
    assert next_attempt(order, {"a", "b"}, now=108.0, deadline=109.0) == Attempt("c", 109.0)


def test_there_is_no_attempt_when_all_were_tried_or_time_is_up() -> None:
    assert next_attempt(("a",), {"a"}, now=0.0, deadline=10.0) is None
    assert next_attempt(("a",), set(), now=9.99, deadline=10.0) is None
    assert next_attempt((), set(), now=0.0, deadline=10.0) is None
