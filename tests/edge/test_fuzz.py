"""Mutated requests: each has one reading, and the origin sees only requests of ours."""

from __future__ import annotations

import random
import re
import socket
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shield.rules.key import KeyRules, canonical_path
from tests.client import Client, request
from tests.depth import tries
from tests.doubles.faulty_origin import FaultyOrigin
from tests.edge.corpus import CASES
from tests.edge.wire import said
from tests.node import Shield, settings_of

OURS = ["host", "accept-encoding", "user-agent", "via", "cdn-loop", "x-request-id"]
TARGETS = ["/a", "/b", "/smuggled"]
KEY_RULES = KeyRules(duplicate_slashes="keep", encoded_slash="keep", spelling="uri")  # those of a plain web server

SEEDS = [case.raw for case in CASES if set(case.answers) == {200} and len(case.raw) < 400]
TOKENS = [
    *(
        b"\r\n",
        b"\n",
        b"\r",
        b"\r\n\r\n",
        b"\r\n ",
        b"\r\n\t",
        b" ",
        b"\t",
        b"\0",
        b":",
        b",",
        b";",
        b"#",
        b"?",
        b"%",
    ),
    *(b"\x0b", b"\x7f", b"\x80", b"\xff", b"GET ", b"HEAD ", b"POST ", b" HTTP/1.1\r\n", b" HTTP/1.0", b"HTTP/2.0"),
    *(
        b"Host: x\r\n",
        b"Content-Length: 1\r\n",
        b"Content-Length: 0\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"0\r\n\r\n",
    ),
    *(b"Connection: close\r\n", b"Connection: upgrade\r\nUpgrade: x\r\n", b"Expect: x\r\n", b"Range: bytes=0-0\r\n"),
    *(b"http://cdn.example", b"//", b"/..", b"%2f", b"%00", b"*", request("/smuggled"), b"x" * 50),
]
CHANGES = st.lists(
    st.tuples(
        st.sampled_from(["insert", "delete", "replace", "repeat", "cut"]),
        st.integers(0, 400),
        st.one_of(st.sampled_from(TOKENS), st.binary(min_size=1, max_size=3)),
    ),
    max_size=4,
)
BROKEN = st.builds(
    lambda seeds, changes: changed(b"".join(seeds), changes),
    st.lists(st.sampled_from(SEEDS), min_size=1, max_size=2),
    CHANGES,
)

# RFC 9112 §2.1, §3, §5
strict_head = re.compile(
    rb"(?:\r\n)?[!#$%&'*+.^_`|~0-9A-Za-z-]+ [!-~]+ HTTP/1\.[01]\r\n"
    rb"(?:[!#$%&'*+.^_`|~0-9A-Za-z-]+:[\t -~\x80-\xff]*\r\n)*\r\n"
).match


def changed(raw: bytes, changes: list[tuple[str, int, bytes]]) -> bytes:
    for what, place, token in changes:
        at = place % (len(raw) + 1)
        if what == "insert":
            raw = raw[:at] + token + raw[at:]
        elif what == "delete":
            raw = raw[:at] + raw[at + len(token) :]
        elif what == "replace":
            raw = raw[:at] + token + raw[at + len(token) :]
        elif what == "repeat":
            end = raw.find(b"\n", at) + 1
            raw = raw[:end] + raw[at:end] + raw[end:]
        else:
            raw = raw[:at]
    return raw


@pytest.fixture(scope="module")
def origin() -> Iterator[FaultyOrigin]:
    with FaultyOrigin() as made:
        for target in TARGETS:
            made.serves(target, b"", fields={"cache-control": "max-age=60"})
        yield made


@pytest.fixture(scope="module")
def shield(origin: FaultyOrigin) -> Iterator[Shield]:
    with Shield(settings_of({"fra": origin})) as made:
        yield made


@given(raw=BROKEN, seed=st.integers())
@settings(max_examples=tries(100), suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_comes_over_the_wire_has_one_answer_at_most_and_leaves_all_in_order(
    shield: Shield, origin: FaultyOrigin, caplog: pytest.LogCaptureFixture, raw: bytes, seed: int
) -> None:
    before = len(origin.requests)

    with shield.client() as client:
        answers = _answers_to(client, raw, random.Random(seed))
    after = shield.get("/a")

    heads = answers.split(b"HTTP/1.1 ")[1:]
    assert len(heads) <= raw.count(b"\r\n\r\n") + 1
    assert [b"\r\nconnection: close\r\n" in head for head in heads[:-1]] == [False] * (len(heads) - 1)
    assert after.status == 200
    for seen in origin.requests[before:]:
        assert seen.method in ("GET", "HEAD")
        assert canonical_path(seen.target.encode(), KEY_RULES) == seen.target.encode()
        assert [name for name, _ in seen.fields] == OURS
    assert not origin.malformed
    assert not caplog.records
    assert not shield._troubles


@pytest.mark.slow
@given(raw=BROKEN, cuts=st.lists(st.integers(0, 1000), max_size=6))
@settings(max_examples=tries(200))
def test_only_what_keeps_to_the_grammar_is_served_in_whatever_pieces_it_comes(
    shield: Shield, raw: bytes, cuts: list[int]
) -> None:
    places = sorted({cut % (len(raw) + 1) for cut in cuts})
    pieces = [raw[begin:end] for begin, end in zip([0, *places], [*places, len(raw)], strict=True)]

    _fetch_what_it_names(shield, raw)
    whole = shield.call(lambda: said(shield, raw))
    in_pieces = shield.call(lambda: said(shield, *[piece for piece in pieces if piece]))

    assert in_pieces == whole
    rest = raw
    for status in re.findall(rb"(?m)^HTTP/1\.1 (\d\d\d) ", whole.answers):
        if status != b"200":
            break
        head = strict_head(rest)
        assert head is not None
        rest = rest[head.end() :]
        if b"\r\ntransfer-encoding:" in head[0].lower():
            assert rest.startswith(b"0\r\n\r\n")
            rest = rest[5:]


def _answers_to(client: Client, raw: bytes, pick: random.Random) -> bytes:
    """All that comes back to a client that sends this in a few pieces, and nothing more."""
    cuts = sorted(pick.choices(range(len(raw) + 1), k=pick.randint(0, 3)))
    answers = b""
    try:
        for begin, end in zip([0, *cuts], [*cuts, len(raw)], strict=True):
            client.send(raw[begin:end])
        client.socket.shutdown(socket.SHUT_WR)
        while data := client.socket.recv(65536):
            answers += data
    except ConnectionError:
        pass
    return answers


def _fetch_what_it_names(shield: Shield, raw: bytes) -> None:
    """So that all can be answered at once, with what is stored."""
    for _ in range(raw.count(b"\r\n\r\n")):
        shield.call(lambda: said(shield, raw))
        shield.wait_for(lambda: shield.node.state()["fills"]["in_flight"] == 0)  # type: ignore[index]
