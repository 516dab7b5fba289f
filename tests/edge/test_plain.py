"""Plain heads: whatever `PlainHeads` accepts, llhttp and our checks accept as well, and read in the same way."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from shield.edge.plain import WATCHED, PlainHeads
from shield.edge.reading import RequestReader
from shield.edge.states import Reading
from shield.edge.turn import Turn
from shield.errors import RequestError
from shield.rules.limits import ClientLimits
from tests.compiled import INTERPRETED_ONLY
from tests.depth import tries
from tests.edge.test_fuzz import CHANGES, SEEDS, changed

NODE = b"edge-1"
CDN = (
    b"GET /images/abc/thumb.webp?w=400 HTTP/1.1\r\nHost: images.example.com\r\nAccept-Encoding: gzip, br\r\n"
    b"Accept: image/avif,image/webp,*/*;q=0.8\r\nX-Forwarded-For: 203.0.113.7, 198.51.100.2\r\nVia:1.1 a\r\n"
    b'CDN-Loop: cdn.example\r\nConnection: Keep-Alive\r\nIf-None-Match: "abc"\r\nX-Name: caf\xe9 \xff\r\n\r\n'
)
PIECES = st.sampled_from(
    [
        *(
            b"Host: a",
            b"host:b:80",
            b"Host: a b",
            b"Host:",
            b"HOST: [::1]:1",
            b"Host : a",
            b"Host: a@b",
            b"Host: a,b",
        ),
        *(
            b"Connection: close",
            b"Connection: Close",
            b"Connection: keep-alive",
            b"Connection: te",
            b"connection:close",
        ),
        *(b"Proxy-Connection: close", b"Proxy-Connection: keep-alive", b"Connection: keep-alive, close"),
        *(b"Content-Length: 0", b"Content-Length: 1", b"Transfer-Encoding: chunked", b"Upgrade: x", b"Expect: x"),
        *(b"CDN-Loop: a", b"CDN-Loop: edge-1", b"cdn-loop: \xff", b"Range: bytes=0-1", b"Range: bytes=2-", b"TE: x"),
        *(b"Cache-Control: no-cache", b"cache-control:max-age=0 ", b'If-None-Match: "\xff"', b"X-A: 1", b"X-A:\t1"),
        *(
            b"X-A: 1\t",
            b"X-A:  1",
            b"X-A: a\tb",
            b"X-A: a\x0bb",
            b"X-A: a\0b",
            b"X-A: \x7f",
            b"X-A: a\rb",
            b"X-A: a\nb",
        ),
        *(
            b" folded",
            b"\tfolded",
            b"X-A",
            b": x",
            b"X A: 1",
            b"X\xff: 1",
            b"X-(: 1",
            b"X-'|~: 1",
            b"",
            b"X-A:",
            b"\r",
        ),
    ]
)
TARGETS = st.one_of(
    st.sampled_from(
        [b"/", b"/a?b=c", b"/a#b", b'/"<>\\^`{|}', b"/\x7f", b"/\xc3\xa4", b"//a", b"/a b", b"*", b"http://a/", b""]
    ),
    st.binary(max_size=4).map(lambda tail: b"/" + tail),
)
MADE = st.builds(
    lambda method, target, version, lines, end: method + b" " + target + version + b"\r\n".join([b"", *lines]) + end,
    st.sampled_from([b"GET", b"GET", b"GET", b"HEAD", b"get", b"GE"]),
    TARGETS,
    st.sampled_from(
        [b" HTTP/1.1", b" HTTP/1.1", b" HTTP/1.1", b" HTTP/1.0", b" HTTP/2.0", b"  HTTP/1.1", b"", b" http/1.1"]
    ),
    st.lists(PIECES, max_size=6),
    st.sampled_from(
        [
            b"\r\n\r\n",
            b"\r\n\r\n",
            b"\r\n\r\n",
            b"\r\n",
            b"\n\n",
            b"\r\n\r\n\r\n",
            b"\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
        ]
    ),
)
MUTATED = st.builds(changed, st.sampled_from([CDN, *SEEDS]), CHANGES)
lines = PlainHeads(NODE)


class Recorder(RequestReader):
    """What a connection reads without `PlainHeads`."""

    def __init__(self) -> None:
        super().__init__(ClientLimits(), lambda: 0.0, node=NODE)
        self.turns: list[Turn] = []
        self.refused: list[RequestError] = []

    def _take(self, turn: Turn) -> None:
        self.turns.append(turn)

    def _put_off(self, data: bytes) -> None:
        raise AssertionError("nothing is in progress")

    def _refuse(self, error: RequestError) -> None:
        self.refused.append(error)
        self._take_no_more()

    def _end_after_last(self) -> None:
        self._take_no_more()


@INTERPRETED_ONLY
@given(data=st.one_of(MADE, MUTATED))
@example(CDN)
@settings(max_examples=tries(600))
def test_a_plain_head_is_read_as_by_the_parser_and_its_checks(data: bytes) -> None:
    request = lines.read(data, 100)

    if request is not None:
        reference = Recorder()
        reference.data_received(data)
        assert not reference.refused
        (turn,) = reference.turns
        assert turn.error is None and not turn.awaits_body and not turn.http10
        assert turn.keep_alive is not lines.ends
        theirs = turn.request
        assert (request.method, request.target, request.fields) == (theirs.method, theirs.target, theirs.fields)
        assert request.notable == theirs.notable
        assert not reference._heads.kept
        assert reference._reading is (Reading.DEAF if lines.ends else Reading.IDLE)


def test_heads_as_cdns_send_them_are_plain_whether_their_lines_are_known_or_not() -> None:
    table = PlainHeads(NODE)

    for _ in range(2):
        request = table.read(CDN, 100)
        assert request is not None
        assert not table.ends
        assert request.target == b"/images/abc/thumb.webp?w=400"
        assert request.notable == {b"if-none-match": b'"abc"'}
        assert [name for name, _ in request.fields[:3]] == [b"host", b"accept-encoding", b"accept"]
        assert len(request.fields) == 9


@pytest.mark.parametrize(
    "line",
    [
        *(b"Transfer-Encoding: chunked", b"Content-Length: 0", b"Upgrade: h2c", b"Expect: 100-continue"),
        *(b"Host: b", b"Proxy-Connection: close", b"Connection: te", b"CDN-Loop: edge-1", b"X-A : 1", b"X-A: 1\n"),
        *(b"X-A:\t1", b" folded", b"X-A: a\rb"),
    ],
)
def test_what_frames_messages_or_is_ambiguous_is_left_to_the_parser(line: bytes) -> None:
    table = PlainHeads(NODE)
    head = b"GET / HTTP/1.1\r\nHost: a\r\n%b\r\n\r\n"

    for _ in range(2):  # the same if it was seen before
        assert table.read(head % line, 100) is None
        assert table.read(head % b"X-A: 1", 100) is not None


def test_one_head_alone_is_plain() -> None:
    table = PlainHeads(NODE)
    head = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"

    assert table.read(head, 100) is not None
    for data in (head * 2, head + b"\r\n", head[:-1], head[:-2], b"\r\n" + head, b"\r\n\r\n", head + b"\0"):
        assert table.read(data, 100) is None
    assert table.read(b"GET / HTTP/1.1\r\nHost: a\r\nX: 1\r\nY: 1\r\n\r\n", 2) is None


def test_fields_that_access_rules_watch_are_found() -> None:
    table = PlainHeads(NODE, WATCHED | {b"x-secret"})

    for _ in range(2):
        request = table.read(b"GET / HTTP/1.1\r\nHost: a\r\nX-Secret: 1\r\nx-secret: 2\r\nX-Other: 3\r\n\r\n", 100)
        assert request is not None
        assert request.notable == {b"x-secret": b"1, 2"}


def test_lines_that_never_come_again_take_bounded_memory() -> None:
    table = PlainHeads(NODE)

    for number in range(10_000):
        head = b"GET /%d HTTP/1.1\r\nHost: a%d\r\nX-Id: %d\r\nX-Same: 1\r\nX-Long: %b%d\r\n\r\n"
        assert table.read(head % (number, number, number, b"x" * 300, number), 100) is not None
        assert table.is_new
        table.remember()

    assert len(table._ordinary) + len(table._before) <= 2048
    assert len(table._targets) <= 4096
    assert table.read(b"GET /9999 HTTP/1.1\r\nHost: a\r\n\r\n", 100) is not None and not table.is_new
    assert len(table._special) <= 256
    assert b"X-Same: 1\r" in table._ordinary or b"X-Same: 1\r" in table._before
    assert not any(b"X-Long" in line for line in (*table._ordinary, *table._before))


def test_fields_are_as_they_were_read_though_their_lines_are_forgotten() -> None:
    table = PlainHeads(NODE)
    request = table.read(CDN, 100)
    assert request is not None
    for number in range(3000):
        table.read(b"GET / HTTP/1.1\r\nHost: a%d\r\nX-Id: %d\r\n\r\n" % (number, number), 100)

    known = table.read(CDN, 100)

    assert known is not None
    assert request.fields == known.fields
    request.fields.pop()
    assert len(request.fields) == 8
