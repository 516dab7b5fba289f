"""Signals as something to wait for: none is lost, and what is to end a node is seen before it is taken."""

from __future__ import annotations

import os
import signal

from shield.signals import Signals, hold_back, let_through


def test_an_order_to_stop_is_seen_before_it_is_taken() -> None:
    with Signals() as signals:
        os.kill(os.getpid(), signal.SIGHUP)
        before = signals.stop_is_waiting
        os.kill(os.getpid(), signal.SIGTERM)

        assert (before, signals.stop_is_waiting) == (False, True)
        assert list(signals.taken()) == [signal.SIGHUP, signal.SIGTERM]
        assert not signals.stop_is_waiting


def test_what_is_held_back_comes_once_it_is_let_through() -> None:
    with Signals() as signals:
        hold_back()
        os.kill(os.getpid(), signal.SIGTERM)
        meanwhile = signals.taken()
        let_through()

        assert (meanwhile, list(signals.taken())) == (b"", [signal.SIGTERM])


def test_what_was_held_back_before_comes_on_entering() -> None:
    hold_back()
    os.kill(os.getpid(), signal.SIGTERM)

    with Signals() as signals:
        assert list(signals.taken()) == [signal.SIGTERM]
