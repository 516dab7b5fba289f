"""Checks of requests that aren't plain, the same at every front (RFC 9110, RFC 9112).

A request that could be read in two ways is answered with 400, and no part of it reaches an origin.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import chain

import httptools

from shield.errors import RequestError
from shield.messages import Request
from shield.regime import Regime
from shield.rules.limits import ClientLimits
from shield.rules.loops import NAME as CDN_LOOP
from shield.rules.loops import loop_objection

LOOKED_AT = frozenset({b"connection", b"content-length", b"expect", b"transfer-encoding", b"upgrade"})
"""Fields that a plain request doesn't have."""

# RFC 9112 §3, after at most one empty line (§2.2). A request line of HTTP/0.9 has no version.
_request_line = re.compile(
    rb"(?:\r\n)?[!#$%&'*+.^_`|~0-9A-Za-z-]{1,32} (?:[!-~]+ HTTP/([0-9]\.[0-9])|/[!-~]*)\r\n"
).match
_line_so_far = re.compile(
    rb"\r|(?:\r\n)?(?:[!#$%&'*+.^_`|~0-9A-Za-z-]{1,32}(?: (?:[!-~]+(?: [!-~]{0,8})?\r?)?)?)?"
).fullmatch
_chunked_line = re.compile(rb"\r\n(?i:transfer-encoding): ?chunked\r\n").search  # the usual spelling
_visible = re.compile(rb"[!-~]+").fullmatch  # the characters of a target
_absolute = re.compile(rb"(?i)(https?)://([^/?#]*)").match
_authority = re.compile(rb"([A-Za-z0-9_~.-]+|\[[0-9A-Fa-f:.]+\])(?::([0-9]{0,5}))?").fullmatch
_PORTS = {b"http": b"80", b"https": b"443"}
_LINE_OVERHEAD = 14  # of a head in HTTP/1.1: spaces, version, and the line ends of request line and head
_FIELD_OVERHEAD = 4


@dataclass(slots=True, init=False)
class Turn:
    """A request with a complete head, and the connection's next step. With `error` it is refused for that reason.

    `keep_alive`: the connection stays open after the response. `began` is epoch seconds.
    """

    request: Request
    keep_alive: bool
    http10: bool
    began: float
    error: RequestError | None
    regime: Regime | None  # of a queued request: the regime under which it was admitted; None: that in force
    awaits_body: bool  # its chunked body is expected, and must be empty

    def __init__(
        self,
        request: Request,
        keep_alive: bool,
        http10: bool,
        began: float,
        error: RequestError | None = None,
        regime: Regime | None = None,
        awaits_body: bool = False,
    ) -> None:
        self.request = request
        self.keep_alive = keep_alive
        self.http10 = http10
        self.began = began
        self.error = error
        self.regime = regime
        self.awaits_body = awaits_body


def examined(
    request: Request, head: bytes, parser: httptools.HttpRequestParser, limits: ClientLimits, now: float
) -> Turn:
    """The turn of a request that isn't plain: of another version, with connection fields, long, or malformed.

    `head` is the whole head as received. To be called while the parser is at its end.
    """
    line = _request_line(head)
    version = (line[1] or b"0.9") if line is not None else None
    # HTTP/1.0 connections are never kept open: proxies that pass Keep-Alive on unread would hang (RFC 9112 §C.2.2).
    plain = version == b"1.1" and not parser.should_upgrade()
    awaits_body = plain and may_be_empty(request) and _chunked_line(head) is not None
    if awaits_body:
        del request.notable[b"transfer-encoding"]
    keep_alive = plain and parser.should_keep_alive() and not may_have_body(request)
    turn = Turn(request, keep_alive, version == b"1.0", now)
    if version not in (b"1.0", b"1.1"):
        turn.error = _strange(version)
    else:
        turn.error = objection(request, limits, host_needed=version == b"1.1")
    if turn.error is None:
        turn.awaits_body = awaits_body
    elif awaits_body:
        turn.keep_alive = False
    return turn


def objection(request: Request, limits: ClientLimits, *, host_needed: bool) -> RequestError | None:
    """The error for a request that is invalid whatever its target; None: it is valid, and its target now in
    origin-form.

    Methods are checked by `Proxy.try_hit`, which answers 405.
    """
    # Fields for the connection don't affect the response.
    request.notable.pop(b"connection", None)
    request.notable.pop(b"upgrade", None)
    if len(request.target) > limits.max_target_bytes:
        return RequestError(414, "target-too-long")
    if len(request.fields) > limits.max_fields:
        return RequestError(431, "head-too-large")
    hosts = [value.strip(b" \t") for name, value in request.fields if name == b"host"]
    if len(hosts) > 1 or (not hosts and host_needed):
        return RequestError(400, "one-host-needed")  # RFC 9112 §3.2
    host = _host(hosts[0]) if hosts else None
    if hosts and host is None:
        return RequestError(400, "bad-host")
    if not _visible(request.target):
        return RequestError(400, "bad-target")
    if request.method in (b"GET", b"HEAD", b"OPTIONS", b"PURGE") and not request.target.startswith(b"/"):
        path = _origin_form(request.target, host)
        if path is None:
            return RequestError(400, "bad-target")
        request.target = path
    expected = request.notable.get(b"expect")
    if expected is not None and expected.lower() != b"100-continue":
        return RequestError(417, "expectation")  # RFC 9110 §10.1.1
    return None


