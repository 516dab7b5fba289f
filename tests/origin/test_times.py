"""What is measured at an origin: times to first bytes and to the ends of responses."""

from __future__ import annotations

from typing import Any

import pytest

from tests.doubles.faulty_origin import FaultyOrigin
from tests.doubles.steps import Stall
from tests.node import FakeClock, Shield, settings_of


def hurried(origin: FaultyOrigin) -> Any:
    """Origins with this one, which gets little time."""
    timeouts = {"first_byte": "200ms"}
    return {"fra": {"provider": "http", "endpoint": origin.url, "role": "primary", "timeouts": timeouts}}


def measured(shield: Shield) -> tuple[int, int]:
    """How many first bytes, and how many whole responses."""
    origin = shield.node.origins.get("fra")
    return shield.call(lambda: (origin.first_bytes.count, origin.pool.exchanges.count))


@pytest.mark.parametrize("lifetime", [0, 60])
def test_each_response_counts_once_whatever_it_says(shield: Shield, origin: FaultyOrigin, lifetime: int) -> None:
    origin.serves("/a", b"x" * 100_000, lifetime=lifetime)
    origin.absent("/none")

    for target in ("/a", "/none"):
        shield.get(target)

    assert measured(shield) == (2, 2)


def test_a_first_byte_that_never_came_is_as_late_as_it_was_waited_for(origin: FaultyOrigin, clock: FakeClock) -> None:
    origin.script("/slow", Stall(), times=None)

    with Shield(settings_of({}, origins=hurried(origin)), clock=clock) as shield:
        assert shield.get("/slow").status >= 500
        first_bytes, whole = measured(shield)
        least = shield.node.origins.get("fra").first_bytes.total / first_bytes

    assert first_bytes >= 1 and whole == 0
    assert least >= 0.15


def test_an_origin_that_refuses_connections_has_no_times(origin: FaultyOrigin, clock: FakeClock) -> None:
    with Shield(settings_of({}, origins=hurried(origin)), clock=clock) as shield:
        origin.stops()

        assert shield.get("/a").status >= 500
        assert measured(shield) == (0, 0)
        origin.returns()
