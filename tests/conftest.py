from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import settings as hypothesis_settings

pytest.register_assert_rewrite("tests.origin.leg")

from tests.depth import tries  # noqa: E402
from tests.doubles.faulty_origin import FaultyOrigin  # noqa: E402
from tests.halves import MARK  # noqa: E402
from tests.node import FakeClock, Shield, settings_of  # noqa: E402

# How long an example takes says more of the machine than of the code.
hypothesis_settings.register_profile("shield", deadline=None, max_examples=tries(100))
hypothesis_settings.load_profile("shield")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A file that doesn't say itself that some of its tests are slow would be left out by `tests.halves`."""
    for path in {item.path for item in items if item.get_closest_marker("slow")}:
        if MARK not in path.read_text():
            raise pytest.UsageError(
                f"{path}: has tests that are marked slow, but not by `pytest.{MARK}` in this file"
            )


@pytest.fixture
def clock() -> FakeClock:
    """The clock of the node and of its origins."""
    return FakeClock()


@pytest.fixture
def origin(clock: FakeClock) -> Iterator[FaultyOrigin]:
    """The primary."""
    with FaultyOrigin(clock=clock) as made:
        yield made


@pytest.fixture
def replica(clock: FakeClock) -> Iterator[FaultyOrigin]:
    with FaultyOrigin(clock=clock) as made:
        yield made


@pytest.fixture
def shield(clock: FakeClock, origin: FaultyOrigin) -> Iterator[Shield]:
    """A node with one origin."""
    with Shield(settings_of({"fra": origin}), clock=clock) as made:
        yield made


@pytest.fixture
def pair(clock: FakeClock, origin: FaultyOrigin, replica: FaultyOrigin) -> Iterator[Shield]:
    """A node with a primary and a replica."""
    with Shield(settings_of({"fra": origin, "iad": replica}), clock=clock) as made:
        yield made
