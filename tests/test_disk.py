"""A node with disk tiers, over the wire: what is kept, what is read back, what is fetched and what isn't."""

from __future__ import annotations

from pathlib import Path

import pytest

from shield.rules.exact import FREE, GRID
from shield.store.directory.record import RecordKind
from shield.store.entry import Entry
from shield.store.upkeep.listing import live_records, newest_first
from tests.client import request
from tests.disks import KIB, MIB, SLICE, settled, with_disk
from tests.doubles.faults import at_body
from tests.doubles.faulty_origin import FaultyOrigin
from tests.doubles.pattern import Pattern
from tests.doubles.steps import Reset, Wait
from tests.node import FakeClock, Shield


def ranges_asked(origin: FaultyOrigin) -> list[str | None]:
    return [seen.get("range") for seen in origin.requests]


# what is kept


def test_an_entry_is_answered_from_disk_at_once_and_after_a_restart(
    origin: FaultyOrigin, clock: FakeClock, tmp_path: Path
) -> None:
    body = Pattern(30_000)
    origin.serves("/a.webp", body, lifetime=60)
    settings = with_disk(origin, tmp_path / "nvme")

    with Shield(settings, clock=clock) as shield:
        first = shield.get("/a.webp")
        settled(shield)
        second = shield.get("/a.webp")
    with Shield(settings, clock=clock) as shield:
        third = shield.get("/a.webp")
        clock.advance(600)
        fourth = shield.get("/a.webp")

    assert [answer.body == body[:] for answer in (first, second, third, fourth)] == [True] * 4
    assert [answer.hit for answer in (first, second, third)] == [False, True, True]
    assert third.get("age") == "0"
    assert {k: v for k, v in third.fields if k != "cache-status"} == {
        k: v for k, v in second.fields if k != "cache-status"
    }
    assert origin.fetches("/a.webp") == 2


