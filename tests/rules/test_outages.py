"""An origin is out when it fails several times in a row, until it answers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shield.errors import Fault
from shield.rules.outages import IN_A_ROW, Outages


def test_an_outage_lasts_from_the_first_failure_to_the_next_answer() -> None:
    outages = Outages()
    for at in (10.0, 11.0, 25.0):
        outages.failed("fra", Fault.CONNECT, at)
    outages.failed("fra", Fault.FIRST_BYTE_TIMEOUT, 30.0)

    over = outages.answered("fra")

    assert over is not None
    assert (over.seconds(40.0), over.failures, over.fault) == (30.0, 4, Fault.FIRST_BYTE_TIMEOUT)
    assert outages.answered("fra") is None


def test_one_that_stumbles_between_answers_is_not_out() -> None:
    outages = Outages()
    for at in range(20):
        for _ in range(IN_A_ROW - 1):
            outages.failed("fra", Fault.SERVER, at)
        assert outages.answered("fra") is None


@pytest.mark.parametrize("fault", [Fault.FORBIDDEN, Fault.COLD, Fault.VALIDATOR, Fault.CANCELLED])
def test_what_concerns_one_object_is_no_outage(fault: Fault) -> None:
    outages = Outages()
    for at in range(20):
        outages.failed("fra", fault, at)

    assert not outages.running and outages.answered("fra") is None


@given(st.lists(st.tuples(st.sampled_from(["fra", "iad"]), st.booleans())))
def test_origins_do_not_concern_each_other(events: list[tuple[str, bool]]) -> None:
    outages, failures = Outages(), {"fra": 0, "iad": 0}

    for origin, fails in events:
        if fails:
            outages.failed(origin, Fault.CONNECT, 0.0)
            failures[origin] += 1
        else:
            over = outages.answered(origin)
            assert (over is not None) == (failures[origin] >= IN_A_ROW)
            failures[origin] = 0
    assert set(outages.running) == {name for name, count in failures.items() if count}
