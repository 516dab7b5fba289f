"""The corpus of requests over HTTP/2, at our own front: what no client may send ends its stream, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

import pytest

from tests.doubles.faulty_origin import FaultyOrigin
from tests.edge.corpus import STREAMS, Stream
from tests.edge.http2.conftest import Ground
from tests.edge.hypercorn_front import H2Client, Streamed
from tests.node import FakeClock

OURS = ["host", "accept-encoding", "user-agent", "via", "cdn-loop", "x-request-id"]
STRICTER = {"path in absolute-form", "method empty", "method with a target", "OPTIONS of everything"}
"""Answered by hypercorn's application; by RFC 9113 §8.3.1 the first three are malformed."""
ENDS_ALL = {"length in words", "length negative", "length too large for the body", "length too small for the body"}
"""h2 looks at lengths itself, and no more than twice the limit of a head is taken apart."""


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    with FaultyOrigin() as origin:
        for target in {target for case in STREAMS for target in case.asked} | {"/after"}:
            origin.serves(unquote(target), b"", fields={"cache-control": "no-store"})
        made = Ground(Path(tmp_path_factory.mktemp("tls")), origin, FakeClock())
        with made.node():
            yield made


@pytest.mark.parametrize("case", STREAMS, ids=lambda case: case.name)
def test_a_stream_is_answered_as_the_corpus_says_and_the_origin_sees_only_what_is_ours(
    case: Stream, ground: Ground
) -> None:
    before = len(ground.origin.requests)
    client = ground.client()

    found = _ask(client, case)
    if case.name not in (*ENDS_ALL, "field very huge"):
        assert client.get("/after").status == 200
    assert ground.client().get("/after").status == 200

    seen = ground.origin.requests[before:]
    if case.status in (None, 400) or case.name in STRICTER:
        assert found is None or found.status in (0, 400, 405)
        assert found is None or found.status or found.reset == 1
        assert {each.target for each in seen} == {"/after"}
    else:
        assert found is not None
        assert found.status == case.status
        assert [each.target for each in seen] == [*case.asked, "/after", "/after"]
    assert [[name for name, _ in each.fields] for each in seen] == [OURS] * len(seen)


def _ask(client: H2Client, case: Stream) -> Streamed | None:
    """None: the connection was closed."""
    try:
        return client.finish(client.ask_as_is(case.fields, body=case.body))
    except ConnectionError:
        return None
