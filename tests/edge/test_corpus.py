"""Every request of the corpus: its answers, its end, and what the origin saw of it; in whatever pieces it comes."""

from __future__ import annotations

import random
from collections.abc import Iterator
from urllib.parse import unquote

import pytest

from tests.client import Client, request
from tests.doubles.faulty_origin import FaultyOrigin
from tests.edge.corpus import CASES, Case
from tests.edge.wire import Outcome, said
from tests.node import Shield, settings_of

GOOD, SMUGGLED = request("/after"), request("/smuggled")
OURS = ["host", "accept-encoding", "user-agent", "via", "cdn-loop", "x-request-id"]
TARGETS = sorted({*(target for case in CASES for target in case.asked), "/smuggled", "/after"})
SHORT = 400  # bytes


def _origin(*, stored: bool) -> FaultyOrigin:
    made = FaultyOrigin()
    fields = {"cache-control": "max-age=60" if stored else "no-store"}
    for target in TARGETS:
        made.serves(unquote(target), b"", fields=fields)
    return made


@pytest.fixture(scope="module")
def origin() -> Iterator[FaultyOrigin]:
    """Nothing of it may be stored, so that all that is asked can be seen here."""
    with _origin(stored=False) as made:
        yield made


@pytest.fixture(scope="module")
def shield(origin: FaultyOrigin) -> Iterator[Shield]:
    with Shield(settings_of({"fra": origin})) as made:
        yield made


@pytest.fixture(scope="module")
def warm() -> Iterator[Shield]:
    """A node that has everything, so that all is answered at once."""
    with _origin(stored=True) as origin, Shield(settings_of({"fra": origin})) as made:
        for target in TARGETS:
            made.get(target)
        yield made


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_request_is_answered_as_the_corpus_says_and_the_origin_sees_only_what_is_ours(
    case: Case, shield: Shield, origin: FaultyOrigin, caplog: pytest.LogCaptureFixture
) -> None:
    before = len(origin.requests)

    with shield.client() as client:
        answers = _answers(client, case)
        _assert_state(client, case)
    after = shield.get("/after")  # also a moment for what might have slipped through

    seen = origin.requests[before:]
    assert answers == case.answers
    assert after.status == 200
    assert [each.target for each in seen] == [*case.asked, *([] if case.closes else ["/after"]), "/after"]
    assert {each.method for each in seen} <= {"GET", "HEAD"}
    assert [[name for name, _ in each.fields] for each in seen] == [OURS] * len(seen)
    assert not caplog.records


@pytest.mark.parametrize("before", [(), (GOOD,)], ids=["first", "later"])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_it_makes_no_difference_in_which_pieces_a_request_comes(
    case: Case, before: tuple[bytes, ...], warm: Shield
) -> None:
    raw = case.raw + SMUGGLED
    pick = random.Random(case.name)

    def outcomes() -> Iterator[Outcome]:
        for _ in range(5):
            yield said(warm, *before, *_pieces(raw, sorted(pick.choices(range(len(raw)), k=pick.randint(1, 12)))))
        if len(raw) <= SHORT:
            yield said(warm, *before, *_pieces(raw, list(range(1, len(raw)))))
            for at in range(1, len(raw)):
                yield said(warm, *before, raw[:at], raw[at:])

    good = warm.call(lambda: said(warm, *before)).answers
    alone = warm.call(lambda: said(warm, raw))
    whole = warm.call(lambda: said(warm, *before, raw))
    others = warm.call(lambda: set(outcomes()))

    assert others == {whole}
    assert whole == Outcome(good + alone.answers, case.closes)
    assert alone.answers.count(b"HTTP/1.1 ") == len(case.answers) + (not case.closes)


def _answers(client: Client, case: Case) -> tuple[int, ...]:
    client.send(case.raw)
    method = "HEAD" if case.raw.startswith(b"HEAD ") else "GET"
    answers = [client.read(method) for _ in case.answers]
    last = answers[-1]
    assert all(answer.clean for answer in answers)
    assert [answer.get("connection") for answer in answers[:-1]] == [None] * (len(answers) - 1)
    assert last.get("connection") == ("close" if case.closes else None)
    assert (last.get("allow") == "GET, HEAD") is (last.status == 405)
    return tuple(answer.status for answer in answers)


def _assert_state(client: Client, case: Case) -> None:
    """The connection goes on, or is at its end whatever more is sent."""
    if case.closes:
        try:
            client.send(SMUGGLED)
        except ConnectionError:
            return
        assert client.at_end()
    else:
        assert client.ask("/after").status == 200


def _pieces(raw: bytes, cuts: list[int]) -> list[bytes]:
    return [raw[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(raw)], strict=True) if begin != end]
