"""What a test learns from the node that it runs, beyond its own assertions."""

from __future__ import annotations

import asyncio
import threading

import pytest

from tests import node
from tests.doubles.faulty_origin import FaultyOrigin
from tests.node import Shield, settings_of


def test_a_loop_that_does_not_close_fails_its_test_and_hangs_no_other(
    origin: FaultyOrigin, monkeypatch: pytest.MonkeyPatch
) -> None:
    may_close = threading.Event()

    class StuckLoop(asyncio.SelectorEventLoop):
        def close(self) -> None:
            may_close.wait()
            super().close()

    with pytest.raises(AssertionError, match="something is left that the loop waits for"):  # noqa: SIM117
        with Shield(settings_of({"fra": origin}), loop_factory=StuckLoop) as shield:
            assert shield.get("/none").status == 404
            monkeypatch.setattr(node, "PATIENCE", 1.0)

    may_close.set()
    shield._thread.join()
    assert shield._loop.is_closed()


def test_what_is_left_on_the_loop_fails_its_test(origin: FaultyOrigin, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(AssertionError, match="Event"):  # noqa: SIM117
        with Shield(settings_of({"fra": origin})) as shield:
            task = shield.call(lambda: asyncio.ensure_future(asyncio.Event().wait()))
            monkeypatch.setattr(node, "PATIENCE", 1.0)

    assert not task.done()
