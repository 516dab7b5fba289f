"""A large object whose fetches fail for a while: readers wait, and are cut off only when asking again is no use."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from shield.errors import Fault
from shield.fill.means import FillPolicy
from shield.rules.persistence import STRIKES
from tests.client import request
from tests.disks import MIB, settled, with_disk
from tests.disks import SLICE as DISK_SLICE
from tests.doubles.faults import at_body
from tests.doubles.faulty_origin import FaultyOrigin
from tests.doubles.pattern import Pattern
from tests.doubles.steps import Close
from tests.fill.ground import SLICE, FakeClient, Ground, on_ground, turns
from tests.fill.test_runs import BODY, sends_all, stored
from tests.node import FakeClock, Shield

PASSING: list[tuple[Fault, int | None]] = [
    (Fault.SERVER, 503),
    (Fault.SERVER, 500),
    (Fault.THROTTLED, 429),
    (Fault.CONNECT, None),
    (Fault.RESET, None),
    (Fault.FIRST_BYTE_TIMEOUT, None),
]


async def in_the_middle(ground: Ground) -> FakeClient:
    """A client that was given the first slice, and whose next ones are being fetched."""
    await stored(ground, SLICE)
    client = await ground.asked()
    await ground.until(lambda: len(client.body) == SLICE and len(ground.source.fetches) == 2)
    return client


async def finished(ground: Ground, client: FakeClient) -> None:
    """All fetches from now on succeed."""

    def is_over() -> bool:
        fetch = ground.source.last
        if not fetch.result.done():
            assert fetch.want.span is not None
            sends_all(fetch, fetch.want.span.start, fetch.want.span.stop)
        return client.clean is not None

    await ground.until(is_over)


@pytest.mark.parametrize(("fault", "status"), PASSING)
def test_a_failure_that_may_pass_cuts_nobody_off(tmp_path: Path, fault: Fault, status: int | None) -> None:
    async def scenario(ground: Ground) -> None:
        client = await in_the_middle(ground)
        ground.source.last.fails(fault, status=status)
        await turns()
        assert not client.is_over
        await ground.until(lambda: len(ground.source.fetches) == 3)
        assert ground.source.last.want == ground.source.fetches[1].want
        await finished(ground, client)

        assert (client.clean, client.body) == (True, BODY)

    on_ground(scenario, path=tmp_path)


def test_nothing_is_asked_before_the_wait_is_over_whoever_wants_the_slice(tmp_path: Path) -> None:
    async def scenario(ground: Ground) -> None:
        client = await in_the_middle(ground)
        ground.source.last.fails(Fault.SERVER, status=503, retry_after=3600.0 * 24)
        await turns()
        client.takes_more()
        other = await ground.asked(fields={b"range": b"bytes=%d-%d" % (SLICE, SLICE + 9)})

        assert len(ground.source.fetches) == 2
        assert (client.clean, other.clean) == (None, None)
        for one in (client, other):
            one.leaves()
        await ground.until(lambda: not ground.fills.statistics().in_flight)

    on_ground(scenario, path=tmp_path, policy=FillPolicy(persist_seconds=3600.0 * 48))


def test_an_origin_that_asks_for_more_time_than_there_is_ends_it(tmp_path: Path) -> None:
    async def scenario(ground: Ground) -> None:
        client = await in_the_middle(ground)
        ground.source.last.fails(Fault.SERVER, status=503, retry_after=60.0)
        await turns()

        assert (client.clean, client.body) == (False, BODY[:SLICE])
        assert len(ground.source.fetches) == 2

    on_ground(scenario, path=tmp_path)


@pytest.mark.usefixtures("soon")
def test_failures_without_an_end_end_it(tmp_path: Path) -> None:
    async def scenario(ground: Ground) -> None:
        client = await in_the_middle(ground)
        for strike in range(1, STRIKES + 1):
            await ground.until(lambda: not ground.source.last.result.done())
            assert client.clean is None and len(ground.source.fetches) == 1 + strike
            ground.source.last.fails(Fault.RESET)
            await turns()

        assert (client.clean, client.body) == (False, BODY[:SLICE])

    on_ground(scenario, path=tmp_path)


@pytest.mark.parametrize("others", [(), (Fault.SERVER,)])
@pytest.mark.parametrize("fault", [Fault.VALIDATOR, Fault.FORBIDDEN])
def test_a_changed_or_refused_object_ends_it_at_once(tmp_path: Path, fault: Fault, others: tuple[Fault, ...]) -> None:
    async def scenario(ground: Ground) -> None:
        client = await in_the_middle(ground)
        ground.source.last.fails(fault, *others)
        await turns()

        assert (client.clean, client.body) == (False, BODY[:SLICE])
        assert len(ground.source.fetches) == 2

    on_ground(scenario, path=tmp_path)


def test_a_client_that_was_given_nothing_is_told_the_truth_at_once(tmp_path: Path) -> None:
    """Its request can be repeated by those who sent it, and an outage isn't multiplied."""

    async def scenario(ground: Ground) -> None:
        await stored(ground, SLICE)
        client = await ground.asked(fields={b"range": b"bytes=%d-%d" % (SLICE, SLICE + 9)})
        ground.source.last.fails(Fault.SERVER, status=503)
        await turns()

        assert client.status == 503
        assert len(ground.source.fetches) == 2

    on_ground(scenario, path=tmp_path)


