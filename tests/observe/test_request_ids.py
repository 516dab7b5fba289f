from __future__ import annotations

import pytest

from shield.observe.request_ids import RequestIds


def ids(*names: bytes) -> RequestIds:
    made = RequestIds(start=b"n1")
    made.use(names)
    return made


def test_the_most_trusted_field_counts_wherever_it_is() -> None:
    given = [(b"x-request-id", b"client"), (b"cf-ray", b" 8f1-FRA ")]

    assert ids(b"cf-ray", b"x-request-id").of(given) == b"8f1-FRA"
    assert ids(b"x-request-id", b"cf-ray").of(given) == b"client"


@pytest.mark.parametrize("value", [b"", b"a b", b'"', b"\xff", b"a\r\nb", b"x" * 129, b"a,b", b"<script>"])
def test_what_could_do_harm_elsewhere_is_not_taken_over(value: bytes) -> None:
    made = ids(b"cf-ray", b"x-request-id")

    assert made.of([(b"cf-ray", value)]) == b"n1-1"
    assert made.of([(b"cf-ray", value), (b"x-request-id", b"next")]) == b"next"


@pytest.mark.parametrize("value", [b"x" * 128, b"NGf2-FgzV_xQ==", b"7e8a:1/2", b"a.b~c+d@e"])
def test_identifiers_of_cdns_are_taken_over(value: bytes) -> None:
    assert ids(b"x-amz-cf-id").of([(b"x-amz-cf-id", value)]) == value


def test_those_made_are_different_in_each_worker_and_each_time() -> None:
    one, other = RequestIds(), RequestIds()

    made = [each.of([]) for each in (one, other) for _ in range(100)]

    assert len(set(made)) == 200
    assert all(len(each) < 20 for each in made)
