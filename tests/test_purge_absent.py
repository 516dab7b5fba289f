"""A purge of paths while a directory is out holds for that, too, though another process takes it back."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from shield.shared import Seat
from tests.disks import health, settled, with_tiers
from tests.doubles.faulty_origin import FaultyOrigin
from tests.node import FakeClock, Shield
from tests.purging import order


@pytest.mark.parametrize("way", [{}, {"soft": True}, {"takedown": True}], ids=["hard", "soft", "takedown"])
def test_what_was_purged_does_not_come_back_with_a_directory(
    tmp_path: Path, origin: FaultyOrigin, clock: FakeClock, way: Mapping[str, bool]
) -> None:
    fast, away, state = tmp_path / "fast", tmp_path / "away", tmp_path / "state"
    state.mkdir()
    settings = with_tiers(origin, {"nvme": {fast: "64MiB"}, "hdd": {tmp_path / "slow": "64MiB"}})
    for name in ("/a", "/b"):
        origin.serves(name, b"old", lifetime=3600)
    with Shield(settings, clock=clock, place=Seat(state=state)) as shield:
        for name in ("/a", "/b"):
            shield.get(name)
        settled(shield)
    fast.rename(away)
    fast.write_bytes(b"no directory")
    clock.advance(1.0)
    with Shield(settings, clock=clock, place=Seat(state=state)) as shield:
        assert health(shield) == ["out", "well"]
        order(shield, paths=["/a"], **way)
    fast.unlink()
    away.rename(fast)
    origin.serves("/a", b"new", lifetime=3600)

    with Shield(settings, clock=clock, place=Seat(state=state)) as shield:
        assert health(shield) == ["well", "well"]
        if "soft" in way:
            shield.get("/a")  # stale, which has it refreshed
            settled(shield)
        assert shield.get("/a").body == b"new"
        assert shield.get("/b").hit
