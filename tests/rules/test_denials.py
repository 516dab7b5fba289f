"""Whether AccessDenied concerns one object or the credentials."""

from __future__ import annotations

from shield.rules.denials import LATELY_SECONDS, MOST_IN_A_ROW, Denials


def test_nothing_given_so_far_means_that_the_credentials_are_refused() -> None:
    assert not Denials().is_of_object(b"/a", 100.0, given_at=None)


def test_one_object_denied_among_others_given_is_refused_for_its_own_sake() -> None:
    denials = Denials()

    assert [denials.is_of_object(b"/a", 101.0, given_at=100.0) for _ in range(100)] == [True] * 100


def test_what_was_given_long_ago_proves_nothing() -> None:
    denials = Denials()

    assert denials.is_of_object(b"/a", 100.0 + LATELY_SECONDS, given_at=100.0)
    assert not denials.is_of_object(b"/a", 101.0 + LATELY_SECONDS, given_at=100.0)


def test_when_all_are_denied_one_after_the_other_it_is_the_credentials() -> None:
    denials = Denials()

    seen = [denials.is_of_object(b"/%d" % number, 101.0, given_at=100.0) for number in range(MOST_IN_A_ROW + 5)]

    assert seen == [True] * (MOST_IN_A_ROW - 1) + [False] * 6
    assert denials.is_of_object(b"/a", 103.0, given_at=102.0)
