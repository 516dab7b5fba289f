"""Requests and the fills that they share, without a socket: who waits, who goes on, and what each is sent."""

from __future__ import annotations

import pytest

from shield.errors import Fault
from shield.fill.means import FillPolicy
from shield.messages import Field
from shield.rules.freshness import FreshnessRules
from shield.rules.purging import MarkKind, PurgeMark
from shield.rules.routes import Route
from tests.fill.ground import MIB, Ground, on_ground, turns

LASTING = (b"cache-control", b"max-age=60")
TAG = (b"etag", b'"1"')
NO_STORE = (b"cache-control", b"no-store")
GRACE = Route("default", origins=("fra",), freshness=FreshnessRules(grace=0.0, error_grace=600.0))


# sharing


def test_all_who_ask_before_the_head_share_one_fetch_and_the_next_is_a_hit() -> None:
    async def scenario(ground: Ground) -> None:
        clients = [await ground.asked() for _ in range(3)]
        ground.source.last.answers(LASTING, body=b"12345")
        await turns()
        hit = await ground.asked()

        assert len(ground.source.fetches) == 1
        assert [client.body for client in (*clients, hit)] == [b"12345"] * 4
        assert [client.told for client in clients] == [
            "fwd=uri-miss; fwd-status=200; stored; ttl=60",
            *["fwd=uri-miss; fwd-status=200; stored; collapsed; ttl=60"] * 2,
        ]
        assert hit.told == "hit; ttl=60"
        assert hit.outcome is not None and hit.outcome.hit

    on_ground(scenario)


def test_a_follower_that_joins_within_the_body_is_sent_it_from_its_beginning() -> None:
    async def scenario(ground: Ground) -> None:
        leader = await ground.asked()
        fetch = ground.source.last
        fetch.answers(LASTING, length=10)
        await turns()
        fetch.sends(b"01234")
        follower = await ground.asked()
        part = await ground.asked(fields={b"range": b"bytes=3-6"})

        assert (leader.body, follower.body, part.body) == (b"01234", b"01234", b"34")
        fetch.sends(b"56789", ends=True)
        assert (leader.body, follower.body, part.body) == (b"0123456789", b"0123456789", b"3456")
        assert (leader.clean, follower.clean, part.clean) == (True, True, True)
        assert len(ground.source.fetches) == 1

    on_ground(scenario)


@pytest.mark.parametrize("sent", [None, b"", b"0123"])
def test_the_fetch_goes_on_for_followers_when_its_leader_leaves(sent: bytes | None) -> None:
    async def scenario(ground: Ground) -> None:
        leader, follower = await ground.asked(), await ground.asked()
        fetch = ground.source.last
        if sent is not None:
            fetch.answers(LASTING, length=10)
            await turns()
            fetch.sends(sent)
        leader.leaves()
        if sent is None:
            fetch.answers(LASTING, length=10)
            await turns()
        fetch.sends(b"0123456789"[len(sent or b"") :], ends=True)

        assert (follower.body, follower.clean) == (b"0123456789", True)
        assert (leader.clean, fetch.connection.is_abandoned) == (None, False)

    on_ground(scenario)


@pytest.mark.parametrize(
    ("control", "received", "goes_on"),
    [(LASTING, 3 * MIB, False), (LASTING, 5 * MIB, True), (NO_STORE, 5 * MIB, False)],
)
def test_what_nobody_reads_goes_on_if_it_is_stored_and_most_of_it_is_paid_for(
    control: tuple[bytes, bytes], received: int, goes_on: bool
) -> None:
    async def scenario(ground: Ground) -> None:
        client = await ground.asked()
        fetch = ground.source.last
        fetch.answers(control, length=7 * MIB)
        await turns()
        fetch.sends(bytes(received))
        client.leaves()
        await turns()

        assert fetch.connection.is_abandoned is not goes_on

    on_ground(scenario, policy=FillPolicy(linger_seconds=0.0))


# what can't be stored


def test_what_cannot_be_shared_is_for_its_leader_and_the_next_need_not_wait() -> None:
    async def scenario(ground: Ground) -> None:
        leader, follower = await ground.asked(), await ground.asked()
        ground.source.fetches[0].answers(NO_STORE, body=b"first")
        await turns()
        assert (leader.body, follower.status) == (b"first", None)
        assert leader.told == "fwd=uri-miss; fwd-status=200; detail=no-store"
        ground.source.fetches[1].answers(NO_STORE, body=b"second")
        await turns()
        assert follower.body == b"second"

        others = [await ground.asked() for _ in range(2)]
        assert len(ground.source.fetches) == 4  # known as hit-for-miss: each has its own
        for number, fetch in enumerate(ground.source.fetches[2:]):
            fetch.answers(LASTING, body=b"%d" % number)
            await turns()
        assert [client.body for client in others] == [b"0", b"1"]
        assert (await ground.asked()).body == b"1"
        assert ground.fills.statistics().hit_for_miss == 0

    on_ground(scenario)