def test_readers_at_many_places_fail_together_once_and_none_is_cut_off(tmp_path: Path) -> None:
    """Five fetches that fail at once are one strike each for five slices, not five for all."""

    async def scenario(ground: Ground) -> None:
        client = await in_the_middle(ground)
        parts = [
            await ground.asked(fields={b"range": b"bytes=%d-%d" % (at * SLICE, (at + 1) * SLICE - 1)})
            for at in range(2, 2 + STRIKES)
        ]
        under_way = [fetch for fetch in ground.source.fetches if not fetch.result.done()]
        assert len(under_way) == 1 + STRIKES
        for fetch in under_way:
            fetch.fails(Fault.SERVER, status=503)
        await turns()
        assert client.clean is None
        assert [part.status for part in parts] == [None] * STRIKES

        for part in parts:
            part.leaves()
        await finished(ground, client)
        assert client.body == BODY

    on_ground(scenario, path=tmp_path)


@pytest.mark.usefixtures("soon")
def test_a_slice_that_comes_forgives_what_was_before_it(tmp_path: Path) -> None:
    async def scenario(ground: Ground) -> None:
        client = await in_the_middle(ground)
        for number in range(1, 8):
            for _ in range(2):
                await ground.until(lambda: not ground.source.last.result.done())
                ground.source.last.fails(Fault.RESET)
            await ground.until(lambda: not ground.source.last.result.done())
            fetch = ground.source.last
            assert fetch.want.span is not None and fetch.want.span.start == number * SLICE
            stated = (b"content-range", b"bytes %d-%d/%d" % (number * SLICE, fetch.want.span.stop - 1, len(BODY)))
            fetch.answers((b"etag", b'"1"'), stated, status=206, body=None)
            await turns()
            fetch.sends(BODY[number * SLICE : (number + 1) * SLICE])
            if number < 7:
                fetch.breaks_off()
            else:
                fetch.sends(b"", ends=True)
        await ground.until(lambda: client.clean is not None)

        assert (client.clean, client.body) == (True, BODY)

    on_ground(scenario, path=tmp_path)


def _server_error(origin: FaultyOrigin) -> None:
    origin.fails("/big", "InternalError", status=500, times=4)


def _unavailable(origin: FaultyOrigin) -> None:
    origin.fails("/big", "ServiceUnavailable", status=503, times=4)


def _request_timeout(origin: FaultyOrigin) -> None:
    origin.fails("/big", "RequestTimeout", status=400, times=4)


def _slow_down(origin: FaultyOrigin) -> None:
    origin.fails("/big", "SlowDown", status=429, times=1)


@pytest.mark.usefixtures("soon")
@pytest.mark.parametrize("stumbles", [_server_error, _unavailable, _request_timeout, _slow_down])
def test_a_download_outlasts_an_origin_that_stumbles(
    origin: FaultyOrigin, clock: FakeClock, tmp_path: Path, stumbles: Callable[[FaultyOrigin], None]
) -> None:
    body = Pattern(4 * MIB)
    origin.serves("/big", body, lifetime=60)

    with Shield(with_disk(origin, tmp_path / "nvme"), clock=clock) as shield:
        shield.get("/big", [("range", f"bytes=0-{DISK_SLICE - 1}")])
        settled(shield)
        stumbles(origin)
        with shield.client() as client:
            client.send(request("/big"))
            answer = client.read()

    assert (answer.status, answer.clean, answer.body == body[:]) == (200, True, True)


def test_the_rest_of_a_body_that_broke_off_is_paid_for(
    origin: FaultyOrigin, clock: FakeClock, tmp_path: Path
) -> None:
    body = Pattern(4 * MIB)
    origin.serves("/big", body, lifetime=60)

    with Shield(with_disk(origin, tmp_path / "nvme"), clock=clock) as shield:
        shield.get("/big", [("range", f"bytes=0-{DISK_SLICE - 1}")])
        settled(shield)
        origin.spoils("/big", at_body(DISK_SLICE // 2, Close()), times=1)
        with shield.client() as client:
            client.send(request("/big"))
            answer = client.read()
        state = shield.state()["origins"]["fra"]

    assert (answer.status, answer.clean, answer.body == body[:]) == (200, True, True)
    assert state["extra"]["resume"] == 1
    assert state["repeats_saved"] < 10.0
