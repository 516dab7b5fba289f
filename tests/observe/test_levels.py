"""Another level of the log for a while: taken over by every worker, ended by itself."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from shield.observe.levels import LogLevels
from shield.shared import Shared
from tests.node import FakeClock

OURS = logging.getLogger("shield")


@pytest.fixture(autouse=True)
def usual() -> Iterator[None]:
    before = OURS.level
    OURS.setLevel("INFO")
    yield
    OURS.setLevel(before)


def test_it_holds_here_at_once_in_others_with_their_next_tick_and_ends_by_itself() -> None:
    clock, shared = FakeClock(), Shared(workers=2)
    one, other = (LogLevels("info", shared.log_level, clock=clock) for _ in range(2))

    one.set("debug", 60.0)
    assert OURS.level == logging.DEBUG
    OURS.setLevel("INFO")  # the other worker's process
    other.tick()
    assert OURS.level == logging.DEBUG

    clock.advance(59)
    other.tick()
    assert OURS.level == logging.DEBUG and other.now is not None
    clock.advance(1)
    other.tick()
    assert OURS.level == logging.INFO and other.now is None


def test_a_reload_meanwhile_changes_what_comes_after(caplog: pytest.LogCaptureFixture) -> None:
    clock, shared = FakeClock(), Shared()
    levels = LogLevels("info", shared.log_level, clock=clock)
    levels.set("debug", 60.0)

    OURS.setLevel("ERROR")  # by the settings
    levels.usual = "error"
    levels.tick()
    held = OURS.level
    levels.end()

    assert (held, OURS.level) == (logging.DEBUG, logging.ERROR)


def test_without_another_level_nothing_is_touched() -> None:
    levels = LogLevels("error", Shared().log_level, clock=FakeClock())

    levels.tick()

    assert OURS.level == logging.INFO


@pytest.mark.parametrize("level", ["debug", "error"])
def test_it_is_said_when_it_begins_and_ends(caplog: pytest.LogCaptureFixture, level: str) -> None:
    clock = FakeClock()
    levels = LogLevels("info", Shared().log_level, clock=clock)

    levels.set(level, 60.0)
    levels.tick()
    clock.advance(60)
    levels.tick()
    levels.tick()

    assert [record.getMessage() for record in caplog.records] == [
        f"the level of the log is {level} for 60 s",
        "the level of the log is info again, as the settings say",
    ]
