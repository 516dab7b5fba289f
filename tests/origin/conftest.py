import pytest

from tests.origin.bench import Bench


@pytest.fixture(params=["data", "buffer"])
def bench(request: pytest.FixtureRequest) -> Bench:
    return Bench(buffered=request.param == "buffer")
