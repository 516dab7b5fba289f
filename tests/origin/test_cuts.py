"""Any answer, cut anywhere, reads the same."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shield.errors import Fault
from tests.origin.bench import CHUNKED, INTERIMS, Bench, cut, fault_of, taken
from tests.origin.leg import Taker

bodies = st.binary(max_size=300)
names = st.from_regex(r"[A-Za-z][A-Za-z0-9-]{0,10}", fullmatch=True).map(lambda name: b"x-" + name.encode())
values = st.from_regex(r"[!-~]([ -~]{0,20}[!-~])?|", fullmatch=True).map(str.encode)


@st.composite
def answers(draw: st.DrawFn) -> tuple[bytes, bytes, bool]:
    """The wire's bytes, the body in them, and whether the connection can go on."""
    payload = draw(bodies)
    wire = b"".join(draw(st.lists(st.sampled_from(INTERIMS), max_size=3)))
    fields = b"".join([b"%b: %b\r\n" % field for field in draw(st.lists(st.tuples(names, values), max_size=5))])
    kind = draw(st.sampled_from(["length", "chunked", "close"]))
    if kind == "length":
        head = b"HTTP/1.1 200 OK\r\n%bContent-Length: %d\r\n\r\n" % (fields, len(payload))
        return wire + head + payload, payload, True
    if kind == "close":
        return wire + b"HTTP/1.1 200 OK\r\n%b\r\n" % fields + payload, payload, False
    wire += b"HTTP/1.1 200 OK\r\n%bTransfer-Encoding: chunked\r\n\r\n" % fields
    cuts = sorted({0, len(payload), *draw(st.lists(st.integers(0, len(payload)), max_size=4))})
    extension = draw(st.sampled_from([b"", b";a", b";a=b", b';a="b c"']))
    for start, stop in itertools.pairwise(cuts):
        wire += b"%x%b\r\n%b\r\n" % (stop - start, extension, payload[start:stop])
    wire += b"0\r\n" + draw(st.sampled_from([b"", b"x-checksum: 1\r\n", b"a: b\r\nc: d\r\n"])) + b"\r\n"
    return wire, payload, True


@given(answers(), st.lists(st.integers(0, 2000), max_size=20), st.booleans(), st.booleans())
def test_an_answer_reads_the_same_however_it_is_cut(
    answer: tuple[bytes, bytes, bool], places: list[int], late: bool, buffered: bool
) -> None:
    wire, payload, persistent = answer
    bench = Bench(buffered=buffered)
    response = bench.ask()
    taker = Taker() if late else taken(response)

    bench.says(*cut(wire, places))
    if not persistent:
        bench.ends()
    if late:
        response.start(taker)

    assert response.head.status == 200
    assert taker.body == payload
    assert taker.ends == [None]
    assert bench.reusable is persistent
    assert bench.released == 1


@given(answers(), st.integers(0, 2000), st.sampled_from([None, ConnectionResetError()]), st.booleans())
def test_an_answer_cut_short_never_ends_well(
    answer: tuple[bytes, bytes, bool], place: int, error: Exception | None, buffered: bool
) -> None:
    wire, payload, persistent = answer
    bench = Bench(buffered=buffered)
    response = bench.ask()
    taker = taken(response)
    short = wire[: place % len(wire)]

    bench.says(short)
    bench.ends(error)

    if not persistent and response.answered and error is None:
        assert taker.ends == [None]  # a body that ends by close can't be told from a cut one
    elif response.answered:
        assert [end and end.fault for end in taker.ends] == [Fault.SHORT_BODY]
        assert payload.startswith(taker.body)
    else:
        assert fault_of(response) is Fault.RESET
    assert bench.connection.closed
    assert bench.released == 1


@given(answers(), st.binary(min_size=1, max_size=50), st.lists(st.integers(0, 2000), max_size=5))
def test_bytes_after_the_end_are_no_body_and_end_the_connection(
    answer: tuple[bytes, bytes, bool], surplus: bytes, places: list[int]
) -> None:
    wire, payload, persistent = answer
    bench = Bench()
    response = bench.ask()
    taker = taken(response)

    bench.says(*cut(wire + (b"HTTP/1.1 200 OK\r\n" + surplus if persistent else b""), places))

    if persistent:
        assert (taker.body, taker.ends) == (payload, [None])
        assert bench.connection.closed


@given(st.binary(max_size=200), st.lists(st.integers(0, 200), max_size=5))
def test_garbage_ends_in_an_error_and_never_raises(garbage: bytes, places: list[int]) -> None:
    bench = Bench()
    response = bench.ask()

    bench.says(*cut(garbage, places))
    bench.ends()

    assert not response.answered
    assert fault_of(response) in (Fault.MALFORMED, Fault.RESET)


# One of each kind, well and badly made: cut at every byte, and into single bytes.

WIRES = [
    b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello",
    b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello and more",
    b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n\r\n",
    b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhell",
    b"HTTP/1.0 200 OK\r\n\r\nhello",
    b"HTTP/1.1 304 Not Modified\r\ncontent-length: 5\r\n\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\na: b\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n",
    b"HTTP/1.1 100 Continue\r\ncontent-length: 5\r\n\r\nhello",
    b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\n\r\nhello",
    CHUNKED + b"5\r\nhello\r\n0\r\n\r\n",
    CHUNKED + b"5;a=b\r\nhello\r\n00000\r\na: b\r\n\r\n",
    CHUNKED + b"5\r\nhello\r\n0\r\n\r\n\r\n",
    CHUNKED + b"5\r\nhello\r\n0\r\n\r\nHTTP/1.1 200 OK\r\n",
    CHUNKED + b"5\r\nhello\r\n",
    CHUNKED + b"5\r\nhello6\r\nworlds\r\n0\r\n\r\n",
    CHUNKED + b"5\r\nhello\r\n0\r\n: b\r\n\r\n",
    CHUNKED + b"5 \r\nhello\r\n0\r\n\r\n",
    CHUNKED + b"5\nhello\n0\n\n",
    CHUNKED + b"g\r\n",
    b"HTTP/1.1 200 OK\ncontent-length: 5\n\nhello",
    b"HTTP/1.1 200 OK\r\ncontent-length: 5\n\r\nhello",
    b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\nhello",
    b"HTTP/1.1 200 OK\r\na: b\r\n c\r\ncontent-length: 5\r\n\r\nhello",
    b"HTTP/1.1 200 OK\r\na : b\r\ncontent-length: 5\r\n\r\nhello",
    b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\na: \x00\r\n\r\nhello",
    b"<html>hello</html>\r\n\r\n",
    b"HTTP/0.9 200 OK\r\n\r\n",
    b"\r\nHTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello",
]


@pytest.mark.parametrize("wire", WIRES)
def test_every_cut_gives_the_same_outcome_good_or_bad(wire: bytes) -> None:
    whole = outcome([wire])

    assert [place for place in range(1, len(wire)) if outcome(cut(wire, [place])) != whole] == []
    assert outcome(cut(wire, list(range(len(wire))))) == whole


def outcome(segments: list[bytes]) -> tuple[object, ...]:
    bench = Bench()
    response = bench.ask()
    taker = taken(response)
    bench.says(*segments)
    reusable = bench.reusable
    bench.ends()
    status = response.head.status if response.answered else None
    return status, taker.body, [end and end.fault for end in taker.ends], fault_of(response), reusable
