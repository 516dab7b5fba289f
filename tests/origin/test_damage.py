"""Bodies that don't match their stated checksum: none ends cleanly, none is stored."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path
from typing import Any

import pytest

from tests.client import Answer
from tests.disks import MIB, settled, with_disk
from tests.doubles.faults import chunked
from tests.doubles.faulty_origin import FaultyOrigin
from tests.doubles.pattern import Pattern
from tests.node import FakeClock, Shield

SMALL, LARGE = 5_000, 3_000_000


def stating(body: Pattern) -> dict[str, str]:
    digest = base64.b64encode(hashlib.sha256(body[:]).digest()).decode()
    return {"etag": '"one"', "x-amz-checksum-sha256": digest}


def damages(origin: FaultyOrigin, length: int) -> Pattern:
    """It states the checksum of the right bytes, which are returned, and sends others."""
    right = Pattern(length)
    origin.serves("/a", Pattern(length, seed=1), lifetime=60, fields=stating(right))
    return right


def faults(shield: Shield, name: str = "fra") -> Any:
    return shield.state()["origins"][name]["faults"]


def is_whole(answer: Answer) -> bool:
    return answer.status == 200 and answer.clean


@pytest.mark.parametrize("length", [SMALL, LARGE])
def test_a_damaged_body_does_not_end_cleanly_and_is_not_stored(
    shield: Shield, origin: FaultyOrigin, length: int
) -> None:
    right = damages(origin, length)
    first = shield.get("/a")
    origin.serves("/a", right, lifetime=60, fields=stating(right))
    second = shield.get("/a")

    assert not is_whole(first)
    assert is_whole(second) and not second.hit and second.body == right[:]
    assert faults(shield)["damaged"] == 1


def test_a_small_one_is_fetched_at_an_origin_with_the_same_checksum(
    pair: Shield, origin: FaultyOrigin, replica: FaultyOrigin
) -> None:
    right = damages(origin, SMALL)
    replica.serves("/a", right, lifetime=60, fields=stating(right))

    first, second = pair.get("/a"), pair.get("/a")

    assert is_whole(first) and first.body == right[:]
    assert second.hit and second.body == right[:]
    assert faults(pair)["damaged"] == 1


def test_what_was_passed_on_of_a_large_one_is_not_continued(
    pair: Shield, origin: FaultyOrigin, replica: FaultyOrigin
) -> None:
    right = damages(origin, LARGE)
    replica.serves("/a", right, lifetime=60, fields=stating(right))

    answer = pair.get("/a")

    assert not is_whole(answer)
    assert not replica.requests


def test_no_slice_of_a_damaged_one_is_kept(origin: FaultyOrigin, clock: FakeClock, tmp_path: Path) -> None:
    right = damages(origin, 4 * MIB)
    with Shield(with_disk(origin, tmp_path, slice_bytes=MIB), clock=clock) as shield:
        first = shield.get("/a")
        settled(shield)
        origin.serves("/a", right, lifetime=60, fields=stating(right))
        second = shield.get("/a")

    assert not is_whole(first)
    assert is_whole(second) and second.body == right[:]


def test_one_of_unknown_length_does_not_end_cleanly(shield: Shield, origin: FaultyOrigin) -> None:
    damages(origin, SMALL)
    origin.spoils("/a", chunked())

    assert not is_whole(shield.get("/a"))
    assert faults(shield)["damaged"] == 1


@pytest.mark.parametrize("length", [SMALL, LARGE])
def test_the_right_bytes_are_stored(shield: Shield, origin: FaultyOrigin, length: int) -> None:
    right = Pattern(length)
    origin.serves("/a", right, lifetime=60, fields=stating(right))

    first, second = shield.get("/a"), shield.get("/a")

    assert is_whole(first) and first.body == right[:]
    assert second.hit and second.body == right[:]
    assert "damaged" not in faults(shield)
