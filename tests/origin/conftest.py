import pytest

pytest.register_assert_rewrite("tests.origin.leg")

from tests.origin.bench import Bench  # noqa: E402


@pytest.fixture
def bench() -> Bench:
    return Bench()
