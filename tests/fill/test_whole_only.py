"""Origins that say they give parts and give the whole: nobody is cut off for that, and it isn't tried for ever."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import pytest

from shield.errors import Fault, OriginError
from shield.fill.means import FillPolicy
from shield.fill.table import WHOLE_SECONDS
from shield.origin.want import Failed
from tests.client import request
from tests.disks import MIB, with_disk
from tests.disks import SLICE as DISK_SLICE
from tests.doubles.faults import at_body
from tests.doubles.faulty_origin import FaultyOrigin
from tests.doubles.pattern import Pattern
from tests.doubles.steps import Wait
from tests.fill.ground import SLICE, FakeClient, Fetch, Ground, on_ground, turns
from tests.fill.test_runs import BODY, LASTING, RANGES, TAG, begun, sends_all
from tests.node import FakeClock, Shield

FAR = {b"range": b"bytes=%d-%d" % (6 * SLICE, 6 * SLICE + 9)}


async def in_part(ground: Ground) -> tuple[FakeClient, Fetch]:
    """A client of two slices, whose fetch has begun to bring them."""
    client = await ground.asked(fields={b"range": b"bytes=0-%d" % (2 * SLICE - 1)})
    fetch = ground.source.last
    stated = (b"content-range", b"bytes 0-%d/%d" % (2 * SLICE - 1, len(BODY)))
    fetch.answers(TAG, LASTING, stated, status=206, length=2 * SLICE)
    await turns()
    fetch.sends(BODY[:1000])
    return client, fetch


def gives_all(fetch: Fetch) -> None:
    """It answers 200 to a part of a known version, which is of no use there."""
    fetch.result.set_result(Failed((OriginError("fra", Fault.MALFORMED, "200 to a request with Range", status=200),)))


def test_who_jumps_ahead_stops_the_first_fetch_only_once_its_own_is_answered(tmp_path: Path) -> None:
    async def scenario(ground: Ground) -> None:
        client, fetch = await begun(ground)
        fetch.sends(BODY[:1000])
        part = await ground.asked(fields=FAR)
        other = ground.source.last
        assert other is not fetch
        fetch.sends(BODY[1000 : 2 * SLICE])
        other.fails(Fault.REFUSED)
        await turns()
        assert not part.is_over and not client.is_over
        fetch.sends(BODY[2 * SLICE :], ends=True)
        await ground.until(lambda: client.is_over and part.is_over)

        assert (client.clean, client.body) == (True, BODY)
        assert (part.status, part.body) == (206, BODY[6 * SLICE : 6 * SLICE + 10])
        assert len(ground.source.fetches) == 2

    on_ground(scenario, path=tmp_path)


def test_a_fetch_far_behind_ends_where_one_that_is_answered_begins(tmp_path: Path) -> None:
    async def scenario(ground: Ground) -> None:
        client, fetch = await begun(ground)
        fetch.sends(BODY[:1000])
        part = await ground.asked(fields=FAR)
        sends_all(ground.source.last, 6 * SLICE, 7 * SLICE)
        await ground.until(lambda: part.clean)
        fetch.sends(BODY[1000 : 6 * SLICE])
        await ground.until(lambda: fetch.connection.is_abandoned)
        await ground.until(lambda: len(ground.source.fetches) == 3)
        sends_all(ground.source.last, 7 * SLICE, 8 * SLICE)
        await ground.until(lambda: client.clean)

        assert client.body == BODY

    on_ground(scenario, path=tmp_path)


def test_who_can_have_no_part_has_it_of_the_whole_and_the_first_client_goes_on(tmp_path: Path) -> None:
    async def scenario(ground: Ground) -> None:
        client, fetch = await in_part(ground)
        part = await ground.asked(fields=FAR)
        gives_all(ground.source.last)
        await turns()
        whole = ground.source.last
        assert len(ground.source.fetches) == 3 and whole.want.span is None
        whole.answers(LASTING, TAG, RANGES, body=BODY)
        await ground.until(lambda: part.clean)
        assert (part.status, part.body) == (206, BODY[6 * SLICE : 6 * SLICE + 10])
        fetch.sends(BODY[1000 : 2 * SLICE], ends=True)
        await ground.until(lambda: client.is_over)

        assert (client.clean, client.body) == (True, BODY[: 2 * SLICE])

    on_ground(scenario, path=tmp_path)


def test_it_is_not_asked_for_in_parts_again_for_a_while(tmp_path: Path) -> None:
    async def scenario(ground: Ground) -> None:
        client, fetch = await in_part(ground)
        part = await ground.asked(fields=FAR)
        gives_all(ground.source.last)
        await turns()
        for one in (client, part):
            one.leaves()
        ground.source.last.fails()
        fetch.breaks_off()
        await ground.until(lambda: not ground.fills.statistics().in_flight)

        again = await ground.asked(fields=FAR)
        assert ground.source.last.want.span is None
        again.leaves()
        ground.source.last.fails()
        await turns()
        ground.clock.advance(WHOLE_SECONDS + 1)
        later = await ground.asked(fields=FAR)
        assert ground.source.last.want.span is not None
        later.leaves()
        ground.source.last.fails()
        await turns()

    on_ground(scenario, path=tmp_path, policy=FillPolicy(linger_seconds=0.0))


def test_another_origin_that_merely_stumbles_may_still_give_parts(tmp_path: Path) -> None:
    async def scenario(ground: Ground) -> None:
        client, fetch = await begun(ground)
        fetch.sends(BODY[:SLICE])
        await ground.until(lambda: len(client.body) == SLICE)
        part = await ground.asked(fields=FAR)
        useless = OriginError("iad", Fault.MALFORMED, "200 to a request with Range", status=200)
        ground.source.last.result.set_result(Failed((OriginError("fra", Fault.SERVER, "503", status=503), useless)))
        await ground.until(lambda: len(ground.source.fetches) == 3)
        assert ground.source.last.want.span is not None
        sends_all(ground.source.last, 6 * SLICE, 7 * SLICE)
        await ground.until(lambda: part.clean)
        client.leaves()

    on_ground(scenario, path=tmp_path)


@pytest.mark.parametrize("memory", ["0", "64MiB"])
def test_a_client_that_jumps_ahead_at_an_origin_that_ignores_ranges_harms_nobody(
    origin: FaultyOrigin, clock: FakeClock, tmp_path: Path, memory: str
) -> None:
    body = Pattern(8 * MIB)
    gate = origin.gate()
    origin.serves("/big", body, lifetime=60)
    origin.ignores("range")
    origin.spoils("/big", at_body(DISK_SLICE + 10, Wait(gate)), times=1)
    far = [("range", f"bytes={6 * MIB}-{6 * MIB + 9}")]

    with Shield(with_disk(origin, tmp_path / "nvme", memory=memory), clock=clock) as shield:
        with ExitStack() as clients, shield.client() as client:
            jumpers = [clients.enter_context(shield.client()) for _ in range(3)]
            client.send(request("/big"))
            answer = client.read_head()
            for jumper in jumpers:
                jumper.send(request("/big", far))
            shield.wait_for(lambda: origin.fetches("/big") > 1)
            gate.open()
            client.read_body(answer)
            parts = [jumper.read() for jumper in jumpers]
        later = shield.get("/big", far)

    assert (answer.clean, answer.body == body[:]) == (True, True)
    assert {part.status for part in [*parts, later]} <= {200, 206}
    for part in [*parts, later]:
        assert part.body in (body[:], body[6 * MIB : 6 * MIB + 10])
