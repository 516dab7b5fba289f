"""What comes over connections: requests, heads of answers, chunked bodies, and what tells of errors."""

from __future__ import annotations

import re
from types import SimpleNamespace
from typing import Any, NamedTuple, cast

from shield.edge.connection import ClientConnection
from shield.edge.plain import PlainHeads
from shield.edge.reading import RequestReader
from shield.edge.states import Life
from shield.edge.turn import Turn
from shield.errors import Fault, RequestError
from shield.messages import Field, Request
from shield.origin.chunks import ChunkReader
from shield.origin.head import Framing, MessageError, parse_head
from shield.origin.response import Response
from shield.peers import words
from shield.rules import s3_errors
from shield.rules.limits import ClientLimits
from shield.rules.routes import Route, Routes
from tests.edge.corpus import CASES
from tests.fuzz.target import Target, pieces

# RFC 9112 §2.1, §3, §5
_strict_head = re.compile(
    rb"(?:\r\n)?[!#$%&'*+.^_`|~0-9A-Za-z-]+ [!-~]+ HTTP/1\.[01]\r\n"
    rb"(?:[!#$%&'*+.^_`|~0-9A-Za-z-]+:[\t -~\x80-\xff]*\r\n)*\r\n"
).match
_strict_status_line = re.compile(rb"HTTP/1\.[01] ([1-5][0-9]{2})(?: [\t -~\x80-\xff]*)?\r\n").match
_is_host = re.compile(rb"(?:[A-Za-z0-9_~.-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{0,5})?").fullmatch
_is_name = re.compile(rb"[!#$%&'*+.^_`|~0-9a-z-]+").fullmatch
_is_printable = re.compile(r"[ -~]*").fullmatch

ROUTES = Routes([Route("all")])
PLAIN = b"GET /a HTTP/1.1\r\nHost: cdn.example\r\n\r\n"
LIMITS = ClientLimits(max_head_bytes=400, max_target_bytes=60, max_fields=8)
LINES = PlainHeads(b"fra-1")
MAX_FIELDS = 20
NO_CHUNKS = b"0\r\n\r\n"
TOO_LONG = {414, 431}


class Taken(NamedTuple):
    """A request as it was taken. Of a refused one nothing counts but the refusal."""

    error: int | None
    method: bytes = b""
    target: bytes = b""
    fields: tuple[Field, ...] = ()
    goes_on: bool = False
    http10: bool = False


class Listener(ClientConnection):
    """A connection without a socket, which answers nothing. A `careful` one has no fast lane."""

    __slots__ = ("taken",)

    def __init__(self, *, careful: bool) -> None:
        RequestReader.__init__(self, LIMITS, lambda: 0.0, node=b"fra-1")
        self.taken: list[Taken] = []
        self._life = Life.NUMBERED if careful else Life.OPEN
        self._is_checked = False
        self._transfer = None
        self._turns = []
        self._plain_heads = LINES
        self._later = b""
        self._proxy = cast(Any, SimpleNamespace(in_force=SimpleNamespace(regime=None)))
        self.data_received(PLAIN)

    def heard(self, *said: bytes) -> list[Taken]:
        for piece in said:
            self.data_received(piece)
        return self.taken[1:]

    def _take(self, turn: Turn) -> None:
        request = turn.request
        if turn.error is not None:
            self.taken.append(Taken(turn.error.status))
        else:
            self.taken.append(
                Taken(None, request.method, request.target, tuple(request.fields), turn.keep_alive, turn.http10)
            )

    def _answer_plain(self, request: Request, keep_alive: bool) -> None:
        self._go_through(Turn(request, keep_alive, False, 0.0))

    def _end_after_last(self) -> None:
        self._take_no_more()


