from __future__ import annotations

import pytest

from shield.messages import Field
from shield.rules.pseudo_fields import MalformedError, request_of

PLAIN = {b":method": b"GET", b":scheme": b"https", b":authority": b"cdn.example", b":path": b"/a?b"}


def of(*fields: Field, **changes: bytes | None) -> list[Field]:
    """A plain request with pseudo-header fields changed (None: left out) and fields added."""
    named = {**PLAIN, **{b":" + name.encode(): value for name, value in changes.items()}}
    return [*((name, value) for name, value in named.items() if value is not None), *fields]


def test_a_request_is_as_over_http_1() -> None:
    request = request_of(of((b"range", b"bytes=0-1"), (b"x-a", b"b")))

    assert (request.method, request.target) == (b"GET", b"/a?b")
    assert request.fields == [(b"host", b"cdn.example"), (b"range", b"bytes=0-1"), (b"x-a", b"b")]
    assert request.notable == {b"range": b"bytes=0-1"}


def test_the_order_of_pseudo_header_fields_is_free() -> None:
    assert request_of(reversed(of())).target == b"/a?b"


def test_host_may_be_said_instead_or_as_well() -> None:
    assert request_of(of((b"host", b"x"), authority=None)).fields == [(b"host", b"x")]
    assert request_of(of((b"host", b"cdn.example"))).fields == [(b"host", b"cdn.example")]
    assert request_of(of(authority=None)).fields == []  # refused later, as over HTTP/1.1


def test_te_trailers_does_not_make_a_request_special() -> None:
    assert request_of(of((b"te", b"trailers"))).notable == {}


def test_options_of_everything() -> None:
    assert request_of(of(method=b"OPTIONS", path=b"*")).target == b"*"


def test_connect_names_its_authority() -> None:
    request = request_of(of(method=b"CONNECT", scheme=None, path=None))

    assert (request.method, request.target) == (b"CONNECT", b"cdn.example")


@pytest.mark.parametrize(
    "fields",
    [
        [(b"x", b"y"), *of()],
        *[of((name, value)) for name, value in PLAIN.items()],
        of((b":status", b"200")),
        of((b":protocol", b"websocket")),
        of(method=None),
        of(method=b""),
        of(method=b"G T"),
        of(method=b"G\xcbT"),
        of(scheme=None),
        of(scheme=b"ftp"),
        of(path=None),
        of(path=b""),
        of(path=b"a"),
        of(path=b"*"),
        of(path=b"https://cdn.example/a"),
        of(path=b"/a\n"),
        of(path=b"/a\x7f"),
        of(path=b" /a"),
        of(authority=b"a\0"),
        of(method=b"CONNECT"),
        of(method=b"CONNECT", scheme=None, path=None, authority=None),
        of((b"X-A", b"y")),
        of((b"", b"y")),
        of((b"x y", b"z")),
        of((b"x,y", b"z")),
        of((b"x\xfc", b"z")),
        of((b"x", b" y")),
        of((b"x", b"y ")),
        of((b"x", b"\ty")),
        of((b"x", b"y\nz")),
        of((b"x", b"y\rz")),
        of((b"x", b"y\0")),
        of((b"x", b"\n")),
        of((b"connection", b"close")),
        of((b"keep-alive", b"timeout=1")),
        of((b"proxy-connection", b"close")),
        of((b"transfer-encoding", b"chunked")),
        of((b"upgrade", b"h2c")),
        of((b"te", b"gzip")),
        of((b"te", b"")),
        of((b"host", b"other.example")),
        of((b"host", b"cdn.example"), (b"host", b"other.example")),
        [],
    ],
)
def test_what_no_client_may_send_is_malformed(fields: list[Field]) -> None:
    with pytest.raises(MalformedError):
        request_of(fields)


@pytest.mark.parametrize("value", [b"", b"\xc3\xbc", b"a\tb", b"a, b", b"a b"])
def test_other_values_are_taken(value: bytes) -> None:
    assert request_of(of((b"x", value))).fields[1:] == [(b"x", value)]
