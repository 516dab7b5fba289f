"""What an origin does wrong on the wire, seen from a client that shows every byte."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.doubles.client import Client, Whole, connected, exchange, fetch
from tests.doubles.faults import (
    Fault,
    adds,
    at_body,
    at_head,
    chunked,
    closes,
    drips,
    followed_by,
    huge_head,
    preceded_by,
    says,
    until_close,
    without_body,
)
from tests.doubles.faulty_origin import FaultyOrigin
from tests.doubles.pattern import Pattern
from tests.doubles.steps import (
    Bytes,
    Chunk,
    Close,
    Cut,
    Drip,
    Head,
    LastChunk,
    Pause,
    Reset,
    Stall,
    Step,
    Wait,
)

BODY = b"0123456789"
END = b"\r\n\r\n"


def _spoilt(*faults: Fault, body: bytes = BODY) -> tuple[bytes, bytes, bool]:
    """Head and body of a spoilt answer that ends with its connection, and whether that was a clean end."""
    with FaultyOrigin() as origin, Client(origin) as client:
        origin.serves("/a", body)
        origin.spoils("/a", *faults)
        client.ask("/a")
        raw, clean = client.rest()
    head, _, rest = raw.partition(END)
    return head, rest, clean


def _parsed(*faults: Fault, fields: dict[str, str] | None = None) -> Whole:
    with FaultyOrigin() as origin:
        origin.serves("/a", BODY, fields={"ETag": '"one"'})
        origin.spoils("/a", *faults)
        return fetch(origin, "/a", fields=fields)


# Connections that end.


def test_it_truncates_with_a_clean_end() -> None:
    head, body, clean = _spoilt(at_body(4, Close()))

    assert b"content-length: 10" in head
    assert (body, clean) == (b"0123", True)


@pytest.mark.parametrize("at", [0, 1, 9, 10])
def test_it_resets_at_any_byte_of_the_body(at: int) -> None:
    _, body, clean = _spoilt(at_body(at, Reset()))

    assert (body, clean) == (BODY[:at], False)


def test_a_reset_comes_after_all_that_was_sent_before() -> None:
    big = bytes(Pattern(3_000_000)[:])

    _, body, clean = _spoilt(at_body(2_500_000, Reset()), body=big)

    assert (body == big[:2_500_000], clean) == (True, False)


def test_it_resets_within_the_head_and_before_it() -> None:
    assert _spoilt(at_head(12, Reset())) == (b"HTTP/1.1 200", b"", False)
    assert _spoilt(preceded_by(Reset())) == (b"", b"", False)
    assert _spoilt(preceded_by(Close())) == (b"", b"", True)


def test_it_cuts_without_tls_as_it_closes() -> None:
    _, body, clean = _spoilt(at_body(4, Cut()))

    assert (body, clean) == (b"0123", True)


def test_it_resets_a_connection_before_a_byte_is_read() -> None:
    with FaultyOrigin() as origin:
        origin.serves("/a", BODY)
        origin.greets(Reset())
        with pytest.raises(ConnectionResetError), Client(origin) as client:  # as early as during connect
            client.read(1)

        assert fetch(origin, "/a").body == BODY
        assert len(origin.requests) == 1


# Connections that wait. A gate takes the place of time.


@pytest.mark.parametrize(
    "halt",
    [preceded_by, lambda step: at_head(9, step), lambda step: at_body(4, step)],
    ids=["before the head", "in the head", "in the body"],
)
def test_it_holds_an_answer_until_the_gate_opens(halt: Callable[[Step], Fault]) -> None:
    with FaultyOrigin() as origin, Client(origin) as client:
        origin.serves("/a", BODY)
        gate = origin.gate()
        origin.spoils("/a", halt(Wait(gate)), followed_by(Close()))
        client.ask("/a")
        gate.reached()

        assert not origin.requests[0].ended
        gate.open()
        raw, clean = client.rest()

    assert raw.startswith(b"HTTP/1.1 200 OK\r\n") and raw.endswith(END + BODY) and clean


def test_what_was_sent_before_a_gate_can_be_read_while_it_is_closed() -> None:
    with FaultyOrigin() as origin, Client(origin) as client:
        origin.serves("/a", BODY)
        gate = origin.gate()
        origin.spoils("/a", at_body(4, Wait(gate)), at_body(7, Wait(gate)))
        client.ask("/a")

        client.head()
        assert client.read(4) == b"0123"
        gate.let()
        assert client.read(3) == b"456"
        gate.reached(times=2)
        gate.let()
        assert client.read(3) == b"789"


def test_it_stalls_until_the_client_leaves() -> None:
    with FaultyOrigin() as origin:
        origin.serves("/a", BODY)
        origin.spoils("/a", at_body(4, Stall()))
        with Client(origin) as client:
            client.ask("/a")
            client.head()
            client.read(4)
            assert origin.requests_active == 1

        origin.wait_for(lambda: origin.requests_active == 0 and origin.connections_open == 0)
        assert not origin.requests[0].complete


def test_it_drips_a_byte_at_a_time() -> None:
    with FaultyOrigin() as origin, Client(origin) as client:
        origin.serves("/a", BODY)
        gate = origin.gate()
        origin.spoils("/a", drips(gate))
        client.ask("/a")
        client.head()

        for number in range(len(BODY)):
            gate.reached(times=number + 1)
            gate.let()
            assert client.read(1) == BODY[number : number + 1]


def test_it_drips_a_head_and_by_time_too() -> None:
    with FaultyOrigin() as origin:
        origin.script("/a", Drip(Head(200, {"content-length": "2"}).encode()), Pause(), Drip(b"ok", every=0.001))

        assert fetch(origin, "/a").body == b"ok"


def test_a_reader_that_does_not_read_holds_it_up() -> None:
    with FaultyOrigin(socket_buffer=65536) as origin, Client(origin) as client:
        size = 16_000_000
        origin.serves("/a", Pattern(size))
        client.ask("/a")
        client.head()

        assert not origin.requests[0].complete
        client.read(size)
        origin.wait_for(lambda: origin.requests[0].complete)


# Lengths.


def test_it_promises_more_than_it_sends() -> None:
    head, body, clean = _spoilt(says(content_length="11"), followed_by(Close()))

    assert b"content-length: 11" in head
    assert (body, clean) == (BODY, True)


def test_it_promises_less_than_it_sends() -> None:
    head, body, _ = _spoilt(says(content_length="9"), followed_by(Close()))

    assert b"content-length: 9\r\n" in head + b"\r\n"
    assert body == BODY


def test_it_sends_what_nobody_asked_for_after_an_answer() -> None:
    _, body, _ = _spoilt(followed_by(Bytes(b"HTTP/1.1 200 OK"), Close()))

    assert body == BODY + b"HTTP/1.1 200 OK"


@pytest.mark.parametrize("length", ["-1", "ten", "0x0a", "10, 11", ""])
def test_it_says_lengths_that_are_none(length: str) -> None:
    head, _, _ = _spoilt(says(content_length=length), followed_by(Close()))

    assert f"content-length: {length}".encode() in head.split(b"\r\n")


def test_it_says_two_lengths_or_a_length_and_chunks() -> None:
    twice, _, _ = _spoilt(adds(("content-length", "11")), followed_by(Close()))
    both, _, _ = _spoilt(chunked(), adds(("content-length", "10")), followed_by(Close()))

    assert twice.count(b"content-length") == 2
    assert b"transfer-encoding: chunked" in both and b"content-length: 10" in both


def test_it_says_no_length_and_closes() -> None:
    answer = _parsed(until_close())

    assert (answer.fields["content-length"], answer.body) == (None, BODY)


def test_a_close_delimited_body_may_be_cut() -> None:
    head, body, clean = _spoilt(until_close(), at_body(4, Reset()))

    assert b"content-length" not in head
    assert (body, clean) == (b"0123", False)


# Chunks.


def test_it_sends_chunks_with_extensions_and_trailers() -> None:
    with FaultyOrigin() as origin, connected(origin) as connection:
        origin.serves("/a", BODY)
        origin.spoils("/a", chunked(3, extension=";x=y", trailers={"x-checksum": "1"}))

        assert [exchange(connection, "/a").body for _ in range(2)] == [BODY, BODY]
        assert origin.connections_opened == 1


def test_it_leaves_out_the_last_chunk() -> None:
    head, body, clean = _spoilt(chunked(5, last=False))

    assert b"transfer-encoding: chunked" in head and b"content-length" not in head
    assert (body, clean) == (b"5\r\n01234\r\n5\r\n56789\r\n", True)


def test_it_breaks_off_within_a_chunk() -> None:
    _, body, clean = _spoilt(at_body(4, Reset()), chunked(5))

    assert (body, clean) == (b"4\r\n0123\r\n", False)
    _, body, clean = _spoilt(chunked(5), lambda steps: [*list(steps)[:2], Bytes(b"5\r\n56"), Reset()])
    assert (body, clean) == (b"5\r\n01234\r\n5\r\n56", False)


def test_it_sends_chunk_sizes_that_lie_or_are_none() -> None:
    with FaultyOrigin() as origin, Client(origin) as client:
        head = Head(200, {"transfer-encoding": "chunked"})
        origin.script("/a", head, Chunk(b"ok"), Chunk(b"abc", size="2"), Chunk(b"", size="zz"), LastChunk(), Close())
        client.ask("/a")

        assert client.rest()[0].endswith(b"2\r\nok\r\n2\r\nabc\r\nzz\r\n\r\n0\r\n\r\n")


# Heads.


def test_it_sends_garbage_for_a_head() -> None:
    with FaultyOrigin() as origin, Client(origin) as client:
        origin.answers("/a", b"\x16\x03\x01 no HTTP at all\r\n\r\n")
        client.ask("/a")

        assert client.head() == b"\x16\x03\x01 no HTTP at all\r\n\r\n"


def test_it_sends_garbage_in_a_head() -> None:
    head, _, _ = _spoilt(adds(("bad name", "x"), ("x-nul", "\0")), at_head(9, Bytes(b"!")), followed_by(Close()))

    assert head.startswith(b"HTTP/1.1 !200 OK")
    assert b"bad name: x\r\nx-nul: \0" in head


def test_it_sends_a_huge_head() -> None:
    head, body, _ = _spoilt(huge_head(size=300_000), followed_by(Close()))

    assert len(head) > 300_000
    assert body == BODY


def test_it_sends_many_fields() -> None:
    head, _, _ = _spoilt(huge_head(size=50_000, lines=10_000), followed_by(Close()))

    assert head.count(b"\r\nx-pad-") == 10_000


def test_it_sends_fields_twice_and_leaves_them_out() -> None:
    answer = _parsed(says(etag=None), adds(("x-a", "1"), ("x-a", "2")))

    assert answer.fields["etag"] is None
    assert answer.fields.get_all("x-a") == ["1", "2"]


def test_it_sends_interim_answers_first() -> None:
    early = Head(103, {"link": "</style.css>"})

    head, rest, _ = _spoilt(preceded_by(Head(100), early), followed_by(Close()))

    assert head == b"HTTP/1.1 100 Continue"
    assert rest.startswith(b"HTTP/1.1 103 Early Hints\r\nlink: </style.css>\r\n\r\nHTTP/1.1 200 OK\r\n")


def test_faults_of_the_head_spare_interim_answers() -> None:
    _, rest, _ = _spoilt(preceded_by(Head(100)), says(206), followed_by(Close()))

    assert rest.startswith(b"HTTP/1.1 206 Partial Content")


def test_it_speaks_an_old_version_or_a_wrong_one() -> None:
    with FaultyOrigin() as origin, Client(origin) as client:
        origin.script("/a", Head(200, version="HTTP/1.0"), Bytes(b"x"), Close())
        client.ask("/a")
        assert client.rest()[0] == b"HTTP/1.0 200 OK\r\n\r\nx"


# Meanings.


@pytest.mark.parametrize("status", [200, 201, 204, 301, 404, 416, 500, 999])
def test_it_says_another_status(status: int) -> None:
    head, _, _ = _spoilt(says(status), followed_by(Close()))

    assert head.startswith(f"HTTP/1.1 {status} ".encode())


def test_it_says_not_modified_with_another_identity_or_unasked() -> None:
    asked = {"If-None-Match": '"one"'}

    assert _parsed(says(etag='"two"'), fields=asked).fields["etag"] == '"two"'
    unasked = _parsed(says(304), without_body())
    assert (unasked.status, unasked.body) == (304, b"")


def test_it_says_a_wrong_range() -> None:
    asked = {"Range": "bytes=2-4"}

    wrong = _parsed(says(content_range="bytes 3-5/10"), fields=asked)
    whole = _parsed(says(200, content_range=None), fields=asked)
    unasked = _parsed(says(206, content_range="bytes 0-9/10"))

    assert (wrong.status, wrong.fields["content-range"], wrong.body) == (206, "bytes 3-5/10", b"234")
    assert (whole.status, whole.fields["content-range"]) == (200, None)
    assert (unasked.status, unasked.body) == (206, BODY)


def test_it_sends_other_bytes_under_the_same_identity() -> None:
    def flipped(steps: object) -> list[Step]:
        assert isinstance(steps, list)
        return [Bytes(b"9123456789") if isinstance(step, Bytes) else step for step in steps]

    answer = _parsed(flipped)

    assert (answer.fields["etag"], answer.body) == ('"one"', b"9123456789")


# Connections that were kept.


def test_it_announces_the_end_or_not() -> None:
    with FaultyOrigin() as origin:
        origin.serves("/a", BODY)
        origin.spoils("/a", closes(), times=1)
        origin.spoils("/a", followed_by(Close()), times=1)
        with Client(origin) as told, Client(origin) as untold:
            told.ask("/a")
            assert b"connection: close" in told.rest()[0]
            untold.ask("/a")
            assert b"connection: close" not in untold.rest()[0]


@pytest.mark.parametrize("end", [Close(), Reset()], ids=["FIN", "RST"])
def test_it_ends_a_kept_connection_at_the_second_request(end: Step) -> None:
    with FaultyOrigin() as origin, Client(origin) as client:
        origin.serves("/a", BODY)
        origin.script("/a", Head(200, {"content-length": "1"}), Bytes(b"x"))
        origin.script("/a", end)
        client.ask("/a")
        client.head()
        assert client.read(1) == b"x"

        client.ask("/a")

        assert client.rest() == (b"", isinstance(end, Close))
        assert origin.fetches("/a") == 2


def test_faults_compose_in_their_order() -> None:
    _, body, clean = _spoilt(at_body(4, Reset()), chunked(2), says(status=203))

    assert (body, clean) == (b"2\r\n01\r\n2\r\n23\r\n", False)


def test_a_head_that_was_torn_can_not_be_changed_any_more() -> None:
    with pytest.raises(ValueError, match="must come last"):
        says(500)(at_head(3)([Head(200)]))
