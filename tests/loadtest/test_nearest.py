"""The order of origins by cost, on the real rules and a clock of its own: who gets the fetches after an outage."""

from __future__ import annotations

import pytest

from loadtest.nearest import simulate


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("ERROR", "shield.origin")


@pytest.mark.busy
def test_after_an_outage_fetches_are_back_within_a_minute_and_the_order_never_changes() -> None:
    done = simulate("hung", rate=5.0, workers=2, seed=1, minutes=6.5)

    assert done.changes == []
    assert len(done.backs) == 1 and done.backs[0] <= 60.0
    assert done.far / (done.far + done.near) < 0.01


@pytest.mark.busy
def test_a_near_origin_that_is_listed_last_is_found_by_its_probes_alone() -> None:
    done = simulate("well", rate=5.0, workers=2, seed=1, minutes=5.0)

    assert len(done.changes) == 1 and done.found_after is not None
    assert done.far == 0 < done.near