def test_hit_for_miss_is_forgotten_after_its_time() -> None:
    async def scenario(ground: Ground) -> None:
        await ground.asked()
        ground.source.last.answers(NO_STORE, body=b"first")
        await turns()
        ground.clock.advance(11.0)
        clients = [await ground.asked() for _ in range(2)]
        assert len(ground.source.fetches) == 2
        for client in clients:
            client.leaves()

    on_ground(scenario, policy=FillPolicy(linger_seconds=0.0, hit_for_miss_seconds=10.0))


def test_a_window_holds_the_origin_to_its_readers_pace() -> None:
    async def scenario(ground: Ground) -> None:
        client = await ground.asked()
        fetch = ground.source.last
        fetch.answers(NO_STORE, length=3 * MIB)
        await turns()
        client.ready = False
        fetch.sends(bytes(MIB))
        fetch.sends(bytes(MIB))
        assert fetch.connection.is_held

        client.takes_more()
        assert not fetch.connection.is_held
        fetch.sends(bytes(MIB), ends=True)
        assert (len(client.body), client.clean) == (3 * MIB, True)
        assert ground.memory.used == 0

    on_ground(scenario)


def test_a_body_for_which_there_is_no_memory_streams_through_a_window_and_is_not_stored() -> None:
    async def scenario(ground: Ground) -> None:
        client = await ground.asked()
        ground.source.last.answers(LASTING, body=bytes(MIB))
        await turns()
        again = await ground.asked()

        assert (len(client.body), client.clean, again.status) == (MIB, True, None)
        again.leaves()

    on_ground(scenario, memory=MIB, policy=FillPolicy(linger_seconds=0.0))


# failures


def test_before_the_head_a_failure_gives_all_what_is_stale_or_an_honest_error() -> None:
    async def scenario(ground: Ground) -> None:
        nothing = [await ground.asked() for _ in range(2)]
        ground.source.last.fails()
        await turns()
        assert [client.status for client in nothing] == [503, 503]
        assert nothing[0].told == 'fwd=uri-miss; detail="fra=connect"'

        await ground.asked()
        ground.source.last.answers(LASTING, TAG, body=b"old")
        await turns()
        ground.clock.advance(100.0)
        stale = [await ground.asked() for _ in range(2)]
        ground.source.last.fails(Fault.CONNECT_TIMEOUT)
        await turns()
        assert [(client.status, client.body) for client in stale] == [(200, b"old")] * 2
        assert stale[0].told.startswith("fwd=stale; ttl=-40; detail=")
        ground.clock.advance(1000.0)
        late = await ground.asked()
        ground.source.last.fails(Fault.CONNECT_TIMEOUT)
        await turns()
        assert late.status == 504

    on_ground(scenario, route=GRACE)


def test_an_origins_trouble_while_it_validates_leaves_what_is_stored() -> None:
    async def scenario(ground: Ground) -> None:
        await ground.asked()
        ground.source.last.answers(LASTING, TAG, body=b"old")
        await turns()
        ground.clock.advance(100.0)
        client = await ground.asked()
        assert ground.source.last.fields[b"if-none-match"] == TAG[1]
        ground.source.last.answers(status=503, body=b"trouble")
        await turns()

        assert (client.status, client.body) == (200, b"old")
        assert not await _is_hit(ground)

    on_ground(scenario, route=GRACE)


def test_a_304_brings_what_is_stored_back_for_all_who_wait() -> None:
    async def scenario(ground: Ground) -> None:
        await ground.asked()
        ground.source.last.answers(LASTING, TAG, body=b"old")
        await turns()
        ground.clock.advance(100.0)
        clients = [await ground.asked() for _ in range(2)]
        ground.source.last.answers(LASTING, TAG, (b"x-a", b"new"), status=304, body=b"")
        await turns()

        assert [(client.status, client.body) for client in clients] == [(200, b"old")] * 2
        assert b"x-a: new" in clients[0].head
        assert clients[0].told == "fwd=stale; fwd-status=304; stored; ttl=60"
        assert await _is_hit(ground)

    on_ground(scenario, route=GRACE)


def test_what_is_validated_and_is_something_else_by_now_is_asked_for_as_a_whole() -> None:
    async def scenario(ground: Ground) -> None:
        await ground.asked()
        ground.source.last.answers(LASTING, TAG, body=b"old")
        await turns()
        ground.clock.advance(100.0)
        for answers in (True, False):
            client = await ground.asked()
            if answers:
                ground.source.last.answers((b"etag", b'"2"'), status=304, body=b"")
            else:
                ground.source.last.fails(Fault.VALIDATOR)
            await turns()
            assert ground.source.last.want.validators == ()
            ground.source.last.answers(LASTING, TAG, body=b"new")
            await turns()
            assert client.body == b"new"
            ground.clock.advance(100.0)

    on_ground(scenario, route=GRACE)


