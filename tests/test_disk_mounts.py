"""A node and real disks that are unmounted, replaced, made read-only by the kernel and repaired."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from shield.store.upkeep.visit import adopt
from tests.disks import MIB, health, settled, tick, until_well, with_disk
from tests.doubles.faulty_origin import FaultyOrigin
from tests.doubles.pattern import Pattern
from tests.loop_disk import LoopDisk, loop_disk
from tests.node import FakeClock, Shield

BODIES = {f"/{number}": Pattern(20_000 + number) for number in range(4)}


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[LoopDisk]:
    with loop_disk(tmp_path) as disk:
        yield disk


@pytest.fixture
def filled(origin: FaultyOrigin) -> FaultyOrigin:
    for path, body in BODIES.items():
        origin.serves(path, body, lifetime=3600)
    return origin


def get_all(shield: Shield) -> list[bool]:
    """Which were hits; all are right in any case."""
    answers = {path: shield.get(path) for path in BODIES}
    assert all(answer.clean and answer.body == BODIES[path][:] for path, answer in answers.items())
    return [answer.hit for answer in answers.values()]


def _volume(state: Any) -> Any:
    return state["disk"]["tiers"][0]["volumes"][0]


def reason(shield: Shield) -> str:
    return str(_volume(shield.state())["reason"])


def until_out(shield: Shield, why: str) -> None:
    def is_out() -> bool:
        shield.node.tick()
        volume = _volume(shield.node.state())
        return volume["health"] == "out" and why in volume["reason"]

    shield.wait_for(is_out)


@pytest.mark.parametrize("below", ["cache", "."])
def test_a_disk_that_is_unmounted_goes_out_and_what_is_below_it_is_never_used(
    filled: FaultyOrigin, clock: FakeClock, disk: LoopDisk, below: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = (disk.point / below).resolve()
    with Shield(with_disk(filled, path), clock=clock) as shield:
        get_all(shield)
        settled(shield)
        disk.unmount_lazily()
        until_out(shield, "its disk was unmounted")
        until_out(shield, f"mount it, or confirm that it is meant: shield store adopt {path}")
        get_all(shield)
        tick(shield, 30)
        while_out = list(disk.point.iterdir())
        shield.wait_for(lambda: not disk.is_held())
        disk.mount()
        until_well(shield)
        again = get_all(shield)

    assert while_out == []
    assert again == [True] * 4
    assert filled.fetches("/0") == 2
    assert caplog.text.count("its disk was unmounted") == 1
    assert caplog.text.count("shield store adopt") == 1  # said once, however often it is tried


def test_a_replaced_disk_is_used_once_it_is_adopted(filled: FaultyOrigin, clock: FakeClock, disk: LoopDisk) -> None:
    path = disk.point / "cache"
    with Shield(with_disk(filled, path), clock=clock) as shield:
        get_all(shield)
        settled(shield)
        disk.unmount_lazily()
        until_out(shield, "shield store adopt")
        path.mkdir()  # on the file system below, which shall do from now on
        tick(shield, 30)
        before = list(path.iterdir())

        adopt(path)
        until_well(shield)
        get_all(shield)
        settled(shield)
        after = get_all(shield)

    assert before == []
    assert after == [True] * 4


def test_a_disk_under_another_device_number_is_the_same_disk(
    filled: FaultyOrigin, clock: FakeClock, disk: LoopDisk
) -> None:
    with Shield(with_disk(filled, disk.point / "cache"), clock=clock) as shield:
        get_all(shield)
    before = disk.point.stat().st_dev
    first = disk.device
    disk.unmount_lazily()
    disk.point.rename(disk.point.with_name("aside"))
    disk.point.mkdir()
    disk.attach()  # a second device on the same image
    disk.mount()
    try:
        assert disk.point.stat().st_dev != before
        with Shield(with_disk(filled, disk.point / "cache"), clock=clock) as shield:
            assert health(shield) == ["well"]
            assert get_all(shield) == [True] * 4
    finally:
        second, disk.device = disk.device, first
        disk.unmount_lazily()
        disk.detach()
        disk.device = second


def test_a_disk_made_read_only_by_an_error_serves_what_it_has_and_is_used_again_after_its_repair(
    filled: FaultyOrigin, clock: FakeClock, disk: LoopDisk, caplog: pytest.LogCaptureFixture
) -> None:
    filled.serves("/new", Pattern(MIB), lifetime=3600)
    with Shield(with_disk(filled, disk.point / "cache"), clock=clock) as shield:
        get_all(shield)
        settled(shield)
        disk.sync()
        disk.fail()
        assert shield.get("/new").body == Pattern(MIB)[:]
        settled(shield)
        shield.wait_for(lambda: _is_failing(shield))
        while_read_only = get_all(shield)
        why = reason(shield)
        tick(shield, 30)
        still = health(shield)

        disk.unmount_lazily()
        until_out(shield, "shield store adopt")
        shield.wait_for(lambda: not disk.is_held())  # else it couldn't be repaired
        disk.repair()
        disk.mount()
        until_well(shield)
        shield.wait_for(lambda: not _volume(shield.node.state())["directory"]["unscanned"])
        shield.get("/new")
        settled(shield)
        after = [*get_all(shield), shield.get("/new").hit]

    assert while_read_only == [True] * 4
    assert still == ["failing"]
    assert "Read-only file system" in why
    assert after == [True] * 5
    assert "can't be written; its entries are still served" in caplog.text
    assert "its disk failed while it was in use; its index is being rebuilt" in caplog.text
    assert "is well again" in caplog.text


def _is_failing(shield: Shield) -> bool:
    shield.node.tick()
    return bool(_volume(shield.node.state())["health"] == "failing")