def check_requests(data: bytes) -> None:
    """However a client's bytes come, and whether or not the fast lane takes them, they say the same."""
    whole = Listener(careful=False).heard(data)

    assert Listener(careful=True).heard(data) == whole
    for cut in pieces(data):
        in_pieces = Listener(careful=False).heard(*cut)
        assert Listener(careful=True).heard(*cut) == in_pieces
        assert in_pieces == whole or _both_refuse(in_pieces, whole)
    assert all(taken.error is None and taken.goes_on for taken in whole[:-1])
    rest = data
    for taken in whole:
        if taken.error is not None:
            assert taken.error in (400, 405, 414, 417, 431, 505)
            break
        head = _strict_head(rest)
        assert head is not None
        rest = rest[head.end() :]
        _is_in_order(taken, head[0])
        if taken.goes_on and b"transfer-encoding" in dict(taken.fields):
            assert rest.startswith(NO_CHUNKS)
            rest = rest[len(NO_CHUNKS) :]


def _both_refuse(some: list[Taken], others: list[Taken]) -> bool:
    """Whether they differ in the reason alone: what is too long and wrong as well may be told either."""
    reasons = {taken.error for taken in (*some[-1:], *others[-1:])}
    return some[:-1] == others[:-1] and None not in reasons and not reasons.isdisjoint(TOO_LONG)


def _is_in_order(taken: Taken, head: bytes) -> None:
    assert len(head) <= LIMITS.max_head_bytes
    assert len(taken.target) <= LIMITS.max_target_bytes
    assert len(taken.fields) == head.count(b"\r\n") - 2 - head.startswith(b"\r\n") <= LIMITS.max_fields
    assert head.lstrip().startswith(taken.method + b" ")
    hosts = [value for name, value in taken.fields if name == b"host"]
    assert len(hosts) == 1 or (taken.http10 and not hosts)
    assert all(_is_host(host.strip(b" \t")) for host in hosts)
    assert all(_is_name(name) for name, _ in taken.fields)
    if taken.method in (b"GET", b"HEAD") and not taken.target.startswith(b"/"):
        assert not taken.target.lower().startswith((b"http://", b"https://"))
        assert _names_nothing(taken.target)


def _names_nothing(target: bytes) -> bool:
    """Whether it is refused further on."""
    try:
        ROUTES.resolve(target)
    except RequestError as error:
        return error.status == 400
    return False


def check_head(data: bytes) -> None:
    ended = data + b"\r\n\r\n"
    head = ended[: ended.find(b"\r\n\r\n") + 4]
    for method in (b"GET", b"HEAD"):
        try:
            found, framing, persistent = parse_head(head, method=method, max_fields=MAX_FIELDS)
        except MessageError as error:
            assert error.fault in (Fault.MALFORMED, Fault.TOO_LARGE)
            continue
        line = _strict_status_line(head)
        assert line is not None
        assert int(line[1]) == found.status
        assert len(found.fields) <= head.count(b"\r\n") - 2  # without lines that aren't well-formed
        assert len(found.fields) <= MAX_FIELDS
        for name, value in found.fields:
            assert _is_name(name)
            assert not re.search(rb"[\0\r\n]|\A[ \t]|[ \t]\Z", value)
        _frames(found.fields, framing, found.length)
        if persistent:
            assert head.startswith(b"HTTP/1.1 ")
            assert framing is not Framing.CLOSE
            assert b"close" not in [value.strip().lower() for name, value in found.fields if name == b"connection"]


def _frames(fields: tuple[Field, ...], framing: Framing, length: int | None) -> None:
    """One way to tell a body's end at most."""
    lengths = {int(value) for name, value in fields if name == b"content-length"}
    codings = [value.lower() for name, value in fields if name == b"transfer-encoding"]

    assert len(lengths) <= 1
    assert not (lengths and codings)
    assert codings in ([], [b"chunked"])
    if framing is Framing.LENGTH:
        assert {length} == lengths
    elif framing is Framing.CHUNKED:
        assert codings
    elif framing is Framing.CLOSE:
        assert not lengths and not codings
    if framing in (Framing.CHUNKED, Framing.CLOSE):
        assert length is None


