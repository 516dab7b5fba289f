"""Disks that fail under a running node: clients get the origin's bytes, and a disk is used when it is well again."""

from __future__ import annotations

import errno
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from shield.rules.purging import MarkKind
from shield.store_figures import disk_families
from tests.client import request
from tests.disks import MIB, SLICE, Failing, health, settled, tick, until_well, with_disk, with_tiers
from tests.doubles.faults import at_body
from tests.doubles.faulty_origin import FaultyOrigin
from tests.doubles.pattern import Pattern
from tests.doubles.steps import Wait
from tests.node import FakeClock, Shield


@pytest.fixture
def files() -> Iterator[Failing]:
    """What the node's store calls the system through."""
    failing = Failing()
    yield failing
    failing.broken.clear()


def _health_is(shield: Shield, word: str) -> bool:
    shield.node.tick()
    state: Any = shield.node.state()
    return bool(state["disk"]["tiers"][0]["volumes"][0]["health"] == word)


def filled(shield: Shield, origin: FaultyOrigin, count: int) -> list[Pattern]:
    bodies = [Pattern(20_000 + number) for number in range(count)]
    for number, body in enumerate(bodies):
        origin.serves(f"/{number}", body, lifetime=3600)
        shield.get(f"/{number}")
    settled(shield)
    return bodies


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EROFS])
@pytest.mark.parametrize("call", ["write", "sync", "open"])
def test_what_a_disk_refuses_streams_all_the_same(
    origin: FaultyOrigin, clock: FakeClock, tmp_path: Path, files: Failing, call: str, number: int
) -> None:
    with Shield(with_disk(origin, tmp_path / "nvme"), clock=clock, files=files) as shield:
        files.broken[call] = number
        bodies = filled(shield, origin, 5)
        files.broken.clear()
        answers = [shield.get(f"/{place}") for place in range(5)]
        settled(shield)
        until_well(shield)
        for place in range(5):
            shield.get(f"/{place}")
        settled(shield)
        again = [shield.get(f"/{place}") for place in range(5)]

    assert [a.clean and a.body == body[:] for a, body in zip(answers, bodies, strict=True)] == [True] * 5
    assert [a.hit and a.body == body[:] for a, body in zip(again, bodies, strict=True)] == [True] * 5


@pytest.mark.parametrize("cold", [False, True])
def test_a_hit_that_cannot_be_read_is_fetched_in_the_same_request(
    origin: FaultyOrigin, clock: FakeClock, tmp_path: Path, files: Failing, cold: bool
) -> None:
    with Shield(with_disk(origin, tmp_path / "nvme"), clock=clock, files=files) as shield:
        bodies = filled(shield, origin, 1)
        files.cold = cold
        files.broken["read"] = errno.EIO
        answer = shield.get("/0")

    assert (answer.status, answer.clean, answer.body == bodies[0][:]) == (200, True, True)
    assert origin.fetches("/0") == 2


def test_a_disk_whose_reads_fail_goes_out_and_comes_back(
    origin: FaultyOrigin, clock: FakeClock, tmp_path: Path, files: Failing, caplog: pytest.LogCaptureFixture
) -> None:
    with Shield(with_disk(origin, tmp_path / "nvme"), clock=clock, files=files) as shield:
        bodies = filled(shield, origin, 12)
        assert shield.node.store._disk is not None
        for volume in shield.node.store._disk._tiers[0].volumes:
            volume._ticks = 1_000_000  # it has been well for long
        files.broken["read"] = errno.EIO
        during = [shield.get(f"/{place}") for place in range(12)]
        out = health(shield)
        files.broken.clear()
        until_well(shield)
        after = [shield.get(f"/{place}") for place in range(12)]

    for answers in (during, after):
        assert [a.clean and a.body == body[:] for a, body in zip(answers, bodies, strict=True)] == [True] * 12
    assert out == ["out"]
    assert re.search(r"is out of use; it is tried again every 10 s: \d+ reads in a row failed: Input", caplog.text)
    (seconds,) = re.findall(r"is well again, after (\d+) s", caplog.text)
    assert 9 <= int(seconds) < 1_000_000  # at the next attempt, counted from when it went out


