"""Several ranges of one object over the wire: from RAM, from disk, from slices, from fills under way."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.client import Answer, request
from tests.disks import MIB, SLICE, Failing, settled, with_disk
from tests.doubles.faults import at_body
from tests.doubles.faulty_origin import FaultyOrigin
from tests.doubles.pattern import Body, Pattern
from tests.doubles.steps import Reset, Wait
from tests.node import FakeClock, Shield, settings_of
from tests.parts import Part, boundary_of, read_parts


def parts_of(answer: Answer) -> list[Part]:
    assert (answer.status, answer.clean, answer.get("content-range")) == (206, True, None)
    return read_parts(answer.get("content-type") or "", answer.body)


def has(answer: Answer, body: Body, *spans: tuple[int, int]) -> bool:
    """Whether an answer's parts are these spans of a body, in this order."""
    parts = parts_of(answer)
    assert [(part.first, part.last + 1) for part in parts] == list(spans)
    assert {part.length for part in parts} == {len(body)}
    return all(part.data == body[part.first : part.last + 1] for part in parts)


def asking(*spans: tuple[int, int]) -> list[tuple[str, str]]:
    return [("range", "bytes=" + ", ".join(f"{start}-{stop - 1}" for start, stop in spans))]


@pytest.mark.parametrize("stored", [True, False], ids=["hit", "miss"])
@pytest.mark.parametrize(
    "spans",
    [
        [(0, 10), (2_999_990, 3_000_000)],
        [(2_500_000, 2_500_001), (5, 6), (1_048_000, 1_049_000)],
        [(0, 1_500_000), (1_500_100, 2_500_000)],
    ],
)
def test_several_ranges_come_as_parts(
    shield: Shield, origin: FaultyOrigin, spans: list[tuple[int, int]], stored: bool
) -> None:
    body = Pattern(3_000_000)
    origin.serves("/a", body, lifetime=60, fields={"content-type": "image/webp"})
    if stored:
        shield.get("/a")

    answer = shield.get("/a", asking(*spans))

    assert has(answer, body, *spans)
    assert {part.content_type for part in parts_of(answer)} == {"image/webp"}
    assert answer.hit is stored
    assert [seen.get("range") for seen in origin.requests] == [None]


def test_the_connection_goes_on_after_parts(shield: Shield, origin: FaultyOrigin) -> None:
    body = Pattern(10_000)
    origin.serves("/a", body, lifetime=60)

    with shield.client() as client:
        first = client.ask("/a", asking((0, 10), (9_000, 9_010)))
        second = client.ask("/a", asking((5_000, 5_010), (1, 2)))
        third = client.ask("/a")

    assert has(first, body, (0, 10), (9_000, 9_010))
    assert has(second, body, (5_000, 5_010), (1, 2))
    assert third.body == body[:]


@pytest.mark.parametrize(
    ("asked", "start", "stop"),
    [
        ("bytes=0-9,10-19", 0, 20),
        ("bytes=100-199, 0-99", 0, 200),
        ("BYTES=\t0-9 ,, 60-99,", 0, 100),
        ("bytes=5-9,20000-", 5, 10),
        ("bytes=5-9,-0", 5, 10),
    ],
)
def test_what_becomes_one_range_is_answered_as_one(
    shield: Shield, origin: FaultyOrigin, asked: str, start: int, stop: int
) -> None:
    body = Pattern(10_000)
    origin.serves("/a", body, lifetime=60, fields={"content-type": "image/webp"})

    answer = shield.get("/a", [("range", asked)])

    assert (answer.status, answer.clean, answer.body == body[start:stop]) == (206, True, True)
    assert answer.get("content-range") == f"bytes {start}-{stop - 1}/10000"
    assert answer.get("content-type") == "image/webp"