@pytest.mark.parametrize("how", ["breaks off", "is too long", "is too short"])
def test_a_body_that_is_not_what_was_stated_ends_uncleanly_and_is_not_stored(how: str) -> None:
    async def scenario(ground: Ground) -> None:
        clients = [await ground.asked() for _ in range(2)]
        fetch = ground.source.last
        fetch.answers(LASTING, length=10)
        await turns()
        fetch.sends(b"0123")
        if how == "breaks off":
            fetch.breaks_off()
        else:
            fetch.sends(b"456" if how == "is too short" else b"456789x", ends=True)

        assert [client.clean for client in clients] == [False, False]
        assert ground.fills.statistics().broken == 1
        assert not await _is_hit(ground)

    on_ground(scenario)


def test_what_no_origin_has_is_believed_for_a_while() -> None:
    async def scenario(ground: Ground) -> None:
        client = await ground.asked()
        ground.source.last.is_absent()
        await turns()
        assert client.status == 404
        assert await _is_hit(ground)
        ground.clock.advance(10.0)
        assert not await _is_hit(ground)

    on_ground(scenario)


def test_what_was_purged_meanwhile_does_not_come_back() -> None:
    async def scenario(ground: Ground) -> None:
        client = await ground.asked()
        fetch = ground.source.last
        fetch.answers(LASTING, length=4)
        await turns()
        ground.store.purge([fetch.key], lambda: None)
        late = await ground.asked()
        fetch.sends(b"old!", ends=True)
        ground.source.last.answers(LASTING, body=b"new!")
        await turns()

        assert (client.body, late.body) == (b"old!", b"new!")
        assert (await ground.asked()).body == b"new!"

    on_ground(scenario)


RED = (b"cache-tag", b"red, cats")
BY_PREFIX, BY_TAG = PurgeMark(9, MarkKind.PREFIX, b"/"), PurgeMark(9, MarkKind.TAG, b"red")
BY_OTHER_TAG = PurgeMark(9, MarkKind.TAG, b"blue")


@pytest.mark.parametrize("is_begun", [False, True], ids=["before its head", "within its body"])
@pytest.mark.parametrize("mark", [BY_PREFIX, BY_TAG], ids=["prefix", "tag"])
def test_a_fill_from_before_a_mark_is_neither_joined_nor_stored(mark: PurgeMark, is_begun: bool) -> None:
    async def scenario(ground: Ground) -> None:
        client = await ground.asked()
        fetch = ground.source.last
        if is_begun:
            fetch.answers(LASTING, RED, length=4)
            await turns()
        ground.marked(mark)
        late = await ground.asked()
        if not is_begun:
            fetch.answers(LASTING, RED, length=4)
            await turns()
        fetch.sends(b"old!", ends=True)
        ground.source.last.answers(LASTING, RED, body=b"new!")
        await turns()

        assert (client.body, late.body) == (b"old!", b"new!")
        assert (await ground.asked()).body == b"new!"
        assert await _is_hit(ground)

    on_ground(scenario)


def test_a_fill_whose_tags_turn_out_to_be_others_is_stored_and_joined_again_once_that_is_known() -> None:
    async def scenario(ground: Ground) -> None:
        client = await ground.asked()
        ground.marked(BY_OTHER_TAG)
        fetch = ground.source.last
        fetch.answers(LASTING, RED, length=4)
        await turns()
        late = await ground.asked()
        fetch.sends(b"body", ends=True)

        assert (client.body, late.body, len(ground.source.fetches)) == (b"body", b"body", 1)
        assert await _is_hit(ground)

    on_ground(scenario)


@pytest.mark.parametrize("said", [(), ((b"cache-tag", b"blue"),)], ids=["the same tags", "others"])
def test_an_entry_that_is_purged_by_its_tag_while_it_is_validated_does_not_come_back(said: tuple[Field, ...]) -> None:
    async def scenario(ground: Ground) -> None:
        await ground.asked()
        ground.source.last.answers(LASTING, RED, TAG, body=b"old!")
        await turns()
        ground.clock.advance(61.0)
        await ground.asked()
        ground.marked(BY_TAG)
        ground.source.last.answers(LASTING, TAG, *said, status=304, body=b"")
        await turns()

        assert not await _is_hit(ground)

    on_ground(scenario)


async def _is_hit(ground: Ground) -> bool:
    """Whether the next request is one; if not, it leaves."""
    client = await ground.asked()
    if client.clean is None:
        client.leaves()
        return False
    return client.told.startswith("hit")


def test_what_must_not_be_stored_takes_what_was_stored_with_it() -> None:
    async def scenario(ground: Ground) -> None:
        await ground.asked()
        ground.source.last.answers(LASTING, TAG, body=b"old")
        await turns()
        ground.clock.advance(100.0)
        await ground.asked()
        ground.source.last.answers(NO_STORE, body=b"new")
        await turns()
        down = await ground.asked()
        ground.source.last.fails()
        await turns()

        assert down.status == 503

    on_ground(scenario, route=GRACE)