def test_what_was_written_to_a_disk_stays_counted_when_it_goes_out_and_comes_back(
    origin: FaultyOrigin, clock: FakeClock, tmp_path: Path, files: Failing
) -> None:
    with Shield(with_disk(origin, tmp_path / "nvme"), clock=clock, files=files) as shield:
        filled(shield, origin, 12)
        before = _counted(shield)
        files.broken["read"] = errno.EIO
        for place in range(12):
            shield.get(f"/{place}")
        assert health(shield) == ["out"]
        during = _counted(shield)
        files.broken.clear()
        until_well(shield)
        after = _counted(shield)

    assert before["disk_written_bytes"] > 0
    assert during["disk_errors"] > before["disk_errors"]
    for name, value in before.items():
        assert value <= during[name] <= after[name], name


def test_a_directory_that_is_deleted_is_made_anew_and_used_again(
    origin: FaultyOrigin, clock: FakeClock, tmp_path: Path
) -> None:
    with Shield(with_disk(origin, tmp_path / "nvme"), clock=clock) as shield:
        bodies = filled(shield, origin, 3)
        shutil.rmtree(tmp_path / "nvme")
        tick(shield, 5)
        shield.wait_for(lambda: _health_is(shield, "out"))
        until_well(shield)
        during = [shield.get(f"/{place}") for place in range(3)]
        settled(shield)
        after = [shield.get(f"/{place}") for place in range(3)]

    for answers in (during, after):
        assert [a.clean and a.body == body[:] for a, body in zip(answers, bodies, strict=True)] == [True] * 3
    assert all(answer.hit for answer in after)


def test_a_directory_that_cannot_be_opened_at_the_start_is_tried_again(
    origin: FaultyOrigin, clock: FakeClock, tmp_path: Path
) -> None:
    (tmp_path / "nvme").write_text("a file is in the way")

    with Shield(with_disk(origin, tmp_path / "nvme"), clock=clock) as shield:
        bodies = filled(shield, origin, 2)
        before = health(shield)
        (tmp_path / "nvme").unlink()
        until_well(shield)
        for place in range(2):
            shield.get(f"/{place}")
        settled(shield)
        after = [shield.get(f"/{place}") for place in range(2)]

    assert before == ["out"]
    assert [a.hit and a.body == body[:] for a, body in zip(after, bodies, strict=True)] == [True] * 2


def test_keys_of_a_disk_that_is_out_are_kept_on_the_others(
    origin: FaultyOrigin, clock: FakeClock, tmp_path: Path
) -> None:
    (tmp_path / "one").write_text("a file is in the way")
    settings = with_tiers(origin, {"nvme": {tmp_path / "one": "64MiB", tmp_path / "two": "64MiB"}})

    with Shield(settings, clock=clock) as shield:
        bodies = filled(shield, origin, 10)
        answers = [shield.get(f"/{place}") for place in range(10)]

    assert [a.hit and a.body == body[:] for a, body in zip(answers, bodies, strict=True)] == [True] * 10


def test_what_is_removed_while_its_disk_is_out_does_not_come_back_with_it(
    origin: FaultyOrigin, clock: FakeClock, tmp_path: Path, files: Failing
) -> None:
    with Shield(with_disk(origin, tmp_path / "nvme"), clock=clock, files=files) as shield:
        filled(shield, origin, 12)
        files.broken["read"] = errno.EIO
        for place in range(10):
            shield.get(f"/{place}")
        assert health(shield) == ["out"]
        shield.run(shield.node.purge.targets([b"/11"]))
        files.broken.clear()
        until_well(shield)
        settled(shield)
        before = origin.fetches("/11")
        answer = shield.get("/11")

    assert not answer.hit
    assert origin.fetches("/11") == before + 1


