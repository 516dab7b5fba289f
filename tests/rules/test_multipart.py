"""Several ranges in one response, parsed again by an independent parser."""

from __future__ import annotations

import email
import email.policy
from email.message import Message

from hypothesis import given
from hypothesis import strategies as st

from shield.messages import Field, Request
from shield.rules.heads import of_fields, split_block
from shield.rules.multipart import Piece, boundary, pieces
from shield.rules.ranges import NEAR, Span
from shield.rules.selection import Selection, select
from tests.doubles.pattern import Pattern
from tests.parts import boundary_of, read_parts

KEY = b"of this start of the node"


def sent(chosen: Selection, body: bytes) -> bytes:
    """What goes out after the head."""
    return b"".join(before + body[start:stop] for before, start, stop in chosen.pieces)


def fields_of(chosen: Selection) -> dict[str, str]:
    return {name.decode(): value.decode() for name, value in split_block(chosen.block)[1]}


def head_of(*more: Field) -> list[Field]:
    return [(b"etag", b'"v1"'), (b"content-type", b"image/webp"), *more]


def test_parts_are_as_rfc_2046_wants_them() -> None:
    made, length = pieces(
        [Span(0, 2), Span(7, 10)], length=10, content_type=b"text/plain", boundary=b"THIS_STRING_SEPARATES"
    )

    assert b"".join(before + b"0123456789"[start:stop] for before, start, stop in made) == (
        b"\r\n--THIS_STRING_SEPARATES\r\nContent-Type: text/plain\r\nContent-Range: bytes 0-1/10\r\n\r\n01"
        b"\r\n--THIS_STRING_SEPARATES\r\nContent-Type: text/plain\r\nContent-Range: bytes 7-9/10\r\n\r\n789"
        b"\r\n--THIS_STRING_SEPARATES--\r\n"
    )
    assert length == sum(len(before) + (stop or 0) - start for before, start, stop in made)


def test_a_boundary_differs_by_head_and_by_key_and_stays_otherwise() -> None:
    made = {boundary(key, head) for key in (b"one", b"two") for head in (b"a", b"b") for _ in range(2)}

    assert len(made) == 4
    assert all(len(one) == 32 and one.isalnum() for one in made)


def test_a_body_with_anothers_boundary_in_it_is_read_as_it_is() -> None:
    head = of_fields(200, tuple(head_of()))
    of_another_start = boundary(b"of another start of the node", head.block)
    body = (b"\r\n--" + of_another_start + b"--\r\n") * 100
    request = Request.of(b"GET", b"/a", [(b"range", b"bytes=0-999,2000-2999")])

    chosen = select(request, head, len(body), boundary_key=KEY)

    parts = read_parts(fields_of(chosen)["content-type"], sent(chosen, body))
    assert [part.data for part in parts] == [body[:1000], body[2000:3000]]


def test_mail_readers_see_the_same_parts() -> None:
    body = Pattern(100_000)[:].replace(b"\r", b"\n")
    request = Request.of(b"GET", b"/a", [(b"range", b"bytes=90000-90099,5-9,-1")])

    chosen = select(request, of_fields(200, tuple(head_of())), len(body), boundary_key=KEY)

    kind = fields_of(chosen)["content-type"]
    text = b"Content-Type: " + kind.encode() + b"\r\nMIME-Version: 1.0\r\n\r\n" + sent(chosen, body)
    message: Message = email.message_from_bytes(text, policy=email.policy.compat32)
    parts = [part for part in message.walk() if not part.is_multipart()]
    assert [part["content-range"] for part in parts] == [
        "bytes 90000-90099/100000",
        "bytes 5-9/100000",
        "bytes 99999-99999/100000",
    ]
    assert [part.get_payload(decode=True) for part in parts] == [body[90000:90100], body[5:10], body[-1:]]
    assert {part.get_content_type() for part in parts} == {"image/webp"}


OFFSETS = st.one_of(st.none(), st.integers(0, 6000))
LISTS = st.lists(st.tuples(OFFSETS, OFFSETS), min_size=1, max_size=18)
SPACES = st.sampled_from(["", " ", "\t", " \t ", ", ,"])


@given(LISTS, st.integers(0, 5000), SPACES, st.binary(max_size=40))
def test_whatever_is_asked_the_answer_has_it_and_is_as_long_as_it_says(
    asked: list[tuple[int | None, int | None]], length: int, space: str, seed: bytes
) -> None:
    body = (seed + Pattern(5000)[:])[:length]
    listed = f"{space},{space}".join("-".join("" if n is None else str(n) for n in one) for one in asked)
    request = Request.of(b"GET", b"/a", [(b"range", f"Bytes={space}{listed}".encode())])

    chosen = select(
        request, of_fields(200, tuple(head_of((b"content-length", b"%d" % length)))), length, boundary_key=KEY
    )

    answer, fields = sent(chosen, body), fields_of(chosen)
    assert len(answer) == chosen.length == int(fields["content-length"])
    assert len(answer) <= length + 2 * NEAR
    if chosen.status == 416:
        return
    found = [(0, length, answer)] if chosen.whole else []
    if chosen.status == 206 and "content-range" in fields:
        span, _, complete = fields["content-range"].removeprefix("bytes ").partition("/")
        first, _, last = span.partition("-")
        assert int(complete) == length
        found = [(int(first), int(last) + 1, answer)]
    elif chosen.status == 206:
        parts = read_parts(fields["content-type"], answer)
        assert len(parts) > 1 and boundary_of(fields["content-type"]).encode() not in body
        assert {(part.length, part.content_type) for part in parts} == {(length, "image/webp")}
        found = [(part.first, part.last + 1, part.data) for part in parts]
    for start, stop, data in found:
        assert data == body[start:stop]
    for first_byte, last_byte in asked:
        if first_byte is None:
            start, stop = max(0, length - (last_byte or 0)), length
        else:
            start, stop = first_byte, length if last_byte is None else min(last_byte + 1, length)
        if start < stop:  # each range that can be satisfied lies in one part, and in no other
            assert sum(at <= start and stop <= end for at, end, _ in found) == 1
            assert sum(at < stop and start < end for at, end, _ in found) == 1


def test_an_ordinary_range_is_one_piece_without_a_word_around_it() -> None:
    chosen = select(
        Request.of(b"GET", b"/a", [(b"range", b"bytes=5-9")]), of_fields(200, tuple(head_of())), 100, boundary_key=KEY
    )

    assert chosen.pieces == (Piece(b"", 5, 10),)