@pytest.mark.parametrize(
    "asked",
    [
        "bytes=0-0," * 17,
        "bytes=0-,0-",
        "bytes=0-9,0-9,0-9",
        "bytes=0-9,a-b",
        "bytes=0-9,9-5",
    ],
)
def test_who_asks_for_too_much_or_nonsense_gets_the_whole_once(
    shield: Shield, origin: FaultyOrigin, asked: str
) -> None:
    body = Pattern(10_000)
    origin.serves("/a", body, lifetime=60)

    answers = [shield.get("/a", [("range", asked)]) for _ in ("miss", "hit")]

    assert [(answer.status, answer.clean, answer.body == body[:]) for answer in answers] == [(200, True, True)] * 2


def test_ranges_that_are_all_beyond_the_end_are_416(shield: Shield, origin: FaultyOrigin) -> None:
    origin.serves("/a", Pattern(100), lifetime=60)

    for _ in ("miss", "hit"):
        answer = shield.get("/a", [("range", "bytes=100-, 200-300, -0")])

        assert (answer.status, answer.body, answer.get("content-range")) == (416, b"", "bytes */100")


def test_head_and_conditions_come_before_ranges(shield: Shield, origin: FaultyOrigin) -> None:
    origin.serves("/a", Pattern(10_000), lifetime=60)
    etag = shield.get("/a").get("etag") or ""
    two = asking((0, 10), (5_000, 5_010))

    head = shield.get("/a", two, method="HEAD")
    known = shield.get("/a", [*two, ("if-none-match", etag)])
    same = shield.get("/a", [*two, ("if-range", etag)])
    other = shield.get("/a", [*two, ("if-range", '"other"')])

    assert (head.status, head.get("content-length"), head.get("content-range")) == (200, "10000", None)
    assert (known.status, same.status, other.status) == (304, 206, 200)


def test_ranges_of_what_is_no_200_are_ignored(shield: Shield, origin: FaultyOrigin) -> None:
    answers = [shield.get("/absent", asking((0, 1), (5, 6))) for _ in ("miss", "hit")]

    assert [(answer.status, answer.body) for answer in answers] == [(404, b"not found\n")] * 2


def test_boundaries_are_other_ones_for_each_version_and_each_start(origin: FaultyOrigin, clock: FakeClock) -> None:
    two = asking((0, 10), (5_000, 5_010))
    boundaries = []
    for _ in range(2):
        with Shield(settings_of({"fra": origin}), clock=clock) as shield:
            for version in range(2):
                origin.serves(f"/{version}", Pattern(10_000, seed=version), lifetime=60)
                answers = [shield.get(f"/{version}", two) for _ in ("miss", "hit")]
                kinds = {answer.get("content-type") or "" for answer in answers}
                assert len(kinds) == 1  # of one version they are the same
                boundaries.append(boundary_of(kinds.pop()))

    assert len(set(boundaries)) == 4


# from a fill under way


def test_parts_go_out_as_soon_as_their_bytes_are_there(shield: Shield, origin: FaultyOrigin) -> None:
    body = Pattern(3_000_000)
    gate = origin.gate()
    origin.serves("/a", body, lifetime=60)
    origin.spoils("/a", at_body(1_000_000, Wait(gate)), times=1)

    with shield.client() as client:
        client.send(request("/a", asking((500_000, 500_010), (10, 20), (2_000_000, 2_000_010))))
        answer = client.read_head()
        answer.body = client.read_some(340)  # into the third part's head
        gate.open()
        client.read_body(answer)

    assert body[500_000:500_010] in answer.body[:340] and body[10:20] in answer.body[:340]
    assert has(answer, body, (500_000, 500_010), (10, 20), (2_000_000, 2_000_010))


def test_followers_get_parts_of_the_fill_they_share(shield: Shield, origin: FaultyOrigin) -> None:
    body = Pattern(3_000_000)
    gate = origin.gate()
    origin.serves("/a", body, lifetime=60)
    origin.spoils("/a", at_body(1_000_000, Wait(gate)), times=1)

    with shield.client() as leader, shield.client() as follower:
        leader.send(request("/a"))
        whole = leader.read_head()
        follower.send(request("/a", asking((2_900_000, 3_000_000), (0, 900_000))))
        answer = follower.read_head()
        gate.open()
        leader.read_body(whole)
        follower.read_body(answer)

    assert whole.body == body[:]
    assert has(answer, body, (2_900_000, 3_000_000), (0, 900_000))
    assert answer.collapsed
    assert origin.fetches("/a") == 1