@pytest.mark.parametrize("is_running", [True, False], ids=["while the node runs", "at a later start"])
def test_a_directory_that_was_out_obeys_the_purges_that_it_missed_when_it_is_back(
    origin: FaultyOrigin, clock: FakeClock, tmp_path: Path, is_running: bool
) -> None:
    settings = with_tiers(origin, {"nvme": {tmp_path / "one": "64MiB", tmp_path / "two": "64MiB"}})
    with Shield(settings, clock=clock) as shield:
        filled(shield, origin, 10)
    (tmp_path / "two").rename(tmp_path / "gone")
    (tmp_path / "two").write_text("a file is in the way")

    def comes_back() -> None:
        (tmp_path / "two").unlink()
        (tmp_path / "gone").rename(tmp_path / "two")

    with Shield(settings, clock=clock) as shield:
        shield.run(shield.node.purge.mark(MarkKind.PREFIX, (b"/",)))
        if is_running:
            comes_back()
            until_well(shield)
            assert [shield.get(f"/{place}").hit for place in range(10)] == [False] * 10
    if not is_running:
        comes_back()
        with Shield(settings, clock=clock) as shield:
            assert [shield.get(f"/{place}").hit for place in range(10)] == [False] * 10


def test_a_reader_in_the_middle_of_a_removed_entry_gets_the_right_bytes(
    origin: FaultyOrigin, clock: FakeClock, tmp_path: Path
) -> None:
    body = Pattern(6 * MIB)
    origin.serves("/big", body, lifetime=3600)

    with Shield(with_disk(origin, tmp_path / "nvme"), clock=clock) as shield:
        shield.get("/big")
        settled(shield)
        with shield.client(receive_buffer=65536) as slow:
            slow.send(request("/big"))
            answer = slow.read_head()
            answer.body = slow.read_some(SLICE // 2)
            removed = shield.run(shield.node.purge.targets([b"/big"]))
            slow.read_body(answer)
        settled(shield)
        again = shield.get("/big")

    assert removed == 1
    assert (answer.clean, answer.body == body[:]) == (True, True)
    assert (again.hit, again.body == body[:]) == (False, True)


def test_what_is_purged_during_its_fill_is_not_stored(origin: FaultyOrigin, clock: FakeClock, tmp_path: Path) -> None:
    origin.serves("/a", Pattern(100_000), lifetime=3600)
    gate = origin.gate()
    origin.spoils("/a", at_body(50_000, Wait(gate)), times=1)

    with Shield(with_disk(origin, tmp_path / "nvme"), clock=clock) as shield:
        with shield.client() as client:
            client.send(request("/a"))
            answer = client.read_head()
            shield.run(shield.node.purge.targets([b"/a"]))
            gate.open()
            client.read_body(answer)
        settled(shield)
        again = shield.get("/a")

    assert answer.clean
    assert not again.hit


def test_cold_reads_are_shared_and_exact(
    origin: FaultyOrigin, clock: FakeClock, tmp_path: Path, files: Failing
) -> None:
    body = Pattern(3 * MIB)

    with Shield(with_disk(origin, tmp_path / "nvme"), clock=clock, files=files) as shield:
        bodies = filled(shield, origin, 1)
        origin.serves("/big", body, lifetime=3600)
        shield.get("/big")
        settled(shield)
        files.cold = True
        small = shield.get_together("/0", times=20)
        large = shield.get_together("/big", times=5)
        part = shield.get("/big", [("range", "bytes=1000000-1000099")])

    assert all(answer.hit and answer.body == bodies[0][:] for answer in small)
    assert all(answer.hit and answer.clean and answer.body == body[:] for answer in large)
    assert (part.hit, part.body) == (True, body[1_000_000:1_000_100])


def test_a_second_node_on_a_directory_is_refused_clearly(
    origin: FaultyOrigin, clock: FakeClock, tmp_path: Path
) -> None:
    settings = with_disk(origin, tmp_path / "nvme")
    other = settings.model_copy(update={"node": "other"})

    with Shield(settings, clock=clock), pytest.raises(Exception, match="in use by node test-1"), Shield(other):
        pass


def _counted(shield: Shield) -> dict[str, float]:
    disk = shield.node.store.statistics().disk
    assert disk is not None
    families = disk_families(disk)
    return {family.name: sum(s.value for s in family.samples) for family in families if not family.gauge}


def test_a_directory_of_a_node_that_has_stopped_is_not_taken_for_one_that_fails(
    origin: FaultyOrigin, clock: FakeClock, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with Shield(with_disk(origin, tmp_path / "nvme"), clock=clock) as shield:
        filled(shield, origin, 1)

        async def end() -> None:
            await shield.node.close()
            shield.node.tick()  # a last time, while the process ends

        shield.run(end())

    assert "out of use" not in caplog.text
