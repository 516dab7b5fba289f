"""The part of a stored response that a request gets."""

from __future__ import annotations

import pytest

from shield.messages import Field, Request
from shield.rules.heads import of_fields, split_block
from shield.rules.multipart import Piece
from shield.rules.selection import select

FIELDS: tuple[Field, ...] = (
    (b"content-type", b"image/webp"),
    (b"etag", b'"v1"'),
    (b"last-modified", b"Mon, 01 Jan 2024 00:00:00 GMT"),
    (b"date", b"Tue, 02 Jan 2024 00:00:00 GMT"),
    (b"cache-control", b"max-age=60"),
    (b"content-length", b"1000"),
    (b"via", b"1.1 fra-1"),
)
HEAD = of_fields(200, FIELDS)


def ask(method: bytes = b"GET", **fields: str) -> Request:
    return Request.of(method, b"/a", [(name.replace("_", "-").encode(), v.encode()) for name, v in fields.items()])


def names(block: bytes) -> dict[bytes, bytes]:
    return dict(split_block(block)[1])


def test_a_plain_get_gets_all_and_a_head_the_same_fields_without_a_body() -> None:
    whole = select(ask(), HEAD, 1000)
    head = select(ask(b"HEAD"), HEAD, 1000)

    assert (whole.status, whole.pieces, whole.length, whole.whole) == (200, (Piece(b"", 0, 1000),), 1000, True)
    assert head.block == whole.block == HEAD.block
    assert head.empty


def test_a_range_gets_its_span_and_says_which() -> None:
    part = select(ask(range="bytes=100-199"), HEAD, 1000)

    assert (part.status, part.pieces, part.length) == (206, (Piece(b"", 100, 200),), 100)
    assert names(part.block)[b"content-range"] == b"bytes 100-199/1000"
    assert names(part.block)[b"content-length"] == b"100"
    assert names(part.block)[b"etag"] == b'"v1"'


@pytest.mark.parametrize(
    "request_",
    [
        ask(range="bytes=100-199", if_range='"v2"'),
        ask(range="bytes=100-199", if_range='W/"v1"'),
        ask(range="lines=1-2"),
        ask(range="bytes=5-1"),
        ask(b"HEAD", range="bytes=100-199"),
    ],
)
def test_a_range_that_does_not_hold_is_ignored(request_: Request) -> None:
    assert select(request_, HEAD, 1000).status == 200


@pytest.mark.parametrize("if_range", ['"v1"', "Mon, 01 Jan 2024 00:00:00 GMT"])
def test_if_range_lets_the_same_version_through(if_range: str) -> None:
    assert select(ask(range="bytes=0-0", if_range=if_range), HEAD, 1000).status == 206


TWO = "bytes=100-199,800-899"
KEY = b"secret"


def test_several_ranges_get_parts_and_their_exact_length() -> None:
    chosen = select(ask(range=TWO), HEAD, 1000, boundary_key=KEY)

    fields = names(chosen.block)
    first, second, end = chosen.pieces
    assert (chosen.status, chosen.whole) == (206, False)
    assert [piece[1:] for piece in chosen.pieces] == [(100, 200), (800, 900), (900, 900)]
    assert fields[b"content-length"] == b"%d" % (200 + sum(len(piece.before) for piece in chosen.pieces))
    assert chosen.length == int(fields[b"content-length"])
    assert fields[b"content-type"].startswith(b"multipart/byteranges; boundary=")
    assert b"content-range" not in fields  # §15.3.7.2
    assert fields[b"etag"] == b'"v1"'
    assert b"\r\nContent-Type: image/webp\r\nContent-Range: bytes 100-199/1000\r\n\r\n" in first.before
    assert b"\r\nContent-Range: bytes 800-899/1000\r\n\r\n" in second.before
    assert end.before.endswith(b"--\r\n")


def test_parts_of_what_has_no_type_have_none() -> None:
    chosen = select(ask(range=TWO), of_fields(200, ()), 1000, boundary_key=KEY)

    assert b"content-type" not in chosen.pieces[0].before.lower()


