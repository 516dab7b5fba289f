"""Requests as a connection takes them: what a plain one needs no look at, and what is refused unseen.

One reading of every request at every front (RFC 9110, RFC 9112): what can be read in two ways is answered 400, and
nothing of it reaches an origin.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import httptools

from shield.errors import RequestError
from shield.messages import Request
from shield.regime import Regime
from shield.rules.limits import ClientLimits

LOOKED_AT = frozenset({b"connection", b"content-length", b"expect", b"transfer-encoding", b"upgrade"})
"""Fields that no plain request has."""

# RFC 9112 §3, with one empty line before it (§2.2). Version 0.9 has no name.
_request_line = re.compile(
    rb"(?:\r\n)?[!#$%&'*+.^_`|~0-9A-Za-z-]{1,32} (?:[!-~]+ HTTP/([0-9]\.[0-9])|/[!-~]*)\r\n"
).match
_line_so_far = re.compile(
    rb"\r|(?:\r\n)?(?:[!#$%&'*+.^_`|~0-9A-Za-z-]{1,32}(?: (?:[!-~]+(?: [!-~]{0,8})?\r?)?)?)?"
).fullmatch
_chunked_line = re.compile(rb"\r\n(?i:transfer-encoding): ?chunked\r\n").search  # as everyone writes it
_visible = re.compile(rb"[!-~]+").fullmatch  # what a target consists of
_absolute = re.compile(rb"(?i)(https?)://([^/?#]*)").match
_authority = re.compile(rb"([A-Za-z0-9_~.-]+|\[[0-9A-Fa-f:.]+\])(?::([0-9]{0,5}))?").fullmatch
_PORTS = {b"http": b"80", b"https": b"443"}


@dataclass(slots=True)
class Turn:
    """A request whose head is complete, and how its connection goes on. With `error` it is refused for that."""

    request: Request
    keep_alive: bool
    http10: bool
    began: float
    error: RequestError | None = None
    regime: Regime | None = None  # of a request that waits though its head was read: the one it was let in under
    awaits_body: bool = False  # which must be empty


def examined(
    request: Request, head: bytes, parser: httptools.HttpRequestParser, limits: ClientLimits, now: float
) -> Turn:
    """The turn of a request that isn't plain: of another version, about its connection, long, or wrong.

    `head` is all of it as it came. Called while the parser stands at its end.
    """
    line = _request_line(head)
    version = (line[1] or b"0.9") if line is not None else None
    # HTTP/1.0 connections aren't kept: Keep-Alive hangs behind proxies that don't know it (RFC 9112 §C.2.2).
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
    """Why a request isn't answered, whatever it names; None: it may be, and its target is in origin-form now.

    Methods and bodies are `Proxy.try_hit`'s, which says 405.
    """
    # What was asked of the connection doesn't concern the answer.
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
    if request.method in (b"GET", b"HEAD", b"OPTIONS") and not request.target.startswith(b"/"):
        path = _origin_form(request.target, host)
        if path is None:
            return RequestError(400, "bad-target")
        request.target = path
    expected = request.notable.get(b"expect")
    if expected is not None and expected.lower() != b"100-continue":
        return RequestError(417, "expectation")  # RFC 9110 §10.1.1
    return None


def refusal_of(error: httptools.HttpParserError, head: bytes) -> RequestError | None:
    """What to say of a head that llhttp doesn't take, as far as it came; None: once its first line is whole.

    llhttp knows some methods only; we refuse them all alike.
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
    """Whether it is in doubt where the next request begins."""
    notable = request.notable
    return b"transfer-encoding" in notable or notable.get(b"content-length", b"0") != b"0"


def may_be_empty(request: Request) -> bool:
    """Whether a body that is announced may turn out to be none: some CDNs and load balancers send GETs so.

    Only as they do it: any other way of announcing one, which others may read otherwise, is refused unseen.
    """
    notable = request.notable
    return (
        request.method in (b"GET", b"HEAD")
        and notable.get(b"transfer-encoding") == b"chunked"
        and b"content-length" not in notable  # RFC 9112 §6.3: an attempt at smuggling
        and b"expect" not in notable
    )


def taken_apart(target: bytes) -> tuple[bytes, bytes, bytes] | None:
    """Scheme in lower case, authority, path with query; None for what isn't in absolute-form (RFC 9112 §3.2.2)."""
    found = _absolute(target)
    if found is None:
        return None
    path = target[found.end() :]
    return found[1].lower(), found[2], path if path[:1] == b"/" else b"/" + path


def _origin_form(target: bytes, host: tuple[bytes, bytes] | None) -> bytes | None:
    """The target without the scheme and authority that it may have, which must be Host's (RFC 9112 §3.2.2)."""
    parts = taken_apart(target)
    if parts is None:
        return target
    named, default = _host(parts[1]), _PORTS[parts[0]]
    if named is None or (host is not None and (named[0], named[1] or default) != (host[0], host[1] or default)):
        return None
    return parts[2]


def _host(value: bytes) -> tuple[bytes, bytes] | None:
    """Host and port of what Host or an authority says, without user information (RFC 9110 §4.2.4)."""
    found = _authority(value)
    if found is None:
        return None
    port = found[2] or b""
    return None if port and int(port) > 65_535 else (found[1].lower(), port.lstrip(b"0"))
