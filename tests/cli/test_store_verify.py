"""`shield store verify`: what it finds, what it repairs, and how it ends."""

from __future__ import annotations

from pathlib import Path

import pytest

from shield.cli.store.verify import Pace
from tests.cli.store_ground import LIMITS, Ground, damage, lines
from tests.store.ground import abandon, draft, key, opened


@pytest.fixture
def ground(tmp_path: Path) -> Ground:
    return Ground(tmp_path)


def test_verify_of_a_sound_store_ends_with_0(ground: Ground) -> None:
    ground.fill_all()

    result = ground.run("verify", "--rate", "0")

    assert result.exit_code == 0
    assert lines(result) == [
        f"{ground.path}/one: 4 records checked, all well",
        f"{ground.path}/two: 1 record checked, all well",
        f"{ground.path}/three: 7 records checked, all well",
    ]


def test_verify_names_what_is_damaged_repairs_it_and_is_content_then(ground: Ground) -> None:
    ground.fill_all()
    with ground.open("one") as directory:
        damage(directory, "a", 10_000)
        found = directory.lookup(key("a").digest)
    assert found is not None

    first, second = ground.run("verify"), ground.run("verify")

    assert first.exit_code == 1
    assert lines(first)[0] == (
        f"damaged  :/a ({ground.path}/one, segment {found.segment} at {found.offset}): block 0 is damaged; repaired"
    )
    assert lines(first)[1] == (
        f"{ground.path}/one: 4 records checked; damaged in 1 place, 1 record taken out of the index"
    )
    assert second.exit_code == 0
    assert not ground.has("one", "a")
    assert ground.has("three", "c")


def test_verify_repairs_nothing_when_it_is_only_to_look(ground: Ground) -> None:
    ground.fill_all()
    with ground.open("one") as directory:
        damage(directory, "a", 200)

    first, second = ground.run("verify", "--dry-run"), ground.run("verify", "--dry-run")

    assert first.exit_code == second.exit_code == 1
    assert "header is damaged" in lines(first)[0]
    assert "repaired" not in lines(first)[0]
    assert "not repaired" in lines(first)[1]


def test_verify_finds_that_a_segment_file_is_missing(ground: Ground) -> None:
    ground.fill_all()
    for segment in (ground.path / "two" / "segments").iterdir():
        segment.unlink()

    first, second = ground.run("verify"), ground.run("verify")

    assert first.exit_code == 1
    assert "the segment's file is missing" in first.stdout
    assert second.exit_code == 0


def test_verify_makes_a_lost_index_again_before_it_checks(ground: Ground) -> None:
    ground.fill_all()
    abandon(opened(ground.path / "one", LIMITS, boot="before"))

    result = ground.run("verify", "--directory", ground.path / "one")

    assert result.exit_code == 0
    assert "its index is being rebuilt: the machine stopped while the directory was in use" in lines(result)[0]
    assert lines(result)[1] == f"{ground.path}/one: 4 records checked, all well"


def test_verify_checks_the_rest_when_a_directory_cant_be_opened(ground: Ground) -> None:
    ground.fill("one", [draft("a", 10)])
    with ground.open("one") as directory:
        damage(directory, "a", 200)

    result = ground.run("verify")

    assert result.exit_code == 2
    assert f"{ground.path}/one: 1 record checked; damaged in 1 place" in result.stdout
    assert f"{ground.path}/two isn't there" in result.stderr


def test_a_pace_waits_no_more_than_its_rate_asks() -> None:
    now = [100.0]
    pace = Pace(1000, clock=lambda: now[0], sleep=lambda seconds: now.__setitem__(0, now[0] + seconds))

    for _ in range(20):
        pace.spend(500)
    assert now[0] == pytest.approx(110.0, abs=0.2)
    now[0] += 1000
    for _ in range(20):
        pace.spend(500)

    assert now[0] == pytest.approx(1120.0, abs=0.3)


def test_a_pace_of_none_never_waits() -> None:
    def refuse(seconds: float) -> None:
        raise AssertionError

    Pace(0, sleep=refuse).spend(1 << 40)