@pytest.mark.parametrize(
    "request_",
    [
        ask(range=TWO, if_range='"v2"'),
        ask(range=TWO, if_range='W/"v1"'),
        ask(b"HEAD", range=TWO),
        ask(range="bytes=" + ",".join(["0-0"] * 17)),
        ask(range="bytes=0-0,0-1,0-2"),
        ask(range="bytes=" + ",".join(f"{at}-{at}" for at in range(0, 1000, 100))),  # ten heads are more than all
    ],
)
def test_several_ranges_that_do_not_hold_or_ask_for_too_much_get_the_whole(request_: Request) -> None:
    assert select(request_, HEAD, 1000, boundary_key=KEY).whole


def test_several_ranges_get_the_whole_where_parts_can_not_be_made() -> None:
    assert select(ask(range=TWO), HEAD, 1000).whole
    assert select(ask(range=TWO), HEAD, None, boundary_key=KEY).whole


def test_several_ranges_that_become_one_get_no_parts() -> None:
    chosen = select(ask(range="bytes=100-149,150-199"), HEAD, 1000, boundary_key=KEY)

    assert (chosen.status, chosen.pieces) == (206, (Piece(b"", 100, 200),))


@pytest.mark.parametrize("asked", ["bytes=0-9", TWO])
def test_what_is_said_of_the_whole_content_is_not_said_of_a_part(asked: str) -> None:
    digests = ((b"content-digest", b"sha-256=:x:"), (b"content-md5", b"x"), (b"repr-digest", b"sha-256=:x:"))

    chosen = select(ask(range=asked), of_fields(200, (*FIELDS, *digests)), 1000, boundary_key=KEY)

    assert {b"content-digest", b"content-md5", b"repr-digest"} & set(names(chosen.block)) == {b"repr-digest"}


HIDING = of_fields(200, (*FIELDS, (b"shield-hidden", b"md5=:%b==:" % (b"A" * 22))))


@pytest.mark.parametrize("method", [b"GET", b"HEAD"])
@pytest.mark.parametrize(
    "more", [{}, {"pragma": "x"}, {"range": "bytes=0-9"}, {"range": TWO}, {"if_none_match": "*"}]
)
def test_a_hidden_digest_is_shown_to_nobody_but_who_wants_it(method: bytes, more: dict[str, str]) -> None:
    plain = select(ask(method, **more), HIDING, 1000, boundary_key=KEY)
    asked = select(ask(method, want_repr_digest="md5=1", **more), HIDING, 1000, boundary_key=KEY)
    other = select(ask(method, want_repr_digest="sha-256=1", **more), HIDING, 1000, boundary_key=KEY)

    digests = {b"shield-hidden", b"repr-digest"}
    assert not digests & set(names(plain.block)) and not digests & set(names(other.block))
    assert digests & set(names(asked.block)) == (set() if plain.status == 304 else {b"repr-digest"})
    assert asked.status == plain.status == other.status


def test_a_range_of_a_body_of_unknown_length_gets_all_of_it() -> None:
    chosen = select(ask(range="bytes=0-9"), HEAD, None)

    assert (chosen.status, chosen.pieces, chosen.length, chosen.empty) == (200, (Piece(b"", 0, None),), None, False)


def test_a_range_beyond_the_end_is_unsatisfiable() -> None:
    chosen = select(ask(range="bytes=1000-"), HEAD, 1000)

    assert chosen.status == 416
    assert names(chosen.block)[b"content-range"] == b"bytes */1000"
    assert names(chosen.block)[b"content-length"] == b"0"
    assert b"etag" not in names(chosen.block)
    assert chosen.empty


@pytest.mark.parametrize("method", [b"GET", b"HEAD"])
def test_a_client_that_has_the_version_gets_304_with_what_a_200_would_have_said(method: bytes) -> None:
    chosen = select(ask(method, if_none_match='"v0", W/"v1"'), HEAD, 1000)

    assert chosen.status == 304
    assert set(names(chosen.block)) == {b"etag", b"last-modified", b"date", b"cache-control", b"via"}
    assert chosen.empty


def test_a_failed_precondition_is_412_before_any_range() -> None:
    chosen = select(ask(if_match='"v0"', range="bytes=0-9"), HEAD, 1000)

    assert chosen.status == 412
    assert chosen.empty


def test_preconditions_and_ranges_concern_only_a_200() -> None:
    gone = of_fields(404, ((b"etag", b'"v1"'), (b"content-length", b"5")))

    assert select(ask(if_none_match='"v1"', range="bytes=0-1"), gone, 5).status == 404
    assert select(ask(range="bytes=0-1,4-4"), gone, 5, boundary_key=KEY).status == 404