def test_parts_of_a_body_that_breaks_off_end_uncleanly(shield: Shield, origin: FaultyOrigin) -> None:
    origin.serves("/a", Pattern(3_000_000), lifetime=60)
    origin.spoils("/a", at_body(1_000_000, Reset()), times=1)
    origin.fails("/a", "InternalError")

    answer = shield.get("/a", asking((0, 10), (2_000_000, 2_000_010)))

    assert (answer.status, answer.clean) == (206, False)


def test_ranges_of_what_is_not_kept_get_the_whole(origin: FaultyOrigin, clock: FakeClock) -> None:
    body = Pattern(3_000_000)
    origin.serves("/private", body, fields={"cache-control": "no-store"})
    origin.serves("/large", body, lifetime=60)
    settings = settings_of({"fra": origin}, cache={"memory": {"capacity": "64MiB", "max_entry": "1MiB"}})

    with Shield(settings, clock=clock) as shield:
        answers = [shield.get(path, asking((2_000_000, 2_000_010), (0, 10))) for path in ("/private", "/large")]

    assert [(answer.status, answer.clean, answer.body == body[:]) for answer in answers] == [(200, True, True)] * 2
    assert len(origin.requests) == 2


def test_a_slow_client_gets_its_parts_whole(shield: Shield, origin: FaultyOrigin) -> None:
    body = Pattern(8_000_000)
    gate = origin.gate()
    origin.serves("/a", body, lifetime=60)
    origin.spoils("/a", at_body(4_000_000, Wait(gate)), times=1)
    spans = [(3_000_000, 6_000_000), (1, 2), (0, 1), (7_000_000, 8_000_000)]

    with shield.client(receive_buffer=4096) as client:
        client.send(request("/a", asking(*spans)))
        answer = client.read_head()
        gate.open()
        shield.wait_for(lambda: not shield.node.state()["fills"]["in_flight"])  # type: ignore[index]
        client.read_body(answer)

    assert has(answer, body, (3_000_000, 6_000_000), (0, 2), (7_000_000, 8_000_000))


# from disk


def test_parts_of_a_small_entry_on_disk(origin: FaultyOrigin, clock: FakeClock, tmp_path: Path) -> None:
    body = Pattern(30_000)
    origin.serves("/a", body, lifetime=60)

    with Shield(with_disk(origin, tmp_path / "nvme"), clock=clock) as shield:
        shield.get("/a")
        settled(shield)
        answer = shield.get("/a", asking((20_000, 20_010), (7, 9)))

    assert answer.hit
    assert has(answer, body, (20_000, 20_010), (7, 9))


LARGE = [(9 * MIB + 5, 9 * MIB + SLICE), (2 * SLICE - 1, 3 * SLICE + 1), (10 * MIB - 1, 10 * MIB), (0, 3)]
SLICES = {36, 1, 2, 3, 39, 0}
"""The slices that these touch."""


