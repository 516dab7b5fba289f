"""Signals as something to wait for: none is lost, and what is to end a node is seen before it is taken.

They are sent to the thread of the test: others, which other tests may have left, hold none back.
"""

from __future__ import annotations

import signal

from shield.signals import Signals, hold_back, let_through, outlive


def test_an_order_to_stop_is_seen_before_it_is_taken() -> None:
    with Signals() as signals:
        signal.raise_signal(signal.SIGHUP)
        before = signals.stop_is_waiting
        signal.raise_signal(signal.SIGTERM)

        assert (before, signals.stop_is_waiting) == (False, True)
        assert list(signals.taken()) == [signal.SIGHUP, signal.SIGTERM]
        assert not signals.stop_is_waiting


def test_what_is_held_back_comes_once_it_is_let_through() -> None:
    with Signals() as signals:
        hold_back()
        signal.raise_signal(signal.SIGTERM)
        meanwhile = signals.taken()
        let_through()

        assert (meanwhile, list(signals.taken())) == (b"", [signal.SIGTERM])


def test_what_was_held_back_before_comes_on_entering() -> None:
    hold_back()
    signal.raise_signal(signal.SIGTERM)

    with Signals() as signals:
        assert list(signals.taken()) == [signal.SIGTERM]


def test_an_order_to_reload_before_it_is_entered_comes_then() -> None:
    outlive()
    try:
        signal.raise_signal(signal.SIGHUP)

        with Signals() as signals:
            assert list(signals.taken()) == [signal.SIGHUP]
    finally:
        for number in (signal.SIGHUP, signal.SIGUSR2):
            signal.signal(number, signal.SIG_DFL)
