"""What moves between disk tiers, what is let in, and how keys spread over directories."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.client import Answer
from tests.disks import KIB, MIB, SLICE, settled, with_tiers
from tests.doubles.faulty_origin import FaultyOrigin
from tests.doubles.pattern import Pattern
from tests.node import FakeClock, Shield
from tests.store.ground import used_bytes

pytestmark = pytest.mark.slow

SIZE = 60_000


def fill(shield: Shield, origin: FaultyOrigin, numbers: range, *, lifetime: int = 36_000) -> None:
    for number in numbers:
        origin.serves(f"/{number}", Pattern(SIZE + number), lifetime=lifetime)
        shield.get(f"/{number}")
        if number % 8 == 7:
            settled(shield)
    settled(shield)


def ask(shield: Shield, numbers: range) -> list[Answer]:
    return [shield.get(f"/{number}") for number in numbers]


def exact(answers: list[Answer], numbers: range) -> bool:
    return all(a.clean and a.body == Pattern(SIZE + n)[:] for a, n in zip(answers, numbers, strict=True))


def hits(shield: Shield) -> list[int]:
    """Of each tier."""
    state: Any = shield.state()
    return [tier["hits"] for tier in state["disk"]["tiers"]]


def promoted(shield: Shield) -> int:
    state: Any = shield.node.state()
    return int(state["disk"]["promoted"])


def test_what_leaves_the_first_tier_is_answered_from_the_next(
    origin: FaultyOrigin, clock: FakeClock, tmp_path: Path
) -> None:
    settings = with_tiers(origin, {"nvme": {tmp_path / "fast": "8MiB"}, "hdd": {tmp_path / "slow": "64MiB"}})
    numbers = range(240)

    with Shield(settings, clock=clock) as shield:
        fill(shield, origin, numbers)
        answers = ask(shield, numbers)
        first, second = hits(shield)

    assert exact(answers, numbers)
    assert all(answer.hit for answer in answers)
    assert first > 0 and second > 100
    assert used_bytes(tmp_path / "fast") <= 8 * MIB


def test_what_was_hit_stays_and_the_last_tier_drops_the_rest(
    origin: FaultyOrigin, clock: FakeClock, tmp_path: Path
) -> None:
    settings = with_tiers(origin, {"nvme": {tmp_path / "fast": "8MiB"}}, admission="all")
    hot = range(5)

    with Shield(settings, clock=clock) as shield:
        fill(shield, origin, hot)
        for start in range(5, 395, 30):
            assert all(answer.hit for answer in ask(shield, hot))
            fill(shield, origin, range(start, start + 30))
        answers = ask(shield, hot)
        cold = ask(shield, range(10, 30))
        used = used_bytes(tmp_path / "fast")

    assert exact(answers, hot) and all(answer.hit for answer in answers)
    assert exact(cold, range(10, 30)) and not any(answer.hit for answer in cold)
    assert used <= 8 * MIB


def test_what_is_hit_again_further_down_comes_up(origin: FaultyOrigin, clock: FakeClock, tmp_path: Path) -> None:
    settings = with_tiers(origin, {"nvme": {tmp_path / "fast": "8MiB"}, "hdd": {tmp_path / "slow": "64MiB"}})
    wanted = range(5)

    with Shield(settings, clock=clock) as shield:
        fill(shield, origin, range(240))
        ask(shield, wanted)
        ask(shield, wanted)
        settled(shield)
        shield.wait_for(lambda: promoted(shield) == 5)
        before = hits(shield)
        answers = ask(shield, wanted)
        after = hits(shield)

    assert exact(answers, wanted)
    assert (after[0] - before[0], after[1] - before[1]) == (5, 0)


def test_what_is_of_no_more_use_is_not_moved(origin: FaultyOrigin, clock: FakeClock, tmp_path: Path) -> None:
    settings = with_tiers(origin, {"nvme": {tmp_path / "fast": "8MiB"}, "hdd": {tmp_path / "slow": "64MiB"}})

    with Shield(settings, clock=clock) as shield:
        fill(shield, origin, range(60), lifetime=60)
        clock.advance(30 * 86400)
        fill(shield, origin, range(100, 300))
        state: Any = shield.state()
        entries = state["disk"]["tiers"][1]["volumes"][0]["directory"]["entries"]
        written = state["disk"]["tiers"][1]["volumes"][0]["directory"]["written_bytes"]

    assert entries < 200
    assert written < 200 * (SIZE + 2000)


def test_slices_go_down_with_their_head(origin: FaultyOrigin, clock: FakeClock, tmp_path: Path) -> None:
    settings = with_tiers(origin, {"nvme": {tmp_path / "fast": "8MiB"}, "hdd": {tmp_path / "slow": "64MiB"}})
    body = Pattern(3 * MIB + 5)
    origin.serves("/big", body, lifetime=36_000)

    with Shield(settings, clock=clock) as shield:
        shield.get("/big")
        settled(shield)
        fill(shield, origin, range(240))
        again = shield.get("/big")

    assert (again.hit, again.clean, again.body == body[:]) == (True, True, True)
    assert origin.fetches("/big") == 1


def test_an_older_version_further_down_does_not_come_back(
    origin: FaultyOrigin, clock: FakeClock, tmp_path: Path
) -> None:
    settings = with_tiers(origin, {"nvme": {tmp_path / "fast": "8MiB"}, "hdd": {tmp_path / "slow": "64MiB"}})
    origin.serves("/a", b"old" * 1000, lifetime=60)

    with Shield(settings, clock=clock) as shield:
        shield.get("/a")
        settled(shield)
        fill(shield, origin, range(150))
        clock.advance(3600)
        origin.serves("/a", b"new" * 1000, lifetime=60)
        shield.get("/a")
        settled(shield)
        fill(shield, origin, range(150, 400))
        clock.advance(-3600)  # the old one would be fresh by its own account
        answer = shield.get("/a")

    assert answer.body == b"new" * 1000


def test_keys_spread_over_directories_and_stay_when_one_goes(
    origin: FaultyOrigin, clock: FakeClock, tmp_path: Path
) -> None:
    places = {tmp_path / name: "32MiB" for name in ("one", "two", "three")}
    numbers = range(150)

    with Shield(with_tiers(origin, {"nvme": places}), clock=clock) as shield:
        fill(shield, origin, numbers)
        state: Any = shield.state()
        shares = [volume["directory"]["entries"] for volume in state["disk"]["tiers"][0]["volumes"]]
    del places[tmp_path / "two"]
    with Shield(with_tiers(origin, {"nvme": places}), clock=clock) as shield:
        answers = ask(shield, numbers)

    assert sum(shares) == 150
    assert min(shares) > 25
    assert exact(answers, numbers)
    assert sum(not answer.hit for answer in answers) == shares[1]


def test_once_the_disk_is_full_only_what_was_asked_for_again_is_written(
    origin: FaultyOrigin, clock: FakeClock, tmp_path: Path
) -> None:
    settings = with_tiers(origin, {"nvme": {tmp_path / "fast": "6MiB"}}, memory="2MiB")

    def written(shield: Shield) -> int:
        state: Any = shield.state()
        return int(state["disk"]["tiers"][0]["volumes"][0]["directory"]["written_bytes"])

    with Shield(settings, clock=clock) as shield:
        fill(shield, origin, range(120))
        full = written(shield)
        fill(shield, origin, range(200, 260))
        once = written(shield)
        fill(shield, origin, range(200, 210))
        again = written(shield)
        answers = ask(shield, range(200, 210))

    assert full > 60 * SIZE
    assert once - full < 15 * SIZE  # but for what is kept when a segment goes, and a few taken for seen
    assert again - once >= 8 * SIZE
    assert exact(answers, range(200, 210))


def test_a_clean_stop_writes_what_was_asked_for_again(origin: FaultyOrigin, clock: FakeClock, tmp_path: Path) -> None:
    settings = with_tiers(origin, {"nvme": {tmp_path / "fast": "6MiB"}}, memory="16MiB")
    numbers, twice = range(200, 220), range(200, 205)

    with Shield(settings, clock=clock) as shield:
        fill(shield, origin, range(120))
        fill(shield, origin, numbers)
        ask(shield, twice)
    with Shield(settings, clock=clock) as shield:
        answers = ask(shield, numbers)

    assert exact(answers, numbers)
    assert [answer.hit for answer in answers[:5]] == [True] * 5
    assert sum(answer.hit for answer in answers[5:]) <= 3


def test_a_directory_overfilled_five_times_never_exceeds_its_capacity(
    origin: FaultyOrigin, clock: FakeClock, tmp_path: Path
) -> None:
    settings = with_tiers(origin, {"nvme": {tmp_path / "fast": "6MiB"}}, memory="1MiB")
    origin.serves("/big", Pattern(2 * MIB), lifetime=36_000)

    with Shield(settings, clock=clock) as shield:
        highest = 0
        for start in range(0, 500, 25):
            fill(shield, origin, range(start, start + 25))
            shield.get("/big", [("range", f"bytes={start * 4 * KIB}-{start * 4 * KIB + SLICE}")])
            highest = max(highest, used_bytes(tmp_path / "fast"))
        used: Any = shield.state()["memory"]

    assert highest <= 6 * MIB
    assert used["used_bytes"] <= MIB
