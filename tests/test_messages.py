"""Our types for HTTP messages."""

from __future__ import annotations

from collections.abc import Sequence

from shield.messages import Field, Request, ResponseHead


def test_a_plain_request_has_no_notable_fields() -> None:
    request = Request.of(b"GET", b"/a", [(b"host", b"x"), (b"user-agent", b"cdn"), (b"accept", b"*/*")])

    assert request.notable == {}
    assert request.fields[0] == (b"host", b"x")


def test_several_lines_of_a_notable_field_are_one_list() -> None:
    request = Request.of(b"GET", b"/a", [(b"if-none-match", b'"1"'), (b"if-none-match", b'"2"')])

    assert request.notable == {b"if-none-match": b'"1", "2"'}


def test_a_head_joins_the_lines_of_a_field_and_keeps_them_apart_on_demand() -> None:
    head = ResponseHead(200, ((b"vary", b"a"), (b"etag", b'"1"'), (b"vary", b"b")), 0)

    assert head.get(b"vary") == b"a, b"
    assert head.all(b"vary") == [b"a", b"b"]
    assert head.get(b"age") is None


def test_the_lines_of_a_request_s_field_are_joined_in_order() -> None:
    request = Request.of(b"GET", b"/a", [(b"cdn-loop", b"a"), (b"x", b"y"), (b"cdn-loop", b" b, c ")])

    assert request.get(b"cdn-loop") == b"a, b, c"
    assert request.get(b"via") == b""


def test_an_identifier_is_made_when_it_is_first_read_and_stays() -> None:
    request = Request.of(b"GET", b"/a", [(b"a", b"1")])
    read: list[Sequence[Field]] = []

    def name(fields: Sequence[Field]) -> bytes:
        read.append(fields)
        return b"n1-%d" % len(read)

    request.identify_by(name)
    assert read == []

    assert (request.identifier, request.identifier) == (b"n1-1", b"n1-1")
    assert read == [[(b"a", b"1")]]
