import pytest

from tests.origin.bench import Bench


@pytest.fixture
def bench() -> Bench:
    return Bench()
