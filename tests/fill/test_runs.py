"""A large object in slices, without a socket: what is fetched, how far ahead, and what survives a failure."""

from __future__ import annotations

from pathlib import Path

import pytest

from shield.errors import Fault
from shield.fill.means import FillPolicy
from shield.fill.runs import RUN_SLICES
from shield.rules.persistence import MOST_IN_A_ROW
from shield.rules.ranges import Span
from tests.fill.ground import SLICE, FakeClient, Fetch, Ground, on_ground, turns

LASTING = (b"cache-control", b"max-age=60")
TAG = (b"etag", b'"1"')
RANGES = (b"accept-ranges", b"bytes")
BODY = b"".join(b"%07d\n" % number for number in range(8 * SLICE // 8))


def sends_all(fetch: Fetch, start: int, stop: int, *, etag: bytes = TAG[1]) -> None:
    """It answers with this part of the body."""
    stated = (b"content-range", b"bytes %d-%d/%d" % (start, stop - 1, len(BODY)))
    fetch.answers((b"etag", etag), LASTING, stated, status=206, body=BODY[start:stop])


async def begun(ground: Ground) -> tuple[FakeClient, Fetch]:
    """A client of the whole, and its fetch, of which the head has come."""
    client = await ground.asked()
    fetch = ground.source.last
    fetch.answers(LASTING, TAG, RANGES, length=len(BODY))
    await turns()
    return client, fetch


async def stored(ground: Ground, stop: int) -> None:
    """The first bytes of the object are on disk, and nobody reads any more."""
    client = await ground.asked(fields={b"range": b"bytes=0-%d" % (stop - 1)})
    sends_all(ground.source.last, 0, stop)
    await ground.until(lambda: client.clean and not ground.fills.statistics().in_flight)


def test_a_whole_fetch_goes_on_in_slices_and_is_read_from_disk_by_the_next(tmp_path: Path) -> None:
    async def scenario(ground: Ground) -> None:
        client, fetch = await begun(ground)
        fetch.sends(BODY[:1000])
        assert client.told == "fwd=uri-miss; fwd-status=200; stored; ttl=60"
        fetch.sends(BODY[1000:], ends=True)
        await ground.until(lambda: client.clean)
        await ground.until(lambda: not ground.fills.statistics().in_flight)
        again = await ground.asked()
        await ground.until(lambda: again.clean)

        assert client.body == again.body == BODY
        assert again.told == "hit; ttl=60"
        assert len(ground.source.fetches) == 1

    on_ground(scenario, path=tmp_path)


def test_a_part_is_fetched_by_its_slices_and_the_rest_when_it_is_needed(tmp_path: Path) -> None:
    async def scenario(ground: Ground) -> None:
        client = await ground.asked(fields={b"range": b"bytes=%d-%d" % (SLICE + 10, 2 * SLICE - 1)})
        fetch = ground.source.last
        assert (fetch.want.span, fetch.want.tentative) == (Span(SLICE, 2 * SLICE), True)
        sends_all(fetch, SLICE, 2 * SLICE)
        await ground.until(lambda: client.clean)
        assert client.body == BODY[SLICE + 10 : 2 * SLICE]
        await ground.until(lambda: not ground.fills.statistics().in_flight)

        whole = await ground.asked()
        assert whole.status is None
        first = ground.source.last
        assert (first.want.span, first.want.etag, first.want.length) == (Span(0, SLICE), TAG[1], len(BODY))
        assert first.want.version_of == "fra"  # as the disk has kept it
        sends_all(first, 0, SLICE)
        await ground.until(lambda: len(ground.source.fetches) == 3)
        later = ground.source.last
        assert later.want.span == Span(2 * SLICE, (2 + RUN_SLICES) * SLICE)
        sends_all(later, 2 * SLICE, 6 * SLICE)
        await ground.until(lambda: len(ground.source.fetches) == 4)
        sends_all(ground.source.last, 6 * SLICE, 8 * SLICE)
        await ground.until(lambda: whole.clean)
        assert whole.body == BODY
        assert whole.told.startswith("fwd=partial")

    on_ground(scenario, path=tmp_path)


def test_a_slow_reader_holds_neither_memory_nor_the_fetch_of_a_fast_one(tmp_path: Path) -> None:
    async def scenario(ground: Ground) -> None:
        slow, fetch = await begun(ground)
        fast = await ground.asked()
        slow.ready = False
        for start in range(0, len(BODY), SLICE):
            fetch.sends(BODY[start : start + SLICE], ends=start + SLICE == len(BODY))
            await turns()
        await ground.until(lambda: fast.clean)
        assert fast.body == BODY
        await ground.until(lambda: ground.memory.used == 0)
        slow.takes_more()
        await ground.until(lambda: slow.clean)

        assert slow.body == BODY
        assert len(ground.source.fetches) == 1

    on_ground(scenario, path=tmp_path)


def test_a_reader_that_keeps_up_is_not_held_up_by_a_slow_one_at_the_same_place(tmp_path: Path) -> None:
    async def scenario(ground: Ground) -> None:
        slow, fetch = await begun(ground)
        slow.untaken = len(BODY)  # all lies in its client's kernel
        await ground.asked()
        fetch.sends(BODY[: len(BODY) // 2])
        await turns()
        assert not fetch.connection.is_held
        fetch.sends(BODY[len(BODY) // 2 :], ends=True)
        await turns()

    on_ground(scenario, path=tmp_path)


def test_a_fetch_that_is_far_ahead_of_its_readers_is_held_up_and_goes_on_when_they_come(tmp_path: Path) -> None:
    async def scenario(ground: Ground) -> None:
        slow, fetch = await begun(ground)
        slow.ready = False
        fetch.sends(BODY, ends=False)
        await turns()
        assert fetch.connection.is_held
        assert ground.memory.used <= (RUN_SLICES + 2) * SLICE  # what the client has taken, and the slice under way

        slow.takes_more()
        await ground.until(lambda: not fetch.connection.is_held)
        fetch.sends(b"", ends=True)
        await ground.until(lambda: slow.clean)
        assert slow.body == BODY

    on_ground(scenario, path=tmp_path)


def test_a_client_that_leaves_ends_its_fetch_but_for_the_slice_that_is_half_here(tmp_path: Path) -> None:
    async def scenario(ground: Ground) -> None:
        client, fetch = await begun(ground)
        fetch.sends(BODY[: SLICE + SLICE // 2 + 1])
        client.leaves()
        await turns()
        assert not fetch.connection.is_abandoned
        fetch.sends(BODY[SLICE + SLICE // 2 + 1 : 2 * SLICE])
        await ground.until(lambda: fetch.connection.is_abandoned)
        await ground.until(lambda: not ground.fills.statistics().in_flight)
        part = await ground.asked(fields={b"range": b"bytes=0-%d" % (2 * SLICE - 1)})
        await ground.until(lambda: part.clean)

        assert (part.body, part.told) == (BODY[: 2 * SLICE], "hit; ttl=60")

    on_ground(scenario, path=tmp_path, policy=FillPolicy(linger_seconds=0.0))


def test_a_fetch_that_breaks_off_continues_from_the_next_byte(tmp_path: Path) -> None:
    async def scenario(ground: Ground) -> None:
        client, fetch = await begun(ground)
        fetch.sends(BODY[: SLICE + 100])
        fetch.breaks_off()
        await turns()
        again = ground.source.last
        assert again.want.span == Span(SLICE + 100, len(BODY))
        sends_all(again, SLICE + 100, len(BODY))
        await ground.until(lambda: client.clean)

        assert client.body == BODY
        assert len(ground.source.fetches) == 2

    on_ground(scenario, path=tmp_path)


def test_a_fetch_that_breaks_off_again_and_again_is_not_continued_at_once(tmp_path: Path) -> None:
    async def scenario(ground: Ground) -> None:
        _, fetch = await begun(ground)
        at = 100
        fetch.sends(BODY[:at])
        for _ in range(MOST_IN_A_ROW):
            before = fetch
            fetch.breaks_off()
            await turns()
            fetch = ground.source.last
            assert fetch is not before
            stated = (b"content-range", b"bytes %d-%d/%d" % (at, len(BODY) - 1, len(BODY)))
            fetch.answers(TAG, LASTING, stated, status=206, length=len(BODY) - at)
            await turns()
            fetch.sends(BODY[at : at + 100])
            at += 100
        fetch.breaks_off()
        await turns()

        assert ground.source.last is fetch

    on_ground(scenario, path=tmp_path)


def test_what_cannot_be_continued_is_taken_up_at_its_slice(tmp_path: Path) -> None:
    async def scenario(ground: Ground) -> None:
        client, fetch = await begun(ground)
        fetch.sends(BODY[: SLICE + 100])
        fetch.breaks_off()
        await turns()
        ground.source.last.fails(Fault.SERVER)
        await ground.until(lambda: len(ground.source.fetches) == 3)
        again = ground.source.last
        assert again.want.span is not None and again.want.span.start == SLICE
        sends_all(again, SLICE, again.want.span.stop)
        await ground.until(lambda: len(ground.source.fetches) == 4)
        last = ground.source.last
        assert last.want.span is not None
        sends_all(last, last.want.span.start, last.want.span.stop)
        await ground.until(lambda: client.clean)

        assert client.body == BODY

    on_ground(scenario, path=tmp_path)


@pytest.mark.parametrize("sent", [0, SLICE + 100])
def test_another_version_is_never_put_behind_the_first(tmp_path: Path, sent: int) -> None:
    """Before the head was sent, it is fetched anew as a whole; after it, the answer ends uncleanly."""

    async def scenario(ground: Ground) -> None:
        await stored(ground, SLICE)
        client = await ground.asked(fields={} if sent else {b"range": b"bytes=%d-" % SLICE})
        if sent:
            await ground.until(lambda: len(client.body) == SLICE)
        await ground.until(lambda: len(ground.source.fetches) == 2)
        ground.source.last.fails(Fault.VALIDATOR)
        await turns()
        if sent:
            assert (client.clean, client.body) == (False, BODY[:SLICE])
        else:
            await ground.until(lambda: len(ground.source.fetches) == 3)
            ground.source.last.answers(LASTING, (b"etag", b'"2"'), body=b"n" * (SLICE + 5))
            await turns()
            assert (client.clean, client.status, client.body) == (True, 206, b"nnnnn")
        await ground.until(lambda: not ground.fills.statistics().in_flight)

    on_ground(scenario, path=tmp_path)
