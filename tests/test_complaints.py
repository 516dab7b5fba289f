"""The log of a lasting problem."""

from __future__ import annotations

import logging

import pytest

from shield.complaints import Complaints


@pytest.fixture
def complaints(caplog: pytest.LogCaptureFixture) -> Complaints:
    caplog.set_level(logging.WARNING, "shield.test")
    return Complaints(logging.getLogger("shield.test"))


def test_a_trouble_is_named_at_once_and_then_once_in_ten_seconds(
    complaints: Complaints, caplog: pytest.LogCaptureFixture
) -> None:
    for now in (100.0, 101.0, 109.9, 110.0, 111.0):
        complaints.say("down", now, "%s is down", "fra")

    assert caplog.messages == ["fra is down", "fra is down (2 more like it)"]


def test_each_kind_has_its_own_line(complaints: Complaints, caplog: pytest.LogCaptureFixture) -> None:
    complaints.say(("fra", "reset"), 100.0, "fra: reset")
    complaints.say(("fra", "tls"), 100.0, "fra: tls")

    assert caplog.messages == ["fra: reset", "fra: tls"]


def test_a_clock_that_is_set_back_silences_nothing(complaints: Complaints, caplog: pytest.LogCaptureFixture) -> None:
    complaints.say("down", 1000.0, "down")
    complaints.say("down", 500.0, "down")

    assert len(caplog.messages) == 2