class Body(Response):
    """Takes what is in the chunks."""

    __slots__ = ("data",)

    def __init__(self) -> None:
        self.data = b""

    def deliver(self, data: bytes) -> None:
        assert data
        self.data += data


class Chunked(NamedTuple):
    """What became of a chunked body."""

    data: bytes
    complete: bool
    refused: bool


def check_chunks(data: bytes) -> None:
    whole = _unchunked(data)

    for cut in pieces(data):
        assert _unchunked(*cut) == whole
    assert not (whole.complete and whole.refused)
    framed = b"%x;a=b\r\n%b\r\n0\r\nx: y\r\n\r\n" % (len(data), data) if data else b"0\r\n\r\n"
    assert _unchunked(framed) == Chunked(data, complete=True, refused=False)
    assert not _unchunked(framed[:-1]).complete


def _unchunked(*segments: bytes) -> Chunked:
    body = Body()
    reader = ChunkReader(body, 60)
    for segment in segments:
        if reader.complete:
            break
        try:
            reader.feed(segment)
        except MessageError as error:
            assert error.fault is Fault.MALFORMED
            return Chunked(body.data, reader.complete, refused=True)
    return Chunked(body.data, reader.complete, refused=False)


def check_error_code(data: bytes) -> None:
    code, message = s3_errors.error_code(data)

    assert len(message) <= 200
    assert _is_printable(message)
    assert all(word.encode() in data for word in message.split())
    if code is None:
        return
    assert 0 < len(code) <= 100
    assert code.isprintable()
    assert code == code.strip()
    assert not {"<", ">"} & set(code)
    assert not code.isascii() or code.encode() in data  # as it stands: nothing is expanded
    assert s3_errors.error_code(b"<Error>" + data)[0] == code
    assert s3_errors.error_code(b"<Error><Code> AccessDenied\n</Code>" + data)[0] == "AccessDenied"


def check_failures(data: bytes) -> None:
    detail = data.decode("ascii", "replace")
    told = [f"{error.origin}={error.fault.value}" for error in words._failures("worker-1", detail)]

    assert len(told) <= len(detail.split())
    for part in told:
        assert part in detail.split() or part.startswith("worker-1=")
    again = [f"{error.origin}={error.fault.value}" for error in words._failures("worker-1", " ".join(told))]
    assert again == told or any(part.startswith("=") for part in told)


REQUESTS = (*sorted({case.raw for case in CASES if len(case.raw) < 300}), b"\rT ")
REQUEST_WORDS = (
    *(b"\r\n", b"\n", b"\r", b"\r\n\r\n", b"\r\n ", b" ", b"\t", b"\0", b":", b",", b"#", b"\x7f", b"\x80", b"\xff"),
    *(b"GET /b HTTP/1.1\r\nHost: x\r\n\r\n", b"GET ", b"HEAD ", b"POST ", b"OPTIONS ", b" HTTP/1.1\r\n", b"HTTP/1.0"),
    *(b"Host: x\r\n", b"Content-Length: 1\r\n", b"Transfer-Encoding: chunked\r\n", b"0\r\n\r\n", b"HTTP/2.0", b"*"),
    *(b"Connection: close\r\n", b"Connection: upgrade\r\nUpgrade: x\r\n", b"Expect: 100-continue\r\n", b"x" * 60),
    *(b"http://cdn.example", b"https://x:443", b"[::1]:80", b"CDN-Loop: fra-1\r\n", b"Proxy-Connection: close\r\n"),
    *(b"a: b\r\n" * 9, b"Connection: keep-alive\r\n", b"Range: bytes=0-0\r\n", b"/..", b"?a=b"),
)
HEAD_WORDS = (
    *(
        b"\r\n",
        b"\n",
        b"\r",
        b"\r\n ",
        b"\r\n\r\n",
        b" ",
        b"\t",
        b"\0",
        b":",
        b"\x80",
        b"HTTP/1.1 ",
        b"HTTP/1.0 304 ",
    ),
    *(
        b"Content-Length: 5\r\n",
        b"Content-Length: 05\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"Connection: close\r\n",
    ),
    *(b"chunked", b", ", b"204", b"100", b"a: b\r\n" * 21, b"9223372036854775808", b"keep-alive", b"+1"),
)
ERROR = b"<?xml version='1.0'?><Error><Code>NoSuchKey</Code><Message>The key isn't there.</Message></Error>"