@pytest.mark.parametrize("size", [0, 1, 64 * KIB, SLICE, MIB])
def test_bodies_of_any_size_come_back_from_disk_as_they_were(
    origin: FaultyOrigin, clock: FakeClock, tmp_path: Path, size: int
) -> None:
    body = Pattern(size)
    origin.serves("/a", body, lifetime=60)
    settings = with_disk(origin, tmp_path / "nvme", slice_bytes="2MiB", fills={"memory": "64MiB"})

    with Shield(settings, clock=clock) as shield:
        shield.get("/a")
        settled(shield)
        again = shield.get("/a")
        head = shield.get("/a", method="HEAD")
        part = shield.get("/a", [("range", f"bytes={size // 2}-")]) if size else again

    assert (again.hit, again.body == body[:]) == (True, True)
    assert (head.status, head.get("content-length")) == (200, str(size))
    assert part.body == body[size // 2 :]
    assert origin.fetches("/a") == 1


def test_a_later_head_is_kept_with_the_old_body(origin: FaultyOrigin, clock: FakeClock, tmp_path: Path) -> None:
    origin.serves("/a", Pattern(1000), lifetime=60)
    settings = with_disk(origin, tmp_path / "nvme")

    with Shield(settings, clock=clock) as shield:
        shield.get("/a")
        settled(shield)
        clock.advance(1000)
        revalidated = shield.get("/a")
        settled(shield)
    with Shield(settings, clock=clock) as shield:
        after = shield.get("/a")

    assert "fwd-status=304" in (revalidated.get("cache-status") or "")
    assert after.hit
    assert origin.requests[1].get("if-none-match") is not None


# large objects


def test_a_large_object_streams_and_is_kept_in_slices(origin: FaultyOrigin, clock: FakeClock, tmp_path: Path) -> None:
    body = Pattern(5 * MIB + 123)
    origin.serves("/big", body, lifetime=60)
    settings = with_disk(origin, tmp_path / "nvme")

    with Shield(settings, clock=clock) as shield:
        first = shield.get("/big")
        settled(shield)
        again = shield.get("/big")
        part = shield.get("/big", [("range", "bytes=1000000-1999999")])
        tail = shield.get("/big", [("range", "bytes=-123")])
    with Shield(settings, clock=clock) as shield:
        restarted = shield.get("/big")

    assert (first.status, first.body == body[:], first.hit) == (200, True, False)
    assert [a.body == body[:] and a.hit for a in (again, restarted)] == [True, True]
    assert (part.status, part.hit, part.body == body[1_000_000:2_000_000]) == (206, True, True)
    assert (tail.status, tail.hit, tail.body == body[5 * MIB :]) == (206, True, True)
    assert ranges_asked(origin) == [None]


def test_a_range_fetches_only_the_slices_it_touches(origin: FaultyOrigin, clock: FakeClock, tmp_path: Path) -> None:
    body = Pattern(10 * MIB)
    origin.serves("/big", body, lifetime=60)
    settings = with_disk(origin, tmp_path / "nvme")

    with Shield(settings, clock=clock) as shield:
        first = shield.get("/big", [("range", f"bytes={3 * SLICE + 10}-{5 * SLICE - 11}")])
        settled(shield)
        again = shield.get("/big", [("range", f"bytes={3 * SLICE + 10}-{5 * SLICE - 11}")])
        near = shield.get("/big", [("range", f"bytes={4 * SLICE}-{6 * SLICE - 2}")])
        settled(shield)
    with Shield(settings, clock=clock) as shield:
        kept = shield.get("/big", [("range", f"bytes={3 * SLICE}-{5 * SLICE}")])

    assert (first.status, first.body == body[3 * SLICE + 10 : 5 * SLICE - 10]) == (206, True)
    assert first.get("content-range") == f"bytes {3 * SLICE + 10}-{5 * SLICE - 11}/{10 * MIB}"
    assert (again.hit, again.body) == (True, first.body)
    assert near.body == body[4 * SLICE : 6 * SLICE - 1]
    assert "fwd=partial" in (near.get("cache-status") or "")
    assert (kept.hit, kept.body == body[3 * SLICE : 5 * SLICE + 1]) == (True, True)
    assert ranges_asked(origin) == [
        f"bytes={3 * SLICE}-{5 * SLICE - 1}",
        f"bytes={5 * SLICE}-{6 * SLICE - 1}",
    ]


def test_a_whole_get_after_a_range_fetches_what_is_missing(
    origin: FaultyOrigin, clock: FakeClock, tmp_path: Path
) -> None:
    body = Pattern(2 * MIB)
    origin.serves("/big", body, lifetime=60)
    settings = with_disk(origin, tmp_path / "nvme")

    with Shield(settings, clock=clock) as shield:
        shield.get("/big", [("range", f"bytes={2 * SLICE}-{3 * SLICE - 2}")])
        settled(shield)
        whole = shield.get("/big")
        settled(shield)
        again = shield.get("/big")

    assert (whole.status, whole.body == body[:]) == (200, True)
    assert (again.hit, again.body == body[:]) == (True, True)
    assert ranges_asked(origin) == [
        f"bytes={2 * SLICE}-{3 * SLICE - 1}",
        f"bytes=0-{2 * SLICE - 1}",
        f"bytes={3 * SLICE}-{7 * SLICE - 1}",
        f"bytes={7 * SLICE}-{8 * SLICE - 1}",
    ]


def test_a_range_of_a_small_object_brings_all_of_it(origin: FaultyOrigin, clock: FakeClock, tmp_path: Path) -> None:
    body = Pattern(10_000)
    origin.serves("/small", body, lifetime=60)

    with Shield(with_disk(origin, tmp_path / "nvme"), clock=clock) as shield:
        part = shield.get("/small", [("range", "bytes=10-19")])
        settled(shield)
        whole = shield.get("/small")

    assert (part.status, part.body) == (206, body[10:20])
    assert part.get("content-range") == "bytes 10-19/10000"
    assert (whole.status, whole.hit, whole.body == body[:]) == (200, True, True)
    assert whole.get("content-length") == "10000"
    assert whole.get("content-range") is None
    assert ranges_asked(origin) == [f"bytes=0-{FREE - 1}"]


def test_a_range_beyond_the_end_of_what_nobody_knows_is_416(
    origin: FaultyOrigin, clock: FakeClock, tmp_path: Path
) -> None:
    origin.serves("/small", Pattern(100), lifetime=60)

    with Shield(with_disk(origin, tmp_path / "nvme"), clock=clock) as shield:
        answer = shield.get("/small", [("range", f"bytes={9 * SLICE}-{9 * SLICE + 1}")])

    assert (answer.status, answer.get("content-range")) == (416, "bytes */100")
    assert ranges_asked(origin) == [f"bytes={9 * SLICE}-{9 * SLICE + GRID - 1}", f"bytes=0-{GRID - 1}"]


def test_many_clients_at_different_places_share_the_slices(
    origin: FaultyOrigin, clock: FakeClock, tmp_path: Path
) -> None:
    body = Pattern(4 * MIB)
    gate = origin.gate()
    origin.serves("/big", body, lifetime=60)
    origin.spoils("/big", at_body(SLICE + 5, Wait(gate)), times=1)

    with Shield(with_disk(origin, tmp_path / "nvme"), clock=clock) as shield:
        with shield.client() as leader, shield.client() as follower, shield.client() as far:
            leader.send(request("/big"))
            leader.read_head()
            assert leader.read_some(SLICE) == body[:SLICE]
            follower.send(request("/big"))
            follower.read_head()
            assert follower.read_some(SLICE) == body[:SLICE]
            far.send(request("/big", [("range", f"bytes={3 * MIB}-{3 * MIB + 99}")]))
            answer = far.read()
            gate.open()
            assert leader.read_some(4 * MIB - SLICE) == body[SLICE:]
            assert follower.read_some(4 * MIB - SLICE) == body[SLICE:]
        settled(shield)

    assert answer.body == body[3 * MIB : 3 * MIB + 100]
    assert ranges_asked(origin) == [
        None,
        f"bytes={3 * MIB}-{3 * MIB + GRID - 1}",
    ]


def test_a_body_that_breaks_off_goes_on_from_another_fetch(
    origin: FaultyOrigin, clock: FakeClock, tmp_path: Path
) -> None:
    body = Pattern(3 * MIB)
    origin.serves("/big", body, lifetime=60)
    origin.spoils("/big", at_body(MIB + 1000, Reset()), times=1)

    with Shield(with_disk(origin, tmp_path / "nvme"), clock=clock) as shield:
        answer = shield.get("/big")

    assert (answer.clean, answer.body == body[:]) == (True, True)
    assert ranges_asked(origin) == [None, f"bytes={MIB + 1000}-{3 * MIB - 1}"]
    assert origin.requests[1].get("if-match") is not None


def test_versions_never_mix_and_new_readers_get_the_new_one(
    origin: FaultyOrigin, clock: FakeClock, tmp_path: Path
) -> None:
    old, new = Pattern(2 * MIB), Pattern(2 * MIB + 7)
    origin.serves("/big", old, lifetime=600)

    with Shield(with_disk(origin, tmp_path / "nvme"), clock=clock) as shield:
        shield.get("/big", [("range", f"bytes=0-{SLICE - 1}")])
        settled(shield)
        origin.serves("/big", new, lifetime=600)
        with shield.client() as reader:
            reader.send(request("/big"))
            reader.read_head()
            begun = reader.read_some(SLICE)
            ended = reader.at_end()
        after = shield.get("/big")

    assert (begun == old[:SLICE], ended) == (True, True)
    assert (after.clean, after.body == new[:]) == (True, True)


def test_a_new_version_is_served_whole_when_nothing_was_sent_of_the_old(
    origin: FaultyOrigin, clock: FakeClock, tmp_path: Path
) -> None:
    old, new = Pattern(2 * MIB), Pattern(2 * MIB + 7)
    origin.serves("/big", old, lifetime=600)

    with Shield(with_disk(origin, tmp_path / "nvme"), clock=clock) as shield:
        shield.get("/big", [("range", f"bytes={SLICE}-{SLICE + 1}")])
        settled(shield)
        origin.serves("/big", new, lifetime=600)
        answer = shield.get("/big")

    assert (answer.status, answer.clean, answer.body == new[:]) == (200, True, True)


def test_a_refusal_is_never_taken_for_the_bytes_of_a_slice(
    origin: FaultyOrigin, clock: FakeClock, tmp_path: Path
) -> None:
    body = Pattern(2 * MIB)
    origin.serves("/big", body, lifetime=600)

    with Shield(with_disk(origin, tmp_path / "nvme"), clock=clock) as shield:
        shield.get("/big", [("range", f"bytes=0-{SLICE - 1}")])
        settled(shield)
        origin.answers("/big", b"HTTP/1.1 403 Forbidden\r\ncontent-length: 9\r\n\r\nforbidden", times=1)
        refused = shield.get("/big")
        again = shield.get("/big")

    assert (refused.clean, refused.body == body[: len(refused.body)]) == (False, True)
    assert (again.clean, again.body == body[:]) == (True, True)


def test_labels_are_kept_with_what_they_label(origin: FaultyOrigin, clock: FakeClock, tmp_path: Path) -> None:
    fields = {"surrogate-key": "b a", "cache-groups": '"c"'}
    origin.serves("/a", b"a", lifetime=60, fields=fields)
    origin.serves("/big", Pattern(MIB), lifetime=60, fields=fields)

    with Shield(with_disk(origin, tmp_path / "nvme"), clock=clock) as shield:
        for path in ("/a", "/big"):
            shield.get(path)
        settled(shield)
        directory = shield.node.store.directories()[0]
        records = [live.record for number in newest_first(directory) for live in live_records(directory, number)]

    assert {record.kind: record.tags for record in records} == {
        RecordKind.WHOLE: b"a\nb\nc",
        RecordKind.HEAD: b"a\nb\nc",
        RecordKind.SLICE: b"a\nb\nc",
    }


def tags_in_store(shield: Shield, path: str) -> bytes:
    """Of the entry that a request would get."""
    return shield.call(lambda: _tags(shield, path))


def until_tagged(shield: Shield, path: str, tags: bytes) -> None:
    """Wait until the disk's writer has come to it."""
    shield.wait_for(lambda: _tags(shield, path) == tags)


def _tags(shield: Shield, path: str) -> bytes:
    entry = shield.node.store.find(shield.node.proxy.resolve(path.encode()).key)
    assert isinstance(entry, Entry)
    return entry.tags


@pytest.mark.parametrize("memory", ["0", "16MiB"])
@pytest.mark.parametrize("size", [100, 300 * KIB, 2 * MIB])
def test_an_entry_read_back_from_disk_has_its_tags(
    origin: FaultyOrigin, clock: FakeClock, tmp_path: Path, size: int, memory: str
) -> None:
    paths = ("/a", "/b")
    for path in paths:
        origin.serves(path, Pattern(size), lifetime=600, fields={"surrogate-key": "b a", "cache-groups": '"c"'})
    settings = with_disk(origin, tmp_path / "nvme", memory=memory)
    with Shield(settings, clock=clock) as shield:
        for path in paths:
            shield.get(path)

    with Shield(settings, clock=clock) as shield:
        for path in paths:  # the second one in the short way: its segment is open by now
            assert shield.get(path).hit  # and from here on in RAM, if there is room
            assert tags_in_store(shield, path) == b"a\nb\nc"
    assert [origin.fetches(path) for path in paths] == [1, 1]


@pytest.mark.parametrize("memory", ["0", "16MiB"])
@pytest.mark.parametrize("size", [100, 2 * MIB])
def test_other_tags_of_a_304_are_the_entrys_from_then_on(
    origin: FaultyOrigin, clock: FakeClock, tmp_path: Path, size: int, memory: str
) -> None:
    body = Pattern(size)
    origin.serves("/a", body, lifetime=60, fields={"surrogate-key": "old"})
    settings = with_disk(origin, tmp_path / "nvme", memory=memory)
    with Shield(settings, clock=clock) as shield:
        shield.get("/a")
        settled(shield)
        clock.advance(100)
        origin.serves("/a", body, lifetime=60, fields={"surrogate-key": "new", "x-later": "1"})
        revalidated = shield.get("/a")
        until_tagged(shield, "/a", b"new")

    with Shield(settings, clock=clock) as shield:
        after = shield.get("/a")
        assert tags_in_store(shield, "/a") == b"new"

    assert "fwd-status=304" in (revalidated.get("cache-status") or "")
    assert (after.hit, after.body == body[:], after.get("x-later")) == (True, True, "1")
    assert origin.fetches("/a") == 2