def objection_to_whole(
    request: Request, limits: ClientLimits, *, node: bytes, host_needed: bool
) -> RequestError | None:
    """`objection` at fronts whose heads aren't bytes of HTTP/1.1 (`edge.asgi`, `edge.http2`): also to requests that
    have come through this `node` before, and to heads that would be too large in HTTP/1.1.
    """
    fields = request.fields
    looped = loop_objection(request.get(CDN_LOOP), node)
    if looped is not None:
        return looped
    size = len(request.method) + len(request.target) + _LINE_OVERHEAD + _FIELD_OVERHEAD * len(fields)
    size += sum(map(len, chain.from_iterable(fields)))
    if size > limits.max_head_bytes and len(request.target) <= limits.max_target_bytes:
        return RequestError(431, "head-too-large")
    return objection(request, limits, host_needed=host_needed)


def refusal_of(error: httptools.HttpParserError, head: bytes) -> RequestError | None:
    """The error for a head, received in part, that llhttp rejects; None until its request line is complete.

    llhttp knows only some methods; unknown ones are answered like all others that aren't supported.
    """
    if isinstance(error, httptools.HttpParserCallbackError):
        return RequestError(500, "internal-error")
    line = _request_line(head)
    if line is None:
        return None if _line_so_far(head) else _strange(None)
    version = line[1] or b"0.9"
    if version in (b"1.0", b"1.1") and isinstance(error, httptools.HttpParserInvalidMethodError):
        return RequestError(405, "method-not-allowed")
    return _strange(version)


def _strange(version: bytes | None) -> RequestError:
    if version in (None, b"1.0", b"1.1"):
        return RequestError(400, "malformed-request")
    return RequestError(505, "http-version")


def may_have_body(request: Request) -> bool:
    """Whether the request announces a body, so that the start of the next request is in doubt."""
    notable = request.notable
    return b"transfer-encoding" in notable or notable.get(b"content-length", b"0") != b"0"


def may_be_empty(request: Request) -> bool:
    """Whether an announced body may turn out to be empty: some CDNs and load balancers send such GETs.

    Only in the form that they use: any other, which recipients may read differently, is refused.
    """
    notable = request.notable
    return (
        request.method in (b"GET", b"HEAD")
        and notable.get(b"transfer-encoding") == b"chunked"
        and b"content-length" not in notable  # RFC 9112 §6.3: request smuggling
        and b"expect" not in notable
    )


def taken_apart(target: bytes) -> tuple[bytes, bytes, bytes] | None:
    """Scheme in lower case, authority, and path with query; None unless in absolute-form (RFC 9112 §3.2.2)."""
    found = _absolute(target)
    if found is None:
        return None
    path = target[found.end() :]
    return found[1].lower(), found[2], path if path[:1] == b"/" else b"/" + path


def in_origin_form(target: bytes) -> bytes:
    """The path with query of a target in absolute-form; any other as it is."""
    parts = None if target[:1] == b"/" else taken_apart(target)
    return target if parts is None else parts[2]


def _origin_form(target: bytes, host: tuple[bytes, bytes] | None) -> bytes | None:
    """The target in origin-form; None if it has another authority than Host (RFC 9112 §3.2.2)."""
    parts = taken_apart(target)
    if parts is None:
        return target
    named, default = _host(parts[1]), _PORTS[parts[0]]
    if named is None or (host is not None and (named[0], named[1] or default) != (host[0], host[1] or default)):
        return None
    return parts[2]


def is_host(value: bytes) -> bool:
    """Whether it is a valid value of Host (RFC 9110 §7.2)."""
    return _host(value) is not None


def _host(value: bytes) -> tuple[bytes, bytes] | None:
    """Host in lower case and port (b"" for none) of a Host value or authority; None for an invalid one.

    User information is invalid (RFC 9110 §4.2.4).
    """
    found = _authority(value)
    if found is None:
        return None
    port = found[2] or b""
    return None if port and int(port) > 65_535 else (found[1].lower(), port.lstrip(b"0"))