def slices_asked(origin: FaultyOrigin) -> set[int]:
    """The slices that were asked for by range."""
    found: set[int] = set()
    for seen in origin.requests:
        wanted = seen.get("range")
        if wanted is not None:
            first, last = (int(number) for number in wanted.removeprefix("bytes=").split("-"))
            found |= set(range(first // SLICE, last // SLICE + 1))
    return found


def test_ranges_of_a_large_object_fetch_the_slices_they_touch(
    origin: FaultyOrigin, clock: FakeClock, tmp_path: Path
) -> None:
    body = Pattern(10 * MIB)
    origin.serves("/big", body, lifetime=600)

    with Shield(with_disk(origin, tmp_path / "nvme"), clock=clock) as shield:
        shield.get("/big", asking((5 * MIB, 5 * MIB + SLICE)))  # so that its head is known
        settled(shield)
        first = shield.get("/big", asking(*LARGE))
        settled(shield)
        second = shield.get("/big", asking(*LARGE))
        settled(shield)
        before = len(origin.requests)
        again = shield.get("/big", asking(*LARGE))

    assert has(first, body, *LARGE)
    assert "fwd=partial" in (first.get("cache-status") or "")
    assert has(second, body, *LARGE)
    assert has(again, body, *LARGE)
    assert again.hit
    assert len(origin.requests) == before
    assert slices_asked(origin) == SLICES | {20}


def test_parts_of_which_the_first_alone_is_here_are_no_hit(
    origin: FaultyOrigin, clock: FakeClock, tmp_path: Path
) -> None:
    body = Pattern(10 * MIB)
    origin.serves("/big", body, lifetime=600)

    with Shield(with_disk(origin, tmp_path / "nvme"), clock=clock) as shield:
        shield.get("/big", asking((5 * MIB, 5 * MIB + SLICE)))
        settled(shield)
        answer = shield.get("/big", asking((5 * MIB, 5 * MIB + 10), (0, 10)))

    assert has(answer, body, (5 * MIB, 5 * MIB + 10), (0, 10))
    assert "fwd=partial" in (answer.get("cache-status") or "")


def test_ranges_of_a_large_object_that_nobody_knows(origin: FaultyOrigin, clock: FakeClock, tmp_path: Path) -> None:
    body = Pattern(10 * MIB)
    origin.serves("/big", body, lifetime=600)

    with Shield(with_disk(origin, tmp_path / "nvme"), clock=clock) as shield:
        answer = shield.get("/big", asking(*LARGE))
        settled(shield)

    assert has(answer, body, *LARGE)
    assert slices_asked(origin) <= SLICES


@pytest.fixture
def files() -> Failing:
    """What the node's store calls the system through."""
    return Failing()


def test_parts_come_from_slices_that_are_cold(
    origin: FaultyOrigin, clock: FakeClock, tmp_path: Path, files: Failing
) -> None:
    body = Pattern(4 * MIB)
    origin.serves("/big", body, lifetime=600)
    spans = [(3 * MIB, 4 * MIB), (0, MIB), (2 * MIB, 2 * MIB + 1)]

    with Shield(with_disk(origin, tmp_path / "nvme"), clock=clock, files=files) as shield:
        shield.get("/big")
        settled(shield)
        files.cold = True
        answer = shield.get("/big", asking(*spans))

    assert has(answer, body, *spans)


def test_parts_of_a_large_object_go_on_after_a_broken_fetch(
    origin: FaultyOrigin, clock: FakeClock, tmp_path: Path
) -> None:
    body = Pattern(10 * MIB)
    origin.serves("/big", body, lifetime=600)

    with Shield(with_disk(origin, tmp_path / "nvme"), clock=clock) as shield:
        shield.get("/big", asking((5 * MIB, 5 * MIB + 1)))
        settled(shield)
        origin.spoils("/big", at_body(1000, Reset()), times=1)
        answer = shield.get("/big", asking(*LARGE))
        settled(shield)

    assert has(answer, body, *LARGE)


def test_parts_of_two_versions_never_mix(origin: FaultyOrigin, clock: FakeClock, tmp_path: Path) -> None:
    old, new = Pattern(10 * MIB), Pattern(10 * MIB, seed=1)
    origin.serves("/big", old, lifetime=600)

    with Shield(with_disk(origin, tmp_path / "nvme"), clock=clock) as shield:
        shield.get("/big", asking((0, SLICE)))
        settled(shield)
        origin.serves("/big", new, lifetime=600)
        torn = shield.get("/big", asking((0, 10), (5 * MIB, 5 * MIB + 10)))
        after = shield.get("/big", asking((0, 10), (5 * MIB, 5 * MIB + 10)))
        settled(shield)

    assert (torn.status, torn.clean) == (206, False)
    assert new[5 * MIB : 5 * MIB + 10] not in torn.body
    assert has(after, new, (0, 10), (5 * MIB, 5 * MIB + 10))