TARGETS = {
    "requests": Target(check_requests, REQUESTS, REQUEST_WORDS),
    "head": Target(
        check_head,
        (
            b'HTTP/1.1 200 OK\r\nETag: \t"x" \t\r\nX-Empty:\r\ncontent-length: 7\r\n\r\nabc',
            b"HTTP/1.1 200\r\nTransfer-Encoding: Chunked\r\nconnection: keep-alive\r\n\r\n",
            b"HTTP/1.0 404 Not \xe9t\xe9\r\nContent-Length: 0\r\nConnection: x ,\tclose\r\n\r\n",
            b"HTTP/1.1 304 Not Modified\r\ncontent-length: 7\r\n\r\n",
            b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n",
            b"HTTP/1.1 204 No Content\r\ntransfer-encoding: chunked\r\n\r\n",
            b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n",
            b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\nContent-Length: 3\r\n\r\n",
            b"HTTP/1.1 200 OK\r\na: b\r\n c\r\n\r\n",
            b"HTTP/2.0 200 OK\r\n\r\n",
        ),
        HEAD_WORDS,
    ),
    "chunks": Target(
        check_chunks,
        (
            b"5\r\nhello\r\n0\r\n\r\n",
            b"5;x=y\r\nhello\r\nA\r\n0123456789\r\n0\r\nx: y\r\nz:\r\n\r\nsurplus",
            b"000005\r\nhel\r\n\r\n00\r\n\r\n",
            b"5\r\nhelloX\r\n0\r\n\r\n",
            b"8000000000000000\r\n",
            b"0\r\nContent-Length: 5\r\n\r\n",
            b"0\r\n" + b"x: y\r\n" * 11 + b"\r\n",
            b"5 \r\nhello\r\n",
            b"1;" + b"a" * 4100 + b"\r\nx\r\n0\r\n\r\n",
        ),
        (b"\r\n", b"\n", b"\r", b"0", b"1", b"5\r\nhello\r\n", b"0\r\n\r\n", b";", b"x: y\r\n", b"\0", b"+", b"ffff"),
    ),
    "error_code": Target(
        check_error_code,
        (
            ERROR,
            b"<Error>\n <Code>\n  AccessDenied\n </Code>\n <Message> Access\xc3\xa9 Denied\n\n</Message></Error>",
            b"<!DOCTYPE a [<!ENTITY b 'c'>]><Error><Code>&b;&b;</Code><Message>&#65;&b;</Message></Error>",
            b"<ErrorResponse><Error><Type>x</Type><Code>SlowDown</Code></Error></ErrorResponse>",
            b"<Error><Code>" + b"x" * 101 + b"</Code></Error>",
            b"<Error><Code>x</Code><Message>" + b"y " * 700 + b"</Message></Error>",
            b"<html>no</html>",
            b"<Error><Code>" + b" " * 4500,
            b"<Error><Code>x</Code><Message>" + b" " * 1300,
            b"<Error><Code>\n</Code>",
            b"<Error><Code>x\ny</Code>",
        ),
        (b"<Error>", b"<Code>", b"</Code>", b"<Message>", b"</Message>", b" ", b"\n", b"<", b"&lt;", b"\xc3", b"]]>"),
    ),
    "failures": Target(
        check_failures,
        (b"fra=connect iad=first-byte-timeout", b"deadline", b"", b"fra=deadline x", b"=reset a=b=auth", b"\xff=tls"),
        (b"fra=", b"connect", b" ", b"deadline", b"=", b"auth", b"\t"),
    ),
}
