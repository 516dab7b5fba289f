"""Lines of several files become one trace in the order of time, or samples of it by path."""

from __future__ import annotations

import json

import pytest

from shield.simulate.traffic import SAMPLES, Gathering


def line(target: str, at: float, **more: object) -> str:
    said = {"time": at, "method": "GET", "target": target, "status": 200, "bytes": 10, "cache": "hit"} | more
    return json.dumps(said, separators=(",", ":"))


def test_files_are_merged_by_time_and_equal_times_keep_their_order() -> None:
    made = Gathering()
    made.take([line("/a", 1.0), line("/b", 5.0), line("/c", 5.0)])
    made.take([line("/d", 2.0, status=404), line("/a", 5.0, method="HEAD")])
    made.finish()

    (traffic,) = made.samples
    names = [traffic.targets[target].decode() for _, target, _, _ in traffic]
    assert names == ["/a", "/d", "/b", "/c", "/a"]
    assert [size for *_, size in traffic] == [10, 10, 10, 10, -1]
    assert traffic.span == (1.0, 5.0) and len(traffic) == 5
    assert traffic.first_sizes() == {0: 10, 1: 10, 2: 10}


def test_each_path_is_in_one_sample_at_most_with_all_its_queries() -> None:
    lines = [line(f"/o/{number}?w={width}", 1.0) for number in range(2000) for width in (1, 2)]
    made = Gathering(0.05)
    made.take(lines)
    made.finish()

    places: dict[str, set[int]] = {}
    for place, sample in enumerate(made.samples):
        for target in sample.targets:
            places.setdefault(target.decode().partition("?")[0], set()).add(place)
    assert len(made.samples) == SAMPLES and made.tally.requests == 4000
    assert all(len(each) == 1 for each in places.values())
    assert sum(map(len, made.samples)) == 2 * len(places)
    assert all(100 < len(sample) < 320 for sample in made.samples)  # 200, by chance


@pytest.mark.parametrize(("share", "number"), [(1.0, 1), (0.6, 1), (0.5, 2), (0.3, 3), (0.001, SAMPLES)])
def test_there_are_as_many_samples_as_have_room(share: float, number: int) -> None:
    assert len(Gathering(share).samples) == number


def test_lines_are_counted_by_what_becomes_of_them() -> None:
    edge = {"ClientRequestURI": "/a", "EdgeResponseStatus": 200, "EdgeStartTimestamp": 7, "CacheCacheStatus": "hit"}
    made = Gathering()
    made.take([line("/a", 3.0), line("/a", 2.0, method="POST"), json.dumps(edge), "nonsense", "\n", line("/a", 9.0)])

    tally = made.tally
    assert (tally.lines, tally.requests, tally.other, tally.answered, tally.unreadable) == (6, 2, 1, 1, 1)
    assert (tally.own, tally.own_hits, tally.first, tally.last, tally.sent) == (2, 2, 3.0, 9.0, 20)


def test_what_the_cdn_answered_counts_on_demand() -> None:
    edge = {"ClientRequestURI": "/a", "EdgeResponseStatus": 200, "EdgeStartTimestamp": 7, "CacheCacheStatus": "hit"}
    made = Gathering(takes_answered=True)
    made.take([json.dumps(edge)])

    assert (made.tally.requests, made.tally.answered) == (1, 0)
