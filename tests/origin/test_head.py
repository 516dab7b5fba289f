import pytest

from shield.errors import Fault
from shield.origin.head import Framing, MessageError, parse_head


def parsed(*lines: bytes, status: bytes = b"HTTP/1.1 200 OK", method: bytes = b"GET"):  # type: ignore[no-untyped-def]
    data = b"".join([line + b"\r\n" for line in (status, *lines, b"")])
    return parse_head(data, method=method, max_fields=200)


def test_fields_come_out_in_order_with_lower_case_names_and_bare_values() -> None:
    head, _, _ = parsed(b'ETag: \t"x" \t', b"X-Empty:", b"X-Amz-Meta-A:  caf\xe9 \tau lait", b"content-length: 7")

    assert head.status == 200
    assert head.fields == (
        (b"etag", b'"x"'),
        (b"x-empty", b""),
        (b"x-amz-meta-a", b"caf\xe9 \tau lait"),
        (b"content-length", b"7"),
    )
    assert head.length == 7


@pytest.mark.parametrize(
    ("method", "status", "line", "framing", "length"),
    [
        (b"GET", 200, b"content-length: 7", Framing.LENGTH, 7),
        (b"GET", 200, b"content-length: 9223372036854775807", Framing.LENGTH, 2**63 - 1),
        (b"GET", 200, b"transfer-encoding: Chunked", Framing.CHUNKED, None),
        (b"GET", 200, b"x: y", Framing.CLOSE, None),
        (b"HEAD", 200, b"content-length: 7", Framing.NONE, 7),
        (b"HEAD", 200, b"transfer-encoding: chunked", Framing.NONE, None),
        (b"HEAD", 200, b"x: y", Framing.NONE, None),
        (b"GET", 304, b"content-length: 7", Framing.NONE, 0),
        (b"GET", 304, b"transfer-encoding: chunked", Framing.NONE, 0),
        (b"GET", 204, b"x: y", Framing.NONE, 0),
        (b"GET", 103, b"link: </a>", Framing.NONE, 0),
        (b"GET", 404, b"content-length: 0", Framing.LENGTH, 0),
    ],
)
def test_the_end_of_a_body_is_known_from_method_status_and_fields(
    method: bytes, status: int, line: bytes, framing: Framing, length: int | None
) -> None:
    head, found, _ = parsed(line, status=b"HTTP/1.1 %d X" % status, method=method)

    assert (found, head.length) == (framing, length)


@pytest.mark.parametrize(
    ("status", "lines", "persistent"),
    [
        (b"HTTP/1.1 200 OK", [b"content-length: 1"], True),
        (b"HTTP/1.1 200 OK", [b"content-length: 1", b"connection: keep-alive"], True),
        (b"HTTP/1.1 200 OK", [b"content-length: 1", b"connection: x-disclose, y"], True),
        (b"HTTP/1.1 200 OK", [b"content-length: 1", b"connection: Close"], False),
        (b"HTTP/1.1 200 OK", [b"content-length: 1", b"connection: te", b"connection: x ,\tclose"], False),
        (b"HTTP/1.1 200 OK", [], False),
        (b"HTTP/1.0 200 OK", [b"content-length: 1", b"connection: keep-alive"], False),
    ],
)
def test_only_http_1_1_without_a_word_of_closing_carries_another_exchange(
    status: bytes, lines: list[bytes], persistent: bool
) -> None:
    assert parsed(*lines, status=status)[2] is persistent


@pytest.mark.parametrize("reason", [b"", b" ", b" OK", b" Not \xe9t\xe9\tthere"])
def test_any_reason_phrase_will_do(reason: bytes) -> None:
    assert parsed(b"content-length: 0", status=b"HTTP/1.1 404" + reason)[0].status == 404


@pytest.mark.parametrize(
    "status",
    [
        b"<html>",
        b"HTTP/0.9 200 OK",
        b"HTTP/1.2 200 OK",
        b"HTTP/2.0 200 OK",
        b"HTTP/11 200 OK",
        b"http/1.1 200 OK",
        b"RTSP/1.0 200 OK",
        b"ICE/1.0 200 OK",
        b"\r\nHTTP/1.1 200 OK",
        b" HTTP/1.1 200 OK",
        b"HTTP/1.1  200 OK",
        b"HTTP/1.1\t200 OK",
        b"HTTP/1.1 20 OK",
        b"HTTP/1.1 099 OK",
        b"HTTP/1.1 600 OK",
        b"HTTP/1.1 999 OK",
        b"HTTP/1.1 2000 OK",
        b"HTTP/1.1 +20 OK",
        b"HTTP/1.1 200OK",
        b"HTTP/1.1 200 O\x00K",
        b"HTTP/1.1 200 O\x7fK",
        b"HTTP/1.1 200 O\rK",
        b"HTTP/1.1 200 O\nK",
        b"HTTP/1.1 101 Switching",
    ],
)
def test_any_other_status_line_is_malformed(status: bytes) -> None:
    with pytest.raises(MessageError) as refused:
        parsed(b"content-length: 0", status=status)

    assert refused.value.fault is Fault.MALFORMED


