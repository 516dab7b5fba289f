"""What one worker says to another, and how it is read."""

from __future__ import annotations

import asyncio

import pytest

from shield.errors import Fault, OriginError
from shield.messages import Fields, Request, ResponseHead
from shield.origin.response import Response
from shield.origin.want import Absent, Failed, Fetched, Keeping, Want
from shield.outcome import Forward, Outcome
from shield.peers import words
from shield.rules.ranges import Span
from tests.origin.leg import Taker


class Nowhere:
    """The connection of an answer that is all here."""

    def hold(self) -> None: ...

    def proceed(self) -> None: ...

    def abandon(self) -> None: ...

    def unread(self) -> int:
        return 0


def answer(status: int, *fields: tuple[bytes, bytes]) -> Response:
    async def made() -> Response:
        response = Response(Nowhere(), 0)
        response.arrive(ResponseHead(status, fields, None))
        return response

    return asyncio.run(made())


def said(status: int, outcome: Outcome) -> bytes:
    name, _, value = words.outcome_line(status, outcome).removesuffix(b"\r\n").partition(b": ")
    assert name == words.FIELD
    return value


def test_an_owner_judges_with_the_credentials_of_who_asked() -> None:
    told = Request(b"GET", b"/a", [], {b"authorization": b"Bearer x"})

    assert words.judged_by(told) == ((b"authorization", b"Bearer x"),)


def test_fields_that_are_forwarded_in_any_case_are_not_said_twice() -> None:
    told = Request(b"GET", b"/a", [], {b"authorization": b"Bearer x", b"pragma": b"no-cache"})

    assert words.judged_by(told, [(b"authorization", b"Bearer x")]) == ((b"pragma", b"no-cache"),)


@pytest.mark.parametrize(
    ("status", "outcome", "word"),
    [
        (200, Outcome(hit=True, ttl=5), b"hit"),
        (200, Outcome(forward=Forward.STALE, ttl=-5, detail="fra=connect"), b"hit"),
        (200, Outcome(forward=Forward.URI_MISS, forward_status=200, origin="fra"), b"from fra"),
        (200, Outcome(forward=Forward.URI_MISS, forward_status=200, origin="fra", attempts=3), b"from fra 3"),
        (503, Outcome(forward=Forward.URI_MISS, detail="fra=server iad=reset"), b"failed fra=server iad=reset"),
        (421, Outcome(detail="not-the-owner"), b"refused"),
    ],
)
def test_what_became_of_a_request_is_one_word(status: int, outcome: Outcome, word: bytes) -> None:
    assert said(status, outcome) == word


@pytest.mark.parametrize(("word", "origin", "attempts"), [(b"from fra", "fra", 1), (b"from fra 3", "fra", 3)])
def test_the_number_of_attempts_is_the_owners(word: bytes, origin: str, attempts: int) -> None:
    came = words.read("worker-1", Want(b"GET", b"/a"), answer(200), word)

    assert isinstance(came, Fetched)
    assert (came.origin, came.attempts) == (origin, attempts)


def test_a_failure_is_the_one_that_the_owner_had() -> None:
    failed = words.read("worker-1", Want(b"GET", b"/a"), answer(503), b"failed fra=server iad=reset")

    assert isinstance(failed, Failed)
    assert [(error.origin, error.fault) for error in failed.failures] == [("fra", Fault.SERVER), ("iad", Fault.RESET)]
    assert not failed.is_late


def test_a_failure_for_a_reason_unknown_here_is_the_owner_s_own() -> None:
    failed = words.read("worker-1", Want(b"GET", b"/a"), answer(503), b"failed fra=unheard-of")

    assert isinstance(failed, Failed)
    assert [(error.origin, error.fault) for error in failed.failures] == [("worker-1", Fault.SERVER)]


def test_nothing_but_the_deadline_is_a_late_failure() -> None:
    failed = words.read("worker-1", Want(b"GET", b"/a"), answer(504), b"failed deadline")

    assert failed == Failed((), is_late=True)


def test_an_answer_names_its_origin() -> None:
    came = words.read("worker-1", Want(b"GET", b"/a"), answer(200), b"from fra")

    assert isinstance(came, Fetched)
    assert (came.origin, came.by_peer, came.was_hit) == ("fra", True, False)


def test_what_another_worker_has_is_kept_in_ram_only_since_that_one_puts_it_on_disk() -> None:
    for said in (b"hit", b"from fra"):
        came = words.read("worker-1", Want(b"GET", b"/a"), answer(200), said)
        assert isinstance(came, Fetched) and came.keep is Keeping.MEMORY


def test_a_part_of_what_is_gone_is_absent_and_of_another_version_refused() -> None:
    want = Want(b"GET", b"/a", span=Span(0, 10), etag=b'"a"')

    assert words.read("worker-1", want, answer(404), b"from fra") == Absent(404)
    with pytest.raises(OriginError) as raised:
        words.read("worker-1", want, answer(412), b"hit")
    assert raised.value.fault is Fault.VALIDATOR


def test_an_origin_s_own_error_is_its_answer_and_in_the_place_of_a_part_its_failure() -> None:
    whole = words.read("worker-1", Want(b"GET", b"/a"), answer(500), b"from fra")
    part = words.read("worker-1", Want(b"GET", b"/a", span=Span(0, 10)), answer(500), b"from fra")

    assert isinstance(whole, Fetched)
    assert isinstance(part, Failed)
    assert [(error.origin, error.fault) for error in part.failures] == [("fra", Fault.SERVER)]


@pytest.mark.parametrize("word", [b"", b"refused"])
def test_an_answer_that_says_nothing_or_no_is_of_no_use(word: bytes) -> None:
    with pytest.raises(OriginError) as raised:
        words.read("worker-1", Want(b"GET", b"/a"), answer(200), word)

    assert raised.value.fault is Fault.REFUSED


def test_what_an_owner_added_goes_no_further() -> None:
    fields: Fields = (
        (b"cache-status", b"upstream; hit"),
        (b"cache-status", b"test-1; fwd=uri-miss"),
        (b"shield-peer", b"failed by-the-origin"),
        (b"shield-peer", b"from fra"),
    )
    response = answer(200, *fields)

    assert words.strip_outcome(response, b"test-1; ") == b"from fra"
    assert response.head.fields == ((b"cache-status", b"upstream; hit"),)
    response.start(Taker())
