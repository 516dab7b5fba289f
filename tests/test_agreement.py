"""The agreement of workers on new settings."""

from __future__ import annotations

from typing import cast

import pytest

from shield.agreement import COMMIT_SECONDS, VOTE_SECONDS, Agreement, AgreementState
from shield.build.edition import Edition
from shield.line import Kind

YES, NO = b"[7, []]", b'[7, ["tls: no"]]'


@pytest.fixture
def agreement() -> Agreement:
    """Of two workers, begun at 100."""
    return Agreement(7, cast(Edition, None), [0, 1], 100.0)


def test_all_change_once_all_have_said_yes_and_it_is_done_once_all_have(agreement: Agreement) -> None:
    seen = []
    for worker, kind in ((0, Kind.VOTE), (1, Kind.VOTE), (0, Kind.DONE), (1, Kind.DONE)):
        agreement.hear(worker, kind, YES)
        seen.append(agreement.judge(101.0))

    assert seen == [AgreementState.OPEN, AgreementState.AGREED, AgreementState.OPEN, AgreementState.DONE]


def test_one_no_is_enough_and_every_problem_is_told_once(agreement: Agreement) -> None:
    agreement.hear(0, Kind.VOTE, NO)
    before = agreement.judge(101.0)
    agreement.hear(1, Kind.VOTE, NO)

    assert (before, agreement.judge(101.0)) == (AgreementState.OPEN, AgreementState.REFUSED)
    assert list(agreement.problems) == ["tls: no"]


def test_a_worker_that_says_nothing_in_time_is_a_refusal(agreement: Agreement) -> None:
    agreement.hear(0, Kind.VOTE, YES)

    assert agreement.judge(100.0 + VOTE_SECONDS - 1) is AgreementState.OPEN
    assert agreement.judge(100.0 + VOTE_SECONDS) is AgreementState.REFUSED
    assert list(agreement.problems) == ["worker 1 said nothing for 30 s"]


def test_a_vote_on_an_earlier_reload_comes_too_late(agreement: Agreement) -> None:
    agreement.hear(0, Kind.VOTE, YES)
    agreement.hear(1, Kind.VOTE, b"[6, []]")

    assert agreement.judge(101.0) is AgreementState.OPEN


def test_a_worker_that_dies_has_no_say(agreement: Agreement) -> None:
    agreement.hear(0, Kind.VOTE, YES)
    agreement.lose(1)
    agreed = agreement.judge(101.0)
    agreement.hear(0, Kind.DONE, YES)

    assert (agreed, agreement.judge(101.0)) == (AgreementState.AGREED, AgreementState.DONE)


def test_a_change_that_was_agreed_on_is_not_taken_back(agreement: Agreement) -> None:
    for worker in (0, 1):
        agreement.hear(worker, Kind.VOTE, YES)
    agreement.judge(101.0)
    agreement.hear(0, Kind.DONE, YES)

    assert agreement.judge(101.0 + COMMIT_SECONDS - 1) is AgreementState.OPEN
    assert agreement.judge(101.0 + COMMIT_SECONDS) is AgreementState.DONE


def test_without_workers_it_is_done_at_once() -> None:
    agreement = Agreement(7, cast(Edition, None), [], 0.0)

    assert (agreement.judge(0.0), agreement.judge(0.0)) == (AgreementState.AGREED, AgreementState.DONE)
