"""The corpus at hypercorn: over HTTP/2, and over HTTP/1.1 what its parser leaves to us."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import unquote

import pytest

from tests.client import Answer, Client
from tests.doubles.faulty_origin import FaultyOrigin
from tests.edge.corpus import FORMS, FRAMING, HOSTS, METHODS, PATHS, REQUEST_LINES, STREAMS, UNKEYED, Case, Stream
from tests.edge.hypercorn_front import H2Client, hypercorn
from tests.node import Shield, settings_of

OURS = ["host", "accept-encoding", "user-agent", "via", "cdn-loop", "x-request-id"]
IN_CHUNKS = (
    *("GET in chunks", "GET in no chunks", "HEAD in no chunks", "GET in no chunks, the last", "a chunk of one byte"),
    "length and chunked",
)
CASES = [
    *FORMS,
    *HOSTS,
    *PATHS,
    *UNKEYED,
    *[case for case in METHODS if case.name.startswith(("CONNECT", "POST with"))],
    *[case for case in FRAMING if case.name in IN_CHUNKS],
    *[case for case in REQUEST_LINES if case.name in ("HTTP/1.2", "HTTP/2.0", "HTTP/3.0", "HTTP/9.9")],
]
"""Of the rest, h11 and hypercorn make what they make: they join folded lines, take bare LF and know only capitals."""


@pytest.fixture(scope="module")
def origin() -> Iterator[FaultyOrigin]:
    """Nothing of it may be stored, so that all that is asked can be seen here."""
    with FaultyOrigin() as made:
        asked = [*(case.asked for case in CASES), *(case.asked for case in STREAMS), ("/after",)]
        for target in {target for targets in asked for target in targets}:
            made.serves(unquote(target), b"", fields={"cache-control": "no-store"})
        yield made


@pytest.fixture(scope="module")
def port(origin: FaultyOrigin) -> Iterator[int]:
    with Shield(settings_of({"fra": origin})) as shield, hypercorn(shield) as made:
        yield made


@pytest.mark.parametrize("case", STREAMS, ids=lambda case: case.name)
def test_a_stream_is_answered_as_the_corpus_says_and_the_origin_sees_only_what_is_ours(
    case: Stream, port: int, origin: FaultyOrigin
) -> None:
    before = len(origin.requests)

    with H2Client(port) as client:
        status = _ask(client, case)
        if status is not None:
            assert client.get("/after").status == 200
    with H2Client(port) as client:
        assert client.get("/after").status == 200

    seen = origin.requests[before:]
    assert status == case.status
    assert [each.target for each in seen] == [*case.asked, *["/after"] * (1 if status is None else 2)]
    assert [[name for name, _ in each.fields] for each in seen] == [OURS] * len(seen)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_over_http_1_1_it_is_answered_as_at_our_own_front(case: Case, port: int, origin: FaultyOrigin) -> None:
    before = len(origin.requests)

    with Client(port) as client:
        client.send(case.raw)
        answer = client.read_head()
        if case.closes:
            client.read_body(_lowered(answer))
            assert client.at_end()
    with Client(port) as client:
        client.ask("/after")

    seen = origin.requests[before:]
    assert (answer.status,) == case.answers
    assert [each.target for each in seen] == [*case.asked, "/after"]
    assert [[name for name, _ in each.fields] for each in seen] == [OURS] * len(seen)


def _ask(client: H2Client, case: Stream) -> int | None:
    """None: the connection was closed."""
    try:
        return client.finish(client.ask_as_is(case.fields, body=case.body)).status
    except ConnectionError:
        return None


def _lowered(answer: Answer) -> Answer:
    answer.fields = [(name.lower(), value) for name, value in answer.fields]
    return answer
