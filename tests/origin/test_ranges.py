"""What origins answer to a range of an object that nobody knows yet, when they don't answer it as RFC 9110 says."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from tests.disks import SLICE, with_disk
from tests.doubles.faulty_origin import FaultyOrigin
from tests.doubles.ledger import Received
from tests.doubles.pattern import Pattern
from tests.doubles.steps import Bytes, Head, Step
from tests.node import FakeClock, Shield

FIELDS = {"etag": '"v1"', "cache-control": "max-age=60", "accept-ranges": "bytes", "content-type": "image/webp"}
BODY = Pattern(5 * SLICE + 17)


def asked(request: Received) -> tuple[int, int] | None:
    wanted = request.get("range")
    if wanted is None:
        return None
    first, _, last = wanted.removeprefix("bytes=").partition("-")
    return int(first), min(int(last) + 1, len(BODY))


def whole() -> Sequence[Step]:
    return [Head(200, {**FIELDS, "content-length": str(len(BODY))}), Bytes(BODY)]


def capped(size: int) -> Callable[[Received], Sequence[Step]]:
    """Gives no more than so many bytes of a range."""

    def make(request: Received) -> Sequence[Step]:
        span = asked(request)
        if span is None:
            return whole()
        start, stop = span[0], min(span[1], span[0] + size)
        said = f"bytes {start}-{stop - 1}/{len(BODY)}"
        fields = {**FIELDS, "content-length": str(stop - start), "content-range": said}
        return [Head(206, fields), Bytes(BODY, start, stop)]

    return make


@pytest.mark.parametrize(
    "said", [{"content-range": value} for value in ("bytes 0--1/0", "bytes 0-0/0", "bytes */0", "nonsense")] + [{}]
)
def test_a_part_of_an_empty_object_is_answered_from_the_whole(
    origin: FaultyOrigin, clock: FakeClock, tmp_path: Path, said: dict[str, str]
) -> None:
    def make(request: Received) -> Sequence[Step]:
        status, more = (206, said) if request.get("range") else (200, {})
        return [Head(status, {**FIELDS, **more, "content-length": "0"})]

    origin.makes("/empty", make)
    with Shield(with_disk(origin, tmp_path), clock=clock) as shield:
        ranged = shield.get("/empty", [("range", "bytes=0-99")])
        plain = shield.get("/empty")

    assert (ranged.status, ranged.get("content-range"), ranged.clean) == (416, "bytes */0", True)
    assert (plain.status, plain.body, plain.hit) == (200, b"", True)
    assert [seen.get("range") is None for seen in origin.requests] == [False, True]


@pytest.mark.parametrize("size", [100, SLICE - 1, SLICE, SLICE + 100, 2 * SLICE])
@pytest.mark.parametrize("span", [(0, 100), (SLICE // 2, 3 * SLICE), (3 * SLICE, 5 * SLICE + 17)])
def test_a_true_part_that_is_shorter_than_what_was_asked_is_gone_on_from(
    origin: FaultyOrigin, clock: FakeClock, tmp_path: Path, size: int, span: tuple[int, int]
) -> None:
    origin.makes("/a", capped(size))
    with Shield(with_disk(origin, tmp_path, memory="64MiB"), clock=clock) as shield:
        answer = shield.get("/a", [("range", f"bytes={span[0]}-{span[1] - 1}")])

        assert (answer.status, answer.clean) == (206, True)
        assert answer.get("content-range") == f"bytes {span[0]}-{span[1] - 1}/{len(BODY)}"
        assert answer.body == BODY[span[0] : span[1]]


@pytest.mark.parametrize("span", [(0, 100), (SLICE // 2, 3 * SLICE), (3 * SLICE, 5 * SLICE + 17)])
def test_an_origin_that_ignores_ranges_whatever_it_says_is_asked_for_none_of_that_entry(
    origin: FaultyOrigin, clock: FakeClock, tmp_path: Path, span: tuple[int, int]
) -> None:
    origin.makes("/a", lambda request: whole())
    wanted = [("range", f"bytes={span[0]}-{span[1] - 1}")]
    with Shield(with_disk(origin, tmp_path, memory="64MiB"), clock=clock) as shield:
        first = shield.get("/a", wanted)
        again = shield.get("/a", wanted)
        plain = shield.get("/a")

    for answer in (first, again):
        assert (answer.status, answer.clean) == (206, True)
        assert answer.get("content-range") == f"bytes {span[0]}-{span[1] - 1}/{len(BODY)}"
        assert answer.body == BODY[span[0] : span[1]]
    assert (plain.status, plain.body) == (200, BODY[:])
    assert len(origin.requests) == 1