@pytest.mark.parametrize(
    "lines",
    [
        [b"content-length: 3", b"transfer-encoding: chunked"],
        [b"transfer-encoding: chunked", b"content-length: 3"],
        [b"content-length: 3", b"content-length: 4"],
        [b"content-length: 3", b"content-length: 3"],
        [b"content-length: 3, 3"],
        [b"content-length: +3"],
        [b"content-length: -3"],
        [b"content-length: 0x3"],
        [b"content-length: 3 3"],
        [b"content-length: \xb2"],
        [b"content-length:"],
        [b"content-length: 9223372036854775808"],
        [b"content-length: 18446744073709551616"],
        [b"content-length: " + b"9" * 5000],
        [b"transfer-encoding: gzip"],
        [b"transfer-encoding: gzip, chunked"],
        [b"transfer-encoding: chunked, gzip"],
        [b"transfer-encoding: chunked, chunked"],
        [b"transfer-encoding: chunked", b"transfer-encoding: chunked"],
        [b"transfer-encoding: xchunked"],
        [b"transfer-encoding: chunked;q=1"],
        [b"transfer-encoding: identity"],
        [b"transfer-encoding:"],
        [b"content-length : 3"],
        [b"transfer-encoding\t: chunked"],
        [b" content-length: 3"],
        [b"content-length: 3", b" 4"],
        [b"transfer-encoding: chunked", b"\t"],
        [b"transfer-encoding:", b" chunked"],
        [b"a: b", b" content-length: 3"],
        [b"x(content-length: 3"],
        [b"a: \x00content-length: 3"],
        [b"Content-Length 3"],
        [b"transfer-encoding\x00: chunked"],
        [b"a: b\nc: d"],
        [b"a: b\n"],
        [b"a: b\r"],
        [b"a: b\rc: d"],
    ],
)
@pytest.mark.parametrize("method", [b"GET", b"HEAD"])
def test_ambiguous_and_malformed_fields_are_refused(lines: list[bytes], method: bytes) -> None:
    with pytest.raises(MessageError) as refused:
        parsed(*lines, method=method)

    assert refused.value.fault is Fault.MALFORMED


@pytest.mark.parametrize("byte", [*range(0x20), 0x7F])
def test_no_control_byte_but_tab_gets_through_anywhere(byte: int) -> None:
    for line in (b"a: b%cc", b"a: %cb", b"a: b%c", b"a%cb: c"):
        if byte == 0x09 and not line.startswith(b"a%c"):
            continue
        if byte in b"\r\n":
            with pytest.raises(MessageError):
                parsed(line % byte, b"content-length: 0")
        else:
            assert parsed(line % byte, b"content-length: 0")[0].fields == ((b"content-length", b"0"),)


@pytest.mark.parametrize(
    ("lines", "fields", "dropped"),
    [
        ([b"ETag : x"], [(b"etag", b"x")], []),
        ([b"a\t \t:b"], [(b"a", b"b")], []),
        ([b": b", b"c: d"], [(b"c", b"d")], [b": b"]),
        ([b"a", b"c: d"], [(b"c", b"d")], [b"a"]),
        ([b"c: d", b"a b: e"], [(b"c", b"d")], [b"a b: e"]),
        ([b"a\xe9: b", b"a(: b", b"c: d"], [(b"c", b"d")], [b"a\xe9: b", b"a(: b"]),
        ([b"a: \x01", b"c: d", b"e: \x7f"], [(b"c", b"d")], [b"a: \x01", b"e: \x7f"]),
        ([b"a: b", b" folded", b"\t twice"], [(b"a", b"b folded twice")], []),
        ([b" a: b", b"c: d"], [(b"c", b"d")], [b" a: b"]),
        ([b"a(: b", b" folded", b"c: d"], [(b"c", b"d")], [b"a(: b", b" folded"]),
        ([b"a: b", b" fol\x00ded", b" on"], [(b"a", b"b on")], [b" fol\x00ded"]),
    ],
)
@pytest.mark.parametrize("framed", [b"content-length: 3", b"transfer-encoding: chunked"])
def test_a_field_line_that_is_not_well_formed_is_mended_or_left_out_by_itself(
    lines: list[bytes], fields: list[tuple[bytes, bytes]], dropped: list[bytes], framed: bytes
) -> None:
    said: list[bytes] = []
    data = b"".join([line + b"\r\n" for line in (b"HTTP/1.1 200 OK", *lines, framed, b"")])

    head, framing, persistent = parse_head(data, method=b"GET", max_fields=200, dropped=said.append)

    assert list(head.fields[:-1]) == fields
    assert framing is (Framing.LENGTH if framed.startswith(b"c") else Framing.CHUNKED)
    assert persistent
    assert said == dropped


def test_chunks_are_not_taken_from_http_1_0() -> None:
    with pytest.raises(MessageError):
        parsed(b"transfer-encoding: chunked", status=b"HTTP/1.0 200 OK")


def test_too_many_fields_are_named_so() -> None:
    with pytest.raises(MessageError) as refused:
        parsed(*[b"a: b"] * 201)

    assert refused.value.fault is Fault.TOO_LARGE


def test_an_upgrade_offered_in_an_ordinary_answer_changes_nothing() -> None:
    head, framing, _ = parsed(b"connection: upgrade", b"upgrade: h2c", b"content-length: 3")

    assert (head.length, framing) == (3, Framing.LENGTH)


@pytest.mark.parametrize("line", [b"content-length: 5", b"transfer-encoding: chunked"])
def test_an_answer_that_may_have_no_body_and_states_one_is_not_trusted_further(line: bytes) -> None:
    assert parsed(line, status=b"HTTP/1.1 204 No Content")[2] is False
    with pytest.raises(MessageError) as refused:
        parsed(line, status=b"HTTP/1.1 103 Early Hints")

    assert refused.value.fault is Fault.MALFORMED
    assert parsed(b"content-length: 0", status=b"HTTP/1.1 204 No Content")[2] is True
