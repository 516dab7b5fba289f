"""Fetches by callbacks: they need no task as long as all goes well, and one goes on with them when it doesn't."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Iterator
from typing import Any

import pytest

from shield.origin.origin import Origin
from shield.origin.plain import PlainFetch
from shield.origin.want import Absent, Failed, Fetched, Want
from tests.client import request
from tests.doubles.faults import preceded_by
from tests.doubles.faulty_origin import FaultyOrigin
from tests.doubles.steps import Close, Wait
from tests.node import Shield


class Taking:
    """Takes the result of one fetch."""

    def __init__(self) -> None:
        self.results: list[Fetched | Absent | Failed] = []
        self.bugs: list[Exception] = []

    def fetched(self, result: Fetched | Absent | Failed) -> None:
        self.results.append(result)

    def failed_by_bug(self, error: Exception) -> None:
        self.bugs.append(error)

    @property
    def is_told(self) -> bool:
        return bool(self.results or self.bugs)


@pytest.fixture
def pair(pair: Shield, origin: FaultyOrigin, replica: FaultyOrigin) -> Iterator[Shield]:
    """A node with a primary and a replica, to each of which it has kept a connection; nobody judges them."""
    pair.run(pair.node.origins.conductor.close())
    for each, name in ((origin, "fra"), (replica, "iad")):
        each.serves("/kept", b"kept", lifetime=60)
        each.serves("/a", name.encode(), lifetime=60)
        pair.run(_read(pair, name))
    yield pair
    pair.wait_for(lambda: not any(is_used(each) for each in pair.node.origins.all()))
    assert pair.call(lambda: pair.node.origins._lot.users) == 0


async def _read(pair: Shield, name: str) -> None:
    result = await pair.node.origins.fetch((name,), Want(b"GET", b"/kept"))
    assert isinstance(result, Fetched)
    await result.response.read(10)


def is_used(origin: Origin) -> bool:
    return bool(origin.pool.in_use or origin.gate.used or origin.waiting)


def begun(pair: Shield, taking: Taking, *names: str) -> PlainFetch:
    fetch = pair.call(lambda: pair.node.origins.begin(names or ("fra", "iad"), Want(b"GET", b"/a"), taking))
    assert fetch is not None
    return fetch


def outcome(pair: Shield, taking: Taking) -> str | int:
    """The origin of the object, or the status of its absence, once the taker was told; the body is read."""
    pair.wait_for(lambda: taking.is_told)
    (result,) = taking.results
    if isinstance(result, Fetched):
        assert pair.run(result.response.read(10)) == result.origin.encode()
        return result.origin
    assert isinstance(result, Absent)
    return result.status


def test_a_miss_on_a_kept_connection_takes_no_task(pair: Shield) -> None:
    made: list[Any] = []

    def factory(loop: asyncio.AbstractEventLoop, work: Any, **more: Any) -> asyncio.Task[Any]:
        made.append(work)
        return asyncio.Task(work, loop=loop, **more)

    loop = pair.call(asyncio.get_running_loop)
    with pair.client() as client:
        client.ask("/kept", method="PUT")  # refused: it is connected
        pair.call(lambda: loop.set_task_factory(factory))
        client.send(request("/a"))
        answer = client.read()
        pair.call(lambda: loop.set_task_factory(None))

    assert answer.body == b"fra"
    assert [work for work in made if "Shield." not in repr(work)] == []


def test_a_late_one_goes_on_in_a_task_beside_the_next_origin(pair: Shield, origin: FaultyOrigin) -> None:
    gate, taking = origin.gate(), Taking()
    origin.spoils("/a", preceded_by(Wait(gate)))

    pair.node.origins._lot.deadline_seconds = 1.0  # half of it is the most that one origin is waited for alone
    begun(pair, taking)

    assert outcome(pair, taking) == "iad"
    gate.open()


def test_whose_response_comes_while_its_task_is_about_to_begin_is_told_once(pair: Shield) -> None:
    taking = Taking()

    def late_and_there() -> None:
        fetch = pair.node.origins.begin(("fra", "iad"), Want(b"GET", b"/a"), taking)
        assert fetch is not None
        connection = fetch.attempt.connection
        fetch._go_on()
        connection.data_received(b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\nconnection: close\r\n\r\nfra")

    pair.call(late_and_there)

    assert outcome(pair, taking) == "fra"


def test_a_suspect_origin_is_not_waited_for_alone(pair: Shield, origin: FaultyOrigin) -> None:
    gate, taking = origin.gate(), Taking()
    origin.spoils("/a", preceded_by(Wait(gate)))
    pair.node.origins._records.frozen_at = 1.0  # so that it would be waited for as long as can be
    pair.node.origins._lot.deadline_seconds = 600.0

    begun(pair, taking)
    gate.reached()

    def suspect() -> None:
        for each in list(pair.node.origins.get("fra").waiting):
            each.suspect("fra")

    pair.call(suspect)

    assert outcome(pair, taking) == "iad"
    pair.node.origins._records.frozen_at = 0.0
    gate.open()


def test_an_object_that_the_first_lacks_comes_from_the_next(pair: Shield, origin: FaultyOrigin) -> None:
    taking = Taking()
    origin.absent("/a")

    begun(pair, taking)

    assert outcome(pair, taking) == "iad"


def test_what_no_origin_has_is_absent(pair: Shield, origin: FaultyOrigin) -> None:
    taking = Taking()
    origin.absent("/a")

    begun(pair, taking, "fra")

    assert outcome(pair, taking) == 404


def test_one_on_a_connection_that_was_closed_is_sent_again(pair: Shield, origin: FaultyOrigin) -> None:
    taking = Taking()
    origin.spoils("/a", preceded_by(Close()), times=1)

    begun(pair, taking, "fra")

    assert outcome(pair, taking) == "fra"


@pytest.mark.parametrize("turns", [None, 0, 1, 5])
def test_one_that_is_cancelled_leaves_nothing_and_tells_nothing(
    pair: Shield, origin: FaultyOrigin, turns: int | None
) -> None:
    """None: while it is plain, else so many turns of the loop after it has become a task."""
    gate, taking = origin.gate(), Taking()
    origin.spoils("/a", preceded_by(Wait(gate)))
    fetch = begun(pair, taking)
    gate.reached()

    async def cancel() -> None:
        if turns is not None:
            fetch._go_on()
            for _ in range(turns):
                await asyncio.sleep(0)
        fetch.cancel()

    pair.run(cancel())
    gate.open()
    pair.wait_for(lambda: not any(is_used(each) for each in pair.node.origins.all()))

    assert not taking.is_told


def test_a_connection_that_was_lost_leaves_no_reference_cycle(pair: Shield, origin: FaultyOrigin) -> None:
    taking = Taking()
    origin.spoils("/a", preceded_by(Close()), times=1)
    pair.call(gc.collect)
    gc.disable()
    try:
        begun(pair, taking, "fra")
        assert outcome(pair, taking) == "fra"
        taking.results.clear()
        pair.wait_for(lambda: pair.node.origins.get("fra").pool.statistics().idle == 1)

        gc.set_debug(gc.DEBUG_SAVEALL)
        pair.call(gc.collect)
        left = [type(each).__qualname__ for each in gc.garbage if type(each).__module__.startswith("shield.")]
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()

    assert left == []


def test_a_bug_ends_the_fetch(pair: Shield) -> None:
    taking, fra = Taking(), pair.node.origins.get("fra")

    def fails() -> float:
        raise ZeroDivisionError

    def begin() -> None:
        assert pair.node.origins.begin(("fra",), Want(b"GET", b"/a"), taking) is not None
        fra.clock = fails

    pair.call(begin)
    pair.wait_for(lambda: taking.is_told)

    assert [type(bug) for bug in taking.bugs] == [ZeroDivisionError]


def test_what_would_have_to_wait_takes_a_task(pair: Shield) -> None:
    origins = pair.node.origins

    def begins(want: Want) -> bool:
        fetch = origins.begin(("fra",), want, Taking())
        if fetch is not None:
            fetch.cancel()
        return fetch is not None

    assert not pair.call(lambda: begins(Want(b"GET", b"/a", fresh=True)))
    assert not pair.call(lambda: begins(Want(b"GET", b"/a", resumes="fra")))
    assert pair.call(lambda: begins(Want(b"GET", b"/a")))
    assert not pair.call(lambda: begins(Want(b"GET", b"/a")))  # no connection is kept any more
