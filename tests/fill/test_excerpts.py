"""Little of a slice, for the first who wants it: fetched exactly, shared while it is read, stored nowhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from shield.errors import Fault
from shield.fill.means import FillPolicy
from shield.fill.touches import MOST, Touches
from shield.messages import Request
from shield.rules.amplification import Account, AmplificationLimits
from shield.rules.exact import GRID
from shield.rules.persistence import STRIKES
from shield.rules.ranges import Span
from tests.fill import ground as grounds
from tests.fill.ground import FakeClient, Fetch, Ground, on_ground, turns

LASTING = (b"cache-control", b"max-age=60")
TAG = (b"etag", b'"1"')
SLICE = 512 << 10
BODY = b"".join(b"%07d\n" % number for number in range(4 * SLICE // 8))


@pytest.fixture(autouse=True)
def slices_that_cost_something(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grounds, "SLICE", SLICE)


def sends(fetch: Fetch, *, etag: bytes = TAG[1]) -> None:
    """It answers with just what was asked."""
    span = fetch.want.span
    assert span is not None
    stop = min(span.stop, len(BODY))
    stated = (b"content-range", b"bytes %d-%d/%d" % (span.start, stop - 1, len(BODY)))
    fetch.answers((b"etag", etag), LASTING, stated, status=206, body=BODY[span.start : stop])


def of(start: int, stop: int) -> dict[bytes, bytes]:
    return {b"range": b"bytes=%d-%d" % (start, stop - 1)}


async def over(ground: Ground, client: FakeClient) -> None:
    await ground.until(lambda: client.clean is not None and not ground.fills.statistics().in_flight)


def test_the_first_touch_is_fetched_exactly_and_the_second_brings_the_slice(tmp_path: Path) -> None:
    async def scenario(ground: Ground) -> None:
        asked: list[Span | None] = []
        for _ in range(3):
            client = await ground.asked(fields=of(SLICE + 10, SLICE + 20))
            if not client.clean and len(ground.source.fetches) > len(asked):
                asked.append(ground.source.last.want.span)
                sends(ground.source.last)
            await over(ground, client)
            assert client.body == BODY[SLICE + 10 : SLICE + 20]

        assert asked == [Span(SLICE, SLICE + GRID), Span(SLICE, 2 * SLICE)]
        assert client.told == "hit; ttl=60"

    on_ground(scenario, path=tmp_path)


def test_what_is_fetched_exactly_says_that_it_is_not_stored(tmp_path: Path) -> None:
    async def scenario(ground: Ground) -> None:
        client = await ground.asked(fields=of(SLICE + 10, SLICE + 20))
        sends(ground.source.last)
        await over(ground, client)

        assert client.told == "fwd=uri-miss; fwd-status=206; detail=exact"

    on_ground(scenario, path=tmp_path)


def test_many_who_want_the_same_share_one_fetch(tmp_path: Path) -> None:
    async def scenario(ground: Ground) -> None:
        early = [await ground.asked(fields=of(SLICE + 10, SLICE + 20)) for _ in range(20)]
        fetch = ground.source.last
        stated = (b"content-range", b"bytes %d-%d/%d" % (SLICE, SLICE + GRID - 1, len(BODY)))
        fetch.answers(TAG, LASTING, stated, status=206, length=GRID)
        await turns()
        late = [await ground.asked(fields=of(SLICE + 15, SLICE + 25)) for _ in range(20)]
        fetch.sends(BODY[SLICE : SLICE + GRID], ends=True)
        await over(ground, late[-1])

        assert {client.body for client in early} == {BODY[SLICE + 10 : SLICE + 20]}
        assert {client.body for client in late} == {BODY[SLICE + 15 : SLICE + 25]}
        assert len(ground.source.fetches) == 1

    on_ground(scenario, path=tmp_path)


def test_an_excerpt_is_given_up_with_its_last_reader(tmp_path: Path) -> None:
    async def scenario(ground: Ground) -> None:
        client = await ground.asked(fields=of(SLICE + 10, SLICE + 20))
        stated = (b"content-range", b"bytes %d-%d/%d" % (SLICE, SLICE + GRID - 1, len(BODY)))
        ground.source.last.answers(TAG, LASTING, stated, status=206, length=GRID)
        await turns()
        assert ground.memory.used > 0
        client.leaves()
        await turns()

        assert ground.source.last.connection.is_abandoned
        assert ground.memory.used == 0
        assert ground.fills.statistics().in_flight == 0

    on_ground(scenario, path=tmp_path)


def test_a_span_over_slices_takes_whole_what_is_worth_it_and_the_rest_exactly(tmp_path: Path) -> None:
    async def scenario(ground: Ground) -> None:
        client = await ground.asked(fields=of(SLICE - 10, 2 * SLICE + 10))
        asked: list[Span | None] = []
        while not client.clean:
            await ground.until(lambda: client.clean or len(ground.source.fetches) > len(asked))
            if not client.clean:
                asked.append(ground.source.fetches[len(asked)].want.span)
                sends(ground.source.fetches[len(asked) - 1])
                await turns()
        await over(ground, client)

        assert client.body == BODY[SLICE - 10 : 2 * SLICE + 10]
        assert asked == [Span(SLICE - GRID, SLICE), Span(SLICE, 2 * SLICE), Span(2 * SLICE, 2 * SLICE + GRID)]

    on_ground(scenario, path=tmp_path)


def _after_a_first_slice(then: Any, tmp_path: Path, **changes: Any) -> None:
    """The entry is known, and an excerpt of its third slice is asked for."""

    async def scenario(ground: Ground) -> None:
        first = await ground.asked(fields=of(0, SLICE))
        sends(ground.source.last)
        await over(ground, first)
        client = await ground.asked(fields=of(2 * SLICE, 2 * SLICE + 10))
        assert ground.source.last.want.span == Span(2 * SLICE, 2 * SLICE + GRID)
        assert ground.source.last.fields[b"if-match"] == TAG[1]
        await then(ground, client)

    on_ground(scenario, path=tmp_path, **changes)


def test_an_excerpt_that_breaks_off_is_asked_for_again(tmp_path: Path) -> None:
    async def then(ground: Ground, client: FakeClient) -> None:
        fetch = ground.source.last
        stated = (b"content-range", b"bytes %d-%d/%d" % (2 * SLICE, 2 * SLICE + GRID - 1, len(BODY)))
        fetch.answers(TAG, LASTING, stated, status=206, length=GRID)
        await turns()
        fetch.sends(BODY[2 * SLICE : 2 * SLICE + 3])
        fetch.breaks_off()
        await ground.until(lambda: len(ground.source.fetches) == 3)
        sends(ground.source.last)
        await over(ground, client)
        assert (client.clean, client.body) == (True, BODY[2 * SLICE : 2 * SLICE + 10])

    _after_a_first_slice(then, tmp_path)


def test_excerpts_that_bring_nothing_again_and_again_end_it(tmp_path: Path) -> None:
    async def then(ground: Ground, client: FakeClient) -> None:
        before = len(ground.source.fetches) - 1
        stated = (b"content-range", b"bytes %d-%d/%d" % (2 * SLICE, 2 * SLICE + GRID - 1, len(BODY)))
        for number in range(STRIKES):
            due = before + number + 1
            await ground.until(lambda: client.is_over or len(ground.source.fetches) == due)  # noqa: B023  # it is waited for here
            if client.is_over:
                break
            ground.source.last.answers(TAG, LASTING, stated, status=206, length=GRID)
            await turns()
            ground.source.last.breaks_off()
        await over(ground, client)
        assert client.status == 503
        assert len(ground.source.fetches) > before + 1

    _after_a_first_slice(then, tmp_path, policy=FillPolicy(persist_seconds=0.3))


def test_another_version_is_no_part_of_this_one(tmp_path: Path) -> None:
    async def then(ground: Ground, client: FakeClient) -> None:
        ground.source.last.fails(Fault.VALIDATOR)
        await ground.until(lambda: len(ground.source.fetches) == 3)
        assert b"if-match" not in ground.source.last.fields  # it is asked for anew
        sends(ground.source.last, etag=b'"2"')
        await over(ground, client)
        assert client.body == BODY[2 * SLICE : 2 * SLICE + 10]

    _after_a_first_slice(then, tmp_path)


def test_an_address_without_budget_never_has_a_slice_fetched_for_little(tmp_path: Path) -> None:
    async def scenario(ground: Ground) -> None:
        for number in range(3):
            client = await ground.asked(fields=of(SLICE + 10, SLICE + 20))
            assert ground.source.fetches[number].want.span == Span(SLICE, SLICE + GRID)
            sends(ground.source.last)
            await over(ground, client)

        assert ground.fills.statistics().thrifty == {"exact": 2}

    on_ground(scenario, path=tmp_path, amplification=AmplificationLimits(burst=SLICE - 1))


@pytest.mark.parametrize("in_slices", [True, False])
def test_a_body_for_an_address_without_budget_comes_no_faster_than_it_is_taken(
    tmp_path: Path, in_slices: bool
) -> None:
    async def scenario(ground: Ground) -> None:
        client = ground.asks(ready=False)
        await turns()
        fetch = ground.source.last
        fetch.answers(LASTING, TAG, (b"accept-ranges", b"bytes"), length=len(BODY))
        await turns()
        fetch.sends(BODY[:1])  # goes out with the head
        fetch.sends(BODY[1 : 4 * GRID])
        await turns()
        assert fetch.connection.is_held
        client.takes_more()
        await turns()
        assert not fetch.connection.is_held
        fetch.sends(BODY[4 * GRID :], ends=True)
        await over(ground, client)

        assert client.body == BODY
        assert ground.fills.statistics().thrifty["paced"] >= 1

    on_ground(scenario, path=tmp_path if in_slices else None, amplification=AmplificationLimits(burst=0))


def test_touches_are_bounded_and_the_oldest_are_forgotten() -> None:
    class Wants:
        request = Request.of(b"GET", b"/a")
        position, slack, stop, given, untaken = 0, 0, None, 0, 0
        account: Account | None = None

        def __init__(self) -> None:
            self.touched: dict[int, bool] = {}

        def advance(self) -> None: ...
        def push(self) -> bool:
            return False

        def conclude(self) -> None: ...
        def inform(self, block: bytes) -> None: ...
        def detach(self) -> None: ...
        def go_on_alone(self) -> None: ...

    touches, one = Touches(), Wants()

    assert not touches.again(b"a", 1, one)
    assert not touches.again(b"a", 1, one)  # its own touch isn't another's
    assert touches.again(b"a", 1, Wants())
    for number in range(MOST):
        touches.again(b"b", number, Wants())
        touches.mark_large(b"%d" % number)
    assert not touches.again(b"a", 1, Wants())
    touches.mark_large(b"c")
    assert touches.is_large(b"c") and not touches.is_large(b"0")
    assert len(touches) == 2 * MOST


def test_a_long_excerpt_comes_piece_by_piece_so_that_a_slow_reader_holds_little(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shield.rules.exact.PIECE", 2 * GRID)

    async def scenario(ground: Ground) -> None:
        client = await ground.asked(fields=of(SLICE, SLICE + 5 * GRID))
        for number in range(3):
            await ground.until(lambda: len(ground.source.fetches) == number + 1)  # noqa: B023  # it is waited for here
            assert ground.memory.used <= 2 * GRID
            sends(ground.source.last)
            await turns()
        await over(ground, client)

        assert client.body == BODY[SLICE : SLICE + 5 * GRID]
        asked = [fetch.want.span for fetch in ground.source.fetches]
        assert asked == [Span(SLICE + at * GRID, SLICE + min(at + 2, 5) * GRID) for at in (0, 2, 4)]

    on_ground(scenario, path=tmp_path)
