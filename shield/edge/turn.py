"""Requests as a connection takes them: what a plain one needs no look at, and what is answered unseen."""

from __future__ import annotations

import re
from dataclasses import dataclass

import httptools

from shield.errors import RequestError
from shield.messages import Request

_absolute = re.compile(rb"(?i)https?://[^/?#]+").match
_line_of_other_method = re.compile(rb"(?m)^(?!GET |HEAD )[A-Za-z-]{1,32} [!-~]+ HTTP/1\.[01]\r$").search


@dataclass(frozen=True, slots=True)
class Limits:
    """What one connection may use. Seconds are counted in whole sweeps of one second."""

    keep_alive_seconds: int = 650
    head_seconds: int = 10
    send_seconds: int = 60
    max_connections: int = 10_000
    max_pipelined: int = 64
    max_head_bytes: int = 32 * 1024
    max_target_bytes: int = 8 * 1024
    max_fields: int = 100


@dataclass(slots=True)
class Turn:
    """A request whose head is complete, and how its connection goes on. With `error` it is refused for that."""

    request: Request
    keep_alive: bool
    http10: bool
    began: float
    error: RequestError | None = None


def examined(
    request: Request, parser: httptools.HttpRequestParser, hosts: int, limits: Limits, *, now: float
) -> Turn:
    """The turn of a request that isn't plain: of another version, about its connection, long, or wrong.

    Called while the parser stands at the end of its head; `hosts` counts its Host lines.
    """
    version = parser.get_http_version()
    # HTTP/1.0 connections aren't kept: Keep-Alive hangs behind proxies that don't know it (RFC 9112 §C.2.2).
    keep_alive = version == "1.1" and parser.should_keep_alive() and not parser.should_upgrade()
    turn = Turn(request, keep_alive, version == "1.0", now)
    # What was asked of the connection doesn't concern the answer.
    request.notable.pop(b"connection", None)
    request.notable.pop(b"upgrade", None)
    if len(request.target) > limits.max_target_bytes:
        turn.error = RequestError(414, "target-too-long")
    elif len(request.fields) > limits.max_fields or _size(request) > limits.max_head_bytes:
        turn.error = RequestError(431, "head-too-large")
    elif version not in ("1.0", "1.1"):
        turn.error = RequestError(505, "http-version")
    elif hosts > 1 or (hosts == 0 and not turn.http10):
        turn.error = RequestError(400, "one-host-needed")  # RFC 9112 §3.2
    else:
        request.target = origin_form(request.target)
    return turn


def origin_form(target: bytes) -> bytes:
    """A target without the scheme and authority that it may have (RFC 9112 §3.2.2)."""
    if target.startswith(b"/") or (authority := _absolute(target)) is None:
        return target
    path = target[authority.end() :]
    return path if path.startswith(b"/") else b"/" + path


def refusal_of(error: httptools.HttpParserError, data: bytes) -> RequestError:
    """What to say of bytes that llhttp doesn't take. It knows some methods only; we refuse them all alike."""
    if isinstance(error, httptools.HttpParserCallbackError):
        return RequestError(500, "internal-error")
    if isinstance(error, httptools.HttpParserInvalidMethodError) and _line_of_other_method(data):
        return RequestError(405, "method-not-allowed")
    return RequestError(400, "malformed-request")


def _size(request: Request) -> int:
    """About what a request's head took on the wire."""
    return len(request.target) + sum(len(name) + len(value) + 4 for name, value in request.fields)
